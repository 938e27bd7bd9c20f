"""The damping λ: how it is asked for, and what is to be said where it dominates the curvature.

Everything that makes curvature of a network and samples (``prune``, ``certify``, ``extract``, ``study``) takes λ in one
of two ways, ``damping`` (λ itself, in the units of H) or ``dampening_frac`` (λ as a share of the mean diagonal of the
curvature without it), and ``DAMPENING_FRAC`` of that mean where neither is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.validate import as_nonnegative

DAMPENING_FRAC = 0.01
"""λ over the mean diagonal of a network's curvature, where nobody says otherwise."""

NOTHING_ELSE = "λ is all there is of the curvature"
SO = "the model is about λ, and so are objective, bound and gap"
SAID = re.compile(r"λ is (?:up to )?([0-9,]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?) times the mean diagonal of the curvature")


def resolve_damping(damping: float | None, dampening_frac: float | None, mean_diagonal: float) -> float:
    """The absolute λ from either way of saying it: ``damping``, or a fraction of the mean diagonal.

    Raises
    ------
    InputError
        When both or neither are given, or a value is negative or not finite.
    """
    if (damping is None) == (dampening_frac is None):
        given = "neither is given" if damping is None else "both are given"
        raise InputError(
            f"damping: {given}; give exactly one of damping (absolute) and dampening_frac (of the mean diagonal; "
            f"{DAMPENING_FRAC:g} is usual)"
        )
    if damping is not None:
        return as_nonnegative(damping, "damping")
    return as_nonnegative(dampening_frac, "dampening_frac") * mean_diagonal


def damping_asked(
    damping: float | None, dampening_frac: float | None, needed_by: str = ""
) -> tuple[float | None, float | None]:
    """(damping, dampening_frac), exactly one of them a number: what was given, or ``DAMPENING_FRAC``.

    Parameters
    ----------
    needed_by : str
        The curvature that λ = 0 would make singular; empty where it is allowed.

    Raises
    ------
    InputError
        As ``resolve_damping`` where both are given, or 0 where λ is needed.
    """
    if damping is None and dampening_frac is None:
        dampening_frac = DAMPENING_FRAC
    if resolve_damping(damping, dampening_frac, 1.0) == 0 and needed_by:
        given = "dampening_frac" if damping is None else "damping"
        raise InputError(f"{given}: is 0; {needed_by} needs a {given} > 0")
    return damping, dampening_frac


def dominance(damping: float, mean_diagonal: float) -> float:
    """λ over the mean diagonal of the curvature without it; inf where there is nothing but λ."""
    if damping == 0:
        return 0.0
    return damping / mean_diagonal if mean_diagonal > 0 else math.inf


def dominance_note(ratios: Collection[float], parts: str = "layers") -> tuple[str, ...]:
    """One sentence where λ is more than the mean diagonal of the curvature without it; else nothing.

    Parameters
    ----------
    ratios : collection of float
        ``dominance`` of each curvature that one is told of.
    parts : str
        What they are of.
    """
    beyond = [ratio for ratio in ratios if ratio > 1]
    if not beyond:
        return ()
    several = len(ratios) > 1
    where = f", in {len(beyond):,} of {len(ratios):,} {parts}" if several else ""
    finite = [ratio for ratio in beyond if math.isfinite(ratio)]
    if not finite:
        return (f"{NOTHING_ELSE}, which is zero without it{where}: {SO}; take other samples or another curvature",)
    up_to = "up to " if several else ""
    return (
        f"λ is {up_to}{_number(max(finite))} times the mean diagonal of the curvature{where}: {SO}; "
        f"give a smaller damping, or a dampening_frac such as {DAMPENING_FRAC:g}",
    )


def dominance_said(note: str) -> float:
    """The ratio in a sentence of ``dominance_note``, for what keeps sentences only; 0 of any other."""
    if note.startswith(NOTHING_ELSE):
        return math.inf
    found = SAID.match(note)
    return float(found[1].replace(",", "")) if found else 0.0


def _number(ratio: float) -> str:
    """'1.31', '131,000' or '1.31e+12': three digits, rounded so that more than 1 never reads 1."""
    rounded = max(ratio, 1.01) if ratio < 1.01 else float(f"{ratio:.3g}")
    return f"{rounded:,.10g}" if rounded < 1e9 else f"{rounded:.3g}"
