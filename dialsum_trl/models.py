"""The four verified models; tokenizer, quantized base and LoRA settings that match one another."""

from dataclasses import dataclass

from dialsum_trl.chat_tokens import add_tokens_of, family
from dialsum_trl.errors import InputError
from dialsum_trl.loading import check_kind, check_lora_targets, load


@dataclass(frozen=True)
class VerifiedModel:
    """A model the recipes were designed on.

    `zero_shot` is the design document's dev sum of ROUGE-1 + 2 + L x 100 without training (quoted, not measured here).
    """

    name: str
    parameters: float  # billions
    zero_shot: float
    dtype: str
    family: str  # whose chat template: "llama3" or "chatml"


VERIFIED = {
    model.name: model
    for model in (
        VerifiedModel("Bllossom/llama-3.2-Korean-Bllossom-3B", 3.2, 49.52, "bfloat16", "llama3"),
        VerifiedModel("MLP-KTLim/llama-3-Korean-Bllossom-8B", 8.0, 48.61, "bfloat16", "llama3"),
        VerifiedModel("Qwen/Qwen2.5-7B-Instruct", 7.6, 46.84, "float16", "chatml"),
        VerifiedModel("Qwen/Qwen3-4B-Instruct-2507", 4.0, 45.02, "float16", "chatml"),
    )
}

# A second id that ends a text in each family; generation stops on both.
END_OF_TEXT = ("<|end_of_text|>", "<|endoftext|>")
# Tokens the vocabularies already have and never use in text, best first.
RESERVED_PADS = (
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_0|>",
    "<|endoftext|>",
    "<|pad|>",
    "<pad>",
)


def stop_token_ids(tokenizer) -> list[int]:
    """Every id that ends a summary: end of turn first, then end of text."""
    vocabulary = tokenizer.get_vocab()
    names = {"llama3": ["<|eot_id|>"], "chatml": ["<|im_end|>"]}.get(family(tokenizer), [])
    names += [tokenizer.eos_token, *END_OF_TEXT]
    return list(dict.fromkeys(vocabulary[name] for name in names if name in vocabulary))


def choose_pad_token(tokenizer) -> None:
    """Sets a pad token that exists and ends nothing: never a new one, and eos only where there is no other.

    A new token would resize the embeddings and put them into every adapter (36 MB become 676, peft#2898).
    """
    if tokenizer.pad_token is not None and tokenizer.pad_token != tokenizer.eos_token:
        return
    vocabulary = tokenizer.get_vocab()
    candidates = [*RESERVED_PADS, tokenizer.unk_token, tokenizer.eos_token]
    end_of_turn = {"llama3": "<|eot_id|>", "chatml": "<|im_end|>"}.get(family(tokenizer))
    candidates = [c for c in candidates if c in vocabulary and c not in (tokenizer.eos_token, end_of_turn)]
    tokenizer.pad_token = candidates[0] if candidates else tokenizer.eos_token


NEW_HEADS = ("score.",)  # a reward model's head, which the base does not have


def _tokenizer(name_or_path: str, **kwargs):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return AutoTokenizer.from_pretrained(name_or_path, **kwargs)
    except TypeError:  # pko-t5 declares T5's class over a byte-level BPE: tokenizer.json as it stands
        return PreTrainedTokenizerFast.from_pretrained(name_or_path, **kwargs)


def load_tokenizer(
    name_or_path: str,
    revision: str = "main",
    prompt_style: str = "native",
    trust_remote_code: bool = False,
    adapter_path: str | None = None,
):
    """The tokenizer with its native template (or the instruction format) and a pad token that ends nothing.

    Args:
        adapter_path: adapter to be used with it; chat tokens that it was trained with and the base lacks are added.

    Raises:
        InputError: it cannot be loaded, or its chat template fails, does not end or is no template; or it lacks other
            tokens of the adapter.
    """
    from dialsum_trl.chat_template import check_template
    from dialsum_trl.prompts import set_prompt_style

    tokenizer = load(_tokenizer, name_or_path, "tokenizer", trust_remote_code, revision=revision)
    set_prompt_style(tokenizer, prompt_style)
    check_template(tokenizer)
    choose_pad_token(tokenizer)
    if adapter_path:
        add_tokens_of(tokenizer, adapter_path)
    return tokenizer


def tokenizer_of(model_args, prompt):
    """`load_tokenizer` with the flags of a recipe (`ModelArguments`, `PromptArguments`)."""
    return load_tokenizer(
        model_args.model_name_or_path,
        model_args.model_revision,
        prompt.prompt_style,
        model_args.trust_remote_code,
        model_args.adapter_path,
    )


