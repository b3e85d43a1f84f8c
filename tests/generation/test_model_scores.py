"""BERTScore, BLEURT and NIKL's total on tiny random models; what is said of a model that is another one."""

import io
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import given
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BertTokenizerFast, RemBertConfig, RemBertForSequenceClassification

from dialsum_trl.cli.app import app
from dialsum_trl.core.settings.flags import MetricArguments
from dialsum_trl.generation.model_scores import bertscore, bleurt, load_scorers, model_scores
from dialsum_trl.metrics.rouge import RougeConfig, score
from dialsum_trl.metrics.tokens import tokenize
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.report import report
from tests.row_files import fuzz, message, sample, text, write_csv

TEXTS = [
    "지은이 사과를 먹었다.",
    "민수가 배를 먹었다",
    "지은과 민수가 만났다",
    "사과",
    "오늘 사과를 먹은 민수를 만났다",
]
REFERENCES = [[TEXTS[1]], [TEXTS[2], TEXTS[0]], [TEXTS[2]], [TEXTS[4]], [TEXTS[0]]]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    letters = sorted(set("".join(TEXTS)) - {" "})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=16, num_hidden_layers=10, num_attention_heads=2, intermediate_size=16, initializer_range=0.05
    )
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=24, **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bleurt_20(tmp_path_factory):
    """A folder as lucadiliello/BLEURT-20 is one, and the model of its weights."""
    folder, pieces = tmp_path_factory.mktemp("bleurt"), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 9), model_writer=pieces, vocab_size=50, hard_vocab_limit=False, pad_id=0,
        unk_id=1, bos_id=-1, eos_id=-1, user_defined_symbols=["[CLS]", "[SEP]"], minloglevel=2,
    )  # fmt: skip
    (folder / "spm.model").write_bytes(pieces.getvalue())
    sizes = dict(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    sizes |= dict(max_position_embeddings=24, initializer_range=0.5)
    torch.manual_seed(0)
    ends = dict(bos_token_id=None, eos_token_id=None)
    model = RemBertForSequenceClassification(
        RemBertConfig(**sizes, **ends, input_embedding_size=8, num_labels=1)
    ).eval()
    (folder / "config.json").write_text(json.dumps({"model_type": "bleurt", "embedding_size": 8, **sizes}))
    names = {
        name: name.replace("rembert.", "bleurt.").replace("embedding_hidden_mapping_in", "embedding_projection")
        for name in model.state_dict()
    }
    save_file({names[name]: tensor for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    return folder, model


def scored(scorer, candidates, references):
    with torch.inference_mode():
        return scorer(candidates, references).tolist()


# BERTScore


def test_bertscore_is_the_f1_of_the_most_similar_tokens(bert):
    """Zhang et al. (ICLR 2020), equations 1 to 3, one pair at a time."""
    tokenizer, model = BertTokenizerFast.from_pretrained(bert), BertModel.from_pretrained(bert).eval()

    def vectors(line):
        with torch.inference_mode():
            states = model(**tokenizer(line, return_tensors="pt"), output_hidden_states=True).hidden_states[9][0]
        return states / states.norm(dim=1, keepdim=True)

    expected = []
    for candidate, references in zip(TEXTS, REFERENCES, strict=True):
        similar = vectors(candidate) @ vectors(references[0]).T
        precision, recall = similar.max(1).values[1:-1].mean(), similar.max(0).values[1:-1].mean()
        expected.append(float(2 * precision * recall / (precision + recall)))
    found = scored(bertscore(bert, "cpu"), TEXTS, [references[0] for references in REFERENCES])
    assert found == pytest.approx(expected, abs=1e-6)
    assert len({round(value, 3) for value in found}) == len(found)


def test_a_text_is_as_similar_to_itself_as_can_be_and_an_empty_one_to_nothing(bert):
    scorer = bertscore(bert, "cpu")
    assert scored(scorer, [*TEXTS, "", "  ", TEXTS[0]], [*TEXTS, TEXTS[0], TEXTS[0], ""]) == pytest.approx(
        [1] * 5 + [0] * 3
    )


def test_a_text_longer_than_the_model_is_cut(bert):
    assert scored(bertscore(bert, "cpu"), [TEXTS[0] * 9], [TEXTS[0] * 5]) == pytest.approx([1])


def test_a_model_with_fewer_layers_is_one_line(tmp_path):
    BertConfig(num_hidden_layers=3).save_pretrained(tmp_path)
    assert "has 3 layers; layer 9 is compared" in message(bertscore, str(tmp_path), "cpu")


# BLEURT


def test_bleurt_reads_the_reference_then_the_candidate(bleurt_20):
    """The input of google-research/bleurt: two segments, the longer of which is cut until both fit."""
    folder, model = bleurt_20
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    references = [TEXTS[4] * 3, TEXTS[0], TEXTS[1]]
    candidates = [TEXTS[0], TEXTS[1], TEXTS[4] * 3]
    expected = []
    for reference, candidate in zip(references, candidates, strict=True):
        sides = [pieces.encode(side, out_type=str) for side in (reference, candidate)]
        while sum(map(len, sides)) > 24 - 3:
            max(sides[::-1], key=len).pop()
        tokens = ["[CLS]", *sides[0], "[SEP]", *sides[1], "[SEP]"]
        segments = [0] * (len(sides[0]) + 2) + [1] * (len(sides[1]) + 1)
        with torch.inference_mode():
            ids = torch.tensor([list(map(pieces.piece_to_id, tokens))])
            expected.append(model(ids, token_type_ids=torch.tensor([segments])).logits.item())
    assert scored(bleurt(folder, "cpu"), candidates, references) == pytest.approx(expected, abs=1e-5)
    assert len({round(value, 4) for value in expected}) == 3


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "is no BLEURT-20"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "spm.model").unlink(), "holds no spm.model"),
        (
            lambda folder: save_file({"classifier.bias": torch.zeros(1)}, folder / "model.safetensors"),
            "its weights are not those of its config.json",
        ),
    ],
)
def test_a_folder_that_is_no_bleurt_20_is_one_line(bleurt_20, tmp_path, spoil, said):
    folder = tmp_path / "bleurt"
    shutil.copytree(bleurt_20[0], folder)
    spoil(folder)
    line = message(bleurt, folder, "cpu")
    assert said in line and "docs/nikl.md" in line


