"""Reward models on toys: what they learn, what they refuse, and scores that hold wherever they are computed."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from trl import RewardConfig

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.data.pairs import hold_out, length_baselines, read_pairs, read_sides
from dialsum_trl.models.adapters import CRITIC, POLICY, REWARD, load_adapter
from dialsum_trl.models.base import load_base
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.preference_pairs import encode_pairs
from dialsum_trl.prompts.prompt import encode_prompt, prompt_messages
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.rl.adapter_roles import active_adapter
from dialsum_trl.rl.learned_reward import LearnedReward, backbone, last_token_scores
from dialsum_trl.rl.ppo_trainer import PPOTrainer
from dialsum_trl.rl.reward_model import RewardTrainer, length_trend, load_model, padding_id, score_pairs
from tests import phase3_toys as toys
from tests.ppo_toys import fingerprints
from tests.row_files import write_jsonl
from tests.stage_toys import ADAPTER, logged, same_file, train


@pytest.fixture(scope="module")
def folders(folders, tmp_path_factory):
    root = tmp_path_factory.mktemp("reward")
    return {**folders, "root": root, "pairs": write_jsonl(root / "polite.jsonl", toys.polite_pairs())}


def longer_pairs(rows=48):
    return [
        {"prompt": f"#Person1#: {i}번입니다.", "chosen": "번호를 말한다 그리고 끝난다", "rejected": "번호를 말한다"}
        for i in range(rows)
    ]


@pytest.fixture(scope="module")
def trained(folders):
    figures = train("reward", folders, folders["root"] / "reward")
    return {"figures": figures, "folder": folders["root"] / "reward"}


def learned_reward(folders, folder, length_control=False):
    tokenizer = load_tokenizer(str(folders["base"]))
    model = load_adapter(
        load_base(str(folders["base"]), dtype="float32", quantization="none"), folders["sft"], trainable=True
    )
    return LearnedReward(model, folder, tokenizer, length_control)


def test_a_reward_may_be_freed_of_what_it_gains_with_length(trained, folders):
    scale = json.loads((trained["folder"] / "reward.json").read_text())
    plain, freed = learned_reward(folders, trained["folder"]), learned_reward(folders, trained["folder"], True)
    asked = dict(prompts=[prompt_messages("#Person1#: 네.")] * 2, completion_ids=[[5, 6, 7], [5] * 30])
    taken = [one - other for one, other in zip(plain(**asked), freed(**asked), strict=True)]
    expected = [scale["score_per_token"] * (n - scale["tokens_mean"]) / scale["score_std"] for n in (3, 30)]
    assert taken == pytest.approx(expected, abs=1e-5) and taken[0] != taken[1]
    assert length_trend([1.0, 2.0, 3.0], [2, 4, 6]) == {"score_per_token": 0.5, "tokens_mean": 4.0}
    assert length_trend([1.0, 2.0], [4, 4])["score_per_token"] == 0.0


def test_it_learns_what_the_pairs_say_and_not_their_length(trained):
    assert trained["figures"]["held-out accuracy"] > 0.9
    assert trained["figures"]["accuracy of 'longer wins'"] == 0.5


def test_scores_on_the_policys_base_equal_those_of_the_training_run(folders, trained):
    scale = json.loads((trained["folder"] / "reward.json").read_text())
    reward = learned_reward(folders, trained["folder"])
    reward.model.train()  # as a trainer calls it: dropout must not reach the scores
    _, held = hold_out(read_pairs(folders["root"] / "polite.jsonl"), 0.25, 42)
    scores = []
    for pair, row in zip(
        held, encode_pairs(held, reward.tokenizer, stop_token_ids(reward.tokenizer), 1024), strict=True
    ):
        ids = [row["chosen_ids"], row["rejected_ids"]]
        scores += reward(prompts=[prompt_messages(pair["prompt"])] * 2, completion_ids=ids)
    assert sum(scores) / len(scores) == pytest.approx(0, abs=1e-3)
    assert torch.tensor(scores).std(correction=0).item() == pytest.approx(1, abs=1e-3)
    chosen, rejected = torch.tensor(scores[::2]), torch.tensor(scores[1::2])
    assert (chosen > rejected).float().mean().item() == pytest.approx(scale["accuracy"])


def test_a_score_does_not_depend_on_the_rows_beside_it(folders, trained):
    reward = learned_reward(folders, trained["folder"])
    rows = [encode_prompt(reward.tokenizer, "#Person1#: " + "방이 있나요? " * n) for n in range(1, 9)]
    reward.model.eval()
    with torch.no_grad(), active_adapter(reward.model, "reward"):
        together = last_token_scores(backbone(reward.model), reward.head, rows, 0)
        alone = [last_token_scores(backbone(reward.model), reward.head, [row], 0)[0] for row in rows]
    assert together == pytest.approx(alone, abs=1e-5)


def test_scoring_leaves_the_policy_as_it_was(folders, trained):
    reward = learned_reward(folders, trained["folder"])
    reward(prompts=[prompt_messages("#Person1#: 네.")], completion_ids=[[300, 301]])
    assert reward.model.base_model.active_adapter == POLICY
    assert all((f".{POLICY}." in n) == p.requires_grad for n, p in reward.model.named_parameters())


def padded_with_its_eos(base, folder):
    """A copy of the base whose vocabulary has no token to pad with but the end of turn."""
    shutil.copytree(base, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8").replace("<|finetune_right_pad_id|>", "<|unused_0|>")
        (folder / name).write_text(text.replace("<|reserved_special_token_0|>", "<|unused_1|>"), encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": None}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("own_pad", [True, False], ids=["a pad token of its own", "pads with eos"])
def test_a_summary_is_scored_at_the_token_that_it_was_trained_at(folders, tmp_path, own_pad):
    base = folders["base"] if own_pad else padded_with_its_eos(folders["base"], tmp_path / "base")
    tokenizer = load_tokenizer(str(base))
    assert (tokenizer.pad_token_id != tokenizer.eos_token_id) is own_pad
    settings = dict(use_cpu=True, bf16=False, report_to="none", max_steps=1, save_strategy="no", optim="adamw_torch")
    stop_ids, args = stop_token_ids(tokenizer), RewardConfig(str(tmp_path / "out"), **settings)
    pairs = encode_pairs(longer_pairs(4), tokenizer, stop_ids, 512)
    texts = {side: [pair["prompt_ids"] + pair[side] for pair in pairs] for side in ("chosen_ids", "rejected_ids")}
    model = load_model(ModelArguments(str(base), dtype="float32", quantization="none"), args, tokenizer)
    trainer = RewardTrainer(
        model=model, args=args, train_dataset=Dataset.from_dict(texts), processing_class=tokenizer,
        pad_id=padding_id(tokenizer, texts["chosen_ids"]), lengths=[len(ids) for ids in texts["chosen_ids"]],
    )  # fmt: skip
    batch = next(iter(trainer.get_eval_dataloader(trainer.train_dataset)))
    trainer.train()
    with torch.no_grad():
        _, outputs = trainer.compute_loss(trainer.model.eval(), batch, return_outputs=True)
    as_trained = outputs.logits[:, 0].tolist()
    scored = score_pairs(trainer.model, pairs, tokenizer.pad_token_id)
    assert as_trained == pytest.approx([pair[side] for side in (0, 1) for pair in scored], abs=1e-6)
    assert own_pad is (trainer.model.config.pad_token_id == tokenizer.pad_token_id)


def test_a_model_that_only_counts_characters_is_refused(folders, tmp_path):
    file = write_jsonl(tmp_path / "longer.jsonl", longer_pairs())
    with pytest.raises(TrainingError, match=r"longer wins.*optimize length"):
        train("reward", folders, tmp_path / "out", pairs_file=file)
    assert not (tmp_path / "out" / ADAPTER).exists()


def test_a_flag_keeps_it_all_the_same(folders, tmp_path):
    file = write_jsonl(tmp_path / "longer.jsonl", longer_pairs())
    train("reward", folders, tmp_path / "out", accept_weak="true", pairs_file=file)
    assert (tmp_path / "out" / "reward.json").exists()


def test_a_run_that_continues_says_which_steps_its_train_loss_covers(folders, tmp_path):
    change = dict(accept_weak=True, save_strategy="steps", save_steps=1, lr_scheduler_type="constant", warmup_steps=0)
    first = train("reward", folders, tmp_path / "out", max_steps=1, **change)
    then = train("reward", folders, tmp_path / "out", max_steps=2, resume_from_checkpoint=True, **change)
    assert "train loss" in first and "train loss" not in then
    assert then["train loss since the checkpoint"] < first["train loss"]


def test_the_checkpoint_that_tells_held_out_pairs_apart_best_is_kept(folders, tmp_path):
    often = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "max_steps": 6}
    best = {"load_best_model_at_end": "true", "metric_for_best_model": "loss", "save_total_limit": 9}
    wild = {"learning_rate": 0.3, "accept_weak": "true"}
    train("reward", folders, tmp_path / "out", **often, **best, **wild)
    losses = dict(zip((2, 4, 6), logged(tmp_path / "out" / "checkpoint-6", "eval_loss"), strict=True))
    assert len(set(losses.values())) == 3
    assert same_file(tmp_path / "out", tmp_path / "out" / f"checkpoint-{min(losses, key=losses.get)}")


def test_a_metric_that_no_evaluation_has_is_refused_before_anything_is_loaded(folders, tmp_path):
    with pytest.raises(InputError, match="--metric_for_best_model rouge1: is not measured; give one of loss, accuracy"):
        train("reward", folders, tmp_path / "out", metric_for_best_model="rouge1")


def test_the_score_head_stays_out_of_4_bit(folders):
    model_args = ModelArguments(
        str(folders["base"]), dtype="float32", quantization="4bit", adapter_path=str(folders["sft"])
    )
    tokenizer = load_tokenizer(str(folders["base"]))
    model = load_model(model_args, SimpleNamespace(device="cpu", seed=0), tokenizer)
    kinds = {type(m).__name__ for n, m in model.named_modules() if n.endswith("q_proj.base_layer")}
    assert kinds == {"Linear4bit"}
    assert type(model.get_base_model().score.modules_to_save["default"]) is torch.nn.Linear


def test_another_adapter_is_not_taken_for_a_reward_model(folders):
    model = load_adapter(
        load_base(str(folders["base"]), dtype="float32", quantization="none"), folders["sft"], trainable=True
    )
    with pytest.raises(InputError, match="no score head"):
        LearnedReward(model, folders["sft"], None)


def test_pairs_judged_by_people_need_no_margin_and_no_kind(tmp_path):
    file = write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "#Person1#: 네.", "chosen": "가", "rejected": "나"}])
    assert read_pairs(file) == [
        {"prompt": "#Person1#: 네.", "chosen": "가", "rejected": "나", "margin": None, "kind": "human"}
    ]


def test_no_dialogue_is_on_both_sides():
    pairs = [{"prompt": f"{i // 3}", "chosen": f"{i}", "rejected": "x"} for i in range(30)]
    train, held = hold_out(pairs, 0.2, seed=0)
    assert len(train) == 24 and len(held) == 6
    assert not {p["prompt"] for p in train} & {p["prompt"] for p in held}


@pytest.mark.parametrize(("dialogues", "share"), [(2, 0), (3, 0.1), (3, 0.9), (49, 0.999), (120, 0.001)])
def test_a_share_that_leaves_a_side_empty_is_answered_with_one_that_does_not(dialogues, share):
    pairs = [{"prompt": f"{i}", "chosen": "가", "rejected": "나"} for i in range(dialogues)]
    with pytest.raises(InputError) as error:
        hold_out(pairs, share, seed=0)
    train, held = hold_out(pairs, float(re.search(r"give --held_out (\S+) ", str(error.value))[1]), seed=0)
    assert train and held


def test_one_dialogue_of_pairs_needs_more():
    with pytest.raises(InputError, match="give more dialogues, or held-out pairs as --eval_pairs_file"):
        hold_out([{"prompt": "0", "chosen": "가", "rejected": "나"}] * 3, 0.5, seed=0)


def test_held_out_pairs_of_training_dialogues_are_an_error(tmp_path):
    file = write_jsonl(tmp_path / "pairs.jsonl", toys.polite_pairs(4))
    with pytest.raises(InputError, match="4 dialogues"):
        read_sides(file, file, 0.1, 0)


def test_length_baselines_count_ties_as_half():
    pairs = [{"chosen": "가나", "rejected": "가"}, {"chosen": "가", "rejected": "나"},
             {"chosen": "가", "rejected": "나다"},
             {"chosen": "가나다", "rejected": "나다"}]  # fmt: skip
    assert length_baselines(pairs) == {"longer wins": 0.625, "shorter wins": 0.375}


def test_both_summaries_of_a_pair_share_a_prompt_and_end_their_turn(folders):
    tokenizer = load_tokenizer(str(folders["base"]))
    stop_ids = stop_token_ids(tokenizer)
    pair = {
        "prompt": "\n".join(f"#Person{1 + i % 2}#: 말 {i}입니다." for i in range(60)),
        "chosen": "짧다",
        "rejected": "길다 " * 9,
    }
    (row,) = encode_pairs([pair], tokenizer, stop_ids, 300)
    assert row["chosen_ids"][-1] == row["rejected_ids"][-1] == stop_ids[0]
    assert len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= 300
    assert tokenizer.decode(row["chosen_ids"][:-1]) == "짧다"


def test_ppo_and_grpo_are_paid_by_it_and_leave_it_alone(folders, trained, tmp_path, monkeypatch):
    seen, original = {}, PPOTrainer.train

    def compared(self, **kwargs):
        before = fingerprints(self.model)
        original(self, **kwargs)
        after = fingerprints(self.model)
        seen.update({part: before[part] == after[part] for part in before})

    monkeypatch.setattr(PPOTrainer, "train", compared)
    paid = dict(reward_functions="none", reward_adapter_path=trained["folder"], max_completion_length=6, save_steps=4)
    figures = train("ppo", folders, tmp_path / "ppo", **paid, eval_file=None, rouge_rows=None, eval_steps=None)
    assert figures["rewards"] == "reward_model"
    assert seen == {"base": True, "reference": True, REWARD: True, POLICY: False, CRITIC: False, "value_head": False}
    figures = train("grpo", folders, tmp_path / "grpo", **paid)
    assert figures["rewards"] == "reward_model" and figures["last KL to SFT, nats a token"] > 0
