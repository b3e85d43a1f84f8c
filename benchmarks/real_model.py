"""The whole pipeline on a real small model and real dialogues: what each stage gains, with intervals, on one GPU.

    python -m benchmarks.real_model --model MODEL_DIR --data DATA_DIR --work WORK_DIR --parts sft decode distill
    python -m benchmarks.real_model --model MODEL_DIR --data DATA_DIR --work WORK_DIR --report
    python -m benchmarks.real_model --smoke                   # every part on the toy, on a CPU

The published figures are of SmolLM2-135M-Instruct and English DialogSum (CC BY-NC-SA 4.0, not part of this project):
DATA_DIR holds `train3.csv` (fname, dialogue, summary1 to summary3) and `dev.csv` (fname, dialogue, summary). A slice of
the training dialogues chooses rates, checkpoints and rewards; the dev rows are scored once per system and choose
nothing.

Every part keeps what it made in WORK_DIR and skips what is there, so that parts may be run one after another, in any
number of calls, and a stopped call goes on. Parts, in the order in which they need each other:

zero       the base model, asked in English
sft        rates and epochs chosen on the slice, three seeds of the best
trl        plain TRL with the same rows and rate, three seeds: summed dev loss
decode     beam 4, and the consensus of 16 samples
distill    the adapter trained on the consensus of its own samples (SFT, DPO, both)
ppo        PPO with a group baseline
critic     the same with a critic
grpo       GRPO
pairs      preference pairs, a reward model, DPO on the pairs, PPO on the learned reward
folds      five folds, consensus of their candidates
"""

import argparse
import csv
import json
import math
import random
import time
import traceback
from pathlib import Path

from benchmarks.record import record

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "dialsum_trl" / "toy"
SLICE = 93  # training dialogues that choose, of 493
SEEDS = (1, 2, 3)
RATES = (1e-3, 2e-3, 4e-3)
EPOCHS = 4
# RL: rates of a tenth of SFT's, groups instead of a critic that explains nothing, a KL that fits ROUGE's range
PPO = dict(
    baseline="group", num_generations=8, rollout_batch_size=512, num_mini_batches=4, ppo_epochs=1,
    per_device_train_batch_size=64, learning_rate=2e-4, kl_coef=0.003, temperature=0.7, kl_target=60, max_rouge_drop=5,
    max_steps=160, eval_steps=16, warmup_steps=4, missing_end_penalty=0.2,
)  # fmt: skip
CRITIC = dict(baseline="critic", num_generations=1, critic_learning_rate=5e-4, lam=1.0)
GRPO = dict(
    num_generations=8, per_device_train_batch_size=64, gradient_accumulation_steps=4, learning_rate=2e-4, beta=0.005,
    max_steps=40, eval_steps=10,
)  # fmt: skip
DISTILLED = {  # by what is learned: settings of the SFT, of the DPO
    "sft": (dict(num_train_epochs=2, learning_rate=5e-4), {}),
    "dpo": ({}, dict(num_train_epochs=1, learning_rate=1e-4, beta=0.1)),
    "sft dpo": (dict(num_train_epochs=2, learning_rate=5e-4), dict(num_train_epochs=1, learning_rate=1e-4)),
}


