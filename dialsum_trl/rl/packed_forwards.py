"""Scoring and learning of a rollout on packs through fused layers: no padding, a tenth of the kernel launches.

One pack holds prompt and completion of every row of a (mini-)batch as documents. Policy, reference and critic each have
their fused layers on the same base; all share one buffer for dequantized weights.
"""

import torch

from dialsum_trl.core.console import say
from dialsum_trl.kernels.attention import register
from dialsum_trl.kernels.fused.attach import attach, decoder_layers, why_not_fused
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


def fuse(model, args, adapters: tuple[str, ...]) -> bool:
    """Fuses the layers for these adapters, or prints why not. Call it before the trainer is built.

    Dropout must already be off if it is to be off.
    """
    reason = (noise_problem(args) or why_not_fused(model, adapters)) if args.fast else "--fast false"
    if reason is None:
        usual = model.get_base_model().config._attn_implementation
        model.set_attn_implementation(register())
        keep = "layer" if args.gradient_checkpointing else "all"
        reason = verified(attach(model, [keep] * len(decoder_layers(model)), adapters=adapters))
        if reason:
            model.set_attn_implementation(usual)
    if reason:
        say(f"Padded, not fused: {reason}")
        return False
    args.gradient_checkpointing = args.activation_checkpointing = False  # the fused layers do it themselves
    return True


class Forwards:
    """Log-probabilities and values of a padded batch under the active adapter: on packs through fused layers, or padded
    as transformers' layers compute them.

    Args:
        trainer: a `ppo_trainer.PPOTrainer`.
        packs: what `fuse` returned.
    """

    def __init__(self, trainer, packs: bool):
        self.trainer, self.model, self.packs = trainer, trainer.model, packs

    def _packed(self, batch) -> tuple[dict, torch.Tensor]:
        return pack(batch, self.trainer.processing_class.pad_token_id, self.trainer.accelerator.device)

    def logps(self, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies `(B, T)` of the completions."""
        if not self.packs:
            ids, mask = _whole(batch)
            width = batch["completion_ids"].shape[1]
            logps = self.trainer._get_per_token_logps_and_entropies
            return logps(self.model, ids, mask, width, compute_entropy=True)[:2]
        inputs, places = self._packed(batch)
        with self.trainer.accelerator.autocast():
            outputs = self.model(**inputs, use_cache=False, fused_lm_head=True)
        found = (outputs.log_probs[0, places - 1], outputs.entropy[0, places - 1])
        return tuple(unpack(values, batch["completion_mask"]) for values in found)

    def values(self, batch) -> torch.Tensor:
        """The critic's values `(B, T)` before each token of the completions; its adapter must be active."""
        if self.packs:
            inputs, places = self._packed(batch)
            del inputs["labels"]
            hidden = backbone(self.model)(**inputs, use_cache=False).last_hidden_state[0, places - 1]
        else:
            ids, mask = _whole(batch)
            hidden = backbone(self.model)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            hidden = hidden[:, batch["prompt_ids"].shape[1] - 1 : -1]
        with torch.autocast(hidden.device.type, enabled=False):
            values = self.model.value_head(hidden.float())[..., 0]
        return unpack(values, batch["completion_mask"]) if self.packs else values


def _whole(batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of prompts and completions, concatenated."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    return ids, torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
