"""The trackers of `--report_to`: whether they are installed, and the summaries of an evaluation as a table in them."""

from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
    get_available_reporting_integrations,
)

from dialsum_trl.core.errors import InputError

COLUMNS = ("reference", "summary")


def check_trackers(report_to: str | list[str] | None) -> None:
    """Raises InputError on a tracker that transformers does not know, or whose package is not installed."""
    usable = {"none", "all", "flyte", *get_available_reporting_integrations()}  # flyte is not in that list
    for name in ({report_to} if isinstance(report_to, str) else set(report_to or ())) - usable:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(["none", "all", *sorted(INTEGRATION_TO_CALLBACK)])
            raise InputError(f"--report_to {name}: there is no such tracker; give one of {known}")
        raise InputError(f"--report_to {name}: is not installed; pip install {name}, or leave --report_to out")


def log_summaries(trainer, references: list[list[str]], summaries: list[str]) -> None:
    """Logs one row per dialogue to every tracker of `--report_to` that shows tables (TensorBoard, wandb, trackio).

    Args:
        trainer: a transformers trainer; rank 0 logs.
        references: of each row; the first is shown.
    """
    if not trainer.is_world_process_zero():
        return
    rows = [[row[0], summary] for row, summary in zip(references, summaries, strict=True)]
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.add_text("eval/summaries", _markdown(rows), trainer.state.global_step)
        elif isinstance(callback, TrackioCallback):
            import trackio  # optional, as wandb is

            trackio.log({"eval/summaries": trackio.Table(columns=list(COLUMNS), data=rows)})
        elif isinstance(callback, WandbCallback):
            import wandb

            wandb.log({"eval/summaries": wandb.Table(columns=list(COLUMNS), data=rows)})


def _markdown(rows: list[list[str]]) -> str:
    def line(cells):
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(COLUMNS), "|---|---|", *map(line, rows)])
