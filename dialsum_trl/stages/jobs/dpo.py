"""Preference pairs to a policy; the first loss must be ln 2."""

from datasets import Dataset

from dialsum_trl.core.console import say
from dialsum_trl.data.pairs import pair_names, read_sides
from dialsum_trl.models.adapters import load_base_and_policy
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.preference_pairs import encode_pairs
from dialsum_trl.rl.dpo_trainer import DPOTrainer
from dialsum_trl.stages.common.run import Run, continue_adapter
from dialsum_trl.training.batches import take_accumulation
from dialsum_trl.training.best_metric import LOSS, check_choice

MEASURED = (  # on the held-out pairs
    *LOSS,
    *(f"rewards/{name}" for name in ("accuracies", "margins", "chosen", "rejected")),
    *(f"{name}/{side}" for name in ("logps", "logits") for side in ("chosen", "rejected")),
    *("entropy", "mean_token_accuracy"),
)


def adjust(values: dict, given: set[str]) -> None:
    """As for every stage that trains an adapter further; accumulation as it was given."""
    continue_adapter(values, given)
    take_accumulation(values, given)
    check_choice(values, given, MEASURED)


def run(prompt, model_args, pairs, args) -> dict:
    """Trains the SFT adapter on preference pairs; returns the figures of the closing table."""
    run = Run("DPO", (prompt, model_args, pairs, args))
    run.open(pairs.effective_batch_size)
    train, heldout = read_sides(pairs.pairs_file, pairs.eval_pairs_file, pairs.held_out, args.seed)

    tokenizer = run.load_tokenizer()
    stop_ids = stop_token_ids(tokenizer)
    train_rows, heldout_rows = (
        Dataset.from_list(encode_pairs(side, tokenizer, stop_ids, args.max_length)) for side in (train, heldout)
    )
    say(f"{len(train)} training pairs, {len(heldout)} held out")
    info = run.describe(tokenizer, train, train_rows, heldout, pair_names(train))

    trainer = DPOTrainer(
        model=load_base_and_policy(model_args, args, tokenizer),
        args=args,
        train_dataset=train_rows,
        eval_dataset=heldout_rows,
        processing_class=tokenizer,
        run_info=info,
        quantization=model_args.quantization,
        fast=pairs.fast,
    )
    metrics = run.fit(trainer, evaluate=True)

    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    figures = {
        "pairs": len(train),
        "held-out pairs": len(heldout),
        "optimizer steps": trainer.state.global_step,
        "first loss (ln 2 = 0.6931)": logged[0] if logged else trainer.first_loss,
        "held-out loss": metrics["eval_loss"],
        "held-out accuracy": metrics["eval_rewards/accuracies"],
        "held-out margin": metrics["eval_rewards/margins"],
        **run.costs(),
        "adapter": args.output_dir,
    }
    return run.close("DPO finished", figures)
