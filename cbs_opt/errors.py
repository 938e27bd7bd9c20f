"""What can go wrong, as a tree; every message is one sentence: what, where, what to do.

The tree of errors:

    CbsOptError
    ├── InputError                    something given has a wrong shape, type or value
    │   ├── BlockFileError            a file that is not a readable block
    │   ├── PatternError              a pattern nothing satisfies, or one of the wrong size
    │   ├── NotPositiveDefiniteError  a curvature that needs damping (says how much)
    │   └── TooLargeError             more weights than this method or memory can take
    ├── StoreError                    a store of results that cannot be read or written
    ├── MethodError                   the request does not fit the method
    │   ├── UnknownMethodError        no such name (lists the names there are)
    │   ├── UnavailableMethodError    its package is missing (says which)
    │   └── UnsupportedError          the method cannot take this problem or option
    ├── SolverError                   an external solver ended without an answer
    └── BoundViolationError           a proven bound lies above a feasible value: a bug, please report
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CbsOptError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(CbsOptError, ValueError):
    """Something given has a wrong shape, type or value; the message names it."""


class BlockFileError(InputError):
    """A file that is not a readable block."""


class PatternError(InputError):
    """A pattern that nothing satisfies, or one whose size does not fit the problem."""


class NotPositiveDefiniteError(InputError):
    """A matrix that has to be positive definite is not.

    Attributes
    ----------
    sufficient_damping : float
        A λ for which H + λI is positive definite in float64 (in the units of H).
    """

    def __init__(self, message: str, sufficient_damping: float) -> None:
        super().__init__(message)
        self.sufficient_damping = sufficient_damping


class TooLargeError(InputError):
    """More weights than the method or the memory can take."""


class StoreError(CbsOptError):
    """A store of results that cannot be read or written."""


class MethodError(CbsOptError):
    """The request does not fit the method."""


class UnknownMethodError(MethodError):
    """No method, formulation, network or instance of that name."""


class UnavailableMethodError(MethodError):
    """The method exists, but a package it needs is not installed."""


class UnsupportedError(MethodError):
    """The method cannot take this problem or this option."""


class SolverError(CbsOptError):
    """An external solver ended without an answer that can be used."""


class BoundViolationError(CbsOptError):
    """A 'proven' lower bound lies above a feasible value: a bug in a bound."""


def unknown_name(what: str, name: str, known: list[str]) -> UnknownMethodError:
    """The error for a ``name`` that is not among the ``known`` ones; it suggests the nearest of them."""
    return UnknownMethodError(f"{what} {name!r}: unknown; {did_you_mean(name, known)}there are {', '.join(known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'did you mean X? ', a part of a message, with the nearest to ``name`` of the ``known``; '' where none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""
