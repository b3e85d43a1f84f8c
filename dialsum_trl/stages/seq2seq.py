"""The encoder-decoder baseline (KoBART; T5 and mBART by flag): read top to bottom in `train_seq2seq`."""

from dataclasses import dataclass, field

from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.core.settings.flags import flag
from dialsum_trl.data.patterns import MASKS


@dataclass
class Seq2SeqArguments:
    effective_batch_size: int = flag(
        32, "Rows an optimizer step over all processes; accumulation is derived unless given."
    )
    max_source_length: int = flag(MAX_LENGTH, "Tokens that the encoder reads; longer dialogues lose middle turns.")
    max_target_length: int = flag(200, "Tokens of a summary, in training and when generating.")
    mask_tokens: list[str] = field(
        default_factory=lambda: list(MASKS), metadata={"help": "Made one token each; none leaves the vocabulary alone."}
    )
    language: str | None = flag(None, "Language code of both sides, for models that need one (mBART: ko_KR).")
    source_prefix: str | None = flag(
        None, "Text before each dialogue, as `summarize: ` for T5 models of several tasks; default: the model's own."
    )
