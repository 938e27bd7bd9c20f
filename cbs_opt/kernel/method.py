"""What a method declares about itself, and the table of all methods."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from cbs_opt.errors import (
    InputError,
    MethodError,
    SolverError,
    TooLargeError,
    UnavailableMethodError,
    UnsupportedError,
)
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.option_words import option_words
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome


class Objective(StrEnum):
    """Which problem a method is about."""

    JOINT = "joint"
    """CBS: mask and weights together."""

    SELECTION = "selection"
    """CBS-S: the mask, with the kept weights as trained."""


@dataclass(frozen=True, repr=False)
class MethodSpec:
    """One method: a file that ends in one of these, listed in ``cbs_opt.solvers``.

    Parameters
    ----------
    name : str
        What users type.
    run : callable
        ``run(problem, *, option=default, …) -> Outcome``. Its keyword arguments are the method's options.
    summary : str
        One line for ``cbs-opt methods``.
    exact : bool
        Proves its answer, given time.
    objective : Objective
        The problem it is about, and that its bound bounds.
    reference : str
        Where the method comes from.
    patterns : tuple of Pattern classes
        The patterns it handles: ``Pattern`` for all, ``Labelled`` for all whose weights carry labels with room.
    curvatures : tuple of Curvature classes
        The curvatures it handles; any of them, if it asks for no more than their methods.
    requires : tuple of str
        Import names of packages beyond numpy and scipy.
    max_n : int or None
        Most weights it accepts.
    left_out_because : str
        Why a comparison that names no methods does not run it; empty: it does.
    prepare : callable, optional
        Compiles or loads what the first run needs, so that no solve is charged for it.
    operations : callable, optional
        About how much work the selection of one layer is, by its size: for an estimate before a network is pruned.
    """

    name: str
    run: Callable[..., Outcome]
    summary: str
    exact: bool
    objective: Objective
    reference: str
    patterns: tuple[type[Pattern], ...] = (Cardinality,)
    curvatures: tuple[type[Curvature], ...] = (Curvature,)
    requires: tuple[str, ...] = ()
    max_n: int | None = None
    left_out_because: str = ""
    prepare: Callable[[], None] | None = None
    operations: Callable[[LayerSize], Operations] | None = None

    def __repr__(self) -> str:
        return f"<MethodSpec {self.name}: {self.summary}>"

    @property
    def options(self) -> dict[str, object]:
        """Options and their defaults, from the signature of ``run``."""
        return dict(_options(self.run))

    def unavailable_because(self) -> str | None:
        """Why the method cannot run here, or None when it can."""
        missing = [package for package in self.requires if importlib.util.find_spec(package) is None]
        return f"needs the package {', '.join(missing)}" if missing else None

    def takes(self, pattern: type[Pattern]) -> bool:
        """Whether the method handles patterns of this kind."""
        return issubclass(pattern, self.patterns)

    def patterns_in_words(self) -> str:
        """The patterns the method handles, as users call them."""
        if Pattern in self.patterns:
            return "every"
        return ", ".join(name for pattern in self.patterns for name in _names(pattern))

    def curvatures_in_words(self) -> str:
        """The curvatures the method handles, by their kinds."""
        return "every" if Curvature in self.curvatures else ", ".join(curvature.kind for curvature in self.curvatures)

    def option_words(self) -> dict[str, str]:
        """What each option does, from the docstring of ``run``; an empty word where that says nothing."""
        words = option_words(self.run)
        return {name: words.get(name, "") for name in self.options}

    def check(self, problem: PruningProblem) -> None:
        """Raise a clear error unless the method can take ``problem``, here and now."""
        reason = self.unavailable_because()
        if reason:
            raise UnavailableMethodError(f"method {self.name}: {reason}; install it, or see `cbs-opt methods`")
        if not self.takes(type(problem.Z)):
            raise UnsupportedError(
                f"method {self.name}: cannot take the pattern {type(problem.Z).__name__}; it takes "
                f"{self.patterns_in_words()}"
            )
        if self.max_n is not None and problem.n > self.max_n:
            raise TooLargeError(
                f"method {self.name}: takes at most {self.max_n} weights, but {problem.name or 'the problem'} has "
                f"{problem.n}; cut it into smaller blocks or use a heuristic with `lower_bound`"
            )
        if not isinstance(problem.curvature, self.curvatures):
            kinds = ", ".join(curvature.kind for curvature in self.curvatures)
            obtained = "; ".join(curvature.obtained for curvature in self.curvatures if curvature.obtained)
            raise UnsupportedError(
                f"method {self.name}: cannot take a {problem.curvature.kind} curvature; it takes {kinds}"
                + (f" ({obtained})" if obtained else "")
            )

    def checked(self, outcome: object, problem: PruningProblem) -> Outcome:
        """What ``run`` has returned, if it is an ``Outcome`` with a mask of the pattern; else its author is told.

        Raises
        ------
        SolverError
        """
        author = f"method {self.name}: its run function returned"
        if not isinstance(outcome, Outcome):
            raise SolverError(
                f"{author} a {type(outcome).__name__}; it has to return cbs_opt.Outcome(mask), with the bound where it "
                "proves one"
            )
        try:
            mask = as_mask(outcome.mask, "mask", problem.n)
        except InputError as error:
            raise SolverError(f"{author} no mask of this problem: {error}") from None
        if not problem.Z.contains(mask):
            raise SolverError(
                f"{author} a mask that keeps {int(mask.sum())} of {problem.n} weights and is outside the pattern "
                f"({problem.Z}); problem.Z.argmax(scores) is always inside"
            )
        return replace(outcome, mask=mask)

    def why_not(self, problem: PruningProblem) -> str | None:
        """Why the method cannot take ``problem``, or None when it can."""
        try:
            self.check(problem)
        except (MethodError, TooLargeError) as error:
            return str(error)
        return None

    def check_options(self, names: Mapping[str, object]) -> None:
        """Raise unless every option is one of this method's."""
        for name in names:
            if name not in self.options:
                has = ", ".join(self.options) or "none"
                raise UnsupportedError(f"method {self.name}: has no option {name}; it has {has}")


def _names(pattern: type[Pattern]) -> list[str]:
    """A kind of pattern as users call it; of an abstract one the kinds that there are."""
    if not inspect.isabstract(pattern):
        return [pattern.__name__]
    return [name for kind in pattern.__subclasses__() for name in _names(kind)]


@lru_cache(maxsize=256)  # a signature is looked at for every solve, and takes as long as a small block's bound
def _options(run: Callable[..., Outcome]) -> dict[str, object]:
    parameters = list(inspect.signature(run).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def index_methods(specs: tuple[MethodSpec, ...]) -> dict[str, MethodSpec]:
    """Specs by name; a name taken twice is a mistake of ours."""
    table = {spec.name: spec for spec in specs}
    if len(table) != len(specs):
        raise MethodError("two methods share a name")
    return table
