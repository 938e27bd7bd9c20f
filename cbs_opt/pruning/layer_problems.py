"""A layer's model as pruning problems: one a group of the convolution, its rows sharing one Gram matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cbs_opt.collect import LayerModel
from cbs_opt.curvature import RowsCurvature
from cbs_opt.patterns import Pattern
from cbs_opt.problem import PruningProblem
from cbs_opt.targets import Target


def groups(target: Target) -> Iterator[tuple[int, slice]]:
    """Each group of the layer and its rows; a single one but for grouped convolutions."""
    size = target.outputs // target.groups
    for group in range(target.groups):
        yield group, slice(group * size, (group + 1) * size)


def group_problem(layer: LayerModel, group: int, rows: slice, pattern: Pattern) -> PruningProblem:
    """The rows of one group together; weights (rows · in,), row by row, f summed over the rows."""
    w_bar, g = layer.w_bar[rows], layer.g[rows]
    name = layer.target.tensor if layer.target.groups == 1 else f"{layer.target.tensor} group {group}"
    return PruningProblem(
        w_bar.ravel(),
        RowsCurvature(layer.curvatures[group], len(w_bar)),
        g=g.ravel() if np.any(g) else None,
        offset=float(layer.offset[rows].sum()),
        pattern=pattern,
        name=name,
    )
