"""The model card, its curve, and where a base came from."""

import json
from xml.etree import ElementTree

import pytest
import yaml
from huggingface_hub import constants

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.families.registry import CHECKPOINTS
from dialsum_trl.models.provenance import base_origin
from dialsum_trl.sharing.card import model_card
from dialsum_trl.sharing.chart import line_charts
from dialsum_trl.sharing.push import shared_files
from dialsum_trl.sharing.save import with_base

COMMIT = "0123456789" * 4
LLAMA = "Bllossom/llama-3.2-Korean-Bllossom-3B"


@pytest.fixture
def record(trained_adapter):
    return json.loads((trained_adapter / "dialsum.json").read_text(encoding="utf-8"))


def card(record, base=LLAMA, repo_id="tester/llama-dialsum", **changes):
    """Metadata and text of a card."""
    text = model_card(with_base({**record, **changes}, f"{base}@{COMMIT}"), repo_id, ADAPTER)
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


ADAPTER = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}


def test_the_metadata_names_base_licence_language_and_library(record):
    header, _ = card(record)
    assert (header["base_model"], header["base_model_relation"]) == (LLAMA, "adapter")
    assert (header["license"], header["language"], header["library_name"]) == ("llama3.2", "ko", "peft")


def test_the_model_index_holds_each_metric_with_its_configuration_and_interval(record):
    header, _ = card(record)
    metrics = header["model-index"][0]["results"][0]["metrics"]
    rouge = record["evaluation"]["rouge"]
    assert [metric["value"] for metric in metrics] == [rouge[key] for key in ("rouge1", "rouge2", "rougeL", "mean")]
    for metric in metrics:
        assert metric["args"]["tokenizer"] == "mecab"
        assert metric["args"]["interval95_of_mean"] == rouge["interval95_of_mean"]


def test_the_text_shows_scores_beside_the_floor_and_how_they_were_counted(record):
    _, body = card(record)
    assert "| this model |" in body
    assert "| constant line “#Person1#은 #Person2#에게 이야기한다.” |" in body
    assert "2 rows of dev.csv; mecab tokens (mecab-ko" in body


def test_the_text_holds_recipe_template_hash_and_versions(record):
    _, body = card(record)
    assert "| learning rate | 0.01 |" in body
    assert record["template_sha256"][:16] in body
    assert "trl 1.16" in body


def test_a_llama_derivative_says_so(record):
    assert "Built with Llama." in card(record)[1]
    assert "Built with Llama." not in card(record, base="Qwen/Qwen2.5-7B-Instruct")[1]


@pytest.mark.parametrize("base", CHECKPOINTS)
def test_every_listed_model_has_its_licence_and_what_it_wants_said(record, base):
    terms, (header, body) = CHECKPOINTS[base].license, card(record, base)
    assert (header["license"], header.get("license_name")) == (terms.id, terms.name)
    assert f"The licence of the base model ({terms.name or terms.id}) holds" in body
    assert terms.notice is None or f"\n{terms.notice}\n" in body


def test_a_run_without_evaluation_has_a_card_without_scores(record):
    header, body = card(record, evaluation=None, metrics={})
    assert "model-index" not in header
    assert "## Scores" not in body


def test_a_four_bit_adapter_is_loaded_as_it_was_trained(record):
    _, body = card(record, quantization="4bit", dtype="bfloat16")
    assert 'bnb_4bit_quant_type="nf4"' in body
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_a_hybrid_model_is_asked_without_reasoning_as_it_was_trained(record):
    assert "enable_thinking" not in card(record)[1]
    assert "enable_thinking=False\n" in card(record, enable_thinking=False)[1]


def test_a_reward_adapter_is_loaded_with_its_score_head(record):
    text = model_card(with_base(record, f"{LLAMA}@{COMMIT}"), "tester/reward", {**ADAPTER, "task_type": "SEQ_CLS"})
    assert "AutoModelForSequenceClassification" in text
    assert "pipeline_tag: text-classification" in text


def test_a_full_encoder_decoder_is_loaded_without_a_base(record):
    named = with_base({**record, "task_type": "SEQ_2_SEQ_LM", "method": "seq2seq fine-tuning"}, f"{LLAMA}@{COMMIT}")
    text = model_card(named, "tester/kobart", None)
    assert 'AutoModelForSeq2SeqLM.from_pretrained("tester/kobart"' in text
    assert "PeftModel" not in text
    assert "- seq2seq-fine-tuning" in text


