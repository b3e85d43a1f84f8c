"""What a stage does not read is refused where it is given, before anything is loaded."""

from dataclasses import fields

import pytest
from trl import GRPOConfig, SFTConfig

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.settings.stage import refuse_unread
from dialsum_trl.rl.ppo_config import PPOConfig
from dialsum_trl.stages.decoding_sweep import decoding_sweep
from dialsum_trl.stages.dpo import train_dpo
from dialsum_trl.stages.ensemble import ensemble
from dialsum_trl.stages.grpo import train_grpo
from dialsum_trl.stages.postprocess import postprocess
from dialsum_trl.stages.ppo import train_ppo
from dialsum_trl.stages.predict import predict
from dialsum_trl.stages.preferences import make_preferences
from dialsum_trl.stages.report import report
from dialsum_trl.stages.reward import train_reward
from dialsum_trl.stages.seq2seq import train_seq2seq
from dialsum_trl.stages.sft import train_sft

FUNCTIONS = (
    train_sft, train_reward, train_dpo, train_ppo, train_grpo, train_seq2seq, predict, decoding_sweep,
    make_preferences, ensemble, postprocess, report,
)  # fmt: skip
RUN = {function.stage.name: function for function in FUNCTIONS}
CONFIGS = {"sft": SFTConfig, "ppo": PPOConfig, "grpo": GRPOConfig}
ENGINES = {"use_vllm": False, "use_transformers_continuous_batching": False, "use_transformers_paged": False}


@pytest.mark.parametrize(
    ("stage", "words", "remedy"),
    [
        ("grpo", "--top_k 5", "--use_vllm true"),
        ("grpo", "--repetition_penalty 1.5", "--temperature and --top_p"),
        ("ppo", '--generation_kwargs {"top_k":5}', "--use_vllm true"),
        ("ppo", "--epsilon_high 0.9", "leave it out"),
        ("ppo", "--mask_truncated_completions true", "recipes/grpo.py"),
        ("ppo", "--entropy_coef 0.1", "recipes/grpo.py"),
        ("reward", "--label_smoothing_factor 0.1", "leave it out"),
        ("dpo", "--label_smoothing_factor 0.1", "use --label_smoothing$"),
        ("dpo", "--truncation_mode keep_end", "middle of its dialogue"),
        ("sft", "--dataloader_drop_last true", "--fast false"),
        ("sft", "--train_sampling_strategy group_by_length", "--fast false"),
        ("sft", "--completion_only_loss false", "only the summary is trained on"),
        ("sft", "--eos_token <|end_of_text|>", "chat template"),
        ("sft", "--shuffle_dataset true", "every epoch is shuffled"),
        ("grpo", "--num_generations_eval 4", "greedy, one per dialogue"),
        ("seq2seq", "--lora_r 64", "no new adapter"),
        ("predict", "--lora_target_modules q_proj", "no new adapter"),
        ("predict", "--instructions all", "belongs to training"),
        ("predict", "--eval_file dev.csv", "give rows as --test_file"),
        ("predict", "--temperature 0.7", "--do_sample true --num_beams 1"),
        ("decoding_sweep", "--train_file train.csv", "give rows as --eval_file"),
        ("decoding_sweep", "--top_p 0.9", "not sampled"),
        ("preferences", "--eval_file dev.csv", "give rows as --train_file"),
        ("preferences", "--length_penalty 2.0", "there is one"),
    ],
)
def test_a_flag_that_has_no_effect_is_refused_with_the_remedy(stage, words, remedy):
    name, value = words.split()
    with pytest.raises(InputError) as error:
        RUN[stage]({}, [name, value])
    assert str(error.value).startswith(f"{words}: has no effect in {stage}: ")
    assert error.match(remedy)


def test_one_beam_has_no_length_penalty():
    with pytest.raises(InputError, match=r"--length_penalty 2\.0: has no effect in predict: it weighs beams"):
        predict({}, ["--num_beams", "1", "--length_penalty", "2.0"])


def test_a_common_key_of_a_file_may_be_meant_for_other_stages(tmp_path):
    common = "lora_r: 8\neval_file: dev.csv\n"
    (tmp_path / "both.yaml").write_text(common)
    (tmp_path / "own.yaml").write_text("predict:\n  lora_r: 8\n")
    with pytest.raises(InputError, match="no model"):
        predict({}, ["--config", str(tmp_path / "both.yaml")])
    with pytest.raises(InputError, match="--lora_r 8: has no effect in predict"):
        predict({}, ["--config", str(tmp_path / "own.yaml")])


def refused(stage, **given) -> str | None:
    """What `refuse_unread` says of these settings, on the defaults of the stage's trainer."""
    defaults = {field.name: field.default for field in fields(CONFIGS[stage])} | {"fast": True}
    try:
        refuse_unread(stage, RUN[stage].stage.unread, defaults | given, set(given), defaults)
    except InputError as error:
        return str(error)


def test_the_first_of_several_is_named():
    assert refused("ppo", delta=2.0, top_k=5).startswith("--top_k 5: ")


def test_a_default_that_is_given_is_no_error():
    assert refused("ppo", top_k=0, epsilon_high=None, scale_rewards="group", mask_truncated_completions=False) is None


def test_a_value_that_says_what_happens_anyway_is_no_error():
    assert refused("sft", completion_only_loss=True) is None


def test_what_only_packs_pass_over_serves_the_plain_path():
    assert refused("sft", fast=False, dataloader_drop_last=True, train_sampling_strategy="group_by_length") is None


def test_packing_is_there_already_or_comes_without_fast_false():
    assert refused("sft", packing=True).endswith("rows are packed already; leave it out")
    assert refused("sft", fast=False, packing=True).endswith("--fast false pads rows; for packs leave out both")


@pytest.mark.parametrize("engine", ENGINES)
def test_other_engines_read_what_our_sampling_does_not(engine):
    assert refused("grpo", **{engine: True}, top_k=5, min_p=0.1) is None


def test_a_recipes_own_setting_is_no_error():
    unread = RUN["ppo"].stage.unread
    values = {**ENGINES, **{name: 7 for row in unread for name in row.names}}
    assert refuse_unread("ppo", unread, values, set(), dict.fromkeys(values, 0)) is None


def test_a_default_of_true_that_is_given_is_no_error_and_false_is(tmp_path):
    with pytest.raises(InputError, match="no model"):
        predict({}, ["--use_peft", "true"])
    with pytest.raises(InputError, match="--use_peft false: has no effect in predict"):
        predict({}, ["--use_peft", "false"])


@pytest.mark.parametrize("stage", RUN)
def test_every_flag_that_a_stage_says_it_does_not_read_is_one_of_its_flags(stage, capsys):
    with pytest.raises(SystemExit):
        RUN[stage]({}, ["--help_all"])
    known = capsys.readouterr().out
    assert [name for row in RUN[stage].stage.unread for name in row.names if f"--{name}" not in known] == []
