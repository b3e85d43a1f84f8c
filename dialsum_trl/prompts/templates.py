"""Texts and values of templates; what rendering can raise."""

from __future__ import annotations

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
# Passed to templates that use them. Qwen3's hybrid models put reasoning into the answer; with enable_thinking=False the
# prompt ends with an empty reasoning block instead.
TEMPLATE_VALUES = {"date_string": PINNED_DATE, "enable_thinking": False}
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
    return {name: value for name, value in TEMPLATE_VALUES.items() if name in (tokenizer.chat_template or "")}
