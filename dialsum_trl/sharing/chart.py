"""Line charts as SVG text: no plotting library, sharp at every size, readable on light and dark pages.

Colours are attributes, which every viewer follows, and classes, with which the report's style replaces them.
"""

import math
from collections.abc import Callable
from html import escape

Series = dict[str, list[tuple[float, float]]]  # name of a line -> its points (x, y)
CURVES = (  # title of a panel, and its lines: name and key in a trainer's log
    ("Loss", (("training", "loss"), ("evaluation", "eval_loss"))),
    ("ROUGE on dev rows", (("mean", "eval_rouge_mean"), ("R-1", "eval_rouge1"), ("R-2", "eval_rouge2"))),
    ("Reward", (("training", "reward"), ("evaluation", "eval_reward"))),
)
WIDTH, HEIGHT = 480, 260  # units of one chart
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 48, 40


def training_curves(history: list[dict]) -> dict[str, Series]:
    """Title -> lines of what a trainer logged over steps: loss, ROUGE and reward, without what is not finite."""
    panels = {}
    for title, lines in CURVES:
        drawn = {
            name: [(row["step"], row[key]) for row in history if key in row and math.isfinite(row[key])]
            for name, key in lines
        }
        panels[title] = {name: line for name, line in drawn.items() if line}
    return {title: series for title, series in panels.items() if series}


def line_charts(panels: dict[str, Series], x_label: str = "step") -> str:
    """An SVG document with one chart below the other, each with its own scale.

    Args:
        panels: title -> series, as of `training_curves`.
    """
    charts = [
        f'<g transform="translate(0 {HEIGHT * number})">{line_chart(title, series, x_label)}</g>'
        for number, (title, series) in enumerate(panels.items())
    ]
    height = HEIGHT * max(1, len(charts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" role="img"><rect width="100%" height="100%" fill="#ffffff"/>{"".join(charts)}</svg>\n'
    )


def line_chart(title: str, series: Series, x_label: str) -> str:
    """The elements of one chart, `WIDTH` by `HEIGHT` units; every series has points, all finite."""
    points = [point for line in series.values() for point in line]
    x_ticks, y_ticks = (ticks([point[i] for point in points]) for i in (0, 1))
    x_of, y_of = scale(x_ticks, _LEFT, WIDTH - _RIGHT), scale(y_ticks, HEIGHT - _BOTTOM, _TOP)
    parts = [
        text(_LEFT, 16, title, "label", fill="#111827"),
        text((WIDTH + _LEFT) / 2, HEIGHT - 6, x_label, "axis", "middle"),
    ]
    for tick in y_ticks:
        y = y_of(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#e5e7eb"/>')
        parts.append(text(_LEFT - 6, y + 4, f"{tick:g}", "axis", "end"))
    parts += [text(x_of(tick), HEIGHT - _BOTTOM + 16, f"{tick:g}", "axis", "middle") for tick in x_ticks]
    legend = _LEFT
    for index, (name, line) in enumerate(series.items()):
        colour, style = COLOURS[index], f"c{index}"
        places = [(x_of(x), y_of(y)) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="line {style}" d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        dots = [*(places if len(places) <= 25 else []), (legend + 4, 30)]
        parts += [f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
        parts.append(text(legend + 14, 34, name, "label", fill="#111827"))
        legend += 34 + 8 * len(name)
    return "".join(parts)


def text(x: float, y: float, content: str, style: str, anchor: str = "start", fill: str = "#4b5563") -> str:
    """A text element of a class, escaped."""
    place = f'x="{x:.1f}" y="{y:.1f}" class="{style}" fill="{fill}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(content)}</text>"


def scale(marks: list[float], start: float, end: float) -> Callable[[float], float]:
    """Maps numbers to positions: the first mark to `start`, the last to `end`."""
    return lambda value: start + (value - marks[0]) / (marks[-1] - marks[0]) * (end - start)


def ticks(values: list[float], wanted: int = 5) -> list[float]:
    """Round numbers that span `values`, about `wanted` of them, at least two."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]
