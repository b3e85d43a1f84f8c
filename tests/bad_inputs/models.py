"""Base models, their tokenizers and their chat templates."""

import json
import pickle

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.bad_inputs.case import Case, Place
from tests.conftest import TINY

BASE = (
    "--test_file {given}/test.csv --use_cpu true --dtype float32 --quantization none --max_new_tokens 4 --num_beams 1"
)
PREDICT = f"predict {BASE} --output_dir {{out}}/run --model_name_or_path {{given}}/base"
SFT = (
    "sft_llama3b --use_cpu true --dtype float32 --quantization none --rouge_rows 0 --output_dir {out}/run "
    "--train_file {given}/test.csv --max_steps 1 --effective_batch_size 8 --model_name_or_path {given}/base"
)


class Exploit:
    """What a pickle can do: a file appears when it is read."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


def with_base(change):
    def make(place: Place):
        change(place, place.base())

    return make


def model(name: str, change, *says: str, command: str = PREDICT) -> Case:
    return Case(f"model: {name}", command, with_base(change), ("base", *says))


def file(name: str, content):
    return lambda place, base: (base / name).write_bytes(content.encode() if isinstance(content, str) else content)


def changed(name: str, **values):
    """Sets keys of a JSON file; None removes one."""

    def change(place, base):
        content = json.loads((base / name).read_text(encoding="utf-8")) | values
        (base / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


def without(*names: str):
    def change(place, base):
        for name in names:
            (base / name).unlink()

    return change


def cut(name: str, size: int):
    return lambda place, base: (base / name).write_bytes((base / name).read_bytes()[:size])


def in_place(name: str, put):
    """`put(path)` makes something else at the place of a file."""

    def change(place, base):
        (base / name).unlink()
        put(base / name)

    return change


def pickled(name: str):
    """Weights as a pickle under `name` and nowhere else."""

    def change(place, base):
        (base / "model.safetensors").unlink()
        (base / name).write_bytes(pickle.dumps(Exploit(place.given / "owned")))

    return change


def lacking(part: str):
    """Weights without the tensors whose name holds `part`."""

    def change(place, base):
        path = base / "model.safetensors"
        tensors = {name: tensor for name, tensor in load_file(path).items() if part not in name}
        save_file(tensors, path, {"format": "pt"})

    return change


def sharded(shard: str):
    """An index that names `shard` for every tensor."""

    def change(place, base):
        with safe_open(base / "model.safetensors", "pt") as weights:
            names = list(weights.keys())
        (base / "model.safetensors").unlink()
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, shard)}
        (base / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def remote_code(place, base):
    """A model that brings its own Python file, as some on the Hub do."""
    (base / "configuration_strange.py").write_text(f"open({str(place.given / 'owned')!r}, 'w')\n")
    automatic = {"AutoConfig": "configuration_strange.StrangeConfig"}
    changed("config.json", model_type="strange", auto_map=automatic)(place, base)


def named_template(place, base):
    """A named template whose name is a path, and no default one."""
    (base / "chat_template.jinja").unlink()
    templates = [{"name": "../../owned", "template": "x"}]
    changed("tokenizer_config.json", chat_template=templates)(place, base)


def template(name: str, text: str, *says: str, command: str = PREDICT) -> Case:
    return Case(f"template: {name}", command, with_base(file("chat_template.jinja", text)), ("base", "template", *says))


HEADER = (1 << 40).to_bytes(8, "little")
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
REMEDY = "--prompt_style instruction"

CASES = [
    Case(
        "model: an encoder-decoder for a recipe of decoders",
        SFT.replace("{given}/base", str(TINY / "bart")),
        {},
        ("is an encoder-decoder (bart)", "recipes/seq2seq_kobart.py"),
    ),
    Case(
        "model: a decoder for the recipe of encoder-decoders",
        "seq2seq_kobart --use_cpu true --dtype float32 --output_dir {out}/run --train_file {given}/test.csv "
        "--model_name_or_path {toy}",
        {},
        ("is a decoder (llama)", "recipes/sft_*.py"),
    ),
    Case(
        "model: an attention that nobody knows",
        SFT.replace("{given}/base", "{toy} --attn_implementation flash9"),
        {},
        ("--attn_implementation flash9", "leave it out"),
    ),
    Case(
        "model: layers for LoRA that it lacks",
        SFT.replace("{given}/base", "{toy} --lora_target_modules q_proj vproj"),
        {},
        ("--lora_target_modules vproj", "no such layers", "it has down_proj, gate_proj", "v_proj"),
    ),
    Case("model: a folder without anything", PREDICT, lambda p: (p.given / "base").mkdir(), ("base", "tokenizer")),
    Case(
        "model: a name that is nowhere",
        PREDICT.replace("{given}/base", "nobody/nothing"),
        {},
        ("nobody/nothing", "Hub"),
    ),
    model("config.json is missing", without("config.json"), "config.json"),
    model("config.json is no JSON", file("config.json", "{"), "config.json", "JSON"),
    model("config.json is cp949", file("config.json", '{"a": "한글"}'.encode("cp949")), "config.json"),
    model("config.json is a folder", in_place("config.json", lambda path: path.mkdir()), "config"),
    model("an architecture that nobody knows", changed("config.json", model_type="perceptron9"), "perceptron9"),
    model("no architecture", changed("config.json", model_type=None), "model_type"),
    model("a size that is a text", changed("config.json", hidden_size="large"), "hidden_size"),
    model("a size below zero", changed("config.json", intermediate_size=-4), "negative"),
    model("weights of another size", changed("config.json", intermediate_size=96), "weights", "size"),
    model("weights of fewer layers", changed("config.json", num_hidden_layers=3), "weights", "layers.2"),
    model("weights without a tensor", lacking("layers.1.mlp.up_proj"), "weights", "layers.1.mlp.up_proj"),
    model("no weights", without("model.safetensors"), "safetensors"),
    model("weights as a pickle", pickled("pytorch_model.bin"), "safetensors"),
    model("a pickle called safetensors", pickled("model.safetensors"), "model.safetensors", "safetensors"),
    model("weights cut off", cut("model.safetensors", 5000), "model.safetensors", "safetensors"),
    model("weights cut in their header", cut("model.safetensors", 100), "model.safetensors", "safetensors"),
    model("weights that are a folder", in_place("model.safetensors", lambda path: path.mkdir()), "model.safetensors"),
    model("an index without its shard", sharded("model-00001-of-00001.safetensors"), "model-00001-of-00001"),
    model(
        "a shard without its index",
        lambda place, base: (base / "model.safetensors").rename(base / "model-00001-of-00001.safetensors"),
        "holds model-00001-of-00001.safetensors and no model.safetensors.index.json",
    ),
    model("an index that names a file elsewhere", sharded("../../secret.safetensors"), "not in its folder"),
    model("an index that is no JSON", file("model.safetensors.index.json", "{"), "index", command=PREDICT),
    model("Python code that comes with it", remote_code, "trust_remote_code"),
    model("no tokenizer", without("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    model("tokenizer.json is no JSON", file("tokenizer.json", '{"version": '), "tokenizer"),
    model("tokenizer.json is cut off", cut("tokenizer.json", 3000), "tokenizer"),
    model("tokenizer.json is a folder", in_place("tokenizer.json", lambda path: path.mkdir()), "tokenizer"),
    model("tokenizer_config.json is no JSON", file("tokenizer_config.json", "{,}"), "tokenizer"),
    model("a tokenizer of another kind", file("tokenizer.json", '{"model": {"type": "Nothing"}}'), "tokenizer"),
    model("an end-of-turn token that is a number", changed("tokenizer_config.json", eos_token=5), "tokenizer"),
    model(
        "a template named to leave the folder",
        named_template,
        "template",
        command=SFT,
    ),
    template("that raises", "{{ raise_exception('only for tools') }}", "only for tools", REMEDY),
    template("that is no Jinja", "{% for message in messages %}{{ message", REMEDY),
    template("that calls what is not there", "{{ messages.nothing() }}", REMEDY),
    template("that adds text and numbers", "{{ messages[0]['content'] + 1 }}", REMEDY),
    template("that divides by zero", "{{ 1 // 0 }}", REMEDY),
    template("that climbs out of its sandbox", ESCAPE, "unsafe", REMEDY),
    template("that opens a file", "{{ cycler.__init__.__globals__.os.popen('touch owned') }}", "unsafe", REMEDY),
    template("with an endless range", "{% for i in range(10 ** 9) %}x{% endfor %}", "range", REMEDY),
    template("that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", REMEDY),
    template("that writes the prompt last", "{{ messages[-1]['content'] }}<|eot_id|>", REMEDY, command=SFT),
]