class Bench:
    """Settings that all parts share, and what is kept in the work folder."""

    def __init__(self, args):
        self.work, self.smoke = args.work, args.smoke
        self.seeds = SEEDS[:1] if args.smoke else args.seeds
        self.work.mkdir(parents=True, exist_ok=True)
        self.model = {"model_name_or_path": str(args.model), "dtype": "bfloat16"}
        self.model |= {"dtype": "float32", "quantization": "none", "use_cpu": True} if args.smoke else {}
        self.rouge = {"rouge_tokenizer": "whitespace" if args.smoke else "english"}
        self.texts = {"prompt_language": "ko" if args.smoke else "en"}
        self.kept_file = self.work / "kept.json"
        self.kept = json.loads(self.kept_file.read_text(encoding="utf-8")) if self.kept_file.exists() else {}
        self.train, self.slice, self.dev = split(args.data, self.work, args.smoke)

    def keep(self, key: str, make):
        """`make()`, once: a value that is kept is not made again."""
        if key not in self.kept:
            started = time.perf_counter()
            value = make()
            self.kept[key] = {"value": value, "seconds": round(time.perf_counter() - started, 1)}
            self.kept_file.write_text(json.dumps(self.kept, default=str), encoding="utf-8")
            print(f"== {key}: {self.kept[key]['seconds']} s", flush=True)
        return self.kept[key]["value"]

    def run(self, name: str, stage: str, adapter: str | None = None, **settings) -> dict:
        """The figures of one stage, in the folder `name`."""
        import dialsum_trl
        from dialsum_trl.stages.common.sampling import free_memory

        function = getattr(dialsum_trl, stage)
        shared = {**self.model, **({"adapter_path": adapter} if adapter else {})}
        if stage not in ("train_reward", "train_dpo"):
            shared |= self.rouge
        shared |= self.texts if adapter is None or name.startswith("predicted/trl") else {}
        shared |= {"disable_tqdm": True} if stage.startswith("train_") else {}
        figures = function(output_dir=str(self.work / name), **{**shared, **settings})
        free_memory()
        return figures

    def trained(self, name: str, stage: str, adapter: str | None = None, **settings) -> dict:
        """`run` of a training, once."""
        limits = {"max_steps": 4, "save_strategy": "no"} if self.smoke else {}
        if self.smoke and stage in ("train_ppo", "train_grpo"):
            limits |= {"eval_steps": 2}
        if not (self.work / name / "adapter_model.safetensors").exists():  # figures may travel where adapters do not
            self.kept.pop(name, None)
        return self.keep(name, lambda: self.run(name, stage, adapter, **{**settings, **limits}))

    def summaries(self, name: str, adapter: str | None, rows: Path, **decoding) -> dict:
        """Greedy summaries unless said, scored: mean, interval, floor and each row's mean."""

        def make():
            limit = {"max_new_tokens": 8} if self.smoke else {}
            settings = {"num_beams": 1, **decoding, **limit}
            result = self.run(f"predicted/{name}", "predict", adapter, test_file=str(rows), **settings)
            return figures_of(result["scores"])

        return self.keep(f"{rows.stem}: {name}", make)

    def choose(self, names: list[str]) -> str:
        """The one with the highest ROUGE mean on the slice; equal ones: the earlier."""
        return max(names, key=lambda name: self.kept[f"{self.slice.stem}: {name}"]["value"]["mean"])


def figures_of(report) -> dict:
    """Of a RougeReport, as kept."""
    return {**report.to_dict(), "per_row": report.per_row.mean(axis=1).round(4).tolist()}


def split(data: Path, work: Path, smoke: bool) -> tuple[Path, Path, Path]:
    """Training rows, the slice that chooses, dev rows; by dialogue, drawn by a fixed seed."""
    with (data / ("train.csv" if smoke else "train3.csv")).open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    random.Random(0).shuffle(rows)
    rows = rows[:40] if smoke else rows
    cut = 8 if smoke else SLICE
    for name, part in (("slice", rows[:cut]), ("train", rows[cut:])):
        with (work / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *part])
    dev = data / "dev.csv"
    if smoke:
        dev = work / "dev.csv"
        lines = (data / "dev.csv").read_text(encoding="utf-8")
        with (data / "dev.csv").open(encoding="utf-8", newline="") as file:
            head, *lines = list(csv.reader(file))
        with dev.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *lines[:8]])
    return work / "train.csv", work / "slice.csv", dev


def zero(bench: Bench) -> None:
    bench.summaries("zero-shot", None, bench.dev)


def sft_settings(bench: Bench, rate: float, seed: int) -> dict:
    return dict(
        train_file=str(bench.train), eval_file=str(bench.slice), learning_rate=rate, seed=seed, num_train_epochs=EPOCHS,
        rouge_rows=1000, metric_for_best_model="rouge_mean", save_total_limit=1, logging_steps=5,
    )  # fmt: skip


def sft(bench: Bench) -> None:
    for rate in RATES[:1] if bench.smoke else RATES:
        figures = bench.trained(f"sft_{rate:g}_{SEEDS[0]}", "train_sft", **sft_settings(bench, rate, SEEDS[0]))
        bench.summaries(f"sft_{rate:g}_{SEEDS[0]}", figures["adapter"], bench.slice)
    best = bench.keep("rate", lambda: best_rate(bench))
    for seed in bench.seeds:
        bench.trained(f"sft_{best:g}_{seed}", "train_sft", **sft_settings(bench, best, seed))
        bench.summaries(f"sft_{seed}", adapter_of(bench, seed), bench.dev)


def best_rate(bench: Bench) -> float:
    """By the summaries of the slice."""
    tried = {f"sft_{rate:g}_{SEEDS[0]}": rate for rate in RATES if f"sft_{rate:g}_{SEEDS[0]}" in bench.kept}
    return tried[bench.choose(list(tried))]


