"""The model card of a trained adapter (or full model): what it is, how to load it, what it scored and how."""

import json
import re

from huggingface_hub import EvalResult, ModelCardData

from dialsum_trl.core.settings.defaults import MAX_NEW_TOKENS, NUM_BEAMS
from dialsum_trl.models.families.family import License
from dialsum_trl.models.families.registry import checkpoint_of
from dialsum_trl.prompts.prompt import INSTRUCTIONS, SYSTEM
from dialsum_trl.prompts.templates import PINNED_DATE

CURVE_FILE = "training_curve.svg"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
NEEDED = (  # of a run record
    "method", "base_model", "base_origin", "dtype", "quantization", "prompt_style", "instructions", "template_sha256",
    "pinned_date", "stop_tokens", "metrics", "settings", "data", "versions",
)  # fmt: skip
METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "mean": "mean of the three", "sum": "sum"}
_EXAMPLE = "#Person1#: 주말에 뭐 했어?\n#Person2#: 친구랑 산에 다녀왔어. 정상에서 본 경치가 정말 좋았어."
_LOADERS = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}


def _md(value) -> str:
    """A value as text of one line: what Markdown or HTML would act on is escaped, so records cannot write the card."""
    text = " ".join(str(value).split())
    return re.sub(r"[\\`*\[\]<>|]", lambda found: f"&#{ord(found[0])};", text.replace("&", "&amp;"))


def _py(value) -> str:
    """A value as a Python literal of the snippet, which nothing in it can end, nor the fence around it."""
    return json.dumps(value if isinstance(value, list) else str(value)).replace("`", "\\u0060")


def model_card(record: dict, repo_id: str, adapter: dict | None, has_curve: bool = False) -> str:
    """README.md for the Hub.

    Args:
        record: the run record (`hub.run_record`), its base named by repository.
        repo_id: where the card will stand; the loading snippet names it.
        adapter: content of adapter_config.json; None for a full model.
        has_curve: whether `CURVE_FILE` lies beside the card.
    """
    name = repo_id.split("/")[-1]
    sections = [
        f"# {_md(name)}",
        _introduction(record, adapter),
        f"## Use\n\n```python\n{_snippet(record, repo_id, adapter)}```",
        _scores(record),
        _training(record, adapter, has_curve),
        _limits(record),
    ]
    return f"---\n{_metadata(record, name, adapter)}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def _metadata(record, name, adapter) -> str:
    evaluation, results = record.get("evaluation"), None
    if evaluation:
        rouge = evaluation["rouge"]
        how = {**rouge["config"], "interval95_of_mean": rouge["interval95_of_mean"], "decoding": evaluation["decoding"]}
        results = [
            EvalResult(
                task_type="summarization",
                task_name="Korean dialogue summarization",
                dataset_type=record["data"].get("dataset_name") or "custom",
                dataset_name=evaluation["file"],
                metric_type="rouge",
                metric_name=f"{label} F1 x 100 ({rouge['config']['tokenizer']} tokens)",
                metric_value=rouge[key],
                metric_args=how,
            )
            for key, label in METRICS.items()
            if key != "sum"
        ]
    terms = _terms(record["base_model"])
    method = re.sub("[^a-z0-9]+", "-", record["method"].lower())
    data = ModelCardData(
        model_name=name,
        language="ko",
        license=terms.id if terms else None,
        license_name=terms.name if terms else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification" if _is_reward(adapter) else "summarization",
        base_model=record["base_model"],
        datasets=[record["data"]["dataset_name"]] if record["data"].get("dataset_name") else None,
        metrics=["rouge"] if results else None,
        tags=["dialogue-summarization", "korean", "dialsum-trl", "trl", method, *(["lora"] if adapter else [])],
        eval_results=results,
        base_model_relation="adapter" if adapter else "finetune",
    )
    return data.to_yaml(line_break="\n")


