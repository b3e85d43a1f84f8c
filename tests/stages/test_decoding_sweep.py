"""The decoding sweep: which settings it tries, what it survives, and what it says about its choice."""

import json
import shutil
import sys

import pytest
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.flags import DecodingArguments, PromptArguments
from dialsum_trl.core.settings.prompt_texts import INSTRUCTIONS
from dialsum_trl.data.submission import read_predictions
from dialsum_trl.generation import sharded as inference
from dialsum_trl.generation.trials import Trials, compare_trials, once_each, print_trials
from dialsum_trl.prompts.prompt import prompt_texts, set_prompt
from dialsum_trl.stages.decoding_sweep import SweepArguments, decoding_sweep
from dialsum_trl.stages.jobs.decoding_sweep import asked, plan
from dialsum_trl.stages.predict import predict
from tests.row_files import read_csv, sample, write_csv

SMALL = ("--sweep_num_beams", "1", "2", "--sweep_length_penalty", "1.0", "--sweep_no_repeat_ngram_size", "0", "2",
         "--sweep_max_new_tokens", "6", "--max_new_tokens", "6", "--num_beams", "2", "--bootstrap", "20")  # fmt: skip


def arguments(**changes):
    return SweepArguments(**{"adapter_paths": ["a"], **changes})


def trial(*means):
    return {"rouge": {"per_row": [[mean] * 3 for mean in means]}}


def test_the_usual_decoding_comes_first_and_no_setting_comes_twice():
    settings = plan(arguments(), DecodingArguments())
    assert settings[0] == {
        "adapter": "a", "num_beams": 4, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "max_new_tokens": 100
    }  # fmt: skip
    assert len({json.dumps(setting) for setting in settings}) == len(settings) == (1 + 3 * 3) * 2


def test_greedy_decoding_is_tried_under_one_length_penalty():
    settings = plan(arguments(sweep_num_beams=[1], sweep_no_repeat_ngram_size=[0]), DecodingArguments(num_beams=1))
    assert len(settings) == 1


def test_a_draw_follows_the_seed_and_keeps_the_usual_decoding():
    one, again, other = (plan(arguments(trials=5), DecodingArguments(seed=seed)) for seed in (1, 1, 2))
    assert one == again != other and len(one) == 5 and one[0] == other[0]


def test_a_draw_gives_every_adapter_its_share():
    drawn = plan(arguments(adapter_paths=["a", "b", "c"], trials=10), DecodingArguments())
    assert [sum(setting["adapter"] == path for setting in drawn) for path in "abc"] == [4, 3, 3]


def test_every_adapter_is_loaded_once():
    order = [setting["adapter"] for setting in plan(arguments(adapter_paths=["a", "b"]), DecodingArguments())]
    assert order == sorted(order) and set(order) == {"a", "b"}


def test_the_best_trial_and_its_paired_gain():
    gain = compare_trials([trial(10, 20, 30, 40), trial(12, 22, 32, 42), trial(0, 0, 0, 90)], bootstrap=50)
    assert gain["best"] == 1 and gain["deltas"] == pytest.approx([0, 2, -2.5])
    assert gain["intervals"][1] == pytest.approx((2, 2)) and gain["held_out"] == pytest.approx((2 - 20) / 2)


def test_luck_on_the_choosing_rows_is_not_counted_as_gain():
    usual, lucky, unlucky = trial(10, 10, 10, 10), trial(20, 0, 20, 0), trial(0, 20, 0, 20)
    assert compare_trials([usual, lucky, unlucky], bootstrap=0)["held_out"] == -10


def test_a_journal_drops_a_half_written_line_and_goes_on(tmp_path):
    def done(number: int) -> dict:
        return {"setting": {"n": number}, "rouge": {}, "tokens": 1, "hit_limit": 0, "seconds": 1}

    path = tmp_path / "trials.jsonl"
    Trials(path, {"rows": "x"}).add(done(1))
    with path.open("a") as file:
        file.write('{"setting": {"n": 2')
    again = Trials(path, {"rows": "x"})
    again.add(done(3))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"rows": "x"}, done(1), done(3)]
    assert again.find({"n": 3}) and not again.find({"n": 2})


