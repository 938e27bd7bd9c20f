"""What a method declares about itself: its name, what it can take, and the function that runs it."""

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
    """The problem that a method solves, and that its bound is a bound on."""

    JOINT = "joint"
    """CBS: the mask and the values of the kept weights are chosen together."""

    SELECTION = "selection"
    """CBS-S: the mask is chosen, and the kept weights stay as trained."""


@dataclass(frozen=True, repr=False)
class MethodSpec:
    """What a method declares about itself: which problems it takes, and the function that solves them.

    A method of your own is made known by ``cbs_opt.register(MethodSpec(…))``; each built-in method is a file in
    ``cbs_opt.solvers`` that ends in one of these.

    Parameters
    ----------
    name : str
        The name by which users ask for the method.
    run : callable
        ``run(problem, *, option=default, …) -> Outcome``. Its keyword arguments are the method's options.
    summary : str
        One line for ``cbs-opt methods``.
    exact : bool
        Whether the method proves its answer optimal, given enough time.
    objective : Objective
        The problem that it solves, joint or selection; its bound is a bound on the same one.
    reference : str
        Where the method comes from.
    patterns : tuple of Pattern classes
        The patterns that it takes: ``Pattern`` for all, ``Labelled`` for all that give every weight a label and every
        label room for so many kept weights.
    curvatures : tuple of Curvature classes
        The curvatures that it takes; leave ``Curvature`` if the method needs only what every curvature offers.
    requires : tuple of str
        Import names of the packages that it needs besides numpy and scipy.
    max_n : int or None
        The largest number of weights that it takes; None for no limit.
    left_out_because : str
        Why a comparison without a list of methods leaves this one out; empty where it does not.
    prepare : callable, optional
        Compiles or loads what the first run needs, so that the time of no solve includes it.
    operations : callable, optional
        Estimates, from a ``LayerSize``, the work of selecting the mask of one layer; used to tell how long pruning a
        network will take.
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
        """The method's options and their defaults, from the signature of ``run``."""
        return dict(_options(self.run))

    def unavailable_because(self) -> str | None:
        """Why the method cannot run here, or None when it can."""
        missing = [package for package in self.requires if importlib.util.find_spec(package) is None]
        return f"needs the package {', '.join(missing)}" if missing else None

    def takes(self, pattern: type[Pattern]) -> bool:
        """Whether the method handles patterns of this kind."""
        return issubclass(pattern, self.patterns)

    def patterns_in_words(self) -> str:
        """The names of the patterns that the method takes, as one text; 'every' for all."""
        if Pattern in self.patterns:
            return "every"
        return ", ".join(name for pattern in self.patterns for name in _names(pattern))

    def curvatures_in_words(self) -> str:
        """The kinds of curvature that the method takes, as one text; 'every' for all."""
        return "every" if Curvature in self.curvatures else ", ".join(curvature.kind for curvature in self.curvatures)

    def option_words(self) -> dict[str, str]:
        """What each option does, from the docstring of ``run``; an empty text where the docstring does not say."""
        words = option_words(self.run)
        return {name: words.get(name, "") for name in self.options}

    def check(self, problem: PruningProblem) -> None:
        """Raise an error with the reason unless the method can take ``problem`` on this machine."""
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
        """``outcome``, which ``run`` has returned, once it is known to be an ``Outcome`` with a mask of the pattern.

        Raises
        ------
        SolverError
            It is something else; the message is for the author of the method.
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
        """Raise an error unless every name is that of an option of this method."""
        for name in names:
            if name not in self.options:
                has = ", ".join(self.options) or "none"
                raise UnsupportedError(f"method {self.name}: has no option {name}; it has {has}")


def _names(pattern: type[Pattern]) -> list[str]:
    """The name of a class of patterns; of an abstract class, the names of all its concrete subclasses."""
    if not inspect.isabstract(pattern):
        return [pattern.__name__]
    return [name for kind in pattern.__subclasses__() for name in _names(kind)]


@lru_cache(maxsize=256)  # a signature is looked at for every solve, and takes as long as a small block's bound
def _options(run: Callable[..., Outcome]) -> dict[str, object]:
    parameters = list(inspect.signature(run).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def index_methods(specs: tuple[MethodSpec, ...]) -> dict[str, MethodSpec]:
    """The specs by name; two of the same name are a mistake in the package, and an error."""
    table = {spec.name: spec for spec in specs}
    if len(table) != len(specs):
        raise MethodError("two methods share a name")
    return table
