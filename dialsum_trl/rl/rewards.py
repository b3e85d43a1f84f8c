"""Rewards that need no model, for PPO and GRPO: each is between 0 and 1.

They have TRL's reward signature: `completions` (texts, or messages with one assistant turn), the columns of the rows
(`dialogue`, `summaries`) and `completion_ids` come as keyword arguments, one float a completion goes back.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dialsum_trl.arguments import flag
from dialsum_trl.best_checkpoint import ROUGE, choose_by
from dialsum_trl.errors import InputError
from dialsum_trl.prompts import fit, prompt_messages
from dialsum_trl.runs import continue_adapter

MASK = re.compile(r"#[A-Za-z]+\d*#")
BROKEN_MASK = re.compile(r"#(?=\S)|(?<=\S)#")
HANGUL = re.compile("[가-힣ㄱ-ㅣ]")  # syllables, single letters
LENGTH_BAND = (0.6, 1.4)  # of the references' mean length: no loss inside
LENGTH_LIMITS = (0.2, 2.0)  # nothing is earned outside
SCALE_FILE = "reward.json"  # beside a reward adapter: mean and standard deviation of its held-out scores


def texts(completions) -> list[str]:
    """The summaries in TRL's completions."""
    return [c if isinstance(c, str) else c[0]["content"] for c in completions]


def length_band(completions, summaries, **kwargs) -> list[float]:
    """1 where the length in characters is 0.6 to 1.4 times the references' mean, falling to 0 at 0.2 and 2 times."""
    result = []
    for text, references in zip(texts(completions), summaries, strict=True):
        ratio = len(text.strip()) / (sum(map(len, references)) / len(references))
        if ratio < LENGTH_BAND[0]:
            inside = (ratio - LENGTH_LIMITS[0]) / (LENGTH_BAND[0] - LENGTH_LIMITS[0])
        elif ratio > LENGTH_BAND[1]:
            inside = (LENGTH_LIMITS[1] - ratio) / (LENGTH_LIMITS[1] - LENGTH_BAND[1])
        else:
            inside = 1.0
        result.append(max(0.0, inside))
    return result


def mask_fidelity(completions, dialogue, **kwargs) -> list[float]:
    """Share of the summary's masks (`#Person1#`) that the dialogue holds; broken ones (`#Person1`) count as invented.

    A summary that names nobody of a masked dialogue gets 0; without any masks on both sides it is 1.
    """
    result = []
    for text, source in zip(texts(completions), dialogue, strict=True):
        known, named = set(MASK.findall(source)), MASK.findall(text)
        broken = len(BROKEN_MASK.findall(MASK.sub(" ", text)))
        if not named and not broken:
            result.append(0.0 if known else 1.0)
        else:
            result.append(sum(mask in known for mask in named) / (len(named) + broken))
    return result


def no_repetition(completions, **kwargs) -> list[float]:
    """1 minus the share of word trigrams that occurred before in the summary; below three words: distinct words."""
    result = []
    for text in texts(completions):
        words = text.split()
        n = 3 if len(words) >= 3 else 1
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        result.append(len(set(grams)) / len(grams) if grams else 0.0)
    return result


def hangul_share(completions, **kwargs) -> list[float]:
    """Share of Hangul among the letters, masks left out (models leak Chinese or English words); 0 without letters."""
    result = []
    for text in texts(completions):
        letters = [c for c in MASK.sub("", text) if c.isalpha()]
        result.append(sum(bool(HANGUL.match(c)) for c in letters) / len(letters) if letters else 0.0)
    return result


def rouge_reward(config=None):
    """ROUGE as a reward: the mean of ROUGE-1, -2 and -L F1 against the references, 0 to 1.

    Args:
        config: a `rouge.RougeConfig`; None is its default (morphemes, mean over the references).
    """
    from dialsum_trl.rouge import RougeConfig, score

    config = config or RougeConfig()

    def rouge(completions, summaries, **kwargs) -> list[float]:
        report = score(texts(completions), summaries, config, bootstrap=0, floor_line=None)
        return (report.per_row.mean(axis=1) / 100).tolist()

    return rouge