def test_a_journal_of_other_rows_is_an_error_that_says_so(tmp_path):
    (tmp_path / "trials.jsonl").write_text('{"rows": "x", "max_length": 1}\n')
    with pytest.raises(InputError, match="a sweep with other rows; choose another --output_dir"):
        Trials(tmp_path / "trials.jsonl", {"rows": "y", "max_length": 1})


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("rows"), dev=4) / "dev.csv"


def sweep(toy_base, trained_adapter, dev, output, *flags):
    recipe = dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True)
    adapters = ["--adapter_paths", "none", str(trained_adapter)]
    return decoding_sweep(recipe, [*adapters, "--eval_file", str(dev), "--output_dir", str(output), *SMALL, *flags])


@pytest.fixture(scope="module")
def swept(toy_base, trained_adapter, dev, tmp_path_factory):
    output = tmp_path_factory.mktemp("sweep") / "out"
    return output, sweep(toy_base, trained_adapter, dev, output)


def test_every_setting_is_scored_and_the_best_mean_is_chosen(swept):
    _, result = swept
    means = [trial["rouge"]["mean"] for trial in result["trials"]]
    assert len(means) == 8 and means[result["gain"]["best"]] == pytest.approx(max(means))


def test_the_chosen_setting_runs_again_with_predict_and_gives_the_same_summaries(swept, dev, tmp_path):
    output, result = swept
    config = yaml.safe_load((output / "chosen.yaml").read_text(encoding="utf-8"))["predict"]
    assert {key: config[key] for key in ("num_beams", "no_repeat_ngram_size")} == {
        key: result["chosen"][key] for key in ("num_beams", "no_repeat_ngram_size")
    }
    predict(
        {},
        ["--config", str(output / "chosen.yaml"), "--test_file", str(dev), "--output_dir", str(tmp_path / "again")],
    )
    assert read_predictions(tmp_path / "again" / "submission.csv") == read_predictions(output / "submission.csv")


def test_with_json_a_sweep_prints_the_setting_it_chose_and_its_trials(swept, toy_base, dev, monkeypatch, capsys):
    output, result = swept
    adapters = ["--adapter_paths", *dict.fromkeys(trial["setting"]["adapter"] for trial in result["trials"])]
    argv = [*adapters, "--eval_file", str(dev), "--output_dir", str(output), *SMALL, "--json"]
    monkeypatch.setattr(sys, "argv", ["decoding_sweep.py", *argv])
    decoding_sweep(dict(model_name_or_path=str(toy_base), dtype="float32", quantization="none", use_cpu=True))
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(result))


def test_a_finished_sweep_generates_nothing_again(swept, toy_base, trained_adapter, dev, monkeypatch, tmp_path):
    output, result = swept
    shutil.copytree(output, tmp_path / "copy")
    lines = (output / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "copy" / "trials.jsonl").write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:40], encoding="utf-8")
    count = []
    summarize = inference.summarize_sharded
    monkeypatch.setattr(
        inference, "summarize_sharded", lambda *rest, **options: count.append(1) or summarize(*rest, **options)
    )
    again = sweep(toy_base, trained_adapter, dev, tmp_path / "copy")
    assert len(count) == 3  # the two that were lost, and the submission
    assert again["chosen"] == result["chosen"]


def test_trials_of_an_adapter_that_was_trained_again_in_its_folder_are_not_mixed(
    toy_base, trained_adapter, dev, tmp_path
):
    adapter, flags = tmp_path / "adapter", ("--trials", "1", "--num_beams", "1")
    shutil.copytree(trained_adapter, adapter)
    sweep(toy_base, adapter, dev, tmp_path / "out", *flags)
    sweep(toy_base, adapter, dev, tmp_path / "out", *flags)  # the same adapter goes on
    weights = {name: tensor + 1 for name, tensor in load_file(adapter / "adapter_model.safetensors").items()}
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="a sweep with other models; choose another --output_dir"):
        sweep(toy_base, adapter, dev, tmp_path / "out", *flags)


