"""What a certificate is about: a digest of the block it proves something of."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem


def cardinality(problem: PruningProblem) -> Cardinality:
    """The pattern of ``problem``, if certificates are made for its kind."""
    pattern = problem.Z
    if not isinstance(pattern, Cardinality):
        raise UnsupportedError(f"proof: cannot take the pattern {type(pattern).__name__}; it takes Cardinality")
    return pattern


def block_digest(problem: PruningProblem) -> str:
    """SHA-256 over w̄, g, offset and the curvature's arrays (little-endian float64), as hexadecimal."""
    digest = hashlib.sha256(b"cbs-opt block\n")

    def add(label: str, *arrays: NDArray[np.float64] | float) -> None:
        digest.update(f"{label} {[np.shape(array) for array in arrays]}\n".encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())

    def add_curvature(curvature: Curvature) -> None:
        if isinstance(curvature, BlockDiagonalCurvature):
            add(f"blocks {len(curvature.blocks)}")
            for block in curvature.blocks:
                add_curvature(block)
        elif isinstance(curvature, FactorCurvature):
            add("factor", curvature.A, curvature.damping)
        elif isinstance(curvature, DiagonalCurvature):
            add("diagonal", curvature.diagonal())
        else:
            add("dense", curvature.dense())

    add("w", problem.w_bar, problem.linear_term(), problem.offset)
    add_curvature(problem.curvature)
    return digest.hexdigest()
