"""The SFT trainer."""


def trainer_class():
    from trl import SFTTrainer

    from dialsum_trl.training.checked import CheckedTraining
    from dialsum_trl.training.checkpoints.portable import PortableCheckpoints, TiedWeightsOnce
    from dialsum_trl.training.dev_rouge import RougeEvaluation
    from dialsum_trl.training.packing.deferred import DeferredMetrics
    from dialsum_trl.training.packing.prepare import PackedTraining
    from dialsum_trl.training.row_loss import EachRowOnce, TokenMeanLoss

    class DialogueSFTTrainer(
        EachRowOnce,
        PackedTraining,
        DeferredMetrics,
        TokenMeanLoss,
        RougeEvaluation,
        CheckedTraining,
        PortableCheckpoints,
        TiedWeightsOnce,
        SFTTrainer,
    ):
        """TRL's trainer on packs: checked gradients, ROUGE beside the evaluation loss, portable checkpoints."""

    return DialogueSFTTrainer
