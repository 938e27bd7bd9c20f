"""Draws one picture of a network's layers, from the first to the last, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from cbs_opt.kernel.words import shown
from cbs_opt.report.style import COLOURS

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 190, 64, 12, 26, 24
"""The size of one panel, and the margins around its dots."""


@dataclass(frozen=True)
class Panel:
    """One panel: a value for each layer (None if it is unknown), the same value in words, and the kind of axis."""

    title: str
    values: Sequence[float | None]
    words: Sequence[str]
    logarithmic: bool


def layer_plot(names: Sequence[str], panels: Sequence[Panel]) -> str:
    """A figure of the panels that have a value; the empty string if none has.

    Layers are coloured by the last part of their name ('q_proj'), if several layers share it and there are enough
    colours.
    """
    panels = [panel for panel in panels if any(map(_known, panel.values))]
    if not panels:
        return ""
    kinds = _kinds(names)
    colours = [kinds.get(_kind(name), COLOURS[0]) for name in names]
    end, rows = len(panels) * HEIGHT, math.ceil(len(kinds) / 4)
    drawn = "".join(
        f'<g transform="translate(0 {place * HEIGHT})">{_panel(names, panel, colours)}</g>'
        for place, panel in enumerate(panels)
    )
    return (
        f'<figure>\n<div class="scroll"><svg viewBox="0 0 {WIDTH} {end + 18 + 20 * rows}" role="img" '
        f'aria-label="{escape(" and ".join(panel.title for panel in panels))} of each layer" font-size="12" '
        f'fill="currentColor">{drawn}<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{end + 10}" '
        f'text-anchor="middle">layer, in the order of the network</text>{_legend(kinds, end + 18)}</svg></div>\n'
        "<figcaption>A dot is a layer; point at it for its name.</figcaption>\n</figure>\n"
    )


def _panel(names: Sequence[str], panel: Panel, colours: Sequence[str]) -> str:
    known = [value for value in panel.values if value is not None and math.isfinite(value)]
    low, high, ticks = _decades(known) if panel.logarithmic else _steps(known)
    parts = [f'<text x="{LEFT}" y="14" font-weight="600">{escape(panel.title)}</text>']
    for tick in ticks:
        y = _height(_share(tick, low, high, panel.logarithmic))
        label = f"{tick:g}".replace("e-0", "e-") if panel.logarithmic else f"{100 * tick:.3g} %"
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="currentColor" opacity=".2"/>'
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>'
        )
    step = max(1, math.ceil(len(names) / 12))
    for number in range(0, len(names), step):
        parts.append(
            f'<text x="{_across(number, len(names))}" y="{HEIGHT - 6}" text-anchor="middle">{number + 1}</text>'
        )
    for number, (name, value, words) in enumerate(zip(names, panel.values, panel.words, strict=True)):
        if value is None or not math.isfinite(value):
            continue
        y = _height(_share(value, low, high, panel.logarithmic))
        parts.append(
            f'<circle cx="{_across(number, len(names))}" cy="{y}" r="4" fill="{colours[number]}">'
            f"<title>{escape(shown(name, 80))}: {escape(words)}</title></circle>"
        )
    return "".join(parts)


def _kinds(names: Sequence[str]) -> dict[str, str]:
    """The colour of each kind of layer; empty if colours would not tell layers apart."""
    kinds = list(dict.fromkeys(map(_kind, names)))
    if not 1 < len(kinds) <= len(COLOURS) or len(kinds) == len(names):
        return {}
    return dict(zip(kinds, COLOURS, strict=False))


def _kind(name: str) -> str:
    """The last part of a layer's name that is no number: 'q_proj' of 'layers.0.q_proj', 'stem' of 'stem.0'."""
    parts = [part for part in name.split(".") if not part.isdecimal()]
    return parts[-1] if parts else name


def _legend(kinds: Mapping[str, str], top: int) -> str:
    """The legend, in rows of four kinds of layers."""
    parts = []
    for number, (kind, colour) in enumerate(kinds.items()):
        x, y = LEFT + 150 * (number % 4), top + 14 + 20 * (number // 4)
        parts.append(
            f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour}"/><text x="{x + 10}" y="{y}">'
            f"{escape(shown(kind, 18))}</text>"
        )
    return "".join(parts)


def _decades(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of a logarithmic axis and its ticks; a value of 0 is drawn at the lower end."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / 1.2, max(positive) * 1.2
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [t for t in (digit * 10.0**e for e in exponents for digit in digits) if low <= t <= high]
        if len(ticks) >= 2:
            break
    return low, high, ticks[:: math.ceil(len(ticks) / 5) or 1]


def _steps(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of an axis from 0 and its ticks."""
    most = max(*values, 1e-6)
    step = 10.0 ** math.floor(math.log10(most))
    step = next(step * part for part in (0.2, 0.5, 1.0, 2.0, 5.0) if most / (step * part) <= 5)
    count = math.ceil(most / step)
    return 0.0, count * step, [number * step for number in range(count + 1)]


def _share(value: float, low: float, high: float, logarithmic: bool) -> float:
    """The position of a value between the ends of its axis, from 0 to 1."""
    if logarithmic:
        value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _height(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)


def _across(number: int, count: int) -> float:
    return round(LEFT + (number + 0.5) / count * (WIDTH - RIGHT - LEFT), 1)


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
