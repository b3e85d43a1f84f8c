"""`dialsum demo`: the whole pipeline on the toy, offline, on two CPU cores, with the recipes as anyone runs them."""

import os
import subprocess
import sys
from pathlib import Path

from dialsum_trl.cli.recipes import copy_recipes, shipped
from dialsum_trl.core.console import say

LAUNCH = ("-m", "accelerate.commands.launch", "--quiet", "--config_file", "accelerate_configs/cpu.yaml")
SFT = ("recipes/sft_llama3b.py", "--config", "recipes/demo.yaml", "--output_dir", "adapter")
# One thread: the toy is too small for more, and waiting threads spin
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
NEXT = """
Look at {folder}/report.html. On a GPU, with real data (fname,dialogue,summary):
  source .venv/bin/activate  # in a clone
  cd {folder}
  accelerate launch recipes/sft_llama3b.py --train_file data/train.csv --eval_file data/dev.csv
  accelerate launch recipes/predict.py --adapter_path outputs/sft_llama3b --test_file data/dev.csv
The other steps, command by command: docs/pipeline.md"""


def run_demo(folder: Path, overrides: tuple[str, ...] = ()) -> int:
    """Copies the recipes to `folder`, trains there, runs the other steps, and returns the exit code.

    Args:
        overrides: further flags of the training.
    """
    copy_recipes(folder)
    story = (str((shipped() / "toy" / "story.py").resolve()), "adapter", ".")
    for arguments in ((*LAUNCH, *SFT, *overrides), story):
        done = subprocess.run([sys.executable, *arguments], cwd=folder, env={**os.environ, **ENVIRONMENT})
        if done.returncode:
            return done.returncode
    say(NEXT.format(folder=folder))
    return 0
