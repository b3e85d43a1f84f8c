"""A model's tokenizer with its template, its pad and its chat tokens."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.models.pretrained import load
from dialsum_trl.prompts.chat_tokens import add_tokens_of, choose_pad_token, read_generation_ends
from dialsum_trl.prompts.prompt import prompt_messages, render, set_prompt_texts
from dialsum_trl.prompts.templates import set_prompt_style


def _tokenizer(name_or_path: str, **kwargs) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(name_or_path, **kwargs)
    except TypeError:  # pko-t5 declares T5's class over a byte-level BPE: tokenizer.json as it is
        return PreTrainedTokenizerFast.from_pretrained(name_or_path, **kwargs)


def load_tokenizer(
    name_or_path: str,
    revision: str = "main",
    prompt_style: str = "native",
    trust_remote_code: bool = False,
    adapter_path: str | None = None,
) -> PreTrainedTokenizerBase:
    """The tokenizer with its native template (or the instruction format) and a pad token that ends nothing.

    The end tokens of the generation_config.json beside it go with it (`chat_tokens.stop_token_ids`).

    Args:
        adapter_path: adapter to be used with it; chat tokens that it was trained with and the base lacks are added.

    Raises:
        InputError: it cannot be loaded, or its chat template fails or is none; or it lacks other tokens of the
            adapter.
    """
    tokenizer = load(_tokenizer, name_or_path, "tokenizer", trust_remote_code, revision=revision)
    set_prompt_style(tokenizer, prompt_style)
    check_template(tokenizer)
    read_generation_ends(tokenizer, name_or_path, revision)
    choose_pad_token(tokenizer)
    if adapter_path:
        add_tokens_of(tokenizer, adapter_path)
    return tokenizer


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Renders a short conversation with the tokenizer's chat template; of several named ones `default` is kept.

    Raises:
        InputError: it is no text, or raises.
    """
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if not isinstance(tokenizer.chat_template, str):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template is no text, or none of its templates is called default; use "
            f"--prompt_style instruction, or another model"
        )
    turns = [*prompt_messages("#Person1#: 안녕"), {"role": "assistant", "content": "인사한다."}]
    render(tokenizer, turns, generation=False)


def tokenizer_of(model_args: ModelArguments, prompt: PromptArguments) -> PreTrainedTokenizerBase:
    """`load_tokenizer` with the flags of a recipe."""
    tokenizer = load_tokenizer(
        model_args.model_name_or_path,
        model_args.model_revision,
        prompt.prompt_style,
        model_args.trust_remote_code,
        model_args.adapter_path,
    )
    set_prompt_texts(tokenizer, prompt.system_prompt, prompt.instruction)
    return tokenizer
