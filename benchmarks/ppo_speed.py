"""PPO steps on random weights of a real shape: memory, and seconds of generation, scoring and learning.

    python -m benchmarks.ppo_speed --shapes llama3b llama8b    # one GPU
    python -m benchmarks.ppo_speed --smoke                     # CPU, toy shape

One 4-bit base with policy, reference, critic and reward as LoRA r16 adapters; 64 dialogues of real lengths per
rollout, 100 new tokens each (random weights never end their turn). A rollout is learned from twice: two PPO steps.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import write_result
from benchmarks.runner import build_in_process, environment, run_timed, write_rows
from benchmarks.shapes import SHAPES

LIMITS = {"llama3b": 14, "llama8b": 24}  # GiB reserved


def make_adapters(shape: str, folder: Path) -> None:
    """Random LoRA adapters of the shape in `folder/sft` and `folder/reward`; no weights of the base are made."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    from dialsum_trl.core.settings.flags import ModelArguments
    from dialsum_trl.rl.adapter_roles import SCORE

    family, sizes = SHAPES[shape]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
        config = LoraConfig(r=16, target_modules=ModelArguments().lora_target_modules, task_type="CAUSAL_LM")
        names = get_peft_model_state_dict(get_peft_model(model, config))
    for role in ("sft", "reward"):
        torch.manual_seed(len(role))
        state = {name: torch.randn(tensor.shape) * 0.01 for name, tensor in names.items()}
        config.task_type, config.modules_to_save = ("SEQ_CLS", ["score"]) if role == "reward" else ("CAUSAL_LM", None)
        if role == "reward":
            state[SCORE] = torch.randn(1, sizes["hidden_size"]) * 0.01
        config.save_pretrained(folder / role)
        save_file(state, folder / role / "adapter_model.safetensors")
    (folder / "reward" / "reward.json").write_text(json.dumps({"score_mean": 0.0, "score_std": 1.0}))


def measure(
    folder: Path, steps: int, micro_batch: int, smoke: bool, log: Path, limit: float, more: tuple[str, ...] = ()
) -> dict:
    """The figures of a PPO run in a process of its own."""
    settings = [
        "--model_name_or_path", f"{folder}/model", "--adapter_path", f"{folder}/sft",
        "--reward_adapter_path", f"{folder}/reward", "--reward_functions", "no_repetition",
        "--train_file", f"{folder}/rows.csv", "--output_dir", f"{folder}/out",
        "--max_steps", str(steps), "--rollout_batch_size", "8" if smoke else "64",
        "--per_device_train_batch_size", str(min(micro_batch, 4) if smoke else micro_batch),
        "--max_completion_length", "8" if smoke else "100", "--max_truncated", "1.1", "--kl_target", "1e9",
        "--logging_steps", "2", "--save_strategy", "no", "--disable_tqdm", "true", *more,
    ]  # fmt: skip
    settings += ["--use_cpu", "true", "--dtype", "float32"] if smoke else ["--dtype", "bfloat16"]
    code = (
        "import json, sys; from dialsum_trl import train_ppo; "
        "print('FIGURES ' + json.dumps(train_ppo({}, sys.argv[1:])))"
    )
    env = environment(PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    lines = run_timed([sys.executable, "-c", code, *settings], log, limit, env)
    return json.loads(next(line for _, line in lines if line.startswith("FIGURES "))[8:])


def run(shape: str, steps: int, micro_batch: int, smoke: bool, logs: Path | None, limit: float) -> dict:
    """Builds model, adapters and rows, measures, and checks the memory limit of the shape."""
    started = time.time()
    folder = Path(tempfile.mkdtemp())
    try:
        build_in_process(shape, folder / "model")
        make_adapters(shape, folder)
        write_rows(folder / "rows.csv", folder / "model", 64 * steps)
        built = time.time() - started
        log = (logs or folder) / f"ppo_{shape}.log"
        figures = measure(folder, steps, micro_batch, smoke, log, limit)
    finally:
        shutil.rmtree(folder)
    peak = figures["peak GPU memory, GiB"]
    row = {
        "variant": f"PPO, 64 dialogues a rollout, 2 passes, micro-batch {micro_batch}, 100 new tokens, LoRA r16 x 4",
        "shape": shape,
        "ppo_steps": figures["optimizer steps"],
        **{f"{part}_s_a_rollout": round(figures[f"seconds a rollout, {part}"], 2)
           for part in ("generation", "scoring", "learning")},
        "seconds": figures["seconds"],
        "seconds_a_step": round(figures["seconds"] / figures["optimizer steps"], 2),
        "peak_gib": peak,
        "limit_gib": LIMITS.get(shape),
        "within_limit": peak <= LIMITS.get(shape, float("inf")),
        "build_s": round(built, 1),
    }  # fmt: skip
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["llama3b", "llama8b"], choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--micro_batch", type=int, default=16)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--limit", type=float, default=400, help="seconds for one shape's run")
    parser.add_argument("--logs", type=Path, default=None, help="where the runs' output goes")
    args = parser.parse_args()
    rows = []
    for shape in ["smoke"] if args.smoke else args.shapes:
        rows.append(run(shape, 4 if args.smoke else args.steps, args.micro_batch, args.smoke, args.logs, args.limit))
        if not args.smoke:
            write_result("ppo_speed", rows)


if __name__ == "__main__":
    main()
