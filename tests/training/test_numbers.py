"""Numbers that are not finite: the run stops with the step, the dtype and the rows, and names where to go on from."""

import json
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from dialsum_trl.core.errors import TrainingError
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.checked import CheckedTrainer, RunInfo
from dialsum_trl.training.step_rows import not_finite, rows_of
from tests import phase3_toys as toys
from tests.conftest import ROOT, TINY
from tests.fused_models import lora_model
from tests.row_files import read_csv, write_csv, write_jsonl
from tests.two_processes import finish, start

MARK = "뷁"  # its tokens are in one row alone; their embeddings are made NaN below
ROWS, POISONED = 8, 5
PAIRS = [
    {
        "prompt": f"#Person1#: 방이 {i}개 있나요?",
        "chosen": f"방이 {i}개 있다고 합니다",
        "rejected": f"방이 {i}개라고 그랬어",
    }
    for i in range(12)
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A base on which one row (and one pair) has a loss of NaN and no other has; an adapter; rows; pairs."""
    folder = tmp_path_factory.mktemp("numbers")
    base = toys.make_base(folder / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    tokenizer = AutoTokenizer.from_pretrained(base)
    table = read_csv(toys.TRAIN)[: ROWS + 1]
    known = {token for row in table for text in row for token in tokenizer(text).input_ids}
    own = set(tokenizer(MARK).input_ids) - known
    assert own
    weights["model.embed_tokens.weight"][sorted(own)] = torch.nan
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    table[POISONED + 1][1] += f"\n#Person1#: {MARK}"
    write_csv(folder / "train.csv", table[1:])
    pairs = [{**pair, "prompt": pair["prompt"] + MARK if number == POISONED else pair["prompt"]}
             for number, pair in enumerate(PAIRS)]  # fmt: skip
    write_jsonl(folder / "pairs.jsonl", pairs)
    return SimpleNamespace(folder=folder, base=base, sft=toys.make_adapter(base, folder / "sft"))


def settings(toy, output, **changes):
    return toys.flags({
        "model_name_or_path": toy.base, "output_dir": output, "use_cpu": True, "dtype": "float32",
        "quantization": "none", "per_device_train_batch_size": 2, "effective_batch_size": 2, "learning_rate": 1e-3,
        "warmup_steps": 0, "num_train_epochs": 1, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1,
        "disable_tqdm": True, **changes,
    })  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_torch_fused"])
@pytest.mark.parametrize("fast", ["true", "false"])
def test_sft_names_step_dtype_rows_and_the_last_good_checkpoint(toy, tmp_path, fast, optimizer):
    changes = dict(train_file=toy.folder / "train.csv", fast=fast, rouge_rows=0, optim=optimizer)
    with pytest.raises(TrainingError) as caught:
        train_sft({}, settings(toy, tmp_path / "out", **changes))
    message = str(caught.value)
    step = int(message.split()[1].rstrip(":"))
    named = message.split("(rows ")[1].split(")")[0].split(", ")
    assert "loss nan in fp32 is not finite" in message and f"train_{POISONED}" in named and len(named) <= 2
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == [
        f"checkpoint-{number}" for number in range(max(1, step - 2), step)
    ]
    assert step == 1 or f"checkpoint-{step - 1}, is untouched" in message


def test_an_evaluation_loss_that_is_not_a_number_names_the_dev_row(toy, tmp_path):
    _, *rows = read_csv(toy.folder / "train.csv")
    for name, part in (("seen", rows[:4]), ("dev", rows[4:])):
        write_csv(tmp_path / f"{name}.csv", part)
    changes = dict(
        train_file=tmp_path / "seen.csv", eval_file=tmp_path / "dev.csv", rouge_rows=0, eval_strategy="steps",
        eval_steps=1, per_device_eval_batch_size=1,
    )  # fmt: skip
    with pytest.raises(TrainingError) as caught:
        train_sft({}, settings(toy, tmp_path / "out", **changes))
    message = str(caught.value)
    assert message.startswith("step 1: evaluation loss nan in fp32 is not finite"), message
    assert f"look at evaluation row {POISONED - 3};" in message and "There is no checkpoint yet" in message


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("reward", rf"scores of 1 held-out pairs are not finite .*{POISONED}개 있나요"),
        ("dpo", rf"evaluation loss nan .* row {POISONED} and the 1 after it"),  # batches of two, of chosen and rejected
    ],
)
def test_held_out_pairs_without_a_number_are_named(toy, tmp_path, stage, message):
    lines = (toy.folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for name, part in (("seen", lines[6:]), ("held", lines[:6])):
        (tmp_path / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    changes = dict(
        pairs_file=tmp_path / "seen.jsonl", eval_pairs_file=tmp_path / "held.jsonl", per_device_eval_batch_size=2,
        **(dict(adapter_path=toy.sft) if stage == "dpo" else {}),
    )  # fmt: skip
    with pytest.raises(TrainingError, match=message):
        {"reward": train_reward, "dpo": train_dpo}[stage]({}, settings(toy, tmp_path / "out", **changes))


@pytest.mark.parametrize("poisoned", [1, 3])
def test_a_step_that_is_read_later_leaves_the_weights_alone(tmp_path, poisoned):
    class Trainer(CheckedTrainer, SFTTrainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    rows = [{"input_ids": list(range(20, 30)), "labels": list(range(20, 30))} for _ in range(4)]
    rows[poisoned]["input_ids"][3] = 7
    model, tokenizer = lora_model(vocabulary=2560), AutoTokenizer.from_pretrained(TINY / "llama")
    model.get_input_embeddings().weight.data[7] = torch.nan
    args = SFTConfig(
        str(tmp_path), per_device_train_batch_size=1, max_steps=4, optim="adamw_torch_fused", logging_steps=100,
        logging_nan_inf_filter=False, save_strategy="no", report_to="none", use_cpu=True, bf16=False, warmup_steps=0,
        disable_tqdm=True, dataset_kwargs={"skip_prepare_dataset": True}, activation_checkpointing=False,
        learning_rate=1e-3,
    )  # fmt: skip
    trainer = Trainer(model, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(TrainingError, match=rf"^step {poisoned + 1} .*number {poisoned + 1}\)"):
        trainer.train()
    assert trainer.state.global_step == poisoned + 1  # the update of that step was skipped, not waited for
    now = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.isfinite(p).all() for p in now.values())
    assert any(not torch.equal(now[name], start[name]) for name in start)


@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_pairs_are_named_by_their_dialogue(toy, tmp_path, stage):
    train = {"reward": train_reward, "dpo": train_dpo}[stage]
    files = dict(pairs_file=toy.folder / "pairs.jsonl", held_out=0.1, seed=1, adapter_path=toy.sft)
    with pytest.raises(
        TrainingError, match=rf"(loss|norm) nan in fp32 is not finite \(rows .*방이 {POISONED}개 있나요"
    ):
        train({}, settings(toy, tmp_path / "out", **files, num_train_epochs=2))


def test_a_policy_that_exploded_is_told_from_bad_rows(toy, tmp_path):
    changes = dict(
        adapter_path=toy.sft,
        train_file=toys.TRAIN,
        learning_rate=1e30,
        lr_scheduler_type="constant",
        max_grad_norm=0,
        rollout_batch_size=4,
        max_completion_length=6,
        save_steps=2,
        kl_target=1e9,
        max_truncated=1,
        reward_functions=["hangul_share"],
    )
    argv = settings(toy, tmp_path / "out", **changes, max_steps=4)
    at = argv.index("--effective_batch_size")
    with pytest.raises(TrainingError, match=r"step 2 .*fp32 is not finite.*lower --learning_rate"):
        train_ppo({}, argv[:at] + argv[at + 2 :])


def stub(rows, names, **changes):
    """What `not_finite` looks at, for dtypes that this machine cannot train in."""
    model = lora_model()
    args = SimpleNamespace(**{"fp16": False, "bf16": False, "world_size": 1, **changes})
    batch = {"input_ids": torch.tensor([[1, 2], [3, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    names = dict(run_info=RunInfo(row_names=names), train_dataset=rows, numbers=SimpleNamespace(overflows=20))
    whole = dict(is_deepspeed_enabled=False, is_fsdp_enabled=False, accelerator=SimpleNamespace(autocast=nullcontext))
    return SimpleNamespace(args=args, model=model, batches=[batch], **names, **whole)


def overflow(trainer):
    """Makes the model's second layer leave the range of float32."""
    with torch.no_grad():
        trainer.model.get_base_model().model.layers[1].input_layernorm.weight.fill_(torch.finfo(torch.float32).max)


def test_fp16_overflow_of_the_loss_is_told_from_that_of_the_gradient():
    trainer = stub([{"input_ids": [3]}, {"input_ids": [1, 2]}], ["a", "b"], fp16=True)
    bad = trainer.batches, [float("inf")], float("nan")
    assert "in fp16 is not finite: the output layer overflowed (rows b, a); use --dtype bfloat16" in not_finite(
        trainer, *bad
    )
    overflow(trainer)
    assert "fp16 is not finite: layers.1.input_layernorm overflowed (rows b, a)" in not_finite(trainer, *bad)
    line = not_finite(trainer, trainer.batches, [1.0], float("inf"))
    assert "fp16 overflow 21 times in a row" in line and "--dtype bfloat16" in line


ONE_LOSS_OF_TWO_PROCESSES = """
from accelerate import PartialState
from tests.training.test_numbers import not_finite, overflow, stub
state = PartialState(cpu=True)
if state.process_index == 1:
    trainer = stub([{"input_ids": [3]}, {"input_ids": [1, 2]}], ["a", "b"], fp16=True, world_size=2)
    overflow(trainer)
    print(not_finite(trainer, trainer.batches, [float("inf")], float("nan")))
state.wait_for_everyone()  # process 0 skips the step and goes on
state.destroy_process_group()
"""


def test_an_fp16_loss_that_overflows_on_one_process_does_not_wait_for_those_that_skip_the_step(tmp_path):
    (tmp_path / "step.py").write_text(ONE_LOSS_OF_TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = finish(start([*command, str(tmp_path / "step.py")], ROOT), 60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss inf in fp16 is not finite: layers.1.input_layernorm overflowed (rows b, a)" in done.stdout


def test_weights_that_broke_before_are_named_instead_of_rows():
    trainer = stub([{"input_ids": [3]}], ["a"], bf16=True)
    name, weight = next(each for each in trainer.model.named_parameters() if each[1].requires_grad)
    weight.data.fill_(torch.nan)
    line = not_finite(trainer, trainer.batches, [float("nan")], 1.0)
    assert f"loss nan in bf16 is not finite, and neither is {name.removeprefix('base_model.model.')}" in line


def test_rows_of_an_encoder_decoder_and_of_a_rollout_are_found():
    seq2seq = stub([{"input_ids": [3], "labels": [1]}, {"input_ids": [1, 2], "labels": [1]}], None)
    assert rows_of(seq2seq, seq2seq.batches[0]) == ["number 2", "number 1"]
    prompts = [[{"role": "user", "content": text}] for text in ("x", "y")]
    online = stub([{"prompt": prompt} for prompt in prompts], ["x", "y"])
    assert rows_of(online, [{"prompt": prompts[1]}, {"prompt": prompts[1]}]) == ["y"]
