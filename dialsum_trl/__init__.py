"""Recipes on TRL that fine-tune open LLMs to summarize Korean dialogues."""

from dialsum_trl.core.versions import __version__ as __version__
