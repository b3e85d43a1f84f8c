"""Chat templates are programs that come with a model: tried once, within limits, before anything else is loaded.

transformers renders them in jinja2's sandbox (no attributes with underscores, no files, no imports). What a sandbox
does not prevent, a template that raises, never ends or writes without end, is one clear line here.
"""

import signal
import threading
from contextlib import contextmanager

from dialsum_trl.errors import InputError

MAX_TEMPLATE = 1_000_000  # characters; real ones have 1,000 to 20,000
MAX_RENDERED = 100_000  # characters of a conversation of three short turns
CPU_SECONDS = 3
REMEDY = "use --prompt_style instruction, or another model"
TURNS = [
    {"role": "system", "content": "요약"},
    {"role": "user", "content": "요약\n\n#Person1#: 안녕"},
    {"role": "assistant", "content": "인사한다."},
]


class _Endless(Exception):
    """The template used up its time."""


def failures() -> tuple[type[Exception], ...]:
    """What rendering a template can raise: jinja's own errors, and what an expression in it can."""
    from jinja2.exceptions import TemplateError

    python = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError)
    return (TemplateError, NameError, AssertionError, _Endless, *python)


def check_template(tokenizer) -> None:
    """Renders a short conversation with the tokenizer's chat template; of several named ones `default` is kept.

    Raises:
        InputError: it is no text, too long, raises, does not end, or writes far more than it was given.
    """
    place = f"{tokenizer.name_or_path}: its chat template"
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
        tokenizer.chat_template = template
    if not isinstance(template, str):
        raise InputError(f"{place} is no text, or none of its templates is called default; {REMEDY}")
    if len(template) > MAX_TEMPLATE:
        raise InputError(f"{place} has more than {MAX_TEMPLATE:,} characters; {REMEDY}")
    try:
        with _cpu_limit(CPU_SECONDS):
            text = tokenizer.apply_chat_template(TURNS, tokenize=False)
    except failures() as error:
        raise InputError(f"{place} fails on system, user and assistant turns ({reason(error)}); {REMEDY}") from error
    if len(text) > MAX_RENDERED:
        raise InputError(f"{place} writes {len(text):,} characters for three short turns; {REMEDY}")


def reason(error: Exception) -> str:
    """An error of a template in a few words on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".removesuffix(": ")


@contextmanager
def _cpu_limit(seconds: float):
    """Raises `_Endless` in the main thread after so much CPU time (other threads cannot be interrupted)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise _Endless(f"it does not end within {seconds} seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
