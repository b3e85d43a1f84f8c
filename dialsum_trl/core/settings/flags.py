"""Flags that many stages share: data, prompt, model, ROUGE, decoding, prediction."""

from dataclasses import dataclass, field
from typing import Literal

from dialsum_trl.core.console import say
from dialsum_trl.core.settings.defaults import (
    BOOTSTRAP,
    LORA_ALPHA,
    LORA_DROPOUT,
    LORA_R,
    LORA_TARGETS,
    MAX_LENGTH,
    MAX_NEW_TOKENS,
    NUM_BEAMS,
    ROUGE_MASKS,
    ROUGE_REFERENCES,
    ROUGE_TOKENIZER,
    SEED,
)


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
    lora_r: int = flag(LORA_R, "LoRA rank.")
    lora_alpha: int = flag(LORA_ALPHA, "LoRA alpha.")
    lora_dropout: float = flag(LORA_DROPOUT, "LoRA dropout.")
    lora_target_modules: list[str] = field(
        default_factory=lambda: list(LORA_TARGETS),
        metadata={"help": "Linear layers with LoRA."},
    )

    def __post_init__(self):
        if self.trust_remote_code:
            say(f"warning: --trust_remote_code runs Python files that come with {self.model_name_or_path}: read them")


@dataclass
class RougeArguments:
    rouge_tokenizer: Literal["mecab", "whitespace", "char", "english"] = flag(
        ROUGE_TOKENIZER, "Tokens that ROUGE counts."
    )
    rouge_masks: Literal["split", "atomic"] = flag(ROUGE_MASKS, "Whether #Person1# is split by the tokenizer.")
    rouge_references: Literal["mean", "max"] = flag(ROUGE_REFERENCES, "How several references are combined.")


@dataclass
class DecodingArguments:
    num_beams: int = flag(NUM_BEAMS, "Beams; 1 is greedy.")
    max_new_tokens: int = flag(MAX_NEW_TOKENS, "Longest summary, tokens.")
    do_sample: bool = flag(False, "Sample instead of searching (num_beams must be 1).")
    temperature: float = flag(1.0, "Sampling temperature.")
    top_p: float = flag(1.0, "Nucleus of the sampling distribution.")
    length_penalty: float = flag(1.0, "Beam search: above 1 prefers longer summaries.")
    no_repeat_ngram_size: int = flag(0, "Forbid repeated n-grams of this size; 0 allows them.")
    batch_size: int | None = flag(None, "Dialogues decoded together; default: what the memory allows.")
    engine: Literal["torch", "vllm"] = flag("torch", "vllm is optional and must be installed by you.")
    seed: int = flag(SEED, "Seed of sampling.")


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
    max_length: int = flag(MAX_LENGTH, "Tokens of prompt + summary; longer dialogues lose middle turns.")
    save_every: int = flag(512, "Dialogues between two savings: a run that is killed loses no more and goes on there.")
    use_cpu: bool = flag(False, "Run on the CPU.")
    bootstrap: int = flag(BOOTSTRAP, "Resamples of the 95 %% interval.")
