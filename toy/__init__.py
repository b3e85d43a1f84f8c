"""What made the toy of `dialsum_trl/toy`, and the demo's story about it. No part of the installed package."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "dialsum_trl" / "toy"  # models, tokenizers and sample rows
