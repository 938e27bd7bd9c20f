"""Improves the splitting H₁ = R + diag(D) of a layer: one for all its rows, then one for each row.

**One for all** climbs along the barrier path of ``rows_newton``, with the rises of all rows added up.

**One for each row.** Most weights of a row are *settled*: kept (z_i = 1) or pruned (w_i = 0) whatever D_i is, down to a
floor of 2λ/w_i² or r_i²/(2λ), below which z_i would become fractional. Their D_i is lowered to nearly that floor, which
costs nothing and leaves more of H₁ to the other weights. Then D is improved on the set F of weights that gain most.
With E the other weights and H₁ − diag(D_E, 0) positive definite on E, only the Schur complement

    S = H_FF − H_FE (H_EE − D_E)⁻¹ H_EF        (H₁ − diag(D) ⪰ 0  ⟺  S − diag(D_F) ⪰ 0)

matters. One Cholesky factorization of H₁ − diag(D_E, 0) for each row, in the order (E, F), has the factor of S in its
last corner, and Newton's steps then take |F|³ operations instead of d³.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cbs_opt.solvers.bounds.rows_admm import Point, Relaxation
from cbs_opt.solvers.bounds.rows_newton import Rise, ascended
from cbs_opt.solvers.forms.layer_tensors import memory_of

if TYPE_CHECKING:
    import torch

SHARED_STEPS = 2
"""Newton steps for the shared splitting before the relaxation is solved again."""

OWN_STEPS = 3
"""Newton steps for the splittings of single rows before the relaxation is solved again."""

PART, LEAST = 0.28, 32
"""|F| as a part of d, and the least |F|."""

MARGIN = 1.02
"""The D of a settled weight stays above its floor by this factor."""

LOWEST = 0.02
"""The D of a settled weight falls to no less than this part of itself in a round."""

ENTRIES, CACHED = 2**23, 2**20
"""Entries of all matrices that are worked on together on the CPU, and of those of order d, which are to stay in its
cache."""


def first_splitting(U: torch.Tensor) -> torch.Tensor:
    """The diagonal of D = δI with U − D safely positive definite, (d,): δ is about 0.4 of the smallest eigenvalue."""
    import torch

    factor = torch.linalg.cholesky(U)
    v = torch.ones((len(U), 1), dtype=U.dtype, device=U.device)
    size = 1.0
    for _ in range(20):  # the power method on U⁻¹
        v = torch.cholesky_solve(v / v.norm(), factor)
        size = float(v.norm())
    delta = 0.5 / size
    while int(torch.linalg.cholesky_ex(U - delta * torch.eye(len(U), dtype=U.dtype, device=U.device)).info):
        delta *= 0.5
    return torch.full((len(U),), 0.8 * delta, dtype=U.dtype, device=U.device)


def shared_ascent(relaxation: Relaxation, D: torch.Tensor, at: Point, share: float) -> torch.Tensor:
    """D (d,) improved for all rows together; the barrier is ``share`` times the mean gain of a weight."""
    U = relaxation.layer.U
    size, price, _ = _standing(relaxation, at, slice(None))
    rise = Rise(size.to(U.dtype)[:, None, :], price.to(U.dtype)[:, None, :])
    gain = (rise.slopes(D[None])[0] * D).mean(1)
    return ascended(U[None], D[None], D.new_zeros(1, len(D)), rise, share * gain, SHARED_STEPS)[0]


def own_ascent(
    relaxation: Relaxation, D: torch.Tensor, at: Point, share: float, check: Callable[[], None]
) -> torch.Tensor:
    """D (rows, d) improved in each row; ``check`` is called between parts of the rows, and may raise."""
    import torch

    U = relaxation.layer.U.to(relaxation.dtype)
    rows, d = at.w.shape
    few = min(d, max(LEAST, round(PART * d)))
    entries = memory_of(U) / (3 * U.element_size()) if U.is_cuda else ENTRIES
    together = max(1, int(entries // (d * d)))
    D = D.to(U.dtype).expand(rows, d)
    parts = []
    for start in range(0, rows, together):
        check()
        part = slice(start, start + together)
        parts.append(_own(U, D[part], *_standing(relaxation, at, part), share, few))
    return torch.cat(parts)


def _standing(relaxation: Relaxation, at: Point, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """|x|, λ and |r| of some ``rows``, shape (rows, d) each; λ and r are 0 where the pattern decides the weight."""
    import torch

    price = relaxation.prices(at.theta).expand_as(at.x)
    free = relaxation.free
    return at.x[rows].abs(), torch.where(free, price, 0.0)[rows], torch.where(free, at.r.abs(), 0.0)[rows]


def _own(
    U: torch.Tensor,
    D: torch.Tensor,
    size: torch.Tensor,
    price: torch.Tensor,
    residual: torch.Tensor,
    share: float,
    few: int,
) -> torch.Tensor:
    """The improved splittings of some rows, shape (rows, d)."""
    import torch

    slope = Rise(size[None], price[None]).slopes(D)[0]
    settled = slope <= 0
    floor = torch.where(size > 0, 2.0 * price / (size * size), 0.5 * residual**2 / price)
    floor = torch.where(price > 0, MARGIN * floor, 0.0)
    lowered = torch.minimum(torch.maximum(floor, LOWEST * D), D)
    D = torch.where(settled, lowered, D)
    order = torch.argsort(slope * D, dim=1)
    E, F = order[:, :-few].sort(1).values, order[:, -few:].sort(1).values
    S = _complements(U, D, torch.cat([E, F], 1), few)
    at_F = D.gather(1, F)
    gain = (slope * D).gather(1, F).mean(1)
    rise = Rise(size.gather(1, F)[None], price.gather(1, F)[None])
    least = torch.where(settled, lowered, 0.0).gather(1, F)
    return D.scatter(1, F, ascended(S, at_F, least, rise, share * gain, OWN_STEPS))


def _complements(U: torch.Tensor, D: torch.Tensor, order: torch.Tensor, few: int) -> torch.Tensor:
    """S of every row, (rows, few, few), for F the last ``few`` of ``order``; −I where there is no factor."""
    import torch

    d = len(U)
    taken = D.gather(1, order)
    taken[:, d - few :] = 0.0
    together = len(order) if U.is_cuda else max(1, CACHED // (d * d))
    parts = []
    for perms, diagonals in zip(torch.split(order, together), torch.split(taken, together), strict=True):
        stack = torch.stack([U.index_select(0, perm).index_select(1, perm) for perm in perms])
        stack.diagonal(dim1=1, dim2=2).sub_(diagonals)
        factor, info = torch.linalg.cholesky_ex(stack)
        corner = factor[:, d - few :, d - few :]
        none = -torch.eye(few, dtype=U.dtype, device=U.device)
        parts.append(torch.where((info == 0)[:, None, None], corner @ corner.mT, none))
    return torch.cat(parts)
