"""From sampled summaries to preference pairs: pure functions of rows, samples and a seed."""

import random
from collections import Counter

from dialsum_trl.data.patterns import UNWRITABLE
from dialsum_trl.rl.faithfulness import KINDS, negatives
from dialsum_trl.rl.form import resistant
from dialsum_trl.rl.quantities import Usual

MAX_REFERENCE_SHARE = 0.3  # more would teach to tell humans from models instead of good from bad
BROKEN = "\ufffd"  # what decoding gives for bytes that are no character


def alike_in_length(a: str, b: str, tolerance: float) -> bool:
    """Whether the shorter text has at least `1 - tolerance` of the longer one's characters."""
    return min(len(a), len(b)) >= (1 - tolerance) * max(len(a), len(b))


def best_and_worst(samples: list[str], scores: list[float], margin: float, tolerance: float):
    """The two samples of similar length that differ most in score, or why there are none.

    A sample with a broken character may be rejected and is never chosen: the model would learn it.

    Returns:
        `(chosen, rejected, margin), None` or `None, reason`.
    """
    distinct = {}
    for text, score in zip(samples, scores, strict=True):
        if text:
            distinct.setdefault(text, score)
    if len(distinct) < 2:
        return None, "all samples alike"
    spread = max(distinct.values()) - min(distinct.values())
    if spread < margin:
        return None, f"margin below {margin:.2f}"
    whole = [text for text in distinct if BROKEN not in text]
    if not whole:
        return None, "broken characters in all samples"
    fits = [(distinct[a] - distinct[b], a, b) for a in whole for b in distinct if alike_in_length(a, b, tolerance)]
    gap, chosen, rejected = max(fits)
    if gap < margin:
        return None, f"lengths differ by more than {100 * tolerance:.0f} %"
    return (chosen, rejected, gap), None


def unfaithful_pairs(rows, summaries: list[str], draw: random.Random) -> tuple[list[dict], Counter]:
    """At most one pair per row, with a rejected version that is not recognizable by its form.

    Of each kind, pairs are kept as `resistant` says. A kind that is recognizable in this corpus (a negation where all
    other summaries are affirmative) gives few pairs or none.

    Args:
        rows: dicts with `fname`, `dialogue`, `summaries`.
        summaries: for each row the summary to make a version of; it is the chosen one.

    Returns:
        `(pairs, told)`: versions per kind that were left out as recognizable by their form.
    """
    usual, told = Usual(summaries), Counter()
    versions = [
        dict(negatives(summary, draw, row["dialogue"], usual)) for row, summary in zip(rows, summaries, strict=True)
    ]
    for kind in KINDS:
        made = [index for index, of_row in enumerate(versions) if kind in of_row]
        kept = resistant([(summaries[index], versions[index][kind]) for index in made])
        for index in set(made) - {made[place] for place in kept}:
            del versions[index][kind]
            told[kind] += 1
    pairs = [
        {
            "fname": row["fname"],
            "prompt": row["dialogue"],
            "chosen": summary,
            "rejected": version,
            "kind": kind,
            "references": row["summaries"],
        }
        for row, summary, of_row in zip(rows, summaries, versions, strict=True)
        for kind, version in list(of_row.items())[:1]
    ]
    return pairs, told


def make_pairs(rows, samples, scores, rouge, *, margin, tolerance, reference_share, faithfulness_share, seed):
    """Pairs of three kinds from sampled summaries.

    Args:
        rows: dicts with `fname`, `dialogue`, `summaries`.
        samples, scores: for each row its sampled summaries and their mean ROUGE F1 (0 to 1).
        rouge: `(texts, references) -> scores`, for the unfaithful versions.
        margin: smallest difference in score between chosen and rejected (not for unfaithful versions).
        tolerance: how much shorter one of the two may be, as a share.
        reference_share, faithfulness_share: largest share of these kinds among all pairs.

    Returns:
        `(pairs, why rows gave no pair of samples, unfaithful versions recognizable by form)`; two Counters.
    """
    draw, dropped = random.Random(seed), Counter()
    pairs, with_reference, good = [], [], []
    for row, texts, values in zip(rows, samples, scores, strict=True):
        read = [(v, text) for v, text in zip(values, texts, strict=True) if text and not UNWRITABLE.search(text)]
        base = {"fname": row["fname"], "prompt": row["dialogue"]}
        found, reason = best_and_worst([text for _, text in read], [value for value, _ in read], margin, tolerance)
        if found:
            pairs.append({**base, "chosen": found[0], "rejected": found[1], "margin": found[2], "kind": "samples"})
        else:
            dropped[reason] += 1
        reference = draw.choice(row["summaries"]).strip()
        near = [each for each in read if each[0] <= 1 - margin and alike_in_length(reference, each[1], tolerance)]
        if near:
            value, text = draw.choice(near)
            pair = {"chosen": reference, "rejected": text, "margin": 1 - value, "kind": "reference"}
            with_reference.append({**base, **pair})
        good.append(max((each for each in read if BROKEN not in each[1]), default=(0, reference))[1])
    rest = 1 - reference_share - faithfulness_share
    count = round(len(pairs) * faithfulness_share / rest)
    draw.shuffle(with_reference)
    with_reference = with_reference[: round(len(pairs) * reference_share / rest)]
    unfaithful, told = unfaithful_pairs(rows, good, draw) if count else ([], Counter())
    draw.shuffle(unfaithful)
    if unfaithful := unfaithful[:count]:
        references = [pair.pop("references") for pair in unfaithful]
        chosen, rejected = (rouge([pair[side] for pair in unfaithful], references) for side in ("chosen", "rejected"))
        for pair, high, low in zip(unfaithful, chosen, rejected, strict=True):
            pair["margin"] = high - low
    order = {row["fname"]: index for index, row in enumerate(rows)}
    pairs = sorted([*pairs, *with_reference, *unfaithful], key=lambda pair: order[pair["fname"]])
    return [{**pair, "margin": round(pair["margin"], 4)} for pair in pairs], dropped, told
