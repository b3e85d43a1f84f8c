"""Our PPO and trl==1.12.0's, the last with a PPOTrainer: the same toy policy, reward model and number of samples.

    python -m benchmarks.ppo_vs_trl112        # CPU; pip fetches trl 1.12.0 into a temporary folder

trl 1.12 has separate models for policy, reference, value and reward and trains all weights of policy and value; ours
has one base and adapters. Each side runs with each of its learning rates, and its best one is compared. Both minimize
the same losses: 64 summaries per rollout, four optimizer steps on 16 each, the same KL weight and penalty. Memory on
the toy is mostly the libraries', so the bytes of weights, gradients and optimizer states are recorded too, here and
computed for the 3B shape. Processor seconds are those of the whole process, imports and loading included.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import ppo_learns
from benchmarks.record import RESULTS, record
from benchmarks.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[1]
TRL = "trl==1.12.0"
ROLLOUT, NEW_TOKENS, KL, PENALTY = 64, 64, 0.07, 1.0
OUR_RATES, CRITIC_RATE = [3e-4, 1e-3, 2e-3, 3e-3], 2e-3  # four, as many as trl 1.12 has


def merge(folder: Path, base: Path, adapter: Path, reward: Path) -> None:
    """Full models for trl 1.12: `folder/policy` (base + SFT adapter) and `folder/scorer` (base + reward adapter)."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    for name, kind, path, extra in (
        ("policy", AutoModelForCausalLM, adapter, {}),
        ("scorer", AutoModelForSequenceClassification, reward, {"num_labels": 1}),
    ):
        model = PeftModel.from_pretrained(kind.from_pretrained(base, dtype="float32", **extra), path).merge_and_unload()
        model.config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def theirs(folder: Path, rows: Path, samples: int, learning_rate: float, seed: int) -> dict:
    """Runs in the process that imports trl 1.12: rewards per rollout, seconds, memory."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from dialsum_trl.data.dialogues import read_dialogues
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.prompt import encode_prompt
    from dialsum_trl.prompts.tokenizer import load_tokenizer

    torch.manual_seed(seed)
    tokenizer = load_tokenizer(str(folder / "policy"))
    tokenizer.padding_side, tokenizer.eos_token_id = "left", stop_token_ids(tokenizer)[0]
    prompts = [{"input_ids": encode_prompt(tokenizer, d)} for d in read_dialogues(rows)["dialogue"]]

    def scorer():
        return AutoModelForSequenceClassification.from_pretrained(folder / "scorer", num_labels=1, dtype="float32")

    models = {
        "policy": AutoModelForCausalLM.from_pretrained(folder / "policy", dtype="float32"),
        "reference": AutoModelForCausalLM.from_pretrained(folder / "policy", dtype="float32"),
        "reward": scorer(),
        "value": scorer(),
    }
    # without accumulation: with it, trl 1.12 makes one optimizer step out of the four mini-batches
    args = PPOConfig(
        output_dir=str(folder / f"trl{seed}_{learning_rate}"), use_cpu=True, bf16=False, seed=seed,
        learning_rate=learning_rate,
        per_device_train_batch_size=ROLLOUT, gradient_accumulation_steps=1, num_mini_batches=4, num_ppo_epochs=1,
        total_episodes=samples, response_length=NEW_TOKENS, stop_token_id=stop_token_ids(tokenizer)[0], temperature=1.0,
        kl_coef=KL, missing_eos_penalty=PENALTY, lam=1.0, num_sample_generations=0, lr_scheduler_type="constant",
        local_rollout_forward_batch_size=ROLLOUT, report_to=[], save_strategy="no", logging_steps=1, disable_tqdm=True,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = PPOTrainer(
        args=args, processing_class=tokenizer, model=models["policy"], ref_model=models["reference"],
        reward_model=models["reward"], value_model=models["value"], train_dataset=Dataset.from_list(prompts),
        eval_dataset=Dataset.from_list(prompts[:8]),
    )  # fmt: skip
    trainer.train()
    weights = sum(p.numel() * p.element_size() for m in models.values() for p in m.parameters())
    trained = sum(p.numel() * p.element_size() for m in ("policy", "value") for p in models[m].parameters())
    return {
        "rewards": [round(entry["objective/scores"], 4) for entry in trainer.state.log_history],
        "kl": [round(entry["objective/kl"], 3) for entry in trainer.state.log_history],
        "cpu_s": round(time.process_time(), 1),
        "weights_and_states_mib": round((weights + 3 * trained) / 2**20, 1),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def run_theirs(site: Path, *arguments) -> dict:
    """`theirs` in a process whose first trl is 1.12."""
    code = (
        "import sys, json, pathlib; from benchmarks import ppo_vs_trl112 as b; a = sys.argv[1:]; "
        "r = b.theirs(pathlib.Path(a[0]), pathlib.Path(a[1]), int(a[2]), float(a[3]), int(a[4])); "
        "print('FIGURES ' + json.dumps(r))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                   "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    if done.returncode:
        raise SystemExit(f"trl 1.12 failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FIGURES "))[8:])


def ours(
    folder: Path, rows: Path, base: Path, adapter: Path, reward: Path, samples: int, rate: float, seed: int
) -> dict:
    """Our PPO on the same samples, in a process of its own."""
    flags = [
        "--adapter_path", str(adapter), "--train_file", str(rows), "--output_dir", str(folder / f"ours{seed}_{rate}"),
        "--reward_functions", "none", "--reward_adapter_path", str(reward), "--max_steps", str(samples // 16),
        "--seed", str(seed), *ppo_learns.PPO, "--learning_rate", str(rate), "--critic_learning_rate", str(CRITIC_RATE),
        "--kl_coef", str(KL), "--missing_end_penalty", str(PENALTY), "--kl_target", "1e9",
    ]  # fmt: skip
    run = ppo_learns.stage("ppo", flags)
    return {
        "rewards": [round(entry["score"], 4) for entry in run["log"]],
        "kl": [round(entry["kl"], 3) for entry in run["log"]],
        "cpu_s": run["cpu_s"],
        "weights_and_states_mib": round(toy_bytes(base, adapter) / 2**20, 1),
        "peak_rss_mib": run["peak_rss_mib"],
    }


def toy_bytes(base: Path, adapter: Path) -> int:
    """Bytes of our side on the toy: base and four adapters in float32, gradients and two moments of two adapters."""
    from safetensors.torch import load_file

    def numbers(folder):
        return sum(tensor.numel() for path in folder.glob("*.safetensors") for tensor in load_file(path).values())

    return 4 * (numbers(base) + (4 + 3 * 2) * numbers(adapter))


def bytes_at(shape: str) -> dict:
    """GiB of weights, gradients and AdamW states at a real shape; activations and caches come on top of each.

    trl 1.12: four bf16 models, two of them trained; with `peft_config` the policy is its own reference and trains LoRA
    alone, value and reward stay models of their own and the value model is trained in full.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from dialsum_trl.core.settings.flags import ModelArguments

    family, sizes = SHAPES[shape]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
        whole = sum(p.numel() for p in model.parameters())
        embedding = model.get_input_embeddings().weight.numel() * (1 if sizes["tie_word_embeddings"] else 2)
        config = LoraConfig(r=16, target_modules=ModelArguments().lora_target_modules, task_type="CAUSAL_LM")
        lora = sum(p.numel() for n, p in get_peft_model(model, config).named_parameters() if "lora_" in n)
    linear = whole - embedding
    one_base = linear * (4 + 8 / 64 + 32 / 64 / 256) / 8 + embedding * 2  # nf4, scales in 8 bits, embeddings in bf16
    adapters = 4 * lora * 4 + 2 * lora * (4 + 8)  # four in float32; gradients and moments of two
    four = 4 * whole * 2 + 2 * whole * (2 + 4)  # bf16 weights; gradients and two bf16 moments of policy and value
    lora_policy = 3 * whole * 2 + lora * (4 + 4 + 8) + whole * (2 + 4)
    found = {"trl112_gib": four, "trl112_lora_policy_gib": lora_policy, "ours_gib": one_base + adapters}
    return {name: round(size / 2**30, 1) for name, size in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=768)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--learning_rates", type=float, nargs="+", default=[3e-5, 1e-4, 3e-4, 1e-3], help="of trl 1.12")
    parser.add_argument("--base", type=Path, default=ppo_learns.TINY / "llama")
    parser.add_argument("--our_learning_rates", type=float, nargs="+", default=OUR_RATES)
    parser.add_argument("--folder", type=Path, help="work here; adapters and runs found there are used again")
    parser.add_argument("--processes", type=int, default=1, help="runs at once, one thread each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        site = folder / "site"
        if not site.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), TRL]
            subprocess.run(pip, check=True)
        seen, unseen = ppo_learns.split_rows(folder)
        adapter = ppo_learns.sft_start(folder, args.base, seen, ppo_learns.LEARNED_EPOCHS)
        trained, reward_figures = ppo_learns.learned_reward(folder, adapter)
        reward = folder / "reward_as_it_scores"  # trl 1.12 takes the scores as they are
        shutil.copytree(trained, reward, dirs_exist_ok=True)
        scale = json.loads((reward / "reward.json").read_text())
        (reward / "reward.json").write_text(json.dumps({**scale, "score_mean": 0.0, "score_std": 1.0}))
        merge(folder, args.base, adapter, reward)
        runs_file = folder / "runs.json"
        runs = json.loads(runs_file.read_text(encoding="utf-8")) if runs_file.exists() else []
        done = {(run["side"], run["seed"], run["learning_rate"]) for run in runs}
        both = [("ours", rate) for rate in args.our_learning_rates] + [(TRL, rate) for rate in args.learning_rates]
        left = [
            (s, side, rate) for s, (side, rate) in itertools.product(args.seeds, both) if (side, s, rate) not in done
        ]

        def train(seed: int, side: str, rate: float) -> dict:
            if side == "ours":
                found = ours(folder, unseen, args.base, adapter, reward, args.samples, rate, seed)
            else:
                found = run_theirs(site, folder, unseen, args.samples, rate, seed)
            return {"side": side, "seed": seed, "learning_rate": rate, **found}

        with ThreadPoolExecutor(args.processes) as pool:
            for run in pool.map(lambda which: train(*which), left):
                runs.append(run)
                runs_file.write_text(json.dumps(runs), encoding="utf-8")
                write(runs, reward_figures, args.samples)
        write(runs, reward_figures, args.samples)


