"""PPO on toys: who moves and who does not, exact gradients, tripwires, what is saved, two processes."""

import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState

from benchmarks import ppo_learns
from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.models.adapters import CRITIC, POLICY, REFERENCE, load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.rl.adapter_roles import active_adapter
from dialsum_trl.rl.policy_watch import PolicyWatch
from tests.ppo_toys import fingerprints, gradients, make_trainer, rollout
from tests.stage_toys import ADAPTER, argv, same_file, train
from tests.two_processes import environment, finish, start


def test_policy_and_critic_move_and_nothing_else_does(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path)
    before = fingerprints(trainer.model)
    trainer.train()
    after = fingerprints(trainer.model)
    assert set(before) == {POLICY, REFERENCE, CRITIC, "base", "value_head"}
    assert {part for part in before if before[part] != after[part]} == {POLICY, CRITIC, "value_head"}


def test_without_a_critic_the_policy_alone_moves_and_a_group_is_its_own_baseline(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path, baseline="group", num_generations=4, normalize_rewards=True)
    before = fingerprints(trainer.model)
    trainer.train()
    after = fingerprints(trainer.model)
    assert set(before) == {POLICY, REFERENCE, "base"}
    assert {part for part in before if before[part] != after[part]} == {POLICY}


def test_a_rollout_of_an_odd_number_of_summaries_is_learned_from(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path, rollout_batch_size=3, per_device_train_batch_size=1)
    before = fingerprints(trainer.model)
    trainer.train()
    assert trainer.state.global_step == 2 and fingerprints(trainer.model)[POLICY] != before[POLICY]


def test_every_lora_tensor_of_policy_and_critic_gets_a_gradient(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path)
    found = gradients(trainer, rollout(trainer))
    for adapter in (POLICY, CRITIC):
        named = [n for n, _ in trainer.model.named_parameters() if f".{adapter}." in n]
        assert len(named) == 12 and all(found[n].abs().sum() > 0 for n in named)
    assert found["value_head.weight"].abs().sum() > 0
    assert not [n for n in found if f".{REFERENCE}." in n or ("lora" not in n and "value_head" not in n)]


def test_gradient_checkpointing_recomputes_each_adapter_as_itself(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path)
    batch = rollout(trainer)
    with torch.no_grad():  # the two adapters must differ for a mix-up to show
        for name, parameter in trainer.model.named_parameters():
            if f".{CRITIC}." in name:
                parameter += 0.1
    plain = gradients(trainer, batch)
    trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
    trainer.model.enable_input_require_grads()
    checkpointed = gradients(trainer, batch)
    assert plain.keys() == checkpointed.keys()
    for name in plain:
        assert torch.allclose(plain[name], checkpointed[name], atol=1e-6), name


def test_a_rollout_in_many_parts_gives_the_gradient_of_the_whole(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path)
    batch = rollout(trainer)
    lengths = torch.tensor([1, 6, 2, 5, 3, 4, 6, 1])  # parts of different numbers of tokens
    batch["completion_mask"] = (torch.arange(batch["completion_mask"].shape[1]) < lengths[:, None]).long()
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    whole, parts = gradients(trainer, batch, 1), gradients(trainer, batch, 4)
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-5), name


def test_the_first_rollout_has_no_kl_and_its_ratios_are_one(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path)
    batch = rollout(trainer)
    logged = trainer._metrics["train"]
    assert logged["kl"] == [0.0]
    gradients(trainer, batch)
    trainer._flush_sums()
    assert logged["clip_fraction"] == [0.0] and logged["kl_to_rollout"] == pytest.approx([0.0], abs=1e-6)


def test_a_summary_without_its_end_of_turn_is_paid_less(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path, missing_end_penalty=5.0)
    end = trainer.stop_ids[0]
    trainer.sample = lambda model, prompts, count: [[[300, 301, end] if i % 2 else [300, 301, 302]] for i in range(8)]
    rollout(trainer)
    logged = trainer._metrics["train"]
    assert logged["ended"] == [0.5]
    assert logged["reward"][0] - logged["score"][0] == pytest.approx(2.5)


def test_returns_of_a_rollout_add_up_to_score_less_kl_when_lambda_is_one(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path, lam=1.0, missing_end_penalty=0.0)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if f".{POLICY}." in name:
                parameter *= 1.3
    batch = rollout(trainer)
    logged = trainer._metrics["train"]
    assert logged["kl"][0] != 0
    expected = logged["reward"][0] - trainer.args.kl_coef * logged["kl"][0]
    assert batch["returns"][:, 0].mean().item() == pytest.approx(expected, abs=1e-5)


def test_switching_adapters_leaves_what_trains_alone(folders, tmp_path):
    model = make_trainer(folders, tmp_path).model
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    for adapter in (CRITIC, REFERENCE):
        with active_adapter(model, adapter):
            assert model.base_model.active_adapter == adapter
            assert {n for n, p in model.named_parameters() if p.requires_grad} == trained
    assert model.base_model.active_adapter == POLICY


def test_a_learning_rate_of_zero_is_noticed(folders, tmp_path):
    trainer = make_trainer(folders, tmp_path, max_steps=6, learning_rate=0.0)
    with pytest.raises(TrainingError, match="critic"):
        trainer.train()


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    """Folder and closing figures of a run."""
    output = tmp_path_factory.mktemp("ppo") / "out"
    return output, train("ppo", folders, output, logging_steps=1)


