"""Rewards to a policy through TRL's trainer."""

import time

from dialsum_trl.core.console import say, table
from dialsum_trl.core.settings.flags import DataArguments, ModelArguments, PromptArguments, RougeArguments
from dialsum_trl.core.settings.resolve import parse_recipe
from dialsum_trl.data.splits import read_rows
from dialsum_trl.rl.generations import check_saves
from dialsum_trl.rl.grpo_trainer import trainer_class
from dialsum_trl.rl.online_rows import online_dev_rows, online_rows
from dialsum_trl.rl.rewards import reward_functions
from dialsum_trl.stages.common.adjust import adjust_online
from dialsum_trl.stages.common.command import command
from dialsum_trl.stages.common.flags import RewardArguments
from dialsum_trl.stages.grpo import GRPO_SETTINGS


def grpo_config():
    from trl import GRPOConfig

    return GRPOConfig


@command
def train_grpo(recipe: dict, argv: list[str]) -> dict:
    """Trains the SFT adapter on rewards and leaves the policy adapter alone in `output_dir`.

    Returns:
        The figures of the closing table (reward and KL of the first and the last steps, scores on dev).
    """
    data, prompt, model_args, rouge, paid, args = parse_recipe(
        [DataArguments, PromptArguments, ModelArguments, RougeArguments, RewardArguments],
        {**GRPO_SETTINGS, **recipe},
        argv,
        ("trl.GRPOConfig", grpo_config),
        adjust_online,
        stage="grpo",
    )
    from dialsum_trl.metrics.rouge import RougeConfig
    from dialsum_trl.models.adapters import (
        POLICY,
        adapter_state,
        copy_weights,
        load_adapter_state,
        load_base_and_policy,
        upcast_trained,
    )
    from dialsum_trl.prompts.chat_tokens import stop_token_ids
    from dialsum_trl.prompts.templates import template_kwargs
    from dialsum_trl.prompts.tokenizer import tokenizer_of
    from dialsum_trl.rl.adapter_roles import Rooms
    from dialsum_trl.rl.learned_reward import LearnedReward
    from dialsum_trl.sharing.push import plan_push
    from dialsum_trl.sharing.save import keep_record, save_adapter
    from dialsum_trl.stages.common.run import peak_memory_gib
    from dialsum_trl.training.checkpoints.output_dir import prepare_output_dir
    from dialsum_trl.training.checkpoints.same_run import describe, same_run

    paid.check_weights(args.reward_weights)
    check_saves(args)
    checkpoint = prepare_output_dir(args)
    push_when_done = plan_push(args, model_args)
    train, dev = read_rows(data)
    tokenizer = tokenizer_of(model_args, prompt)
    stop_ids = stop_token_ids(tokenizer)
    args.chat_template_kwargs = template_kwargs(tokenizer)
    budget = paid.max_length - args.max_completion_length
    rows, shortened = online_rows(train, tokenizer, budget)
    say(f"train: {len(rows)} dialogues, {shortened} shortened")

    about = describe(args, (data, prompt, model_args, rouge, paid), tokenizer, train, rows, dev)
    same_run(checkpoint, about, train["fname"])
    args.eval_on_start = args.eval_on_start and checkpoint is None
    args.reward_weights = args.reward_weights or paid.weights()  # behind `describe`: older checkpoints hold none
    model = load_base_and_policy(model_args, args, tokenizer)
    start = adapter_state(model, POLICY)
    model.generation_config.eos_token_id = stop_ids
    config = RougeConfig.of(rouge)
    functions = reward_functions(paid.reward_functions, config, stop_ids)
    if paid.reward_adapter_path:
        functions.append(LearnedReward(model, paid.reward_adapter_path, tokenizer))
        functions[-1].rooms = Rooms(model, (POLICY,))
    dev_rows = online_dev_rows(dev, tokenizer, budget, paid.rouge_rows)
    trainer = trainer_class()(
        model=model,
        reward_funcs=functions,
        args=args,
        train_dataset=rows,
        eval_dataset=dev_rows,
        processing_class=tokenizer,
    )
    trainer.stop_ids = stop_ids
    trainer.evaluate_on(dev_rows, config)
    trainer.run_settings, trainer.row_names = about, train["fname"][:]
    keep_record(trainer, tokenizer, model_args, prompt, data, "GRPO")
    upcast_trained(trainer.model)
    if args.beta:
        load_adapter_state(trainer.model, start, "ref")  # TRL's copy lacks the rows of added tokens
        copy_weights(trainer.model, "ref", POLICY)  # TRL rounded the policy to bf16, not its copy
    started = time.time()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate() if dev is not None else {}
    trainer.save_state()
    save_adapter(trainer, tokenizer, model_args, metrics)

    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    figures = {
        "dialogues": len(rows),
        "optimizer steps": trainer.state.global_step,
        "rewards": ", ".join(trainer.reward_func_names),
        "first reward": logged[0]["reward"],
        "last reward": logged[-1]["reward"],
        "last KL to SFT, nats a token": logged[-1].get("kl"),
        **{f"dev {key.removeprefix('eval_')}": value for key, value in metrics.items()},
        "seconds": round(seconds, 1),
        "peak GPU memory, GiB": peak_memory_gib(),
        "adapter": args.output_dir,
    }
    table("GRPO finished", list(figures.items()))
    push_when_done()
    return figures
