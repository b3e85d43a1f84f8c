"""Generation: the same tokens as transformers, whatever the batch; clear errors; nothing left changed on the model."""

import random

import pytest
import torch

from dialsum_trl.errors import InputError
from dialsum_trl.generation import (
    GenerationSettings,
    Summarizer,
    dequantize,
    generate_ids,
    load_summarizer,
    summarize,
)
from tests.conftest import TINY

STOP, PAD, VOCABULARY = [5, 9], 0, 53
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    initializer_range=0.6,  # far apart logits, so that rounding turns no choice
)
DIALOGUES = [
    "#Person1#: 내일 회의 몇 시예요?\n#Person2#: 세 시예요. 늦지 마세요.",
    "#Person1#: 점심 먹었어요?\n#Person2#: 아직이요.\n#Person1#: 그럼 같이 먹어요.",
    "#Person1#: 버스가 늦네요.\n#Person2#: 길이 막히나 봐요.",
]


def toy(family: str, **changes):
    """A random causal model of `family` with a head size of 8."""
    from transformers import AutoConfig, AutoModelForCausalLM

    head = {} if family == "qwen2" else {"head_dim": 8}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **head, **changes})).eval()


def random_prompts(count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    lengths = [1, 2, *(draw.randint(3, 40) for _ in range(count - 2))]
    return [[draw.randrange(10, VOCABULARY) for _ in range(length)] for length in lengths]


def cut(ids: list[int]) -> list[int]:
    return ids[: next((i for i, token in enumerate(ids) if token in STOP), len(ids))]


def theirs(model, prompts, **kwargs) -> list[list[list[int]]]:
    """transformers' `generate`, one prompt at a time, so that no padding is involved."""
    result = []
    for prompt in prompts:
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            eos_token_id=STOP,
            pad_token_id=PAD,
            max_new_tokens=16,
            **kwargs,
        )
        result.append([cut(ids[len(prompt) :]) for ids in output.tolist()])
    return result


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_greedy_tokens_equal_those_of_transformers(family):
    model, prompts = toy(family), random_prompts(24)
    ours = generate_ids(model, prompts, GenerationSettings(max_new_tokens=16, num_beams=1), STOP, PAD)
    assert ours == theirs(model, prompts, do_sample=False)
    assert len({tuple(ids) for candidates in ours for ids in candidates}) > 5


@pytest.mark.parametrize(
    "family, beams, penalty, returned",
    [("llama", 4, 1.0, 1), ("qwen2", 4, 0.0, 4), ("qwen3", 3, 2.0, 2), ("llama", 2, -1.0, 1)],
)
def test_beam_search_equals_that_of_transformers(family, beams, penalty, returned):
    model, prompts = toy(family), random_prompts(16)
    settings = GenerationSettings(
        max_new_tokens=16, num_beams=beams, length_penalty=penalty, num_return_sequences=returned
    )
    expected = theirs(
        model, prompts, num_beams=beams, do_sample=False, length_penalty=penalty, num_return_sequences=returned
    )
    assert generate_ids(model, prompts, settings, STOP, PAD) == expected


@pytest.mark.parametrize("beams, size", [(1, 1), (1, 2), (4, 2), (4, 3)])
def test_repeated_ngrams_are_banned_as_transformers_bans_them_but_only_within_the_summary(beams, size):
    from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor

    class WithinSummary(LogitsProcessor):
        def __init__(self, prompt_length):
            self.start, self.ban = prompt_length, NoRepeatNGramLogitsProcessor(size)

        def __call__(self, input_ids, scores):
            return self.ban(input_ids[:, self.start :], scores)

    model, prompts = toy("llama"), random_prompts(8)
    settings = GenerationSettings(max_new_tokens=16, num_beams=beams, no_repeat_ngram_size=size)
    expected = [
        theirs(model, [p], num_beams=beams, do_sample=False, logits_processor=[WithinSummary(len(p))])[0]
        for p in prompts
    ]
    assert generate_ids(model, prompts, settings, STOP, PAD) == expected


@pytest.mark.parametrize("beams", [1, 4])
def test_batch_size_changes_nothing(beams):
    model, prompts = toy("qwen3"), random_prompts(21)
    results = [
        generate_ids(model, prompts, GenerationSettings(max_new_tokens=16, num_beams=beams, batch_size=size), STOP, PAD)
        for size in (1, 8, None)
    ]
    assert results[0] == results[1] == results[2]


