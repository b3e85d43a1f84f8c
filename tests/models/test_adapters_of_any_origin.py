"""Adapters of other tools, made by peft: what prediction and merging compute is what peft computes, or one line."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from peft import IA3Config, KasaConfig, LoHaConfig, LoraConfig, LoraGAConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dialsum_trl.cli.merge import merge_adapter
from dialsum_trl.core.errors import InputError
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.models.adapter_settings import keep_lora
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.stages.sft import train_sft
from tests.conftest import TINY
from tests.phase3_toys import flags
from tests.row_files import sample

IDS = torch.tensor([[5, 7, 9, *range(100, 140)]])
LAYERS = ["q_proj", "v_proj"]


@dataclass
class Kind:
    """How an adapter is made: fields of its `LoraConfig`, its base, and the tokens that its tokenizer gained."""

    config: dict | object = field(default_factory=dict)
    architecture: str = "llama"
    added: int = 0
    tokenizer: bool = True
    drop: str = ""  # tensors that are taken out of the file again
    goes_on: bool = True  # whether it can be trained further

    @property
    def peft(self):
        if not isinstance(self.config, dict):
            return self.config
        return LoraConfig(
            **{"r": 4, "lora_alpha": 8, "target_modules": LAYERS, "task_type": "CAUSAL_LM", **self.config}
        )


def stays(config: dict, **more) -> Kind:
    return Kind(config, **more, goes_on=False)


KINDS = {
    "LoRA": Kind(),
    "without a tokenizer": Kind(tokenizer=False),
    "all linear layers": Kind({"target_modules": "all-linear", "exclude_modules": ["o_proj"]}),
    "a pattern of layers": Kind({"target_modules": r".*layers\.1\..*(q|v)_proj"}),
    "one layer of two": Kind({"layers_to_transform": [1], "layers_pattern": "layers"}),
    "ranks and alphas by layer": Kind({
        "target_modules": [*LAYERS, "o_proj"], "alpha_pattern": {"o_proj": 3},
        "rank_pattern": {"v_proj": 2, "layers.1.self_attn.q_proj": 6},
    }),
    "rsLoRA": Kind({"use_rslora": True}),
    "DoRA": Kind({"use_dora": True, "target_modules": [*LAYERS, "gate_proj"]}),
    "KaSA": stays({"kasa_config": KasaConfig()}),
    "PiSSA": Kind({"init_lora_weights": "pissa"}, goes_on=False),
    "OLoRA": Kind({"init_lora_weights": "olora"}, goes_on=False),
    "all biases": stays({"bias": "all"}, architecture="qwen2"),
    "biases of its layers": stays({"bias": "lora_only"}, architecture="qwen2"),
    "experts": Kind({"target_modules": ["q_proj"], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
                    architecture="qwen3_moe"),
    "lm_head": stays({"target_modules": [*LAYERS, "lm_head"]}),
    "lm_head without the table": stays({"target_modules": [*LAYERS, "lm_head"]}, drop="base_layer"),
    "embeddings": stays({"target_modules": [*LAYERS, "embed_tokens"]}),
    "both tables": stays({"target_modules": [*LAYERS, "embed_tokens", "lm_head"]}),
    "both tables, tied": stays({"target_modules": [*LAYERS, "embed_tokens", "lm_head"], "ensure_weight_tying": True}),
    "DoRA on embeddings": stays({"target_modules": [*LAYERS, "embed_tokens"], "use_dora": True}),
    "whole tables": stays({"modules_to_save": ["embed_tokens", "lm_head"]}),
    "a whole embedding table": stays({"modules_to_save": ["embed_tokens"]}),
    "a whole output layer": stays({"modules_to_save": ["lm_head"]}),
    "whole tables, tied": stays({"modules_to_save": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}),
    "whole embeddings, LoRA on lm_head": stays({"modules_to_save": ["embed_tokens"], "target_modules": ["lm_head"]}),
    "whole norms": stays({"modules_to_save": ["input_layernorm"]}),
    "rows of tokens": Kind({"trainable_token_indices": [5, 7]}),
    "rows of both tables": stays({"trainable_token_indices": {"embed_tokens": [5, 7], "lm_head": [5, 9]}}),
    "grown tables": stays({}, added=3),
    "grown tables without a tokenizer": stays({}, added=3, tokenizer=False),
    "grown whole tables": stays({"modules_to_save": ["embed_tokens", "lm_head"]}, added=3),
    "rows of added tokens": Kind({"trainable_token_indices": [2560, 2561, 2562]}, added=3),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("origins")


def base_of(root: Path, architecture: str, tied: bool) -> Path:
    """A random base of weights that are far from zero, with the toy's tokenizer."""
    folder = root / f"{architecture}-{tied}"
    if not folder.exists():
        torch.manual_seed(0)
        sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
        sizes |= dict(moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2) if "moe" in architecture else {}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
            architecture, vocab_size=2560, num_key_value_heads=2, tie_word_embeddings=tied, bos_token_id=None,
            eos_token_id=None, **sizes
        ))  # fmt: skip
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.1)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(TINY / ("llama" if architecture == "llama" else "qwen3")).save_pretrained(folder)
    return folder


