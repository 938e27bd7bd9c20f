"""Newton's method for a splitting D with S − diag(D) positive definite, along a barrier, for many matrices S at a time.

At a relaxed point w and the price λ of a kept weight (``rows_admm``), the part of the relaxation's value that depends
on D_i is

    v(D_i) = min_{0≤z≤1} ½D_i w_i²/z + λz − ½D_i w_i²,

which is |w_i|√(2λD_i) − ½D_i w_i² where the best z is below 1, and λ elsewhere.

As a model of the value it is tight at the D for which w was found and, at a fixed price, lies above the value. It is
concave, and steep at D_i = 0 where w_i ≠ 0: unlike the gradient of the value, it takes into account that the mask
answers a change of D. With it

    Σ_i v(D_i) + μ (log det(S − diag(D)) + κ Σ log D_i)

is maximized over D: Boyd & Vandenberghe, Convex Optimization, 2004, §9.5 and §11.3 (Newton's method with backtracking,
barriers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

POSITIVE = 1e-2
"""κ, the weight of the barrier that keeps D positive."""

INSIDE = 0.9
"""The part of the way to D_i = 0 that a step may go."""

HALVINGS = 10
"""So many step lengths are tried, each half of the one before."""

FIRST_LENGTH = 0.5
"""The length that the first step begins with."""

LONGER = 4.0
"""Later steps begin with the length of the last step times this, at most 1."""


class Rise:
    """The model v and its derivatives, summed over the rows that share a D.

    Parameters
    ----------
    size : tensor, shape (sharing, batch, n)
        |w| of the weights that share a D_i; the first axis has length 1 where every row has a D of its own.
    price : tensor, broadcast to the same shape
        λ; zero for weights that cost nothing to keep.
    """

    def __init__(self, size: torch.Tensor, price: torch.Tensor) -> None:
        self._half = 0.5 * size * size
        self._pull = size * (2.0 * price).sqrt()
        self._price = price.expand_as(size)

    def at(self, rows: torch.Tensor) -> Rise:
        """The same for some matrices of the batch."""
        part = Rise.__new__(Rise)
        part._half, part._pull, part._price = self._half[:, rows], self._pull[:, rows], self._price[:, rows]
        return part

    def value(self, D: torch.Tensor) -> torch.Tensor:
        """Σ_i v(D_i), shape (batch,), for ``D`` of shape (batch, n)."""
        import torch

        mixed = self._pull * D.sqrt() - self._half * D
        return torch.where(self._mixed(D), mixed, self._price).sum((0, 2))

    def slopes(self, D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """v' ≥ 0 and −v'' ≥ 0 at ``D``, each of shape (batch, n)."""
        import torch

        inside = self._mixed(D)
        pull = 0.5 * self._pull / D.sqrt()
        first = torch.where(inside, pull - self._half, 0.0).clamp_(min=0.0)
        return first.sum(0), torch.where(inside, 0.5 * pull / D, 0.0).sum(0)

    def _mixed(self, D: torch.Tensor) -> torch.Tensor:
        """Where the best z is below 1, that is ½w²D < λ."""
        return self._half * D < self._price


def ascended(
    S: torch.Tensor, D: torch.Tensor, least: torch.Tensor, rise: Rise, mu: torch.Tensor, steps: int
) -> torch.Tensor:
    """``D`` after at most ``steps`` Newton steps on the barrier problem; where a factor is missing, D stays as it is.

    Parameters
    ----------
    S : tensor, shape (batch, n, n)
        Symmetric matrices.
    D : tensor, shape (batch, n)
        The splittings to start from, > 0.
    least : tensor, shape (batch, n)
        Bounds that D does not fall below.
    rise : Rise
        The model v.
    mu : tensor, shape (batch,)
        Barrier parameters μ > 0.
    steps : int
        Steps at the most.
    """
    import torch

    L, info = torch.linalg.cholesky_ex(S - torch.diag_embed(D))
    active = (info == 0) & (mu > 0)
    height = _height(L, D, rise.value(D), mu)
    last = torch.full_like(mu, FIRST_LENGTH / LONGER)
    for _ in range(steps):
        if not bool(active.any()):
            break
        G = torch.cholesky_inverse(L)
        first, second = rise.slopes(D)
        pull = mu[:, None]
        gradient = first - pull * G.diagonal(dim1=1, dim2=2) + pull * POSITIVE / D
        hessian = pull[:, :, None] * G * G
        hessian.diagonal(dim1=1, dim2=2).add_(second + pull * POSITIVE / D**2)
        factor, info = torch.linalg.cholesky_ex(hessian)
        active = active & (info == 0)
        step = torch.cholesky_solve(gradient[:, :, None], factor)[:, :, 0]
        length = torch.minimum(INSIDE * (D / (-step).clamp(min=1e-30)).amin(1), (LONGER * last).clamp(max=1.0))
        waiting = active & step.isfinite().all(1)
        D, L, height = D.clone(), L.clone(), height.clone()
        for _ in range(HALVINGS):
            rows = waiting.nonzero()[:, 0]
            if not len(rows):
                break
            trial = torch.maximum(D[rows] + length[rows, None] * step[rows], least[rows])
            found, info = torch.linalg.cholesky_ex(S[rows] - torch.diag_embed(trial))
            reached = _height(found, trial, rise.at(rows).value(trial), mu[rows])
            better = (info == 0) & (reached > height[rows])
            taken = rows[better]
            D[taken], L[taken], height[taken] = trial[better], found[better], reached[better]
            last[taken], waiting[taken] = length[taken], False
            length = 0.5 * length
        active = active & ~waiting
    return D


def _height(L: torch.Tensor, D: torch.Tensor, value: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """The objective with its barrier, shape (batch,), for the Cholesky factors ``L`` of S − diag(D)."""
    logs = 2.0 * L.diagonal(dim1=1, dim2=2).log().sum(1) + POSITIVE * D.log().sum(1)
    return value + mu * logs
