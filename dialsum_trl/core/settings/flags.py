"""Flags that many stages share: data, prompt, model, ROUGE, decoding, prediction."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings import defaults
from dialsum_trl.core.settings.bounds import AT_LEAST_0, BELOW_1, COUNT, POSITIVE, SEEDS
from dialsum_trl.core.settings.prompt_texts import SPEECH_RULES, TEXTS, read_instructions, with_line_breaks


def flag(default: Any, help: str, bounds: str | None = None, may_change: bool = False) -> Any:
    """A dataclass field that is a flag.

    Args:
        help: of `--help`; a percent sign is written twice.
        bounds: the interval of its numbers, as in mathematics (`settings.bounds`).
        may_change: whether a run may be continued with another value than it was started with.
    """
    metadata = {"help": help, "may_change": may_change} | ({"bounds": bounds} if bounds else {})
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


METRICS = ("rouge", "bertscore", "bleurt")  # of --metrics
BERTSCORE_MODEL = "google-bert/bert-base-multilingual-cased"  # of NIKL's script
TRAIN_REFERENCES = "Several references (summary1..3): a row for each (all), or the first of each dialogue alone."


def _pattern(name: str, value: dict | str | None, kind: Any) -> dict | None:
    """A pattern of layers as a dict; raises InputError for anything but JSON of layers and positive numbers."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        found = value
    if found is None or (
        isinstance(found, dict)
        and all(isinstance(each, kind) and not isinstance(each, bool) and each > 0 for each in found.values())
    ):
        return found
    raise InputError(f"--{name} {value}: give layers and their numbers as JSON, such as '{{\"down_proj\": 32}}'")


def settings_of(name: str, value: dict | str | None) -> dict:
    """The settings of a stage inside another one, from JSON or a recipe; raises InputError for anything else."""
    try:
        found = json.loads(value) if isinstance(value, str) else value or {}
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"--{name} {value}: give its settings as JSON, such as '{{\"num_train_epochs\": 2}}'")
    return found


@dataclass
class DataArguments:
    train_file: str | None = flag(
        None, "CSV, TSV, JSON, JSONL, Parquet or Excel with fname, dialogue, summary[, topic].", may_change=True
    )
    eval_file: str | None = flag(None, "Dev rows in the same format.", may_change=True)
    dataset_name: str | None = flag(None, "Hub dataset instead of files, e.g. knkarthick/dialogsum.", may_change=True)
    dataset_config: str | None = flag(None, "Its configuration, where it has several.", may_change=True)
    dataset_train_split: str = flag("train", "Its split of training rows.", may_change=True)
    dataset_eval_split: str = flag("validation", "Its split of dev rows.", may_change=True)
    fname_column: str = flag("fname", "Column of row ids; without one, rows are named by number.", may_change=True)
    dialogue_column: str = flag("dialogue", "Column of dialogues; likely names are tried.", may_change=True)
    summary_column: str = flag("summary", "Column of summaries (or summary1..summary3).", may_change=True)
    topic_column: str = flag("topic", "Column that holds the topic; may be absent.", may_change=True)
    drop_shared_rows: bool = flag(
        False, "Leave training rows out that are dev rows too, instead of stopping.", may_change=True
    )

    def __post_init__(self) -> None:
        for name, default in (("config", None), ("train_split", "train"), ("eval_split", "validation")):
            value = getattr(self, f"dataset_{name}")
            if value != default and not self.dataset_name:
                raise InputError(f"--dataset_{name} {value}: is of a Hub dataset; give --dataset_name, or leave it out")

    def columns(self) -> dict[str, str]:
        """As `columns_in`."""
        return columns_in(vars(self))


def columns_in(settings: dict) -> dict[str, str]:
    """Canonical name -> the file's name, for `data.read_dialogues`, from settings with `DataArguments`' flags."""
    return {role: settings[f"{role}_column"] for role in ("fname", "dialogue", "summary", "topic")}


