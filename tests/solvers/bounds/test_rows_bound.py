"""The bound of a layer: never above the optimum, whatever point, splitting, pattern or scale."""

from __future__ import annotations

import numpy as np
import pytest
from from_root import import_from_root
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, Pattern, PruningProblem, Quotas, RowsCurvature, lower_bound, solve
from cbs_opt.errors import InputError, NotPositiveDefiniteError, PatternError
from cbs_opt.solvers.bounds.rows import certified, rows_bound
from cbs_opt.testing.instances import KINDS, random_curvature


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are run from the repository root and are no part of the package."""
    import_from_root(monkeypatch, "benchmarks")


def random_layer(seed: int) -> PruningProblem | None:
    """Up to 12 weights in up to 4 rows, at scales H·1e±10 and w·1e±6, every kind of quota; None: none of that draw."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 5))
    d = int(rng.integers(1, 12 // rows + 1))
    n = rows * d
    H = random_curvature(rng, d, str(rng.choice(KINDS))) * 10.0 ** rng.uniform(-10, 10)
    w = rng.normal(size=n) * (rng.random(n) > 0.2 * (rng.random() < 0.3)) * 10.0 ** rng.uniform(-6, 6)
    keep, forbid = np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    if rng.random() < 0.3:
        role = rng.integers(0, 5, n)
        keep, forbid = np.flatnonzero(role == 0), np.flatnonzero(role == 1)
    try:
        curvature = RowsCurvature(H, rows)
        pattern: Pattern
        match int(rng.integers(0, 4)):
            case 0:
                pattern = Cardinality(n, int(rng.integers(0, n + 1)), keep=keep, forbid=forbid)
            case 1:
                pattern = Quotas(np.full(rows, d), rng.integers(0, d + 1, rows), keep=keep, forbid=forbid)
            case 2:
                pattern = Quotas.n_of_m(n, 1, 2, row=d)
            case _:
                cut = int(rng.integers(1, n + 1))
                sizes = np.array([cut, n - cut]) if cut < n else np.array([n])
                pattern = Quotas(sizes, rng.integers(0, sizes + 1), keep=keep, forbid=forbid)
    except (NotPositiveDefiniteError, PatternError):
        return None
    g = None
    if rng.random() < 0.5:
        force = curvature.matvec(w)
        g = 0.3 * rng.normal() * force if rng.random() < 0.5 else rng.normal(size=n) * np.abs(force).mean()
    return PruningProblem(w, curvature, g=g, pattern=pattern, offset=float(rng.normal()) * (rng.random() < 0.3))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_bound_never_exceeds_the_optimum(seed: int) -> None:
    problem = random_layer(seed)
    if problem is None:
        return
    best = solve(problem, "enumeration")
    value, _ = rows_bound(problem)
    assert value <= best.objective + 1e-9 * abs(best.objective) + best.round_off


def test_no_layer_has_a_bound_above_its_optimum_in_fractions() -> None:
    """Without any tolerance: H, the optimum and the comparison are exact (the fuzz goes on with 500)."""
    from benchmarks.exact.rounding_layers import layer_case, violation

    drawn = [case for seed in range(14) if (case := layer_case(seed)) is not None]
    assert len(drawn) >= 10
    with np.errstate(all="ignore"):
        wrong = [violation(case, rows_bound(case.problem)[0]) for case in drawn]
    assert not any(wrong), wrong
    best = float(drawn[0].best)
    assert violation(drawn[0], np.nextafter(best, np.inf) + 1e-12 * abs(best))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_point_and_any_splitting_certify(seed: int) -> None:
    problem = random_layer(seed)
    if problem is None:
        return
    curvature = problem.curvature
    assert isinstance(curvature, RowsCurvature)
    best = solve(problem, "enumeration")
    rng = np.random.default_rng(seed + 1)
    for _ in range(5):
        # Some of these splittings leave an indefinite rest: they have to be shrunk.
        shape = (curvature.rows, curvature.d) if rng.random() < 0.5 else (curvature.d,)
        D = curvature.H.diagonal() * rng.uniform(0.01, 1.5, shape) * 10.0 ** rng.uniform(-6, 0)
        E = rng.normal(size=(curvature.rows, curvature.d)) * np.abs(problem.w_bar).max() * 10.0 ** rng.uniform(-3, 3)
        value, _ = certified(problem, D, E)
        assert value <= best.objective + 1e-9 * abs(best.objective) + best.round_off


def layer(rows: int, d: int, seed: int = 0) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((3 * d, d)) + rng.standard_normal((3 * d, 1))
    return PruningProblem(rng.standard_normal(rows * d), RowsCurvature(X.T @ X / len(X), rows, 1e-2))


def test_rows_with_quotas_of_their_own_add_up() -> None:
    """With one quota a row nothing couples the rows."""
    from cbs_opt.solvers.bounds.perspective import perspective_bound

    problem = layer(3, 12)
    quotas = [6, 8, 9]
    together, _ = rows_bound(problem.within(Quotas(np.full(3, 12), quotas)))
    alone = 0.0
    for w, k in zip(problem.w_bar.reshape(3, 12), quotas, strict=True):
        assert isinstance(problem.curvature, RowsCurvature)
        alone += perspective_bound(PruningProblem(w, problem.curvature.row).pruning(k))[0]
    assert 0.9 * alone < together < 1.03 * alone


def test_a_search_that_went_astray_proves_nothing() -> None:
    problem = layer(2, 6).at_sparsity(0.5)
    D, E = np.full(6, 1e-3), np.zeros((2, 6))
    assert np.isfinite(certified(problem, D, E)[0])
    for wrong in (np.nan, np.inf):
        assert certified(problem, D, np.full((2, 6), wrong))[0] == -np.inf
        assert certified(problem, np.full(6, wrong), E)[0] == -np.inf
    assert certified(problem, -D, E)[0] == -np.inf


def test_splittings_of_their_own_are_better_than_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from cbs_opt.solvers.bounds import rows

    problem = layer(8, 32).at_sparsity(0.5)
    own, _ = rows_bound(problem)
    monkeypatch.setattr(rows, "OWN_BARRIERS", ())
    shared, _ = rows_bound(problem)
    assert shared < 0.97 * own
    assert own < solve(problem, "swap").objective


def test_more_time_is_never_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that strikes once at every look at it, so that nothing depends on the machine."""
    from itertools import count

    from cbs_opt.solvers.bounds import rows

    problem = layer(6, 20, 3).at_sparsity(0.5)
    whole, _ = rows_bound(problem)
    bounds = []
    for limit in (0.0, 8.0, 16.0, 30.0, 1e9):
        strokes = count()
        monkeypatch.setattr(rows.time, "perf_counter", lambda strokes=strokes: float(next(strokes)))
        bounds.append(rows_bound(problem, time_limit=limit)[0])
    assert bounds == sorted(bounds)
    assert len(set(bounds)) >= 3
    assert bounds[-1] == whole
    with pytest.raises(InputError, match="time_limit"):
        lower_bound(problem, time_limit=-1.0)


def test_float32_on_the_way_costs_little_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from cbs_opt.solvers.bounds import rows

    problem = layer(6, 40).within(Quotas.n_of_m(240, 2, 4, row=40))
    double, _ = rows_bound(problem)
    monkeypatch.setattr(rows, "SMALL", 0)
    single, _ = rows_bound(problem)
    assert single != double
    assert single == pytest.approx(double, rel=2e-2)


def test_theta_meets_the_room_of_every_segment_in_any_order() -> None:
    import torch

    from cbs_opt.solvers.bounds.rows_segments import Segments
    from cbs_opt.solvers.forms.layer_tensors import Layer
    from cbs_opt.testing.scattered import Scattered

    rng = np.random.default_rng(4)
    problem = layer(4, 10)
    labels = rng.integers(0, 5, 40)
    for pattern in (Scattered(labels, [3, 0, 4, 99, 2]), Quotas.n_of_m(40, 3, 5, row=10), Cardinality(40, 17)):
        tensors = Layer.of(problem.within(pattern))
        segments = Segments(tensors, torch.float64)
        slope, shift = torch.from_numpy(rng.random((2, 4, 10)) + 0.01)
        guess = torch.ones(segments.count, dtype=torch.float64)
        none = torch.zeros(segments.count, dtype=torch.bool)
        theta = segments.root(slope, shift, guess, none, 1e-9)
        z = slope * segments.spread(theta, slope) - shift
        z = torch.where(z.isinf(), 1.0, z.clamp(0, 1)).numpy().ravel()
        for label, room in enumerate(pattern.room):
            inside = pattern.labels == label
            assert z[inside].sum() == pytest.approx(min(room, inside.sum()), abs=1e-6)


def test_one_row_is_close_to_the_bound_of_small_blocks() -> None:
    from cbs_opt.solvers.bounds.perspective import perspective_bound

    problem = layer(1, 24, 5).pruning(16)
    dense, _ = perspective_bound(problem)
    assert rows_bound(problem)[0] > 0.9 * dense


def test_lower_bound_serves_quotas() -> None:
    problem = layer(40, 8, 2).within(Quotas.n_of_m(320, 2, 4, row=8))
    bound = lower_bound(problem)
    assert bound.method == "rows"
    assert 0 < bound.value <= solve(problem, "swap").objective


def test_nothing_to_prune_and_everything_to_prune() -> None:
    problem = layer(2, 5)
    assert rows_bound(problem.pruning(0))[0] == pytest.approx(0.0, abs=1e-9)
    removed = problem.objective(np.zeros(10))
    assert rows_bound(problem.pruning(10))[0] == pytest.approx(removed, rel=1e-4)


@pytest.mark.gpu
def test_the_device_changes_nothing_that_counts() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    problem = layer(4, 16).at_sparsity(0.7)
    assert rows_bound(problem, "cuda")[0] == pytest.approx(rows_bound(problem)[0], rel=1e-3)
