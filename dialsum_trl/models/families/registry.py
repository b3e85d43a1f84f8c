"""The families, and how one is found: by model type, layer class, chat template or checkpoint."""

from dialsum_trl.models.families.exaone import EXAONE
from dialsum_trl.models.families.family import Chat, Checkpoint, Family
from dialsum_trl.models.families.gemma import GEMMA, GEMMA4
from dialsum_trl.models.families.llama import LLAMA
from dialsum_trl.models.families.mistral import MISTRAL
from dialsum_trl.models.families.qwen import QWEN2, QWEN3
from dialsum_trl.models.families.t5 import T5

FAMILIES = (LLAMA, QWEN2, QWEN3, GEMMA, GEMMA4, EXAONE, MISTRAL, T5)
CHATS = tuple(dict.fromkeys(family.chat for family in FAMILIES if family.chat))
CHECKPOINTS = {checkpoint.repo_id: checkpoint for family in FAMILIES for checkpoint in family.checkpoints}
SIZED = {name: checkpoint for name, checkpoint in CHECKPOINTS.items() if checkpoint.sizes}
FUSED = {family.layer.class_name: family.layer for family in FAMILIES if family.layer}
# For any vocabulary, since a model may have the template of another family: tokens that end a text, and pads
TEXT_ENDS = tuple(dict.fromkeys(token for chat in CHATS for token in chat.text_ends))
PADS = tuple(dict.fromkeys(token for chat in CHATS for token in chat.pads))


def family_of(model_type: str) -> Family | None:
    """The family of `config.model_type`; None for one that is not described here."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def chat_of(template: str | None) -> Chat | None:
    """The format that a chat template writes; None for other formats and for no template."""
    return next((chat for chat in CHATS if chat.opens in (template or "")), None)


def checkpoint_of(name: str) -> Checkpoint | None:
    """The checkpoint of that Hub id; None for one that is not listed here."""
    return CHECKPOINTS.get(name)


def named_like(folder_name: str) -> Checkpoint | None:
    """The checkpoint that a folder is named after: `name`, `owner--name` or `owner_name`."""
    for checkpoint in CHECKPOINTS.values():
        owner, name = checkpoint.repo_id.split("/")
        if folder_name in (name, f"{owner}--{name}", f"{owner}_{name}"):
            return checkpoint
    return None
