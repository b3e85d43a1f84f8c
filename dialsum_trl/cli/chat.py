"""`dialsum summarize` and `dialsum chat`: dialogues in, summaries out as they are generated."""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import get_args

import torch
from transformers import TextIteratorStreamer
from transformers.utils import logging

from dialsum_trl.cli.page import build_page
from dialsum_trl.core.console import printable
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.data.cleaning import blank, clean_dialogue
from dialsum_trl.data.formats.encoding import encoding_of
from dialsum_trl.data.formats.kakao import kakao_dialogue
from dialsum_trl.data.tables import first_bytes, is_json
from dialsum_trl.generation.engine import asked_settings_only
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import encode_prompts, summarize
from dialsum_trl.generation.summarizer import Summarizer, load_summarizer
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import PromptTexts, prompt_texts

QUANTIZATIONS = get_args(ModelArguments.__annotations__["quantization"])
NUMBERED_SPEAKER = re.compile(r"(?:화|화자\d*)?$")  # at the end of a piece, perhaps not whole
SUCH_LINES = "give lines such as `#Person1#: ...`"


def load(adapter: str | None, model: str | None, quantization: str | None) -> Summarizer:
    """The summarizer of an adapter (a folder or a Hub id) on its own base, or of a base alone.

    Raises:
        InputError: neither is named, one cannot be loaded, or the quantization is unknown.
    """
    if quantization not in (None, *QUANTIZATIONS):
        raise InputError(f"--quantization {quantization}: must be {', '.join(QUANTIZATIONS)}")
    logging.disable_progress_bar()  # a chat shows dialogues and summaries only
    with redirect_stdout(sys.stderr):  # summaries alone go to standard output
        return load_summarizer(model, adapter, quantization=quantization)


def stream(summarizer: Summarizer, dialogue: str, max_new_tokens: int) -> Iterator[str]:
    """Pieces of a greedy summary while it is generated."""
    tokenizer, model, dialogue = summarizer.tokenizer, summarizer.model, cleaned(dialogue)
    settings = GenerationSettings(num_beams=1, max_new_tokens=max_new_tokens)
    ids = torch.tensor(encode_prompts(summarizer, [dialogue], settings), device=model.device)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    failures: list[Exception] = []

    def generate() -> None:
        try:
            with asked_settings_only(model):
                model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    streamer=streamer,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    eos_token_id=stop_token_ids(tokenizer),
                    pad_token_id=tokenizer.pad_token_id,
                )
        except Exception as error:  # raised again below; otherwise the reader waits forever
            failures.append(error)
            streamer.end()

    worker = Thread(target=generate, daemon=True)
    worker.start()
    started = False
    for piece in named_again(streamer, prompt_texts(tokenizer), dialogue):
        piece = piece if started else piece.lstrip()
        started = started or bool(piece)
        yield piece
    worker.join()
    if failures:
        raise failures[0]


def named_again(pieces: Iterable[str], texts: PromptTexts, dialogue: str) -> Iterator[str]:
    """The pieces with the ids of the speakers that the model calls 화자1, 화자2; what may begin one waits."""
    held = ""
    for piece in pieces:
        held += piece
        ready = held[: NUMBERED_SPEAKER.search(held).start()] if texts.speakers == "numbered" else held
        yield texts.with_ids(dialogue, ready)
        held = held[len(ready) :]
    yield texts.with_ids(dialogue, held)


def summarize_file(
    file: Path, adapter: str | None, model: str | None, quantization: str | None, num_beams: int, max_new_tokens: int
) -> None:
    """Prints the summary of one dialogue.

    Args:
        file: a text file, or `-` for standard input.
        num_beams: 1 streams; more search and print at the end.
    """
    dialogue = cleaned(read_dialogue(file))
    summarizer = load(adapter, model, quantization)
    if num_beams == 1:
        print_stream(summarizer, dialogue, max_new_tokens)
        return
    settings = GenerationSettings(num_beams=num_beams, max_new_tokens=max_new_tokens)
    print(printable(summarize(summarizer, [dialogue], settings, progress=False)[0].text, keep="\n"))


def cleaned(dialogue: str) -> str:
    """A dialogue as training saw dialogues."""
    if not (text := clean_dialogue(dialogue)):
        raise InputError(f"the dialogue is empty; {SUCH_LINES}")
    return text


def read_dialogue(file: Path) -> str:
    """The text of a file, or of standard input for `-`; an export of KakaoTalk as its turns."""
    if str(file) == "-":
        if sys.stdin.isatty():
            print("Paste a dialogue, then Ctrl-D.", file=sys.stderr)
        source, text = "standard input", decoded(sys.stdin.buffer.read(), "standard input")
    else:
        source, text = str(file), text_of(file)
    if "\0" in text:
        raise InputError(f"{source}: holds a NUL byte, so it is no text; {SUCH_LINES}")
    if blank(text):
        raise InputError(f"{source}: holds no dialogue; {SUCH_LINES}")
    return kakao_dialogue(text) or text


def text_of(file: Path) -> str:
    """The text of a file that is no table."""
    if not file.is_file():
        raise InputError(f"{file}: {'Is a directory' if file.is_dir() else 'No such file or directory'}")
    is_table = file.suffix.lower() in (".csv", ".tsv", ".jsonl") or first_bytes(file).startswith((b"PK", b"PAR1"))
    encoding = None if is_table else encoding_of(file)
    if encoding is None or is_json(file, encoding):
        raise InputError(
            f"{file}: is a table, and this command takes one dialogue; summarize its rows with "
            f"accelerate launch recipes/predict.py --test_file {file}"
        )
    return file.read_text(encoding=encoding)


def decoded(content: bytes, source: str) -> str:
    """UTF-8 bytes as text, whatever the terminal's settings say."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{source}: is not UTF-8; convert it: iconv -f cp949 -t utf-8, or name the file") from None


def print_stream(summarizer: Summarizer, dialogue: str, max_new_tokens: int) -> None:
    """Prints the pieces of a summary as they come."""
    for piece in stream(summarizer, dialogue, max_new_tokens):
        print(printable(piece, keep="\n"), end="", flush=True)
    print()


def converse(adapter: str | None, model: str | None, quantization: str | None, max_new_tokens: int) -> None:
    """Reads dialogues from standard input, each ended by an empty line, and prints their summaries.

    What is no dialogue is said so, and the next one is waited for.
    """
    summarizer = load(adapter, model, quantization)
    print("Paste a dialogue and end it with an empty line. Ctrl-D leaves.", file=sys.stderr)
    for dialogue in dialogues(decoded(line, "standard input") for line in sys.stdin.buffer):
        try:
            print_stream(summarizer, dialogue, max_new_tokens)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
        print(flush=True)


def dialogues(lines: Iterable[str]) -> Iterator[str]:
    """Blocks of lines between empty ones."""
    for is_text, block in groupby(lines, key=lambda line: bool(line.strip())):
        if is_text:
            yield "".join(block)


def open_page(adapter: str | None, model: str | None, quantization: str | None, max_new_tokens: int, port: int) -> None:
    """The same in a browser, on this machine only."""
    if find_spec("gradio") is None:
        raise InputError('--ui needs Gradio: pip install "dialsum-trl[ui]"')
    summarizer = load(adapter, model, quantization)
    page = build_page(lambda dialogue: stream(summarizer, dialogue, max_new_tokens), Path(adapter or model).name)
    try:
        page.launch(server_name="127.0.0.1", server_port=port, share=False)
    except OSError as error:
        raise InputError(f"--port {port}: {' '.join(str(error).split())}") from None
