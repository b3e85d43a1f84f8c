"""Pairs to a policy; the first loss must be ln 2."""

import time

from dialsum_trl.core.console import say, table
from dialsum_trl.core.settings.flags import ModelArguments, PromptArguments
from dialsum_trl.core.settings.resolve import parse_recipe
from dialsum_trl.data.pairs import pair_names, read_sides
from dialsum_trl.prompts.preference_pairs import encode_pairs
from dialsum_trl.rl.dpo_trainer import trainer_class
from dialsum_trl.stages.common.adjust import continue_adapter
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.flags import PairArguments
from dialsum_trl.stages.dpo import DPO_SETTINGS
from dialsum_trl.training.batches import batch_arithmetic, take_accumulation
from dialsum_trl.training.best_checkpoint import LOSS, check_choice


def dpo_config():
    from trl import DPOConfig

    return DPOConfig


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


@command
def train_dpo(recipe: dict, argv: list[str]) -> dict:
    """Trains the SFT adapter on preference pairs and leaves the policy adapter alone in `output_dir`.

    Returns:
        The figures of the closing table (first loss, held-out accuracy and margin of the implicit rewards).
    """
    prompt, model_args, pair_args, args = parse_recipe(
        [PromptArguments, ModelArguments, PairArguments],
        {**DPO_SETTINGS, **recipe},
        argv,
        ("trl.DPOConfig", dpo_config),
        adjust,
        stage="dpo",
    )
    from datasets import Dataset

    from dialsum_trl.models.adapters import (
        POLICY,
        adapter_state,
        copy_weights,
        load_adapter_state,
        load_base_and_policy,
        upcast_trained,
    )
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.tokenizer import tokenizer_of
    from dialsum_trl.sharing.push import plan_push
    from dialsum_trl.sharing.save import keep_record, save_adapter
    from dialsum_trl.stages.common.run import peak_memory_gib
    from dialsum_trl.training.checkpoints.output_dir import prepare_output_dir
    from dialsum_trl.training.checkpoints.same_run import describe, same_run

    checkpoint = prepare_output_dir(args)
    push_when_done = plan_push(args, model_args)
    batch_arithmetic(args, pair_args.effective_batch_size)
    train, held = read_sides(pair_args.pairs_file, pair_args.eval_pairs_file, pair_args.held_out, args.seed)
    tokenizer = tokenizer_of(model_args, prompt)
    stop_ids = stop_token_ids(tokenizer)
    rows = [Dataset.from_list(encode_pairs(side, tokenizer, stop_ids, args.max_length)) for side in (train, held)]
    say(f"{len(train)} training pairs, {len(held)} held out")

    about = describe(args, (prompt, model_args, pair_args), tokenizer, train, rows[0], held)
    same_run(checkpoint, about, names := pair_names(train))
    model = load_base_and_policy(model_args, args, tokenizer)
    start = adapter_state(model, POLICY)
    trainer = trainer_class()(
        model=model, args=args, train_dataset=rows[0], eval_dataset=rows[1], processing_class=tokenizer
    )
    trainer.run_settings, trainer.row_names = about, names
    keep_record(trainer, tokenizer, model_args, prompt, method="DPO")
    upcast_trained(trainer.model)
    load_adapter_state(trainer.model, start, "ref")  # TRL's copy lacks the rows of added tokens
    copy_weights(trainer.model, "ref", POLICY)  # TRL rounded the policy to bf16, not its copy
    started = time.time()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate()
    trainer.save_state()
    save_adapter(trainer, tokenizer, model_args, metrics)
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    figures = {
        "pairs": len(train),
        "held-out pairs": len(held),
        "optimizer steps": trainer.state.global_step,
        "first loss (ln 2 = 0.6931)": logged[0] if logged else trainer.first_loss,
        "held-out loss": metrics["eval_loss"],
        "held-out accuracy": metrics["eval_rewards/accuracies"],
        "held-out margin": metrics["eval_rewards/margins"],
        "seconds": round(seconds, 1),
        "peak GPU memory, GiB": peak_memory_gib(),
        "adapter": args.output_dir,
    }
    table("DPO finished", list(figures.items()))
    push_when_done()
    return figures
