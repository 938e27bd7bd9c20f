"""The digest in a certificate, which tells the block and the pattern that it is about."""

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
    """The digest in a certificate about ``problem`` and ``limits``, as hexadecimal.

    For a cardinality it is the ``block_digest``, as in the first version of the format; for other patterns the labels,
    their room and the forced and forbidden weights enter, too.
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
"""The numbers that identify a curvature: labels, each with its arrays."""


@singledispatch
def numbers_of(curvature: Curvature) -> Numbers:
    """The numbers of a curvature that the digest runs over: H in full, unless its class is stored in a shorter form."""
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
