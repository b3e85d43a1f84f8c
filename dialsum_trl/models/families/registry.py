"""All of them, looked up by model type, template, layer class or name."""

from dataclasses import dataclass

KNOWN = {  # SHA-256 of templates that need no trial in another process
    "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122",  # Llama 3
    "5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4",  # Llama 3.2
    "cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f",  # Qwen2.5
    "64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326",  # Qwen3 Instruct 2507
}
CHAT_TOKENS = {
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
}
FAMILIES = ("llama", "qwen2", "qwen3")
LAYERS = ("LlamaDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")


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
LICENSES = {  # of the verified bases, as their repositories state them
    "Bllossom/llama-3.2-Korean-Bllossom-3B": "llama3.2",
    "MLP-KTLim/llama-3-Korean-Bllossom-8B": "llama3",
    "Qwen/Qwen2.5-7B-Instruct": "apache-2.0",
    "Qwen/Qwen3-4B-Instruct-2507": "apache-2.0",
}
_LLAMA3, _QWEN = 128_256, 151_936
VERIFIED_SIZES = {  # from the models' config.json, for machines that do not have them yet
    "Bllossom/llama-3.2-Korean-Bllossom-3B": (28, 3072, 24, 8, 128, 8192, _LLAMA3, True),
    "MLP-KTLim/llama-3-Korean-Bllossom-8B": (32, 4096, 32, 8, 128, 14336, _LLAMA3, False),
    "Qwen/Qwen2.5-7B-Instruct": (28, 3584, 28, 4, 128, 18944, 152_064, False),
    "Qwen/Qwen3-4B-Instruct-2507": (36, 2560, 32, 8, 128, 9728, _QWEN, True),
}
