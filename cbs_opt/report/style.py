"""Colours and ink that the plots of report and study share."""

from __future__ import annotations

# Okabe & Ito's colours (distinct for the colour-blind), of a lightness that reads on white and on black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6BB1", "#A6761D")

INK = "#5a6472"
