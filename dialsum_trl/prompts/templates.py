"""Texts and values of templates; what rendering can raise."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from dialsum_trl.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# what rendering a template can raise: jinja's own errors, and what an expression in it can
FAILURES = (
    *(TemplateError, NameError, AssertionError, TypeError, ValueError, ArithmeticError, LookupError),
    *(AttributeError, RecursionError, MemoryError),
)
PINNED_DATE = "26 Jul 2024"  # Llama 3.2's template would insert today's date into every prompt
PINNED_DAY = date(2024, 7, 26)  # for templates that ask for today and take no date
TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
# Passed to templates that use them. Hybrid models put reasoning into the answer; without thinking the prompt ends with
# an empty reasoning block instead.
TEMPLATE_VALUES = {"date_string": PINNED_DATE, "enable_thinking": False, "thinking": False}
# For base models without a chat template. The user turn is "instruction\n\ndialogue".
INSTRUCTION_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] + '\n\n' }}"
    "{%- elif message['role'] == 'user' -%}"
    "{%- set parts = message['content'].split('\n\n', 1) -%}"
    "{{ '### Instruction:\n' + parts[0] + '\n\n### Input:\n' + parts[1] + '\n\n' }}"
    "{%- else -%}{{ '### Response:\n' + message['content'] + eos_token }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '### Response:\n' }}{%- endif -%}"
)


def set_prompt_style(tokenizer: PreTrainedTokenizerBase, style: str = "native") -> None:
    """Puts the instruction format on a tokenizer that has no chat template, or on any with `style="instruction"`."""
    if style == "native" and tokenizer.chat_template:
        return
    if not tokenizer.eos_token:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has neither a chat template nor an eos token")
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    tokenizer.chat_template = ("{{- bos_token -}}" if starts_with_bos else "") + INSTRUCTION_TEMPLATE


def reason(error: Exception) -> str:
    """An error of a template in a few words on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".removesuffix(": ")


def template_kwargs(tokenizer: PreTrainedTokenizerBase) -> dict:
    """The `TEMPLATE_VALUES` that a template uses."""
    template = tokenizer.chat_template or ""
    return {
        name: value for name, value in TEMPLATE_VALUES.items() if re.search(rf"""(?<![\w.'"<]){name}\b""", template)
    }


def pin_date(template: str) -> str:
    """The template with one day for today, where it can be told none: prompts do not depend on the day."""
    if "date_string" in template:  # told by `template_kwargs`
        return template
    return TODAY.sub(lambda call: repr(PINNED_DAY.strftime(call[2])), template)


def read_template(path: str) -> str:
    """The chat template of `--chat_template_path`: a file, or `chat_template.jinja` in a folder."""
    file = Path(path)
    try:
        return (file / "chat_template.jinja" if file.is_dir() else file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--chat_template_path {path}: cannot be read ({reason(error)}); give a Jinja file in UTF-8, or a folder "
            f"that has chat_template.jinja"
        ) from None
