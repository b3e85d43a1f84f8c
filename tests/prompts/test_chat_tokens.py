"""A base that lacks tokens of its chat template: what SFT added is there in every stage that takes up its adapter."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dialsum_trl.cli.merge import merge_adapter
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import ModelArguments
from dialsum_trl.data.pairs import hold_out, read_pairs
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import encode_prompts, summarize
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.models.adapters import load_base_and_policy
from dialsum_trl.models.families.llama import LLAMA_CHAT
from dialsum_trl.prompts.chat_tokens import missing_chat_tokens, stop_token_ids
from dialsum_trl.prompts.preference_pairs import encode_pairs
from dialsum_trl.prompts.prompt import encode_prompt, prompt_messages
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.rl.learned_reward import LearnedReward
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.grpo import train_grpo
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.sft import train_sft
from tests import phase3_toys as toys
from tests.row_files import write_jsonl

DIALOGUE = "#Person1#: 방이 있나요?\n#Person2#: 네."


def make_base(folder, spare: int, tied: bool = False):
    """A random Llama with Qwen's vocabulary and Llama's chat template, and `spare` rows behind the vocabulary."""
    tokenizer = AutoTokenizer.from_pretrained(toys.TINY / "qwen3")
    tokenizer.chat_template = (toys.TINY / "llama" / "chat_template.jinja").read_text(encoding="utf-8")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    rows = len(tokenizer) + spare
    LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=tied, **sizes)).save_pretrained(folder)
    return folder


def flags(base, output, **changes):
    settings = {
        "model_name_or_path": base, "dtype": "float32", "quantization": "none", "use_cpu": "true", "output_dir": output,
        "effective_batch_size": 8, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "max_steps": 2,
        "warmup_steps": 0, "save_strategy": "no", "disable_tqdm": "true", "lora_dropout": 0, **changes,
    }  # fmt: skip
    return toys.flags({name: value for name, value in settings.items() if value is not None})


@pytest.fixture(scope="module", params=[64, 0], ids=["spare rows", "no spare rows"])
def run(request, tmp_path_factory):
    """`{"base", "sft", "root"}`: folders of such a base and of the adapter that two steps of SFT leave."""
    root = tmp_path_factory.mktemp("added")
    base = make_base(root / "base", request.param)
    train_sft({}, flags(base, root / "sft", train_file=toys.TRAIN, rouge_rows=0, optim="adamw_torch"))
    return {"base": base, "sft": root / "sft", "root": root}


def summarizer(run, adapter, **options):
    options = {"dtype": "float32", "quantization": "none", "device": "cpu", **options}
    return load_summarizer(str(run["base"]), str(adapter), **options)


def saved(folder):
    return load_file(folder / "adapter_model.safetensors")


def trained_rows(folder):
    [rows] = [tensor for name, tensor in saved(folder).items() if "trainable_tokens_delta" in name]
    return rows


def test_prediction_asks_with_the_tokens_that_were_trained(run):
    loaded, trained = summarizer(run, run["sft"]), load_tokenizer(str(run["sft"]))
    assert encode_prompts(loaded, [DIALOGUE], GenerationSettings()) == [encode_prompt(trained, DIALOGUE)]
    assert stop_token_ids(loaded.tokenizer) == stop_token_ids(trained)
    assert missing_chat_tokens(loaded.tokenizer) == []


def test_their_rows_are_those_of_the_adapter(run):
    loaded = summarizer(run, run["sft"])
    added = loaded.tokenizer.convert_tokens_to_ids(list(LLAMA_CHAT.tokens))
    assert torch.equal(loaded.model.get_input_embeddings().weight[added], trained_rows(run["sft"]))


def pairs_file(run):
    return write_jsonl(run["root"] / "pairs.jsonl", toys.polite_pairs(16))


def test_dpo_starts_from_the_trained_rows_and_keeps_them_in_what_it_saves(run, tmp_path):
    settings = dict(adapter_path=run["sft"], pairs_file=pairs_file(run), held_out=0.25, lora_dropout=None)
    figures = train_dpo({}, flags(run["base"], tmp_path / "dpo", **settings))
    assert figures["first loss (ln 2 = 0.6931)"] == pytest.approx(0.693147, abs=1e-5)
    assert saved(tmp_path / "dpo").keys() == saved(run["sft"]).keys()
    assert summarize(summarizer(run, tmp_path / "dpo"), [DIALOGUE], progress=False)


def online(run, folder, **changes):
    settings = dict(adapter_path=run["sft"], train_file=toys.TRAIN, max_completion_length=6, lora_dropout=None)
    settings |= dict(effective_batch_size=None, reward_functions=["hangul_share", "no_repetition"])
    return flags(run["base"], folder, **settings, **changes)


def test_grpo_and_ppo_train_the_rows_further(run, tmp_path):
    group = dict(num_generations=4, gradient_accumulation_steps=2, mask_truncated_completions="false")
    figures = train_grpo({}, online(run, tmp_path / "grpo", **group, logging_steps=1))
    assert figures["last KL to SFT, nats a token"] < 1
    train_ppo({}, online(run, tmp_path / "ppo", rollout_batch_size=8, max_truncated=1.1))
    for folder in (tmp_path / "grpo", tmp_path / "ppo"):
        assert saved(folder).keys() == saved(run["sft"]).keys()
        assert not torch.equal(trained_rows(folder), trained_rows(run["sft"]))


def test_a_reward_model_scores_the_same_on_the_policys_base(run, tmp_path):
    settings = dict(adapter_path=run["sft"], pairs_file=pairs_file(run), held_out=0.25, lora_dropout=None)
    train_reward({}, flags(run["base"], tmp_path / "reward", **settings, accept_weak="true"))
    tokenizer = load_tokenizer(str(run["base"]), adapter_path=str(run["sft"]))
    named = {"model_name_or_path": str(run["base"]), "adapter_path": str(run["sft"])}
    model_args = ModelArguments(**named, dtype="float32", quantization="none")
    model = load_base_and_policy(model_args, SimpleNamespace(device="cpu", seed=1), tokenizer)
    reward = LearnedReward(model, tmp_path / "reward", tokenizer)
    _, held = hold_out(read_pairs(pairs_file(run)), 0.25, 42)
    rows = encode_pairs(held, tokenizer, stop_token_ids(tokenizer), 1024)
    answers = [row[side] for row in rows for side in ("chosen_ids", "rejected_ids")]
    scores = torch.tensor(reward([prompt_messages(p["prompt"]) for p in held for _ in range(2)], answers))
    assert scores.mean().item() == pytest.approx(0, abs=1e-3)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_a_stopped_ppo_run_goes_on_with_them(run, tmp_path):
    more = dict(eval_file=toys.DEV, rouge_rows=2, eval_steps=2, save_steps=2, save_strategy="steps")
    more |= dict(rollout_batch_size=8, max_truncated=1.1, lr_scheduler_type="constant")
    train_ppo({}, online(run, tmp_path / "whole", **more, max_steps=4))
    train_ppo({}, online(run, tmp_path / "parts", **more, max_steps=2))
    train_ppo({}, online(run, tmp_path / "parts", **more, max_steps=4, resume_from_checkpoint="true"))
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_sft_goes_on_from_such_an_adapter_and_merge_keeps_its_function(run, tmp_path):
    more = dict(adapter_path=run["sft"], train_file=toys.TRAIN, rouge_rows=0, optim="adamw_torch", lora_dropout=None)
    train_sft({}, flags(run["base"], tmp_path / "more", **more))
    assert saved(tmp_path / "more").keys() == saved(run["sft"]).keys()
    assert merge_adapter(tmp_path / "more", tmp_path / "merged", dtype="float32")
    merged = load_summarizer(str(tmp_path / "merged"), dtype="float32", quantization="none", device="cpu")
    expected = summarize(summarizer(run, tmp_path / "more"), [DIALOGUE], progress=False)
    assert summarize(merged, [DIALOGUE], progress=False) == expected
    assert summarize(summarizer(run, tmp_path / "more", merge=False), [DIALOGUE], progress=False) == expected


def test_the_base_may_have_moved(run, tmp_path):
    moved = {"base": shutil.copytree(run["base"], tmp_path / "moved")}
    folder = shutil.copytree(run["sft"], tmp_path / "sft")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(tmp_path / "gone")
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    there = summarize(summarizer(moved, folder), [DIALOGUE], progress=False)
    assert there == summarize(summarizer(run, run["sft"]), [DIALOGUE], progress=False)


def test_an_adapter_of_another_vocabulary_is_one_line(run, tmp_path):
    folder = shutil.copytree(run["sft"], tmp_path / "bare", ignore=shutil.ignore_patterns("tok*", "*.jinja"))
    with pytest.raises(InputError, match=r"added tokens that .* lacks: put its tokenizer into the adapter's folder"):
        summarizer(run, folder, prompt_style="instruction")


def test_tied_embeddings_are_refused_before_any_weights_are_loaded(tmp_path):
    base = make_base(tmp_path / "base", 0, tied=True)
    (base / "model.safetensors").unlink()
    argv = flags(base, tmp_path / "out", train_file=toys.TRAIN, rouge_rows=0)
    with pytest.raises(InputError, match="tied no adapter can train them: add --prompt_style instruction") as caught:
        train_sft({}, argv)
    assert "\n" not in str(caught.value)
