"""DPO, the reward model and GRPO on packs: losses, metrics and gradients are those of TRL's padded batches."""

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, GRPOConfig, RewardConfig

from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.metrics.qualities import hangul_share, no_repetition
from dialsum_trl.models.adapters import load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.prompt import prompt_messages
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.rl.adapter_roles import TRL_REFERENCE
from dialsum_trl.rl.dpo_trainer import DPOTrainer
from dialsum_trl.rl.grpo_trainer import GRPOTrainer
from dialsum_trl.rl.packed_forwards import backbone
from dialsum_trl.rl.reward_model import RewardTrainer, load_model
from tests import phase3_toys as toys
from tests.stage_toys import logged, train


@pytest.fixture(scope="module")
def folders(folders, tmp_path_factory):
    return {**folders, "sft": toys.make_adapter(folders["base"], tmp_path_factory.mktemp("all") / "sft", toys.ALL)}


def draw_ids(sizes, seed: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(300, 900, (size,), generator=draw).tolist() for size in sizes]


PAIRS = {
    "prompt_ids": draw_ids([30, 5, 61, 22], 1),
    "chosen_ids": draw_ids([4, 9, 1, 7], 2),
    "rejected_ids": draw_ids([6, 2, 3, 8], 3),
}


def policy(folders):
    base = load_base(str(folders["base"]), dtype="float32", quantization="none")
    return load_adapter(base, folders["sft"], trainable=True)


def settings(folder, **changes) -> dict:
    return dict(
        output_dir=str(folder), per_device_train_batch_size=2, gradient_accumulation_steps=2, use_cpu=True, bf16=False,
        report_to="none", disable_tqdm=True, activation_checkpointing=False, logging_nan_inf_filter=False,
    ) | changes  # fmt: skip


def dpo(folders, folder, fast, **changes):
    torch.manual_seed(0)
    args = DPOConfig(**settings(folder, **changes))
    trainer = DPOTrainer(
        policy(folders),
        args,
        Dataset.from_dict(PAIRS),
        processing_class=load_tokenizer(str(folders["base"])),
        fast=fast,
    )
    draw = torch.Generator().manual_seed(5)
    for name, parameter in sorted(trainer.model.named_parameters()):
        if f".{TRL_REFERENCE}." in name:  # another model than the policy
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    trainer.first_loss = 0.0
    return trainer


def reward(folders, folder, fast, **changes):
    torch.manual_seed(0)  # the score head is drawn
    tokenizer = load_tokenizer(str(folders["base"]))
    args = RewardConfig(**settings(folder, center_rewards_coefficient=0.01, **changes))
    model_args = ModelArguments(
        model_name_or_path=str(folders["base"]), adapter_path=str(folders["sft"]), dtype="float32", quantization="none"
    )
    prompts, *sides = PAIRS.values()
    columns = [[a + b for a, b in zip(prompts, side, strict=True)] for side in sides]
    rows = Dataset.from_dict(dict(zip(("chosen_ids", "rejected_ids"), columns, strict=True)))
    return RewardTrainer(
        load_model(model_args, args, tokenizer), args, pad_id=tokenizer.pad_token_id, lengths=[50] * 4,
        train_dataset=rows, processing_class=tokenizer, fast=fast,
    )  # fmt: skip


def grpo(folders, folder, fast, **changes):
    torch.manual_seed(0)
    dialogues = [f"#Person1#: {'방이 있나요? ' * (1 + i)}\n#Person2#: 네, {i}개 있어요." for i in range(4)]
    rows = Dataset.from_dict({"prompt": [prompt_messages(d) for d in dialogues], "dialogue": dialogues})
    tokenizer = load_tokenizer(str(folders["base"]))
    args = GRPOConfig(**settings(folder, beta=0.04, num_generations=2, max_completion_length=6, **changes))
    return GRPOTrainer(
        policy(folders), args, reward_funcs=[hangul_share, no_repetition], train_dataset=rows,
        processing_class=tokenizer, stop_ids=stop_token_ids(tokenizer), fast=fast,
    )  # fmt: skip


def batch_of(trainer) -> dict:
    if isinstance(trainer, GRPOTrainer):
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        batch = trainer._prepare_inputs([trainer.train_dataset[i] for i in (0, 0, 3, 3)])
        return batch | {"advantages": torch.tensor([1.0, -0.5])}  # random summaries are all worth the same
    return trainer.data_collator([trainer.train_dataset[i] for i in range(4)])


def loss_and_gradients(trainer, batch):
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=torch.tensor(20))
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "make, changes",
    [
        (dpo, {}),
        (dpo, {"loss_type": ["ipo", "sft"], "loss_weights": [1.0, 0.5]}),
        (reward, {}),
        (reward, {"disable_dropout": True, "activation_checkpointing": True}),
        (grpo, {"disable_dropout": True}),
    ],
    ids=["dpo", "dpo, two losses", "reward", "reward, redone layers", "grpo"],
)
def test_losses_metrics_and_gradients_are_those_of_padded_batches(folders, tmp_path, make, changes):
    fast, padded = (make(folders, tmp_path / str(fast), fast, **changes) for fast in (True, False))
    assert "forward" in vars(backbone(fast.model)) and "forward" not in vars(backbone(padded.model))
    batch = batch_of(padded)
    batch_of(fast)
    (mine, my_gradients), (theirs, gradients) = (loss_and_gradients(trainer, batch) for trainer in (fast, padded))
    assert mine == pytest.approx(theirs, abs=1e-5)
    assert my_gradients.keys() == gradients.keys() and max(float(g.abs().max()) for g in gradients.values()) > 1e-3
    for name, wanted in gradients.items():
        assert torch.allclose(my_gradients[name], wanted, atol=1e-5), name
    for name, values in padded._metrics["train"].items():
        if "time" not in name and "tokens" not in name:
            assert fast._metrics["train"][name] == pytest.approx(values, abs=1e-4), name


def test_pairs_of_a_step_go_through_in_as_few_micro_batches_as_fit(folders, tmp_path, capsys):
    args = dpo(folders, tmp_path, True).args
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 1)
    assert "Plan for" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["dpo", "reward"])
def test_a_run_on_packs_logs_the_losses_of_the_padded_run(folders, tmp_path, stage):
    losses = []
    for fast in ("true", "false"):
        short = dict(max_steps=3, logging_steps=1, disable_dropout="true", held_out=0.05)
        train(stage, folders, tmp_path / fast, fast=fast, **short)
        losses.append(logged(tmp_path / fast))
    assert len(losses[0]) > 2 and losses[0] == pytest.approx(losses[1], abs=1e-4)
