"""Recipes on TRL that fine-tune open LLMs to summarize Korean dialogues.

The public API for recipes, notebooks and programs. Modules are loaded on first use, so importing the package is
instant. `docs/python.md` has an example of each name.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dialsum_trl.core.versions import __version__ as __version__

if TYPE_CHECKING:
    from dialsum_trl.core.errors import InputError, TrainingError
    from dialsum_trl.data.dialogues import read_dialogues
    from dialsum_trl.data.submission import read_predictions, write_submission
    from dialsum_trl.generation.settings import GenerationSettings, Summary
    from dialsum_trl.generation.summaries import summarize
    from dialsum_trl.generation.summarizer import Summarizer, load_summarizer
    from dialsum_trl.metrics.consensus import mbr
    from dialsum_trl.metrics.rouge import RougeConfig, RougeReport, compare, score
    from dialsum_trl.sharing.push import push
    from dialsum_trl.stages.decoding_sweep import decoding_sweep
    from dialsum_trl.stages.distill import distill
    from dialsum_trl.stages.dpo import train_dpo
    from dialsum_trl.stages.ensemble import ensemble
    from dialsum_trl.stages.folds import train_folds
    from dialsum_trl.stages.grpo import train_grpo
    from dialsum_trl.stages.postprocess import postprocess
    from dialsum_trl.stages.ppo import train_ppo
    from dialsum_trl.stages.predict import predict
    from dialsum_trl.stages.preferences import make_preferences
    from dialsum_trl.stages.report import report
    from dialsum_trl.stages.reward import train_reward
    from dialsum_trl.stages.search import search
    from dialsum_trl.stages.seq2seq import train_seq2seq
    from dialsum_trl.stages.sft import train_sft

_MODULES = {
    "core.errors": ("InputError", "TrainingError"),
    "data.dialogues": ("read_dialogues",),
    "data.submission": ("read_predictions", "write_submission"),
    "generation.settings": ("GenerationSettings", "Summary"),
    "generation.summaries": ("summarize",),
    "generation.summarizer": ("Summarizer", "load_summarizer"),
    "metrics.consensus": ("mbr",),
    "metrics.rouge": ("RougeConfig", "RougeReport", "compare", "score"),
    "sharing.push": ("push",),
    "stages.decoding_sweep": ("decoding_sweep",),
    "stages.distill": ("distill",),
    "stages.dpo": ("train_dpo",),
    "stages.ensemble": ("ensemble",),
    "stages.folds": ("train_folds",),
    "stages.grpo": ("train_grpo",),
    "stages.postprocess": ("postprocess",),
    "stages.ppo": ("train_ppo",),
    "stages.predict": ("predict",),
    "stages.preferences": ("make_preferences",),
    "stages.report": ("report",),
    "stages.reward": ("train_reward",),
    "stages.search": ("search",),
    "stages.seq2seq": ("train_seq2seq",),
    "stages.sft": ("train_sft",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "GenerationSettings",
    "InputError",
    "RougeConfig",
    "RougeReport",
    "Summarizer",
    "Summary",
    "TrainingError",
    "compare",
    "decoding_sweep",
    "distill",
    "ensemble",
    "load_summarizer",
    "make_preferences",
    "mbr",
    "postprocess",
    "predict",
    "push",
    "read_dialogues",
    "read_predictions",
    "report",
    "score",
    "search",
    "summarize",
    "train_dpo",
    "train_folds",
    "train_grpo",
    "train_ppo",
    "train_reward",
    "train_seq2seq",
    "train_sft",
    "write_submission",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
