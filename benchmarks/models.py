"""Architectures through the whole pipeline: tiny random models, SFT, resume, predict, merge.

    python -m benchmarks.models                # all of them, a few minutes
    python -m benchmarks.models llama mamba2   # some of them
    python -m benchmarks.models --write        # writes benchmarks/results/models.json and the tables of docs/models.md
    python -m benchmarks.models --checkpoints  # writes only the table of checkpoints: facts of families and the plans

Everything runs through the package's own functions, on a CPU in float32, with the toy tokenizer.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig

from benchmarks.record import RESULTS, write_json
from dialsum_trl.cli.merge import merge_adapter
from dialsum_trl.core.cards import CONTEXT_GIB
from dialsum_trl.core.settings.defaults import LORA_R, LORA_TARGETS, MAX_LENGTH
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.generation.decoding import can_decode
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import encode_prompts, summarize
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.models.base import auto_class_of
from dialsum_trl.models.families.registry import FAMILIES
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.estimate import known_shape, largest_packs, row_lengths
from dialsum_trl.training.plan.memory import plan

ROOT = Path(__file__).resolve().parents[1]
TOY, PAGE = ROOT / "dialsum_trl" / "toy", ROOT / "docs" / "models.md"
MARKS = r"(<!-- {}: benchmarks/models.py -->\n\n).*?(\n<!-- end of {} -->)"
HEADER = ("architecture", "attention", "SFT", "LoRA on", "predict", "resume", "merge")
CARDS, BATCH = (8, 16, 24), 64  # GiB; rows a step, as in recipes/sft.py
CHECKPOINT_HEADER = ("model", "type", "licence", "template has", "ends", "system text", "attention", "SFT",
                     *(f"{card} GiB" for card in CARDS))  # fmt: skip
ROWS, NEW_TOKENS, MERGE_TOLERANCE = 6, 12, 1e-4

SIZES = dict(
    vocab_size=2624, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=2048, bos_token_id=2548, eos_token_id=2557, pad_token_id=2552, initializer_range=0.2,
)  # fmt: skip
GROUPED = dict(num_key_value_heads=2)
HEADS = dict(GROUPED, head_dim=16)
WINDOW = dict(HEADS, sliding_window=32)  # shorter than the rows
EXPERTS = dict(HEADS, num_experts_per_tok=2, moe_intermediate_size=32)
LINEAR = dict(linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=16, linear_value_head_dim=16)
MAMBA = dict(mamba_n_heads=8, mamba_d_head=16, mamba_d_state=16, mamba_chunk_size=16, mamba_n_groups=1)
HYBRID = dict(layer_types=["sliding_attention", "full_attention"])
DELTA = dict(layer_types=["linear_attention", "full_attention"])
VISION = dict(depth=2, hidden_size=32, num_heads=2, intermediate_size=64, out_hidden_size=64, patch_size=14)
SIGLIP = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28,
              patch_size=14)  # fmt: skip
TIED = dict(tie_word_embeddings=True)

# model type -> its sizes beside SIZES
DECODERS = {
    "llama": dict(HEADS, **TIED),
    "hyperclovax": dict(HEADS, attention_multiplier=0.25),
    "qwen2": GROUPED,
    "qwen3": dict(HEADS, **TIED),
    "mistral": WINDOW,
    "ministral3": HEADS,
    "gemma2": dict(WINDOW, **HYBRID, query_pre_attn_scalar=16),
    "gemma3_text": dict(WINDOW, **HYBRID, query_pre_attn_scalar=16),
    "exaone4": dict(WINDOW, **HYBRID),
    "phi3": GROUPED,
    "olmo2": GROUPED,
    "smollm3": GROUPED,
    "granite": GROUPED,
    "glm4": HEADS,
    "cohere2": dict(WINDOW, **HYBRID),
    "starcoder2": GROUPED,
    "gpt_neox": {},
    "gpt2": {},
    "qwen3_moe": dict(EXPERTS, num_experts=4),
    "mixtral": dict(HEADS, num_local_experts=4),
    "gpt_oss": dict(WINDOW, **HYBRID, num_local_experts=4, num_experts_per_tok=2),
    "olmoe": dict(num_experts=4, num_experts_per_tok=2),
    "qwen3_next": dict(EXPERTS, **LINEAR, **DELTA, num_experts=4, shared_expert_intermediate_size=32),
    "lfm2": dict(GROUPED, layer_types=["conv", "full_attention"], block_multiple_of=16),
    "falcon_h1": dict(GROUPED, **MAMBA, mamba_d_ssm=128),
    "jamba": dict(GROUPED, num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, num_experts=2,
                  num_experts_per_tok=1, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False),
    "bamba": dict(GROUPED, **MAMBA, attn_layer_indices=[1]),
    "mamba2": dict(num_heads=8, head_dim=16, state_size=16, n_groups=1, chunk_size=16, num_attention_heads=None),
}  # fmt: skip
# multimodal: the sizes of the text part
WITH_PICTURES = {
    "gemma3": dict(WINDOW, **HYBRID, query_pre_attn_scalar=16),
    "qwen3_5": dict(HEADS, **LINEAR, **DELTA),
    "qwen2_5_vl": dict(GROUPED, rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3])),
    "qwen3_vl": HEADS,
    "mistral3": dict(HEADS, sliding_window=None),
}
ARCHITECTURES = (*DECODERS, *WITH_PICTURES)
KINDS = {"linear_attention": "linear", "mamba": "linear", "conv": "convolution", "sliding_attention": "sliding",
         "full_attention": "full", "attention": "full", "hybrid": "hybrid: linear beside full"}  # fmt: skip


def make_base(kind: str, folder: Path) -> Path:
    """A random model of that type with the toy tokenizer."""
    torch.manual_seed(0)
    if kind in DECODERS:
        sizes = {name: value for name, value in {**SIZES, **DECODERS[kind]}.items() if value is not None}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    else:
        text = {**SIZES, **WITH_PICTURES[kind]}
        vision = SIGLIP if kind == "gemma3" else dict(SIGLIP, head_dim=16) if kind == "mistral3" else VISION
        more = dict(mm_tokens_per_image=4) if kind == "gemma3" else {}
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.for_model(kind, text_config=text, vision_config=vision, **more)
        )
    if kind.startswith("gemma"):  # which scales embeddings by sqrt(64): its tied head would repeat the last token
        model.get_input_embeddings().weight.data /= 8
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TOY / "llama" / name, folder)
    return folder


def sft(base: Path, output: Path, **changes) -> str:
    """Two steps of SFT with a checkpoint after the first; what was printed."""
    settings = dict(
        model_name_or_path=str(base), dtype="float32", quantization="none", use_cpu=True, output_dir=str(output),
        train_file=str(TOY / "data" / "dev.csv"), max_steps=2, per_device_train_batch_size=4, effective_batch_size=4,
        learning_rate=1e-2, warmup_steps=0, optim="adamw_torch", save_steps=1, save_strategy="steps",
        disable_tqdm=True, lora_dropout=0.0, max_length=512, eval_strategy="no", rouge_rows=0, report_to="none",
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        train_sft({}, **settings | changes)
    return printed.getvalue()


def plain_summaries(base: Path, adapter: Path, prompts: list[list[int]], stop_ids: list[int], pad: int) -> list:
    """Token ids that transformers' `generate` writes for each prompt alone, without padding, peft's adapter on."""
    model = auto_class_of(str(base)).from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    found = []
    for prompt in prompts:
        ids = model.generate(
            input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS, eos_token_id=stop_ids, pad_token_id=pad,
        )[0, len(prompt) :].tolist()  # fmt: skip
        found.append(next((ids[:at] for at, token in enumerate(ids) if token in stop_ids), ids))
    return found


@torch.no_grad()
def logits(model, prompts: list[list[int]]) -> torch.Tensor:
    """Of the last position of each prompt."""
    return torch.stack([model(input_ids=torch.tensor([prompt])).logits[0, -1].float() for prompt in prompts])


def attention(config: PreTrainedConfig) -> str:
    """Kinds of its layers, in their order: one, or a hybrid of several."""
    text = config.get_text_config()
    types = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None)
    if not types:
        return (
            "linear" if text.model_type == "mamba2" else "sliding" if getattr(text, "sliding_window", None) else "full"
        )
    kinds = list(dict.fromkeys(KINDS[name] for name in types))
    return kinds[0] if len(kinds) == 1 else f"hybrid: {', '.join(kinds)}"


def path(printed: str) -> str:
    """The path that SFT took by what it printed, and why where it is not the fused one; without measured figures."""
    found = re.search(r"  rows +(.*)", printed)[1]
    if found == "packed, fused layers":
        return "fused"
    return re.sub(r" [(]logits differ[^)]*[)]", "", found).replace("packed, plain layers", "packed")


def targets(adapter: Path) -> str:
    """What has LoRA: names of linear layers, and of experts' parameters."""
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = {name.split(".lora_A")[0].rsplit(".", 1)[-1] for name in file.keys() if ".lora_A" in name}  # noqa: SIM118
    experts = json.loads((adapter / "adapter_config.json").read_text("utf-8"))["target_parameters"] or []
    names = sorted(names - {"experts", "base_layer"})
    if set(names) == set(LORA_TARGETS):
        return "the seven"
    return " ".join(f"`{name}`" for name in names + sorted(f"experts.{name.rsplit('.', 1)[-1]}" for name in experts))


