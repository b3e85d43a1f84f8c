"""The summaries of an evaluation as a table in the trackers, beside its scores."""

COLUMNS = ("reference", "summary")


def log_summaries(trainer, references: list[list[str]], summaries: list[str]) -> None:
    """Logs one row a dialogue to every tracker of `--report_to` that shows tables (TensorBoard, wandb, trackio).

    Args:
        trainer: a transformers trainer; rank 0 logs.
        references: of each row; the first is shown.
    """
    from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

    if not trainer.is_world_process_zero():
        return
    rows = [[row[0], summary] for row, summary in zip(references, summaries, strict=True)]
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.add_text("eval/summaries", _markdown(rows), trainer.state.global_step)
        elif isinstance(callback, TrackioCallback):
            import trackio

            trackio.log({"eval/summaries": trackio.Table(columns=list(COLUMNS), data=rows)})
        elif isinstance(callback, WandbCallback):
            import wandb

            wandb.log({"eval/summaries": wandb.Table(columns=list(COLUMNS), data=rows)})


def _markdown(rows: list[list[str]]) -> str:
    def line(cells):
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(COLUMNS), "|---|---|", *map(line, rows)])
