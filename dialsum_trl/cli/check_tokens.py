"""The part of `check` that counts tokens with a model's tokenizer."""

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.audit import Finding
from dialsum_trl.data.kept_rows import KeptRows
from dialsum_trl.data.lengths import Measure, in_parts
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import encode_row
from dialsum_trl.prompts.token_lengths import measure
from dialsum_trl.prompts.tokenizer import load_tokenizer

__all__ = ["lost_rows", "measure"]
NEAR = 16  # tokens: rows nearer to --max_length than this are encoded as training does, the others are only counted


def lost_rows(rows: KeptRows, tokenizer_name: str, counter: Measure, max_length: int) -> Finding | None:
    """The rows that training refuses because prompt and summary do not fit into `max_length`."""
    [frame] = counter.prompt([""])
    summaries = in_parts(counter.summary, (row["summaries"][0] for row in rows))
    near = [row for row, summary in zip(rows, summaries, strict=True) if frame + summary + NEAR > max_length]
    if not near:
        return None
    tokenizer = load_tokenizer(tokenizer_name)
    stops, lost = stop_token_ids(tokenizer), []
    for row in near:
        try:
            encode_row(tokenizer, row["dialogue"], row["summaries"][0], stops, max_length)
        except InputError:
            lost.append(row["fname"])
    text = f"rows whose prompt and summary do not fit into --max_length {max_length}"
    return Finding("error", text, lost) if lost else None