def adapter_of(bench: Bench, seed: int = SEEDS[0]) -> str:
    """The SFT adapter of a seed at the chosen rate."""
    return str(bench.work / f"sft_{bench.kept['rate']['value']:g}_{seed}")


def decode(bench: Bench) -> None:
    from dialsum_trl import ensemble

    adapter = adapter_of(bench)
    bench.summaries("beam 4", adapter, bench.dev, num_beams=4)
    count = 4 if bench.smoke else 16
    sampling = {"do_sample": True, "temperature": 0.7, "num_return_sequences": count}
    bench.summaries("one sample", adapter, bench.dev, **sampling)

    def consensus():
        files = sorted((bench.work / "predicted" / "one sample" / "candidates").glob("*.csv"))
        result = ensemble(
            prediction_files=list(map(str, files)), test_file=str(bench.dev), output_dir=str(bench.work / "mbr"),
            **bench.rouge,
        )  # fmt: skip
        return figures_of(result["systems"]["consensus"])

    bench.keep(f"{bench.dev.stem}: consensus of {count}", consensus)


def distill(bench: Bench) -> None:
    for learn, (sft_flags, dpo_flags) in DISTILLED.items():
        name = f"distill {learn}"
        small = {"max_steps": 2} if bench.smoke else {}
        settings = dict(
            train_file=str(bench.train), eval_file=str(bench.slice), samples=4 if bench.smoke else 16,
            learn=learn.split(), sft={**sft_flags, "rouge_rows": 1000, "disable_tqdm": True, **small},
            dpo={**dpo_flags, "disable_tqdm": True, "per_device_train_batch_size": 16, **small},
        )  # fmt: skip
        settings |= {"max_new_tokens": 8, "margin": 0.001, "length_tolerance": 9.0} if bench.smoke else {}
        samples = bench.work / "distill sft" / "round1"
        if learn != "sft" and not (bench.work / name / "round1").exists():  # the same samples
            (bench.work / name / "round1").mkdir(parents=True)
            for file in ("samples.jsonl", "settings.json"):
                (bench.work / name / "round1" / file).write_bytes((samples / file).read_bytes())
        figures = bench.keep(name, lambda: bench.run(name, "distill", adapter_of(bench), **settings))  # noqa: B023
        bench.summaries(name, figures["adapter"], bench.slice)
    best = bench.choose([f"distill {learn}" for learn in DISTILLED])
    bench.summaries("distilled", bench.kept[best]["value"]["adapter"], bench.dev)
    bench.keep("distilled by", lambda: best)


def online(bench: Bench, name: str, stage: str, settings: dict, adapter: str | None = None) -> str:
    """One run of PPO or GRPO on ROUGE; its adapter."""
    small = dict(per_device_train_batch_size=8, max_completion_length=8, max_truncated=1.1)
    small |= {"rollout_batch_size": 16, "num_mini_batches": 1} if stage == "train_ppo" else {}
    small |= {"gradient_accumulation_steps": 1} if stage == "train_grpo" else {}
    small.pop("max_truncated") if stage == "train_grpo" else None
    settings = {
        "train_file": str(bench.train), "eval_file": str(bench.slice), "num_train_epochs": 100, "rouge_rows": 1000,
        "logging_steps": 1 if bench.smoke else 4, "save_strategy": "no", **settings, **(small if bench.smoke else {}),
    }  # fmt: skip
    return bench.trained(name, stage, adapter or adapter_of(bench), **settings)["adapter"]


def ppo(bench: Bench) -> None:
    for seed in bench.seeds:
        adapter = online(bench, f"ppo_{seed}", "train_ppo", {**PPO, "seed": seed}, adapter_of(bench, seed))
        bench.summaries(f"ppo_{seed}", adapter, bench.dev)
        if seed == SEEDS[0]:
            bench.summaries("ppo beam 4", adapter, bench.dev, num_beams=4)


def critic(bench: Bench) -> None:
    bench.summaries("ppo critic", online(bench, "ppo_critic", "train_ppo", {**PPO, **CRITIC}), bench.dev)


def grpo(bench: Bench) -> None:
    bench.summaries("grpo", online(bench, "grpo", "train_grpo", GRPO), bench.dev)


