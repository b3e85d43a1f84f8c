"""Summaries of a file, from a base model or an adapter: `predict`."""

from dialsum_trl.core.settings.flags import SUMMARIZING, PredictArguments
from dialsum_trl.core.settings.stage import Stage, Unread
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.unread_flags import MODEL_SCORES, NO_NEW_ADAPTER, ONE_BEAM, TRAINING_ONLY, rows_come_from

PREDICT = Stage(
    "predict",
    job="dialsum_trl.stages.jobs.predict",
    groups=(*SUMMARIZING, PredictArguments),
    unread=(
        NO_NEW_ADAPTER,
        TRAINING_ONLY,
        rows_come_from("--test_file"),
        Unread(
            "temperature top_p",
            "beams are searched, not sampled; leave it out, or add --do_sample true --num_beams 1",
            lambda values: not values["do_sample"],
        ),
        ONE_BEAM,
        *MODEL_SCORES,
    ),
)


predict = command(
    PREDICT,
    "predict",
    """Summarizes `test_file`; without an adapter this is the zero-shot evaluation.

    Returns:
        `{"summaries", "scores", "model_scores"}`; where the file has no references scores is None, and the last empty.
    """,
)