def test_a_constant_that_earlier_versions_saved_is_no_weight(bleurt_20, tmp_path):
    shutil.copytree(bleurt_20[0], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors") | {"bleurt.embeddings.position_ids": torch.arange(24)[None]}
    save_file(weights, tmp_path / "model.safetensors")
    pair = [TEXTS[0]], [TEXTS[1]]
    assert scored(bleurt(tmp_path, "cpu"), *pair) == scored(bleurt(bleurt_20[0], "cpu"), *pair)


# ROUGE-1 as NIKL's script counts, and the total


def rouge_1_of_nikl(candidate: str, reference: str) -> float:
    """F1 x 100 as teddysum/korean_evaluation has it: Mecab's morphemes of lower-case letters, digits, syllables."""
    left, right = (
        Counter(tokenize(re.sub("[^A-Za-z0-9가-힣]", " ", side.lower()).strip(), "mecab"))
        for side in (candidate, reference)
    )
    overlap = (left & right).total()
    precision, recall = overlap / max(1, left.total()), overlap / max(1, right.total())
    return 100 * precision * recall / (0.5 * precision + 0.5 * recall) if overlap else 0.0


@fuzz
@given(text, text)
def test_rouge_1_on_nikls_tokens_is_its_scripts(candidate, reference):
    found = score([candidate], [[reference]], RougeConfig("nikl"), bootstrap=0, floor_line=None).rouge1
    assert found == pytest.approx(rouge_1_of_nikl(candidate, reference), abs=1e-9)


def test_punctuation_case_and_masks_count_in_ours_and_not_in_nikls():
    """Where ROUGE-1 of the two differs (docs/nikl.md)."""
    pair = ["#Person1#이 ABC를 산다."], [["Person1 이 abc를 산다"]]
    ours, theirs = (score(*pair, RougeConfig(name), bootstrap=0).rouge1 for name in ("mecab", "nikl"))
    assert ours < 70 and theirs == 100


def test_the_total_is_the_mean_of_the_three(bert, bleurt_20):
    scorers = load_scorers(MetricArguments(["rouge", "bertscore", "bleurt"], bert, str(bleurt_20[0])))
    rouge1, first, second, total = model_scores(scorers, TEXTS, REFERENCES, "mean", bootstrap=20)
    assert [one.name for one in (rouge1, first, second, total)] == ["ROUGE-1", "BERTScore", "BLEURT", "NIKL total"]
    assert total.mean == pytest.approx((rouge1.mean + first.mean + second.mean) / 3)
    assert total.interval[0] <= total.mean <= total.interval[1]
    assert bert in first.config and "layer 9" in first.config and "nikl tokens" in rouge1.config


@pytest.mark.parametrize("combined", ["mean", "max"])
def test_several_references_are_combined_as_those_of_rouge(bert, combined):
    scorers = load_scorers(MetricArguments(["bertscore"], bert))
    [found] = model_scores(scorers, TEXTS, REFERENCES, combined, bootstrap=0)
    both = scored(scorers["BERTScore"][1], [TEXTS[1]] * 2, REFERENCES[1])
    assert found.per_row[1] == pytest.approx(100 * getattr(np, combined)(both), abs=1e-4)


def test_metrics_that_are_none_or_lack_their_model_are_one_line():
    assert "--metrics blert: must be rouge, bertscore, bleurt" in message(MetricArguments, ["blert"])
    assert "--bleurt_model" in message(MetricArguments, ["rouge", "bleurt"])


# Everywhere that scores


def flags(bert, bleurt_20):
    return ["--metrics", "rouge", "bertscore", "bleurt", "--bertscore_model", bert, "--bleurt_model", str(bleurt_20[0])]


def test_the_score_command_prints_all_three_and_the_total(bert, bleurt_20, tmp_path, capsys):
    rows = [(f"r{number}", "민수: 네", texts[0]) for number, texts in enumerate(REFERENCES)]
    dev = write_csv(tmp_path / "dev.csv", rows)
    made = write_csv(
        tmp_path / "a.csv", [(f"r{number}", line) for number, line in enumerate(TEXTS)], ("fname", "summary")
    )
    for argv in (
        [*flags(bert, bleurt_20), str(made), str(dev)],
        [str(made), str(dev), *flags(bert, bleurt_20), "--json"],
    ):
        app(["score", "--bootstrap", "20", *argv], standalone_mode=False)
    table, found = capsys.readouterr().out.split("{", 1)
    content = json.loads("{" + found)
    assert [one["name"] for one in content["model_scores"]] == ["ROUGE-1", "BERTScore", "BLEURT", "NIKL total"]
    assert all(f"{one['mean']:.2f}" in table for one in content["model_scores"])


@pytest.fixture(scope="module")
def predicted(toy_base, bert, bleurt_20, tmp_path_factory):
    folder = sample(tmp_path_factory.mktemp("rows"), dev=3)
    recipe = dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True, bootstrap=20)
    argv = ["--test_file", str(folder / "dev.csv"), "--output_dir", str(folder / "out"), "--num_beams", "1"]
    found = predict(recipe, [*argv, "--max_new_tokens", "6", *flags(bert, bleurt_20)])
    return folder, found


def test_predict_prints_and_writes_them(predicted):
    folder, found = predicted
    written = json.loads((folder / "out" / "scores.json").read_text(encoding="utf-8"))["model_scores"]
    assert written == [one.to_dict() for one in found["model_scores"]] and len(written) == 4


def test_the_report_has_them_for_every_system(predicted, bert, bleurt_20):
    folder, found = predicted
    argv = ["--systems", f"a={folder / 'out'}", "--test_file", str(folder / "dev.csv"), "--bootstrap", "20"]
    figures = report({}, [*argv, "--output_file", str(folder / "report.html"), *flags(bert, bleurt_20)])
    assert figures["systems"]["a"]["model_scores"][-1]["mean"] == pytest.approx(
        found["model_scores"][-1].mean, abs=1e-3
    )
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "NIKL total" in page and f"{found['model_scores'][-1].mean:.2f}" in page


def test_a_model_without_its_metric_is_refused(tmp_path, bert):
    line = message(predict, {}, ["--test_file", "a.csv", "--model_name_or_path", "x", "--bertscore_model", bert])
    assert "--bertscore_model" in line and "add --metrics rouge bertscore" in line
