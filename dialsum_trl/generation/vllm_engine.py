"""vLLM under the same `summarize`: optional, never required, imported only when asked for.

Written against vLLM 0.33.0. Its releases pin versions of torch and transformers that differ from this package's, so pip
does not install both; `docs/sharing.md` says what that leaves.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.models.file_names import CONFIG, WEIGHTS
from dialsum_trl.models.files import changes_the_base, tensor_shapes, trained_tokens

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has buffers for
LORA_OF_LINEAR = re.compile(r"\.lora_[AB]\.weight$")
OF_TABLES = re.compile(r"\.(?:lm_head|embed_tokens|wte|embed_in|embed_out|word_embeddings)\.")


def lora_rank_limit(rank: int) -> int | None:
    """The smallest `max_lora_rank` of vLLM that takes an adapter of this rank; None: it takes none so high."""
    return next((limit for limit in LORA_RANKS if limit >= rank), None)


def vllm_problem(adapter: Path) -> str | None:
    """Why vLLM does not apply this adapter at run time, as one clause; or None.

    It takes LoRA on linear layers alone, of one rank that it has buffers for: it scales all layers by the alpha and the
    rank of the whole adapter (its `PEFTHelper`), and says nothing where a layer has others.
    """
    config = read_json(adapter / CONFIG, "give --adapter_path an adapter folder")
    names = [] if not (adapter / WEIGHTS).is_file() else tensor_shapes(adapter / WEIGHTS)
    if trained_tokens(config):
        return "the adapter holds rows of added tokens, which vLLM does not apply"
    if config.get("use_dora"):
        return "the adapter is DoRA, which vLLM does not apply"
    if changes_the_base(config):
        return "the adapter is a checkpoint of PiSSA or OLoRA, whose base is changed"
    if config.get("modules_to_save") or config.get("bias", "none") != "none":
        return "the adapter holds whole layers or biases, which vLLM does not apply"
    if any(not LORA_OF_LINEAR.search(name) or OF_TABLES.search(name) for name in names):
        return "the adapter holds more than LoRA on linear layers, and vLLM applies nothing else"
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        return "the adapter has layers of another rank or alpha, which vLLM would scale as the rest"
    if lora_rank_limit(config["r"]) is None:
        return f"the adapter has LoRA rank {config['r']}, and vLLM serves up to {LORA_RANKS[-1]}"
    return None


@dataclass
class VllmEngine:
    """A `vllm.LLM` and the LoRA request of the adapter, if any."""

    llm: Any
    adapter: Any

    def generate_ids(self, prompts: list[list[int]], settings, stop_ids: list[int]) -> list[list[list[int]]]:
        """As `generation.generate_ids`, for greedy decoding and sampling."""
        params = sampling_params(settings, stop_ids)
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        outputs = self.llm.generate(requests, params, lora_request=self.adapter)
        return [
            [[t for t in candidate.token_ids if t not in stop_ids] for candidate in output.outputs]
            for output in outputs
        ]


def sampling_params(settings, stop_ids: list[int]):
    """vLLM's form of `GenerationSettings`. Raises InputError for beam search and n-gram bans."""
    from vllm import SamplingParams

    if settings.num_beams > 1 or settings.no_repeat_ngram_size:
        raise InputError(
            "--engine vllm: beam search and n-gram bans need --engine torch; or use --num_beams 1 without a ban"
        )
    return SamplingParams(
        n=settings.num_return_sequences,
        temperature=settings.temperature if settings.do_sample else 0.0,
        top_p=settings.top_p if settings.do_sample else 1.0,
        seed=settings.seed,
        max_tokens=settings.max_new_tokens,
        stop_token_ids=stop_ids,
    )


def llm_options(model_name_or_path: str, adapter_path: str | None, *, dtype: str, revision: str) -> dict:
    """Arguments of `vllm.LLM`; the context is as long as the GPU's memory allows."""
    options = dict(model=model_name_or_path, dtype=dtype, revision=revision, trust_remote_code=False, max_model_len=-1)
    if adapter_path is not None:
        if reason := vllm_problem(Path(adapter_path)):
            raise InputError(f"{reason}: `dialsum merge` it")
        rank = read_json(Path(adapter_path) / CONFIG, "give an adapter folder")["r"]
        options |= dict(enable_lora=True, max_lora_rank=lora_rank_limit(rank))
    return options


def load_vllm(model_name_or_path: str, adapter_path: str | None, *, dtype: str, revision: str) -> VllmEngine:
    """Starts vLLM on the unquantized base, with the adapter applied at run time."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError(
            "--engine vllm: vLLM is not installed, and its releases pin other versions of torch and transformers (see "
            "docs/sharing.md); use --engine torch, or `dialsum merge` and `vllm serve` from an environment of its own"
        )
    from vllm import LLM
    from vllm.lora.request import LoRARequest

    adapter = LoRARequest("adapter", 1, adapter_path) if adapter_path is not None else None
    return VllmEngine(LLM(**llm_options(model_name_or_path, adapter_path, dtype=dtype, revision=revision)), adapter)
