"""PPO learns: the toy's mean reward rises from its SFT start, over three seeds, and dev ROUGE does not fall.

    python -m benchmarks.ppo_learns                      # reward: ROUGE
    python -m benchmarks.ppo_learns --learned            # reward: a reward model from pairs sampled by the SFT adapter

Figures: mean reward of sampled summaries in the first rollout (the SFT adapter) and in the last three, the share of
the distance to 1 that was gained (ROUGE only), greedy dev ROUGE and reward at the start, in the middle and at the end,
the highest KL and its target, processor seconds; reward and ROUGE of the kept adapters on the test rows, on which no
setting was chosen (settings were chosen on the dev rows).

With `--learned` no row is used twice: SFT is trained on one half of the toy's training rows, PPO's prompts are the
other half, the pairs come from rows drawn here whose facts are in no committed split, and the dev rows are in none of
these.
"""

import argparse
import ast
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from benchmarks.record import record
from toy.make_data import sample_plays, unseen_plays, write_csv

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "dialsum_trl" / "toy"
SFT = ["--learning_rate", "5e-3", "--effective_batch_size", "16", "--rouge_rows", "0",
       "--eval_strategy", "no", "--save_strategy", "no"]  # fmt: skip
PPO = ["--learning_rate", "1e-3", "--critic_learning_rate", "5e-4", "--warmup_steps", "0", "--ppo_epochs", "1",
       "--num_mini_batches", "4", "--per_device_train_batch_size", "16", "--rollout_batch_size", "64", "--lam", "1.0",
       "--kl_coef", "0.005", "--kl_target", "30", "--missing_end_penalty", "0.3", "--max_completion_length", "64",
       "--num_train_epochs", "40", "--activation_checkpointing", "false", "--logging_steps", "4",
       "--save_strategy", "no", "--rouge_rows", "64"]  # fmt: skip
# ROUGE as the reward: 32 rollouts take under five minutes.
ROUGE = ["--reward_functions", "rouge", "--critic_learning_rate", "2e-3"]
STEPS = {"rouge": 128, "learned": 104}
# A reward of variance 1, ten times ROUGE's: the recipe's own KL target and penalty hold, its KL weight nearly.
LEARNED = ["--learning_rate", "5e-4", "--critic_learning_rate", "2e-3", "--kl_coef", "0.07", "--kl_target", "10",
           "--missing_end_penalty", "1.0"]  # fmt: skip
PAIR_ROWS, PAIR_SEED = 1600, 20263
# After two epochs of SFT samples differ in how broken they are, and the reward model learns little else.
LEARNED_EPOCHS = 4


def stage(name: str, flags: list[str]) -> dict:
    """Runs one stage on the CPU in its own process; its figures, its log and its processor seconds."""
    function = "make_preferences" if name == "preferences" else f"train_{name}"
    code = (
        f"import json, sys; from dialsum_trl import {function} as run; "
        "figures = run({}, sys.argv[1:]); import resource; used = resource.getrusage(resource.RUSAGE_SELF); "
        "figures['cpu_s'] = round(used.ru_utime + used.ru_stime, 1); "
        "figures['peak_rss_mib'] = round(used.ru_maxrss / 1024); "
        "print('FIGURES ' + json.dumps(figures, default=str))"
    )
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    common = ["--dtype", "float32", "--use_cpu", "true"]
    if name != "preferences":
        common += ["--disable_tqdm", "true"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *flags, *common],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    figures = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FIGURES "))[8:])
    for key, start in (("log", "{'loss'"), ("evaluations", "{'eval_")):
        lines = [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith(start)]
        figures[key] = [{k: float(v) for k, v in line.items()} for line in lines]
    figures["wall_s"] = round(time.perf_counter() - started, 1)
    return figures


def split_rows(folder: Path) -> tuple[Path, Path]:
    """The toy's training rows in two halves: for the SFT adapter, and unseen by it."""
    with (TINY / "data" / "train.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    halves = []
    for name, part in (("seen", rows[::2]), ("unseen", rows[1::2])):
        halves.append(folder / f"{name}.csv")
        with halves[-1].open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *part])
    return halves[0], halves[1]