def try_out(kind: str, folder: Path) -> dict[str, str]:
    """The row of an architecture, keyed by HEADER without its first; raises where a step fails or disagrees."""
    base, adapter, again = make_base(kind, folder / "base"), folder / "adapter", folder / "again"
    printed = sft(base, adapter)
    shutil.copytree(adapter / "checkpoint-1", again / "checkpoint-1")
    sft(base, again, resume_from_checkpoint=True)
    same = (adapter / "adapter_model.safetensors").read_bytes() == (again / "adapter_model.safetensors").read_bytes()
    assert same, "the resumed run ended with other weights"
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        still = [name for name in file.keys() if "lora_B" in name and not file.get_tensor(name).any()]  # noqa: SIM118
    assert not still, f"{len(still)} LoRA layers did not train, such as {still[:3]}"

    dialogues = read_dialogues(TOY / "data" / "dev.csv")["dialogue"][:ROWS]
    settings = GenerationSettings(num_beams=1, max_new_tokens=NEW_TOKENS, max_length=512)
    summarizer = load_summarizer(adapter_path=str(adapter))
    tokenizer, stops = summarizer.tokenizer, stop_token_ids(summarizer.tokenizer)
    prompts = encode_prompts(summarizer, dialogues, settings)
    ours = [summary.text for summary in summarize(summarizer, dialogues, settings, progress=False)]
    plain = plain_summaries(base, adapter, prompts, stops, tokenizer.pad_token_id)
    plain = [text.strip() for text in tokenizer.batch_decode(plain, skip_special_tokens=True)]
    assert ours == plain, f"other summaries than generate's: {ours} {plain}"
    assert len(set(ours)) > 1, f"all summaries are alike: {ours}"

    with contextlib.redirect_stdout(io.StringIO()):
        merge_adapter(adapter, folder / "merged", dtype="float32")
    merged = load_summarizer(str(folder / "merged"))
    expected, found = logits(summarizer.model, prompts), logits(merged.model, prompts)
    difference = ((expected - found).norm() / expected.norm()).item()
    assert difference < MERGE_TOLERANCE, f"merged logits differ by {difference:.1e}"
    assert [s.text for s in summarize(merged, dialogues, settings, progress=False)] == ours, "merged: other summaries"
    return {
        "attention": attention(summarizer.model.config), "SFT": path(printed), "LoRA on": targets(adapter),
        "predict": "own loop" if can_decode(summarizer.model) else "`generate`", "resume": "equal", "merge": "equal",
    }  # fmt: skip