@dataclass
class PromptArguments:
    """`system_prompt` and `instruction` hold the texts that are asked, whichever flag they came from."""

    system_prompt: str | None = flag(None, "System text; default: by --prompt_language. \\n is a line break.")
    instruction: list[str] = flag(
        [],
        "What is asked, one text or several; prediction asks the first. The dialogue comes after it, or where it has "
        "{dialogue}; {topic} and {speakers} are filled from the row.",
    )
    instructions_file: str | None = flag(None, "Text file with an instruction per line, instead of --instruction.")
    speakers: Literal["keep", "numbered", "prefixed"] = flag(
        "keep",
        "Speakers that are ids (SD2000001, P01): keep; numbered: 화자1, and summaries get the ids back; prefixed: 화자 "
        "before each.",
    )
    speech_rules: list[str] = flag(
        ["none"], f"What transcribed speech loses: {', '.join(SPEECH_RULES)} (docs/nikl.md), or none."
    )
    prompt_language: Literal["ko", "en"] = flag("ko", "Language of the texts that are not given.")
    instructions: Literal["default", "all", "random"] = flag(
        "default",
        "default: the first instruction. all: each training row with all of them. random: one per row, seeded.",
    )
    prompt_style: Literal["native", "instruction"] = flag(
        "native",
        "native: the tokenizer's own chat template. instruction: ### Instruction / ### Input / ### Response.",
    )

    def __post_init__(self) -> None:
        self.speech_rules = [name for name in self.speech_rules if name != "none"]
        if unknown := [name for name in self.speech_rules if name not in SPEECH_RULES]:
            raise InputError(f"--speech_rules {unknown[0]}: must be {', '.join(SPEECH_RULES)} or none")
        if self.instructions_file:
            if self.instruction:
                raise InputError("--instruction and --instructions_file exclude each other: leave one out")
            self.instruction, self.instructions_file = read_instructions(self.instructions_file), None
        system, instructions = TEXTS[self.prompt_language]
        self.system_prompt = system if self.system_prompt is None else with_line_breaks(self.system_prompt)
        self.instruction = [with_line_breaks(text) for text in self.instruction or instructions]
        if not all(self.instruction):
            raise InputError("--instruction is empty; give a text, or leave it out")
        if self.instructions != "default" and len(self.instruction) == 1:
            raise InputError(f"--instructions {self.instructions}: there is one; give several, or leave it out")
        if self.prompt_style == "instruction" and any("\n\n" in t or "{dialogue}" in t for t in self.instruction):
            raise InputError(
                "--prompt_style instruction parts instruction and dialogue itself: give an --instruction without empty "
                "lines and without {dialogue}"
            )


@dataclass
class ModelArguments:
    model_name_or_path: str | None = flag(None, "Base model: a Hub id or a local folder.", may_change=True)
    model_revision: str = flag("main", "Branch, tag or commit of the base model.", may_change=True)
    adapter_path: str | None = flag(None, "Adapter to continue from (training) or to use (predict).", may_change=True)
    dtype: Literal["bfloat16", "float16", "float32", "auto"] = flag(
        "bfloat16",
        "Model dtype, which 4-bit compute and mixed precision follow; auto: the base's own, bfloat16 for float32.",
    )
    quantization: Literal["4bit", "8bit", "none"] = flag("4bit", "How the frozen base is stored.")
    bnb_4bit_quant_storage: Literal["uint8", "bfloat16", "float16", "float32"] = flag(
        "uint8", "Storage dtype of 4-bit weights; FSDP wants the model's dtype.", may_change=True
    )
    trust_remote_code: bool = flag(
        False, "Run Python files that come with the model; command line only.", may_change=True
    )
    attn_implementation: str | None = flag(
        None, "Attention of transformers; default: chosen by the fast path.", may_change=True
    )
    use_peft: bool = flag(True, "Train LoRA adapters. false: full fine-tuning (needs --quantization none).")
    lora_r: int = flag(defaults.LORA_R, "LoRA rank.", bounds=COUNT)
    lora_alpha: int = flag(defaults.LORA_ALPHA, "LoRA alpha.", bounds=COUNT)
    lora_dropout: float = flag(defaults.LORA_DROPOUT, "LoRA dropout.", bounds=BELOW_1)
    lora_target_modules: list[str] = flag(
        list(defaults.LORA_TARGETS),
        "Linear layers with LoRA, or all-linear; an architecture without these gets all of its own.",
    )
    use_dora: bool = flag(False, "DoRA: magnitudes of the weights are trained too; on layers that are not fused.")
    use_rslora: bool = flag(False, "rsLoRA: LoRA is scaled by alpha / sqrt(r) instead of alpha / r.")
    init_lora_weights: Literal["default", "gaussian", "orthogonal", "olora", "pissa", "eva"] = flag(
        "default", "First weights of new LoRA layers; olora, pissa: of the base's weights, eva: of the rows."
    )
    rank_pattern: dict | str | None = flag(None, 'Ranks of some layers as JSON: {"down_proj": 32}.')
    alpha_pattern: dict | str | None = flag(None, 'Alphas of some layers as JSON: {"down_proj": 64}.')

    def __post_init__(self) -> None:
        self.rank_pattern = _pattern("rank_pattern", self.rank_pattern, int)
        self.alpha_pattern = _pattern("alpha_pattern", self.alpha_pattern, int | float)
        if self.trust_remote_code:
            say(f"warning: --trust_remote_code runs Python files that come with {self.model_name_or_path}: read them")


