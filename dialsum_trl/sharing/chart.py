"""Line charts as SVG text: no plotting library, sharp at every size, readable on light and dark pages."""

import math
import re
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_text

_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed")
_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 34, 40
_LARGEST = 1e300  # sums and differences of what is smaller are finite
_NARROWEST = 1e-9  # of a span, to its numbers and to 1: ticks are rounded to 12 decimals
# what is drawn here, and nothing else
_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = {_SVG + name for name in ("svg", "g", "rect", "path", "circle", "text")}
_ATTRIBUTES = {
    "viewBox", "font-family", "font-size", "role", "width", "height", "transform", "x", "y", "cx", "cy", "r", "d",
    "fill", "stroke", "stroke-width", "text-anchor",
}  # fmt: skip
_VALUE = re.compile(r"[\w\s.#%()-]*", re.ASCII)  # leads nowhere: an address has a colon or a slash
_LONGEST = 20_000_000  # bytes; a million points


def drawable(points: list[tuple]) -> list[tuple[float, float]]:
    """The points that have a place in a chart: two numbers, finite and below 1e300."""
    return [p for p in points if all(isinstance(value, int | float) and abs(value) < _LARGEST for value in p)]


def line_charts(panels: dict[str, dict[str, list[tuple[float, float]]]], x_label: str = "step") -> str:
    """An SVG document with one chart below the other, each with its own scale.

    Args:
        panels: title -> series name -> points `(x, y)`. Points that cannot be drawn are left out; so are series and
            panels without points.
    """
    charts = []
    for title, series in panels.items():
        kept = {name: drawable(points) for name, points in series.items()}
        kept = {name: points for name, points in kept.items() if points}
        if kept:
            charts.append(f'<g transform="translate(0 {_HEIGHT * len(charts)})">{_panel(title, kept, x_label)}</g>')
    height = _HEIGHT * max(1, len(charts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" role="img"><rect width="100%" height="100%" fill="#ffffff"/>{"".join(charts)}</svg>\n'
    )


def _panel(title: str, kept: dict[str, list[tuple[float, float]]], x_label: str) -> str:
    points = [point for line in kept.values() for point in line]
    x_ticks, y_ticks = (ticks([p[i] for p in points]) for i in (0, 1))

    def place(x, y):
        return (
            _LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<text x="{_LEFT}" y="16" font-size="13" fill="#111827">{escape(title)}</text>',
        f'<text x="{(_WIDTH + _LEFT) / 2:.0f}" y="{_HEIGHT - 6}" fill="#4b5563" text-anchor="middle">'
        f"{escape(x_label)}</text>",
    ]
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" fill="#4b5563" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" fill="#4b5563" text-anchor="middle">{tick:g}</text>'
        )
    for index, (name, line) in enumerate(kept.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [place(*point) for point in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if len(places) <= 20:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{_WIDTH - _RIGHT}" y="{16 + 13 * index}" fill="{colour}" text-anchor="end">{escape(name)}</text>'
        )
    return "".join(parts)


def ticks(values: list[float], wanted: int = 5) -> list[float]:
    """Round numbers that span `values`, about `wanted` of them, at least two."""
    low, high = min(values), max(values)
    size = max(1, abs(low), abs(high))
    if high - low < _NARROWEST * size:
        pad = max(0.5, 1e-6 * size)
        low, high = low - pad, high + pad
    rough = (high - low) / wanted
    scale = 10 ** math.floor(math.log10(rough))
    step = next(scale * m for m in (1, 2, 2.5, 5, 10) if scale * m >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def check_drawing(path: Path, remedy: str) -> None:
    """Raises InputError unless a file is a drawing as `line_charts` writes it: no script, no address, no entity."""
    text = read_text(path, remedy, _LONGEST)
    try:
        plain = text.startswith("<svg ") and "<!" not in text and "<?" not in text
        root = ElementTree.fromstring(text) if plain else None
    except ElementTree.ParseError:
        root = None
    if root is None or root.tag != f"{_SVG}svg":
        raise InputError(f"{path}: is no SVG as training writes it; {remedy}")
    for element in root.iter():
        strange = [name for name, value in element.items() if not _drawn(name, value)]
        if element.tag not in _ELEMENTS or strange:
            what = (strange or [element.tag])[0].removeprefix(_SVG)
            raise InputError(f"{path}: holds {what[:80]!r}, which no curve of a training run does; {remedy}")


def _drawn(name: str, value: str) -> bool:
    return name in _ATTRIBUTES and _VALUE.fullmatch(value) is not None
