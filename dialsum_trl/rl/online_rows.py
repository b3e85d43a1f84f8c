"""Rows for online trainers: prompts as messages that fit."""

from dialsum_trl.prompts.prompt import fit, prompt_messages


def online_rows(rows, tokenizer, prompt_budget: int):
    """Rows for TRL's online trainers: `prompt` (messages that fit into `prompt_budget` tokens), `dialogue` and
    `summaries`; and how many dialogues were shortened."""
    fitted = [fit(tokenizer, dialogue, prompt_budget) for dialogue in rows["dialogue"]]
    ready = rows.select_columns(["dialogue", "summaries"]).add_column(
        "prompt", [prompt_messages(f.text) for f in fitted]
    )
    return ready, sum(f.shortened for f in fitted)


def online_dev_rows(dev, tokenizer, prompt_budget: int, most: int):
    """The first `most` dev rows as `online_rows` gives them, for `dev_rewards.DevRewards`; None without dev rows."""
    if dev is None:
        return None
    return online_rows(dev.select(range(min(most, len(dev)))), tokenizer, prompt_budget)[0]
