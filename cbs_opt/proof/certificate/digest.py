"""What a certificate is about: a digest of the block it proves something of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.proof.certificate.limits import Limits


def claim_digest(problem: PruningProblem, limits: Limits) -> str:
    """What a certificate about ``problem`` and ``limits`` carries: of the block, and of the labels where they are told.

    A cardinality's is the block's alone, as it has been in files since their first version.
    """
    block = block_digest(problem)
    if limits.single:
        return block
    digest = hashlib.sha256(f"cbs-opt claim\n{block} {limits.n} {len(limits.room)}\n".encode())
    for counts in (limits.labels, limits.room):
        digest.update(counts.astype("<i8").tobytes())
    for mask in (limits.keep, limits.forbid):
        digest.update(mask.tobytes())
    return digest.hexdigest()


def block_digest(problem: PruningProblem) -> str:
    """SHA-256 over w̄, g, offset and the curvature's arrays (little-endian float64), as hexadecimal."""
    digest = hashlib.sha256(b"cbs-opt block\n")

    def add(label: str, *arrays: NDArray[np.float64] | float) -> None:
        digest.update(f"{label} {[np.shape(array) for array in arrays]}\n".encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())

    add("w", problem.w_bar, problem.linear_term(), problem.offset)
    for label, arrays in numbers_of(problem.curvature):
        add(label, *arrays)
    return digest.hexdigest()


Numbers = Iterator[tuple[str, tuple[NDArray[np.float64] | float, ...]]]
"""What a curvature is told apart by: labels, each with its arrays."""


@singledispatch
def numbers_of(curvature: Curvature) -> Numbers:
    """The numbers that the digest runs over: H in full, unless its class is stored by less."""
    yield "dense", (curvature.dense(),)


@numbers_of.register
def _diagonal(curvature: DiagonalCurvature) -> Numbers:
    yield "diagonal", (curvature.diagonal(),)


@numbers_of.register
def _factor(curvature: FactorCurvature) -> Numbers:
    yield "factor", (curvature.A, curvature.damping)


@numbers_of.register
def _block_diagonal(curvature: BlockDiagonalCurvature) -> Numbers:
    yield f"blocks {len(curvature.blocks)}", ()
    for block in curvature.blocks:
        yield from numbers_of(block)
