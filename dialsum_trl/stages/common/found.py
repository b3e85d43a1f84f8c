"""What a training run found in its model, as one printed block."""

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dialsum_trl.core.console import say
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.models.families.registry import chat_of
from dialsum_trl.prompts.prompt import apply_template, prompt_messages
from dialsum_trl.prompts.templates import INSTRUCTION_TEMPLATE


def say_found(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    stop_ids: list[int],
    model_args: ModelArguments,
    rows: str,
) -> None:
    """Prints dtype, template, stop tokens, layers with LoRA, and `rows`: how `prepare` trains on them and why so."""
    turns, _ = apply_template(tokenizer, prompt_messages("가"), generation=True)
    template = "instruction format" if INSTRUCTION_TEMPLATE in tokenizer.chat_template else "chat template"
    chat = chat_of(tokenizer.chat_template)  # Gemma 3's template takes a system role and writes it in the user's turn
    own = turns[0]["role"] == "system" and (chat is None or chat.system)
    system = "has its own turn" if own else "opens the first user turn"
    names = ["none: all weights are trained"]
    if isinstance(model, PeftModel):
        names = sorted({name.rsplit(".", 1)[-1] for name in model.targeted_module_names})
        names += sorted({".".join(name.split(".")[-2:]) for name in model.targeted_parameter_names})
    say(f"Found in {model_args.model_name_or_path} ({model.config.model_type}):")
    say(f"  dtype            {model_args.dtype}, quantization {model_args.quantization}")
    say(f"  prompt           {template}; the system text {system}")
    say(f"  ends a summary   {' '.join(tokenizer.convert_ids_to_tokens(stop_ids))}")
    say(f"  LoRA on          {' '.join(names)}")
    say(f"  rows             {rows}")
