"""An SVG that is drawn piece by piece, with text that wraps, in colours that follow the reader's light or dark page."""

from __future__ import annotations

from html import escape

from cbs_opt.report.style import COLOURS

BLUE, ORANGE, GREEN, PINK, PURPLE = (COLOURS[place] for place in (0, 1, 2, 3, 6))

STYLE = """
  svg { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
        color: #1f2630; --soft: #5a6472; --card: #f3f5f8; --line: #b9c1cc; }
  @media (prefers-color-scheme: dark) {
    svg { color: #e8ebf0; --soft: #a7b0bd; --card: #2b313b; --line: #59626f; }
  }
  text { fill: currentColor }
  .soft { fill: var(--soft) }
  .on { fill: #fff }
  .bold { font-weight: 600 }
  .code { font-family: ui-monospace, "DejaVu Sans Mono", monospace }
  .card { fill: var(--card); stroke: var(--line) }
  .line { stroke: var(--line); fill: none; stroke-width: 1.5 }
""".strip("\n")

WIDE = 0.55
"""The width of a letter as a part of the font's size, on the safe side for the fonts named above."""


class Canvas:
    """A drawing of a fixed width that is as high as what was drawn on it."""

    def __init__(self, width: float, title: str) -> None:
        self.width, self.height, self.title = width, 0.0, title
        self._parts: list[str] = []

    def add(self, element: str, below: float) -> None:
        """Add an element that reaches down to ``below``."""
        self._parts.append(element)
        self.height = max(self.height, below)

    def box(self, x: float, y: float, width: float, height: float, fill: str = "") -> None:
        """Draw a rounded box, filled with a colour or, without one, as a card."""
        look = f'fill="{fill}"' if fill else 'class="card"'
        self.add(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" {look}/>', y + height)

    def line(self, *points: tuple[float, float]) -> None:
        """Draw a line through these points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.add(f'<polyline class="line" points="{path}"/>', max(y for _, y in points))

    def text(self, x: float, y: float, words: str, *, size: float = 13, look: str = "", anchor: str = "start") -> None:
        """Write one line of text with its baseline at ``y``."""
        place = f'x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
        self.add(f'<text {place} class="{look}">{escape(words)}</text>', y + 0.3 * size)

    def paragraph(
        self, x: float, y: float, width: float, words: str, *, size: float = 13, look: str = "", anchor: str = "start"
    ) -> float:
        """Write text in lines of at most ``width``, from the top at ``y``; returns where it ends."""
        for line in wrapped(words, width, size):
            y += 1.35 * size
            self.text(x, y - 0.3 * size, line, size=size, look=look, anchor=anchor)
        return y

    def svg(self) -> str:
        """The whole drawing as SVG."""
        width, height = self.width + 2, self.height + 6
        size = f'viewBox="-1 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(self.title)}</title>'
        return "\n".join((head, "<style>", STYLE, "</style>", *self._parts, "</svg>", ""))


def wrapped(words: str, width: float, size: float) -> list[str]:
    """``words`` in lines that fit into ``width``."""
    lines: list[str] = []
    for word in words.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width / (WIDE * size):
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def lines_of(words: str, width: float, size: float = 13) -> float:
    """How high a paragraph of these words is."""
    return 1.35 * size * len(wrapped(words, width, size))
