"""FSDP2 on CPUs, as far as it goes: launched by torchrun from tests/training/test_distributed.py.

accelerate's own preparation is called directly: a 4-bit toy with LoRA is split over two gloo processes, its packed
weights are checked, it is trained for three steps by hand, gathered, compared with the whole model trained on the same
rows, and filled with values again.
"""

import sys
from types import SimpleNamespace

import torch
import torch.distributed as dist

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.training.checked import CheckedTrainer
from dialsum_trl.training.distributed.four_bit import check_gathered, fingerprints
from dialsum_trl.training.number_check import NumberCheck


def build(base: str, storage: str):
    from peft import LoraConfig, get_peft_model

    from dialsum_trl.models.base import load_base

    torch.manual_seed(0)
    model = load_base(base, dtype="float32", quantization="4bit", quant_storage=storage, device="cpu")
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def split(model):
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision="no",
        is_main_process=dist.get_rank() == 0,
        device=torch.device("cpu"),
    )
    return fsdp2_prepare_model(accelerator, model)


def train(model, batches):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for batch in batches:
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def checked_norm(norm) -> float:
    """The gradient norm as every trainer here reads it; the rest of a trainer needs GPUs under FSDP."""

    class Trainer:
        def _get_grad_norm(self, model, grad_norm=None):
            return grad_norm

    class Checked(CheckedTrainer, Trainer):
        args, state = SimpleNamespace(fp16=False), SimpleNamespace(global_step=0, epoch=0.0)
        is_deepspeed_enabled, is_fsdp_enabled = False, True

        def __init__(self):
            self.numbers = NumberCheck(self)
            self.numbers.add({}, torch.tensor(1.0))

    return float(Checked()._get_grad_norm(None, norm))


def finds_a_flipped_bit(model, stored) -> bool:
    """In the last layer, on one rank; the bit is put back."""
    weight = [p for name, p in model.named_parameters() if "down_proj.base_layer" in name][-1]
    bits = weight.to_local().view(torch.int32)
    bits[0] ^= dist.get_rank()
    try:
        check_gathered(model, stored)
    except TrainingError as error:
        return "down_proj" in str(error)
    finally:
        bits[0] ^= dist.get_rank()
    return False


def norm_of(model, batch):
    model(input_ids=batch, labels=batch).loss.backward()
    norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], float("inf"))
    model.zero_grad()
    return norm


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    draw = torch.Generator().manual_seed(1)
    batches = [torch.randint(10, 1000, (4, 16), generator=draw) for _ in range(3)]

    one = build(sys.argv[1], "uint8")
    one_optimizer = train(one, batches)
    unsplit = build(sys.argv[1], "float32")
    stored = fingerprints(unsplit)
    many = split(unsplit)
    check_gathered(many, stored)
    optimizer = train(many, [batch[rank * 2 : rank * 2 + 2] for batch in batches])

    assert finds_a_flipped_bit(many, stored), "a changed 4-bit weight was not found"

    from dialsum_trl.training.distributed.sharding import make_moments, moment_source, put, saved_shapes, whole

    wrapper = SimpleNamespace(optimizer=optimizer)  # as accelerate hands it over
    inner = moment_source(wrapper)
    ours = {name: p for name, p in many.named_parameters() if p.requires_grad}
    theirs = {name: p for name, p in one.named_parameters() if p.requires_grad}
    assert list(ours) == list(theirs)
    assert saved_shapes(many) == saved_shapes(one)
    split_weights = [p for n, p in many.named_parameters() if "base_layer" in n]
    assert all(p.to_local().numel() < p.numel() for p in split_weights), "the 4-bit weights are not split"
    values = {name: whole(p) for name, p in ours.items()}
    moments = {name: whole(p, "exp_avg", inner) for name, p in ours.items()}
    for name, p in theirs.items():
        torch.testing.assert_close(values[name], p.detach(), atol=1e-4, rtol=0)
        torch.testing.assert_close(moments[name], one_optimizer.state[p]["exp_avg"], atol=1e-4, rtol=0)

    split_norm = norm_of(many, batches[0][rank * 2 : rank * 2 + 2])
    assert abs(checked_norm(split_norm) - norm_of(one, batches[0])) < 1e-3, "the norm of split gradients is not whole"

    make_moments(wrapper, torch.tensor(3.0), ("exp_avg", "exp_avg_sq"))
    for name, p in ours.items():
        assert not whole(p, "exp_avg", inner).any()
        put(p, moments[name] + 1, "exp_avg", inner)
        put(p, values[name] * 2)
        torch.testing.assert_close(whole(p, "exp_avg", inner), moments[name] + 1)
        torch.testing.assert_close(whole(p), values[name] * 2)
    if rank == 0:
        print("FSDP2 agrees on", dist.get_world_size(), "processes")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
