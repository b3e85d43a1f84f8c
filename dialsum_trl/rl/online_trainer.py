"""What PPO and GRPO share above TRL's GRPOTrainer: sampling, a row order that resumes, dev summaries with rewards."""

import json
import math
import shutil
import zlib
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from trl.trainer.utils import RepeatSampler

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.prompts.prompt import apply_template, fit, model_messages, prompt_texts, render
from dialsum_trl.rl.policy_watch import PolicyWatch
from dialsum_trl.rl.ppo_checkpoints import BEST_FOLDER, load_policy_weights, load_watch, put_best, save_watch
from dialsum_trl.training.checked import CheckedTrainer
from dialsum_trl.training.dev_rouge import DevRouge, first_rows
from dialsum_trl.training.distributed.sharding import whole_model
from dialsum_trl.training.trackers import log_summaries


class EpochOrder(RepeatSampler):
    """TRL's order of prompts, drawn from seed and epoch: its own restarts when a run is resumed in a later epoch."""

    def __init__(self, trainer: "OnlineTrainer", usual: RepeatSampler):
        vars(self).update(vars(usual))
        self.trainer = trainer

    def __iter__(self):
        args = self.trainer.args
        batches = len(self.data_source) // self.batch_size * args.num_iterations * args.steps_per_generation
        steps = math.ceil(batches / args.gradient_accumulation_steps)  # the epoch's last may have fewer
        self.generator.manual_seed(self.seed + self.trainer.state.global_step // max(1, steps))
        return super().__iter__()


class OnlineTrainer(CheckedTrainer):
    """Trainer mixin over TRL's GRPOTrainer.

    Completions come from `generation.generate_ids` instead of transformers' `generate`. The seed of a rollout follows
    from `--seed`, the optimizer step and the process: a resumed run samples what the uninterrupted one would have. Only
    the end of turn ends a completion: a policy that writes another stop token must learn the right one. With vLLM or
    continuous batching TRL samples.

    Each evaluation summarizes the dev rows greedily and scores them with ROUGE and the run's rewards; it samples no
    groups and computes no loss, as TRL's would. It logs the metrics of `DevRouge`, `eval_reward` (the weighted sum) and
    `eval_reward_<name>` of each reward function.

    Args:
        model: a LoRA model whose policy is the SFT adapter.
        stop_ids: `chat_tokens.stop_token_ids(tokenizer)`; the first ends a turn.
        eval_dataset: dev rows with the columns of the training rows (`online_dev_rows`), or None.
        rouge_config: how the dev summaries are scored.
        max_rouge_drop, max_gaming_drop: of `PolicyWatch`, which keeps the best adapter and stops the run.
    """

    def __init__(
        self,
        model,
        *args,
        stop_ids: list[int],
        eval_dataset=None,
        rouge_config: RougeConfig | None = None,
        max_rouge_drop: float = math.inf,
        max_gaming_drop: float = math.inf,
        **kwargs,
    ):
        self.stop_ids = stop_ids
        model.generation_config.eos_token_id = list(stop_ids)
        super().__init__(model, *args, eval_dataset=eval_dataset, **kwargs)
        self.best_report = None  # in no checkpoint: a resumed run measures it again if nothing better has come
        self.watch = PolicyWatch(self._keep_best, max_rouge_drop, max_gaming_drop)
        self.add_callback(self.watch)
        if eval_dataset is not None:
            tokenizer = self.processing_class
            prompts = [render(tokenizer, prompt, generation=True) for prompt in eval_dataset["prompt"]]
            limit = self.max_completion_length
            self.dev_rouge = DevRouge(
                prompts, eval_dataset["summaries"], rouge_config, stop_ids, tokenizer.pad_token_id, limit
            )

    # rollouts

    def train_sampler(self, usual: RepeatSampler):
        return EpochOrder(self, usual)

    def has_steps_left(self, skipped: int, checkpoint: str | None) -> bool:
        """Whether the epoch has steps to make: none after the one at which a tripwire stopped the run.

        Raises:
            InputError: the run would continue in the middle of a generation.
        """
        if self.watch.tripped is not None:
            say(f"tripwire, {self.watch.tripped}; it stopped the run before this checkpoint, so no step is made")
            self.control.should_training_stop = True
            return False
        going = super().has_steps_left(skipped, checkpoint)
        if going and skipped % (self.args.steps_per_generation * self.num_iterations):
            raise InputError(
                f"--resume_from_checkpoint {checkpoint}: was written in the middle of a "
                f"generation (at the end of a shorter run, or by a signal), and what was sampled is in no checkpoint; "
                f"name an earlier one, or start again in another --output_dir"
            )
        return going

    def generate(self, prompt_ids: list[list[int]], usual: Callable):
        if self.use_vllm or self.use_transformers_continuous_batching:
            return usual()
        groups = [(prompt, len(list(same))) for prompt, same in groupby(prompt_ids)]
        completions = [None] * len(groups)
        with whole_model(self) as model:
            for count in sorted({count for _, count in groups}):
                rows = [i for i, (_, n) in enumerate(groups) if n == count]
                sampled = self.sample(model, [groups[i][0] for i in rows], count)
                for i, candidates in zip(rows, sampled, strict=True):
                    completions[i] = candidates
        return [ids for candidates in completions for ids in candidates], None

    def sample(self, model, prompts: list[list[int]], count: int) -> list[list[list[int]]]:
        """`count` completions per prompt, each ending with the end of turn unless it was cut."""
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
        sampled = generate_ids(model, prompts, settings, [end], self.processing_class.pad_token_id)
        return [[ids if len(ids) == limit else [*ids, end] for ids in candidates] for candidates in sampled]

    # evaluations

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        summaries = self.dev_rouge.summarize(self)
        metrics = self.dev_rouge.score(self, summaries)
        rewards = self._dev_rewards(summaries)
        metrics["eval_reward"] = self.weighted(rewards).mean().item()
        for name, value in zip(self.reward_func_names, rewards.mean(0).tolist(), strict=True):
            metrics[f"eval_reward_{name}"] = value
        training = self.model.training
        self.model.eval()  # otherwise TRL adds the rollouts' metrics since the last line
        self.log(dict(metrics))
        self.model.train(training)
        log_summaries(self, self.dev_rouge.references, self.dev_rouge.texts)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _dev_rewards(self, summaries: list[list[int]]) -> torch.Tensor:
        limit, end = self.max_completion_length, self.stop_ids[0]
        ids = [row if len(row) == limit else [*row, end] for row in summaries]
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        return self.rewards_of(list(self.eval_dataset), completions, ids)

    # the best adapter

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if _internal_call and self.args.should_save:  # a checkpoint
            save_watch(self.watch.to_dict(), Path(output_dir), Path(self.args.output_dir))

    def load_weights(self, checkpoint, usual) -> None:
        folder = Path(checkpoint)
        usual(folder)
        if (watch := load_watch(folder)) is None:
            return
        self.watch.load(watch)
        if self.watch.best_step is not None and self.args.should_save:
            copy = partial(shutil.copytree, folder / BEST_FOLDER, dirs_exist_ok=True)
            put_best(Path(self.args.output_dir), copy)

    def _keep_best(self) -> None:
        """Saves the current policy as the run's best adapter."""
        self.best_report = self.dev_rouge.report
        state = self.checkpoints.portable.state()  # every process takes part
        if not self.args.should_save:
            return

        def fill(folder: Path) -> None:
            self._save(str(folder), state_dict=state)
            self.checkpoints.write_record(folder)
            (folder / "best.json").write_text(json.dumps(self.watch.to_dict()) + "\n", encoding="utf-8")

        put_best(Path(self.args.output_dir), fill)

    def restore_best(self) -> None:
        """Loads the best adapter into the policy, on every process; without evaluations the last one stays."""
        self.accelerator.wait_for_everyone()
        if self.watch.best_step is None:
            return
        best, portable = Path(self.args.output_dir) / BEST_FOLDER, self.checkpoints.portable
        if portable.gathers():
            portable.put_adapter(best)
        else:
            load_policy_weights(self.model, best)
        if self.dev_rouge is not None:
            if self.best_report is None:
                self.dev_rouge.measure(self)
                self.best_report = self.dev_rouge.report
            self.dev_rouge.report = self.best_report

    # rewards

    def rewards_of(self, rows, completions, completion_ids) -> torch.Tensor:
        """`(rows, functions)`: the value of each reward function, unweighted; they are given the columns of `rows`."""
        columns = {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
        prompts = [row["prompt"] for row in rows]
        rewards = [
            function(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
            for function in self.reward_funcs
        ]
        return torch.tensor(rewards, device=self.accelerator.device).T

    def weighted(self, rewards: torch.Tensor) -> torch.Tensor:
        """`(rows,)`: the reward functions' weighted sum."""
        return (rewards * self.reward_weights.to(rewards.device)).sum(1)


def online_rows(rows, tokenizer, prompt_budget: int):
    """Rows for TRL's online trainers: `prompt` (messages that fit into `prompt_budget` tokens, as the chat template
    takes them), `dialogue` and `summaries`; and how many dialogues were shortened."""
    topics = rows["topic"][:] if "topic" in rows.column_names else [None] * len(rows)
    pairs = zip(rows["dialogue"], topics, strict=True)
    fitted = [fit(tokenizer, dialogue, prompt_budget, topic=topic) for dialogue, topic in pairs]
    asked = (model_messages(tokenizer, f.text, topic=topic) for f, topic in zip(fitted, topics, strict=True))
    prompts = [apply_template(tokenizer, messages, generation=True)[0] for messages in asked]
    texts = prompt_texts(tokenizer)

    def as_asked(row: dict) -> dict:
        references = [texts.target(row["dialogue"], text) for text in row["summaries"]]
        return {"dialogue": texts.asked(row["dialogue"]), "summaries": references}

    ready = rows.select_columns(["dialogue", "summaries"])
    ready = (ready if texts.speakers == "keep" else ready.map(as_asked)).add_column("prompt", prompts)
    return ready, sum(f.shortened for f in fitted)


def online_dev_rows(dev, tokenizer, prompt_budget: int, most: int | str):
    """The first `most` dev rows (or "all") as `online_rows` gives them, for `OnlineTrainer`; None without dev rows."""
    if dev is None:
        return None
    return online_rows(first_rows(dev, most), tokenizer, prompt_budget)[0]
