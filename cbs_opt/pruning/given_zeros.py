"""Weights that are exactly zero in the given network: kept zero if that is asked for, otherwise only noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.errors import InputError
from cbs_opt.kernel.patterns import prune_count
from cbs_opt.network.weights import Weights

if TYPE_CHECKING:
    from cbs_opt.pruning.settings import Settings


def given_zeros(weights: Weights, settings: Settings, sparsity: float) -> tuple[Weights, list[str]]:
    """The weights that a run begins with, and the notes about their zeros.

    With ``keep_zeros`` the zeros count as pruned, like those of an earlier stage. That is possible under every N:M
    pattern, which only asks for a least number of zeros.

    Parameters
    ----------
    weights : Weights
        The network's weights, all of them kept.
    sparsity : float
        The share of weights that is to be zero in the end.

    Raises
    ------
    InputError
        Nothing is left to prune.
    """
    without = weights.without_zeros()
    zeros = without.pruned
    if not zeros:
        return weights, []
    if not settings.keep_zeros:
        return weights, [
            f"{zeros:,} of the {weights.n:,} weights were exactly zero before; "
            "keep_zeros (--keep-zeros) keeps them zero"
        ]
    if zeros == weights.n:
        raise InputError("keep_zeros: every weight that is to be pruned is zero already; nothing is left to do")
    if settings.n_of_m is None and prune_count(weights.n, sparsity) < zeros:
        raise InputError(
            f"sparsity: is {sparsity:g}, but {100 * zeros / weights.n:.4g} % of the weights are zero already and "
            "keep_zeros keeps them; ask for more"
        )
    return without, [f"{zeros:,} of the {weights.n:,} weights were exactly zero before and stay zero"]
