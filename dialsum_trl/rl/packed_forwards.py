"""Padded batches on packs through fused layers: DPO, the reward model, GRPO and PPO compute what TRL computes.

TRL's trainers give the model padded rows. Here the decoder below the head takes them as one pack of documents and
returns hidden states as if they had been padded: no token is computed for nothing, and losses and metrics stay TRL's.
Rows that begin alike (the summaries of a pair, the samples of a dialogue) have their common tokens in the pack once.
All adapters on a base have their fused layers there and share one buffer for dequantized weights.
"""

import numpy as np
import torch
from torch import Tensor
from trl.trainer.utils import disable_dropout_in_model

from dialsum_trl.core.console import say
from dialsum_trl.core.launcher import current
from dialsum_trl.kernels.attention import Keys, register, shares_keys
from dialsum_trl.kernels.fused.attach import attach, detach, why_not_fused
from dialsum_trl.models.adapters import POLICY
from dialsum_trl.rl.adapter_roles import TRL_REFERENCE, add_copy
from dialsum_trl.rl.learned_reward import backbone
from dialsum_trl.training.packing.prepare import budget_gib, noise_problem, why_not_verified
from dialsum_trl.training.plan import memory
from dialsum_trl.training.plan.schedule import MULTIPLE


def _common(row: np.ndarray, others: list[np.ndarray]) -> tuple[int, int]:
    """Which of the others begins with most of this row, and with how many tokens; 0 of them where it is below half."""
    best, half = (0, 0), (len(row) + 1) // 2
    for number, other in enumerate(others):
        end = min(len(row) - 1, len(other))  # a document has a token of its own
        if end >= half and row[half - 1] == other[half - 1]:
            differs = row[:end] != other[:end]
            count = int(differs.argmax()) if differs.any() else end
            best = max(best, (count, number)) if count >= half else best
    return best[1], best[0]


