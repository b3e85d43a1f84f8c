"""Preference pairs: which samples become pairs, unfaithful versions, and runs that go on where they stopped."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.pairs import read_pairs
from dialsum_trl.generation.samples import read_samples
from dialsum_trl.rl.faithfulness import KINDS
from dialsum_trl.rl.pair_making import best_and_worst, make_pairs
from dialsum_trl.stages.jobs.preferences import check_unseen
from dialsum_trl.stages.preferences import make_preferences
from tests import phase3_toys as toys

SUMMARY = "#Person1#은 #Person2#에게 3시에 만나기로 한다고 말한다."


def test_best_against_worst_when_they_differ_enough():
    found, reason = best_and_worst(["가나다", "가나라", "가나마"], [0.3, 0.9, 0.5], 0.1, 0.2)
    assert found == ("가나라", "가나다", pytest.approx(0.6)) and reason is None


def test_samples_of_other_lengths_are_passed_over():
    found, _ = best_and_worst(["가" * 10, "나" * 30, "다" * 11], [0.9, 0.1, 0.5], 0.1, 0.2)
    assert found == ("가" * 10, "다" * 11, pytest.approx(0.4))


@pytest.mark.parametrize(
    ("samples", "scores", "reason"),
    [
        (["가", "가"], [0.5, 0.5], "all samples alike"),
        (["가", ""], [0.5, 0.0], "all samples alike"),
        (["가", "나"], [0.5, 0.45], "margin below 0.10"),
        (["가" * 10, "나" * 30], [0.9, 0.1], "lengths differ by more than 20 %"),
    ],
)
def test_a_row_without_a_pair_says_why(samples, scores, reason):
    assert best_and_worst(samples, scores, 0.1, 0.2) == (None, reason)


def test_a_sample_with_a_broken_character_is_rejected_and_never_chosen():
    found, _ = best_and_worst(["가나다\ufffd", "가나다", "가나\ufffd"], [0.9, 0.6, 0.1], 0.1, 0.4)
    assert found == ("가나다", "가나\ufffd", pytest.approx(0.5))
    assert best_and_worst(["가\ufffd", "나\ufffd"], [0.9, 0.1], 0.1, 0.2) == (None, "broken characters in all samples")


def rows_and_samples(n):
    """Summaries of either speaker and of many hours; were all alike, a version would show in its form."""
    ways = (SUMMARY, "#Person2#는 #Person1#에게 3시에 만나기로 한다고 말한다.")
    good = [ways[i % 2].replace("3시", f"{i // 2 % 9 + 1}시") for i in range(n)]
    rows = [{"fname": f"r{i}", "dialogue": f"#Person1#: {i}", "summaries": [text]} for i, text in enumerate(good)]
    samples = [[text.replace("만나기로 한다고", "안 온다고 해서"), text.replace("말한다", "전한다")] for text in good]
    return rows, samples, [[0.4, 0.8]] * n


def pairs_of(n=100, **changes):
    settings = dict(margin=0.1, tolerance=0.2, reference_share=0.3, faithfulness_share=0.2, seed=0) | changes
    return make_pairs(*rows_and_samples(n), lambda texts, references: [0.5] * len(texts), **settings)


def test_references_and_unfaithful_versions_keep_to_their_shares():
    pairs, dropped, _ = pairs_of()
    kinds = [pair["kind"] for pair in pairs]
    assert kinds.count("samples") == 100 and not dropped
    assert kinds.count("reference") / len(kinds) == pytest.approx(0.3, abs=0.01)
    assert sum(kind in KINDS for kind in kinds) / len(kinds) == pytest.approx(0.2, abs=0.01)


def test_pairs_follow_from_the_seed_alone():
    assert pairs_of(20) == pairs_of(20)
    assert pairs_of(20, seed=1) != pairs_of(20)


def test_versions_that_show_in_their_form_are_left_out_and_counted():
    rows, _, scores = rows_and_samples(40)
    alike = [[SUMMARY, SUMMARY.replace("3시에", "10분 뒤에 와서")]] * 40
    pairs, _, told = make_pairs(rows, alike, scores, lambda texts, references: [0.5] * len(texts), margin=0.1,
                                tolerance=0.2, reference_share=0.3, faithfulness_share=0.2, seed=0)  # fmt: skip
    assert told["speakers"] == 39  # of forty times the same, one is told by no other
    assert sum(pair["kind"] == "speakers" for pair in pairs) <= 1


def test_a_reference_is_never_set_against_a_sample_that_is_as_good():
    rows, samples, _ = rows_and_samples(10)
    pairs, _, _ = make_pairs(rows, samples, [[0.95, 0.99]] * 10, None, margin=0.1, tolerance=0.2, reference_share=0.3,
                          faithfulness_share=0, seed=0)  # fmt: skip
    assert pairs == []


def test_a_sampled_nul_is_in_no_pair_for_no_reader_takes_it():
    rows, samples, scores = rows_and_samples(10)
    spoilt = [[texts[0] + "\0", texts[1]] for texts in samples]
    pairs, dropped, _ = make_pairs(rows, spoilt, scores, lambda texts, _: [0.5] * len(texts), margin=0.1, tolerance=0.2,
                                reference_share=0.3, faithfulness_share=0.2, seed=0)  # fmt: skip
    assert pairs == [] and dropped == {"all samples alike": 10}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preferences")
    base = toys.make_base(folder / "base")
    adapter = toys.make_adapter(base, folder / "sft")
    (folder / "rows.csv").write_text(
        "fname,dialogue,summary\n"
        + "".join(f"r{i},#Person1#: 방이 {i}개 있나요?,방이 {i}개 있다.\n" for i in range(8)),
        encoding="utf-8",
    )
    return {"base": base, "sft": adapter, "rows": folder / "rows.csv"}


def settings(folders, output_dir, **changes):
    return {
        "adapter_path": folders["sft"],
        "model_name_or_path": folders["base"],
        "dtype": "float32",
        "quantization": "none",
        "use_cpu": "true",
        "train_file": folders["rows"],
        "output_dir": output_dir,
        "samples": 16,
        "max_new_tokens": 3,  # random bytes: of few of them some are whole characters
        "rouge_tokenizer": "char",
        "margin": 0.01,
        "length_tolerance": 0.9,
        **changes,
    }


def test_sampled_pairs_are_read_by_the_reward_model(folders, tmp_path):
    figures = make_preferences({}, toys.flags(settings(folders, tmp_path)))
    pairs = read_pairs(tmp_path / "pairs.jsonl")
    assert len(pairs) == figures["pairs"] > 0
    assert {pair["kind"] for pair in pairs} <= {"samples", "reference", *KINDS}


def test_a_stopped_run_goes_on_and_ends_with_the_same_pairs(folders, tmp_path):
    make_preferences({}, toys.flags(settings(folders, tmp_path / "whole")))
    make_preferences({}, toys.flags(settings(folders, tmp_path / "died")))
    samples = tmp_path / "died" / "samples.jsonl"
    samples.write_text(
        samples.read_text(encoding="utf-8")[: len(samples.read_text(encoding="utf-8")) // 2], encoding="utf-8"
    )
    make_preferences({}, toys.flags(settings(folders, tmp_path / "died")))
    for name in ("samples.jsonl", "pairs.jsonl"):
        assert (tmp_path / "died" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.parametrize("change", [{"temperature": 0.7}, {"max_length": 300}])
def test_samples_of_other_settings_are_not_mixed(folders, tmp_path, change):
    make_preferences({}, toys.flags(settings(folders, tmp_path)))
    with pytest.raises(InputError, match=next(iter(change))):
        make_preferences({}, toys.flags(settings(folders, tmp_path, **change)))


def test_samples_of_an_adapter_that_was_trained_again_in_its_folder_are_not_mixed(folders, tmp_path):
    adapter = shutil.copytree(folders["sft"], tmp_path / "adapter")
    again = toys.flags(settings(folders, tmp_path / "out", adapter_path=adapter))
    make_preferences({}, again)
    weights = {name: tensor + 1 for name, tensor in load_file(adapter / "adapter_model.safetensors").items()}
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="drawn with adapter = weights"):
        make_preferences({}, again)


def test_samples_of_another_dialogue_are_not_used(folders, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(folders["rows"].read_text(encoding="utf-8"), encoding="utf-8")
    again = toys.flags(settings(folders, tmp_path / "out", train_file=rows))
    make_preferences({}, again)
    rows.write_text(rows.read_text(encoding="utf-8").replace("방이 3개 있나요?", "방이 없나요?"), encoding="utf-8")
    with pytest.raises(InputError, match=r"samples\.jsonl: line 4: r3 was sampled from another dialogue"):
        make_preferences({}, again)


def test_samples_and_pairs_of_another_file_are_not_replaced(folders, tmp_path):
    rows = tmp_path / "rows.csv"
    content = folders["rows"].read_text(encoding="utf-8")
    rows.write_text(content, encoding="utf-8")
    again = toys.flags(settings(folders, tmp_path / "out", train_file=rows))
    make_preferences({}, again)
    pairs = (tmp_path / "out" / "pairs.jsonl").read_bytes()
    rows.write_text(content.replace("r3,", "s3,"), encoding="utf-8")
    with pytest.raises(InputError, match="r3 is no row of this --train_file; choose another --output_dir"):
        make_preferences({}, again)
    assert (tmp_path / "out" / "pairs.jsonl").read_bytes() == pairs


def test_samples_of_an_older_version_are_refused_in_one_line(folders, tmp_path):
    earlier = {"adapter": str(folders["sft"]), "samples": 16, "temperature": 1.0}
    (tmp_path / "settings.json").write_text(json.dumps(earlier), encoding="utf-8")
    (tmp_path / "samples.jsonl").write_text('{"fname": "r0", "summaries": ["a"]}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"its samples were drawn with top_p = None.*choose another --output_dir"):
        make_preferences({}, toys.flags(settings(folders, tmp_path)))


def test_rows_the_adapter_was_trained_on_are_refused(folders, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "dialsum.json").write_text(json.dumps({"data": {"file": "rows.csv"}}))
    with pytest.raises(InputError, match="write_folds"):
        check_unseen(str(adapter), "somewhere/rows.csv")
    check_unseen(str(adapter), "somewhere/other.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 1}, "samples"),
        ({"reference_share": 0.4}, "0.3"),
        ({"margin": 9}, "--margin 9.0: must be at least 0 and at most 1"),
        ({"length_tolerance": -3}, "--length_tolerance -3.0: must be at least 0"),
    ],
)
def test_wrong_settings_are_named(folders, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        make_preferences({}, toys.flags(settings(folders, tmp_path, **change)))


def test_a_unicode_line_separator_inside_a_text_ends_neither_pair_nor_sample(tmp_path):
    pair = {"prompt": "#Person1#: 안녕", "chosen": "인사\u2028한다", "rejected": "모른다"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_pairs(tmp_path / "pairs.jsonl")[0]["chosen"] == "인사\u2028한다"
    line = json.dumps({"fname": "a", "summaries": ["인사\u2028한다"]}, ensure_ascii=False)
    (tmp_path / "samples.jsonl").write_text(f'{line}\n{{"fname": "b", "summ', encoding="utf-8")
    assert read_samples(tmp_path / "samples.jsonl") == {"a": ["인사\u2028한다"]}
