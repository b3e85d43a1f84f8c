"""Decoding on a GPU: the kernel, captured steps, memory. Skipped where there is none."""

import pytest
import torch

from dialsum_trl.generation.engine import generate_ids
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.slots import SlotCache
from dialsum_trl.generation.summaries import summarize
from tests.generation_toys import DIALOGUES, PAD, STOP, lora, random_prompts, tiny_summarizer, toy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(
    "heads, kv_heads, size, width", [(24, 8, 128, 1), (24, 8, 128, 4), (28, 4, 128, 4), (6, 2, 8, 3)]
)
def test_the_kernel_equals_attention_with_a_mask(dtype, tolerance, heads, kv_heads, size, width):
    torch.manual_seed(0)
    slots, limit = 5, 20
    cache = SlotCache(1, slots, 2 * slots, 304, width, limit, torch.device("cuda"))
    cache.allocate(kv_heads, size, dtype)
    cache.length.copy_(torch.tensor([0, 1, 63, 64, 300]))
    cache.start(torch.arange(2 * slots).cuda(), torch.tensor([0, 1, 2, 3, 4, 4, 2, 2, 0, 3]).cuda())
    for step in range(12):
        cache.step.fill_(step)
        cache.begin_step(cache.step)
        cache.reorder(torch.randint(width, (2 * slots, width)).cuda())
    cache.begin_step(cache.step)
    for side in (*cache.layers[0].prompts, *cache.layers[0].rows):
        side.normal_()
    query = torch.randn(2 * slots, heads, width, size, device="cuda", dtype=dtype)
    kernel, cache.kernel = cache.kernel, None
    assert kernel is not None
    cache.begin_step(cache.step)
    expected = cache.attend(query, 0, size**-0.5).double()
    cache.kernel = kernel
    found = cache.attend(query, 0, size**-0.5).double()
    assert (found - expected).norm() / expected.norm() < tolerance


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


def test_the_cache_is_given_back_at_once():
    model = toy("llama").cuda()
    before = torch.cuda.memory_allocated()
    generate_ids(model, random_prompts(8), GenerationSettings(max_new_tokens=16, batch_size=4), STOP, PAD)
    assert torch.cuda.memory_allocated() <= before + 2**25  # cuBLAS keeps a workspace
