"""The report's pictures as inline SVG; colours come from the page's style, so they follow its light or dark theme."""

import math

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
    """One line per series over optimizer steps; every series has points, all of them `chart.drawable`."""
    return _svg(WIDTH, HEIGHT, title, [line_chart(title, series, "optimizer step")])


def intervals(rows: list[tuple[str, float, tuple[float, float] | None]], floor: float, floor_name: str) -> Markup:
    """Each system's mean as a dot on its 95 % interval, and the floor as a dashed line.

    Args:
        rows: name, mean and interval of each system.
    """
    left, right, top, step = 170, 40, 30, 36
    marks = ticks([floor, *(v for _, mean, span in rows for v in (mean, *(span or ())))])
    bottom, place = top + step * len(rows), scale(marks, left, WIDE - right)
    parts = [f'<path class="grid" d="M{place(mark):.1f} {top}V{bottom}"/>' for mark in marks]
    parts += [text(place(mark), bottom + 18, f"{mark:g}", "axis", "middle") for mark in marks]
    parts.append(f'<path class="floor" d="M{place(floor):.1f} {top - 6}V{bottom}"/>')
    parts.append(_beside(place(floor), 4, top - 10, floor_name, "axis"))
    for index, (name, mean, span) in enumerate(rows):
        y, colour = top + step * (index + 0.5), f"c{index % COLOURS}"
        parts.append(text(left - 14, y + 4, name if len(name) <= 22 else name[:21] + "…", "label", "end"))
        if span:
            parts.append(f'<path class="span {colour}" d="M{place(span[0]):.1f} {y:.1f}H{place(span[1]):.1f}"/>')
        parts.append(f'<circle class="dot {colour}" cx="{place(mean):.1f}" cy="{y:.1f}" r="6"/>')
        edge = place(span[1] if span else mean)
        inside = edge < WIDE - right - 12
        parts.append(text(edge + 10 if inside else edge, y + (4 if inside else -8), f"{mean:.2f}", "value"))
    return _svg(WIDE, bottom + 28, "ROUGE mean of every system with its 95 % interval", parts)


def histogram(values: list[int], unit: str, limits: list[tuple[int, str]], bins: int = 24) -> Markup:
    """Counts of `values`, with a labelled line at every limit."""
    left, right, top, floor, height = 48, 28, 40, 220, 260
    highest = max(values)
    # a limit far beyond the longest row would squeeze the picture: it is named at the right edge
    shown = [(limit, label) for limit, label in limits if limit <= 1.6 * highest or limit == min(limits)[0]]
    far = [label for limit, label in limits if (limit, label) not in shown]
    width = max(1, math.ceil((highest - min(values) + 1) / bins))
    first = min(values) // width
    counts = [0] * (highest // width - first + 1)
    for value in values:
        counts[value // width - first] += 1
    marks, up = ticks([0, max([highest, *(limit for limit, _ in shown)]) * 1.04], 8), ticks([0, max(counts)])
    place, rise = scale(marks, left, WIDE - right), scale(up, floor, top)
    parts = []
    for mark in up:
        parts.append(f'<path class="grid" d="M{left} {rise(mark):.1f}H{WIDE - right}"/>')
        if mark == int(mark):
            parts.append(text(left - 8, rise(mark) + 4, f"{mark:g}", "axis", "end"))
    parts += [text(place(mark), floor + 18, f"{mark:g}", "axis", "middle") for mark in marks]
    for index, count in enumerate(counts):
        start, end = place((first + index) * width), place((first + index + 1) * width)
        if count:
            parts.append(
                f'<rect class="bar" x="{start + 0.5:.1f}" y="{rise(count):.1f}" '
                f'width="{max(0.8, end - start - 1):.1f}" height="{floor - rise(count):.1f}" rx="1.5"/>'
            )
    for limit, label in shown:
        parts.append(f'<path class="limit" d="M{place(limit):.1f} {top - 8}V{floor}"/>')
        parts.append(_beside(place(limit), 5, top - 12, label, "limit-label"))
    if far:
        parts.append(text(WIDE - right, top + 8, f"{', '.join(far)} →", "limit-label", "end"))
    parts.append(text((WIDE + left) / 2, height - 4, unit, "axis", "middle"))
    return _svg(WIDE, height, f"Lengths of the rows in {unit}", parts)


def _beside(x: float, gap: float, y: float, content: str, style: str) -> str:
    """A text to the right of `x`, or to the left where the picture ends soon."""
    near_end = x > WIDE - 190
    return text(x - gap if near_end else x + gap, y, content, style, "end" if near_end else "start")
