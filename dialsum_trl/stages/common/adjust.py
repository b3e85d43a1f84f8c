"""Settings that follow an adapter to be trained further (`continue_adapter`, `adjust_online`)."""

from dialsum_trl.core.errors import InputError
from dialsum_trl.models.adapter_settings import keep_lora, use_adapter_settings
from dialsum_trl.training.best_checkpoint import ROUGE, choose_by
from dialsum_trl.training.precision import match_precision


def adjust_online(values: dict, given: set[str]) -> None:
    """`adjust` of PPO and GRPO: as every stage that trains an adapter further; evaluations where there are dev rows;
    one flag weighs the reward adapter.

    Raises:
        InputError: two flags do, or one where there is no reward adapter; what `best_checkpoint.choose_by` raises.
    """
    continue_adapter(values, given)
    names = [name.rpartition(".")[2] for name in values["reward_functions"] if name != "none"]
    names += ["reward_model"] if values["reward_adapter_path"] else []
    choose_by(values, given, (*ROUGE, "hit_limit", "reward", *(f"reward_{name}" for name in names)))
    if "reward_model_weight" not in given:
        return
    if values["reward_weights"] is not None:
        raise InputError(
            "--reward_weights and --reward_model_weight exclude each other: the last of --reward_weights is the reward "
            "adapter's; leave --reward_model_weight out"
        )
    if not values["reward_adapter_path"] and values["reward_model_weight"] != 1:
        raise InputError(
            f"--reward_model_weight {values['reward_model_weight']:g}: there is no reward adapter to weigh; give "
            f"--reward_adapter_path outputs/reward, or --reward_weights for the functions"
        )


def continue_adapter(values: dict, given: set[str]) -> None:
    """`adjust` of stages that train an SFT adapter further: base, dtype and prompt style are the adapter's.

    Raises:
        InputError: no adapter was named.
    """
    if not values["adapter_path"]:
        raise InputError("--adapter_path: give the SFT adapter to start from, outputs/sft_...")
    use_adapter_settings(values, given)
    keep_lora(values, given)
    match_precision(values, given)
