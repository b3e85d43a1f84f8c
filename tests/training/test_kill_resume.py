"""Twenty kills at random moments of SFT, PPO and predict: every run ends with the result of the unbroken one.

On one CPU thread a run is reproducible to the bit, so adapters are compared by their bytes. The moments are drawn from
a fixed seed and lie in every phase: while the run starts, in the middle of a step, while a checkpoint is written.
"""

import random
from pathlib import Path

import pytest

from dialsum_trl.core.journal import read
from dialsum_trl.training.checkpoints.choose import SAVING, checkpoints, newest_whole
from dialsum_trl.training.checkpoints.manifest import flaw
from tests import phase3_toys as toys
from tests.forked_runs import Forker, random_pause

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SEED = 9
SFT_STEPS, SFT_SAVES, PPO_STEPS, PPO_SAVES, PARTS = 40, 5, 24, 4, 8
STEP = 0.1  # seconds: longer than a step of these toys


@pytest.fixture(scope="module")
def forker():
    with Forker() as forker:
        yield forker


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    base = toys.make_base(folder / "base")
    return {"base": base, "sft": toys.make_adapter(base, folder / "sft"), "folder": folder}


@pytest.fixture(scope="module")
def figures():
    """Collects a line a kill; printed at the end."""
    lines = []
    yield lines
    print(f"\n{len(lines)} kills\n" + "\n".join(lines))


def common(toy, **settings) -> dict:
    fixed = {"model_name_or_path": toy["base"], "dtype": "float32", "quantization": "none", "use_cpu": True}
    return {**fixed, **settings}


def training(toy, **settings) -> dict:
    every = {"save_strategy": "steps", "eval_strategy": "steps", "save_total_limit": 2, "logging_steps": 1}
    fixed = {"train_file": toys.TRAIN, "eval_file": toys.DEV, "learning_rate": 1e-2, "disable_tqdm": True, **every}
    return common(toy, **fixed, **settings)


def sft(toy) -> dict:
    return training(
        toy, max_steps=SFT_STEPS, save_steps=SFT_SAVES, eval_steps=SFT_SAVES, effective_batch_size=8,
        per_device_train_batch_size=4, rouge_rows=2, rouge_max_new_tokens=4, rouge_tokenizer="char",
    )  # fmt: skip


def ppo(toy) -> dict:
    return training(
        toy, adapter_path=toy["sft"], max_steps=PPO_STEPS, save_steps=PPO_SAVES, eval_steps=PPO_SAVES,
        rollout_batch_size=8, per_device_train_batch_size=4, max_completion_length=8, max_truncated=1.1,
        warmup_steps=0, critic_learning_rate=1e-2, rouge_rows=4, rouge_tokenizer="char", kl_target=1e9,
        max_rouge_drop=100, reward_functions=["hangul_share", "no_repetition"],
    )  # fmt: skip


def predict(toy) -> dict:
    return common(
        toy, adapter_path=toy["sft"], test_file=toys.TRAIN, num_beams=2, max_new_tokens=24, save_every=16, bootstrap=0,
        rouge_tokenizer="char",
    )  # fmt: skip


def unbroken(forker, toy, stage: str, settings: dict) -> Path:
    output = toy["folder"] / f"{stage}-whole"
    forker.start(stage, toys.flags({**settings, "output_dir": output}), toy["folder"] / f"{stage}-whole.log")
    assert forker.wait() == 0, (toy["folder"] / f"{stage}-whole.log").read_text()[-3000:]
    return output


def steps_logged(log: Path) -> int:
    return log.read_text().count("{'loss'") if log.exists() else 0


def newest(output: Path) -> int:
    found, skipped = newest_whole(output)
    assert not skipped, skipped  # nothing half-written bears a checkpoint's name
    return int(found.name.split("-")[1]) if found else 0


