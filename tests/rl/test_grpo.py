"""GRPO on a toy: PPO's rewards, our generation, KL on, the policy alone in the folder."""

import json
from contextlib import nullcontext

import pytest
from safetensors.torch import load_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.rl.online_trainer import OnlineTrainer
from dialsum_trl.stages.grpo import GRPO
from tests import phase3_toys as toys
from tests.stage_toys import ADAPTER, history, same_file, train


def evaluations(folder) -> dict[int, dict]:
    """What was logged of the dev rows, by step."""
    return {entry["step"]: entry for entry in history(folder) if "eval_reward" in entry}


def test_kl_is_on_by_default():
    assert GRPO.settings["beta"] > 0


def test_it_trains_and_saves_the_policy_alone(folders, tmp_path):
    figures = train("grpo", folders, tmp_path / "out")
    assert figures["optimizer steps"] == 4 and figures["last KL to SFT, nats a token"] > 0
    assert load_file(tmp_path / "out" / ADAPTER).keys() == load_file(folders["sft"] / ADAPTER).keys()
    assert not (tmp_path / "out" / "ref").exists()


def test_summaries_of_one_dialogue_differ_and_belong_to_their_prompt(monkeypatch):
    calls = []

    class Trainer(OnlineTrainer):
        __init__ = object.__init__
        use_vllm = use_transformers_continuous_batching = False
        model_wrapped = accelerator = None

        def sample(self, model, prompts, count):
            calls.append((prompts, count))
            return [[[p[0], n] for n in range(count)] for p in prompts]

    monkeypatch.setattr(
        "dialsum_trl.training.distributed.sharding.unwrap_model_for_generation", lambda *args: nullcontext()
    )
    ids, _ = Trainer().generate([[1], [1], [2], [3], [3]], None)
    assert ids == [[1, 0], [1, 1], [2, 0], [3, 0], [3, 1]]
    assert calls == [([[2]], 1), ([[1], [3]], 2)]


def test_dev_summaries_are_scored_at_the_start_and_at_each_evaluation_and_learning_is_as_without(folders, tmp_path):
    dev = {"eval_file": toys.DEV, "eval_steps": 2, "rouge_rows": 3, "rouge_tokenizer": "char"}
    figures = train("grpo", folders, tmp_path / "dev", **dev)
    train("grpo", folders, tmp_path / "none")
    scores = evaluations(tmp_path / "dev")
    assert list(scores) == [0, 2, 4]
    for entry in scores.values():
        paid = entry["eval_reward_hangul_share"] + entry["eval_reward_no_repetition"]
        assert entry["eval_reward"] == pytest.approx(paid) and {"eval_rouge_mean", "eval_hit_limit"} <= entry.keys()
    best = max(entry["eval_rouge_mean"] for entry in scores.values())
    assert figures["dev rouge_mean"] == best and figures["dev reward"] > 0
    record = json.loads((tmp_path / "dev" / "dialsum.json").read_text())
    assert record["metrics"]["eval_rouge_mean"] == best
    assert same_file(tmp_path / "dev", tmp_path / "dev" / "best")
    assert same_file(tmp_path / "dev" / "checkpoint-4", tmp_path / "none")


def test_a_line_of_dev_scores_takes_nothing_of_the_rollouts(folders, tmp_path):
    dev = {"eval_file": toys.DEV, "eval_steps": 1, "rouge_rows": 2, "rouge_tokenizer": "char", "logging_steps": 2}
    train("grpo", folders, tmp_path, max_steps=2, **dev)
    assert all("reward" not in entry for entry in evaluations(tmp_path).values())


def test_the_checkpoint_with_the_highest_dev_reward_is_kept(folders, tmp_path):
    best = {"load_best_model_at_end": "true", "metric_for_best_model": "reward", "save_total_limit": 9}
    dev = {"eval_file": toys.DEV, "eval_steps": 2, "rouge_rows": 3, "rouge_tokenizer": "char", "learning_rate": 0.05}
    dev |= {"reward_functions": ["rouge"]}
    train("grpo", folders, tmp_path, **dev, **best)
    scores = evaluations(tmp_path)
    step = max((2, 4), key=lambda at: scores[at]["eval_reward"])
    assert scores[2]["eval_reward"] != scores[4]["eval_reward"]
    assert same_file(tmp_path, tmp_path / f"checkpoint-{step}")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"eval_strategy": "steps"}, "--eval_strategy steps: there are no dev rows to evaluate on; give --eval_file"),
        ({"eval_file": toys.DEV, "metric_for_best_model": "loss"}, "loss: is not measured; give one of rouge_mean"),
        ({"eval_file": toys.DEV, "load_best_model_at_end": "true"}, "true: give --metric_for_best_model, one of rouge"),
        ({"eval_file": toys.DEV, "num_generations_eval": 4}, "--num_generations_eval 4: has no effect in grpo"),
    ],
)
def test_an_evaluation_that_could_not_be_is_refused_before_anything_is_loaded(folders, tmp_path, changes, line):
    with pytest.raises(InputError, match=line):
        train("grpo", folders, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()