def pairs(bench: Bench) -> None:
    """Preference pairs of the adapter's samples, DPO on them, a reward model, PPO that learns from it alone."""
    adapter, small = adapter_of(bench), {"max_new_tokens": 8, "margin": 0.001, "length_tolerance": 9.0}
    sampling = {"samples": 8, "temperature": 0.7, "trained_rows": True, **(small if bench.smoke else {})}
    made = bench.keep(
        "pairs", lambda: bench.run("pairs", "make_preferences", adapter, train_file=str(bench.train), **sampling)
    )
    shared = dict(pairs_file=made["file"], held_out=0.4 if bench.smoke else 0.1)
    dpo = bench.trained("dpo", "train_dpo", adapter, learning_rate=1e-4, per_device_train_batch_size=16, **shared)
    bench.summaries("dpo on pairs", dpo["adapter"], bench.dev)
    # its verdict on the pairs is among its figures
    bench.trained("reward", "train_reward", adapter, learning_rate=2e-4, num_train_epochs=3, accept_weak=True, **shared)
    learned = dict(reward_functions=["none"], reward_adapter_path=str(bench.work / "reward"), kl_coef=0.03)
    bench.summaries("ppo learned", online(bench, "ppo_learned", "train_ppo", {**PPO, **learned}), bench.dev)


def folds(bench: Bench) -> None:
    """Five folds of all training dialogues, 8 samples of each adapter: their consensus."""

    def make() -> dict:
        epochs = {"max_steps": 2} if bench.smoke else {"num_train_epochs": EPOCHS}
        how = {"learning_rate": bench.kept["rate"]["value"], "disable_tqdm": True, "save_strategy": "no", **epochs}
        small = {"max_new_tokens": 8} if bench.smoke else {}
        figures = bench.run(
            "folds", "train_folds", train_file=str(bench.train), test_file=str(bench.dev), num_beams=1, sft=how,
            folds=2 if bench.smoke else 5, candidates=3 if bench.smoke else 8, **small,
        )  # fmt: skip
        found = figures_of(figures["systems"]["consensus"])
        return {**found, "out_of_fold": figures["scores"].mean}

    bench.keep(f"{bench.dev.stem}: folds, consensus", make)


def trl(bench: Bench) -> None:
    """Plain TRL: prompt and completion as messages, its own tokenization, padding and trainer."""
    for seed in bench.seeds:
        folder = bench.work / f"trl_{seed}"
        if not (folder / "adapter_model.safetensors").exists():
            bench.kept.pop(f"trl_{seed}", None)
        bench.keep(f"trl_{seed}", lambda: plain_trl(bench, folder, seed))  # noqa: B023 - called at once
        bench.summaries(f"trl_{seed}", str(folder), bench.dev)
        for name, adapter in ((f"trl_{seed}", str(folder)), (f"sft_{seed}", adapter_of(bench, seed))):
            bench.keep(f"nats a dev row: {name}", lambda: dev_nats(bench, adapter))  # noqa: B023


def plain_trl(bench: Bench, folder: Path, seed: int) -> dict:
    """Trains with trl.SFTTrainer alone; the adapter of the last epoch."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    from dialsum_trl.core.settings.prompt_texts import TEXTS
    from dialsum_trl.data.dialogues import read_dialogues
    from dialsum_trl.prompts.prompt import prompt_messages

    system, instructions = TEXTS[bench.texts["prompt_language"]]
    rows = [
        {
            "prompt": prompt_messages(row["dialogue"], instructions[0], system),
            "completion": [{"role": "assistant", "content": text}],
        }
        for row in read_dialogues(bench.train)
        for text in row["summaries"]
    ]
    base, half = bench.model["model_name_or_path"], not bench.smoke
    kind = torch.bfloat16 if half else torch.float32
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                  bnb_4bit_compute_dtype=kind) if half else None  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, task_type="CAUSAL_LM", target_modules="all-linear")
    length = {"max_steps": 2} if bench.smoke else {"num_train_epochs": EPOCHS}
    args = SFTConfig(
        output_dir=str(folder), seed=seed, learning_rate=bench.kept["rate"]["value"], lr_scheduler_type="cosine",
        warmup_steps=0.1, weight_decay=0.1, max_grad_norm=1.2, max_length=1024,
        per_device_train_batch_size=64 if half else 2,
        gradient_checkpointing=False, bf16=half, use_cpu=bench.smoke, save_strategy="no", logging_steps=5, report_to=[],
        disable_tqdm=True, **length,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(base, dtype=kind, quantization_config=four_bit)
    tokenizer = AutoTokenizer.from_pretrained(base)
    trainer = SFTTrainer(
        model, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora
    )
    started = time.perf_counter()
    trainer.train()
    trainer.save_model()
    return {"adapter": str(folder), "steps": trainer.state.global_step, "seconds": time.perf_counter() - started}


def dev_nats(bench: Bench, adapter: str) -> float:
    """Summed loss of a dev row's summary and its end of turn, nats, on average: the same tokens for every adapter."""
    import torch

    from dialsum_trl import load_summarizer, read_dialogues
    from dialsum_trl.core.settings.prompt_texts import TEXTS
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.sft_rows import encode_dataset

    system, instructions = TEXTS[bench.texts["prompt_language"]]
    names = {name: bench.model[name] for name in ("dtype", "quantization") if name in bench.model}
    device = "cpu" if bench.smoke else None
    summarizer = load_summarizer(
        bench.model["model_name_or_path"], adapter, merge=False, device=device, system_prompt=system,
        instruction=list(instructions), prompt_style="native", revision="main", **({"quantization": "4bit"} | names),
    )  # fmt: skip
    tokenizer, total = summarizer.tokenizer, 0.0
    rows, _ = encode_dataset(read_dialogues(bench.dev), tokenizer, stop_token_ids(tokenizer), 1024)
    for row in rows:
        ids = torch.tensor([row["input_ids"]], device=summarizer.model.device)
        labels = torch.tensor([row["labels"]], device=ids.device)
        with torch.no_grad():
            logits = summarizer.model(input_ids=ids).logits
        total += torch.nn.functional.cross_entropy(logits[0, :-1].float(), labels[0, 1:], reduction="sum").item()
    return total / len(rows)


