"""SFT and prediction on two CPU processes: the same losses, adapter and submission as on one; failures end the job."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dialsum_trl.stages.predict import predict
from tests.conftest import ROOT
from tests.phase3_toys import flags
from tests.two_processes import (
    TOLERANCE,
    ZERO2,
    ZERO3,
    assert_same_run,
    environment,
    finish,
    launch,
    launcher,
    losses,
    make_toy,
    needs_compiler,
    resumed,
    runs_on_one_process,
    sft_argv,
    start,
    train_here,
    train_there,
)

pytestmark = pytest.mark.timeout(1000)  # the first run builds DeepSpeed's CPU communication


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("distributed"))


@pytest.fixture(scope="module")
def one_process(toy):
    return runs_on_one_process(toy)


@needs_compiler
@pytest.mark.slow  # DeepSpeed compiles for a minute
def test_two_zero3_processes_train_4bit_as_one_does_and_one_process_continues_from_their_checkpoint(toy, one_process):
    one = one_process("4bit")
    two = train_there(toy, "deepspeed_zero3", toy / "zero3-4bit")
    assert_same_run(one, two)

    output = resumed(toy, two, toy / "zero3-then-one")
    assert_same_run(one, train_here(toy, output, resume_from_checkpoint="true"))


def test_two_ddp_processes_on_the_fast_path_train_and_summarize_as_one_does(toy):
    def predict_argv(output: Path, adapter: Path) -> list[str]:
        settings = {"adapter_path": adapter, "test_file": toy / "dev.csv", "output_dir": output, "use_cpu": True}
        settings |= {"model_name_or_path": toy / "base", "dtype": "float32", "num_beams": 2, "max_new_tokens": 6}
        return flags({**settings, "batch_size": 2, "bootstrap": 10, "rouge_tokenizer": "char"})

    one = train_here(toy, toy / "one-fast", fast="true")
    jobs = [
        {"stage": "sft", "argv": sft_argv(toy, toy / "ddp-fast", fast="true")},
        {"stage": "predict", "argv": predict_argv(toy / "predict-two", one)},
    ]
    done = launch(toy, "ddp", jobs)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(one, toy / "ddp-fast")
    assert done.stdout.count("SFT finished") == 1  # one process prints, the other is silent
    assert done.stdout.count("train: 64 rows") == 1

    predict({}, predict_argv(toy / "predict-one", one))
    submissions = [(toy / folder / "submission.csv").read_bytes() for folder in ("predict-one", "predict-two")]
    assert submissions[0] == submissions[1]


@pytest.mark.slow
def test_a_process_that_fails_ends_the_job_with_its_own_error(toy):
    argv = sft_argv(toy, toy / "failing", eval_strategy="no", save_strategy="no")
    done = launch(toy, "ddp", [{"stage": "sft", "argv": argv, "fails": {"rank": 1, "step": 2, "how": "raises"}}])
    assert done.returncode != 0
    assert "planted failure on rank 1" in done.stderr


@pytest.mark.slow
def test_two_fsdp_processes_train_and_summarize_4bit_as_one_does_and_one_continues_from_their_checkpoint(toy):
    """accelerate has FSDP on GPUs only: the worker tells it otherwise, the rest is what runs there."""
    one = train_here(toy, toy / "one-packed", fast="true")
    two = train_there(toy, "fsdp", toy / "fsdp-packed", fast="true")
    assert_same_run(one, two)
    assert losses(two, "eval_rouge_mean") == losses(one, "eval_rouge_mean")

    output = resumed(toy, two, toy / "fsdp-then-one")
    assert_same_run(one, train_here(toy, output, fast="true", resume_from_checkpoint="true"))


def test_fsdp2_splits_gathers_and_checks_4bit_weights(toy):
    """By hand, with accelerate's preparation alone: a flipped bit is found by the check before the first step."""
    worker = [str(ROOT / "tests/fsdp_worker.py"), str(toy / "base")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *worker]
    done = finish(start(command, ROOT, environment() | {"ACCELERATE_USE_FSDP": "true"}), 300)
    assert "FSDP2 agrees on 2 processes" in done.stdout, done.stderr[-3000:]


