"""Unsloth's own training loop on the rows of `sft_speed`, in a process that imports Unsloth and the releases it pins.

    PYTHONPATH=SITE python benchmarks/unsloth_run.py MODEL ROWS.json STEPS WARMUP none|unsloth DROPOUT PACKS

Called by `benchmarks.sft_speed --unsloth_site SITE`; imports nothing of this project. Its settings are those of the
other variants: LoRA r 16 on seven projections, 4-bit, packs of eight rows' tokens, PACKS of them per micro-batch, about
64 rows per step. Prints one line of JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import unsloth  # first: it patches what comes after


def main() -> None:
    path, rows, steps, warmup, checkpointing, dropout, packs = sys.argv[1:]
    steps, warmup, dropout, micro_batch = int(steps), int(warmup), float(dropout), int(packs)
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    gpu = torch.cuda.is_available()
    length = 2560 if gpu else 256
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        path, max_seq_length=length, load_in_4bit=gpu, dtype=torch.bfloat16 if gpu else torch.float32
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, lora_dropout=dropout, bias="none",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        use_gradient_checkpointing="unsloth" if checkpointing == "unsloth" else False,
    )  # fmt: skip
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if gpu and state.global_step in (1, warmup, steps):
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        args = SFTConfig(
            folder, max_steps=steps, per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=8 // micro_batch if gpu else 1,
            learning_rate=2e-5, warmup_steps=0, weight_decay=0.1, max_grad_norm=1.2, packing=True,
            optim="adamw_8bit" if gpu else "adamw_torch", max_length=length, bf16=gpu, use_cpu=not gpu, logging_steps=1,
            save_strategy="no", report_to="none", disable_tqdm=True, dataset_num_proc=1, logging_nan_inf_filter=False,
        )  # fmt: skip
        data = Dataset.from_list(json.loads(Path(rows).read_text()))
        trainer = SFTTrainer(
            model=model, args=args, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()]
        )
        started = time.perf_counter()
        trainer.train()
    packs = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    a_step = sum(packs) / len(packs) * micro_batch * args.gradient_accumulation_steps
    seconds = times[steps - 1] - times[warmup - 1]
    log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    figures = {
        "tokens_per_second": round(a_step * (steps - warmup) / seconds),
        "seconds_a_step": round(seconds / (steps - warmup), 3),
        "first_step_seconds": round(times[0] - started, 1),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2) if gpu else 0,
        "losses": [round(float(entry["loss"]), 5) for entry in log],
        "grad_norms": [round(float(entry["grad_norm"]), 4) for entry in log],
        "settings": f"packing, {micro_batch} packs a micro-batch, checkpointing {checkpointing}, dropout {dropout}",
        "unsloth": unsloth.__version__,
    }
    print("FIGURES " + json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
