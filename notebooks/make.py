"""Writes colab.ipynb and kaggle.ipynb, which differ in the launcher's config: `python notebooks/make.py`."""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACES = {"colab": ("Colab (T4)", "single_gpu"), "kaggle": ("Kaggle (T4 두 장)", "ddp")}
CELLS = [
    "# 한국어 대화 요약: 데이터 점검부터 제출 파일까지 - {title}\n\n"
    "런타임에서 GPU(T4)를 선택한 뒤 위에서부터 차례로 실행하세요. "
    "환경 변수 `DIALSUM_NOTEBOOK=toy`를 설정하면 GPU 없이 작은 모델로 같은 셀을 실행합니다.",
    "## 1. 설치\n\n레시피와 accelerate 설정을 작업 폴더로 복사합니다.",
    """import importlib.util
import os
import subprocess
import sys
from pathlib import Path


def run(*command):
    print("$", *command)
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-4000:])
    assert done.returncode == 0, command


if importlib.util.find_spec("dialsum_trl") is None:
    run(sys.executable, "-m", "pip", "install", "-q", "dialsum-trl")
if not Path("recipes").exists():
    run("dialsum", "recipes", "copy", ".")""",
    "## 2. 데이터\n\n`fname,dialogue,summary` 열이 있는 CSV를 `data/`에 올리고, 학습 전에 점검합니다.",
    """TOY = os.environ.get("DIALSUM_NOTEBOOK") == "toy"
if TOY:
    import dialsum_trl

    data = Path(dialsum_trl.__file__).parent / "toy" / "data"
    short = ["--max_steps", "2", "--warmup_steps", "0", "--rouge_rows", "4"]
    config, where = ["--config", "recipes/demo.yaml", *short], "cpu"
    recipe, asked = "recipes/sft_llama3b.py", ["--config", "recipes/demo.yaml", "--num_beams", "1"]
else:
    data, config, where = Path("data"), ["--memory_gib", "14"], "{where}"
    recipe, asked = "recipes/sft_qwen3_4b.py", []  # fp16, which a T4 has
launch = ["accelerate", "launch", "--quiet", "--config_file", f"accelerate_configs/{where}.yaml"]
train, dev, test = (data / f"{name}.csv" for name in ("train", "dev", "test"))
run("dialsum", "check", train, dev)""",
    "## 3. 학습\n\n중단된 학습은 같은 명령에 `--resume_from_checkpoint true`를 붙여 이어 갑니다.",
    """run(*launch, recipe, *config, "--train_file", train, "--eval_file", dev, "--output_dir", "outputs/sft")
run("dialsum", "runs", "outputs")""",
    "## 4. 예측과 점수\n\n개발 데이터로 ROUGE를 확인합니다. 95 % 구간과 상수 문장의 점수(바닥)도 함께 나옵니다.",
    """predict = [*launch, "recipes/predict.py", "--adapter_path", "outputs/sft", *asked]
run(*predict, "--test_file", dev, "--output_dir", "outputs/sft/dev")""",
    "## 5. 리포트\n\n점수, 학습 곡선, 잘된 요약과 잘못된 요약을 한 페이지에서 봅니다.",
    """from IPython.display import HTML

run(sys.executable, "recipes/report.py", "--systems", "SFT=outputs/sft/dev", "--test_file", dev)
HTML(Path("outputs/report.html").read_text(encoding="utf-8"))""",
    "## 6. 제출 파일\n\n템플릿의 순서대로 `fname,summary`를 씁니다.",
    """template = ["--template", data / "sample_submission.csv"] if (data / "sample_submission.csv").exists() else []
run(*predict, "--test_file", test, *template, "--output_dir", "outputs/sft/test")
print(Path("outputs/sft/test/submission.csv").read_text(encoding="utf-8")[:400])""",
    "## 7. 공유\n\n`HF_TOKEN`이 있으면 어댑터를 Hub에 비공개로 올립니다.",
    """if not TOY and os.environ.get("HF_TOKEN"):
    run("dialsum", "push", "outputs/sft")""",
]


def notebook(title: str, where: str) -> dict:
    """The cells as a notebook without outputs."""
    cells = []
    for number, text in enumerate(CELLS):
        kind = "markdown" if text.startswith("#") else "code"
        source = text.replace("{title}", title).replace('"{where}"', f'"{where}"').splitlines(keepends=True)
        extra = {"execution_count": None, "outputs": []} if kind == "code" else {}
        cells.append({"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source, **extra})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": cells, "metadata": {**kernel, "accelerator": "GPU"}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    for name, place in PLACES.items():
        text = json.dumps(notebook(*place), ensure_ascii=False, indent=1) + "\n"
        (HERE / f"{name}.ipynb").write_text(text, encoding="utf-8")
