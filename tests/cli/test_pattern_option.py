"""--pattern P of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commandline import Cli, make_block

from cbs_opt import PruningProblem, Quotas, solve
from cbs_opt.store import open_store


def test_solve_prunes_by_the_pattern(cli: Cli, block: Path) -> None:
    run = cli("solve", block, "--pattern", "2:4", "--method", "swap", "--json", "-")
    assert run.code == 0
    kept = np.isin(np.arange(8), json.loads(run.out)["kept"])
    assert kept.reshape(2, 4).sum(axis=1).tolist() == [2, 2]


def test_enumeration_proves_the_best_of_the_pattern(cli: Cli, block: Path) -> None:
    facts = json.loads(cli("solve", block, "--pattern", "1:2", "--method", "enumeration", "--json", "-").out)
    assert facts["solution_status"] == "optimal"
    problem = PruningProblem.load(block).within(Quotas.n_of_m(8, 1, 2))
    assert facts["objective"] == pytest.approx(solve(problem, "enumeration").objective)


def test_bnb_proves_what_enumeration_finds(cli: Cli, block: Path) -> None:
    facts = json.loads(cli("solve", block, "--pattern", "2:4", "--json", "-").out)
    assert (facts["method"], facts["solution_status"]) == ("bnb", "optimal")
    problem = PruningProblem.load(block).within(Quotas.n_of_m(8, 2, 4))
    assert facts["objective"] == pytest.approx(solve(problem, "enumeration").objective)


def test_methods_that_cannot_take_it_say_so(cli: Cli, block: Path) -> None:
    refused = cli("solve", block, "--pattern", "2:4", "--method", "cbs")
    refused.refused("method cbs: cannot take the pattern Quotas; it takes Cardinality")
    run = cli("compare", block, "--pattern", "2:4")
    assert run.code == 0
    assert "greedy-obs" in run.out
    told = json.loads(cli("compare", block, "--pattern", "2:4", "--json", "-").out)
    assert "cannot take the pattern Quotas" in told["blocks"][0]["skipped"]["cbs"]


def test_compare_bounds_the_pattern(cli: Cli, block: Path) -> None:
    run = cli("compare", block, "--pattern", "2:4", "--methods", "magnitude,greedy-obs", "--json", "-")
    (comparison,) = json.loads(run.out)["blocks"]
    assert comparison["pattern"] == "prune at least 2 of every 4 consecutive weights of 8"
    assert all(row["gap"] >= 0 for row in comparison["rows"])


def test_certify_judges_by_the_pattern(cli: Cli, block: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.npz"
    np.savez(mask, mask=np.array([1, 1, 0, 0, 0, 1, 0, 1]))
    facts = json.loads(cli("certify", block, "--mask", mask, "--pattern", "2:4", "--json", "-").out)
    assert 0 <= facts["bound"] <= facts["objective"]
    np.savez(mask, mask=np.array([1, 1, 1, 0, 0, 0, 0, 1]))
    cli("certify", block, "--mask", mask, "--pattern", "2:4").refused("mask: is outside the pattern")


def test_export_writes_the_quotas(cli: Cli, block: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.lp"
    assert cli("export", block, file, "--pattern", "2:4", "--formulation", "joint-bigm").code == 0
    assert "quotas(1)" in file.read_text()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """All of a layer of two rows of six weights, which share one H."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((20, 6))
    file = tmp_path / "rows.npz"
    np.savez(file, w=rng.standard_normal(12), H=X.T @ X / 20 + 1e-2 * np.eye(6), rows=2)
    return file


@pytest.mark.parametrize("command", ["solve", "compare", "certify", "export", "batch"])
def test_no_command_lets_a_group_straddle_two_rows(cli: Cli, rows: Path, tmp_path: Path, command: str) -> None:
    """4 divides the block's 12 weights, but not the 6 of a row: the second group would be of two rows."""
    mask, model, store = tmp_path / "mask.npz", tmp_path / "model.lp", tmp_path / "s.sqlite"
    np.savez(mask, mask=np.array([1, 1, 0, 0] * 3))
    said = "pattern 2:4: 4 does not divide the 6 weights of a row; choose another"
    words = {
        "export": [model],
        "certify": ["--mask", mask],
        "batch": ["--methods", "magnitude", "--store", store, "--jobs", 1],
    }
    run = cli(command, rows, *words.get(command, ()), "--pattern", "2:4")
    if command == "batch":
        assert (run.code, f"bad input: {said}" in run.out) == (1, True)
    else:
        run.refused(f"{rows}: {said}")
    assert not model.exists()


def test_groups_are_those_of_the_rows(cli: Cli, rows: Path) -> None:
    run = cli("solve", rows, "--pattern", "1:3", "--method", "magnitude", "--json", "-")
    kept = np.isin(np.arange(12), json.loads(run.out)["kept"]).reshape(2, 2, 3)
    largest = np.abs(PruningProblem.load(rows).w_bar).reshape(2, 2, 3).argmax(axis=2)
    assert np.array_equal(kept.argmax(axis=2), largest)
    assert kept.sum() == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pattern", "2:5"], "5 does not divide the 8 weights"),
        (["--pattern", "5:4"], "N ≤ M"),
        (["--pattern", "2/4"], "give N:M, as 2:4"),
        (["--pattern", "2:4:8"], "give N:M, as 2:4"),
        (["--pattern", "0:0"], "M ≥ 1"),
        (["--pattern", "2:" + "9" * 5000], "give N:M, as 2:4"),
        (["--pattern", "2:4", "--prune", "3"], "exactly one of --sparsity R, --prune K and --pattern P"),
    ],
)
def test_patterns_that_cannot_be_are_refused(cli: Cli, block: Path, words: list[str], said: str) -> None:
    cli("solve", block, *words, "--method", "magnitude").refused(said)


def test_a_folder_of_blocks_is_compared_under_one_pattern(cli: Cli, tmp_path: Path) -> None:
    for seed in range(2):
        make_block(tmp_path / f"row{seed}.npz", seed)
    run = cli("compare", tmp_path, "--pattern", "1:4", "--methods", "magnitude,swap")
    assert run.code == 0
    assert "Sum over 2 blocks" in run.out


def test_patterns_of_rows_and_columns_are_those_of_the_block(cli: Cli, rows: Path) -> None:
    run = cli("solve", rows, "--pattern", "columns 0.5 & 2:3", "--method", "magnitude", "--json", "-")
    kept = np.isin(np.arange(12), json.loads(run.out)["kept"]).reshape(2, 6)
    assert kept.any(axis=0).sum() <= 3
    assert (kept.reshape(2, 2, 3).sum(axis=2) <= 2).all()


def test_a_pattern_that_needs_rows_is_refused_for_a_block_of_one(cli: Cli, block: Path) -> None:
    cli("solve", block, "--pattern", "rows 0.5").refused("rows 0.5: the block is one row")


def test_a_batch_stores_patterns_by_their_text(cli: Cli, rows: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    words = ["--pattern", "2:3 & rows 0.5,columns .5", "--methods", "magnitude", "--store", store, "--jobs", 1]
    assert cli("batch", rows, *words).code == 0
    with open_store(store) as opened:
        found = {result.asked for result in opened.results()}
    assert found == {"pattern 2:3 & rows 0.5", "pattern columns 0.5"}
