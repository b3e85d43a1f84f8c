"""Summaries of a file, from a base model or an adapter: `predict`."""

from types import ModuleType

from dialsum_trl.core.settings.flags import (
    DataArguments,
    DecodingArguments,
    ModelArguments,
    PredictArguments,
    PromptArguments,
    RougeArguments,
)
from dialsum_trl.core.settings.stage import Stage
from dialsum_trl.core.settings.unread import Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread import NO_NEW_ADAPTER, ONE_BEAM, TRAINING_ONLY, rows_come_from

PREDICT = Stage(
    "predict",
    groups=(DataArguments, PromptArguments, ModelArguments, RougeArguments, DecodingArguments, PredictArguments),
    unread=(
        NO_NEW_ADAPTER,
        TRAINING_ONLY,
        rows_come_from("--test_file"),
        Unread(
            ("temperature", "top_p"),
            "beams are searched, not sampled; leave it out, or add --do_sample true --num_beams 1",
            lambda values: not values["do_sample"],
        ),
        ONE_BEAM,
    ),
)


def job() -> ModuleType:
    from dialsum_trl.stages.jobs import predict  # torch and trl: after `--help` and mistyped flags

    return predict


predict = command(
    PREDICT,
    job,
    "predict",
    """Summarizes `test_file`; without an adapter this is the zero-shot evaluation.

    Returns:
        `{"summaries", "scores"}`; scores is None when the file has no references.
    """,
)
