"""Numbers, gaps, durations and names as text for people."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable

UNKNOWN = "–"
NOT_ASKED = "not asked"


def scientific(value: float) -> str:
    """A number with three digits and an exponent, as '3.21e-2'."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def plain_number(value: float) -> str:
    """A number with up to seven digits, as '156.3015', for values that differ only in late digits."""
    return f"{value:.7g}" if math.isfinite(value) else UNKNOWN


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in percent, as '12.3 %'."""
    if fraction is None or not math.isfinite(fraction):
        return UNKNOWN
    return f"{100 * fraction:.{digits}f} %"


def gap(fraction: float) -> str:
    """A gap in percent: '0 %' only up to a gap of 1e-6, 'unknown' without a bound."""
    if not math.isfinite(fraction):
        return "unknown"
    if fraction <= 1e-6:
        return "0 %"
    if fraction < 1e-4:
        return "<0.01 %"
    return f"{100 * fraction:.2f} %" if fraction < 0.1 else f"{100 * fraction:.1f} %"


def proven(value: float | None, words: Callable[[float], str], asked: bool) -> str:
    """A bound or a gap as ``words`` writes it; 'not asked' where there is none because none was ``asked`` for."""
    known = value is not None and math.isfinite(value)
    return words(math.inf if value is None else value) if known or asked else NOT_ASKED


def proven_percent(value: float, *, up: bool) -> str:
    """One end of a proven interval in percent, rounded away from the interval, so that the printed end is proven, too.

    ``up`` rounds upwards (the upper end), otherwise downwards.
    """
    if not math.isfinite(value):
        return "unknown"
    digits = 2 if 0 < abs(value) < 0.1 else 1
    steps = value * 100 * 10**digits
    whole = math.ceil(steps) if up else math.floor(steps)
    return f"{whole / 10**digits:.{digits}f} %" if whole else "0 %"


def duration(seconds: float) -> str:
    """A duration with its unit, as '80 µs', '45 ms', '12.3 s', '3 min 20 s' or '2 h 5 min'."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if 0 < seconds < 9.5e-4:
        return f"{1e6 * seconds:.0f} µs"
    if seconds < 0.9995:
        return f"{1e3 * seconds:.0f} ms" if seconds >= 0.0095 else f"{1e3 * seconds:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def counted(count: int, noun: str) -> str:
    """'1 node', '1,234 nodes'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown(text: str, most: int = 120) -> str:
    """``text`` as one line of at most ``most`` characters, without any that control a terminal or reverse the text."""
    clean = "".join(_visible(character) for character in text[: 4 * most])
    if len(clean) <= most:
        return clean
    # Both ends are shown, since names of blocks often differ only at their ends.
    head = most * 2 // 3
    return f"{clean[:head]}…{clean[head + 1 - most :]}" if len(text) <= 4 * most else f"{clean[: most - 1]}…"


def _visible(character: str) -> str:
    # Cc: control characters; Cf: marks such as those that reverse the direction; Cs: surrogates; Zl, Zp: separators.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return " " if character in "\n\t\r" else "�"
    return character
