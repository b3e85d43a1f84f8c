"""The model card of a trained adapter (or full model): what it is, how to load it, what it scored and how.

The text is `card.md.jinja`; metadata and figures come from here.
"""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from dialsum_trl.core.settings.defaults import MAX_NEW_TOKENS, NUM_BEAMS
from dialsum_trl.core.settings.prompt_texts import INSTRUCTIONS, SYSTEM
from dialsum_trl.models.families.registry import checkpoint_of
from dialsum_trl.prompts.templates import PINNED_DATE

CURVE_FILE = "training_curve.svg"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
NEEDED = (  # of a run record
    "method", "base_model", "base_origin", "dtype", "quantization", "prompt_style", "instructions", "template_sha256",
    "pinned_date", "stop_tokens", "metrics", "settings", "data", "versions",
)  # fmt: skip
METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "mean": "mean of the three", "sum": "sum"}
LOADERS = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",  # a reward model
}


def _md(value: object) -> str:
    """A value as text of one line: what Markdown or HTML would act on is escaped, so records cannot write the card."""
    text = " ".join(str(value).split())
    return re.sub(r"[\\`*\[\]<>|]", lambda found: f"&#{ord(found[0])};", text.replace("&", "&amp;"))


def _python(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("`", "\\u0060")


def model_card(record: dict[str, Any], repo_id: str, adapter: dict[str, Any] | None, has_curve: bool = False) -> str:
    """README.md for the Hub.

    Args:
        record: the run record (`record.run_record`), its base named by repository.
        repo_id: of the card; the loading snippet names it.
        adapter: content of adapter_config.json; None for a full model.
        has_curve: whether `CURVE_FILE` is pushed with the card.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    # JSON of texts is Python too; no text can end the fence around the snippet
    environment.filters |= {"md": _md, "py": _python}
    template = environment.from_string(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))
    name, base, evaluation = repo_id.split("/")[-1], record["base_model"], record.get("evaluation")
    loader = LOADERS[adapter["task_type"] if adapter else record.get("task_type", "CAUSAL_LM")]
    reward = loader == LOADERS["SEQ_CLS"]
    checkpoint = checkpoint_of(base)
    return template.render(
        metadata=_metadata(record, name, adapter, reward),
        name=name,
        repo_id=repo_id,
        record=record,
        adapter={"trainable_token_indices": None, **adapter} if adapter else None,
        reward=reward,
        loader=loader,
        quantized=adapter is not None and not reward and record["quantization"] == "4bit",
        base_link=f"[{_md(base)}](https://huggingface.co/{base})" if REPO_ID.fullmatch(base) else _md(base),
        terms=checkpoint.license if checkpoint else None,
        evaluation=evaluation,
        rouge=evaluation and evaluation["rouge"],
        metrics=METRICS,
        settings=_settings(record, adapter),
        curve_file=CURVE_FILE,
        has_curve=has_curve,
        system=record.get("system_prompt", SYSTEM),
        instruction=record.get("instruction", INSTRUCTIONS)[0],
        pinned_date=PINNED_DATE,
        max_new_tokens=MAX_NEW_TOKENS,
        num_beams=NUM_BEAMS,
    )


def _results(evaluation: dict, dataset: str | None) -> list[EvalResult]:
    rouge = evaluation["rouge"]
    how = {**rouge["config"], "interval95_of_mean": rouge["interval95_of_mean"], "decoding": evaluation["decoding"]}
    return [
        EvalResult(
            task_type="summarization",
            task_name="Korean dialogue summarization",
            dataset_type=dataset or "custom",
            dataset_name=evaluation["file"],
            metric_type="rouge",
            metric_name=f"{METRICS[key]} F1 x 100 ({rouge['config']['tokenizer']} tokens)",
            metric_value=rouge[key],
            metric_args=how,
        )
        for key in ("rouge1", "rouge2", "rougeL", "mean")
    ]


def _metadata(record: dict, name: str, adapter: dict | None, reward: bool) -> str:
    """The YAML header."""
    dataset, evaluation = record["data"].get("dataset_name"), record.get("evaluation")
    results = _results(evaluation, dataset) if evaluation else None
    checkpoint = checkpoint_of(record["base_model"])
    method = re.sub("[^a-z0-9]+", "-", record["method"].lower())
    data = ModelCardData(
        model_name=name,
        language="ko",
        license=checkpoint.license.id if checkpoint else None,
        license_name=checkpoint.license.name if checkpoint else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification" if reward else "summarization",
        base_model=record["base_model"],
        datasets=[dataset] if dataset else None,
        metrics=["rouge"] if results else None,
        tags=["dialogue-summarization", "korean", "dialsum-trl", "trl", method, *(["lora"] if adapter else [])],
        eval_results=results,
        base_model_relation="adapter" if adapter else "finetune",
    )
    return data.to_yaml(line_break="\n")


def _settings(record: dict, adapter: dict | None) -> dict[str, object]:
    """Name -> value of what the training table shows."""
    data = record["data"]
    settings = {name.replace("_", " "): value for name, value in record["settings"].items()}
    if adapter:
        settings["LoRA"] = (
            f"{'DoRA, ' * adapter.get('use_dora', False)}{'rsLoRA, ' * adapter.get('use_rslora', False)}"
            f"r {adapter['r']}, alpha {adapter['lora_alpha']:g}, dropout {adapter['lora_dropout']}, on "
            + ", ".join(sorted(adapter["target_modules"]))
        )
    weights = {"4bit": "nf4, double quantization", "8bit": "8-bit", "none": record["dtype"]}
    return settings | {
        "base weights": weights[record["quantization"]],
        "dtype": record["dtype"],
        "prompt": f"{record['prompt_style']}, instructions {record['instructions']}",
        "chat template": f"sha256 {record['template_sha256'][:16]}",
        "rows": f"{data['rows']} ({data['file']})" if data.get("file") else data.get("rows", ""),
    }