def test_a_folder_that_is_named_twice_is_swept_once(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    b, a = str(tmp_path / "b"), str(tmp_path / "a")
    assert once_each([b, "none", a, f"{b}/", "none"]) == [b, "none", a]


def test_a_sweep_goes_on_with_the_same_folder_written_another_way(
    toy_base, trained_adapter, dev, tmp_path, monkeypatch
):
    few = ("--trials", "2", "--adapter_paths")
    monkeypatch.chdir(trained_adapter.parent)
    first = sweep(toy_base, trained_adapter, dev, tmp_path / "out", *few, trained_adapter.name)
    journal = (tmp_path / "out" / "trials.jsonl").read_text(encoding="utf-8")
    for path in (f"{trained_adapter.name}/", f"./{trained_adapter.name}", str(trained_adapter)):
        again = sweep(toy_base, trained_adapter, dev, tmp_path / "out", *few, path, trained_adapter.name)
        assert [trial["rouge"] for trial in again["trials"]] == [trial["rouge"] for trial in first["trials"]]
        assert again["chosen"] == first["chosen"]
    assert (tmp_path / "out" / "trials.jsonl").read_text(encoding="utf-8") == journal


def test_a_template_of_other_rows_is_one_line_before_any_trial(toy_base, trained_adapter, dev, tmp_path):
    (tmp_path / "template.csv").write_text("fname,summary\ntest_0,\n")
    with pytest.raises(InputError, match=r"do not fit .*template\.csv"):
        sweep(toy_base, trained_adapter, dev, tmp_path / "out", "--template", str(tmp_path / "template.csv"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--sweep_num_beams", "0"), "--num_beams 0"),
        (("--do_sample", "true"), "compares searches"),
        (("--eval_file", ""), "no dev rows to choose on"),
        (("--adapter_paths", "nowhere/none"), "nowhere"),
    ],
)
def test_what_cannot_be_swept_is_one_line_before_any_trial(toy_base, trained_adapter, dev, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        sweep(toy_base, trained_adapter, dev, tmp_path / "out", *flags)
    journal = tmp_path / "out" / "trials.jsonl"
    assert not journal.exists() or len(journal.read_text(encoding="utf-8").splitlines()) == 1  # no trial yet


# Prompts and rules for speech


def test_prompts_are_swept_under_the_usual_decoding_and_the_models_own_comes_first():
    settings = plan(arguments(sweep_instruction=["a", "b"], sweep_speech_rules=["fillers"]), DecodingArguments())
    assert [(setting["instruction"], setting["speech_rules"]) for setting in settings] == [
        (None, None), (None, "fillers"), ("a", None), ("a", "fillers"), ("b", None), ("b", "fillers")
    ]  # fmt: skip
    assert {setting["num_beams"] for setting in settings} == {4}


def test_a_decoding_that_is_given_is_swept_with_the_prompts():
    args = arguments(sweep_instruction=["a"], sweep_num_beams=[1, 4])
    args.given = frozenset(["sweep_num_beams"])
    assert len(plan(args, DecodingArguments())) == 4


def test_trials_are_compared_by_nikls_total_where_it_is_scored():
    def scored(rouge, total):
        return trial(*rouge) | {"model_scores": [{"name": "NIKL total", "per_row": total}]}

    gain = compare_trials([scored((9, 9), [10, 20]), scored((1, 1), [12, 22])], bootstrap=20)
    assert gain["best"] == 1 and gain["deltas"] == [0, 2]


@pytest.fixture(scope="module")
def prompts_swept(trained_adapter, dev, tmp_path_factory):
    """An adapter asked in three ways, with and without rules, about rows that have something for a rule."""
    folder = tmp_path_factory.mktemp("prompts")
    header, *rows = read_csv(dev)
    speech = write_csv(folder / "speech.csv", [[n, d.replace(": ", ": 어~ "), *rest] for n, d, *rest in rows], header)
    asks = folder / "asks.txt"
    asks.write_text("한 문장으로 요약하세요.\n[대화]\\n{dialogue}\\n{topic}에 대해 요약하세요.\n", encoding="utf-8")
    recipe = dict(adapter_path=str(trained_adapter), dtype="float32", quantization="none", use_cpu=True)
    argv = ["--eval_file", str(speech), "--output_dir", str(folder / "out"), "--num_beams", "1", "--bootstrap", "20"]
    argv += ["--max_new_tokens", "12", "--sweep_instructions_file", str(asks)]
    argv += ["--sweep_speech_rules", "fillers", "fillers+repeats"]
    return folder, speech, decoding_sweep(recipe, argv)


def test_one_table_has_every_prompt_and_rule(prompts_swept, capfd):
    _, speech, found = prompts_swept
    assert len(found["trials"]) == 3 * 3
    print_trials(found["trials"], found["gain"], str(speech))
    printed = capfd.readouterr().out
    assert "instruction 1: 한 문장으로 요약하세요." in printed
    assert "instruction 2: [대화]\\n{dialogue}\\n{topic}에 대해 요약하세요." in printed
    assert "fillers+repeats" in printed and "own" in printed


def test_the_prompt_of_a_setting_is_what_the_model_reads(prompts_swept, toy_base):
    tokenizer = AutoTokenizer.from_pretrained(toy_base)
    for trial in prompts_swept[2]["trials"]:
        set_prompt(tokenizer, asked(PromptArguments(), trial["setting"]))
        texts = prompt_texts(tokenizer)
        read = texts.messages(texts.asked("지민: 어~ 안녕"), topic="인사")[1]["content"]
        assert ("어~" in read) != bool(trial["setting"]["speech_rules"])
        instruction = trial["setting"]["instruction"] or INSTRUCTIONS[0]
        assert read.startswith(instruction.split("\n")[0])


def test_the_chosen_prompt_is_a_file_that_recipes_take(prompts_swept, tmp_path):
    folder, speech, found = prompts_swept
    config = yaml.safe_load((folder / "out" / "chosen.yaml").read_text(encoding="utf-8"))
    rules = found["chosen"]["speech_rules"]
    assert config["predict"]["speech_rules"] == (rules.split("+") if rules else ["none"])
    assert config["sft"].items() <= config["predict"].items()
    again = ["--config", str(folder / "out" / "chosen.yaml"), "--test_file", str(speech)]
    predict({}, [*again, "--output_dir", str(tmp_path)])
    assert read_predictions(tmp_path / "submission.csv") == read_predictions(folder / "out" / "submission.csv")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--sweep_speech_rules", "filler"), "--sweep_speech_rules filler: 'filler' must be one of fillers"),
        (("--sweep_instruction", "a", "--sweep_instructions_file", "b.txt"), "exclude each other"),
        (("--sweep_instructions_file", "nowhere.txt"), "--sweep_instructions_file nowhere.txt: cannot be read"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_one_line_before_any_trial(
    toy_base, trained_adapter, dev, tmp_path, flags, message
):
    with pytest.raises(InputError, match=message):
        sweep(toy_base, trained_adapter, dev, tmp_path / "out", *flags)


def test_a_topic_that_a_row_lacks_is_one_line_before_any_trial(toy_base, trained_adapter, dev, tmp_path):
    header, *rows = read_csv(dev)
    bare = write_csv(tmp_path / "bare.csv", [cells[:3] for cells in rows], header[:3])
    with pytest.raises(InputError, match=r"bare.csv: row .*the prompt has \{topic\}, and the row has none"):
        sweep(toy_base, trained_adapter, bare, tmp_path / "out", "--sweep_instruction", "{topic}?")