@dataclass
class RougeArguments:
    rouge_tokenizer: str = flag(
        defaults.ROUGE_TOKENIZER, "Tokens that ROUGE counts: mecab, nikl, whitespace, char or english."
    )
    rouge_masks: Literal["split", "atomic"] = flag(defaults.ROUGE_MASKS, "Whether #Person1# is split by the tokenizer.")
    rouge_references: Literal["mean", "max"] = flag(defaults.ROUGE_REFERENCES, "How several references are combined.")


@dataclass
class MetricArguments:
    """Scores beside ROUGE, of the stages that score summaries."""

    metrics: list[str] = flag(
        ["rouge"], f"Scores: {' '.join(METRICS)}; with all three NIKL's total is scored too (docs/nikl.md)."
    )
    bertscore_model: str = flag(BERTSCORE_MODEL, "Folder or Hub id of BERTScore's model.")
    bleurt_model: str | None = flag(None, "Folder of BLEURT-20 (docs/nikl.md).")

    def __post_init__(self) -> None:
        if unknown := [name for name in self.metrics if name not in METRICS]:
            raise InputError(f"--metrics {unknown[0]}: must be {', '.join(METRICS)}")
        if "bleurt" in self.metrics and not self.bleurt_model:
            raise InputError("--metrics bleurt: give the folder of BLEURT-20 with --bleurt_model (docs/nikl.md)")


@dataclass
class DecodingArguments:
    num_beams: int = flag(defaults.NUM_BEAMS, "Beams; 1 is greedy.", bounds=COUNT)
    max_new_tokens: int = flag(defaults.MAX_NEW_TOKENS, "Longest summary, tokens.", bounds=COUNT)
    do_sample: bool = flag(False, "Sample instead of searching (num_beams must be 1).")
    temperature: float = flag(1.0, "Sampling temperature.", bounds=POSITIVE)
    top_p: float = flag(1.0, "Nucleus of the sampling distribution.", bounds="(0, 1]")
    length_penalty: float = flag(1.0, "Beam search: above 1 prefers longer summaries.", bounds="(-inf, inf)")
    no_repeat_ngram_size: int = flag(0, "Forbid repeated n-grams of this size; 0 allows them.", bounds=AT_LEAST_0)
    batch_size: int | None = flag(None, "Dialogues decoded together; default: what the memory allows.", bounds=COUNT)
    engine: Literal["torch", "vllm"] = flag("torch", "vllm is optional and must be installed by you.")
    seed: int = flag(defaults.SEED, "Seed of sampling.", bounds=SEEDS)


@dataclass
class PredictArguments(MetricArguments):
    test_file: str | None = flag(None, "CSV or JSONL to summarize; scored when it has references.")
    template: str | None = flag(None, "Sample submission whose rows and order the submission takes.")
    output_dir: str = flag("outputs/predict", "Where submission.csv, predictions.jsonl and scores.json go.")
    postprocess: list[str] = flag(
        ["none"], "Rules that repair each summary (recipes/postprocess.py measures them on dev), or none."
    )
    num_return_sequences: int = flag(
        1, "Summaries per dialogue, one file each in candidates/ (for recipes/ensemble.py).", bounds=COUNT
    )
    max_length: int = flag(
        defaults.MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.", bounds=COUNT
    )
    save_every: int = flag(512, "Dialogues between two saves; a killed run continues from the last one.", bounds=COUNT)
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(defaults.BOOTSTRAP, "Resamples of the 95 %% interval.", bounds=AT_LEAST_0)


SUMMARIZING = (DataArguments, PromptArguments, ModelArguments, RougeArguments, DecodingArguments)  # of stages that do