def row_of(kind: str) -> dict[str, str]:
    """The row of an architecture, or what failed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return try_out(kind, Path(folder))
        except Exception as error:
            return {"SFT": f"**fails**: {type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def table(rows: dict[str, dict[str, str]], header: tuple[str, ...] = HEADER) -> str:
    """In Markdown, one line per architecture."""
    lines = [[f"`{kind}`", *(row.get(name, "") for name in header[1:])] for kind, row in rows.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, ["---"] * len(header), *lines))


def checkpoint_rows() -> dict[str, dict[str, str]]:
    """What the families say of each checkpoint, keyed by CHECKPOINT_HEADER without its first."""
    measured, rows = json.loads((RESULTS / "models.json").read_text("utf-8")), {}
    for family in FAMILIES:
        for checkpoint in family.checkpoints:
            kind = checkpoint.model_type or family.model_types[0]
            chat, found = None if checkpoint.own_chat else family.chat, measured.get(kind, {})
            rows[checkpoint.repo_id] = {
                "type": f"`{kind}`", "licence": checkpoint.license.name or checkpoint.license.id,
                "template has": f"`{chat.opens}`" if chat else "", "ends": f"`{chat.turn_end}`" if chat else "",
                "system text": ("own turn" if chat.system else "in the user's") if chat else "",
                "attention": found.get("attention", ""), "SFT": found.get("SFT", "").split(":")[0],
                **{f"{card} GiB": planned(checkpoint.repo_id, card) if checkpoint.sizes else "" for card in CARDS},
            }  # fmt: skip
    return {name.replace("|", "\\|"): {key: cell.replace("|", "\\|") for key, cell in row.items()}
            for name, row in rows.items()}  # fmt: skip


def planned(repo_id: str, gib: int) -> str:
    """GiB of QLoRA's plan for that model on a card of `gib`, and tokens of its micro-batches, or "no"."""
    shape = known_shape(repo_id, "main", LORA_R, "4bit")
    tokens = largest_packs(tuple(min(length, MAX_LENGTH) for length in row_lengths(None, repo_id, {})), BATCH, 1)
    best = plan(shape, tokens.__getitem__, list(tokens), gib - CONTEXT_GIB)
    return f"{best.gib + CONTEXT_GIB:.1f} / {best.tokens:,}" if best else "no"


