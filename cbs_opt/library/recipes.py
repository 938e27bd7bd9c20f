"""The blocks of the library: the name and origin of each, its patterns, and the function that builds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.kernel.curvature import DenseCurvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.library.digits_in_integers import GRADIENT_BITS, WEIGHT_BITS, Whole, layers
from cbs_opt.library.exact_products import gram, least_squares
from cbs_opt.library.regressions import SETS

DAMPINGS = {"weak": Fraction(1, 10_000), "strong": Fraction(1, 10)}
"""λ as a fraction of the mean diagonal of the curvature without it."""

RIDGE = 1e-6
IMAGES = 1024


@dataclass(frozen=True)
class Recipe:
    """A block of the library, and the patterns that make instances of it.

    Parameters
    ----------
    name : str
        The name of the block, of lower-case letters, digits and hyphens, which is a file name on any system.
    n : int
        Number of weights.
    family : str
        The kind of curvature: 'gram', 'fisher' or 'best-subset'.
    origin : str
        Where the block comes from, in words.
    asked : tuple of str
        The pattern of each instance, as text that ``cbs_opt.kernel.asked`` reads.
    build : callable
        Makes the block, without a pattern.
    """

    name: str
    n: int
    family: str
    origin: str
    asked: tuple[str, ...]
    build: Callable[[], PruningProblem]


@cache
def recipes() -> tuple[Recipe, ...]:
    """All blocks of the library, in the order in which their instances are listed."""
    return (*_rows(), *_chunks(), *_regressions())


def _rows() -> Iterator[Recipe]:
    """Rows of the three layers with the Gram matrix of the layer's inputs."""
    asked = ("sparsity 0.5", "sparsity 0.8", "sparsity 0.9", "pattern 2:4", "pattern 4:8")
    for layer, n, rows in (("fc1", 64, (5, 20)), ("fc2", 32, (0, 9)), ("fc3", 16, (3, 8))):
        for row in rows:
            for word, damping in DAMPINGS.items():
                yield Recipe(
                    f"digits-{layer}-row{row:02}-gram{n}-{word}",
                    n,
                    "gram",
                    f"digits network, {layer}, row {row}: Gram matrix of the layer's inputs, {word} damping",
                    asked if n > 16 else ("sparsity 0.5", "pattern 2:4"),
                    partial(_row, layer, row, damping),
                )


def _chunks() -> Iterator[Recipe]:
    """Consecutive weights of a layer with their empirical Fisher matrix, some of fewer images than weights."""
    chunks = (
        ("fc2", 40, 16, 512),
        ("fc1", 320, 32, 512),
        ("fc3", 32, 48, 512),
        ("fc2", 128, 64, 512),
        ("fc2", 256, 64, 32),
        ("fc3", 0, 96, 512),
        ("fc1", 1024, 128, 64),
    )
    for layer, first, n, m in chunks:
        for word, damping in DAMPINGS.items():
            yield Recipe(
                f"digits-{layer}-from{first}-fisher{n}-{word}",
                n,
                "fisher",
                f"digits network, {layer}, {n} weights from number {first} on: empirical Fisher of {m} images, "
                f"{word} damping",
                ("sparsity 0.5", "sparsity 0.8", "pattern 2:4"),
                partial(_chunk, layer, first, n, m, damping),
            )


def _regressions() -> Iterator[Recipe]:
    """Best subset problems, one weight for each column: for a subset of k columns n − k weights are pruned."""
    sizes = {
        "diabetes10": (3, 5),
        "diabetes64": (5, 10, 20, 32),
        "breast-cancer30": (3, 5, 10, 15),
        "wine13": (3, 6),
        "wine104": (3, 5, 8),
        "eights61": (3, 5, 10, 20),
    }
    for name, chosen in sizes.items():
        n = int(name.lstrip("abcdefghijklmnopqrstuvwxyz-"))
        yield Recipe(
            name,
            n,
            "best-subset",
            f"scikit-learn's data {name.rstrip('0123456789')}, {n} standardized columns: least squares, ridge 1e-6",
            tuple(f"prune {n - k}" for k in chosen),
            partial(_regression, name),
        )


def _row(layer: str, row: int, damping: Fraction) -> PruningProblem:
    of = layers(IMAGES)[layer]
    return _problem(of.weights[row], gram(of.inputs.astype(object), -of.input_bits, damping))


def _chunk(layer: str, first: int, n: int, m: int, damping: Fraction) -> PruningProblem:
    of, chosen = layers(IMAGES)[layer], slice(first, first + n)
    H = gram(of.gradients(chosen)[:m].astype(object), -GRADIENT_BITS - of.input_bits, damping)
    return _problem(of.weights.ravel()[chosen], H)


def _problem(weights: Whole, H: Matrix) -> PruningProblem:
    return PruningProblem(np.ldexp(weights.astype(np.float64), -WEIGHT_BITS), H)


def _regression(name: str) -> PruningProblem:
    H, g, offset = least_squares(*SETS[name](), RIDGE)
    return PruningProblem(np.zeros(len(g)), DenseCurvature(H), g=g, offset=offset)
