"""The report's pictures as inline SVG; colours come from the page's style, so they follow its light or dark theme."""

import numpy as np
from markupsafe import Markup, escape

from dialsum_trl.sharing.chart import HEIGHT, WIDTH, Series, line_chart, scale, text, ticks

WIDE = 960  # units of a picture across the page
COLOURS = 6  # classes c0 to c5 in the style


def _svg(width: int, height: float, title: str, parts: list[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def curves(title: str, series: Series) -> Markup:
    """One line per series over optimizer steps; every series has points, all finite."""
    return _svg(WIDTH, HEIGHT, title, [line_chart(title, series, "optimizer step")])


def intervals(rows: list[tuple[str, float, tuple[float, float]]], floor: float, floor_name: str) -> Markup:
    """Each system's mean as a dot on its 95 % interval, and the floor as a dashed line.

    Args:
        rows: name, mean and interval of each system.
    """
    left, right, top, step = 170, 60, 30, 36
    marks = ticks([floor, *(end for _, _, span in rows for end in span)])
    bottom, place = top + step * len(rows), scale(marks, left, WIDE - right)
    parts = [f'<path class="grid" d="M{place(mark):.1f} {top}V{bottom}"/>' for mark in marks]
    parts += [text(place(mark), bottom + 18, f"{mark:g}", "axis", "middle") for mark in marks]
    parts.append(f'<path class="floor" d="M{place(floor):.1f} {top - 6}V{bottom}"/>')
    parts.append(_beside(place(floor), top - 10, floor_name, "axis"))
    for index, (name, mean, (low, high)) in enumerate(rows):
        y, colour = top + step * (index + 0.5), f"c{index % COLOURS}"
        parts.append(text(left - 14, y + 4, name if len(name) <= 22 else name[:21] + "…", "label", "end"))
        parts.append(f'<path class="span {colour}" d="M{place(low):.1f} {y:.1f}H{place(high):.1f}"/>')
        parts.append(f'<circle class="dot {colour}" cx="{place(mean):.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(text(place(high) + 10, y + 4, f"{mean:.2f}", "value"))
    return _svg(WIDE, bottom + 28, "ROUGE mean of every system with its 95 % interval", parts)


def histogram(values: list[int], unit: str, limits: list[tuple[int, str]], bins: int = 24) -> Markup:
    """Counts of `values`, with a labelled line at every limit that is not far beyond the longest."""
    left, right, top, floor, height = 48, 28, 40, 220, 260
    shown = [(limit, label) for limit, label in limits if limit <= 1.6 * max(values)]
    counts, edges = np.histogram(values, bins=bins)
    marks = ticks([0, max([edges[-1], *(limit for limit, _ in shown)]) * 1.04], 8)
    up = ticks([0, counts.max()])
    place, rise = scale(marks, left, WIDE - right), scale(up, floor, top)
    parts = [f'<path class="grid" d="M{left} {rise(mark):.1f}H{WIDE - right}"/>' for mark in up]
    parts += [text(left - 8, rise(mark) + 4, f"{mark:g}", "axis", "end") for mark in up if mark == int(mark)]
    parts += [text(place(mark), floor + 18, f"{mark:g}", "axis", "middle") for mark in marks]
    parts += [
        f'<rect class="bar" x="{place(start) + 0.5:.1f}" y="{rise(count):.1f}" rx="1.5" '
        f'width="{max(0.8, place(end) - place(start) - 1):.1f}" height="{floor - rise(count):.1f}"/>'
        for count, start, end in zip(counts, edges, edges[1:], strict=False)
        if count
    ]
    for limit, label in shown:
        parts.append(f'<path class="limit" d="M{place(limit):.1f} {top - 8}V{floor}"/>')
        parts.append(_beside(place(limit), top - 12, label, "limit-label"))
    parts.append(text((WIDE + left) / 2, height - 4, unit, "axis", "middle"))
    return _svg(WIDE, height, f"Lengths of the rows in {unit}", parts)


def _beside(x: float, y: float, content: str, style: str) -> str:
    """A text to the right of `x`, or to the left where the picture ends soon."""
    near_end = x > WIDE - 190
    return text(x - 5 if near_end else x + 5, y, content, style, "end" if near_end else "start")