PARTS = {
    "zero": zero, "sft": sft, "trl": trl, "decode": decode, "distill": distill, "ppo": ppo, "critic": critic,
    "grpo": grpo, "pairs": pairs, "folds": folds,
}  # fmt: skip


def report(bench: Bench) -> dict:
    """Every system's dev score, and what it gains on the SFT adapter it starts from, paired."""
    import numpy as np

    from dialsum_trl.metrics.rouge import gain

    prefix = f"{bench.dev.stem}: "
    systems = {key.removeprefix(prefix): kept["value"] for key, kept in bench.kept.items() if key.startswith(prefix)}
    rows = {}
    for name, system in systems.items():
        seed = name.rsplit("_", 1)[-1]
        start = systems[f"sft_{seed if name.startswith('ppo_') else SEEDS[0]}"]
        delta, interval = gain(np.array(system["per_row"])[:, None] - np.array(start["per_row"])[:, None])
        rows[name] = {
            **{key: system[key] for key in ("rouge1", "rouge2", "rougeL", "mean", "interval95_of_mean")},
            "above_sft": round(delta, 2), "interval95_of_gain": [round(end, 2) for end in interval],
        }  # fmt: skip
        print(f"{name:24} {system['mean']:6.2f}  {delta:+.2f} [{interval[0]:+.2f}, {interval[1]:+.2f}]")
    others = {key: kept["value"] for key, kept in bench.kept.items() if ": " not in key}
    floor = next(iter(systems.values()))["floor"] if systems else None
    seconds = {key: kept["seconds"] for key, kept in bench.kept.items()}
    return {"floor": floor, "systems": rows, "runs": others, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=TINY / "llama", help="folder of the model")
    parser.add_argument("--data", type=Path, default=TINY / "data", help="folder with train3.csv and dev.csv")
    parser.add_argument("--work", type=Path, required=True, help="what was made is kept here")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no part is begun after as many")
    parser.add_argument("--smoke", action="store_true", help="the toy on a CPU, a few steps of everything")
    parser.add_argument("--report", action="store_true", help="write benchmarks/results/real_model.json")
    args = parser.parse_args()
    bench, started = Bench(args), time.monotonic()
    failed = []
    for name in () if args.report else args.parts:
        if (time.monotonic() - started) / 60 > args.minutes:
            print(f"== {name}: left for the next call", flush=True)
            continue
        try:
            PARTS[name](bench)
        except Exception:  # the other parts go on; the call fails at its end
            traceback.print_exc()
            failed.append(name)
    figures = report(bench)
    if args.report:
        shape = f"SmolLM2-135M-Instruct in nf4, LoRA rank 16, {SLICE} training dialogues choose, 500 dev rows"
        record("real_model", "whole pipeline", shape, ["torch", "transformers", "trl", "peft"], figures)
    if failed:
        raise SystemExit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
