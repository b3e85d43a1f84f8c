"""Adapter, tokenizer, record, curve and card into the output folder."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase, Trainer

from dialsum_trl.core.console import is_main_process, say
from dialsum_trl.core.files import move_files, write_json, write_text
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.adapters import check_adapter, learned
from dialsum_trl.models.file_names import RUN_FILE
from dialsum_trl.models.lora import as_plain_lora
from dialsum_trl.sharing.card import CURVE_FILE, model_card
from dialsum_trl.sharing.chart import line_charts, training_curves

ADAPTER_CONFIG, CARD = "adapter_config.json", "README.md"


def save_adapter(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, model_args: ModelArguments, metrics: dict[str, float]
) -> None:
    """Writes the trainer's model (adapter, or full weights), tokenizer, run record, curve and card to `output_dir`.

    Args:
        trainer: a `checked.CheckedTrainer`: its `record` writes the run record.
        metrics: of the last evaluation.

    Raises:
        TrainingError: the adapter was not saved whole, or has learned nothing after more than one step.
    """
    folder = Path(trainer.args.output_dir)
    aside = folder / ".saving"  # a run killed here leaves no incomplete adapter under the final name
    trainer.save_model(str(aside))
    if not is_main_process():
        return
    if trainer.run_info.lora_start is not None:
        as_plain_lora(aside, trainer.run_info.lora_start)
    tokenizer.save_pretrained(str(aside))
    move_files(aside, folder)
    record = trainer.record(metrics)
    write_json(folder / RUN_FILE, record)
    write_text(folder / CURVE_FILE, line_charts(training_curves(trainer.state.log_history)))
    adapter = None
    if model_args.use_peft:
        first = trainer.state.global_step <= 1
        check_adapter(folder, trained=not first)
        if first and not learned(folder):
            say(
                f"warning: {folder} holds an adapter that has learned nothing: the first step of a warm-up has "
                f"learning rate 0; train more steps, or give --warmup_steps 0"
            )
        adapter = {**read_json(folder / ADAPTER_CONFIG, "train again"), "base_model_name_or_path": record["base_model"]}
        adapter["revision"] = record["base_origin"]["commit"]
        write_json(folder / ADAPTER_CONFIG, adapter)
    write_text(folder / CARD, model_card(with_base(record, None), folder.name, adapter, has_curve=True))


def with_base(record: dict, base: str | None) -> dict:
    """The record with its base named by repository and commit (`base` if given), or by the folder's bare name."""
    if base:
        name, _, commit = base.partition("@")
        origin = {"repo_id": name, "commit": commit or None}
    else:
        origin = record["base_origin"]
    name = origin["repo_id"] or Path(record["base_model"]).name
    return {**record, "base_model": name, "base_revision": origin["commit"] or "main", "base_origin": origin}
