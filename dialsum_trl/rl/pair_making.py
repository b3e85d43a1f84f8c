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
    usual = Usual(summaries)
    made = [
        (index, kind, version)
        for index, (row, summary) in enumerate(zip(rows, summaries, strict=True))
        for kind, version in negatives(summary, draw, row["dialogue"], usual)
    ]
    kept, told = set(), Counter()
    for kind in KINDS:
        places = [place for place, (_, of_kind, _) in enumerate(made) if of_kind == kind]
        fit = resistant([(summaries[made[place][0]], made[place][2]) for place in places])
        kept |= {places[place] for place in fit}
        told[kind] = len(places) - len(fit)
    first = {}
    for place, (index, kind, version) in enumerate(made):
        if place in kept:
            first.setdefault(index, (kind, version))
    pairs = [
        {
            "fname": rows[index]["fname"],
            "prompt": rows[index]["dialogue"],
            "chosen": summaries[index],
            "rejected": version,
            "kind": kind,
            "references": rows[index]["summaries"],
        }
        for index, (kind, version) in first.items()
    ]
    return pairs, +told


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
        read = [
            (value, text) for value, text in zip(values, texts, strict=True) if text and not UNWRITABLE.search(text)
        ]
        values, texts = [value for value, _ in read], [text for _, text in read]
        base = {"fname": row["fname"], "prompt": row["dialogue"]}
        found, reason = best_and_worst(texts, values, margin, tolerance)
        if found:
            pairs.append({**base, "chosen": found[0], "rejected": found[1], "margin": found[2], "kind": "samples"})
        else:
            dropped[reason] += 1
        reference = draw.choice(row["summaries"]).strip()
        near = [
            (value, text)
            for value, text in zip(values, texts, strict=True)
            if value <= 1 - margin and alike_in_length(reference, text, tolerance)
        ]
        if near:
            value, text = draw.choice(near)
            gap = 1 - value
            with_reference.append({**base, "chosen": reference, "rejected": text, "margin": gap, "kind": "reference"})
        whole = [(value, text) for value, text in zip(values, texts, strict=True) if BROKEN not in text]
        good.append(max(whole)[1] if whole else reference)
    rest = 1 - reference_share - faithfulness_share
    wanted = {
        "reference": round(len(pairs) * reference_share / rest),
        "faithfulness": round(len(pairs) * faithfulness_share / rest),
    }
    draw.shuffle(with_reference)
    unfaithful, told = unfaithful_pairs(rows, good, draw) if wanted["faithfulness"] else ([], Counter())
    draw.shuffle(unfaithful)
    unfaithful = unfaithful[: wanted["faithfulness"]]
    if unfaithful:
        references = [pair.pop("references") for pair in unfaithful]
        chosen, rejected = (rouge([pair[side] for pair in unfaithful], references) for side in ("chosen", "rejected"))
        for pair, high, low in zip(unfaithful, chosen, rejected, strict=True):
            pair["margin"] = high - low
    pairs += with_reference[: wanted["reference"]] + unfaithful
    order = {row["fname"]: index for index, row in enumerate(rows)}
    pairs.sort(key=lambda pair: order[pair["fname"]])
    return [{**pair, "margin": round(pair["margin"], 4)} for pair in pairs], dropped, told