def pack(input_ids: Tensor, attention_mask: Tensor, share: bool = True) -> tuple[dict, Tensor]:
    """Padded rows as one pack.

    Args:
        input_ids, attention_mask: (B, T), padded on either side or on both.
        share: rows that begin with at least half of what an earlier one has take it from there.

    Returns:
        What a model with packed attention takes, and (B, T) where in the pack each token is; padding points to a token
        of its row.
    """
    device, (ids, mask) = input_ids.device, torch.stack([input_ids, attention_mask]).cpu().numpy()
    rows = [row[kept != 0] for row, kept in zip(ids, mask, strict=True)]
    whole, places_of_whole, tokens, positions, keys = [], [], [], [], []
    places, total = np.zeros(ids.shape, dtype=np.int64), 0
    for number, row in enumerate(rows):
        first, count = _common(row, whole) if share else (0, 0)
        own = total + np.arange(len(row) - count)
        at = np.concatenate([places_of_whole[first][:count], own]) if count else own
        if not count:
            whole.append(row)
            places_of_whole.append(at)
        places[number] = at[-1]
        places[number][mask[number] != 0] = at
        tokens.append(row[count:])
        positions.append(np.arange(count, len(row)))
        keys.append(at)
        total += len(own)
    if filler := -total % MULTIPLE:
        tokens.append(np.full(filler, rows[0][0]))
        positions.append(np.arange(filler))
        keys.append(total + np.arange(filler))

    def edges(parts: list[np.ndarray]) -> tuple[Tensor, int]:
        sizes = [len(part) for part in parts]
        return torch.tensor(np.append(0, np.cumsum(sizes)), dtype=torch.int32, device=device), max(sizes)

    def moved(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    (bounds, longest), (key_bounds, most) = edges(tokens), edges(keys)
    shared = Keys(moved(keys), key_bounds, most) if most > longest or len(whole) < len(rows) else None
    inputs = dict(
        input_ids=moved(tokens)[None], position_ids=moved(positions)[None], cu_seq_lens_q=bounds,
        cu_seq_lens_k=key_bounds, max_length_q=longest, max_length_k=most, shared_keys=shared,
    )  # fmt: skip
    return inputs, torch.from_numpy(places).to(device)


def take_packs(model) -> None:
    """Makes the decoder of a model with packed attention take padded batches as packs; generation stays as it was."""
    decoder = model.get_base_model().get_decoder()
    padded = decoder.forward
    head = torch.empty(0, decoder.layers[0].self_attn.head_dim, dtype=decoder.dtype, device=decoder.device)
    share = shares_keys(head)

    def forward(input_ids=None, attention_mask=None, **kwargs):
        given = [kwargs.get(name) for name in ("past_key_values", "position_ids", "inputs_embeds", "cu_seq_lens_q")]
        if attention_mask is None or attention_mask.dim() != 2 or any(each is not None for each in given):
            return padded(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        inputs, places = pack(input_ids, attention_mask, share)
        output = padded(**{**kwargs, **inputs, "use_cache": False})
        hidden = output.last_hidden_state[0].index_select(0, places.flatten())
        output.last_hidden_state = hidden.unflatten(0, places.shape)
        return output

    decoder.forward = forward


def plan_pairs(model, args, lengths: list[int], quantization: str) -> list[str] | None:
    """What each layer keeps, with as many pairs in a micro-batch as are fastest; sets the batch arguments to match.

    The loss is a mean over pairs, so the same pairs in fewer micro-batches have the same loss and gradient.

    Args:
        lengths: tokens of each training pair in a pack.
    """
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps
    largest_first = sorted(lengths, reverse=True)
    shape = memory.Shape.of(model.get_base_model().config.get_text_config(), model.peft_config[POLICY].r, quantization)
    counts = [count for count in range(1, rows + 1) if rows % count == 0]
    # a tenth for hidden states as TRL pads them
    plan = memory.plan(
        shape, lambda count: sum(largest_first[: rows // count]), counts, 0.9 * budget_gib(args), (False,)
    )
    if plan is None:
        return None
    say(plan.line())
    args.per_device_train_batch_size, args.gradient_accumulation_steps = rows // plan.micro_batches, plan.micro_batches
    return list(plan.keep)


def fuse(model, args, adapters: tuple[str, ...], fast: bool, pairs: tuple[list[int], str] | None = None) -> bool:
    """Has padded batches go through fused layers on packs, or prints why not. Call it before the trainer is built.

    Dropout must already be off if it is to be off.

    Args:
        adapters: those that are fused; others run through transformers' layers, on packs too.
        fast: False leaves the model as it is.
        pairs: tokens of each training pair and how the base is stored, for `plan_pairs`; None: layers are recomputed
            where `args` asks for checkpointing, and the batch arguments stay.
    """
    reason = (noise_problem(args) or why_not_fused(model, adapters)) if fast else "--fast false"
    if reason is None and current().shards_weights:
        reason = f"{current().kind} splits the weights between processes"
    if reason is None:
        usual = model.get_base_model().config._attn_implementation
        model.set_attn_implementation(register())
        layers = attach(model, adapters=adapters)
        reason = why_not_verified(layers)
        if reason:
            model.set_attn_implementation(usual)
    if reason:
        say(f"Padded, not fused: {reason}")
        return False
    keep = plan_pairs(model, args, *pairs) if pairs else None
    detach(layers)
    attach(model, keep or ["layer" if args.gradient_checkpointing else "all"] * len(layers), adapters=adapters)
    take_packs(model)
    args.gradient_checkpointing = args.activation_checkpointing = False  # the fused layers do it themselves
    return True


def fuse_with_reference(model, args, fast: bool, pairs: tuple[list[int], str] | None = None) -> bool:
    """`fuse` for the policy and for the reference, its copy that TRL's trainer is about to add."""
    add_copy(model, POLICY, TRL_REFERENCE)
    if args.disable_dropout:
        disable_dropout_in_model(model)
    fused = fuse(model, args, (POLICY, TRL_REFERENCE), fast, pairs)
    model.delete_adapter(TRL_REFERENCE)  # TRL adds its own, to the same layers
    return fused


class Forwards:
    """Log-probabilities and values of a padded batch under the active adapter.

    Args:
        trainer: a `ppo_trainer.PPOTrainer`.
    """

    def __init__(self, trainer):
        self.trainer, self.model = trainer, trainer.model

    def logps(self, batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies `(B, T)` of the completions."""
        ids, mask = _whole(batch)
        logps = self.trainer._get_per_token_logps_and_entropies
        return logps(self.model, ids, mask, batch["completion_ids"].shape[1], compute_entropy=True)[:2]

    def values(self, batch) -> Tensor:
        """The critic's values `(B, T)` before each token of the completions; its adapter must be active."""
        ids, mask = _whole(batch)
        hidden = backbone(self.model)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        hidden = hidden[:, batch["prompt_ids"].shape[1] - 1 : -1]
        with torch.autocast(hidden.device.type, enabled=False):
            return self.model.value_head(hidden.float())[..., 0]


def _whole(batch) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts and completions, concatenated."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    return ids, torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
