"""The colours that all plots share, those of reports, of studies and of measured results."""

from __future__ import annotations

from typing import Any

# Okabe & Ito's colours (distinct for the colour-blind), of a lightness that reads on white and on black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6BB1", "#A6761D")

INK = "#5a6472"

MATPLOTLIB: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "grid.color": INK,
    "grid.alpha": 0.18,
    "legend.frameon": False,
    "text.parse_math": False,  # a name with a $ in it stays a name
}
"""Settings for ``matplotlib.rc_context``."""
