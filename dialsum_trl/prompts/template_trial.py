"""Chat templates are programs that come with a model: tried once, within limits, before anything else is loaded.

transformers renders them in jinja2's sandbox (no attributes with underscores, no files, no imports). What a sandbox
does not prevent, a template that raises, never ends or writes without end, is one clear line here.

A template that is not known is tried in another process, which the kernel ends: one expression of a template can take
minutes in C code, where no signal handler of Python runs. It is a new interpreter, not a fork, since this one may have
threads and CUDA; it imports one module of transformers and no torch.
"""

import functools
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.families.registry import KNOWN
from dialsum_trl.prompts.templates import reason

MAX_TEMPLATE = 1_000_000  # characters; real ones have 1,000 to 20,000
MAX_RENDERED = 100_000  # characters of a conversation of three short turns
CPU_SECONDS = 3
WALL_SECONDS = 120  # for a machine so busy that 3 seconds of CPU time take long
MEMORY = 1 << 30  # bytes that a trial may ask for
REMEDY = "use --prompt_style instruction, or another model"
TURNS = [
    {"role": "system", "content": "요약"},
    {"role": "user", "content": "요약\n\n#Person1#: 안녕"},
    {"role": "assistant", "content": "인사한다."},
]
CHILD = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
    "from dialsum_trl.prompts.template_trial import _answer; _answer(**given)"
)


def check_template(tokenizer) -> None:
    """Renders a short conversation with the tokenizer's chat template; of several named ones `default` is kept.

    Raises:
        InputError: it is no text, too long, raises, does not end, or writes far more than it was given.
    """
    from dialsum_trl.prompts.templates import template_kwargs

    place = f"{tokenizer.name_or_path}: its chat template"
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
        tokenizer.chat_template = template
    if not isinstance(template, str):
        raise InputError(f"{place} is no text, or none of its templates is called default; {REMEDY}")
    if len(template) > MAX_TEMPLATE:
        raise InputError(f"{place} has more than {MAX_TEMPLATE:,} characters; {REMEDY}")
    if _known(template):
        return
    tokens = getattr(tokenizer, "special_tokens_map", {})  # tokenizers only read from a template have none
    tokens = {**tokens, **template_kwargs(tokenizer)}
    written, problem = _trial(template, json.dumps(tokens, default=str))
    if problem:
        raise InputError(f"{place} fails on system, user and assistant turns ({problem}); {REMEDY}")
    if written > MAX_RENDERED:
        raise InputError(f"{place} writes {written:,} characters for three short turns; {REMEDY}")


def _known(template: str) -> bool:
    from dialsum_trl.prompts.templates import INSTRUCTION_TEMPLATE

    digest = hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()
    return digest in KNOWN or template.removeprefix("{{- bos_token -}}") == INSTRUCTION_TEMPLATE


@functools.lru_cache(maxsize=32)
def _trial(template: str, tokens: str) -> tuple[int, str]:
    """How many characters `template` writes for `TURNS`, and what is wrong with it (empty if nothing is)."""
    given = {"path": sys.path, "template": template, "tokens": json.loads(tokens)}
    endless = f"it does not end within {CPU_SECONDS} seconds"
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", CHILD],
            input=json.dumps(given).encode(),
            capture_output=True,
            timeout=WALL_SECONDS,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return 0, endless
    if child.returncode in (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL):
        return 0, endless
    if child.returncode:
        last = child.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:160]
        return 0, last or f"its trial ends with code {child.returncode}"
    return tuple(json.loads(child.stdout))


def _answer(template: str, tokens: dict) -> None:
    """The other process: prints what `_trial` returns."""
    render = _renderer()
    _limit_this_process()
    try:
        [text], _ = render([TURNS], chat_template=template, **tokens)
        answer = [len(text), ""]
    except Exception as error:  # whatever it is, it is the template's
        answer = [0, reason(error)]
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps(answer))


def _renderer():
    """transformers' own renderer, without what importing all of transformers costs (0.2 instead of 0.7 seconds)."""
    import importlib.util
    import types

    [folder] = importlib.util.find_spec("transformers").submodule_search_locations
    for name, path in (("transformers", folder), ("transformers.utils", os.path.join(folder, "utils"))):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [path]
    from transformers.utils.chat_template_utils import render_jinja_template

    return render_jinja_template


def _limit_this_process() -> None:
    """The kernel ends this process after `CPU_SECONDS` more, and refuses it more than `MEMORY` more (on Linux)."""
    import resource

    def at_most(kind: int, value: int) -> None:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))

    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_CPU, math.ceil(time.process_time()) + CPU_SECONDS + 1)  # if the timer's signal is blocked
    if sys.platform == "linux":
        with open("/proc/self/statm") as pages:
            at_most(resource.RLIMIT_AS, int(pages.read().split()[0]) * resource.getpagesize() + MEMORY)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
