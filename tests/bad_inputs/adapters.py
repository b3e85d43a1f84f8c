"""Adapters, run records and checkpoints."""

import pickle
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.bad_inputs.case import Case, Place
from tests.bad_inputs.models import BASE, Exploit, changed, cut, file, in_place, without
from tests.conftest import TINY

PREDICT = f"predict {BASE} --output_dir {{out}}/run --adapter_path {{given}}/adapter"
SFT = (
    "sft_llama3b --use_cpu true --dtype float32 --quantization none --rouge_rows 0 --output_dir {out}/run "
    "--train_file {given}/test.csv --max_steps 1 --effective_batch_size 8 --model_name_or_path {toy}"
)
SOUP = "ensemble --adapter_paths {given}/adapter {given}/other --output_dir {out}/soup"
ON_BASE = "--model_name_or_path {given}/base"
ANOTHER = ("was trained on", "is another model (model_type llama and qwen3)", "leave --model_name_or_path out")
CONFIG, WEIGHTS, RECORD = "adapter_config.json", "adapter_model.safetensors", "dialsum.json"


def adapter(name: str, change, *says: str, command: str = PREDICT) -> Case:
    return Case(f"adapter: {name}", command, lambda place: change(place, place.adapter()), says)


def both(change):
    """The damaged adapter beside a sound one."""

    def make(place, folder):
        place.adapter("other")
        change(place, folder)

    return make


def pickled(name: str):
    def change(place, folder):
        (folder / WEIGHTS).unlink()
        (folder / name).write_bytes(pickle.dumps(Exploit(place.given / "owned")))

    return change


def tensors(change_one):
    """Every tensor through `change_one(name, tensor)` -> (name, tensor), or None to leave it out."""

    def change(place, folder):
        pairs = [change_one(name, tensor) for name, tensor in load_file(folder / WEIGHTS).items()]
        save_file(dict(pair for pair in pairs if pair), folder / WEIGHTS, {"format": "pt"})

    return change


def not_numbers(place, folder):
    tensors(lambda name, tensor: (name, tensor * float("nan")))(place, folder)


def of_another_base(place, folder):
    """An adapter of a model with more layers and wider ones."""
    wider = tensors(lambda name, tensor: (name, tensor.repeat(1, 2) if "lora_A" in name else tensor.repeat(2, 1)))
    wider(place, folder)


def with_base(toy: str | None = None, **config):
    """Another base beside the adapter: a toy of the package, or the adapter's own with other values in its config."""

    def change(place, folder):
        base = Path(shutil.copytree(TINY / toy, place.given / "base")) if toy else place.base()
        changed("config.json", **config)(place, base)

    return change


def of_earlier_versions(flags: str):
    """A checkpoint that has no run record, with this `run.json`."""

    def change(place, folder):
        without(RECORD)(place, folder)
        file("run.json", flags)(place, folder)

    return change


def checkpoint(name: str, make, *says: str, resume: str = "{given}/checkpoint-1") -> Case:
    return Case(f"checkpoint: {name}", f"{SFT} --resume_from_checkpoint {resume}", make, says)


def an_old_run(place: Place) -> None:
    (place.out / "run" / "adapter_config.json").write_text("{}")


HEADER = (1 << 40).to_bytes(8, "little")

