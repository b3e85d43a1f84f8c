"""Whatever bytes a reader meets, it gives a valid result or one line (`InputError`), and nothing else ever.

The default suite tries a fixed handful of examples a reader; `-m slow` tries new ones for a fixed time.
"""

import io
import json
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DecodingArguments, ModelArguments, PredictArguments
from dialsum_trl.core.settings.resolve import resolve
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.core.settings.yaml_file import read_config
from dialsum_trl.data.dialogues import iter_rows
from dialsum_trl.data.pairs import read_pairs
from dialsum_trl.data.predictions import read_system
from dialsum_trl.data.submission import read_predictions, write_submission
from dialsum_trl.models.adapter_settings import adapter_settings
from dialsum_trl.models.files import check_model_files, tensor_shapes
from dialsum_trl.sharing.report.runs import read_run
from dialsum_trl.stages.common.names import STAGES

SECONDS = 6  # a reader, in the slow suite
CSV = 'fname,dialogue,summary\na,"#Person1#: 안녕,\n#Person2#: 네",요약\nb,#Person1#: \'=1,"말 ""하나"""\n'.encode()
PAIR = {"prompt": "#Person1#: 안녕", "chosen": "인사", "rejected": "모름", "margin": 0.2, "kind": "samples"}
ROW = {"fname": "a", "dialogue": "#Person1#: 안녕", "summary": "인사", "topic": None, "tokens": 3, "hit_limit": False}
YAML = b"seed: 3\nlora_target_modules: [q_proj, v_proj]\npredict:\n  num_beams: 1\n  top_p: 0.9\nadapter_path: ~\n"

