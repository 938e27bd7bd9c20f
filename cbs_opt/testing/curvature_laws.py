"""The laws of a curvature: its methods are compared with its dense matrix, and the update made with it is checked.

Every comparison allows a relative error of ``ROUND_OFF``, measured by the sizes of the numbers that were added up, in
the units of each weight. So the laws hold however ill-conditioned H is.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.update import obs_update
from cbs_opt.testing.laws import ROUND_OFF, list_of, require


def check_curvature(curvature: Curvature, seed: int = 0, draws: int = 5) -> None:
    """Check all laws of a curvature, on vectors and masks that are drawn at random.

    Parameters
    ----------
    curvature : Curvature
        The curvature, with a few hundred weights at most.
    seed : int
        The seed of the draws.
    draws : int
        How many vectors and masks are drawn.

    Raises
    ------
    AssertionError
        A law is broken.
    """
    rng = np.random.default_rng(seed)
    numbers_are_those_of_the_matrix(curvature)
    what_lies_below_lies_below(curvature)
    for _ in range(draws):
        v = rng.standard_normal(curvature.n)
        products_are_those_of_the_matrix(curvature, v)
        solving_undoes_multiplying(curvature, v)
        kept = rng.random(curvature.n) < rng.random()
        for g in (None, rng.standard_normal(curvature.n) * np.sqrt(curvature.diagonal())):
            the_update_is_the_minimum(PruningProblem(v, curvature, g=g), kept)


def numbers_are_those_of_the_matrix(curvature: Curvature) -> None:
    """Check ``dense``, ``diagonal``, ``inverse_diagonal`` and ``damping``.

    The dense matrix has to be symmetric positive definite of order n, the two diagonals have to be its own and that of
    its inverse, and λ ≥ 0.
    """
    law, name, H, n = "numbers are those of the matrix", _named(curvature), curvature.dense(), curvature.n
    require(H.shape == (n, n), law, name, f"dense() has shape {H.shape}")
    require(np.array_equal(H, H.T), law, name, f"dense() and its transpose differ by {np.abs(H - H.T).max():.3g}")
    require(curvature.damping >= 0, law, name, f"its damping is {curvature.damping}")
    _near(curvature.diagonal(), H.diagonal(), H.diagonal(), law, name, "diagonal()")
    # Scaled to unit diagonal: how well H⁻¹ is known does not depend on the units of single weights.
    scale = np.sqrt(H.diagonal())
    unit = H / scale / scale[:, None]
    eigenvalues = np.linalg.eigvalsh(unit)
    require(eigenvalues[0] > 0, law, name, f"the smallest eigenvalue, at unit diagonal, is {eigenvalues[0]:.3g}")
    expected = np.linalg.inv(unit).diagonal() / scale**2
    sizes = expected * max(1.0, 1e-6 * n * eigenvalues[-1] / eigenvalues[0])
    _near(curvature.inverse_diagonal(), expected, sizes, law, name, "inverse_diagonal()")


def what_lies_below_lies_below(curvature: Curvature) -> None:
    """Check for H' = ``below()`` that H − H' is positive semidefinite and small, and that H' is its own ``below()``.

    H is here the dense matrix in float64. That H' also lies below the matrix of which H is the rounding cannot be seen
    from H; the class has to prove it.
    """
    law, name, H, below = "what lies below lies below", _named(curvature), curvature.dense(), curvature.below()
    low = below.dense()
    require(low.shape == H.shape, law, name, f"below() is of order {below.n}")
    again = below.below().dense()
    require(np.array_equal(again, low), law, name, "below().below() is another matrix than below()")
    root = np.sqrt(H.diagonal())
    left = np.linalg.eigvalsh((H - low) / root / root[:, None])
    require(left[0] >= -ROUND_OFF, law, name, f"dense() − below() has the eigenvalue {left[0]:.3g}, at unit diagonal")
    require(left[-1] <= 1e-6, law, name, f"below() is lower by {left[-1]:.3g}, at unit diagonal")


def products_are_those_of_the_matrix(curvature: Curvature, v: Vector) -> None:
    """Check that ``matvec(v)`` is ``dense() @ v`` and ``quadratic(v)`` is ``v @ dense() @ v``."""
    law, name, H = "products are those of the matrix", _named(curvature), curvature.dense()
    sizes = np.abs(H) @ np.abs(v)
    _near(curvature.matvec(frozen(v)), H @ v, sizes, law, name, "matvec(v)")
    square, size = np.array([curvature.quadratic(frozen(v))]), np.array([np.abs(v) @ sizes])
    _near(square, np.array([v @ H @ v]), size, law, name, "quadratic(v)")


def solving_undoes_multiplying(curvature: Curvature, v: Vector) -> None:
    """Check that H x = v for x = ``solve(v)``, up to what rounding x can cause; the condition of H does not matter."""
    H, x = curvature.dense(), curvature.solve(frozen(v))
    root = np.sqrt(H.diagonal())
    sizes = root * (root @ np.abs(x))
    _near(H @ x, v, sizes, "solving undoes multiplying", _named(curvature), "dense() @ solve(v)")


def the_update_is_the_minimum(problem: PruningProblem, kept: Mask) -> None:
    """Check that the update is zero on pruned weights and has a zero gradient on the kept ones."""
    law, name = "the update is the minimum", _named(problem.curvature)
    H, w = problem.curvature.dense(), obs_update(problem, kept)
    require(not w[~kept].any(), law, name, f"pruned weights are {list_of(w[~kept])} for the mask {list_of(kept)}")
    gradient = H @ (w - problem.w_bar) + problem.linear_term()
    root = np.sqrt(H.diagonal())
    sizes = root * (root @ (np.abs(w) + np.abs(problem.w_bar))) + np.abs(problem.linear_term())
    what = f"the gradient on the mask {list_of(kept)}"
    _near(gradient[kept], np.zeros(np.count_nonzero(kept)), sizes[kept], law, name, what)


def _near(found: Vector, expected: Vector, sizes: Vector, law: str, instance: object, what: str) -> None:
    wrong = np.flatnonzero(~(np.abs(found - expected) <= ROUND_OFF * sizes))
    if len(wrong):
        i = wrong[0]
        require(False, law, instance, f"entry {i} of {what} is {found[i]:.12g}, not {expected[i]:.12g}")


def _named(curvature: Curvature) -> str:
    return f"{type(curvature).__name__} of order {curvature.n}"
