"""NIKL end to end on the toy: JSON files in, and a submission that differs from the test file in `output` alone."""

import json

import pytest

from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.sft import train_sft
from tests.conftest import ROOT, TINY

TOY = ["--use_cpu", "true", "--dtype", "float32", "--quantization", "none", "--config", str(ROOT / "recipes/nikl.yaml")]


def nikl(path, names, outputs):
    rows = [
        {
            "id": f"nikluge-2024-{name}",
            "input": {
                "conversation": [
                    {"speaker": "SD2000001", "utterance": f"어~ {name} 여행을 좋아하시나요?"},
                    {"speaker": "SD2000002", "utterance": f"네. {name} 바다에 자주 가요."},
                ],
                "subject_keyword": ["여행", "바다"],
            },
            **({"output": f"SD2000002는 {name} 바다에 자주 간다."} if outputs else {}),
        }
        for name in names
    ]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=4), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nikl")
    train, dev = nikl(folder / "train.json", "가나다라", True), nikl(folder / "dev.json", "마바", True)
    flags = [
        "--train_file",
        str(train),
        "--eval_file",
        str(dev),
        "--output_dir",
        str(folder / "run"),
        "--fast",
        "false",
    ]
    flags += ["--max_steps", "1", "--effective_batch_size", "2", "--per_device_train_batch_size", "2"]
    small = dict(model_name_or_path=str(TINY / "llama"), rouge_rows=1, report_to="none")
    train_sft(small, [*TOY, *flags, "--rouge_max_new_tokens", "4", "--speech_rules", "fillers"])
    return folder


def test_the_record_holds_the_baselines_prompt(folder):
    record = json.loads((folder / "run" / "dialsum.json").read_text("utf-8"))
    assert record["instruction"] == [
        "[Conversation]\n{dialogue}\n\n[Question]\n위 {topic} 주제에 대한 대화를 요약해주세요."
    ]
    assert record["system_prompt"].endswith("친절하게 답변해주세요.")
    assert (record["speakers"], record["speech_rules"]) == ("prefixed", ["fillers"])


def test_the_submission_is_the_test_file_with_output_filled_in(folder):
    test = nikl(folder / "test.json", "사아자", False)
    flags = ["--test_file", str(test), "--adapter_path", str(folder / "run"), "--output_dir", str(folder / "out")]
    found = predict({}, [*TOY, *flags, "--max_new_tokens", "4", "--num_beams", "1"])
    before, after = (json.loads(path.read_text("utf-8")) for path in (test, folder / "out" / "submission.json"))
    assert [row.pop("output") for row in after] == found["summaries"]
    assert after == before
