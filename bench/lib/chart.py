"""Charts as SVG, written by hand: horizontal bars with their names and values beside them, and lines over a quantity.

They carry their own background and colours for light and dark, so that they read well wherever a page shows them.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from .result import cell

WIDTH = 860
MARGIN = 28
FONT = 'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, "DejaVu Sans", sans-serif'

LIGHT = {
    "card": "#ffffff", "edge": "#e3e7ee", "ink": "#18202b", "soft": "#5d6878", "grid": "#e9edf3",
    "accent": "#0b7a75", "peer": "#9aa7ba", "quiet": "#d5dbe5",
    "line1": "#0b7a75", "line2": "#c2571a", "line3": "#4c63b6", "line4": "#a23b72", "line5": "#7d8a1c", "line6": "#5d6878",
}
DARK = {
    "card": "#10161f", "edge": "#252e3b", "ink": "#e8edf4", "soft": "#98a4b5", "grid": "#212a36",
    "accent": "#3ec9bf", "peer": "#66758b", "quiet": "#394454",
    "line1": "#3ec9bf", "line2": "#f0985a", "line3": "#8fa4f3", "line4": "#e184b4", "line5": "#c3d04f", "line6": "#98a4b5",
}
LINES = 6


def draw(chart: dict[str, Any], result: dict[str, Any]) -> str:
    """The chart of a result as an SVG document; see lib/result.py for what a chart is."""
    where = chart.get("where", {})
    result = {**result, "columns": chart.get("columns", result["columns"])}
    rows = [row for row in chart.get("rows", result["rows"]) if all(row.get(key) == value for key, value in where.items())]
    body, height = (_lines if chart["kind"] == "lines" else _bars)(chart, result, rows)
    return _document(chart, body, height)


# --- the frame ---


def _document(chart: dict[str, Any], body: Iterable[str], height: float) -> str:
    title, subtitle = escape(chart["title"]), escape(chart.get("subtitle", ""))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img" aria-labelledby="t d">',
        f'<title id="t">{title}</title>',
        f'<desc id="d">{subtitle}</desc>',
        f"<style>{_style()}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="10"/>',
        f'<text class="title" x="{MARGIN}" y="40">{title}</text>',
        f'<text class="subtitle" x="{MARGIN}" y="61">{subtitle}</text>',
        *body,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _style() -> str:
    shapes = [
        f"text{{font-family:{FONT};font-size:13px}}",
        ".title{font-size:18px;font-weight:650}.subtitle{font-size:13px}.group{font-size:13px;font-weight:600}",
        ".soft,.name,.value,.label{font-size:12px}.name,.end{text-anchor:end}.middle{text-anchor:middle}",
        ".name.accent,.value.accent,.label{font-weight:650}",
        ".axis{stroke-width:1.5}.dot{stroke-width:1.5}",
        ".line{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}",
    ]
    # Plain colours twice instead of variables, which some viewers of SVG do not know.
    return f"{''.join(shapes)}{_colours(LIGHT)}@media (prefers-color-scheme:dark){{{_colours(DARK)}}}"


def _colours(palette: dict[str, str]) -> str:
    rules = [
        "text{{fill:{ink}}}.subtitle,.soft,.name,.value{{fill:{soft}}}.name.accent{{fill:{accent}}}.value.accent{{fill:{ink}}}",
        ".card{{fill:{card};stroke:{edge}}}.grid{{stroke:{grid}}}.axis{{stroke:{edge}}}.dot{{stroke:{card}}}",
        ".bar.accent{{fill:{accent}}}.bar.peer{{fill:{peer}}}.bar.quiet{{fill:{quiet}}}",
        *(f".s{at}{{{{stroke:{{line{at}}}}}}}.d{at}{{{{fill:{{line{at}}}}}}}" for at in range(1, LINES + 1)),
    ]
    return "".join(rules).format(**palette)


def _text(x: float, y: float, classes: str, text: str) -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _text_width(text: str, size_px: float) -> float:
    """About how wide a text is, pixels."""
    return len(text) * size_px * 0.56


# --- bars ---

BAR, BAR_GAP, GROUP_GAP, HEADING = 15, 5, 20, 24
TOP = 84


def _bars(chart: dict[str, Any], result: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[list[str], float]:
    columns = [_column(result, key) for key in chart["values"]]
    gutter = max(_text_width(column["label"], 12.5) for column in columns) + 16
    texts = [[cell(row, {**column, "ratio": ""}) for column in columns] for row in rows]
    value_room = max(_text_width(text, 12.5) for line in texts for text in line) + 14
    left = MARGIN + gutter
    room = WIDTH - MARGIN - value_room - left
    largest = max((row.get(column["key"]) or 0 for row in rows for column in columns), default=0) or 1
    out: list[str] = []
    y = float(TOP)
    for row, line in zip(rows, texts):
        if len(rows) > 1:
            out.append(_text(MARGIN, y + 12, "group", str(row[chart["label"]])))
            y += HEADING
        first = y
        for column, text in zip(columns, line):
            out += _bar(column, row.get(column["key"]), text, left, y, room / largest)
            y += BAR + BAR_GAP
        out.append(f'<line class="axis" x1="{left:.1f}" y1="{first - 3:.1f}" x2="{left:.1f}" y2="{y - BAR_GAP + 3:.1f}"/>')
        y += GROUP_GAP - BAR_GAP
    return out, y - GROUP_GAP + MARGIN


def _bar(column: dict[str, Any], value: float | None, text: str, left: float, y: float, scale: float) -> list[str]:
    kind = "accent" if column.get("accent") else "quiet" if column.get("quiet") else "peer"
    middle = y + BAR / 2 + 4.2
    name = _text(left - 9, middle, f"name {kind}", column["label"])
    if value is None:
        return [name, _text(left + 8, middle, "soft", "not measured")]
    width = max(value * scale, 2.0)
    return [name, _rounded(left, y, width, kind), _text(left + width + 7, middle, f"value {kind}", text)]


def _rounded(x: float, y: float, width: float, kind: str) -> str:
    """A bar that is round at its right end alone: it begins at the axis."""
    radius = min(3.5, width / 2)
    path = (
        f"M{x:.1f} {y:.1f}h{width - radius:.1f}a{radius:.1f} {radius:.1f} 0 0 1 {radius:.1f} {radius:.1f}"
        f"v{BAR - 2 * radius:.1f}a{radius:.1f} {radius:.1f} 0 0 1 -{radius:.1f} {radius:.1f}h-{width - radius:.1f}z"
    )
    return f'<path class="bar {kind}" d="{path}"/>'


def _column(result: dict[str, Any], key: str) -> dict[str, Any]:
    return next(column for column in result["columns"] if column["key"] == key)


# --- lines ---

PLOT_TOP, PLOT_HEIGHT, LABEL_STEP = 92.0, 250.0, 16.0


@dataclass(frozen=True)
class Axis:
    """From values to pixels, with its ticks."""

    low: float
    high: float
    is_log: bool
    begin_px: float
    end_px: float

    def at(self, value: float) -> float:
        """Where a value lies, pixels."""
        low, high, value = (self._flat(number) for number in (self.low, self.high, value))
        return self.begin_px + (value - low) / ((high - low) or 1) * (self.end_px - self.begin_px)

    def _flat(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.is_log else value

    def ticks(self) -> list[float]:
        """Round values that the axis names."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            # Few decades have room for more names.
            factors = (1, 2, 5) if len(powers) <= 3 else (1,)
            values = (factor * 10.0**power for power in powers for factor in factors)
            return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
        step = _round_step(self.high - self.low)
        return [step * count for count in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def _round_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides the span into some five."""
    raw = (span or 1) / 5
    power = 10 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)


def _axis(values: Sequence[float], is_log: bool, begin_px: float, end_px: float, *, from_zero: bool) -> Axis:
    low, high = min(values), max(values)
    if is_log:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        if from_zero or low == high:
            low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high * 1.0001))
    elif from_zero:
        step = _round_step(high)
        low, high = 0.0, math.ceil(high * 1.02 / step) * step
    return Axis(low, high if high > low else low + 1, is_log, begin_px, end_px)


def _lines(chart: dict[str, Any], result: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[list[str], float]:
    lines = _series(chart, result, rows)
    points = [point for _, line in lines for point in line]
    if not points:
        return [_text(MARGIN, PLOT_TOP, "soft", "not measured")], PLOT_TOP + MARGIN
    log = chart.get("log", "")
    room = max(_text_width(label, 12.5) for label, _ in lines) + 14 if len(lines) > 1 else 10
    y = _axis([point[1] for point in points], "y" in log, PLOT_TOP + PLOT_HEIGHT, PLOT_TOP, from_zero=True)
    left = MARGIN + max(_text_width(_tick(tick), 12) for tick in y.ticks()) + 10
    x = _axis([point[0] for point in points], "x" in log, left, WIDTH - MARGIN - room, from_zero=False)
    out = [*_grid(x, y), *_curves(lines, x, y)]
    middle, name = (x.begin_px + x.end_px) / 2, _column(result, chart["x"])["label"]
    out.append(_text(middle, PLOT_TOP + PLOT_HEIGHT + 42, "soft middle", name))
    return out, PLOT_TOP + PLOT_HEIGHT + 42 + MARGIN - 8


Line = tuple[str, list[tuple[float, float]]]


def _series(chart: dict[str, Any], result: dict[str, Any], rows: list[dict[str, Any]]) -> list[Line]:
    """Label and points of each line."""
    split = chart.get("split")
    kinds = list(dict.fromkeys(row.get(split) for row in rows)) if split else [None]
    found = []
    for kind in kinds:
        chosen = [row for row in rows if not split or row.get(split) == kind]
        for key in chart["values"]:
            label = _column(result, key)["label"]
            if split:
                label = str(kind) if len(chart["values"]) == 1 else f"{kind}, {label}"
            line = [(row[chart["x"]], row[key]) for row in chosen if row.get(chart["x"]) is not None and row.get(key) is not None]
            if line:
                found.append((label, sorted(line)))
    return found


def _grid(x: Axis, y: Axis) -> list[str]:
    bottom = PLOT_TOP + PLOT_HEIGHT
    out = []
    for tick in y.ticks():
        out.append(f'<line class="grid" x1="{x.begin_px:.1f}" y1="{y.at(tick):.1f}" x2="{x.end_px:.1f}" y2="{y.at(tick):.1f}"/>')
        out.append(_text(x.begin_px - 9, y.at(tick) + 4, "soft end", _tick(tick)))
    out.append(f'<line class="axis" x1="{x.begin_px:.1f}" y1="{bottom:.1f}" x2="{x.end_px:.1f}" y2="{bottom:.1f}"/>')
    out += [_text(x.at(tick), bottom + 20, "soft middle", _tick(tick)) for tick in x.ticks()]
    return out


def _curves(lines: list[Line], x: Axis, y: Axis) -> list[str]:
    out = []
    labels: list[tuple[float, str, int]] = []
    for at, (label, points) in enumerate(lines):
        style = at % LINES + 1
        places = [(x.at(px), y.at(py)) for px, py in points]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        out.append(f'<path class="line s{style}" d="M{path}"/>')
        out += [f'<circle class="dot d{style}" cx="{px:.1f}" cy="{py:.1f}" r="4"/>' for px, py in places]
        labels.append((places[-1][1], label, style))
    if len(lines) > 1:
        out += [_text(x.end_px + 10, place + 4, f"label d{style}", label) for place, label, style in _apart(labels)]
    return out


def _apart(labels: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
    """The labels, moved down where they would cover each other, and up again if that leads out of the plot."""
    placed: list[tuple[float, str, int]] = []
    for place, label, style in sorted(labels):
        if placed:
            place = max(place, placed[-1][0] + LABEL_STEP)
        placed.append((place, label, style))
    excess = max(0.0, placed[-1][0] - (PLOT_TOP + PLOT_HEIGHT))
    return [(place - excess, label, style) for place, label, style in placed]


def _tick(value: float) -> str:
    """A tick's text: 1,000,000 as 1 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