def write(runs: list[dict], reward_figures: dict, samples: int, results: Path = RESULTS) -> dict:
    """Writes the file: means of the last three rollouts, and each side's best run for each seed.

    "Best" by the reward, and by what both maximize: the reward minus its KL times `KL`.
    """
    for run in runs:
        last = range(max(0, len(run["rewards"]) - 3), len(run["rewards"]))
        run["reward_first"] = run["rewards"][0]
        run["reward_last"] = round(sum(run["rewards"][i] for i in last) / len(last), 4)
        run["kl_last"] = round(sum(run["kl"][i] for i in last) / len(last), 3)
        run["reward_minus_kl_last"] = round(run["reward_last"] - KL * run["kl_last"], 4)
    figures = ("learning_rate", "reward_last", "kl_last", "reward_minus_kl_last", "cpu_s")
    best = [
        {"by": measure, "seed": seed, "side": side, **{name: top[name] for name in figures}}
        for measure in ("reward_last", "reward_minus_kl_last")
        for seed in sorted({run["seed"] for run in runs})
        for side in ("ours", TRL)
        if (found := [run for run in runs if run["seed"] == seed and run["side"] == side])
        for top in [max(found, key=lambda run: run[measure])]
    ]
    return record(
        "ppo_vs_trl112",
        "PPO from the same SFT policy with the same reward model, one thread",
        f"toy, {samples} sampled summaries of at most {NEW_TOKENS} tokens, {ROLLOUT} a rollout",
        ["torch", "transformers", "trl", "peft"],
        {**reward_figures, "best": best, "computed_at_3b_shape": bytes_at("llama3b"), "runs": runs},
        results,
    )


if __name__ == "__main__":
    main()