def write_table(name: str, text: str) -> None:
    """Puts a table between its marks on the page."""
    page = PAGE.read_text(encoding="utf-8")
    marks = re.compile(MARKS.format(name, name), re.DOTALL)
    PAGE.write_text(marks.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Prints a row per architecture; the number of those that fail."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("kinds", nargs="*", metavar="architecture")
    parser.add_argument("--write", action="store_true", help="writes the rows to the JSON and to docs/models.md")
    parser.add_argument("--checkpoints", action="store_true", help="writes only the table of checkpoints")
    args = parser.parse_args(argv)
    if args.checkpoints:
        write_table("checkpoints", table(checkpoint_rows(), CHECKPOINT_HEADER))
        return 0
    rows = {}
    for kind in args.kinds or ARCHITECTURES:
        rows[kind] = row_of(kind)
        print(kind, rows[kind], flush=True)
    if args.write:
        if args.kinds:
            rows = json.loads((RESULTS / "models.json").read_text("utf-8")) | rows
        rows = {kind: rows[kind] for kind in ARCHITECTURES}
        write_json("models", rows)
        write_table("figures", table(rows))
        write_table("checkpoints", table(checkpoint_rows(), CHECKPOINT_HEADER))
    return sum("fails" in row["SFT"] for row in rows.values())


if __name__ == "__main__":
    raise SystemExit(main())