def _terms(base: str) -> License | None:
    """The licence of a base; None where it is not known."""
    checkpoint = checkpoint_of(base)
    return checkpoint.license if checkpoint else None


def _is_reward(adapter) -> bool:
    return bool(adapter) and adapter.get("task_type") == "SEQ_CLS"


def _introduction(record, adapter) -> str:
    base = record["base_model"]
    link = f"[{_md(base)}](https://huggingface.co/{base})" if REPO_ID.fullmatch(base) else _md(base)
    what = "LoRA adapter on" if adapter else "Fine-tuned from"
    job = "scores summaries of Korean dialogues" if _is_reward(adapter) else "summarizes Korean dialogues"
    commit = record["base_origin"]["commit"]
    lines = [
        f"한국어 일상 대화 요약 모델입니다. {what} {link}{f' at commit `{_md(commit)}`' if commit else ''}; it {job}. "
        f"Trained by {_md(record['method'])} with dialsum-trl on TRL {_md(record['versions']['trl'])}."
    ]
    if (terms := _terms(base)) and terms.notice:
        lines.append(terms.notice)
    return "\n\n".join(lines)


def _snippet(record, repo_id, adapter) -> str:
    if _is_reward(adapter):
        return _reward_snippet(record, repo_id)
    loader = _LOADERS[adapter["task_type"] if adapter else record.get("task_type", "CAUSAL_LM")]
    quantized = adapter is not None and record["quantization"] == "4bit"
    lines = ["from peft import PeftModel"] if adapter else []
    lines += [
        f"from transformers import {loader}, AutoTokenizer" + (", BitsAndBytesConfig" if quantized else ""),
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_py(repo_id)})",
    ]
    options = [f"dtype={_py(record['dtype'])}", 'device_map="auto"']
    if quantized:
        lines += [
            "quantization = BitsAndBytesConfig(  # as in training",
            '    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,',
            f"    bnb_4bit_compute_dtype={_py(record['dtype'])},",
            ")",
        ]
        options.append("quantization_config=quantization")
    if adapter:
        options.insert(0, f"revision={_py(record['base_revision'])}")
        lines += [f"base = {loader}.from_pretrained(", f"    {_py(record['base_model'])}, {', '.join(options)}", ")"]
        if adapter.get("trainable_token_indices"):
            lines.append("base.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)")
        lines.append(f"model = PeftModel.from_pretrained(base, {_py(repo_id)}).eval()")
    else:
        lines.append(f"model = {loader}.from_pretrained({_py(repo_id)}, {', '.join(options)}).eval()")
    lines += ["", f'dialogue = """{_EXAMPLE}"""']
    return "\n".join([*lines, *_generation_lines(record, loader)]) + "\n"


def _generation_lines(record, loader) -> list[str]:
    if loader == "AutoModelForSeq2SeqLM":
        return [
            'inputs = tokenizer(dialogue, return_tensors="pt").to(model.device)',
            f"output = model.generate(**inputs, max_new_tokens={MAX_NEW_TOKENS}, num_beams={NUM_BEAMS})",
            "print(tokenizer.decode(output[0], skip_special_tokens=True))",
        ]
    told = f', date_string="{PINNED_DATE}"' if record["pinned_date"] else ""
    told += ", enable_thinking=False" if "enable_thinking" in record else ""
    return [
        "messages = [",
        f'    {{"role": "system", "content": "{SYSTEM}"}},',
        f'    {{"role": "user", "content": "{INSTRUCTIONS[0]}\\n\\n" + dialogue}},',
        "]",
        "inputs = tokenizer.apply_chat_template(",
        f'    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{told}',
        ").to(model.device)",
        "output = model.generate(",
        f"    **inputs, max_new_tokens={MAX_NEW_TOKENS}, num_beams={NUM_BEAMS}, do_sample=False, "
        "pad_token_id=tokenizer.pad_token_id,",
        f"    eos_token_id=tokenizer.convert_tokens_to_ids({_py(record['stop_tokens'])}),",
        ")",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]


