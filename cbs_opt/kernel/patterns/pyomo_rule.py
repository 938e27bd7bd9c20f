"""Reading the linear system from a function that adds constraints to a Pyomo model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector

TAKEN = ("Block", "Constraint", "Expression", "Param", "RangeSet", "Set", "SetOf", "Var")
"""The components that a rule may add; any other, such as an objective, is an error."""


@dataclass(frozen=True, eq=False)
class System:
    """The linear system A (z, y) ≤ b, low ≤ (z, y) ≤ high, where all z and some y are whole.

    Parameters
    ----------
    n : int
        Number of weights, the length of z.
    A : sparse array, shape (m, n + own)
        Coefficients of z and of the system's own variables y.
    b : array, shape (m,)
        Right-hand sides.
    low, high : array, shape (n + own,)
        Bounds of the variables.
    whole : mask, shape (n + own,)
        The variables that take whole values only.
    """

    n: int
    A: csr_array
    b: Vector
    low: Vector
    high: Vector
    whole: Mask

    @classmethod
    def of_weights(cls, A: csr_array, b: Vector) -> System:
        """The system A z ≤ b of binaries z, without variables of its own."""
        n = A.shape[1]
        return cls(n, A, b, np.zeros(n), np.ones(n), np.ones(n, dtype=np.bool_))


def system_of(n: int, rule: Callable[[Any], object]) -> System:
    """The constraints that ``rule`` adds to a model with binaries ``model.z``; see ``Linear.from_rule``."""
    from pyomo.environ import Binary, ConcreteModel, Constraint, RangeSet, Var

    model: Any = ConcreteModel(name="pattern")
    model.I = RangeSet(0, n - 1)
    model.z = Var(model.I, domain=Binary)
    try:
        rule(model)
    except AttributeError as error:
        asked = re.search(r"has no attribute '(\w+)'", str(error))
        if asked and "ConcreteModel" in str(error):
            raise PatternError(
                f"rule: asks for model.{asked[1]}, but a pattern is about model.z and what the rule adds itself; say "
                "it of z"
            ) from None
        raise
    except KeyError as error:
        asked = re.search(r"Index '(.+)' is not valid for indexed component 'z'", str(error))
        if asked:
            raise PatternError(f"rule: asks for z[{asked[1]}]; the {n} weights are z[0] … z[{n - 1}]") from None
        raise
    for component in model.component_objects(active=True):
        kind = component.ctype.__name__
        if kind not in TAKEN:
            raise PatternError(f"rule: adds {component.name}, which is of the kind {kind}; add linear constraints only")
    reader = _Reader(model, n)
    for constraint in model.component_data_objects(Constraint, active=True, descend_into=True):
        reader.read(constraint)
    return reader.system()


class _Reader:
    """Collects the rows of a system from one Pyomo constraint after the other."""

    def __init__(self, model: Any, n: int) -> None:
        self._model = model
        self._variables = [model.z[i] for i in range(n)]
        self._column = {id(variable): i for i, variable in enumerate(self._variables)}
        self._n = n
        self._entries: list[tuple[int, int, float]] = []
        self._b: list[float] = []

    def read(self, constraint: Any) -> None:
        """Add the rows of a constraint: one for its upper limit, one for its lower limit.

        Raises
        ------
        PatternError
            The constraint is not linear, has a variable of another model, or holds a number that is not finite.
        """
        from pyomo.environ import value
        from pyomo.repn import generate_standard_repn

        found = generate_standard_repn(constraint.body, compute_values=True)
        if not found.is_linear():
            raise PatternError(f"rule: {constraint.name} is not linear in z and the rule's own variables; linearize it")
        columns = [self._at(variable, constraint) for variable in found.linear_vars]
        coefficients = [float(value(coefficient)) for coefficient in found.linear_coefs]
        constant = float(value(found.constant))
        numbers = [*coefficients, constant]
        for sign, limit in ((1.0, constraint.upper), (-1.0, constraint.lower)):
            if limit is not None:
                numbers.append(float(value(limit)))
                self._entries += [(len(self._b), j, sign * a) for j, a in zip(columns, coefficients, strict=True)]
                self._b.append(sign * (float(value(limit)) - constant))
        if not np.isfinite(numbers).all():
            raise PatternError(f"rule: {constraint.name} holds a number that is not finite; leave it out")

    def _at(self, variable: Any, constraint: Any) -> int:
        """The column of a variable; a variable of the rule's own gets a new one."""
        if id(variable) not in self._column:
            if variable.model() is not self._model:
                raise PatternError(
                    f"rule: {constraint.name} has a variable of another model, {variable.name}; use model.z"
                )
            self._column[id(variable)] = len(self._variables)
            self._variables.append(variable)
        return self._column[id(variable)]

    def system(self) -> System:
        """The system of all rows that were read, with the bounds of their variables."""
        bounds = [(v.value, v.value) if v.fixed else v.bounds for v in self._variables]
        low = np.array([-np.inf if pair[0] is None else pair[0] for pair in bounds])
        high = np.array([np.inf if pair[1] is None else pair[1] for pair in bounds])
        whole = np.array([not v.is_continuous() for v in self._variables])
        row, column, data = zip(*self._entries, strict=True) if self._entries else ((), (), ())
        shape = (len(self._b), len(self._variables))
        A = csr_array((np.array(data, dtype=np.float64), (np.array(row, int), np.array(column, int))), shape=shape)
        return System(self._n, A, np.array(self._b), low, high, whole)
