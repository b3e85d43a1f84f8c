"""The two benchmarks of what PPO learns: rows of their own, one run's figures, the sides of the comparison."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

from benchmarks import ppo_learns, ppo_vs_trl112
from tests import phase3_toys as toys
from tests.row_files import read_rows


def test_rows_for_pairs_are_in_no_committed_split_and_come_from_the_seed(tmp_path):
    rows = read_rows(ppo_learns.pair_rows(tmp_path, 60))
    committed = {row["dialogue"] for name in ("train", "dev", "test") for row in read_rows(toys.TRAIN.with_stem(name))}
    assert len(rows) == len({row["dialogue"] for row in rows}) == 60
    assert not committed & {row["dialogue"] for row in rows}
    assert all(row["summary"] for row in rows)
    (tmp_path / "again").mkdir()
    assert read_rows(ppo_learns.pair_rows(tmp_path / "again", 60)) == rows


@pytest.mark.slow
def test_a_run_tells_what_it_earned_on_dev_rows_and_how_far_it_went(folders, tmp_path):
    small = ["--max_completion_length", "8", "--rollout_batch_size", "8", "--per_device_train_batch_size", "2"]
    watch = ["--rouge_rows", "4", "--max_truncated", "1", "--kl_target", "50"]
    base = ["--model_name_or_path", str(folders["base"]), "--quantization", "none"]
    paid = ["--reward_functions", "hangul_share"]
    run = ppo_learns.learn(tmp_path, folders["sft"], toys.TRAIN, 3, 8, [*base, *paid, *small, *watch])
    assert run["rollouts"] == len(run["rewards"]) == 2
    assert len(run["dev_rewards"]) == len(run["dev_rouge_means"]) == 3  # at the start, in the middle, at the end
    assert run["dev_rewards"][0] == pytest.approx(run["dev_start_reward"], abs=1e-3)
    assert run["kl_highest"] <= run["kl_target"] == 50 and run["stopped_by"] == "end of training"


def test_the_models_for_trl_score_as_our_adapters_do(folders, tmp_path):
    def base():
        return AutoModelForSequenceClassification.from_pretrained(folders["base"], num_labels=1, pad_token_id=0)

    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="SEQ_CLS", modules_to_save=["score"],
                        init_lora_weights=False)  # fmt: skip
    get_peft_model(base(), config).save_pretrained(tmp_path / "reward")
    ppo_vs_trl112.merge(tmp_path, folders["base"], folders["sft"], tmp_path / "reward")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        ours = PeftModel.from_pretrained(base(), tmp_path / "reward").eval()(ids).logits
        merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scorer").eval()(ids).logits
    assert merged.item() == pytest.approx(ours.item(), abs=1e-5)


def test_each_side_of_the_comparison_is_judged_by_its_best_run(tmp_path):
    runs = [
        {"side": side, "seed": 1, "learning_rate": rate, "rewards": rewards, "kl": [0.0, 1.0, 2.0, 3.0], "cpu_s": 9.0}
        for side, rate, rewards in (
            ("ours", 1e-3, [0.0, 1.0, 2.0, 3.0]),
            (ppo_vs_trl112.TRL, 1e-4, [0.0, 0.1, 0.2, 0.3]),
            (ppo_vs_trl112.TRL, 3e-4, [0.0, 0.4, 0.5, 0.6]),
        )
    ]
    ppo_vs_trl112.write(runs, {}, 256, tmp_path)
    ours, theirs, our_objective, _ = json.loads((tmp_path / "ppo_vs_trl112.json").read_text())["best"]
    assert (ours["side"], ours["reward_last"], ours["kl_last"]) == ("ours", 2.0, 2.0)
    assert (theirs["learning_rate"], theirs["reward_last"]) == (3e-4, 0.5)
    assert our_objective["reward_minus_kl_last"] == pytest.approx(2 - 2 * ppo_vs_trl112.KL)


def test_one_4bit_base_takes_at_most_a_third_of_what_trl_112_takes_at_the_3b_shape():
    size = ppo_vs_trl112.bytes_at("llama3b")
    assert 2 < size["ours_gib"] <= min(size["trl112_gib"], size["trl112_lora_policy_gib"]) / 3