def test_a_sample_depends_on_seed_and_prompt_but_not_on_its_batch():
    model, prompts = toy("llama"), random_prompts(12)

    def sample(given, **kwargs):
        settings = GenerationSettings(max_new_tokens=8, num_beams=1, do_sample=True, num_return_sequences=3, **kwargs)
        return generate_ids(model, given, settings, STOP, PAD)

    together = sample(prompts)
    assert sample(prompts[::-1], batch_size=2)[::-1] == together
    assert sample(prompts, seed=7) != together
    assert any(len({tuple(ids) for ids in candidates}) > 1 for candidates in together)


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_samples_follow_the_tempered_distribution_and_its_nucleus(top_p):
    model, prompt, count = toy("llama"), random_prompts(6)[5], 3000
    settings = GenerationSettings(
        max_new_tokens=1, num_beams=1, do_sample=True, temperature=4.0, top_p=top_p, num_return_sequences=count
    )
    drawn = torch.tensor(generate_ids(model, [prompt], settings, [], PAD)[0]).flatten()
    found = torch.bincount(drawn, minlength=VOCABULARY) / count
    expected = (model(torch.tensor([prompt])).logits[0, -1] / 4.0).softmax(-1).detach()
    ordered, order = expected.sort(descending=True)
    outside = order[ordered.cumsum(0) - ordered >= top_p]
    expected[outside] = 0
    assert found[outside].sum() == 0
    assert (found - expected / expected.sum()).abs().sum() / 2 < 0.06


def test_an_uncut_sequence_has_exactly_the_token_limit():
    model, prompts = toy("llama"), random_prompts(10)
    settings = GenerationSettings(max_new_tokens=12, num_beams=1)
    assert {len(ids) for (ids,) in generate_ids(model, prompts, settings, [], PAD)} == {12}
    stopped = generate_ids(model, prompts, settings, list(range(VOCABULARY // 2)), PAD)
    assert min(len(ids) for (ids,) in stopped) < 12
    assert not any(token < VOCABULARY // 2 for (ids,) in stopped for token in ids)


def test_the_progress_callback_counts_every_prompt_once():
    counted = []
    prompts = random_prompts(13)
    settings = GenerationSettings(max_new_tokens=6, num_beams=2, batch_size=4)
    generate_ids(toy("llama"), prompts, settings, STOP, PAD, on_finish=counted.append)
    assert sum(counted) == len(prompts)


def lora(model, std: float = 0.3):
    from peft import LoraConfig, get_peft_model

    draw = torch.Generator().manual_seed(1)  # on the CPU: the same adapter on every device
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=layers, task_type="CAUSAL_LM", lora_dropout=0.5))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(std * torch.randn(parameter.shape, generator=draw))
    return adapted


def test_an_adapter_gives_the_same_summaries_apart_and_merged_and_other_ones_than_the_base():
    prompts, settings = random_prompts(10), GenerationSettings(max_new_tokens=12)
    base = generate_ids(toy("llama"), prompts, settings, STOP, PAD)
    adapted = lora(toy("llama")).train()
    apart = generate_ids(adapted, prompts, settings, STOP, PAD)
    assert apart == generate_ids(adapted.merge_and_unload(), prompts, settings, STOP, PAD)
    assert apart != base


def test_a_model_in_training_is_left_as_it_was():
    model = lora(toy("llama")).train()
    model.base_model.model.model.layers[0].mlp.eval()
    before = {name: module.training for name, module in model.named_modules()}
    attention = model.config._attn_implementation
    settings = GenerationSettings(max_new_tokens=4)
    first = generate_ids(model, random_prompts(3), settings, STOP, PAD)
    assert first == generate_ids(model, random_prompts(3), settings, STOP, PAD)  # no dropout
    assert {name: module.training for name, module in model.named_modules()} == before
    assert model.config._attn_implementation == attention
    loss = model(torch.tensor([[3, 4, 6]]), labels=torch.tensor([[3, 4, 6]])).loss
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_compiled_layers_are_run_eagerly_and_stay_compiled():
    model, prompts, settings = toy("llama"), random_prompts(4), GenerationSettings(max_new_tokens=4)
    expected = generate_ids(model, prompts, settings, STOP, PAD)
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    for layer in model.model.layers:
        layer.compile(backend=backend)
    assert generate_ids(model, prompts, settings, STOP, PAD) == expected
    assert not calls
    model(torch.tensor([prompts[3]]))
    assert calls


@pytest.mark.parametrize("beams", [1, 4])
def test_other_decoders_go_through_transformers_with_left_padding(beams):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    sizes = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, max_position_embeddings=128)).eval()
    prompts = random_prompts(6)
    settings = GenerationSettings(max_new_tokens=16, num_beams=beams, batch_size=4)
    assert generate_ids(model, prompts, settings, STOP, PAD) == theirs(model, prompts, num_beams=beams, do_sample=False)


