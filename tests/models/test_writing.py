"""Every formulation in every format it says it has, read back by a solver; the table of formulations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbs_opt import Cardinality, PruningProblem, obs_update
from cbs_opt.errors import InputError, UnknownMethodError, UnsupportedError
from cbs_opt.models import FORMULATIONS, by_name, write_model
from cbs_opt.models.write import SUFFIXES

N = 5


@pytest.fixture(scope="module")
def problem() -> PruningProblem:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, N))
    pattern = Cardinality(N, 3, keep=[1], forbid=[2])
    return PruningProblem(rng.normal(size=N), X.T @ X / 8 + 0.05 * np.eye(N), pattern, 0.2 * rng.normal(size=N), 0.25)


MASK = [True, True, False, False, False]

# Options to build with, and names that a file has to mention.
WRITTEN: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "joint-bigm": ({}, ("cardinality", "upper", "lower")),
    "joint-indicator": ({"transformation": "gdp.bigm"}, ("cardinality", "choice", "agree")),
    "joint-sos1": ({}, ("cardinality", "pruned")),
    "joint-perspective": ({}, ("cardinality", "perspective", "upper", "lower")),
    "joint-rank-one": ({}, ("cardinality", "perspective", "piece", "upper", "lower")),
    "selection-binary": ({}, ("cardinality",)),
    "selection-linearized": (
        {},
        ("cardinality", "first", "second", "both", "pruned_with", "pruned_without"),
    ),
    "update-qp": ({"mask": MASK}, ("pruned",)),
}


def highs_optimum(path: Path) -> float:
    """The optimum of the file, by HiGHS."""
    import highspy

    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("qp_regularization_value", 0.0)
    highs.readModel(str(path))
    highs.run()
    return float(highs.getInfo().objective_function_value)


def scip_optimum(path: Path) -> float:
    """The optimum of the file, by SCIP."""
    scip = pytest.importorskip("pyscipopt")
    text = path.read_text()
    if path.suffix == ".lp":
        # SCIP's reader wants the exponent without a space; the format allows both.
        path.write_text(text.replace(" ^ 2", "^2"))
    model = scip.Model()
    model.hideOutput()
    model.setParam("limits/time", 20)
    model.readProblem(str(path))
    model.optimize()
    return float(model.getObjVal())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", list(FORMULATIONS))
def test_file_names_its_constraints_and_reads_back(
    problem: PruningProblem, name: str, suffix: str, tmp_path: Path
) -> None:
    options, constraints = WRITTEN[name]
    target = tmp_path / f"{name}{suffix}"
    write_model(FORMULATIONS[name].build(problem, **options), target)
    names = (target.with_suffix(".row") if suffix == ".nl" else target).read_text()
    for constraint in constraints:
        assert constraint in names
    beside = {".row", ".col"} if suffix == ".nl" else set()
    assert {file.suffix for file in tmp_path.iterdir()} == {suffix, *beside}
    if name != "update-qp":
        assert scip_optimum(target) == pytest.approx(optimum(problem, name), abs=2e-5)
    elif suffix != ".nl":
        assert highs_optimum(target) == pytest.approx(optimum(problem, name), rel=1e-6)


def optimum(problem: PruningProblem, name: str) -> float:
    """By enumeration of the at most 2 free kept weights."""
    if name == "update-qp":
        return problem.objective(obs_update(problem, np.array(MASK)))
    masks = [np.array([i in kept for i in range(N)]) for kept in ({1}, {0, 1}, {1, 3}, {1, 4})]
    if name.startswith("selection"):
        return min(problem.objective(np.where(z, problem.w_bar, 0.0)) for z in masks)
    return min(problem.objective(obs_update(problem, z)) for z in masks)


def test_hull_is_written_too(problem: PruningProblem, tmp_path: Path) -> None:
    model = FORMULATIONS["joint-indicator"].build(problem, transformation="gdp.hull")
    write_model(model, tmp_path / "hull.mps")
    assert scip_optimum(tmp_path / "hull.mps") == pytest.approx(optimum(problem, "joint-indicator"), abs=2e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_disjunctions_are_not_written(problem: PruningProblem, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"gdp\.bigm"):
        write_model(FORMULATIONS["joint-indicator"].build(problem), tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.gams", "model"])
def test_an_unknown_suffix_is_refused(problem: PruningProblem, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.lp, \.mps, \.nl"):
        write_model(FORMULATIONS["selection-binary"].build(problem), tmp_path / name)


def test_a_missing_folder_is_refused(problem: PruningProblem, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        write_model(FORMULATIONS["selection-binary"].build(problem), tmp_path / "no" / "model.lp")


def test_a_failed_write_leaves_the_old_file(problem: PruningProblem, tmp_path: Path) -> None:
    target = tmp_path / "model.nl"
    target.write_text("old")
    nothing_left = problem.within(Cardinality(N, N, forbid=range(N)))
    with pytest.raises(UnsupportedError, match=r"\.nl"):
        write_model(FORMULATIONS["selection-binary"].build(nothing_left), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", list(FORMULATIONS))
def test_model_can_be_printed(problem: PruningProblem, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, constraints = WRITTEN[name]
    model = FORMULATIONS[name].build(problem, **{k: v for k, v in options.items() if k != "transformation"})
    model.pprint()
    printed = capsys.readouterr().out
    assert all(constraint in printed for constraint in constraints)


@pytest.mark.parametrize("name", [name for name in FORMULATIONS if name != "update-qp"])
def test_forced_and_forbidden_weights_are_fixed(problem: PruningProblem, name: str) -> None:
    model = FORMULATIONS[name].build(problem)
    assert model.z[1].fixed
    assert model.z[1].value == 1
    assert model.z[2].fixed
    assert model.z[2].value == 0


def test_table_is_by_name_and_complete() -> None:
    assert list(FORMULATIONS) == list(WRITTEN)
    assert all(by_name(name).name == name for name in FORMULATIONS)
    with pytest.raises(UnknownMethodError, match="did you mean joint-bigm"):
        by_name("joint_bigm")


def test_importing_the_package_does_not_import_pyomo() -> None:
    code = "import sys, cbs_opt.models; sys.exit(any(m in sys.modules for m in ('pyomo', 'torch', 'highspy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
