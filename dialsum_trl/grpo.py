"""GRPO from an SFT adapter: PPO's rewards through TRL's GRPOTrainer, with a KL to the SFT adapter."""

import time

from dialsum_trl.arguments import DataArguments, ModelArguments, PromptArguments, RougeArguments, parse_recipe
from dialsum_trl.console import say, table
from dialsum_trl.errors import command
from dialsum_trl.rl.generations import check_saves
from dialsum_trl.rl.rewards import RewardArguments, adjust_online, online_dev_rows, online_rows, reward_functions
from dialsum_trl.rows import read_rows

GRPO_SETTINGS = dict(
    learning_rate=1e-5,
    beta=0.04,  # TRL's default of 0 lets the policy drift where it will
    num_generations=8,
    num_generations_eval=1,  # dev summaries are greedy
    per_device_train_batch_size=8,
    gradient_accumulation_steps=8,
    max_completion_length=100,
    mask_truncated_completions=True,  # a summary that was cut says nothing about its end
    disable_dropout=True,
    num_train_epochs=1,
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=4,
    max_grad_norm=1.0,
    activation_checkpointing=True,
    activation_checkpointing_kwargs={"use_reentrant": False},
    ddp_find_unused_parameters=False,  # every adapter takes part in every step
    eval_strategy="steps",
    eval_steps=20,
    eval_on_start=True,
    save_strategy="steps",
    save_steps=20,
    save_total_limit=2,
    logging_steps=2,
    logging_nan_inf_filter=False,
)


def grpo_config():
    from trl import GRPOConfig

    return GRPOConfig


def trainer_class():
    from trl import GRPOTrainer

    from dialsum_trl.rl.dev_rewards import DevRewards
    from dialsum_trl.rl.rollouts import FastRollouts, PolicyAlone
    from dialsum_trl.training import CheckedTraining

    class SummaryGRPOTrainer(DevRewards, FastRollouts, PolicyAlone, CheckedTraining, GRPOTrainer):
        """TRL's trainer with our generation and evaluation, an order that resumes, and the policy saved alone."""

    return SummaryGRPOTrainer


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
    from dialsum_trl import models
    from dialsum_trl.prompts import template_kwargs
    from dialsum_trl.resume.sameness import describe, same_run
    from dialsum_trl.rl.adapters import (
        POLICY,
        Rooms,
        adapter_state,
        copy_weights,
        load_adapter_state,
        load_base_and_policy,
        upcast_trained,
    )
    from dialsum_trl.rl.learned_reward import LearnedReward
    from dialsum_trl.rouge import RougeConfig
    from dialsum_trl.runs import peak_memory_gib, prepare_output_dir
    from dialsum_trl.share import hub

    paid.check_weights(args.reward_weights)
    check_saves(args)
    checkpoint = prepare_output_dir(args)
    push_when_done = hub.plan_push(args, model_args)
    train, dev = read_rows(data)
    tokenizer = models.tokenizer_of(model_args, prompt)
    stop_ids = models.stop_token_ids(tokenizer)
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
    config = RougeConfig(rouge.rouge_tokenizer, rouge.rouge_masks, rouge.rouge_references)
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
    hub.keep_record(trainer, tokenizer, model_args, prompt, data, "GRPO")
    upcast_trained(trainer.model)
    if args.beta:
        load_adapter_state(trainer.model, start, "ref")  # TRL's copy lacks the rows of added tokens
        copy_weights(trainer.model, "ref", POLICY)  # TRL rounded the policy to bf16, not its copy
    started = time.time()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.time() - started
    metrics = trainer.evaluate() if dev is not None else {}
    trainer.save_state()
    hub.save_adapter(trainer, tokenizer, model_args, metrics)

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