def pair_rows(folder: Path, count: int) -> Path:
    """`count` rows of the toy's scenes whose facts are in none of the committed splits."""
    keys = {play.key for plays in sample_plays().values() for play in plays}
    rng = Random(PAIR_SEED)
    plays = list(unseen_plays(rng, count, keys))
    rng.shuffle(plays)
    rows = [[f"pair_{i}", p.dialogue, rng.choice(p.summaries), p.topic] for i, p in enumerate(plays)]
    write_csv(folder / "pair_rows.csv", ["fname", "dialogue", "summary", "topic"], rows)
    return folder / "pair_rows.csv"


def sft_start(folder: Path, base: Path, train: Path, epochs: int = 2) -> Path:
    """A short SFT of the toy: a start that can be improved (one that `folder` holds already is used again)."""
    if (folder / "sft" / "adapter_model.safetensors").exists():
        return folder / "sft"
    flags = ["--model_name_or_path", str(base), "--train_file", str(train), "--output_dir", str(folder / "sft")]
    stage("sft", [*flags, *SFT, "--num_train_epochs", str(epochs)])
    return folder / "sft"


def learn(folder: Path, adapter: Path, train: Path, seed: int, steps: int, extra: list[str]) -> dict:
    """One PPO run: rewards of the first and the last rollouts, dev figures, KL, processor seconds."""
    flags = [
        "--adapter_path", str(adapter), "--train_file", str(train), "--eval_file", str(TINY / "data" / "dev.csv"),
        "--output_dir", str(folder / f"ppo{seed}"), "--seed", str(seed), "--max_steps", str(steps),
        "--eval_steps", str(steps // 2), *PPO, *extra,
    ]  # fmt: skip
    run = stage("ppo", flags)
    rewards = [entry["reward"] for entry in run["log"]]
    first, last = rewards[0], sum(rewards[-3:]) / len(rewards[-3:])
    bounded = {} if "--reward_adapter_path" in extra else {"gained_of_distance_to_1": (last - first) / (1 - first)}
    return {
        "seed": seed,
        "reward_first": round(first, 4),
        "reward_last": round(last, 4),
        **{name: round(value, 4) for name, value in bounded.items()},
        "kl_last": round(run["log"][-1]["kl"], 3),
        "kl_highest": round(max(entry["kl"] for entry in run["log"]), 3),
        "kl_target": float(flags[len(flags) - flags[::-1].index("--kl_target")]),
        "ended_last": round(run["log"][-1]["ended"], 3),
        "explained_variance_last": round(run["log"][-1]["explained_variance"], 3),
        **{f"dev_{key.replace(' ', '_')}": round(run[key], 4)
           for key in ("start rouge_mean", "best rouge_mean", "start reward", "best reward")},
        **{f"dev_{key}s": [round(entry[f"eval_{key}"], 4) for entry in run["evaluations"]]
           for key in ("reward", "rouge_mean")},
        "stopped_by": run["stopped by"],
        "rollouts": len(rewards),
        "cpu_s": run["cpu_s"],
        "wall_s": run["wall_s"],
        "rewards": [round(reward, 4) for reward in rewards],
    }  # fmt: skip


def learned_reward(folder: Path, adapter: Path, rows: int = PAIR_ROWS) -> tuple[Path, dict]:
    """Pairs from the adapter's own samples, and a reward model from them; one that `folder` holds is used again.

    The recipe itself refuses a reward model that does not beat "longer wins" and "shorter wins" on held-out pairs.
    """
    figures_file = folder / "reward_figures.json"
    if figures_file.exists():
        return folder / "reward", json.loads(figures_file.read_text(encoding="utf-8"))
    unseen = pair_rows(folder, rows)
    pairs = stage(
        "preferences",
        ["--adapter_path", str(adapter), "--train_file", str(unseen), "--output_dir", str(folder / "pairs"),
         "--samples", "8", "--max_new_tokens", "64"],
    )  # fmt: skip
    reward = stage(
        "reward",
        ["--adapter_path", str(adapter), "--pairs_file", str(folder / "pairs" / "pairs.jsonl"), "--output_dir",
         str(folder / "reward"), "--learning_rate", "1e-3", "--effective_batch_size", "16", "--held_out", "0.15",
         "--save_strategy", "no", "--activation_checkpointing", "false"],
    )  # fmt: skip
    figures = {
        "dialogues_sampled": pairs["dialogues"],
        **{name: count for name, count in pairs.items() if name.startswith("pairs")},
        "reward_training_pairs": reward["pairs"],
        "reward_held_out_pairs": reward["held-out pairs"],
        "reward_accuracy": reward["held-out accuracy"],
        "length_baseline": max(reward["accuracy of 'longer wins'"], reward["accuracy of 'shorter wins'"]),
        "pairs_cpu_s": pairs["cpu_s"],
        "reward_cpu_s": reward["cpu_s"],
    }
    figures_file.write_text(json.dumps(figures), encoding="utf-8")
    return folder / "reward", figures


def on_test_rows(folder: Path, name: str, adapter: Path, train: Path, extra: list[str]) -> dict:
    """An adapter's greedy summaries of the test rows: reward and ROUGE, from the evaluation that PPO starts with."""
    flags = [
        "--adapter_path", str(adapter), "--train_file", str(train), "--eval_file", str(TINY / "data" / "test.csv"),
        "--output_dir", str(folder / f"test_{name}"), "--max_steps", "4", *PPO, *extra,
    ]  # fmt: skip
    first = stage("ppo", flags)["evaluations"][0]
    return {"adapter": name, "reward": round(first["eval_reward"], 4), "rouge_mean": round(first["eval_rouge_mean"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="optimizer steps, four a rollout")
    parser.add_argument("--base", type=Path, default=TINY / "llama")
    parser.add_argument("--learned", action="store_true")
    parser.add_argument("--folder", type=Path, help="work here; adapters and runs found there are used again")
    parser.add_argument("--processes", type=int, default=1, help="runs at once, one thread each")
    args = parser.parse_args()
    kind = "learned" if args.learned else "rouge"
    steps = args.steps or STEPS[kind]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        seen, unseen = split_rows(folder)
        adapter = sft_start(folder, args.base, seen, LEARNED_EPOCHS if args.learned else 2)
        reward_figures, extra = {}, ROUGE
        if args.learned:
            reward, reward_figures = learned_reward(folder, adapter)
            extra = ["--reward_functions", "none", "--reward_adapter_path", str(reward), *LEARNED]
        runs_file, runs = folder / f"runs_{kind}.json", []
        if runs_file.exists():
            runs = json.loads(runs_file.read_text(encoding="utf-8"))
        with ThreadPoolExecutor(args.processes) as pool:
            left = [seed for seed in args.seeds if seed not in {run["seed"] for run in runs}]
            for run in pool.map(lambda seed: learn(folder, adapter, unseen, seed, steps, extra), left):
                runs.append(run)
                runs_file.write_text(json.dumps(runs), encoding="utf-8")
                write(kind, steps, {**reward_figures, "runs": runs})
            trained = [("sft", adapter), *((f"ppo{seed}", folder / f"ppo{seed}") for seed in args.seeds)]
            tested = list(pool.map(lambda pair: on_test_rows(folder, *pair, unseen, extra), trained))
        write(kind, steps, {**reward_figures, "test_rows": tested, "runs": runs})


def write(kind: str, steps: int, figures: dict) -> None:
    """The file of one reward's runs."""
    record(
        f"ppo_learns_{kind}",
        f"PPO on the toy, reward: {kind}",
        f"{steps} optimizer steps of 16 of 64 sampled summaries a rollout, one thread",
        ["torch", "transformers", "trl", "peft"],
        figures,
    )


if __name__ == "__main__":
    main()
