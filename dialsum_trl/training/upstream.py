"""What we use of TRL's and transformers' trainers although it is private: all of it is named here.

`Upstream` is the one class that overrides private methods. Each calls a method of ours with a public name, and passes
the upstream method as `usual` if it is still needed. The tables say which source was read in which version, and
tests/training/test_upstream.py fails when a release changes one of them: read it again, see whether ours still fits,
and take over its new hash.
"""

from functools import partial


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