def test_sliding_window_models_go_through_transformers():
    from dialsum_trl.decode.decoding import can_decode

    assert can_decode(toy("qwen3"))
    assert not can_decode(toy("qwen3", use_sliding_window=True, sliding_window=8, max_window_layers=1))


def test_encoder_decoders_summarize_in_the_same_function():
    from transformers import BartConfig, BartForConditionalGeneration

    summarizer = tiny_summarizer()
    ids = {name: summarizer.tokenizer.convert_tokens_to_ids(name) for name in ("<|begin_of_text|>", "<|eot_id|>")}
    torch.manual_seed(0)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(summarizer.tokenizer), d_model=32, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            max_position_embeddings=256, pad_token_id=summarizer.tokenizer.pad_token_id, init_std=0.5,
            decoder_start_token_id=ids["<|begin_of_text|>"], bos_token_id=ids["<|begin_of_text|>"],
            eos_token_id=ids["<|eot_id|>"], forced_eos_token_id=None,
        )
    ).eval()  # fmt: skip
    bart = Summarizer(model, summarizer.tokenizer)
    settings = {"max_new_tokens": 8, "num_beams": 2, "max_length": 200}
    one = summarize(bart, DIALOGUES, GenerationSettings(batch_size=1, **settings), progress=False)
    all_at_once = summarize(bart, DIALOGUES, GenerationSettings(batch_size=8, **settings), progress=False)
    assert one == all_at_once
    assert len(one) == 3 and all(0 <= summary.tokens <= 8 for summary in one)


def tiny_summarizer(**kwargs) -> Summarizer:
    return load_summarizer(
        str(TINY / "llama"), **{"dtype": "float32", "quantization": "none", "device": "cpu", **kwargs}
    )


def test_summaries_come_in_the_order_of_the_dialogues_whatever_the_batch():
    summarizer = tiny_summarizer()
    settings = {"max_new_tokens": 24, "num_beams": 4}
    one = summarize(summarizer, DIALOGUES, GenerationSettings(batch_size=1, **settings), progress=False)
    eight = summarize(summarizer, DIALOGUES, GenerationSettings(batch_size=8, **settings), progress=False)
    reverse = summarize(summarizer, DIALOGUES[::-1], GenerationSettings(**settings), progress=False)
    assert one == eight == reverse[::-1]
    for summary in one:
        assert summary.hit_limit == (summary.tokens == 24)
        assert "<|" not in summary.text and summary.text == summary.text.strip()


def test_several_summaries_a_dialogue_come_as_lists():
    settings = GenerationSettings(max_new_tokens=8, num_beams=4, num_return_sequences=3)
    result = summarize(tiny_summarizer(), DIALOGUES[:2], settings, progress=False)
    assert [len(candidates) for candidates in result] == [3, 3]


def test_an_overlong_dialogue_is_shortened_as_in_training(capsys):
    long = "\n".join(f"#Person{1 + i % 2}#: {i}번 이야기를 계속합니다." for i in range(100))
    settings = GenerationSettings(max_new_tokens=8, num_beams=1, max_length=200)
    assert len(summarize(tiny_summarizer(), [long, DIALOGUES[0]], settings, progress=False)) == 2
    assert "1 of 2 dialogues lost middle turns to fit into 192 prompt tokens" in capsys.readouterr().out


def test_the_dequantized_base_with_a_merged_adapter_is_the_function_that_was_trained(tmp_path):
    quantized = {"dtype": "float32", "quantization": "4bit"}
    adapted = lora(tiny_summarizer(quantization="4bit").model)
    adapted.save_pretrained(tmp_path)
    apart = load_summarizer(str(TINY / "llama"), str(tmp_path), **quantized, device="cpu", merge=False)
    merged = load_summarizer(str(TINY / "llama"), str(tmp_path), **quantized, device="cpu")
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    ids = torch.arange(30, 60)[None]
    with torch.no_grad():
        expected, found = apart.model(ids).logits, merged.model(ids).logits
    assert torch.allclose(found, expected, atol=1e-3 * expected.abs().max().item())
    settings = GenerationSettings(max_new_tokens=8)
    assert summarize(apart, DIALOGUES, settings, progress=False) == summarize(
        merged, DIALOGUES, settings, progress=False
    )


