"""The metric that chooses the best checkpoint, checked before anything is loaded; transformers fails later."""

from dialsum_trl.core.errors import InputError

LOSS = ("loss",)
LOWER_IS_BETTER = ("loss", "hit_limit", "entropy")  # transformers knows it of losses only
ROUGE = ("rouge_mean", "rouge1", "rouge2", "rougeL")


def choose_by(values: dict, given: set[str], metrics: tuple[str, ...]) -> None:
    """Switches evaluation off where there are no dev rows, else as `check_choice`.

    Args:
        metrics: what an evaluation of these settings measures, without `eval_`.
    """
    if values["eval_file"] or values["dataset_name"]:
        check_choice(values, given, metrics)
        return
    off = {
        "metric_for_best_model": None, "load_best_model_at_end": False, "eval_strategy": "no", "eval_on_start": False
    }  # fmt: skip
    for name, none in off.items():
        if name in given and values[name] != none:
            shown = "true" if values[name] is True else values[name]
            raise InputError(
                f"--{name} {shown}: there are no dev rows to evaluate on; give --eval_file, or leave --{name} out"
            )
    values.update(off)


def check_choice(values: dict, given: set[str], metrics: tuple[str, ...]) -> None:
    """Checks that evaluations have the metric, and sets whether greater is better. If no checkpoints are written and
    `load_best_model_at_end` was not given, it is switched off.

    Raises:
        InputError: the best checkpoint would be chosen by a metric that no evaluation has, or evaluations and
            checkpoints would be at different steps.
    """
    metric, evaluate, save = (values[name] for name in ("metric_for_best_model", "eval_strategy", "save_strategy"))
    if save == "no" and "load_best_model_at_end" not in given:
        values["load_best_model_at_end"] = False
    if values["load_best_model_at_end"] and save != "best" and evaluate != save:
        raise InputError(
            f"--eval_strategy {evaluate}, --save_strategy {save}: the best checkpoint needs evaluations and "
            f"checkpoints at the same steps; give both the same value, or --save_strategy best"
        )
    if metric is None:
        if values["load_best_model_at_end"] and LOSS[0] not in metrics:  # what transformers would take
            raise InputError(
                f"--load_best_model_at_end true: give --metric_for_best_model, one of {', '.join(metrics)}"
            )
        return
    name = metric.removeprefix("eval_")
    if name not in metrics:
        raise InputError(f"--metric_for_best_model {metric}: is not measured; give one of {', '.join(metrics)}")
    if "greater_is_better" not in given:
        values["greater_is_better"] = name not in LOWER_IS_BETTER
