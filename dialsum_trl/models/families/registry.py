"""The families of this folder, and how one is found: by model type, layer class, chat template or checkpoint.

A file that is added here is read too: a new family is one file.
"""

from importlib import import_module
from pkgutil import iter_modules

from dialsum_trl.models import families
from dialsum_trl.models.families.family import Chat, Checkpoint, Family

# llama.cpp knows a pre-tokenizer by a hash of ids, which a vocabulary of one's own does not have: by what it splits at
PRE_TOKENIZERS = {r"\p{N}{1,3}| ?": "llama-bpe", r"\p{N}| ?": "qwen2"}


def _described() -> tuple[Family, ...]:
    """Every `Family` of the other files, ordered by file name, then by position in the file."""
    names = sorted(found.name for found in iter_modules(families.__path__) if found.name != "registry")
    modules = [import_module(f"{families.__name__}.{name}") for name in names]
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Family))


FAMILIES = _described()
CHATS = tuple(dict.fromkeys(family.chat for family in FAMILIES if family.chat))
CHECKPOINTS = {checkpoint.repo_id: checkpoint for family in FAMILIES for checkpoint in family.checkpoints}
SIZED = {name: checkpoint for name, checkpoint in CHECKPOINTS.items() if checkpoint.sizes}
FUSED = {layer.class_name: layer for family in FAMILIES for layer in family.layers}
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