def test_dequantizing_leaves_plain_linear_layers_with_the_rounded_weights():
    model = tiny_summarizer(quantization="4bit", merge=False).model
    ids = torch.arange(30, 60)[None]
    with torch.no_grad():
        before = model(ids).logits
        assert dequantize(model, "float32")
        after = model(ids).logits
    assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert torch.allclose(before, after, atol=1e-4 * before.abs().max().item())


@pytest.mark.parametrize(
    "wrong, named",
    [
        ({"num_beams": 0}, "--num_beams 0"),
        ({"max_new_tokens": 0}, "--max_new_tokens 0"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"no_repeat_ngram_size": -1}, "--no_repeat_ngram_size -1"),
        ({"do_sample": True}, "--do_sample with --num_beams 4"),
        ({"do_sample": True, "num_beams": 1, "temperature": 0.0}, "--temperature 0.0"),
        ({"do_sample": True, "num_beams": 1, "top_p": 0.0}, "--top_p 0.0"),
        ({"num_return_sequences": 5}, "--num_return_sequences 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong, named):
    with pytest.raises(InputError, match=named) as caught:
        GenerationSettings(**wrong)
    assert "\n" not in str(caught.value)


def test_an_adapter_that_is_none_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="--adapter_path") as caught:
        tiny_summarizer(adapter_path=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_vllm_is_optional_and_says_how_to_do_without():
    with pytest.raises(InputError, match="--engine vllm: vLLM is not installed"):
        tiny_summarizer(engine="vllm")


def test_an_empty_prompt_is_named_and_no_prompts_give_no_summaries():
    model = toy("llama")
    assert generate_ids(model, [], GenerationSettings(), STOP, PAD) == []
    with pytest.raises(InputError, match="prompt 1 has no tokens"):
        generate_ids(model, [[3], []], GenerationSettings(), STOP, PAD)


def test_the_speed_benchmark_runs_in_smoke_mode():
    from benchmarks.generation_speed import main

    rows = main(["--smoke"])
    assert any(row["variant"] == "ours, beam 4" for row in rows)
    assert all(row["new_tokens"] > 0 for row in rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(
    "heads, kv_heads, size, width", [(24, 8, 128, 1), (24, 8, 128, 4), (28, 4, 128, 4), (6, 2, 8, 3)]
)
def test_the_kernel_equals_attention_with_a_mask(dtype, tolerance, heads, kv_heads, size, width):
    from dialsum_trl.decode.slots import SlotCache

    torch.manual_seed(0)
    slots, limit = 5, 20
    cache = SlotCache(1, slots, 304 + width * limit, width, limit, torch.device("cuda"))
    cache.start(torch.arange(slots).cuda(), torch.tensor([0, 1, 63, 64, 300]).cuda())
    for step in range(12):
        cache.step.fill_(step)
        cache.begin_step(cache.step, cache.room)
        cache.reorder(torch.randint(width, (slots, width)).cuda())
    cache.begin_step(cache.step, cache.room)
    query = torch.randn(slots, heads, width, size, device="cuda", dtype=dtype)
    key, value = torch.randn(2, slots, kv_heads, cache.room, size, device="cuda", dtype=dtype)
    found = cache.kernel(query, key, value, cache, size**-0.5).double()
    key, value = (t.double().repeat_interleave(heads // kv_heads, 1) for t in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.double(), key, value, attn_mask=cache.visible[:, None], scale=size**-0.5
    ).transpose(1, 2)
    assert (found - expected).norm() / expected.norm() < tolerance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("quantization, adapter", [("none", False), ("4bit", False), ("4bit", True)])
@pytest.mark.parametrize("beams", [1, 4])
def test_captured_steps_give_the_summaries_of_the_cpu(beams, quantization, adapter):
    settings = GenerationSettings(max_new_tokens=40, num_beams=beams, batch_size=2)
    texts = []
    for device in ("cpu", "cuda"):
        summarizer = tiny_summarizer(device=device, quantization=quantization, merge=False)
        if adapter:
            summarizer.model = lora(summarizer.model, std=0.1)
        texts.append([s.text for s in summarize(summarizer, DIALOGUES * 4, settings, progress=False)])
    assert texts[0] == texts[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts GPU memory")
def test_the_cache_is_given_back_at_once():
    model = toy("llama").cuda()
    before = torch.cuda.memory_allocated()
    generate_ids(model, random_prompts(8), GenerationSettings(max_new_tokens=16, batch_size=4), STOP, PAD)
    assert torch.cuda.memory_allocated() <= before + 2**25  # cuBLAS keeps a workspace
