"""The damping λ: the two ways to give it, and the note where it dominates the curvature.

Everything that makes curvature of a network and samples (``prune``, ``certify``, ``extract``, ``study``) takes λ in one
of two ways: as ``damping`` (λ itself, in the units of H) or as ``dampening_frac`` (λ as a share of the mean diagonal of
the curvature without it). Where neither is given, λ is the share ``DAMPENING_FRAC``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.validate import as_nonnegative

DAMPENING_FRAC = 0.01
"""The default share: λ over the mean diagonal of a network's curvature where neither way of giving λ is used."""

NOTHING_ELSE = "λ is all there is of the curvature"
SO = "the model is about λ, and so are objective, bound and gap"
SAID = re.compile(r"λ is (?:up to )?([0-9,]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?) times the mean diagonal of the curvature")


def resolve_damping(damping: float | None, dampening_frac: float | None, mean_diagonal: float) -> float:
    """λ itself, from either way of giving it: ``damping``, or ``dampening_frac`` times ``mean_diagonal``.

    Raises
    ------
    InputError
        Both or neither are given, or the value is negative or not finite.
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
    """(damping, dampening_frac), exactly one of them a number: what was given, or ``DAMPENING_FRAC`` by default.

    Parameters
    ----------
    damping, dampening_frac : float or None
        λ itself, or λ as a share of the mean diagonal; at most one of the two.
    needed_by : str
        The curvature that needs λ > 0, for the message; empty where λ = 0 is allowed.

    Raises
    ------
    InputError
        Both are given, the value is negative or not finite, or it is 0 where λ > 0 is needed.
    """
    if damping is None and dampening_frac is None:
        dampening_frac = DAMPENING_FRAC
    if resolve_damping(damping, dampening_frac, 1.0) == 0 and needed_by:
        given = "dampening_frac" if damping is None else "damping"
        raise InputError(f"{given}: is 0; {needed_by} needs a {given} > 0")
    return damping, dampening_frac


def dominance(damping: float, mean_diagonal: float) -> float:
    """λ over the mean diagonal of the curvature without it; inf where the curvature is λI."""
    if damping == 0:
        return 0.0
    return damping / mean_diagonal if mean_diagonal > 0 else math.inf


def dominance_note(ratios: Collection[float], parts: str = "layers") -> tuple[str, ...]:
    """A note of one sentence where a λ is larger than the mean diagonal of its curvature without it; else none.

    Parameters
    ----------
    ratios : collection of float
        The ``dominance`` of each curvature.
    parts : str
        What the curvatures belong to, in the plural, as 'layers'.
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
    """The ratio in a sentence of ``dominance_note``, for code that keeps only the notes; 0 for any other sentence."""
    if note.startswith(NOTHING_ELSE):
        return math.inf
    found = SAID.match(note)
    return float(found[1].replace(",", "")) if found else 0.0


def _number(ratio: float) -> str:
    """A ratio above 1 as text of three digits: '1.31', '131,000' or '1.31e+12', and never less than '1.01'."""
    rounded = max(ratio, 1.01) if ratio < 1.01 else float(f"{ratio:.3g}")
    return f"{rounded:,.10g}" if rounded < 1e9 else f"{rounded:.3g}"
