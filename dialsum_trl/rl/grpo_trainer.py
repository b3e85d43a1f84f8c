"""TRL's GRPO trainer with our generation and evaluation."""


def trainer_class():
    from trl import GRPOTrainer

    from dialsum_trl.rl.dev_rewards import DevRewards
    from dialsum_trl.rl.rollouts import FastRollouts, PolicyAlone
    from dialsum_trl.training.checked import CheckedTraining

    class SummaryGRPOTrainer(DevRewards, FastRollouts, PolicyAlone, CheckedTraining, GRPOTrainer):
        """TRL's trainer with our generation and evaluation, an order that resumes, and the policy saved alone."""

    return SummaryGRPOTrainer
