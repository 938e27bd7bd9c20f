"""The states of a weight and of a node of a tree, shared by searches and compiled loops."""

from __future__ import annotations

ROUNDING = 1e-4
"""ζ(s) = ½(1 + s − √((1 − s)² + 4·ROUNDING)): 1 − √ROUNDING at s = 1, positive from s = ROUNDING on."""

FREE, KEPT, PRUNED = 0, 1, 2

FATHOMED, LEAF, BRANCH = 0, 1, 2