CASES = [
    Case("adapter: a file", PREDICT, {"adapter": "x"}, ("adapter", "folder")),
    Case("adapter: an empty folder", PREDICT, lambda p: (p.given / "adapter").mkdir(), (CONFIG, "training wrote")),
    Case("adapter: nowhere", PREDICT.replace("{given}/adapter", "{given}/nowhere/at/all"), {}, ("nowhere/at/all",)),
    Case(
        "adapter: a misspelt folder",
        PREDICT.replace("{given}/adapter", "{given}/adaptor"),
        lambda p: p.adapter(),
        ("adaptor: no such folder", "/adapter)", "training wrote"),
    ),
    Case(
        "adapter: a misspelt folder that could be a Hub id",
        PREDICT.replace("{given}/adapter", "runs/frist"),
        lambda p: p.adapter("runs/first"),
        ("runs/frist: no such folder (there is runs/first)", "HF_HUB_OFFLINE is set", "training wrote"),
    ),
    adapter("predicts on another base", with_base("qwen3"), *ANOTHER, command=f"{PREDICT} {ON_BASE}"),
    adapter(
        "continued on another architecture",
        with_base("qwen3"),
        *ANOTHER,
        command=f"{SFT} --adapter_path {{given}}/adapter {ON_BASE}",
    ),
    adapter("predicts on another vocabulary", with_base(vocab_size=4096), "vocab_size", command=f"{PREDICT} {ON_BASE}"),
    adapter("its config is no JSON", file(CONFIG, "{'r': 16}"), CONFIG, "JSON"),
    adapter("its config is a list", file(CONFIG, "[]"), CONFIG, "object"),
    adapter("its config is utf-16", file(CONFIG, '{"r": 16}'.encode("utf-16")), CONFIG, "UTF-8"),
    adapter("its config names another kind", changed(CONFIG, peft_type="PROMPT_TUNING"), "PROMPT_TUNING", "LoRA"),
    adapter("its config names no kind", changed(CONFIG, peft_type=None), "peft_type", "LoRA"),
    adapter("its rank is another", changed(CONFIG, r=4), "shape", "base"),
    adapter("its rank is a text", changed(CONFIG, r="sixteen"), "adapter_config.json"),
    adapter(
        "added tokens that the base lacks",
        changed(CONFIG, trainable_token_indices={"embed_tokens": [99999]}),
        "added tokens that",
        "tokenizer.json",
    ),
    adapter("layers that the base lacks", changed(CONFIG, target_modules=["no_proj"]), "no_proj", "base"),
    adapter("no weights", without(WEIGHTS), WEIGHTS, "training wrote"),
    adapter("weights as a pickle", pickled("adapter_model.bin"), "safetensors"),
    adapter("a pickle called safetensors", pickled(WEIGHTS), WEIGHTS, "safetensors"),
    adapter("weights cut off", cut(WEIGHTS, 4000), WEIGHTS, "safetensors"),
    adapter(
        "weights whose header is no JSON", file(WEIGHTS, (4).to_bytes(8, "little") + b"oops"), WEIGHTS, "safetensors"
    ),
    adapter("weights that are a folder", in_place(WEIGHTS, lambda path: path.mkdir()), WEIGHTS),
    adapter("weights of other shapes", of_another_base, "shape", "base"),
    adapter("weights for more layers", tensors(lambda name, t: (name.replace("layers.1.", "layers.7."), t)), "layers."),
    adapter("weights for one layer of two", tensors(lambda n, t: None if "layers.1." in n else (n, t)), "layers.1."),
    adapter("weights that are not numbers", not_numbers, WEIGHTS, "not finite"),
    adapter("its record is no JSON", file(RECORD, "{"), RECORD, "JSON"),
    adapter("its record lacks the base", changed(RECORD, base_model=None), RECORD, "base_model"),
    Case(
        "adapter: its record names a base that is gone",
        PREDICT,
        lambda place: changed(RECORD, base_model="/nowhere/base")(place, place.adapter()),
        ("adapter: its record names the base /nowhere/base", "no folder here", "name the base by --model_name_or_path"),
    ),
    Case(
        "adapter: its record names a relative folder of elsewhere",
        PREDICT,
        lambda place: changed(RECORD, base_model="models/base")(place, place.adapter()),
        ("its record names the base models/base", "name the base by --model_name_or_path"),
    ),
    adapter(
        "continued with weights cut off", cut(WEIGHTS, 4000), WEIGHTS, command=f"{SFT} --adapter_path {{given}}/adapter"
    ),
    adapter("continued on another base", of_another_base, "shape", command=f"{SFT} --adapter_path {{given}}/adapter"),
    adapter("a soup with one cut off", both(cut(WEIGHTS, 4000)), WEIGHTS, command=SOUP),
    adapter("a soup with one of another rank", both(changed(CONFIG, r=4)), "r = 4", command=SOUP),
    adapter("a soup with a config that is a list", both(file(CONFIG, "[]")), CONFIG, command=SOUP),
    adapter("merged with weights cut off", cut(WEIGHTS, 4000), WEIGHTS, command="merge {given}/adapter {out}/merged"),
    adapter(
        "merged to a dtype that is none",
        lambda place, folder: None,
        "--dtype",
        command="merge {given}/adapter {out}/merged --dtype int3",
    ),
    adapter("pushed with weights cut off", cut(WEIGHTS, 4000), WEIGHTS, command="push {given}/adapter me/x --base a/b"),
    adapter("pushed with a record that is a list", file(RECORD, "[]"), RECORD, command="push {given}/adapter me/x"),
    adapter(
        "pushed with scores that are no JSON",
        lambda place, folder: place.write("scores.json", "{"),
        "scores.json",
        command="push {given}/adapter me/x --base a/b --scores {given}/scores.json",
    ),
    checkpoint("nothing there", {}, "--resume_from_checkpoint", "checkpoint-1", "checkpoint"),
    checkpoint("a file", {"checkpoint-1": "x"}, "--resume_from_checkpoint", "checkpoint-1"),
    checkpoint("an empty folder", lambda p: (p.given / "checkpoint-1").mkdir(), "checkpoint-1"),
    checkpoint("a run without any", {}, "--resume_from_checkpoint", "no checkpoint", resume="true"),
    Case(
        "checkpoint: a folder of an earlier run", SFT, an_old_run, ("holds an earlier run", "--resume_from_checkpoint")
    ),
]
