"""Settings: dataclasses of flags, and `parse_recipe` that merges them.

Precedence, lowest first: trainer defaults < recipe < `--config my.yaml` < flags. Unknown keys, unknown flags and
abbreviated flags are errors. Nothing heavy is imported here: `--help` of a recipe is instant.
"""

import difflib
import os
import sys
from dataclasses import dataclass, field, fields
from typing import Literal

from dialsum_trl.bounds import check_numbers
from dialsum_trl.console import say
from dialsum_trl.errors import InputError, settings_in_one_line
from dialsum_trl.samples import check_trackers
from dialsum_trl.scale.topology import fit_topology, launched_on_cpu, use_one_gpu
from dialsum_trl.settings_file import (
    as_tokens,
    check_config_values,
    defaults_of,
    pop_config,
    read_config,
    stage_settings,
)
from dialsum_trl.unread import refuse_unread


def flag(default, help):
    """A dataclass field with its help text."""
    return field(default=default, metadata={"help": help})


@dataclass
class DataArguments:
    train_file: str | None = flag(None, "CSV or JSONL with fname, dialogue, summary[, topic].")
    eval_file: str | None = flag(None, "Dev rows in the same format.")
    dataset_name: str | None = flag(None, "Hub dataset with train and validation splits, e.g. knkarthick/dialogsum.")
    fname_column: str = flag("fname", "Column that holds the row id.")
    dialogue_column: str = flag("dialogue", "Column that holds the dialogue.")
    summary_column: str = flag("summary", "Column that holds the summary (or use summary1..summary3).")
    topic_column: str = flag("topic", "Column that holds the topic; may be absent.")
    drop_shared_rows: bool = flag(False, "Leave training rows out that are dev rows too, instead of stopping.")

    def columns(self) -> dict[str, str]:
        """Canonical name -> the file's name, for `data.read_dialogues`."""
        return {
            "fname": self.fname_column,
            "dialogue": self.dialogue_column,
            "summary": self.summary_column,
            "topic": self.topic_column,
        }


@dataclass
class PromptArguments:
    instructions: Literal["default", "all", "random"] = flag(
        "default",
        "default: one fixed instruction. all: each training row with all five. random: one of the five a row, seeded.",
    )
    prompt_style: Literal["native", "instruction"] = flag(
        "native",
        "native: the tokenizer's own chat template. instruction: ### Instruction / ### Input / ### Response.",
    )


@dataclass
class ModelArguments:
    model_name_or_path: str | None = flag(None, "Base model: a Hub id or a local folder.")
    model_revision: str = flag("main", "Branch, tag or commit of the base model.")
    adapter_path: str | None = flag(None, "Adapter to continue from (training) or to use (predict).")
    dtype: Literal["bfloat16", "float16", "float32"] = flag(
        "bfloat16", "Model dtype; the 4-bit compute dtype and the trainer's mixed precision follow it."
    )
    quantization: Literal["4bit", "8bit", "none"] = flag("4bit", "How the frozen base is stored.")
    bnb_4bit_quant_storage: Literal["uint8", "bfloat16", "float16", "float32"] = flag(
        "uint8", "Storage dtype of 4-bit weights; FSDP wants the model's dtype."
    )
    trust_remote_code: bool = flag(False, "Run Python files that come with the model; command line only.")
    attn_implementation: str | None = flag(None, "Attention of transformers; default: chosen by the fast path.")
    use_peft: bool = flag(True, "Train LoRA adapters. false: full fine-tuning (needs --quantization none).")
    lora_r: int = flag(16, "LoRA rank.")
    lora_alpha: int = flag(32, "LoRA alpha.")
    lora_dropout: float = flag(0.05, "LoRA dropout.")
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        metadata={"help": "Linear layers with LoRA."},
    )

    def __post_init__(self):
        if self.trust_remote_code:
            say(f"warning: --trust_remote_code runs Python files that come with {self.model_name_or_path}: read them")


@dataclass
class RougeArguments:
    rouge_tokenizer: Literal["mecab", "whitespace", "char", "english"] = flag("mecab", "Tokens that ROUGE counts.")
    rouge_masks: Literal["split", "atomic"] = flag("split", "Whether #Person1# is split by the tokenizer.")
    rouge_references: Literal["mean", "max"] = flag("mean", "How several references are combined.")


