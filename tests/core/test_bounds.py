"""Which numbers a flag takes stands in its field, or in one table for trainers' fields."""

import runpy

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.bounds import bounds_of, check_numbers
from dialsum_trl.rl.ppo_config import PPOConfig
from dialsum_trl.stages.decoding_sweep import DECODING_SWEEP
from dialsum_trl.stages.ppo import PPO
from dialsum_trl.stages.predict import PREDICT
from dialsum_trl.stages.reward import REWARD
from dialsum_trl.stages.search import SEARCH
from dialsum_trl.stages.seq2seq import SEQ2SEQ
from dialsum_trl.stages.sft import SFT
from tests.conftest import ROOT

GROUPS = (
    *SFT.groups,
    *SEQ2SEQ.groups,
    *PPO.groups,
    *REWARD.groups,
    *PREDICT.groups,
    *DECODING_SWEEP.groups,
    *SEARCH.groups,
    PPOConfig,
)
BOUNDS = bounds_of(GROUPS)
EDGES = {
    "lora_dropout": ((0, 0.99), (-0.01, 1)),
    "search_lora_dropout": ((0, 0.99), (-0.01, 1)),
    "held_out": ((0, 0.99), (-0.01, 1)),
    "top_p": ((0.01, 1), (0, 1.01)),
    "learning_rate": ((1e-9, 1e30), (0, float("inf"), float("nan"))),
    "seed": ((0, 2**32 - 1), (-1, 2**32)),
    "max_grad_norm": ((0, float("inf")), (-1, float("nan"))),
    "length_penalty": ((-1, 0, 2), (float("inf"), float("nan"))),
    "kl_target": ((0, float("inf")), (-1,)),
}


@pytest.mark.parametrize("name", EDGES)
def test_an_interval_holds_its_closed_ends_and_not_its_open_ones(name):
    inside, outside = EDGES[name]
    check_numbers({name: list(inside)}, BOUNDS)
    for number in outside:
        with pytest.raises(InputError, match=f"--{name} {number}: "):
            check_numbers({name: number}, BOUNDS)


def test_no_number_is_also_refused_where_a_flag_has_no_bounds():
    with pytest.raises(InputError, match="--vespo_k_pos nan: is not a number"):
        check_numbers({"vespo_k_pos": float("nan")}, BOUNDS)


def test_a_default_is_not_looked_at_and_neither_is_what_is_no_number():
    check_numbers({"max_steps": -1, "seed": None, "bootstrap": False}, BOUNDS, {"max_steps": -1})
    with pytest.raises(InputError, match="--max_steps -1"):
        check_numbers({"max_steps": -1}, BOUNDS, {"max_steps": 8})


def test_every_name_of_the_table_is_a_flag_of_some_stage(monkeypatch, capsys):
    recipes = "sft_llama3b seq2seq_kobart search predict preferences reward ppo grpo decoding_sweep"
    for recipe in recipes.split():
        monkeypatch.setattr("sys.argv", [recipe, "--help_all"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "recipes" / f"{recipe}.py"), run_name="__main__")
    flags = set(capsys.readouterr().out.replace("[", " ").replace(",", " ").split())
    assert {f"--{name}" for name in BOUNDS} <= flags