def _reward_snippet(record, repo_id) -> str:
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({_py(repo_id)})\n"
        f"base = AutoModelForSequenceClassification.from_pretrained(\n    {_py(record['base_model'])}, "
        f"revision={_py(record['base_revision'])}, dtype={_py(record['dtype'])}, num_labels=1, "
        f'device_map="auto"\n)\n'
        f"model = PeftModel.from_pretrained(base, {_py(repo_id)}).eval()\n"
    )


def _scores(record) -> str:
    evaluation = record.get("evaluation")
    if not evaluation and record["metrics"]:
        figures = "\n".join(f"| {_md(name)} | {value:.4f} |" for name, value in record["metrics"].items())
        return f"## Scores\n\nOn the evaluation rows, during training:\n\n| | |\n|---|---:|\n{figures}"
    if not evaluation:
        return ""
    rouge = evaluation["rouge"]
    low, high = rouge["interval95_of_mean"] or (None, None)
    interval = f"{low:.2f} to {high:.2f}" if low is not None else ""
    rows = [("this model", rouge, interval)]
    if "floor" in rouge:
        rows.append((f"constant line “{_md(rouge['floor']['line'])}”", rouge["floor"], ""))
    config = rouge["config"]
    lines = [
        "## Scores",
        "",
        "| | " + " | ".join(METRICS.values()) + " | 95 % interval of the mean |",
        "|---|" + "---:|" * (len(METRICS) + 1),
        *(f"| {name} | " + " | ".join(f"{r[key]:.2f}" for key in METRICS) + f" | {span} |" for name, r, span in rows),
        "",
        f"F1 x 100 on {rouge['n']} rows of {_md(evaluation['file'])}; {_md(config['tokenizer'])} tokens "
        f"({_md(config['tokens_by'])}), masks {_md(config['masks'])}, {_md(config['references'])} over the references; "
        f"decoding: {_md(evaluation['decoding'])}. "
        f"Figures under another tokenizer or another handling of the `#Person1#` masks cannot be compared with these.",
    ]
    return "\n".join(lines)


def _training(record, adapter, has_curve) -> str:
    data, settings = record["data"], dict(record["settings"])
    if adapter:
        settings |= {
            "LoRA": f"r {adapter['r']}, alpha {adapter['lora_alpha']}, dropout {adapter['lora_dropout']}, on "
            + ", ".join(sorted(adapter["target_modules"]))
        }
    settings |= {
        "base weights": {"4bit": "nf4, double quantization", "8bit": "8-bit", "none": record["dtype"]}[
            record["quantization"]
        ],
        "dtype": record["dtype"],
        "prompt": f"{record['prompt_style']}, instructions {record['instructions']}",
        "chat template": f"sha256 {record['template_sha256'][:16]}",
        "rows": f"{data['rows']} ({data['file']})" if data.get("file") else data.get("rows", ""),
    }
    lines = ["## Training", ""]
    if has_curve:
        lines += [f"![training curve]({CURVE_FILE})", ""]
    lines += [
        "| setting | value |",
        "|---|---|",
        *(f"| {_md(key)} | {_md(value)} |" for key, value in settings.items()),
        "",
    ]
    lines.append(
        "Versions: " + ", ".join(f"{_md(name)} {_md(version)}" for name, version in record["versions"].items()) + "."
    )
    return "\n".join(lines)


def _limits(record) -> str:
    terms = _terms(record["base_model"])
    base = f"the base model ({terms.name or terms.id})" if terms else f"the base model, {_md(record['base_model'])},"
    return (
        "## Licence and limits\n\n"
        f"The licence of {base} holds for these weights too, and so does that of the training data: DialogSum and its "
        "translations are CC BY-NC-SA 4.0 (not for commercial use). Summaries can be wrong: names, numbers and who "
        "said what should be checked against the dialogue."
    )
