"""Completions for TRL's online trainers (PPO, GRPO) from our own decoding."""

import math
import zlib
from itertools import groupby

import torch
from transformers.trainer import TRAINING_ARGS_NAME
from trl.trainer.utils import RepeatSampler

from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.training.checkpoints.portable import AnyAdamW
from dialsum_trl.training.distributed.sharding import whole_model


class FastRollouts:
    """Trainer mixin: samples with `generation.generate_ids` instead of transformers' `generate`.

    The seed of a rollout follows from `--seed`, the optimizer step and the rank: a resumed run samples what the
    uninterrupted one would have. Only the end of turn ends a completion: a policy that writes another stop token is to
    learn the right one. With vLLM or continuous batching TRL's own path is taken.
    """

    def _get_train_sampler(self, dataset=None):
        trainer = self

        class EpochOrder(RepeatSampler):
            """TRL's order, drawn from seed and epoch: its own starts anew when a run resumes in a later epoch."""

            def __iter__(self):
                rollouts = len(self.data_source) // self.batch_size
                args = trainer.args
                batches = rollouts * args.num_iterations * args.steps_per_generation
                steps = math.ceil(batches / args.gradient_accumulation_steps)  # the epoch's last may have fewer
                self.generator.manual_seed(self.seed + trainer.state.global_step // max(1, steps))
                return super().__iter__()

        base = super()._get_train_sampler(dataset)
        return EpochOrder(
            base.data_source, base.mini_repeat_count, base.batch_size, base.repeat_count, base.shuffle, base.seed
        )

    def _run_epoch(self, *args, **kwargs):
        """As the trainer's.

        Raises:
            InputError: the run would continue in the middle of a generation.
        """
        batches = self.args.steps_per_generation * self.num_iterations
        if self.state.global_step < self.state.max_steps and kwargs["steps_trained_in_current_epoch"] % batches:
            raise InputError(
                f"--resume_from_checkpoint {kwargs['resume_from_checkpoint']}: was written in the middle of a "
                f"generation (at the end of a shorter run, or by a signal), and what was sampled is in no checkpoint; "
                f"name an earlier one, or start anew in another --output_dir"
            )
        return super()._run_epoch(*args, **kwargs)

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        if self.use_vllm or self.use_transformers_continuous_batching:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        groups = [(prompt, len(list(same))) for prompt, same in groupby(prompt_ids)]
        completions = [None] * len(groups)
        with whole_model(self) as model:
            for count in sorted({count for _, count in groups}):
                rows = [i for i, (_, n) in enumerate(groups) if n == count]
                sampled = self._sample(model, [groups[i][0] for i in rows], count)
                for i, candidates in zip(rows, sampled, strict=True):
                    completions[i] = candidates
        return [ids for candidates in completions for ids in candidates], None

    def _sample(self, model, prompts: list[list[int]], count: int) -> list[list[list[int]]]:
        """`count` completions a prompt, each ending with the end of turn unless it was cut."""
        limit, end = self.max_completion_length, self.stop_ids[0]
        place = f"{self.args.seed} {self.state.global_step} {self.accelerator.process_index}"
        settings = GenerationSettings(
            num_beams=1,
            do_sample=True,
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=limit,
            num_return_sequences=count,
            seed=zlib.crc32(place.encode()),
        )
        sampled = generate_ids(model, prompts, settings, [end], self._tokenizer.pad_token_id)
        return [[ids if len(ids) == limit else [*ids, end] for ids in candidates] for candidates in sampled]


class PolicyAlone(AnyAdamW):
    """Trainer mixin: a saved model is the policy's adapter and its tokenizer, whatever else the base carries."""

    def _save(self, output_dir=None, state_dict=None):
        folder = output_dir or self.args.output_dir
        if self.args.should_save:
            policy = self.accelerator.unwrap_model(self.model)
            policy.save_pretrained(folder, selected_adapters=["default"], state_dict=state_dict)
            self.processing_class.save_pretrained(folder)
            torch.save(self.args, f"{folder}/{TRAINING_ARGS_NAME}")