def resize_embeddings(model, tokenizer) -> None:
    """Makes room for tokens beyond the embedding table, and only then."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        output = model.get_output_embeddings()
        if output is not None and output.weight is not model.get_input_embeddings().weight:
            # transformers declares every T5 tied and would replace the output table of mT5 and T5 1.1 by the input's
            model.config.tie_word_embeddings = False
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)


def quantization_config(quantization: str, dtype: str, storage: str = "uint8"):
    """bitsandbytes settings: nf4 with double quantization and the model's dtype for compute, or 8-bit, or None."""
    import torch
    from transformers import BitsAndBytesConfig

    if quantization == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            bnb_4bit_quant_storage=getattr(torch, storage),
        )
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "8bit" else None


def load_base(
    name_or_path: str,
    *,
    dtype: str = "bfloat16",
    quantization: str = "4bit",
    revision: str = "main",
    quant_storage: str = "uint8",
    attn_implementation: str | None = None,
    device=None,
    auto_class=None,
    trust_remote_code: bool = False,
    **kwargs,
):
    """The base model, quantized while it loads.

    Args:
        dtype: dtype of what stays unquantized, and of 4-bit compute.
        quantization: "4bit", "8bit" or "none".
        device: this process' device; the whole model goes there unless DeepSpeed or FSDP splits it (see `topology`).
        auto_class: transformers auto class; causal LM by default.

    Raises:
        InputError: the folder or Hub id cannot be loaded, has no safetensors, is of another kind than `auto_class`, or
            lacks weights of the architecture (transformers would draw them at random).
    """
    import os

    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from dialsum_trl.scale.topology import device_map

    if auto_class in (None, AutoModelForCausalLM, AutoModelForSeq2SeqLM):
        config = kwargs.get("config") or load_config(name_or_path, revision, trust_remote_code)
        check_kind(config, name_or_path, encoder_decoder=auto_class is AutoModelForSeq2SeqLM)

    # else it would take any open pull request with the converter's title in the place of the revision asked for
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    model, found = load(
        (auto_class or AutoModelForCausalLM).from_pretrained,
        name_or_path,
        "weights",
        trust_remote_code,
        output_loading_info=True,
        revision=revision,
        dtype=getattr(torch, dtype),
        quantization_config=quantization_config(quantization, dtype, quant_storage),
        device_map=device_map(device, quantization),
        attn_implementation=attn_implementation,
        use_safetensors=True,
        **kwargs,
    )
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(NEW_HEADS)):
        raise InputError(
            f"the weights of {name_or_path} lack {len(missing)} tensors, such as {missing[0]}; get the model again"
        )
    if quantization == "4bit" and model.device.type == "cpu":
        keep_trainable_on_cpu(model)
    return model


def base_of(model_args, device, **more):
    """`load_base` with the flags of a recipe (`ModelArguments`) on this process' device.

    Raises:
        InputError: as `load_base`, and for layers of `--lora_target_modules` that the model does not have.
    """
    model = load_base(
        model_args.model_name_or_path,
        dtype=model_args.dtype,
        quantization=model_args.quantization,
        revision=model_args.model_revision,
        quant_storage=model_args.bnb_4bit_quant_storage,
        attn_implementation=model_args.attn_implementation,
        device=device,
        trust_remote_code=model_args.trust_remote_code,
        **more,
    )
    if model_args.use_peft and not model_args.adapter_path:
        check_lora_targets(model, model_args.lora_target_modules)
    return model


def keep_trainable_on_cpu(model) -> None:
    """Switches off bitsandbytes' repacking of 4-bit weights on CPUs with AVX512-BF16.

    There the first forward in eval mode rounds the weights once more and packs them into a layout whose product has no
    backward: after an evaluation or a rollout, training goes on with part of the gradient missing and no error.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def load_config(name_or_path: str, revision: str = "main", trust_remote_code: bool = False):
    """The model's configuration. Raises InputError when it cannot be loaded."""
    from transformers import AutoConfig

    return load(AutoConfig.from_pretrained, name_or_path, "configuration", trust_remote_code, revision=revision)


def auto_class_of(name_or_path: str, revision: str = "main", trust_remote_code: bool = False):
    """The transformers auto class that generates with this model: causal, or encoder-decoder."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = load_config(name_or_path, revision, trust_remote_code)
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def lora_config(args, task_type: str = "CAUSAL_LM", added: list[int] | None = None, **kwargs):
    """LoRA settings from `ModelArguments`; rows of added chat tokens are trained too (they start random)."""
    from peft import LoraConfig

    return LoraConfig(
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=args.lora_target_modules,
        bias="none",
        task_type=task_type,
        trainable_token_indices={"embed_tokens": added} if added else None,
        **kwargs,
    )