def wait_for_moment(forker, draw, kind: str, output: Path, log: Path, begins: int, until: int, saves: int) -> bool:
    """Waits for a random moment of that kind up to step `until`; False when the run ended before it came."""
    if kind == "start":
        random_pause(draw, 0.5)
        return forker.alive()
    if kind == "save":
        first = begins // saves + 1
        save = draw.randrange(first, max(first + 1, until // saves + 1)) * saves
        came = forker.until((output / SAVING / f"checkpoint-{save}").exists)
        random_pause(draw, 0.03)
        return came and forker.alive()
    step = draw.randrange(begins + 1, max(begins + 2, until))
    came = forker.until(lambda: begins + steps_logged(log) >= step)
    random_pause(draw, STEP)
    return came and forker.alive()


def kill_and_resume(forker, draw, toy, stage, settings, name, kinds, steps, saves, figures) -> Path:
    """One run, killed once for each of `kinds` and resumed each time, until it ends by itself."""
    output, attempt = toy["folder"] / name, 0
    settings, todo = {**settings, "output_dir": output}, list(kinds)
    while True:
        begins, log = newest(output), toy["folder"] / f"{name}-{attempt}.log"
        attempt += 1
        resume = {"resume_from_checkpoint": "true"} if begins else {}
        forker.start(stage, toys.flags({**settings, **resume}), log)
        if not todo:
            assert forker.wait() == 0, log.read_text()[-3000:]
            return output
        kind = todo.pop(0)
        until = steps * attempt // (len(kinds) + 1)  # so that steps are left for those that follow
        if not wait_for_moment(forker, draw, kind, output, log, begins, until, saves):
            assert forker.wait() == 0, log.read_text()[-3000:]
            pytest.fail(f"{name} ended before its {kind}")
        assert forker.kill() == -9
        reached, kept = begins + steps_logged(log), newest(output)
        aside = "a checkpoint half-written" if list((output / SAVING).glob("*")) else "nothing half-written"
        figures.append(f"{stage}: killed at {kind}, step {reached}: {reached - kept} lost, {aside}")
        assert reached - kept <= saves


def assert_same_files(one: Path, other: Path, *names: str) -> None:
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


SFT_PLAN = [("step", "step", "save"), ("save", "start", "step"), ("save", "save")]
PPO_PLAN = [("step", "save", "step"), ("save", "step"), ("start", "save")]


def test_killed_sft_runs_end_with_the_adapter_of_the_unbroken_one(forker, toy, figures):
    whole, draw = unbroken(forker, toy, "sft", sft(toy)), random.Random(SEED)
    for number, kinds in enumerate(SFT_PLAN):
        run = kill_and_resume(
            forker, draw, toy, "sft", sft(toy), f"sft-{number}", kinds, SFT_STEPS, SFT_SAVES, figures
        )  # fmt: skip
        assert_same_files(whole, run, "adapter_model.safetensors")
        assert_same_files(*(folder / f"checkpoint-{SFT_STEPS}" for folder in (whole, run)), "adapter_model.safetensors")
        assert not (run / SAVING).exists() and all(flaw(path) is None for path in checkpoints(run))


def test_killed_ppo_runs_end_with_the_policy_and_the_critic_of_the_unbroken_one(forker, toy, figures):
    whole, draw = unbroken(forker, toy, "ppo", ppo(toy)), random.Random(SEED + 1)
    for number, kinds in enumerate(PPO_PLAN):
        run = kill_and_resume(
            forker, draw, toy, "ppo", ppo(toy), f"ppo-{number}", kinds, PPO_STEPS, PPO_SAVES, figures
        )  # fmt: skip
        assert_same_files(whole, run, "adapter_model.safetensors")
        last = [folder / f"checkpoint-{PPO_STEPS}" for folder in (whole, run)]
        assert_same_files(*last, "adapter_model.safetensors", "critic.safetensors")


def test_killed_predictions_end_with_the_submission_of_the_unbroken_one(forker, toy, figures):
    whole, draw = unbroken(forker, toy, "predict", predict(toy)), random.Random(SEED + 2)
    for number, kills in enumerate((3, 2)):
        output, parts = toy["folder"] / f"predict-{number}", 0
        for attempt in range(kills):
            log = toy["folder"] / f"predict-{number}-{attempt}.log"
            forker.start("predict", toys.flags({**predict(toy), "output_dir": output}), log)
            journal, wanted = output / "unfinished.jsonl", parts + draw.randrange(1, 3)
            assert forker.until(lambda: len(read(journal)) > wanted), "it ended before its kill"  # noqa: B023
            random_pause(draw, STEP)
            assert forker.kill() == -9
            assert not (output / "submission.csv").exists()
            before, parts = parts, len(read(journal)) - 1
            assert parts >= wanted > before
            figures.append(f"predict: killed after part {parts}, of which {before} were kept from before")
        forker.start("predict", toys.flags({**predict(toy), "output_dir": output}), log)
        assert forker.wait() == 0, log.read_text()[-3000:]
        assert f"continues after {16 * parts} of" in log.read_text()
        assert_same_files(whole, output, "submission.csv", "predictions.jsonl", "scores.json")
        assert not (output / "unfinished.jsonl").exists()


def test_there_were_twenty_kills(figures):
    assert len(figures) == 20
