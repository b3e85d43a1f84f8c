"""PPO on TRL's GRPOTrainer: one frozen base that carries policy, reference, critic and reward as adapters.

From TRL come the data order, generation's bookkeeping, the chunked log-probabilities, logging and checkpoints; the
rollout's scores and advantages and both losses are ours. The critic has its own backward pass while its adapter
is active: gradient checkpointing then recomputes its layers, and must not recompute them with the policy's adapter.
"""

import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
import trl
from accelerate.utils import gather_object
from torch import nn
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import disable_dropout_in_model

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.kernels.fused.attach import why_not_fused
from dialsum_trl.models.adapters import CRITIC, POLICY, REFERENCE, REWARD, copy_weights
from dialsum_trl.rl import advantages as ppo
from dialsum_trl.rl.adapter_roles import active_adapter, add_copy
from dialsum_trl.rl.online_trainer import OnlineTrainer
from dialsum_trl.rl.packed_forwards import Forwards, fuse
from dialsum_trl.rl.ppo_checkpoints import HEAD_PREFIX, load_critic, load_policy_weights, save_critic
from dialsum_trl.rl.rollout_batch import in_chunks, pad_rollout, trim


class PPOTrainer(OnlineTrainer, trl.GRPOTrainer):
    """PPO with a critic (Schulman et al. 2017), KL to the SFT adapter in the reward (Ziegler et al. 2019).

    Args:
        model: of `adapters.load_base_and_policy`: its policy is the SFT adapter; reference and critic start as copies.
        reward_funcs: functions of TRL's signature, at most one of them a `LearnedReward` on the same model.
        args: a `PPOConfig`.
        train_dataset, eval_dataset: columns `prompt` (messages), `summaries`, and what else the reward functions take.
        processing_class: tokenizer.
        stop_ids, rouge_config: as of `OnlineTrainer`.
    """

    _name = "PPO"
    _tag_names = ("trl", "ppo")

    def __init__(self, model, reward_funcs, args, train_dataset, processing_class, **kwargs):
        add_copy(model, POLICY, REFERENCE)
        self.trained = (POLICY, CRITIC) if args.baseline == "critic" else (POLICY,)
        if CRITIC in self.trained:
            add_copy(model, POLICY, CRITIC)
            head = nn.Linear(model.config.hidden_size, 1)
            nn.init.normal_(head.weight, std=0.01 / model.config.hidden_size)  # all values start as the same constant
            nn.init.zeros_(head.bias)
            model.value_head = head.to(model.device)
        model.base_model.set_adapter(POLICY, inference_mode=True)
        model.set_requires_grad(list(self.trained))
        if args.disable_dropout:
            disable_dropout_in_model(model)
        adapters = (*self.trained, REFERENCE)
        if REWARD in model.peft_config and why_not_fused(model, (REWARD,)) is None:
            adapters += (REWARD,)
        self.packs = fuse(model, args, adapters, args.fast)
        super().__init__(
            model=model,
            reward_funcs=list(reward_funcs),
            args=args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        for adapter in self.trained:  # TRL rounded what trains to bf16; the frozen copy was not
            copy_weights(model, REFERENCE, adapter)
        self.forwards = Forwards(self)
        self._sums: dict[str, list] = {}
        self._seconds = {"generation": 0.0, "scoring": 0.0, "learning": 0.0}
        self._checked_at: int | None = None  # the step at which `_check_adapters` compares with `_first_weights`

    # rollout

    def rollout(self, rows, usual):
        self._check_adapters()
        started = time.perf_counter()
        prompts = [row["prompt"] for row in rows]
        prompt_ids, completion_ids, _, completions, *_ = self._generate(prompts)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the key/value cache's memory is free for activations again
        generated = time.perf_counter()

        batch = pad_rollout(prompt_ids, completion_ids, self.processing_class.pad_token_id, self.accelerator.device)
        mask = batch["completion_mask"]
        no_checkpoints = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), no_checkpoints, self.accelerator.autocast():
            rewards = self.rewards_of(rows, completions, completion_ids)
            logps = in_chunks(batch, lambda part: self.forwards.logps(part)[0])
            with active_adapter(self.model, REFERENCE):
                reference = in_chunks(batch, lambda part: self.forwards.logps(part)[0])
        ended = torch.tensor([ids[-1] in self.stop_ids for ids in completion_ids], device=mask.device)
        scores = self.weighted(rewards) - self.args.missing_end_penalty * ~ended
        if self.args.normalize_rewards:
            scores = scores / self.accelerator.gather(scores).std().clamp(min=1e-6)
        per_token = ppo.token_rewards(scores, logps, reference, mask, self.args.kl_coef)
        learned = self._advantages(batch, per_token)
        advantages = learned["advantages"]
        if self.args.whiten_advantages:
            learned["advantages"] = ppo.whiten(advantages, mask, self._total)

        kl = ((logps - reference) * mask).sum(1)
        self._log_rollout(rewards, scores, kl, ended, learned, mask)
        if self.log_completions:
            self._log_texts(prompts, completions, rewards, advantages.sum(1))
        self._seconds["generation"] += generated - started
        self._seconds["scoring"] += time.perf_counter() - generated
        return {
            **batch,
            **learned,
            "old_per_token_logps": logps,
            "num_items_in_batch": self._total(mask.sum()),
        }

    def _advantages(self, batch, rewards) -> dict[str, torch.Tensor]:
        """Advantages `(B, T)` of the tokens; with a critic its values and what they should have been, too.

        Args:
            rewards: `(B, T)` of each token, the KL included.
        """
        mask, args = batch["completion_mask"], self.args
        if CRITIC not in self.trained:
            totals = rewards.sum(1)
            first = self.accelerator.process_index * len(totals)
            everyone = ppo.group_advantages(self.accelerator.gather(totals), args.num_generations)
            return {"advantages": everyone[first : first + len(totals), None] * mask}
        no_checkpoints = disable_gradient_checkpointing(self.model, args.gradient_checkpointing_kwargs)
        with torch.no_grad(), no_checkpoints, self.accelerator.autocast(), active_adapter(self.model, CRITIC):
            values = in_chunks(batch, self.forwards.values)
        advantages, returns = ppo.gae(rewards, values, mask, args.gamma, args.lam)
        return {"advantages": advantages, "values": values, "returns": returns}

    # learning

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        batch = trim(inputs)
        mask, old_logps = batch["completion_mask"], batch["old_per_token_logps"]
        world, parts = self.accelerator.num_processes, self.args.steps_per_generation
        # tokens of an average mini-batch: the mean over tokens is one over the whole rollout, however it is divided
        tokens = batch["num_items_in_batch"] / world * self.current_gradient_accumulation_steps / parts

        if CRITIC in self.trained:
            with active_adapter(self.model, CRITIC):
                with self.accelerator.autocast():
                    values = self.forwards.values(batch)
                losses, value_clipped = ppo.value_loss(values, batch["values"], batch["returns"], self.args.value_clip)
                self.accelerator.backward((losses * mask).sum() / tokens)
            self._add("value_loss", losses.detach(), mask)
            self._add("value_clip_fraction", value_clipped.float(), mask)

        logps, entropies = self.forwards.logps(batch)
        policy_losses, clipped = ppo.policy_loss(logps, old_logps, batch["advantages"], self.epsilon_low)
        with torch.no_grad():
            ratio = logps - old_logps
            self._add("policy_loss", policy_losses, mask)
            self._add("entropy", entropies, mask)
            self._add("clip_fraction", clipped.float(), mask)
            self._add("kl_to_rollout", ratio.exp() - 1 - ratio, mask)
        return (policy_losses * mask).sum() / tokens

    def training_step(self, model, inputs, num_items_in_batch=None):
        started, before = time.perf_counter(), self._seconds["generation"] + self._seconds["scoring"]
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            self._average_gradients()
            self._flush_sums()
        spent = self._seconds["generation"] + self._seconds["scoring"] - before
        self._seconds["learning"] += time.perf_counter() - started - spent
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            for name, seconds in self._seconds.items():
                self._metrics["train"][f"seconds/{name}"].append(seconds)
                self._seconds[name] = 0.0
        return loss

    def _average_gradients(self) -> None:
        """Averages the gradients of both adapters over the ranks.

        The forward passes bypass DistributedDataParallel, which expects one backward per forward over all parameters.
        """
        if self.accelerator.num_processes == 1:
            return
        gradients = [p.grad for p in self.model.parameters() if p.requires_grad]
        flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            optimizer, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            trained = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
            critic = [p for n, p in trained if self._adapter_of(n) == CRITIC]
            policy = [p for n, p in trained if self._adapter_of(n) == POLICY]
            groups = [
                {"params": policy, "weight_decay": self.args.weight_decay},
                {"params": critic, "weight_decay": 0.0, "lr": self.args.critic_learning_rate},
            ]
            self.optimizer = optimizer(groups[: len(self.trained)], **settings)
        return self.optimizer

    def _adapter_of(self, name: str) -> str | None:
        """The adapter that a parameter belongs to; None: the base."""
        if name.startswith(HEAD_PREFIX):
            return CRITIC
        return next((each for each in (POLICY, REFERENCE, CRITIC, REWARD) if f".{each}." in f"{name}."), None)

    def _check_adapters(self) -> None:
        """After the first steps: what is trained has changed, reference and reward have not."""
        step = self.state.global_step
        if self._checked_at is not None and (step < self._checked_at or not self._first_weights):
            return
        sums: dict[str, float] = defaultdict(float)
        for name, parameter in self.model.named_parameters():
            if (adapter := self._adapter_of(name)) is not None:
                sums[adapter] += parameter.detach().double().abs().sum().item()
        if self._checked_at is None:  # fp16's first steps may be skipped while the scale falls
            self._checked_at = step + (self.numbers.max_overflows if self.args.fp16 else 2)
            self._first_weights = sums
            return
        moved = {adapter for adapter in sums if sums[adapter] != self._first_weights[adapter]}
        if moved != set(self.trained):
            raise TrainingError(
                f"step {step}: the weights of {sorted(moved)} changed, those of {' and '.join(self.trained)} "
                f"should; is --learning_rate or --critic_learning_rate 0?"
            )
        self._first_weights = {}

    # checkpoints

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if _internal_call and self.args.should_save and CRITIC in self.trained:  # a checkpoint
            save_critic(self.model, Path(output_dir))

    def load_weights(self, checkpoint, usual) -> None:
        super().load_weights(checkpoint, partial(load_policy_weights, self.model))
        if CRITIC in self.trained:
            load_critic(self.model, Path(checkpoint))

    # figures

    def _total(self, tensor):
        return self.accelerator.reduce(tensor, reduction="sum")

    def _add(self, name: str, values, mask) -> None:
        total, count = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (total + (values * mask).sum(), count + mask.sum())

    def _flush_sums(self) -> None:
        """One mean over the tokens of all ranks for each figure of the optimizer step."""
        names = sorted(self._sums)
        pairs = self._total(torch.stack([torch.stack(self._sums[name]).double() for name in names]))
        for name, (total, count) in zip(names, pairs.tolist(), strict=True):
            self._metrics["train"][name].append(total / count)
        self._sums = {}

    def _log_rollout(self, rewards, scores, kl, ended, learned, mask) -> None:
        mine = {"score": scores, "reward": self.weighted(rewards), "kl": kl, "ended": ended.float()}
        if "values" in learned:
            mine["explained_variance"] = ppo.explained_variance(learned["values"], learned["returns"], mask)
        mine |= {f"rewards/{name}": rewards[:, index] for index, name in enumerate(self.reward_func_names)}
        means = self._total(torch.stack([figure.mean() for figure in mine.values()])) / self.accelerator.num_processes
        figures = dict(zip(mine, means.tolist(), strict=True))
        for name, value in figures.items():
            self._metrics["train"][name].append(value)
        self.watch.on_rollout(self.args, self.state, self.control, figures["kl"], 1 - figures["ended"])

    def _log_texts(self, prompts, completions, rewards, advantages) -> None:
        self._logs["prompt"].extend(gather_object(prompts))
        self._logs["completion"].extend(gather_object(completions))
        self._logs["advantages"].extend(self.accelerator.gather(advantages).tolist())
        for name, column in zip(self.reward_func_names, self.accelerator.gather(rewards).T.tolist(), strict=True):
            self._logs["rewards"][name].extend(column)