junk = st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
names = st.sampled_from([*ROW, *PAIR, "log_history", "step", "settings", "base_model", "dtype", "r", "weight_map", ""])
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["4bit", "LORA"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(names | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def mutated(draw, whole: bytes) -> bytes:
    """`whole` with a few pieces cut, doubled, moved or replaced."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        put = draw(
            st.one_of(junk, st.just(b""), st.just(content[start:end] * 2), st.sampled_from([b'"', b"\n", b"\0", b","]))
        )
        content = content[:start] + put + content[end:]
    return content


def near(whole: bytes):
    """Bytes of all kinds, most of them close to something valid."""
    return st.one_of(mutated(whole), mutated(whole), st.just(whole), junk)


def lines(whole: dict):
    """JSONL: rows with values of any kind, or text close to JSONL."""
    # keys are left out too, and most rows are as they should be, so that rows behind them are met
    rows = st.just(whole) | st.fixed_dictionaries({}, optional={n: st.just(v) | values for n, v in whole.items()})
    text = st.lists(rows | values, max_size=3).map(
        lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode()
    )
    return st.one_of(text, near((json.dumps(whole, ensure_ascii=False) + "\n").encode()))


def objects(whole: dict):
    """A JSON file: `whole` with some values replaced, or text close to it."""
    changed = st.dictionaries(st.sampled_from(sorted(whole)) | names, values, max_size=3)
    return st.one_of(changed.map(lambda more: json.dumps({**whole, **more}).encode()), near(json.dumps(whole).encode()))


@dataclass(frozen=True)
class Reader:
    """`read(folder, content)` meets `content`; it returns what a valid result must be true of."""

    name: str
    content: st.SearchStrategy
    read: Callable[[Path, bytes], object]


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def rows(suffix):
    def read(folder, content):
        found = list(iter_rows(put(folder, f"a{suffix}", content)))
        return found and all(row["fname"] and row["dialogue"] and row["summaries"] for row in found)

    return read


def predictions(suffix):
    def read(folder, content):
        found = read_predictions(put(folder, f"p{suffix}", content))
        write_submission(folder / "again.csv", list(found), list(found.values()))  # what was read can be written
        again = read_predictions(folder / "again.csv")
        return again == {name: text.replace("\0", "") for name, text in found.items()}

    return read


def template(folder, content):
    path = put(folder, "t.csv", content)
    write_submission(folder / "s.csv", ["a", "b"], ["=하나", "둘"], path)
    return read_predictions(folder / "s.csv") == {"a": "=하나", "b": "둘"}


def pairs(folder, content):
    return all(
        pair["prompt"] and pair["chosen"] != pair["rejected"] for pair in read_pairs(put(folder, "p.jsonl", content))
    )


def config(folder, content):
    path = put(folder, "c.yaml", content)
    stage = Stage("predict", groups=(ModelArguments, DecodingArguments, PredictArguments), sections=STAGES)
    parsed = resolve(stage, {}, ["--config", str(path)], SimpleNamespace)
    return isinstance(read_config(str(path), STAGES), dict) and not parsed[0].trust_remote_code


def system(folder, content):
    put(folder, "submission.csv", CSV)
    put(folder, "predictions.jsonl", content)
    return isinstance(read_system("x", folder).tokens, dict)


def run(folder, content):
    put(folder, "trainer_state.json", content)
    put(folder, "dialsum.json", b'{"settings": {}}')
    return isinstance(read_run("x", folder).plots, list)


def record(folder, content):
    put(folder, "dialsum.json", content)
    return {"dtype", "quantization"} <= adapter_settings(str(folder)).keys()


def flags(folder, content):
    put(folder, "run.json", content)
    return isinstance(adapter_settings(str(folder)), dict)


def adapter_config(folder, content):
    put(folder, "adapter_config.json", content)
    return isinstance(adapter_settings(str(folder)), dict)


def weights(folder, content):
    return isinstance(tensor_shapes(put(folder, "w.safetensors", content)), dict)


def index(folder, content):
    put(folder, "config.json", b"{}")
    put(folder, "model-00001-of-00001.safetensors", small_weights())
    put(folder, "model.safetensors.index.json", content)
    return check_model_files(folder) is None


def small_weights() -> bytes:
    header = b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"__metadata__":{"format":"pt"}}'
    return len(header).to_bytes(8, "little") + header + bytes(16)


STATE = {
    "log_history": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "eval_rouge_mean": 3.0}],
    "best_metric": None,
}
RECORD = {
    "base_model": "a/b",
    "base_revision": "main",
    "dtype": "float32",
    "quantization": "none",
    "prompt_style": "native",
}
CONFIG = {"peft_type": "LORA", "r": 16, "base_model_name_or_path": "a/b", "target_modules": ["q_proj"]}
INDEX = {"metadata": {"total_size": 1}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
READERS = [
    Reader("rows of a CSV", near(CSV), rows(".csv")),
    Reader("rows of a JSONL", lines(ROW), rows(".jsonl")),
    Reader("predictions of a CSV", near(CSV), predictions(".csv")),
    Reader("predictions of a JSONL", lines(ROW), predictions(".jsonl")),
    Reader("a submission template", near(b"fname,summary\na,\nb,x\n"), template),
    Reader("preference pairs", lines(PAIR), pairs),
    Reader("a YAML config", near(YAML), config),
    Reader("a folder of predictions", lines(ROW), system),
    Reader("a training log", objects(STATE), run),
    Reader("a run record", objects(RECORD), record),
    Reader("the flags of an earlier checkpoint", objects({"flags": RECORD}), flags),
    Reader("an adapter's config", objects(CONFIG), adapter_config),
    Reader("safetensors", near(small_weights()), weights),
    Reader("an index of shards", objects(INDEX), index),
]


@pytest.fixture
def folder(tmp_path, trained_adapter):
    """A folder with an adapter's weights and config, for the readers that need them beside what is fuzzed."""
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (tmp_path / name).write_bytes((trained_adapter / name).read_bytes())
    return tmp_path


def try_examples(reader: Reader, folder: Path, examples: int, number: int) -> int:
    """Feeds examples to a reader, drawn by `number`; returns how many were read as valid."""
    valid = 0

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(reader.content)
    def feed(content):
        nonlocal valid
        try:
            with redirect_stdout(io.StringIO()):
                assert reader.read(folder, content)
            valid += 1
        except InputError as error:
            assert str(error) and "\n" not in str(error)

    feed()
    return valid


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_gives_a_valid_result_or_one_line(reader, folder):
    assert try_examples(reader, folder, examples=40, number=0), "no example was valid: the strategy has lost its way"


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_gives_a_valid_result_or_one_line_for_seconds_on_end(reader, folder):
    stop, first = time.monotonic() + SECONDS, time.time_ns()  # the failing seed is printed by hypothesis
    number = first
    while time.monotonic() < stop:
        try_examples(reader, folder, examples=100, number=number)
        number += 1
    assert number > first