def test_the_saved_adapter_is_the_policy_alone_and_loads_anywhere(folders, trained):
    output, figures = trained
    assert load_file(output / ADAPTER).keys() == load_file(folders["sft"] / ADAPTER).keys()
    assert {path.name for path in output.iterdir() if path.is_dir()} == {"best", "checkpoint-2", "checkpoint-4"}
    model = load_adapter(load_base(str(folders["base"]), dtype="float32", quantization="none"), output, trainable=True)
    assert list(model.peft_config) == [POLICY]
    assert figures["stopped by"] == "end of training"


def test_the_closing_table_says_where_a_rollouts_time_went_where_each_step_is_logged(trained):
    _, figures = trained
    assert all(figures[f"seconds a rollout, {part}"] > 0 for part in ("generation", "scoring", "learning"))


def test_the_best_adapter_is_the_one_kept(trained):
    output, figures = trained
    assert same_file(output, output / "best")
    assert figures["best rouge_mean"] >= figures["start rouge_mean"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"kl_target": 0.0, "ppo_epochs": 1, "save_steps": 1}, "KL"), ({"max_truncated": 0.5}, "were cut at 8 tokens")],
)
def test_a_tripwire_stops_the_run_and_keeps_the_best_adapter(folders, tmp_path, change, reason):
    figures = train("ppo", folders, tmp_path / "out", max_steps=8, **change)
    assert reason in figures["stopped by"]
    assert figures["optimizer steps"] < 8
    assert (tmp_path / "out" / ADAPTER).exists()


def watched(*evaluations, metric=None, **drops):
    """A watch after evaluations of `(ROUGE, reward)`, and how often it kept an adapter; only the last one may trip."""
    kept = []
    watch = PolicyWatch(lambda: kept.append(True), **{"max_rouge_drop": 2.0, "max_gaming_drop": 0.5, **drops})
    control, arguments = TrainerControl(), SimpleNamespace(metric_for_best_model=metric, greater_is_better=None)
    for rouge, reward in evaluations:
        assert watch.tripped is None and not control.should_training_stop
        watch.on_evaluate(arguments, TrainerState(), control, {"eval_rouge_mean": rouge, "eval_reward": reward})
    return watch, len(kept)


def test_a_fall_of_dev_rouge_trips():
    watch, _ = watched((30.0, 0.5), (28.1, 0.4), (27.9, 0.3))
    assert "ROUGE fell from 30.00 to 27.90" in watch.tripped


def test_a_reward_that_rises_while_dev_rouge_falls_by_more_than_half_a_point_trips():
    watch, _ = watched((30.0, 0.5), (29.6, 0.6), (29.4, 0.7))
    assert "the reward rose from 0.500 to 0.700 while dev ROUGE fell from 30.00 to 29.40" in watch.tripped
    assert watched((30.0, 0.5), (29.4, 0.5))[0].tripped is None
    assert watched((30.0, 0.5), (29.4, 0.7), max_gaming_drop=float("inf"))[0].tripped is None


def test_the_best_adapter_has_the_highest_rouge_and_the_start_wins_a_tie():
    watch, kept = watched((30.0, 0.5), (30.0, 0.9), (29.9, 1.0))
    assert watch.best_metrics["eval_reward"] == 0.5 and kept == 1
    watch, kept = watched((30.0, 0.5), (29.9, 0.9), metric="reward")
    assert watch.best_metrics["eval_reward"] == 0.9 and kept == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter_path": "nowhere"}, "nowhere"),
        ({"save_steps": 3}, "multiple of 2"),
        ({"rollout_batch_size": 6}, "does not divide"),
        ({"rollout_batch_size": 1}, "--rollout_batch_size 1: must be at least 2"),
        ({"baseline": "group"}, "--num_generations 4"),
        ({"num_generations": 3}, "does not divide into groups of --num_generations 3"),
        ({"beta": 0.1}, "kl_coef"),
        ({"reward_functions": ["bleu"]}, "bleu"),
        ({"reward_functions": ["none"]}, "no reward"),
        ({"reward_weights": [1.0]}, "1 for 2 rewards"),
        ({"reward_adapter_path": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_loaded(folders, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train("ppo", folders, tmp_path / "out", **change)


TWO_RANKS = """
import sys
from safetensors.torch import save_file
from dialsum_trl.rl import ppo_trainer
from dialsum_trl.stages.ppo import train_ppo

average = ppo_trainer.PPOTrainer._average_gradients
def checked(self):
    assert self.accelerator.num_processes == 2, self.accelerator.num_processes
    average(self)
ppo_trainer.PPOTrainer._average_gradients = checked
restore = ppo_trainer.PPOTrainer.restore_best
def remember(self):
    trained = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}
    save_file(trained, f"{self.args.output_dir}/rank{self.accelerator.process_index}.safetensors")
    restore(self)
ppo_trainer.PPOTrainer.restore_best = remember
train_ppo({}, sys.argv[1:])
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_policy_and_critic(folders, tmp_path):
    (tmp_path / "two_ranks.py").write_text(TWO_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "two_ranks.py"]
    flags = argv("ppo", folders, tmp_path / "out", per_device_train_batch_size=2)
    done = finish(start([*command, *flags], tmp_path, environment() | {"ACCELERATE_USE_CPU": "true"}), 600)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [load_file(tmp_path / "out" / f"rank{rank}.safetensors") for rank in range(2)]
    assert len(ranks[0]) == 26
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_learns_from_a_rouge_reward(tmp_path):
    seen, unseen = ppo_learns.split_rows(tmp_path)
    adapter = ppo_learns.sft_start(tmp_path, ppo_learns.TINY / "llama", seen)
    figures = ppo_learns.learn(tmp_path, adapter, unseen, 1, ppo_learns.STEPS["rouge"], ppo_learns.ROUGE)
    assert figures["gained_of_distance_to_1"] > 0.2
    assert figures["dev_best_rouge_mean"] >= figures["dev_start_rouge_mean"]
