"""What we use of TRL's and transformers' trainers although it is private: all of it is named here.

`Upstream` is the one class that overrides private methods. Each calls a method of ours with a public name, and passes
the upstream method as `usual` if it is still needed. The tables say which source was read in which version, and
tests/training/test_upstream.py fails when a release changes one of them: read it again, see whether ours still fits,
and take over its new hash.
"""

from functools import partial

READ_IN = {"transformers": "5.23.0", "trl": "1.16.0", "torch": "2.13.0", "deepspeed": "0.19.8"}

# Qualified name of a method -> the first 12 digits of the SHA-256 of its source in that version.
OVERRIDDEN = {
    "transformers.Trainer._get_grad_norm": "913ba6f52f07",
    "transformers.Trainer._run_epoch": "31aff00f34c3",
    "transformers.Trainer._get_train_sampler": "1580d7493244",
    "transformers.Trainer._get_output_dir": "97172085342a",
    "transformers.Trainer._save_checkpoint": "a9111e30faa9",
    "transformers.Trainer._prepare_for_training": "f55950593d7e",
    "transformers.Trainer._load_best_model": "0e183d55a9db",
    "transformers.Trainer._save_optimizer_and_scheduler": "c5ef974db69a",
    "transformers.Trainer._load_optimizer_and_scheduler": "741032f57d6f",
    "transformers.Trainer._load_from_checkpoint": "a2804e8d93a2",
    "transformers.Trainer._save": "b136889e8792",
    "trl.DPOTrainer._prepare_dataset": "35e349e8e826",
    "trl.GRPOTrainer._get_train_sampler": "36497afb4d31",
    "trl.GRPOTrainer._generate_single_turn": "e0f02e4fc094",
    "trl.GRPOTrainer._generate_and_score_completions": "1fa48922792d",
}
CALLED = {
    "transformers.Trainer._prepare_inputs": "8f8c4e430d2f",
    "trl.GRPOTrainer._generate": "2a27fdf8f5e6",
    "trl.GRPOTrainer._get_per_token_logps_and_entropies": "ea73c3909275",
    "torch.distributed.fsdp.FSDPModule._get_fsdp_state": "f2c8b4bf8e84",
    "torch.distributed.fsdp._fully_shard._fsdp_state.FSDPState._lazy_init": "7e3dd80ccd33",
    "deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer._lazy_init_hp_params_optimizer_state": "45e666d78112",
}
FOLLOWED = {  # not overridden, but our code depends on them
    "transformers.Trainer._finalize_training": "6d6d83d6a271",
    "transformers.Trainer._maybe_log_save_evaluate": "af101534f0f7",
    "transformers.Trainer._get_num_items_in_batch": "a31fa106f70d",
    "trl.SFTTrainer.compute_loss": "ca448211ff65",
    "trl.GRPOTrainer._prepare_inputs": "f824e7fb0714",
}
# Attributes that are read or set -> the class in whose source they are.
ATTRIBUTES = {
    "_train_batch_size": "transformers.Trainer",
    "_total_train_tokens": "trl.SFTTrainer",
    "_metrics": "trl.GRPOTrainer",
    "_logs": "trl.GRPOTrainer",
    "_step": "trl.GRPOTrainer",
    "_name": "trl.GRPOTrainer",
    "_tag_names": "trl.GRPOTrainer",
    "_attn_implementation": "transformers.PretrainedConfig",
    "_step_supports_amp_scaling": "torch.optim.AdamW",
}


class Upstream:
    """Trainer mixin, next to TRL's or transformers' trainer: their private methods under public names.

    The hooks below call upstream; `CheckedTrainer` and the trainers on it override them.
    """

    # An optimizer step: transformers.Trainer

    def _get_grad_norm(self, model, grad_norm=None):
        """Once per optimizer step, after clipping and before the update. Callbacks do not get the norm."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of split gradients, under FSDP2
        self.norm_known(norm)
        return norm

    def norm_known(self, norm) -> None:
        """The gradient norm of this optimizer step, before the update."""

    def _run_epoch(self, *args, **kwargs):
        """The steps of an epoch. Callbacks can stop a run after its next step only."""
        if self.has_steps_left(kwargs["steps_trained_in_current_epoch"], kwargs["resume_from_checkpoint"]):
            super()._run_epoch(*args, **kwargs)

    def has_steps_left(self, skipped: int, checkpoint: str | None) -> bool:
        """Whether an epoch has steps to make; the first one of a run that continues `checkpoint` skips batches."""
        return True

    def _get_train_sampler(self, *args):
        return self.train_sampler(super()._get_train_sampler(*args))

    def train_sampler(self, usual):
        """The order of the training rows, given the upstream one."""
        return usual

    # Checkpoints: transformers.Trainer

    def _get_output_dir(self, trial):
        """The folder that checkpoints are written into."""
        return self.checkpoints.aside or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial):
        self.checkpoints.save(partial(super()._save_checkpoint, model, trial))

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        """Wraps the model, makes the optimizer and loads the checkpoint."""
        usual = partial(super()._prepare_for_training, max_steps, train_dataloader)
        return self.checkpoints.prepare(usual, max_steps, resume_from_checkpoint)

    def _load_best_model(self):
        self.checkpoints.load_best(super()._load_best_model)

    def _save_optimizer_and_scheduler(self, output_dir):
        self.checkpoints.portable.save_optimizer(output_dir, super()._save_optimizer_and_scheduler)

    def _load_optimizer_and_scheduler(self, checkpoint):
        self.checkpoints.portable.load_optimizer(checkpoint, super()._load_optimizer_and_scheduler)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        self.load_weights(resume_from_checkpoint, partial(super()._load_from_checkpoint, model=model))

    def load_weights(self, checkpoint, usual) -> None:
        """Loads the model of a checkpoint."""
        usual(checkpoint)

    def _save(self, output_dir=None, state_dict=None):
        self.write_model(output_dir or self.args.output_dir, state_dict, super()._save)

    def write_model(self, folder, state_dict, usual) -> None:
        """Writes model, tokenizer and arguments; `state_dict` where they had to be gathered."""
        usual(folder, state_dict)

    # Rows and samples: TRL

    def _prepare_dataset(self, dataset, *args, **kwargs):
        """DPOTrainer's has no setting that leaves tokenized rows alone."""
        return self.prepare_rows(dataset, partial(super()._prepare_dataset, dataset, *args, **kwargs))

    def prepare_rows(self, rows, usual):
        """Rows as the trainer takes them."""
        return usual()

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        """GRPOTrainer's sampling: id lists, one per prompt, and their log-probabilities or None."""
        return self.generate(prompt_ids, partial(super()._generate_single_turn, prompt_ids, *args, **kwargs))

    def generate(self, prompt_ids, usual):
        """Completions of prompts (each prompt repeated once per completion)."""
        return usual()

    def _generate_and_score_completions(self, inputs):
        """GRPOTrainer's rollout: a batch of tensors that optimizer steps learn from."""
        return self.rollout(inputs, super()._generate_and_score_completions)

    def rollout(self, rows, usual):
        """Samples and scores completions for these rows."""
        return usual(rows)
