"""Recipes on TRL that fine-tune open LLMs to summarize Korean dialogues."""

__version__ = "0.1.0"
