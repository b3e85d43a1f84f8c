"""What PPO and GRPO share until the trainer is built."""

import math

from dialsum_trl.core.console import say
from dialsum_trl.core.errors import InputError
from dialsum_trl.metrics.rouge import RougeConfig
from dialsum_trl.models.adapters import load_base_and_policy
from dialsum_trl.prompts.chat_tokens import stop_token_ids
from dialsum_trl.prompts.templates import template_kwargs
from dialsum_trl.rl.learned_reward import LearnedReward
from dialsum_trl.rl.online_trainer import online_dev_rows, online_rows
from dialsum_trl.rl.rewards import reward_functions
from dialsum_trl.stages.common.run import Run, continue_adapter
from dialsum_trl.training.best_metric import ROUGE, choose_by
from dialsum_trl.training.optional import check_engine


def adjust_online(values: dict, given: set[str]) -> None:
    """`adjust` of PPO and GRPO: as every stage that trains an adapter further; evaluations where there are dev rows;
    one flag weighs the reward adapter.
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


def check_rollout(method: str, args, dialogues: int) -> None:
    """Raises InputError where the file has fewer dialogues than one rollout takes: no step could be made."""
    needed = args.generation_batch_size // args.num_generations
    if dialogues >= needed:
        return
    if method == "PPO":
        summaries = dialogues * args.num_generations
        parts = math.lcm(args.num_mini_batches * args.world_size, args.num_generations)
        most = summaries // parts * parts
        remedy = f"--rollout_batch_size {most}" if most else "--rollout_batch_size, --num_mini_batches or the processes"
        remedy = f", or lower {remedy}" if summaries > 1 else ""  # a rollout has two summaries or more
    else:
        remedy = (
            f", or lower --gradient_accumulation_steps ({args.steps_per_generation}) or --per_device_train_batch_size "
            f"({args.per_device_train_batch_size})"
        )
    raise InputError(
        f"{dialogues} training dialogues, and one rollout takes {needed} ({args.generation_batch_size} summaries, "
        f"{args.num_generations} per dialogue): give at least {needed} dialogues{remedy}"
    )


def open_online(method: str, data, prompt, model_args, rouge, rewards, args) -> tuple[Run, dict]:
    """A described run, and the arguments of its trainer: prompts, policy, rewards, dev rows.

    Args:
        method: "PPO" or "GRPO".
        rewards: `RewardArguments`.
    """
    rewards.check_weights(args.reward_weights)
    run = Run(method, (data, prompt, model_args, rouge, rewards, args))
    run.open()
    check_engine(args.use_vllm)
    train, dev = run.rows()
    check_rollout(method, args, len(train))
    tokenizer = run.load_tokenizer()
    args.chat_template_kwargs = template_kwargs(tokenizer)
    budget = rewards.max_length - args.max_completion_length
    train_rows, shortened = online_rows(train, tokenizer, budget)
    say(f"train: {len(train_rows)} dialogues, {shortened} shortened")
    info = run.describe(tokenizer, train, train_rows, dev, train["fname"][:])

    args.reward_weights = args.reward_weights or rewards.weights()  # after `describe`: older checkpoints hold none
    args.eval_on_start = args.eval_on_start and run.checkpoint is None  # the start of the run was measured
    model = load_base_and_policy(model_args, args, tokenizer)
    rouge_config, stop_ids = RougeConfig.of(rouge), stop_token_ids(tokenizer)
    functions = reward_functions(rewards.reward_functions, rouge_config, stop_ids)
    if rewards.reward_adapter_path:
        functions.append(LearnedReward(model, rewards.reward_adapter_path, tokenizer, rewards.reward_length_control))
    return run, dict(
        model=model,
        reward_funcs=functions,
        args=args,
        train_dataset=train_rows,
        eval_dataset=online_dev_rows(dev, tokenizer, budget, rewards.rouge_rows),
        processing_class=tokenizer,
        stop_ids=stop_ids,
        rouge_config=rouge_config,
        max_rouge_drop=rewards.max_rouge_drop,
        max_gaming_drop=rewards.max_gaming_drop,
        run_info=info,
    )