def make(root: Path, name: str, tied: bool) -> tuple[Path, Path, torch.Tensor]:
    """Base, adapter and the logits of peft for both."""
    kind = KINDS[name]
    base, folder = base_of(root, kind.architecture, tied), root / f"{name}-{tied}".replace(" ", "_")
    tokenizer = AutoTokenizer.from_pretrained(base)

    def loaded():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if kind.added:
            model.resize_token_embeddings(len(tokenizer))
        return model

    tokenizer.add_tokens([f"<new {i}>" for i in range(kind.added)])
    if not folder.exists():
        torch.manual_seed(1)
        model = get_peft_model(loaded(), kind.peft)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(folder)
        if kind.drop:
            tensors = load_file(folder / "adapter_model.safetensors")
            save_file({n: t for n, t in tensors.items() if kind.drop not in n}, folder / "adapter_model.safetensors")
        if kind.tokenizer:
            tokenizer.save_pretrained(folder)
    return base, folder, logits(PeftModel.from_pretrained(loaded(), folder))


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(IDS).logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [False, True], ids=["two tables", "tied"])
@pytest.mark.parametrize("name", KINDS)
def test_prediction_and_merged_model_compute_what_peft_computes(root, name, tied):
    base, adapter, expected = make(root, name, tied)
    alone = logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    assert (alone - expected[..., : alone.shape[-1]]).abs().max() > 0.1
    folder = root / f"{adapter.name}-merged"
    assert merge_adapter(adapter, folder, model=str(base), dtype="float32")
    as_it_is = dict(dtype="float32", quantization="none", device="cpu")
    for model in (
        load_summarizer(str(base), str(adapter), **as_it_is).model,
        load_summarizer(str(base), str(adapter), **as_it_is, merge=False).model,
        AutoModelForCausalLM.from_pretrained(folder),
    ):
        torch.testing.assert_close(logits(model)[..., : expected.shape[-1]], expected, atol=1e-5, rtol=0)
    if tied and name in ("LoRA", "rows of tokens", "both tables, tied", "grown tables"):
        assert AutoConfig.from_pretrained(folder).tie_word_embeddings  # nothing was stored twice


UNREAD = {
    "IA3": Kind(IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[])),
    "LoHa": Kind(LoHaConfig(task_type="CAUSAL_LM", target_modules=LAYERS)),
    "VeRA": Kind(VeraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], save_projection=True)),
    "activated": Kind({"alora_invocation_tokens": [5, 6]}),
    "replicated layers": Kind({"layer_replication": [[0, 2], [1, 2]]}),
    "lora_bias": Kind({"lora_bias": True}),
    "fast PiSSA": Kind({"init_lora_weights": "pissa_niter_4"}),
    "LoRA-GA": Kind({"init_lora_weights": "lora_ga", "lora_ga_config": LoraGAConfig()}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_refused_before_the_base_is(root, name, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, name, UNREAD[name])
    base, adapter, _ = make(root, name, False)
    (shutil.copytree(base, tmp_path / "base") / "model.safetensors").unlink()
    for use in (lambda: load_summarizer(str(tmp_path / "base"), str(adapter), quantization="none"),
                lambda: merge_adapter(adapter, tmp_path / "merged", model=str(tmp_path / "base"))):  # fmt: skip
        with pytest.raises(InputError, match=r"only LoRA adapters are read|which is not read: give|no file holds"):
            use()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.goes_on])
def test_what_cannot_be_trained_further_is_told_how_to_go_on(root, name):
    base, adapter, _ = make(root, name, False)
    values = dict(
        adapter_path=str(adapter), model_name_or_path=str(base), model_revision="main", trust_remote_code=False
    )
    with pytest.raises(InputError, match=r"holds .* `dialsum merge` it, and train a new adapter on the merged model"):
        keep_lora(values, set())


@pytest.mark.filterwarnings("ignore")
def test_rows_of_tokens_on_tied_tables_are_not_trained_further(root):
    base, adapter, _ = make(root, "rows of tokens", True)
    values = dict(
        adapter_path=str(adapter), model_name_or_path=str(base), model_revision="main", trust_remote_code=False
    )
    with pytest.raises(InputError, match="holds rows of tokens, which the loss does not see where embeddings are tied"):
        keep_lora(values, set())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.goes_on])
def test_training_goes_on_from_what_peft_computes(root, name, tmp_path):
    base, adapter, expected = make(root, name, False)
    settings = {
        "model_name_or_path": base, "adapter_path": adapter, "train_file": sample(tmp_path, train=4) / "train.csv",
        "output_dir": tmp_path / "out", "dtype": "float32", "quantization": "none", "use_cpu": "true", "max_steps": 1,
        "effective_batch_size": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-9, "warmup_steps": 0,
        "save_strategy": "no", "eval_strategy": "no", "rouge_rows": 0, "optim": "adamw_torch", "disable_tqdm": "true",
        "load_best_model_at_end": "false",
    }  # fmt: skip
    train_sft({}, flags(settings))
    trained = load_summarizer(str(base), str(tmp_path / "out"), dtype="float32", quantization="none", device="cpu")
    torch.testing.assert_close(logits(trained.model)[..., : expected.shape[-1]], expected, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore")
def test_the_tokenizer_beside_an_adapter_is_its_own(root):
    base, adapter, _ = make(root, "grown tables", False)
    assert len(load_tokenizer(str(base), adapter_path=str(adapter))) == len(load_tokenizer(str(base))) + 3
