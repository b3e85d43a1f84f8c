"""vLLM behind the same `summarize`: optional, never required, imported only when asked for."""

from dataclasses import dataclass
from typing import Any

from dialsum_trl.errors import InputError


@dataclass
class VllmEngine:
    """A `vllm.LLM` and the LoRA request of the adapter, if any."""

    llm: Any
    adapter: Any

    def generate_ids(self, prompts: list[list[int]], settings, stop_ids: list[int]) -> list[list[list[int]]]:
        """As `generation.generate_ids`, for greedy decoding and sampling."""
        from vllm import SamplingParams

        if settings.num_beams > 1 or settings.no_repeat_ngram_size:
            raise InputError(
                "--engine vllm: beam search and n-gram bans need --engine torch; or use --num_beams 1 without a ban"
            )
        params = SamplingParams(
            n=settings.num_return_sequences,
            temperature=settings.temperature if settings.do_sample else 0.0,
            top_p=settings.top_p if settings.do_sample else 1.0,
            seed=settings.seed,
            max_tokens=settings.max_new_tokens,
            stop_token_ids=stop_ids,
        )
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        outputs = self.llm.generate(requests, params, lora_request=self.adapter)
        return [
            [[t for t in candidate.token_ids if t not in stop_ids] for candidate in output.outputs]
            for output in outputs
        ]


def load_vllm(model_name_or_path: str, adapter_path: str | None, *, dtype: str, revision: str) -> VllmEngine:
    """Starts vLLM on the unquantized base, with the adapter applied at run time.

    Raises:
        InputError: vLLM is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("vllm") is None:
        raise InputError("--engine vllm: vLLM is not installed; pip install vllm, or use --engine torch")
    from vllm import LLM
    from vllm.lora.request import LoRARequest

    options, adapter = {}, None
    if adapter_path is not None:
        import json
        from pathlib import Path

        rank = json.loads((Path(adapter_path) / "adapter_config.json").read_text())["r"]
        options, adapter = {"enable_lora": True, "max_lora_rank": rank}, LoRARequest("adapter", 1, adapter_path)
    llm = LLM(model=model_name_or_path, dtype=dtype, revision=revision, trust_remote_code=False, **options)
    return VllmEngine(llm, adapter)
