"""A model's tokenizer with its template, its pad and its chat tokens."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.models.hub import adapter_folder
from dialsum_trl.models.pretrained import load
from dialsum_trl.prompts.chat_tokens import add_tokens_of, choose_pad_token, read_generation_ends
from dialsum_trl.prompts.prompt import prompt_messages, render, set_prompt
from dialsum_trl.prompts.templates import INSTRUCTION_TEMPLATE, pin_date, read_template, set_prompt_style


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
    chat_template_path: str | None = None,
) -> PreTrainedTokenizerBase:
    """The tokenizer with its native template (or the instruction format) and a pad token that ends nothing.

    The end tokens of the base's generation_config.json go with it (`chat_tokens.stop_token_ids`).

    Args:
        name_or_path: the base's folder or Hub id.
        adapter_path: adapter to be used with it. The tokenizer or the template in its folder is what it was trained
            with; where there is none, chat tokens that it was trained with and the base lacks are added.
        chat_template_path: template to be used instead of theirs.

    Raises:
        InputError: it cannot be loaded, or its chat template fails or is none; or it lacks other tokens of the
            adapter; or both a template and the instruction format are asked for.
    """
    if chat_template_path and prompt_style == "instruction":
        raise InputError("--chat_template_path and --prompt_style instruction exclude one another: leave one out")

    def of_base() -> PreTrainedTokenizerBase:
        return load(_tokenizer, name_or_path, "tokenizer", trust_remote_code, revision=revision)

    own = adapter_folder(adapter_path) if adapter_path else None
    if own and (own / "tokenizer_config.json").exists():
        tokenizer = load(_tokenizer, str(own), "tokenizer", trust_remote_code)
        # of an adapter that was trained in the instruction format, --prompt_style native is the base's own
        if not tokenizer.chat_template or INSTRUCTION_TEMPLATE in tokenizer.chat_template:
            tokenizer.chat_template = of_base().chat_template
    else:
        tokenizer = of_base()
        if own and (own / "chat_template.jinja").exists():
            tokenizer.chat_template = read_template(str(own))
    if chat_template_path:
        tokenizer.chat_template = read_template(chat_template_path)
    set_prompt_style(tokenizer, prompt_style)
    check_template(tokenizer)
    read_generation_ends(tokenizer, name_or_path, revision)
    choose_pad_token(tokenizer)
    if adapter_path:
        add_tokens_of(tokenizer, adapter_path)
    return tokenizer


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Renders a short conversation with the tokenizer's chat template, for which it is always the same day.

    Of several named templates `default` is kept.
    """
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if not isinstance(tokenizer.chat_template, str):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template is no text, or none of its templates is called default; use "
            f"--prompt_style instruction, or another model"
        )
    tokenizer.chat_template = pin_date(tokenizer.chat_template)
    turns = [*prompt_messages("#Person1#: 안녕"), {"role": "assistant", "content": "인사한다."}]
    render(tokenizer, turns, generation=False)


def tokenizer_of(
    model_args: ModelArguments, prompt: PromptArguments, chat_template_path: str | None = None
) -> PreTrainedTokenizerBase:
    """`load_tokenizer` with the flags of a recipe."""
    tokenizer = load_tokenizer(
        model_args.model_name_or_path,
        model_args.model_revision,
        prompt.prompt_style,
        model_args.trust_remote_code,
        model_args.adapter_path,
        chat_template_path,
    )
    set_prompt(tokenizer, prompt)
    return tokenizer
