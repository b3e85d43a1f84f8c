"""The four recipes train, save and reload; what they leave behind is whole; a run is never overwritten."""

import json
import runpy
import shutil

import pytest

from dialsum_trl.core.errors import InputError, TrainingError
from dialsum_trl.core.settings.flags import RougeArguments
from dialsum_trl.data.dialogues import read_dialogues
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.generation.summaries import summarize
from dialsum_trl.generation.summarizer import load_summarizer
from dialsum_trl.models.adapters import check_adapter
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.stages.jobs.sft import dev_rouge
from dialsum_trl.stages.sft import SFTArguments, train_sft
from dialsum_trl.training.dev_rouge import DevRouge
from dialsum_trl.training.plan.memory import plan
from tests.conftest import ROOT, TINY
from tests.row_files import sample

RECIPES = {"sft_llama3b": "llama", "sft_llama8b": "llama", "sft_qwen25_7b": "qwen3", "sft_qwen3_4b": "qwen3"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), train=32, dev=6)


def recipe(name):
    return runpy.run_path(str(ROOT / "recipes" / f"{name}.py"))["RECIPE"]


def train(name, rows, output, *flags):
    toy = str(TINY / RECIPES[name])
    argv = [
        "--config", str(ROOT / "recipes" / "demo.yaml"), "--model_name_or_path", toy, "--output_dir", str(output),
        "--train_file", str(rows / "train.csv"), "--eval_file", str(rows / "dev.csv"),
        "--effective_batch_size", "16", "--max_steps", "2", "--logging_steps", "1", "--rouge_rows", "2",
        "--rouge_max_new_tokens", "8",
        "--disable_tqdm", "true", *flags,
    ]  # fmt: skip
    return train_sft(recipe(name), argv)


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, rows, tmp_path_factory):
    output = tmp_path_factory.mktemp(request.param) / "adapter"
    return request.param, output, train(request.param, rows, output)


def test_a_recipe_leaves_a_whole_adapter(trained):
    _, output, _ = trained
    assert check_adapter(output) > 0
    assert (output / "tokenizer.json").exists() and (output / "chat_template.jinja").exists()


def test_every_step_has_a_finite_loss_and_gradient(trained):
    _, output, _ = trained
    log = [e for e in json.loads((output / "trainer_state.json").read_text())["log_history"] if "grad_norm" in e]
    assert len(log) == 2 and all(0 < entry["grad_norm"] < 1e3 and 0 < entry["loss"] < 20 for entry in log)


def test_the_closing_figures_say_what_was_done(trained):
    _, _, figures = trained
    assert figures["rows"] == 32 and figures["optimizer steps"] == 2 and figures["rows a step"] == 16
    assert 0 <= figures["eval_rouge_mean"] <= 100 and figures["eval_loss"] > 0


def test_the_run_record_tells_how_to_use_the_adapter(trained):
    _, output, _ = trained
    record = json.loads((output / "dialsum.json").read_text(encoding="utf-8"))
    assert record["prompt_style"] == "native" and record["dtype"] == "float32"
    assert len(record["template_sha256"]) == 64 and "trl" in record["versions"]


def test_a_reloaded_adapter_summarizes_alike_in_batches_of_1_and_8(trained, rows):
    name, output, _ = trained
    summarizer = load_summarizer(
        str(TINY / RECIPES[name]), str(output), dtype="float32", quantization="4bit", device="cpu"
    )
    dialogues = read_dialogues(rows / "dev.csv")["dialogue"]
    one, eight = (
        summarize(summarizer, dialogues, GenerationSettings(num_beams=2, max_new_tokens=12, batch_size=size), False)
        for size in (1, 8)
    )
    assert [s.text for s in one] == [s.text for s in eight]


def test_an_earlier_run_is_never_overwritten(trained, rows):
    name, output, _ = trained
    with pytest.raises(InputError, match="holds an earlier run"):
        train(name, rows, output)


