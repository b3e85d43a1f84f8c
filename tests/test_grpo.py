"""GRPO on a toy: PPO's rewards, our generation, KL on, the policy alone in the folder."""

from contextlib import nullcontext

import torch
from safetensors.torch import load_file

from dialsum_trl.grpo import GRPO_SETTINGS, train_grpo
from dialsum_trl.rl.rollouts import FastRollouts
from tests import phase3_toys as toys


def settings(folders, output_dir, **changes):
    return {
        "adapter_path": folders["sft"],
        "model_name_or_path": folders["base"],
        "dtype": "float32",
        "quantization": "none",
        "use_cpu": "true",
        "train_file": toys.TRAIN,
        "output_dir": output_dir,
        "num_generations": 4,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 8,
        "mask_truncated_completions": "false",
        "max_steps": 4,
        "warmup_steps": 0,
        "learning_rate": 1e-2,
        "save_steps": 2,
        "logging_steps": 1,
        "reward_functions": ["hangul_share", "no_repetition"],
        "disable_tqdm": "true",
        **changes,
    }


def test_kl_is_on_by_default():
    assert GRPO_SETTINGS["beta"] > 0


def test_it_trains_and_saves_the_policy_alone(folders, tmp_path):
    figures = train_grpo({}, toys.flags(settings(folders, tmp_path / "out")))
    assert figures["optimizer steps"] == 4 and figures["last KL to SFT, nats a token"] > 0
    saved, start = (load_file(f / "adapter_model.safetensors") for f in (tmp_path / "out", folders["sft"]))
    assert saved.keys() == start.keys()
    assert not (tmp_path / "out" / "ref").exists()


def test_summaries_of_one_dialogue_differ_and_belong_to_their_prompt(monkeypatch):
    calls = []

    class Trainer(FastRollouts):
        use_vllm = use_transformers_continuous_batching = False
        model_wrapped = accelerator = None

        def _sample(self, model, prompts, count):
            calls.append((prompts, count))
            return [[[p[0], n] for n in range(count)] for p in prompts]

    monkeypatch.setattr("trl.models.unwrap_model_for_generation", lambda *args: nullcontext())
    ids, _ = Trainer()._generate_single_turn([[1], [1], [2], [3], [3]], None, {}, 2)
    assert ids == [[1, 0], [1, 1], [2, 0], [3, 0], [3, 1]]
    assert calls == [([[2]], 1), ([[1], [3]], 2)]


def test_a_resumed_run_ends_where_the_whole_one_does(folders, tmp_path):
    train_grpo({}, toys.flags(settings(folders, tmp_path / "whole", save_total_limit=9)))
    train_grpo({}, toys.flags(settings(folders, tmp_path / "part", max_steps=2)))
    train_grpo({}, toys.flags(settings(folders, tmp_path / "part", resume_from_checkpoint="true")))
    whole, part = (load_file(tmp_path / run / "adapter_model.safetensors") for run in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)