@dataclass
class SFTArguments:
    effective_batch_size: int = flag(
        64, "Rows an optimizer step over all processes; accumulation is derived unless given."
    )
    fast: bool = flag(True, "Packing, variable-length attention and compiled layers; false: plain TRL, padded.")
    memory_gib: float | None = flag(None, "GPU memory to stay within, GiB; default: what the GPU has free.")
    rouge_rows: int = flag(32, "Dev rows summarized at each evaluation for ROUGE; 0 switches it off.")
    rouge_max_new_tokens: int = flag(100, "Longest summary in those evaluations, tokens.")


@dataclass
class DecodingArguments:
    num_beams: int = flag(4, "Beams; 1 is greedy.")
    max_new_tokens: int = flag(100, "Longest summary, tokens.")
    do_sample: bool = flag(False, "Sample instead of searching (num_beams must be 1).")
    temperature: float = flag(1.0, "Sampling temperature.")
    top_p: float = flag(1.0, "Nucleus of the sampling distribution.")
    length_penalty: float = flag(1.0, "Beam search: above 1 prefers longer summaries.")
    no_repeat_ngram_size: int = flag(0, "Forbid repeated n-grams of this size; 0 allows them.")
    batch_size: int | None = flag(None, "Dialogues decoded together; default: what the memory allows.")
    engine: Literal["torch", "vllm"] = flag("torch", "vllm is optional and must be installed by you.")
    seed: int = flag(42, "Seed of sampling.")


@dataclass
class PredictArguments:
    test_file: str | None = flag(None, "CSV or JSONL to summarize; scored when it has references.")
    template: str | None = flag(None, "Sample submission whose rows and order the submission takes.")
    output_dir: str = flag("outputs/predict", "Where submission.csv, predictions.jsonl and scores.json go.")
    postprocess: list[str] = field(
        default_factory=lambda: ["none"],
        metadata={"help": "Rules that mend each summary (recipes/postprocess.py measures them on dev), or none."},
    )
    num_return_sequences: int = flag(1, "Summaries a dialogue, one file each in candidates/ (for recipes/ensemble.py).")
    max_length: int = flag(1024, "Tokens of prompt + summary; longer dialogues lose middle turns.")
    save_every: int = flag(512, "Dialogues between two savings: a run that is killed loses no more and goes on there.")
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(1000, "Resamples of the 95 %% interval.")


SHARED = {
    item.name
    for group in (DataArguments, PromptArguments, ModelArguments, RougeArguments, DecodingArguments, PredictArguments)
    for item in fields(group)
}


def _parser(groups):
    # transformers' argument parser in the copy that TRL ships because importing it costs no torch
    from trl.scripts._hf_argparser import HfArgumentParser

    class Parser(HfArgumentParser):
        def error(self, message):
            raise InputError(f"{message} (--help lists the flags)")

    # resolve: TRL's configs have a trust_remote_code of their own; both get the flag's value
    return Parser(groups, allow_abbrev=False, add_help=False, conflict_handler="resolve")


def _unknown(names: list[str], known: set[str], where: str) -> InputError:
    name = names[0]
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; --help lists the flags"
    return InputError(f"{where}: unknown setting {name}{hint}")


def _print_help(groups, recipe: dict, trainer_name: str | None) -> None:
    parser = _parser(groups)
    parser.set_defaults(**{k: v for k, v in recipe.items() if any(a.dest == k for a in parser._actions)})
    parser.usage = "accelerate launch %(prog)s [--config my.yaml] [--flag value ...]"
    own = {action.dest for action in parser._actions}
    rest = {k: v for k, v in recipe.items() if k not in own}
    if trainer_name:
        parser.epilog = (
            f"Every field of {trainer_name} is a flag too (--help_all lists them). This recipe sets: "
            + ", ".join(f"{k}={v}" for k, v in rest.items())
        )
    parser.print_help()


