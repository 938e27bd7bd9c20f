"""The OBS update of many supports at once, in NumPy or torch, in the dense or the factor form (see ``update``).

A stack is an array whose leading axes, written ``*batch`` in shapes, run over the blocks or rows. Where the curvature
of the kept weights has no Cholesky factor, each of these functions raises ``NotPositiveDefiniteError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, rounded_up
from cbs_opt.kernel.curvature.factor import REFINEMENTS
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.refined_rows import FROM_ORDER, solved_rows

COLUMN_CHUNK = 16_384
"""Columns of a factor that are gathered at a time."""

SMALL, PRODUCTS = 4, 4
"""SMALL: how many times longer an operation takes in the factorization of a row's H_SS, gathering included, than in a
large matrix product. PRODUCTS: how many products with H are counted for the rows of a layer, refinement included."""

ROWS_BYTES = 2**27
"""Most bytes for the matrices H_SS of the rows that are solved at a time (a single row may take more)."""


Step = Callable[[Any, Any], Any]
"""A function of A_P w̄_P (None for zero) and g: the d with H_SS d_S = H_SP w̄_P − g_S; d means nothing off S."""


def update_dense(H: Any, w_bar: Any, mask: Any, g: Any = None) -> Any:
    """The update of a stack of blocks with dense curvature.

    Parameters
    ----------
    H : array or tensor, shape (*batch, n, n)
        The curvatures; one matrix (n, n) may be shared by the whole stack, and is then not copied.
    w_bar, g : array or tensor, shape (*batch, n)
        The trained weights and the first-order terms; ``g`` is zero if left out.
    mask : boolean array or tensor, shape (*batch, n)
        1 keeps.

    Returns
    -------
    array or tensor, shape (*batch, n)
        The updated weights.
    """
    xp = _namespace(H, w_bar, mask)
    kept_first, valid, _ = _gather_order(xp, mask)
    pruned_weights = xp.where(mask, xp.zeros_like(w_bar), w_bar)
    rhs = (H @ pruned_weights[..., None])[..., 0]
    if g is not None:
        rhs = rhs - g
    n = w_bar.shape[-1]
    flat = xp.broadcast_to(H, (*w_bar.shape[:-1], n, n)).reshape(-1, n, n)
    batch = _arange(xp, len(flat), H)[:, None, None]
    H_SS = flat[batch, kept_first[:, :, None], kept_first[:, None, :]]
    d_S = _solve_padded(xp, H_SS, _take(xp, rhs.reshape(-1, n), kept_first), valid)
    return _scatter(xp, w_bar, mask, kept_first, d_S)


def update_rows(H: Any, w_bar: Any, mask: Any, g: Any = None) -> Any:
    """The update of the rows of a layer, which share one curvature; rows with similar numbers kept are solved together.

    NumPy rows with many kept weights are factorized in float32 and refined to the accuracy of float64
    (``refined_rows``), and solved in float64 where that does not succeed.

    Parameters
    ----------
    H : array or tensor, shape (d, d)
        The curvature of every row.
    w_bar, g : array or tensor, shape (rows, d)
        The trained weights and the first-order terms; ``g`` is zero if left out.
    mask : boolean array or tensor, shape (rows, d)
        1 keeps.

    Returns
    -------
    array or tensor, shape (rows, d)
        The updated weights.
    """
    xp = _namespace(H, w_bar, mask)
    rhs = xp.where(mask, xp.zeros_like(w_bar), w_bar) @ H
    if g is not None:
        rhs = rhs - g
    counts = mask.sum(-1)
    sizes = np.asarray(counts if xp is np else counts.cpu())
    order = np.argsort(-sizes, kind="stable")
    w = xp.zeros_like(w_bar)
    start = 0
    while start < len(order) and sizes[order[start]] > 0:
        together = max(1, ROWS_BYTES // (8 * int(sizes[order[start]]) ** 2))
        rows = order[start : start + together]
        start += together
        if xp is np and sizes[rows[0]] >= FROM_ORDER:
            d, solved = solved_rows(H, rhs[rows], mask[rows])
            w[rows] = np.where(mask[rows], w_bar[rows] + d, 0.0)
            rows = rows[~solved]
            if not len(rows):
                continue
        if xp is not np:
            rows = xp.as_tensor(rows, device=H.device)
        kept_first, valid, _ = _gather_order(xp, mask[rows])
        H_SS = H[kept_first[:, :, None], kept_first[:, None, :]]
        d_S = _solve_padded(xp, H_SS, _take(xp, rhs[rows], kept_first), valid)
        w[rows] = _scatter(xp, w_bar[rows], mask[rows], kept_first, d_S)
    return w


def update_columns(H: Matrix, w_bar: Matrix, kept: Mask, g: Matrix | None = None) -> Matrix:
    """The update of the rows of a layer that all keep the same inputs, by one factorization.

    Parameters
    ----------
    H : array, shape (d, d)
        The curvature of every row.
    w_bar, g : array, shape (rows, d)
        The trained weights and the first-order terms; ``g`` is zero if left out.
    kept : boolean array, shape (d,)
        The inputs that every row keeps.

    Returns
    -------
    array, shape (rows, d)
        The updated weights.
    """
    from scipy.linalg import cho_factor, cho_solve

    S, P = np.flatnonzero(kept), np.flatnonzero(~kept)
    w = np.zeros_like(w_bar)
    if not len(S):
        return w
    H_SS, rhs = H[np.ix_(S, S)], w_bar[:, P] @ H[np.ix_(P, S)]
    if g is not None:
        rhs = rhs - g[:, S]
    diagonal = H_SS.diagonal()
    if diagonal.min() > 0:
        scale = 1.0 / np.sqrt(diagonal)
        try:
            factor = cho_factor(H_SS * scale[:, None] * scale, lower=True)
        except np.linalg.LinAlgError:
            pass
        else:
            w[:, S] = w_bar[:, S] + cho_solve(factor, (rhs * scale).T).T * scale
            return w
    raise _singular(np, H_SS[None], np.ones((1, *H_SS.shape), dtype=np.bool_))


def operations_of_update(size: LayerSize) -> Operations:
    """About the work of ``update_rows``: one factorization for each row, and products with H for all rows."""
    factors = SMALL * size.rows * size.kept**3 / 3
    products = Operations(double=PRODUCTS * 2 * size.weights * size.inputs)
    single = size.kept >= FROM_ORDER
    return products.and_(Operations(single=factors) if single else Operations(double=factors))


def update_factor(A: Any, damping: float, w_bar: Any, mask: Any, g: Any = None) -> Any:
    """The update of a stack of blocks with curvature AᵀA + λI.

    Parameters
    ----------
    A : array or tensor, shape (*batch, m, n)
        The factor of each block.
    damping : float
        λ > 0, the same for all blocks.
    w_bar, g, mask
        As in ``update_dense``.

    Returns
    -------
    array or tensor, shape (*batch, n)
        The updated weights.

    Raises
    ------
    InputError
        λ is not above zero. One that is lost in the round-off of AAᵀ is a ``NotPositiveDefiniteError``.

    Notes
    -----
    Of the m × m and the |S| × |S| matrices, the smaller ones are factorized.
    """
    xp = _namespace(A, w_bar, mask)
    if not damping > 0:
        raise InputError(f"damping: is {damping}; the factor form AᵀA + λI needs λ > 0")
    zero = xp.zeros_like(w_bar)
    step = _stacked_step(xp, A, damping, mask)
    w = xp.where(mask, w_bar + step(_images(A, xp.where(mask, zero, w_bar)), zero if g is None else g), zero)

    def gradient(w: Any) -> tuple[Any, Any]:
        d = w - w_bar
        y = _images(A, d)
        r = _backs(A, y) + damping * d
        return xp.where(mask, r if g is None else r + g, zero), damping * ((y * y).sum(-1) + damping * (d * d).sum(-1))

    return _refined(xp, w, gradient, lambda r: xp.where(mask, step(None, r), zero))


def _refined(xp: Any, w: Any, gradient: Callable[[Any], tuple[Any, Any]], correction: Callable[[Any], Any]) -> Any:
    """The weights w, shape (*batch, n), refined where float64 has left too large a gradient on the support.

    Parameters
    ----------
    xp : module
        ``numpy`` or ``torch``.
    w : array or tensor, shape (*batch, n)
        The updated weights.
    gradient : callable
        w ↦ r = (H(w − w̄) + g)_S, zero off the support, and q = λ (w − w̄)ᵀH(w − w̄), of shape (*batch). A block with
        ‖r‖² ≤ eps·q is left as it is: by (excess) of ``update_error``, its f is then right to its own round-off.
    correction : callable
        r ↦ −H_SS⁻¹r. It is repeated while ‖r‖ is at least halved (R. D. Skeel, Mathematics of Computation 35, 1980).
    """
    rest, size = gradient(w)
    wrong = (rest * rest).sum(-1) > EPS * size
    for _ in range(REFINEMENTS):
        if not bool(wrong.any()):
            break
        better = w + correction(rest)
        left, size = gradient(better)
        squares = (left * left).sum(-1)
        wrong = wrong & (squares < 0.25 * (rest * rest).sum(-1))
        w, rest = xp.where(wrong[..., None], better, w), xp.where(wrong[..., None], left, rest)
        wrong = wrong & (squares > EPS * size)
    return w


def _images(A: Any, v: Any) -> Any:
    """A v for every block, shape (*batch, m)."""
    return (A @ v[..., None])[..., 0]


def _backs(A: Any, u: Any) -> Any:
    """Aᵀu for every block, shape (*batch, n)."""
    return (u[..., None, :] @ A)[..., 0, :]


def _stacked_step(xp: Any, A: Any, damping: float, mask: Any) -> Step:
    """The ``Step`` of a stack of blocks, by the m × m or the |S| × |S| matrices, whichever are smaller."""
    m, n = A.shape[-2:]
    kept_first, valid, S = _gather_order(xp, mask)
    flat = A.reshape(-1, m, n)
    batch, rows = _arange(xp, len(flat), A)[:, None, None], _arange(xp, m, A)[None, :, None]
    if m > S:
        A_S = flat[batch, rows, kept_first[:, None, :]] * valid[:, None, :]
        H_SS = _transposed(xp, A_S) @ A_S + damping * _eye(xp, S, A)

        def in_weights(image: Any, g: Any) -> Any:
            rhs = -_take(xp, g.reshape(-1, n), kept_first)
            if image is not None:
                rhs = (image.reshape(-1, 1, m) @ A_S)[:, 0, :] + rhs
            return _placed(xp, g, kept_first, _solve_padded(xp, H_SS, rhs, valid))

        return in_weights
    K = damping * _eye(xp, m, A) + xp.zeros_like(flat[:, :1, :1])  # λI + A_S A_Sᵀ, (B, m, m)
    for start in range(0, S, COLUMN_CHUNK):
        chunk = slice(start, start + COLUMN_CHUNK)
        A_S = flat[batch, rows, kept_first[:, None, chunk]] * valid[:, None, chunk]
        K = K + A_S @ _transposed(xp, A_S)

    def in_samples(image: Any, g: Any) -> Any:
        g_S = xp.where(mask, g, xp.zeros_like(g))
        rhs = _images(A, g_S) if image is None else damping * image + _images(A, g_S)
        u = _solve_samples(xp, K, rhs.reshape(-1, m), damping).reshape(rhs.shape)
        return (_backs(A, u) - g_S) / damping

    return in_samples


def _placed(xp: Any, like: Any, kept_first: Any, d_S: Any) -> Any:
    """d_S, shape (B, S), put into the places of the kept weights, zero elsewhere; in the shape of ``like``."""
    d = xp.zeros_like(like).reshape(-1, like.shape[-1])
    if xp is np:
        np.put_along_axis(d, kept_first, d_S, axis=-1)
    else:
        d = d.scatter(-1, kept_first, d_S)
    return d.reshape(like.shape)


def _solve_samples(xp: Any, K: Any, rhs: Any, damping: float) -> Any:
    """The u, shape (B, m), with K u = rhs, for K = λI + A_S A_Sᵀ of shape (B, m, m)."""
    try:
        return _cholesky_solve(xp, K, rhs)
    except NotPositiveDefiniteError:
        needed = rounded_up(8 * K.shape[-1] * EPS * float(xp.diagonal(K, 0, -2, -1).sum(-1).max()))
        raise NotPositiveDefiniteError(
            f"damping: {damping:.3g} is lost in the round-off of AAᵀ; use at least {needed:.3g}", needed
        ) from None


def _solve_padded(xp: Any, H_SS: Any, rhs: Any, valid: Any) -> Any:
    """The d, shape (B, S), with H_SS d = rhs on the valid entries of each padded support, zero on the padding."""
    if H_SS.shape[-1] == 0:
        return rhs
    both = valid[:, :, None] & valid[:, None, :]
    diagonal = xp.diagonal(H_SS, 0, -2, -1)
    padding = xp.where(valid, xp.zeros_like(diagonal), xp.ones_like(diagonal))
    scale = xp.where(valid, diagonal, xp.ones_like(diagonal))
    if not bool((scale > 0).all()):
        raise _singular(xp, H_SS, both)
    scale = 1.0 / xp.sqrt(scale)
    # Unit diagonal: the factorization does not depend on the units of single weights.
    M = xp.where(both, H_SS * scale[:, :, None] * scale[:, None, :], xp.zeros_like(H_SS))
    M = M + padding[:, :, None] * _eye(xp, H_SS.shape[-1], H_SS)
    try:
        d = _cholesky_solve(xp, M, xp.where(valid, rhs * scale, xp.zeros_like(rhs)))
    except NotPositiveDefiniteError:
        raise _singular(xp, H_SS, both) from None
    return d * scale


def _cholesky_solve(xp: Any, M: Any, rhs: Any) -> Any:
    """M⁻¹ rhs for a stack M, shape (B, k, k), of positive definite matrices and rhs of shape (B, k)."""
    if xp is np:
        from scipy.linalg import cho_solve

        try:
            factor = np.linalg.cholesky(M)
        except np.linalg.LinAlgError:
            raise NotPositiveDefiniteError("not positive definite", 0.0) from None
        return cho_solve((factor, True), rhs[..., None], check_finite=False)[..., 0]
    factor, info = xp.linalg.cholesky_ex(M)
    if bool((info > 0).any()):
        raise NotPositiveDefiniteError("not positive definite", 0.0)
    return xp.cholesky_solve(rhs[..., None], factor)[..., 0]


def _singular(xp: Any, H_SS: Any, both: Any) -> NotPositiveDefiniteError:
    """The error that names the first block that cannot be solved, and a damping that suffices."""
    for i in range(len(H_SS)):
        block = np.asarray(xp.where(both[i], H_SS[i], xp.zeros_like(H_SS[i])).tolist())
        spectrum = np.linalg.eigvalsh(block)
        floor = 8 * len(block) * EPS * max(abs(spectrum[0]), abs(spectrum[-1]))
        if spectrum[0] <= floor:
            needed = max(-float(spectrum[0]), 0.0) + max(float(floor), 1e-8 * float(np.trace(block)) / len(block))
            needed = rounded_up(needed) if needed > 0 else 1.0
            where = f" of block {i}" if len(H_SS) > 1 else ""
            return NotPositiveDefiniteError(
                f"H: the curvature of the kept weights{where} is not positive definite, smallest eigenvalue "
                f"{spectrum[0]:.3g}; add damping of at least {needed:.3g}",
                needed,
            )
    return NotPositiveDefiniteError("H: the curvature of the kept weights is not positive definite; add damping", 1.0)


def _namespace(*arrays: Any) -> Any:
    """``numpy`` or ``torch``, whichever all of the arrays belong to."""
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np
    import torch

    if not all(isinstance(array, torch.Tensor) for array in arrays):
        raise InputError("update: NumPy arrays and torch tensors are mixed; give all of one kind")
    if any(array.dtype not in (torch.float64, torch.bool) for array in arrays):
        raise InputError("update: a tensor is not float64; convert with .double(), the update is not done in less")
    return torch


def _gather_order(xp: Any, mask: Any) -> tuple[Any, Any, int]:
    """The kept indices of each support, padded with pruned ones to the size S of the largest; which are kept; and S.

    The first two have shape (B, S).
    """
    flat = mask.reshape(-1, mask.shape[-1])
    S = int(flat.sum(-1).max())
    pruned = ~flat
    order = np.argsort(pruned, axis=-1, kind="stable") if xp is np else pruned.long().argsort(dim=-1, stable=True)
    kept_first = order[:, :S]
    return kept_first, _take(xp, flat, kept_first), S


def _scatter(xp: Any, w_bar: Any, mask: Any, kept_first: Any, d_S: Any) -> Any:
    """The weights w̄ + d on the kept weights, zero on the others, shape (*batch, n)."""
    return xp.where(mask, w_bar + _placed(xp, w_bar, kept_first, d_S), xp.zeros_like(w_bar))


def _take(xp: Any, values: Any, indices: Any) -> Any:
    return np.take_along_axis(values, indices, axis=-1) if xp is np else values.gather(-1, indices)


def _transposed(xp: Any, stack: Any) -> Any:
    return xp.swapaxes(stack, -1, -2)


def _arange(xp: Any, n: int, like: Any) -> Any:
    return np.arange(n) if xp is np else xp.arange(n, device=like.device)


def _eye(xp: Any, n: int, like: Any) -> Any:
    return np.eye(n) if xp is np else xp.eye(n, dtype=like.dtype, device=like.device)
