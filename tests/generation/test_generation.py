"""Generation: the same tokens as transformers, whatever the batch; clear errors; nothing left changed on the model."""

from dataclasses import replace

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
)

from benchmarks.generation_speed import main
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.decoding import can_decode
from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.search import Sampler
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import summarize
from dialsum_trl.generation.summarizer import Summarizer
from tests.generation_toys import DIALOGUES, PAD, SIZES, STOP, VOCABULARY, lora, random_prompts, tiny_summarizer, toy


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


def test_a_draw_inverts_the_cumulative_distribution_of_a_large_vocabulary():
    draw = torch.Generator().manual_seed(0)
    logits, uniform = 3 * torch.randn(1, 1, 1000, generator=draw), torch.rand(400, 1, 1, generator=draw)
    logits[..., 700:] = -torch.inf
    uniform[0], uniform[1] = 0, 1
    settings = GenerationSettings(num_beams=1, do_sample=True)
    found = Sampler(1, 1, settings, [], torch.device("cpu")).draw(logits.expand(400, 1, -1), uniform)[:, 0]
    cumulative = logits[0, 0].double().softmax(-1).cumsum(-1)
    wanted = torch.searchsorted(cumulative, uniform[:, 0, 0].double()).clamp(max=699)
    assert (found == wanted).float().mean() > 0.99 and (found - wanted).abs().max() <= 1


def test_samples_that_end_early_leave_their_rows_to_others():
    prompts = random_prompts(7)
    settings = GenerationSettings(max_new_tokens=16, num_beams=1, do_sample=True, num_return_sequences=5, batch_size=2)
    few = generate_ids(toy("llama"), prompts, settings, STOP, PAD)
    assert len({len(ids) for candidates in few for ids in candidates}) > 3
    assert few == generate_ids(toy("llama"), prompts, replace(settings, batch_size=7), STOP, PAD)


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
    torch.manual_seed(0)
    sizes = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, max_position_embeddings=128)).eval()
    prompts = random_prompts(6)
    settings = GenerationSettings(max_new_tokens=16, num_beams=beams, batch_size=4)
    assert generate_ids(model, prompts, settings, STOP, PAD) == theirs(model, prompts, num_beams=beams, do_sample=False)


def test_sliding_window_models_go_through_transformers():
    assert can_decode(toy("qwen3"))
    assert not can_decode(toy("qwen3", use_sliding_window=True, sliding_window=8, max_window_layers=1))


def test_encoder_decoders_summarize_in_the_same_function():
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


def random_bart():
    torch.manual_seed(0)
    layers = dict(encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
    sizes = dict(vocab_size=60, d_model=32, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=128)
    tokens = dict(pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None)
    return BartForConditionalGeneration(BartConfig(**sizes, **layers, **tokens, init_std=0.4)).eval()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "own",
    [
        {"forced_eos_token_id": 2},
        {"suppress_tokens": [24, 54]},
        {"bad_words_ids": [[24]]},
        {"begin_suppress_tokens": [24]},
        {"repetition_penalty": 5.0},
        {"encoder_repetition_penalty": 9.0},
        {"encoder_no_repeat_ngram_size": 1},
    ],
    ids=lambda own: next(iter(own)),
)
def test_a_models_own_generation_settings_do_not_reach_a_summary(own, beams):
    model, prompts, settings = random_bart(), [[0, 5, 6, 24, 2], [0, 9, 2]], GenerationSettings(8, num_beams=beams)
    plain = generate_ids(model, prompts, settings, [2], 1)
    model.generation_config.update(**own)
    assert generate_ids(model, prompts, settings, [2], 1) == plain
    assert len(plain[0][0]) == settings.max_new_tokens  # cut off, and told so: no end was forced


@pytest.mark.parametrize("own", [{"min_new_tokens": 8}, {"min_length": 9}], ids=lambda own: next(iter(own)))
def test_a_models_own_minimum_does_not_lengthen_a_summary(own):
    model, prompts, settings = random_bart(), [[0, 5, 6, 24, 2], [0, 9, 2]], GenerationSettings(8, num_beams=1)
    first = generate_ids(model, prompts, settings, [2], 1)[0][0][1]
    model.generation_config.update(**own)
    assert len(generate_ids(model, prompts, settings, [first], 1)[0][0]) < 2


def test_a_decoder_still_starts_as_its_model_says():
    model, settings = random_bart(), GenerationSettings(4, num_beams=1)
    model.generation_config.forced_bos_token_id = 7
    [[ids]] = generate_ids(model, [[0, 9, 2]], settings, [2], 1)
    assert ids[0] == 7 and model.generation_config.forced_bos_token_id == 7


@pytest.mark.parametrize("beams", [1, 3])
def test_without_a_stop_token_every_summary_is_as_long_as_it_may_be(beams):
    model, settings = random_bart(), GenerationSettings(8, num_beams=beams)
    assert [len(ids) for [ids] in generate_ids(model, [[0, 5, 6, 2], [0, 9, 2]], settings, [], 1)] == [8, 8]


def test_an_empty_prompt_is_named_and_no_prompts_give_no_summaries():
    model = toy("llama")
    assert generate_ids(model, [], GenerationSettings(), STOP, PAD) == []
    with pytest.raises(InputError, match="prompt 1 has no tokens"):
        generate_ids(model, [[3], []], GenerationSettings(), STOP, PAD)


def test_a_prompt_that_overflows_in_float16_is_an_error_that_names_the_layer():
    model = toy("llama").to(torch.float16)
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight.fill_(torch.finfo(torch.float16).max)
    with pytest.raises(InputError, match=r"^layers\.1\.input_layernorm overflowed in float16: give --dtype bfloat16"):
        generate_ids(model, random_prompts(4), GenerationSettings(max_new_tokens=4, num_beams=1), STOP, PAD)


def test_the_speed_benchmark_runs_in_smoke_mode():
    rows = main(["--smoke"])
    assert any(row["variant"] == "ours, beam 4" for row in rows)
    assert all(row["new_tokens"] > 0 for row in rows)
