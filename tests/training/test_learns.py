"""What says that a run will not learn: before it starts, and after its first epoch."""

from transformers import TrainerControl, TrainerState, TrainingArguments

from dialsum_trl.training.estimate import too_slow
from dialsum_trl.training.loss_watch import LossWatch


def test_few_steps_at_a_small_rate_are_told_a_rate_that_would_do():
    line = too_slow(72, 2e-5)
    assert "72 steps at --learning_rate 2e-05" in line and "try --learning_rate 3e-04" in line
    assert too_slow(72, 3e-4) is None and too_slow(585, 2e-5) is None


def after_an_epoch(tmp_path, *losses: float, epoch: float = 1.0) -> None:
    state = TrainerState(epoch=epoch, log_history=[{"loss": loss} for loss in losses])
    LossWatch().on_epoch_end(TrainingArguments(tmp_path, use_cpu=True), state, TrainerControl())


def test_a_loss_that_does_not_fall_in_the_first_epoch_is_said(tmp_path, capsys):
    after_an_epoch(tmp_path, 2.30, 2.29, 2.28)
    assert "the loss went from 2.300 to 2.280 in the first epoch and hardly fell" in capsys.readouterr().out


def test_a_loss_that_falls_or_a_later_epoch_is_not(tmp_path, capsys):
    after_an_epoch(tmp_path, 2.3, 2.0)
    after_an_epoch(tmp_path, 2.3)
    after_an_epoch(tmp_path, 1.5, 1.5, epoch=2.0)
    assert capsys.readouterr().out == ""