def test_training_without_dev_rows_needs_no_other_flag(rows, tmp_path):
    train_sft(
        recipe("sft_llama3b"),
        [
            "--model_name_or_path", str(TINY / "llama"), "--train_file", str(rows / "train.csv"), "--max_steps", "1",
            "--use_cpu", "true", "--dtype", "float32", "--output_dir", str(tmp_path / "out"), "--disable_tqdm", "true",
            "--warmup_steps", "0",
        ],
    )  # fmt: skip
    assert check_adapter(tmp_path / "out") > 0


@pytest.mark.parametrize("quantization", ["8bit", "none"])
def test_lora_on_other_bases_trains_by_one_flag(rows, tmp_path, quantization):
    train("sft_llama3b", rows, tmp_path / "out", "--quantization", quantization, "--rouge_rows", "0")
    assert check_adapter(tmp_path / "out") > 0


def test_full_fine_tuning_saves_whole_weights(rows, tmp_path):
    flags = ("--use_peft", "false", "--quantization", "none", "--rouge_rows", "0", "--learning_rate", "1e-3")
    train("sft_qwen3_4b", rows, tmp_path / "out", *flags)
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_full_fine_tuning_of_a_quantized_base_is_an_error(rows, tmp_path):
    with pytest.raises(InputError, match="--quantization none"):
        train("sft_llama3b", rows, tmp_path / "out", "--use_peft", "false")


@pytest.mark.parametrize(("fast", "path"), [("true", "packed, fused layers"), ("false", "padded: --fast false")])
def test_a_run_says_what_it_found_in_the_model(fast, path, rows, tmp_path, capsys):
    train("sft_llama3b", rows, tmp_path / "out", "--max_steps", "1", "--rouge_rows", "0", "--fast", fast)
    found = capsys.readouterr().out.split("(llama):\n")[1].splitlines()[:5]
    assert [line.split(maxsplit=1)[0] for line in found] == ["dtype", "prompt", "ends", "LoRA", "rows"]
    assert "the system text has its own turn" in found[1] and "<|eot_id|>" in found[2]
    assert found[3].endswith("down_proj gate_proj k_proj o_proj q_proj up_proj v_proj") and found[4].endswith(path)


def test_a_run_of_one_step_saves_and_says_that_its_warm_up_taught_nothing(rows, tmp_path, capsys):
    train("sft_llama3b", rows, tmp_path / "out", "--max_steps", "1", "--rouge_rows", "0")
    assert check_adapter(tmp_path / "out", trained=False) > 0
    assert "learned nothing: the first step of a warm-up has learning rate 0" in capsys.readouterr().out
    with pytest.raises(TrainingError, match=r"learned nothing: train more steps.*--warmup_steps 0"):
        check_adapter(tmp_path / "out")


@pytest.mark.slow
def test_training_goes_on_from_an_adapter(trained, rows, tmp_path):
    name, output, _ = trained
    train(name, rows, tmp_path / "out", "--adapter_path", str(output), "--rouge_rows", "0")
    assert check_adapter(tmp_path / "out") == check_adapter(output)


@pytest.mark.slow
def test_noise_in_the_embeddings_is_that_of_the_plain_path(rows, tmp_path):
    for fast in ("true", "false"):
        train("sft_llama3b", rows, tmp_path / fast, "--fast", fast, "--neftune_noise_alpha", "5")
    saved = [(tmp_path / fast / "adapter_model.safetensors").read_bytes() for fast in ("true", "false")]
    assert saved[0] == saved[1]


def test_the_best_checkpoint_can_be_chosen_by_rouge(rows, tmp_path):
    train("sft_llama3b", rows, tmp_path / "out", "--metric_for_best_model", "rouge_mean")
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    best = max(e["eval_rouge_mean"] for e in state["log_history"] if "eval_rouge_mean" in e)
    assert state["best_metric"] == pytest.approx(best)


