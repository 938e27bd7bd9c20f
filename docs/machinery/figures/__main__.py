"""Draws all figures into ``docs/images``.

python -m docs.machinery.figures    # from the root of the repository
"""

from __future__ import annotations

from pathlib import Path

from . import command, curvature, idea

IMAGES = Path(__file__).resolve().parents[2] / "images"
WIDE, NARROW = 760, 350
"""The width of the drawings for a page and for a telephone, in pixels."""

FIGURES = {"idea": idea, "which-command": command, "which-curvature": curvature}


def drawn() -> dict[str, str]:
    """The content of each file, by its name."""
    return {
        f"{name}{suffix}.svg": figure.draw(width)
        for name, figure in FIGURES.items()
        for suffix, width in (("", WIDE), ("-narrow", NARROW))
    }


if __name__ == "__main__":
    for name, svg in drawn().items():
        (IMAGES / name).write_text(svg, encoding="utf-8")