def test_a_recipe_that_is_done_ends_its_process_group(tmp_path):
    (tmp_path / "recipe.py").write_text(
        "from torch import distributed\n"
        "from dialsum_trl.core.settings.stage import Stage\n"
        "from dialsum_trl.stages.common.command import command\n"
        "def run():\n"
        f"    distributed.init_process_group('gloo', init_method='file://{tmp_path}/meet', rank=0, world_size=1)\n"
        "    return distributed.get_world_size()\n"
        "stage = command(Stage('report', '__main__', groups=()), 'report', '')\n"
        "print(stage(), distributed.is_initialized())\n"
    )
    done = finish(start([sys.executable, str(tmp_path / "recipe.py")], ROOT), 60)
    assert done.stdout == "1 False\n", done.stderr


@pytest.mark.slow
def test_cpu_yaml_refuses_several_processes_instead_of_starting_one(toy):
    command = [*launcher("cpu", 2), str(ROOT / "recipes/sft_llama3b.py"), *sft_argv(toy, toy / "refused")]
    done = finish(start(command, ROOT), 120)
    assert done.returncode != 0
    assert "error: several processes were requested and the launcher started one" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["4bit", "none"])
@pytest.mark.parametrize("config", ["ddp", "fsdp", ZERO2, ZERO3])
def test_two_processes_train_as_one_does(toy, one_process, config, bits):
    assert_same_run(one_process(bits), train_there(toy, config, toy / f"{config}-{bits}", quantization=bits))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "fsdp", ZERO2, ZERO3])
def test_two_processes_continue_from_one_process_checkpoint(toy, one_process, config):
    one = one_process("4bit")
    output = resumed(toy, one, toy / f"one-then-{config}")
    assert_same_run(one, train_there(toy, config, output, resume_from_checkpoint="true"))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["fsdp", ZERO2, ZERO3])
def test_the_best_checkpoint_is_the_adapter_that_is_left(toy, config):
    """A learning rate that makes the loss worse after step 3: checkpoint-3 is the best, and what remains."""
    # the warm-up of a huge rate: the first evaluation is better than the second
    output = train_there(toy, config, toy / f"best-{config}", learning_rate=0.5, load_best_model_at_end=True)
    state = json.loads((output / "trainer_state.json").read_text())
    best = load_file(Path(state["best_model_checkpoint"]) / "adapter_model.safetensors")
    left = load_file(output / "adapter_model.safetensors")
    assert all((best[name] == left[name]).all() for name in best)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", ZERO2])
def test_a_killed_process_ends_the_job_and_the_run_continues_on_one_process(toy, one_process, config):
    output = toy / f"killed-{config}"
    argv = sft_argv(toy, output)
    done = launch(toy, config, [{"stage": "sft", "argv": argv, "fails": {"rank": 1, "step": 5, "how": "killed"}}])
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr
    assert_same_run(one_process("4bit"), train_here(toy, output, resume_from_checkpoint="true"))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "fsdp", ZERO2, ZERO3])
def test_full_fine_tuning_trains_as_one_process_does(toy, config):
    settings = dict(use_peft="false", quantization="none", learning_rate=1e-3)
    one = toy / "one-full"
    if not one.exists():
        train_here(toy, one, **settings)
    two = train_there(toy, config, toy / f"full-{config}", **settings)
    assert losses(two) == pytest.approx(losses(one), abs=TOLERANCE)
    assert losses(two, "eval_loss") == pytest.approx(losses(one, "eval_loss"), rel=1e-5)
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert mine.keys() == theirs.keys()  # tied embeddings once
    assert max((mine[name] - theirs[name]).abs().max().item() for name in mine) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("config", ["fsdp", ZERO2, ZERO3])
def test_full_fine_tuning_continues_from_its_checkpoint(toy, config):
    settings = dict(use_peft="false", quantization="none", learning_rate=1e-3)
    unbroken = train_there(toy, config, toy / f"full-unbroken-{config}", **settings)
    output = resumed(toy, unbroken, toy / f"full-continued-{config}")
    train_there(toy, config, output, resume_from_checkpoint="true", **settings)
    assert losses(output) == pytest.approx(losses(unbroken), abs=TOLERANCE)
