"""DPO from an SFT adapter: preference pairs through TRL's DPOTrainer, reference = the SFT adapter."""

import math
import time

from dialsum_trl.arguments import ModelArguments, PromptArguments, parse_recipe
from dialsum_trl.best_checkpoint import LOSS, check_choice
from dialsum_trl.console import say, table
from dialsum_trl.errors import TrainingError, command
from dialsum_trl.rl.pairs import PairArguments, encode_pairs, pair_names, read_sides
from dialsum_trl.rows import batch_arithmetic, take_accumulation
from dialsum_trl.runs import continue_adapter

DPO_SETTINGS = dict(
    learning_rate=5e-6,
    beta=0.1,
    num_train_epochs=1,
    per_device_train_batch_size=4,
    lr_scheduler_type="cosine",
    warmup_steps=0.1,
    max_grad_norm=1.0,
    max_length=1024,
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    ddp_find_unused_parameters=False,  # every adapter takes part in every step
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=1,
    logging_steps=10,
    logging_first_step=True,  # the first loss, which a run that continues reads in its log
    logging_nan_inf_filter=False,
)


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


def trainer_class():
    from trl import DPOTrainer

    from dialsum_trl.rl.rollouts import PolicyAlone
    from dialsum_trl.training import CheckedTraining

    class PairPolicyTrainer(PolicyAlone, CheckedTraining, DPOTrainer):
        """TRL's trainer on our token ids; before the first step policy and reference must be the same model."""

        first_loss = None

        def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
            return dataset  # tokenized by `pairs.encode_pairs`, as SFT and the reward model see the texts

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            if self.first_loss is None and self.model.training and self.args.loss_type == ["sigmoid"]:
                self.first_loss = (result[0] if return_outputs else result).item()
                fresh = self.state.global_step == 0
                if fresh and abs(self.first_loss - math.log(2)) > 1e-3:
                    raise TrainingError(
                        f"the first DPO loss is {self.first_loss:.4f}, not ln 2 = {math.log(2):.4f}: the "
                        f"reference is not the adapter that training starts from"
                    )
            return result

    return PairPolicyTrainer


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

    from dialsum_trl import models
    from dialsum_trl.resume.sameness import describe, same_run
    from dialsum_trl.rl.adapters import (
        POLICY,
        adapter_state,
        copy_weights,
        load_adapter_state,
        load_base_and_policy,
        upcast_trained,
    )
    from dialsum_trl.runs import peak_memory_gib, prepare_output_dir
    from dialsum_trl.share import hub

    checkpoint = prepare_output_dir(args)
    push_when_done = hub.plan_push(args, model_args)
    batch_arithmetic(args, pair_args.effective_batch_size)
    train, held = read_sides(pair_args.pairs_file, pair_args.eval_pairs_file, pair_args.held_out, args.seed)
    tokenizer = models.tokenizer_of(model_args, prompt)
    stop_ids = models.stop_token_ids(tokenizer)
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
    hub.keep_record(trainer, tokenizer, model_args, prompt, method="DPO")
    upcast_trained(trainer.model)
    load_adapter_state(trainer.model, start, "ref")  # TRL's copy lacks the rows of added tokens
    copy_weights(trainer.model, "ref", POLICY)  # TRL rounded the policy to bf16, not its copy
    started = time.time()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate()
    trainer.save_state()
    hub.save_adapter(trainer, tokenizer, model_args, metrics)
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
