"""The report's pictures as inline SVG; colours come from the page's style, so they follow its light or dark theme."""

import math

from markupsafe import Markup, escape

from dialsum_trl.sharing.chart import ticks

WIDE, HALF = 960, 480  # units of a picture across the page and of one beside another
COLOURS = 6  # classes c0 to c5 in the style


def _svg(width: int, height: float, title: str, parts: list[str]) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _text(x: float, y: float, text: str, classes: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{escape(text)}</text>'


def intervals(rows: list[tuple[str, float, tuple[float, float] | None]], floor: float, floor_name: str) -> Markup:
    """One line a system: its mean as a dot on its 95 % interval, and the floor as a dashed line."""
    left, right, top, step = 170, 40, 30, 36
    values = [floor, *(v for _, mean, span in rows for v in (mean, *(span or ())))]
    marks = ticks(values)
    height = top + step * len(rows) + 28

    def place(value):
        return left + (value - marks[0]) / (marks[-1] - marks[0]) * (WIDE - left - right)

    bottom = top + step * len(rows)
    parts = [f'<path class="grid" d="M{place(mark):.1f} {top}V{bottom}"/>' for mark in marks]
    parts += [_text(place(mark), bottom + 18, f"{mark:g}", "axis", "middle") for mark in marks]
    parts.append(f'<path class="floor" d="M{place(floor):.1f} {top - 6}V{bottom}"/>')
    near_right = place(floor) > WIDE - 180
    parts.append(
        _text(place(floor) + (-4 if near_right else 4), top - 10, floor_name, "axis", "end" if near_right else "start")
    )
    for index, (name, mean, span) in enumerate(rows):
        y = top + step * (index + 0.5)
        parts.append(_text(left - 14, y + 4, _short(name, 22), "label", "end"))
        if span:
            parts.append(
                f'<path class="span c{index % COLOURS}" d="M{place(span[0]):.1f} {y:.1f}H{place(span[1]):.1f}"/>'
            )
        parts.append(f'<circle class="dot c{index % COLOURS}" cx="{place(mean):.1f}" cy="{y:.1f}" r="6"/>')
        edge = place(span[1] if span else mean)
        inside = edge < WIDE - right - 12
        parts.append(_text(edge + 10 if inside else edge, y + (4 if inside else -8), f"{mean:.2f}", "value"))
    return _svg(WIDE, height, "ROUGE mean of every system with its 95 % interval", parts)


def curves(title: str, series: dict[str, list[tuple[float, float]]]) -> Markup:
    """One line a series over optimizer steps; of points that can be drawn (`chart.drawable`), at least one."""
    left, right, top, bottom, height = 44, 14, 36, 40, 240
    kept = {name: points for name, points in series.items() if points}
    points = [point for line in kept.values() for point in line]
    across, up = ticks([x for x, _ in points]), ticks([y for _, y in points])

    def place(x, y):
        return (
            left + (x - across[0]) / (across[-1] - across[0]) * (HALF - left - right),
            height - bottom - (y - up[0]) / (up[-1] - up[0]) * (height - top - bottom),
        )

    parts = []
    for mark in up:
        y = place(across[0], mark)[1]
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{HALF - right}"/>')
        parts.append(_text(left - 8, y + 4, f"{mark:g}", "axis", "end"))
    for mark in across:
        parts.append(_text(place(mark, up[0])[0], height - bottom + 18, f"{mark:g}", "axis", "middle"))
    parts.append(_text((HALF + left) / 2, height - 4, "optimizer step", "axis", "middle"))
    at = left
    for index, (name, line) in enumerate(kept.items()):
        colour = f"c{(index + 1) % COLOURS}"
        places = [place(*point) for point in line]
        parts.append(f'<path class="line {colour}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
        if len(places) <= 25:
            parts += [f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in places]
        parts.append(f'<circle class="dot {colour}" cx="{at + 5}" cy="14" r="4"/>')
        parts.append(_text(at + 15, 18, name, "label"))
        at += 34 + 8 * len(name)
    return _svg(HALF, height, title, parts)


def histogram(values: list[int], unit: str, limits: list[tuple[int, str]], bins: int = 24) -> Markup:
    """Counts of `values`, with a labelled line at every limit."""
    left, right, top, bottom, height = 48, 28, 40, 40, 260
    highest = max(values)
    # a limit far behind the longest row would squeeze the picture: it is named at the right edge
    shown = [(limit, label) for limit, label in limits if limit <= 1.6 * highest or limit == min(limits)[0]]
    far = [label for limit, label in limits if (limit, label) not in shown]
    marks = ticks([0, max([highest, *(limit for limit, _ in shown)]) * 1.04], 8)
    width = max(1, math.ceil((highest - min(values) + 1) / bins))
    first = min(values) // width
    counts = [0] * (highest // width - first + 1)
    for value in values:
        counts[value // width - first] += 1
    up = ticks([0, max(counts)])

    def place(x):
        return left + (x - marks[0]) / (marks[-1] - marks[0]) * (WIDE - left - right)

    def rise(count):
        return (count - up[0]) / (up[-1] - up[0]) * (height - top - bottom)

    floor = height - bottom
    parts = []
    for mark in up:
        parts.append(f'<path class="grid" d="M{left} {floor - rise(mark):.1f}H{WIDE - right}"/>')
        if mark == int(mark):
            parts.append(_text(left - 8, floor - rise(mark) + 4, f"{mark:g}", "axis", "end"))
    for mark in marks:
        parts.append(_text(place(mark), floor + 18, f"{mark:g}", "axis", "middle"))
    for index, count in enumerate(counts):
        start, end = place((first + index) * width), place((first + index + 1) * width)
        if count:
            parts.append(
                f'<rect class="bar" x="{start + 0.5:.1f}" y="{floor - rise(count):.1f}" '
                f'width="{max(0.8, end - start - 1):.1f}" height="{rise(count):.1f}" rx="1.5"/>'
            )
    for limit, label in shown:
        x = place(limit)
        parts.append(f'<path class="limit" d="M{x:.1f} {top - 8}V{floor}"/>')
        flip = x > WIDE - 190
        parts.append(_text(x + (-5 if flip else 5), top - 12, label, "limit-label", "end" if flip else "start"))
    if far:
        parts.append(_text(WIDE - right, top + 8, f"{', '.join(far)} →", "limit-label", "end"))
    parts.append(_text((WIDE + left) / 2, height - 4, unit, "axis", "middle"))
    return _svg(WIDE, height, f"Lengths of the rows in {unit}", parts)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
