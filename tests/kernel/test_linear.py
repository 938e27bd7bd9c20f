"""Any linear constraints: the laws of patterns, systems that are not monotone, rules in Pyomo, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from cbs_opt import Linear, PruningProblem
from cbs_opt.errors import PatternError
from cbs_opt.models import FORMULATIONS
from cbs_opt.testing import check_pattern
from cbs_opt.testing.instances import masks_of

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_laws_of_patterns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    A = rng.integers(-2, 4, (m, n)) * 1.0 if rng.random() < 0.5 else rng.normal(size=(m, n))
    A *= 10.0 ** rng.integers(-12, 13, (m, 1))
    roles = rng.integers(0, 6, n)
    try:
        pattern = Linear(
            csr_array(A),
            A.sum(axis=1) * rng.random(m),
            keep=np.flatnonzero(roles == 0),
            forbid=np.flatnonzero(roles == 1),
        )
    except PatternError:
        assume(False)
        return
    check_pattern(pattern, seed, draws=2)


def test_the_masks_are_those_inside_one_that_satisfies_the_constraints() -> None:
    """z_0 = z_1, and z_2 needs z_3: counted from the definition."""
    A, b = np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [1, 1, 1, 1]]), np.array([0, 0, 0, 3])
    pattern = Linear(A, b)
    every = np.arange(16)[:, None] >> np.arange(4) & 1 == 1
    proper = every[(every @ A.T <= b).all(axis=1)]
    inside = [z for z in every if any((z <= whole).all() for whole in proper)]
    assert np.array_equal(masks_of(pattern), inside)
    assert pattern.argmax(np.array([3.0, 0.0, 1.0, 1.0])).tolist() == [True, True, False, True]


def together_or_not(model: Any) -> None:
    """Two weights kept together, a switch that lets weight 2 or weight 4 in, and a slack with a bound."""
    from pyomo.environ import Binary, Constraint, Var

    model.on = Var(domain=Binary)
    model.slack = Var(bounds=(0, None))
    model.pair = Constraint(expr=model.z[0] == model.z[1])
    model.either = Constraint([2, 4], rule=lambda m, i: m.z[i] <= (m.on if i == 2 else 1 - m.on))
    model.few = Constraint(expr=(0, sum(model.z[i] for i in model.I) - model.slack, 3))
    model.little = Constraint(expr=2 * model.slack <= 1)


def test_a_rule_in_pyomo_is_what_its_constraints_say() -> None:
    pattern = Linear.from_rule(5, together_or_not)
    check_pattern(pattern, draws=5)
    every = np.arange(32)[:, None] >> np.arange(5) & 1 == 1
    proper = [z for z in every if z[0] == z[1] and not (z[2] and z[4]) and z.sum() <= 3]
    assert np.array_equal(masks_of(pattern), [z for z in every if any((z <= whole).all() for whole in proper)])
    assert str(pattern) == "7 linear constraints on 5 weights"


def test_weights_that_a_rule_fixes_are_forced_and_forbidden() -> None:
    def rule(model: Any) -> None:
        model.z[1].fix(1)
        model.z[2].fix(0)

    pattern = Linear.from_rule(3, rule)
    assert pattern.keep.tolist() == [False, True, False]
    assert pattern.forbid.tolist() == [False, False, True]
    check_pattern(pattern, draws=3)


@pytest.mark.parametrize("name", list(FORMULATIONS))
def test_every_formulation_takes_the_constraints(name: str) -> None:
    problem = PruningProblem(np.ones(5), np.eye(5), pattern=Linear.from_rule(5, together_or_not))
    options = {"mask": problem.Z.argmax(np.ones(5))} if name == "update-qp" else {}
    model = FORMULATIONS[name].build(problem, **options)
    assert name == "update-qp" or len(model.linear) == 7  # equalities and ranges are two rows


def w(model: Any) -> None:
    model.bound = model.w[0] <= 1


def product(model: Any) -> None:
    from pyomo.environ import Constraint

    model.both = Constraint(expr=model.z[0] * model.z[1] <= 0)


def beyond(model: Any) -> None:
    from pyomo.environ import Constraint

    model.far = Constraint(expr=model.z[0] + model.z[2] <= 1)


def objective(model: Any) -> None:
    from pyomo.environ import Objective

    model.best = Objective(expr=model.z[0])


def too_many(model: Any) -> None:
    from pyomo.environ import Constraint

    model.c = Constraint(expr=model.z[0] + model.z[1] >= 3)


def foreign(model: Any) -> None:
    from pyomo.environ import ConcreteModel, Constraint, Var

    model.c = Constraint(expr=model.z[0] <= _kept(ConcreteModel(), Var()))


def _kept(model: Any, variable: Any) -> Any:
    model.x = variable
    ALIVE.append(model)
    return model.x


ALIVE: list[Any] = []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (w, "rule: asks for model.w, but a pattern is about model.z"),
        (product, "rule: both is not linear in z"),
        (objective, "rule: adds best, which is of the kind Objective"),
        (too_many, "no mask satisfies 1 linear constraint on 2 weights"),
        (beyond, r"rule: asks for z\[2\]; the 2 weights are z\[0\] … z\[1\]"),
        (foreign, "rule: c has a variable of another model, x"),
    ],
)
def test_a_rule_about_anything_else_is_refused(rule: Any, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        Linear.from_rule(2, rule)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Linear([[1, 1]], [-1]), "no mask satisfies 1 linear constraint on 2 weights; force fewer"),
        (lambda: Linear([[1, 1]], [1], keep=[0, 1]), "no mask satisfies"),
        (lambda: Linear([[1, 1]], [1], keep=[0], forbid=[0]), "forced to stay and forbidden"),
        (lambda: Linear([[1, 1]], [1, 2]), "b: has 2 entries for the 1 rows of A"),
        (lambda: Linear([1, 1], [1]), "A: give numbers in 2 dimensions"),
        (lambda: Linear([[1, np.nan]], [1]), "A: holds a number that is not finite"),
        (lambda: Linear([[1, 1]], [np.inf]), "b: holds a number that is not finite"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        make()


def test_a_weight_is_not_lost_behind_a_row_that_round_off_almost_satisfies() -> None:
    """Weight 0 exceeds its row by 1e-10, less than HiGHS sees; weights 1 and 2 just fit, and count in every bound."""
    pattern = Linear(np.diag([1.0 + 1e-10, 1.0, 1.0]), np.ones(3))
    assert masks_of(pattern).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
    scores = np.array([5.0, 1.0, 2.0])
    assert pattern.argmax(scores).tolist() == [False, True, True]
    assert 3.0 <= pattern.most(scores) < 3.0 + 1e-9
    found = pattern.relaxed(scores)
    assert found.most >= 3.0
    assert (found.kept[1:] >= 3.0).all()