def scores_file(path, **changes):
    rouge = {"rouge1": 40.0, "rouge2": 20.0, "rougeL": 38.0, "mean": 32.7, "sum": 98.0, "n": 499}
    config = {"tokenizer": "mecab", "masks": "split", "references": "mean", "tokens_by": "python-mecab-ko"}
    rouge |= {"interval95_of_mean": [31.9, 33.4], "references_per_row": [1, 1], "config": config}
    decoding = {"num_beams": 4, "do_sample": False, "temperature": 1.0, "max_new_tokens": 100}
    content = {"test_file": "/home/me/data/dev.csv", "rouge": rouge, "decoding": decoding, "hit_limit": 0.0, **changes}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_scores_of_a_predict_run_take_the_place_of_the_training_runs(trained_adapter, tmp_path):
    files = shared_files(trained_adapter, "a/b", "acme/toy", scores_file(tmp_path / "scores.json"))
    text = files["README.md"].decode()
    assert "| this model | 40.00 | 20.00 | 38.00 | 32.70 | 98.00 | 31.90 to 33.40 |" in text
    assert "on 499 rows of dev.csv" in text
    assert "/home/me" not in text
    assert "decoding: beam 4, at most 100 new tokens" in text


@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "No such file"), ("[]", "where an object was expected"), ("x", "not JSON"), ("{}", "no scores.json")],
)
def test_a_scores_file_that_is_none_is_one_clear_line(trained_adapter, tmp_path, content, match):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=match):
        shared_files(trained_adapter, "a/b", "acme/toy", path)


def test_scores_without_references_are_refused(trained_adapter, tmp_path):
    with pytest.raises(InputError, match="holds no ROUGE"):
        shared_files(trained_adapter, "a/b", "acme/toy", scores_file(tmp_path / "scores.json", rouge=None))


def snapshot(cache, repo="models--Qwen--Qwen2.5-7B-Instruct"):
    """A model in the layout of the Hub's cache."""
    folder = cache / repo / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (cache / repo / "refs").mkdir()
    (cache / repo / "refs" / "main").write_text(COMMIT)
    return folder


def test_a_snapshot_folder_of_the_cache_is_known_by_repository_and_commit(tmp_path, monkeypatch):
    folder = snapshot(tmp_path)
    origin = base_origin(str(folder))
    assert (origin.repo_id, origin.commit, origin.loads_by_name) == ("Qwen/Qwen2.5-7B-Instruct", COMMIT, False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert base_origin(str(folder)).loads_by_name


def test_a_hub_id_gets_the_commit_that_the_cache_holds(tmp_path, monkeypatch):
    snapshot(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert base_origin("Qwen/Qwen2.5-7B-Instruct").commit == COMMIT
    assert base_origin("Qwen/Qwen3-4B-Instruct-2507").commit is None


@pytest.mark.parametrize("name", ["Qwen2.5-7B-Instruct", "Qwen--Qwen2.5-7B-Instruct", "Qwen_Qwen2.5-7B-Instruct"])
def test_a_folder_with_the_name_of_a_verified_model_is_known(tmp_path, name):
    (tmp_path / name).mkdir()
    assert base_origin(str(tmp_path / name)).repo_id == "Qwen/Qwen2.5-7B-Instruct"


def test_a_folder_that_hf_download_wrote_keeps_its_commit(tmp_path):
    folder = tmp_path / "Qwen2.5-7B-Instruct"
    record = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    record.parent.mkdir(parents=True)
    record.write_text(f"{COMMIT}\netag\n1700000000.0\n")
    assert base_origin(str(folder)).commit == COMMIT


def test_another_folder_is_unknown(tmp_path):
    assert base_origin(str(tmp_path)).repo_id is None


def test_the_curve_is_well_formed_and_draws_a_line_for_each_series():
    svg = line_charts({"Loss <a>": {"training": [(1, 2.0), (2, 1.5)]}})
    root = ElementTree.fromstring(svg)
    lines = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if e.get("fill") == "none"]
    assert len(lines) == 1


def test_one_point_is_a_curve_too():
    assert "<circle" in line_charts({"Loss": {"training": [(5, 1.0)]}})


def test_the_folder_of_a_run_holds_card_and_curve_without_local_paths(trained_adapter, toy_base):
    text = (trained_adapter / "README.md").read_text(encoding="utf-8")
    assert str(toy_base.parent) not in text
    assert "training_curve.svg" in text
    assert ElementTree.fromstring((trained_adapter / "training_curve.svg").read_text(encoding="utf-8")) is not None