def test_evaluations_summarize_dialogues_as_short_as_predict_makes_them(tmp_path):
    rows, tokenizer = read_dialogues(TINY / "data" / "dev.csv"), load_tokenizer(str(TINY / "llama"))
    given = dev_rouge(tokenizer, [0], rows, RougeArguments(), SFTArguments(rouge_max_new_tokens=40), 200)
    assert 150 < max(map(len, given.prompts)) <= 160


@pytest.mark.parametrize(("wish", "best"), [((), 1), (("--greater_is_better", "true"), 2)])
@pytest.mark.slow
def test_fewer_summaries_at_the_limit_are_better_unless_the_user_says_otherwise(
    rows, tmp_path, monkeypatch, wish, best
):
    measure = DevRouge.measure

    def worsens(self, trainer):
        return measure(self, trainer) | {"eval_hit_limit": 0.25 * trainer.state.global_step}

    monkeypatch.setattr(DevRouge, "measure", worsens)
    steps = ("--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "1", "--save_steps", "1")
    steps += ("--warmup_steps", "0")
    train("sft_llama3b", rows, tmp_path / "out", "--metric_for_best_model", "hit_limit", *steps, *wish)
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert (state["best_metric"], state["best_global_step"]) == (0.25 * best, best)


def test_the_record_counts_the_rows_of_a_step_also_where_packs_share_them_unevenly(rows, tmp_path, monkeypatch):
    original = plan
    monkeypatch.setattr(
        "dialsum_trl.training.plan.memory.plan",
        lambda shape, largest, choices, budget: original(shape, largest, [3], budget),
    )
    train("sft_llama3b", rows, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "dialsum.json").read_text(encoding="utf-8"))
    assert record["settings"]["rows_per_step"] == 16


def test_a_learning_rate_that_explodes_stops_with_the_step(rows, tmp_path):
    with pytest.raises(TrainingError, match=r"step \d+ .*(not finite|lower --learning_rate)"):
        train("sft_llama3b", rows, tmp_path / "out", "--learning_rate", "1e30", "--max_grad_norm", "0",
              "--max_steps", "8", "--lr_scheduler_type", "constant", "--rouge_rows", "0")  # fmt: skip


def test_settings_that_the_trainer_refuses_are_one_line(rows, tmp_path):
    with pytest.raises(InputError, match=r"settings: .*max_length"):
        train("sft_llama3b", rows, tmp_path / "out", "--padding_free", "true", "--fast", "false")


def test_a_summary_that_cannot_fit_is_an_error_that_names_the_row(rows, tmp_path):
    with pytest.raises(InputError, match="row train_0: the summary has"):
        train("sft_llama3b", rows, tmp_path / "out", "--max_length", "64")


@pytest.mark.slow
def test_resuming_equals_the_unbroken_run(rows, tmp_path):
    flags = ("--max_steps", "4", "--eval_strategy", "steps", "--save_strategy", "steps", "--rouge_rows", "0",
             "--eval_steps", "2", "--save_steps", "2")  # fmt: skip
    train("sft_llama3b", rows, tmp_path / "whole", *flags)
    train("sft_llama3b", rows, tmp_path / "broken", *flags)
    for path in ("checkpoint-4", "adapter_model.safetensors"):  # as after a kill after step 2
        target = tmp_path / "broken" / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    train("sft_llama3b", rows, tmp_path / "broken", *flags, "--resume_from_checkpoint", "true")
    logs = [
        [(e["step"], round(e["loss"], 4), round(e["grad_norm"], 4)) for e in json.loads(
            (tmp_path / run / "trainer_state.json").read_text())["log_history"] if "grad_norm" in e]
        for run in ("whole", "broken")
    ]  # fmt: skip
    assert logs[0] == logs[1]


def test_an_adapter_that_gets_no_gradient_stops_after_three_steps(rows, tmp_path):
    with pytest.raises(TrainingError, match="gradient norm was 0 for 3 steps: the adapter is not training"):
        train("sft_llama3b", rows, tmp_path / "out", "--lora_dropout", "0.999999999999", "--fast", "false",
              "--max_steps", "8", "--rouge_rows", "0", "--save_strategy", "no")  # fmt: skip
