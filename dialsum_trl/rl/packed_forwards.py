"""Scoring and learning of a rollout on packs through fused layers: no padding, and a tenth of the launches.

One pack holds prompt and completion of every row of a (mini-)batch as documents. Policy, reference and critic each have
their fused layers on the same base; all share one buffer for dequantized weights.
"""

import torch

from dialsum_trl.core.console import say
from dialsum_trl.kernels.attention import register
from dialsum_trl.kernels.fused.attach import attach, decoder_layers, problem
from dialsum_trl.rl.learned_reward import backbone
from dialsum_trl.training.packing.packs import PackCollator
from dialsum_trl.training.packing.prepare import noise_problem, verified


def pack(batch: dict, pad_id: int, device) -> tuple[dict, torch.Tensor]:
    """A padded batch (`rollout_batch.pad_rollout`) as one pack, and where the completions' tokens are in it.

    Returns:
        The model's inputs: `labels` are the completions alone.
        `(n,)` positions of the completion tokens, in the order of `completion_mask`'s ones.
    """
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1).cpu()
    prompts, completions = batch["prompt_mask"].bool().cpu(), batch["completion_mask"].bool().cpu()
    kept = torch.cat([prompts, completions], 1)
    labels = ids.masked_fill(~torch.cat([torch.zeros_like(prompts), completions], 1), -100)
    rows = [
        {"input_ids": row[mask].numpy(), "labels": label[mask].numpy()}
        for row, label, mask in zip(ids, labels, kept, strict=True)
    ]
    inputs = PackCollator(pad_id)(rows)
    places = (inputs["labels"][0] != -100).nonzero()[:, 0]
    moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
    return moved, places.to(device)


def unpack(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`(n,)` values of the completion tokens as `(B, T)`, 0 on padding."""
    return values.new_zeros(mask.shape).masked_scatter(mask.bool(), values)


class PaddedForwards:
    """Trainer mixin: log-probabilities and values of a padded batch, as transformers' layers compute them."""

    def _logps(self, batch):
        """Log-probabilities and entropies `(B, T)` of the completions under the active adapter."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        width = batch["completion_ids"].shape[1]
        return self._get_per_token_logps_and_entropies(self.model, ids, mask, width, compute_entropy=True)[:2]

    def _values(self, batch):
        """The critic's values `(B, T)` before each token of the completions; its adapter must be active."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        hidden = backbone(self.model)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        hidden = hidden[:, batch["prompt_ids"].shape[1] - 1 : -1]
        with torch.autocast(hidden.device.type, enabled=False):
            return self.model.value_head(hidden.float())[..., 0]


class PackedForwards(PaddedForwards):
    """Trainer mixin: `_logps` and `_values` on packs once `fuse` has found that the layers can be fused."""

    packs = False

    def fuse(self, model, args, adapters: tuple[str, ...]) -> None:
        """Fuses the layers for these adapters, or says why not. Before the trainer is built: it decides who recomputes.

        Dropout must be off already where it shall be.
        """
        reason = (noise_problem(args) or problem(model, adapters)) if args.fast else "--fast false"
        if reason is None:
            usual = model.get_base_model().config._attn_implementation
            model.set_attn_implementation(register())
            keep = "layer" if args.gradient_checkpointing else "all"
            reason = verified(attach(model, [keep] * len(decoder_layers(model)), adapters=adapters))
            if reason:
                model.set_attn_implementation(usual)
        if reason:
            say(f"Padded, not fused: {reason}")
            return
        self.packs = True
        args.gradient_checkpointing = args.activation_checkpointing = False  # the fused layers do it themselves

    def _logps(self, batch):
        if not self.packs:
            return super()._logps(batch)
        inputs, places = pack(batch, self._tokenizer.pad_token_id, self.accelerator.device)
        with self.accelerator.autocast():
            outputs = self.model(**inputs, use_cache=False, fused_lm_head=True)
        found = (outputs.log_probs[0, places - 1], outputs.entropy[0, places - 1])
        return tuple(unpack(values, batch["completion_mask"]) for values in found)

    def _values(self, batch):
        if not self.packs:
            return super()._values(batch)
        inputs, places = pack(batch, self._tokenizer.pad_token_id, self.accelerator.device)
        del inputs["labels"]
        hidden = backbone(self.model)(**inputs, use_cache=False).last_hidden_state[0, places - 1]
        with torch.autocast(hidden.device.type, enabled=False):
            return unpack(self.model.value_head(hidden.float())[:, 0], batch["completion_mask"])