def parse_recipe(
    groups: list[type], recipe: dict, argv: list[str], trainer_config=None, adjust=None, stage=None
) -> tuple:
    """Merges recipe, config file and flags into dataclass instances.

    Args:
        groups: light dataclasses of flags (above).
        recipe: the recipe's settings.
        argv: command-line tokens.
        trainer_config: `(name, loader)`; `loader()` imports and returns the trainer's config dataclass. It is called
            after `--help` was served.
        adjust: called with `(namespace dict, names set by the user)` before the dataclasses are built; may change
            the dict. Here dtype and mixed precision are matched.
        stage: which section of the config file is read beside its common keys.

    Returns:
        One instance a group, then one of the trainer's config if given.

    Raises:
        InputError: unknown or abbreviated flag, unknown key in the config file, a value of the wrong type or out of
            its bounds, or a flag that the stage does not read.
    """
    trainer_name, load_trainer_config = trainer_config or (None, None)
    if "--help" in argv or "-h" in argv:
        _print_help(groups, recipe, trainer_name)
        sys.exit(0)
    config_path, argv = pop_config(list(argv))
    config_file = read_config(config_path) if config_path else {}
    config = stage_settings(config_file, stage)
    if load_trainer_config:
        groups = [*groups, load_trainer_config()]
    parser = _parser(groups)
    if "--help_all" in argv:
        parser.print_help()
        sys.exit(0)

    known = {action.dest for action in parser._actions}
    # a common key may be meant for other stages: those of the shared groups are passed over where a stage lacks them
    passed_over = SHARED - known - set(config_file.get(stage) or {})
    config = {key: value for key, value in config.items() if key not in passed_over}
    for settings, where in ((recipe, "recipe"), (config, f"--config {config_path}")):
        if unknown := [key for key in settings if key not in known]:
            raise _unknown(unknown, known, where)
    if "trust_remote_code" in {**recipe, **config}:
        where = f"--config {config_path}" if "trust_remote_code" in config else "recipe"
        raise InputError(
            f"{where}: trust_remote_code runs code of strangers; it is taken from the command line only: remove it"
        )
    check_config_values(parser, groups, config, f"--config {config_path}")
    tokens, nones = as_tokens({**recipe, **config})
    parser.set_defaults(**nones)
    namespace, rest = parser.parse_known_args(tokens + argv)
    if rest:
        raise _unknown([rest[0].split("=")[0]], {f"--{name}" for name in known}, "command line")

    names = [t.removeprefix("--").split("=")[0].replace("-", "_") for t in argv if t.startswith("--")]
    asked = set(config_file.get(stage) or {}) | {n if n in known else n.removeprefix("no_") for n in names}
    given = set(config) | asked
    values = vars(namespace)
    values.update({name: _at_home(value) for name, value in values.items()})
    check_numbers(values, defaults_of(parser))
    if empty := [name for name in ("output_dir", "output_file", "write_folds") if values.get(name) == ""]:
        raise InputError(f"--{empty[0]} is empty, which would be the working directory; name a place")
    check_trackers(values.get("report_to"))
    _check_old_names(values, given)
    refuse_unread(stage, values, asked, defaults_of(parser))  # common keys may be meant for other stages
    if adjust:
        adjust(values, given)
    fit_topology(stage, values, given)
    result = []
    for group in groups:
        with settings_in_one_line():
            result.append(group(**{f.name: values[f.name] for f in fields(group) if f.init}))
    if load_trainer_config:
        use_one_gpu(result[-1])
    return tuple(result)


def _at_home(value):
    """`~/data` as the folder it means: a shell writes it out at the start of a word alone, a YAML file nowhere."""
    if isinstance(value, list):
        return [_at_home(each) for each in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _check_old_names(values: dict, given: set[str]) -> None:
    """Raises InputError where an old name of a flag would be passed over for what its new name says."""
    for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        new = old.replace("gradient", "activation")
        if old in given and values[new] is not None and values[new] != values[old]:
            raise InputError(f"--{old}: is now called --{new}, which this recipe sets: give --{new}")


def match_precision(values: dict, given: set[str]) -> None:
    """Makes the trainer's mixed precision follow `dtype`, and refuses to start where nothing could train.

    Raises:
        InputError: `--bf16`/`--fp16` contradict `--dtype`, or there is no GPU and the CPU was not asked for.
    """
    import torch

    wanted = {"bfloat16": (True, False), "float16": (False, True), "float32": (False, False)}[values["dtype"]]
    for name, value in zip(("bf16", "fp16"), wanted, strict=True):
        if name in given and bool(values[name]) != value:
            raise InputError(
                f"--{name} {str(values[name]).lower()} does not match --dtype {values['dtype']}: leave --{name} out, "
                f"mixed precision follows --dtype"
            )
        values[name] = value
    cpu = values["use_cpu"] or launched_on_cpu()
    if not cpu and not torch.accelerator.is_available():
        raise InputError(
            "no GPU found: run on a machine with one, or try the offline toy with --config recipes/demo.yaml "
            "(--use_cpu true trains the real model on the CPU, which takes weeks)"
        )
    if cpu:
        values["use_cpu"] = True
        if "optim" not in given and str(values["optim"]).startswith("paged"):
            values["optim"] = "adamw_torch"  # paged optimizers need CUDA's unified memory