def end_of_turn_reward(stop_ids: list[int]):
    """1 for a completion whose last token is in `stop_ids`, 0 for one that was cut by the token limit."""

    def end_of_turn(completion_ids, **kwargs) -> list[float]:
        return [float(bool(ids) and ids[-1] in stop_ids) for ids in completion_ids]

    return end_of_turn


NAMES = ("rouge", "length_band", "mask_fidelity", "no_repetition", "hangul_share", "end_of_turn")


def reward_functions(names: list[str], rouge_config, stop_ids: list[int]) -> list:
    """The functions behind `--reward_functions`, in the order of `names`.

    Raises:
        InputError: a name that is none of `NAMES`, or twice the same.
    """
    plain = {f.__name__: f for f in (length_band, mask_fidelity, no_repetition, hangul_share)}
    for name in names:
        if name not in NAMES:
            raise InputError(f"--reward_functions {name}: must be of {', '.join(NAMES)}")
    if len(set(names)) < len(names):
        raise InputError(f"--reward_functions {' '.join(names)}: a name stands twice; use --reward_weights instead")
    return [
        rouge_reward(rouge_config) if n == "rouge" else end_of_turn_reward(stop_ids) if n == "end_of_turn" else plain[n]
        for n in names
    ]


@dataclass
class RewardArguments:
    """What PPO and GRPO are paid for."""

    reward_functions: list[str] = field(
        default_factory=lambda: ["rouge"],
        metadata={"help": f"Rewards without a model, of {', '.join(NAMES)}; none with a reward adapter: pass none."},
    )
    reward_adapter_path: str | None = flag(None, "Adapter of recipes/reward.py; its score counts as the last reward.")
    reward_model_weight: float = flag(
        1.0, "Weight of its (standardized) score beside functions of weight 1; or give --reward_weights."
    )
    rouge_rows: int = flag(64, "Dev rows that each evaluation summarizes.")
    max_length: int = flag(1024, "Tokens of prompt + summary; longer dialogues lose middle turns.")

    def __post_init__(self):
        if self.reward_functions == ["none"]:
            self.reward_functions = []
        if not self.reward_functions and not self.reward_adapter_path:
            raise InputError("no reward: give --reward_functions rouge ... or --reward_adapter_path outputs/reward")
        for file in ("adapter_model.safetensors", SCALE_FILE):
            if self.reward_adapter_path and not (Path(self.reward_adapter_path) / file).exists():
                raise InputError(
                    f"--reward_adapter_path {self.reward_adapter_path}: holds no {file}; give the folder of "
                    f"recipes/reward.py"
                )

    def weights(self) -> list[float]:
        """One a reward, where `--reward_weights` are not given."""
        return [1.0] * len(self.reward_functions) + ([self.reward_model_weight] if self.reward_adapter_path else [])

    def check_weights(self, weights: list[float] | None) -> None:
        """Raises InputError when `--reward_weights` are not one a reward."""
        names = [*self.reward_functions, *(["reward_model"] if self.reward_adapter_path else [])]
        if weights is not None and len(weights) != len(names):
            raise InputError(f"--reward_weights: {len(weights)} for {len(names)} rewards ({', '.join(names)})")


def adjust_online(values: dict, given: set[str]) -> None:
    """`adjust` of PPO and GRPO: as every stage that trains an adapter further; evaluations where there are dev rows;
    one flag weighs the reward adapter.

    Raises:
        InputError: two flags do, or one where there is no reward adapter; what `best_checkpoint.choose_by` raises.
    """
    continue_adapter(values, given)
    names = [name for name in values["reward_functions"] if name != "none"]
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


def online_rows(rows, tokenizer, prompt_budget: int):
    """Rows for TRL's online trainers: `prompt` (messages that fit into `prompt_budget` tokens), `dialogue` and
    `summaries`; and how many dialogues had to lose turns."""
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
