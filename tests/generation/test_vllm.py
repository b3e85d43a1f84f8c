"""What is handed to vLLM, read by vLLM itself where it is installed (docs/sharing.md says how that was done)."""

import inspect
import json
import shlex

import pytest

from dialsum_trl.cli.merge import COMMANDS
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation import vllm_engine
from dialsum_trl.generation.settings import GenerationSettings
from tests.conftest import TINY


@pytest.fixture
def vllm():
    """The installed vLLM; without a GPU it parses for the CPU."""
    package = pytest.importorskip("vllm")
    from vllm import platforms
    from vllm.platforms.cpu import CpuPlatform

    if platforms.current_platform.is_unspecified():
        platforms.current_platform = CpuPlatform()
    return package


def printed(**paths) -> list[list[str]]:
    text = COMMANDS.format(**paths).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("vllm")]


@pytest.mark.parametrize(("rank", "limit"), [(1, 1), (4, 8), (12, 16), (16, 16), (65, 128)])
def test_vllm_reserves_the_next_rank_that_it_knows(rank, limit):
    assert vllm_engine.lora_rank_limit(rank) == limit


def test_a_rank_beyond_vllms_is_one_clear_line(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1024}))
    with pytest.raises(InputError, match="LoRA rank 1024, and vLLM serves up to 512: `dialsum merge` it"):
        vllm_engine.llm_options("base", str(tmp_path), dtype="bfloat16", revision="main")


def test_an_adapter_with_rows_of_added_tokens_is_to_be_merged_first(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "trainable_token_indices": [7]}))
    with pytest.raises(InputError, match="rows of added tokens, which vLLM does not apply: `dialsum merge` it"):
        vllm_engine.llm_options("base", str(tmp_path), dtype="bfloat16", revision="main")


def test_vllm_understands_the_commands_that_merge_prints(vllm):
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm")
    ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))
    merged, adapter = printed(folder="/m/merged", name="merged", base="acme/base", adapter="/m/adapter", rank=16)
    plain = parser.parse_args(merged[1:])
    assert plain.model_tag == "/m/merged" and plain.served_model_name == ["dialsum"] and plain.max_model_len == 2048
    with_adapter = parser.parse_args(adapter[1:])
    assert with_adapter.enable_lora and with_adapter.max_lora_rank == 16 and with_adapter.max_model_len == 2048
    assert [(module.name, module.path) for module in with_adapter.lora_modules] == [("dialsum", "/m/adapter")]


def test_vllm_takes_the_arguments_of_the_engine(vllm, tmp_path):
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest

    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 12}))
    options = vllm_engine.llm_options(str(TINY / "llama"), str(tmp_path), dtype="bfloat16", revision="main")
    inspect.signature(LLM.__init__).bind(None, **options)
    assert EngineArgs(**options).max_lora_rank == 16
    assert LoRARequest("adapter", 1, str(tmp_path)).lora_path == str(tmp_path)
    inspect.signature(LLM.generate).bind(None, [{"prompt_token_ids": [1]}], object(), lora_request=None)


@pytest.mark.parametrize(
    ("settings", "temperature", "n"),
    [
        (dict(num_beams=1), 0.0, 1),
        (dict(num_beams=1, do_sample=True, temperature=0.7, num_return_sequences=4), 0.7, 4),
    ],
)
def test_vllm_takes_greedy_and_sampled_settings(vllm, settings, temperature, n):
    params = vllm_engine.sampling_params(GenerationSettings(**settings), [1, 2])
    assert (params.temperature, params.n, params.stop_token_ids) == (temperature, n, [1, 2])


def test_vllm_and_beams_exclude_each_other(vllm):
    with pytest.raises(InputError, match="--num_beams 1"):
        vllm_engine.sampling_params(GenerationSettings(num_beams=4), [1])
