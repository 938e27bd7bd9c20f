"""`cbs-opt compare --patterns`: what a pattern costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commandline import Cli

from cbs_opt import Cardinality, PruningProblem, RowsCurvature
from cbs_opt.evaluation import catalogue
from cbs_opt.kernel.words import proven_percent

PATTERNS = "sparsity 0.5, 2:4,1:4"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method for cardinalities only."""
    spec = replace(catalogue.method("magnitude"), name="narrow", patterns=(Cardinality,))
    monkeypatch.setitem(catalogue._EXTRA, "narrow", spec)


def test_the_table_and_the_sentences(cli: Cli, block: Path) -> None:
    run = cli("compare", block, "--patterns", PATTERNS, "--methods", "swap,bnb")
    assert (run.code, run.err) == (0, "")
    assert "row0: each pattern against sparsity 0.5, whose best mask loses least" in run.out
    facts = cli("compare", block, "--patterns", PATTERNS, "--methods", "swap,bnb", "--json", "-").json()
    (prices,) = facts["blocks"]
    assert prices["cheapest"] == "sparsity 0.5"
    assert [price["pattern"] for price in prices["prices"]] == ["sparsity 0.5", "2:4", "1:4"]
    half, _, quarter = prices["prices"]
    assert quarter["at_least"] == pytest.approx(quarter["bound"] / half["objective"] - 1)
    assert quarter["at_most"] == pytest.approx(quarter["objective"] / half["bound"] - 1)
    closest = proven_percent(quarter["at_least"], up=False)
    assert f"Proven: no 1:4 mask comes closer than {closest} to the best of sparsity 0.5." in run.out
    assert (facts["sum"], facts["failed"]) == (None, [])
    for pattern in ("sparsity 0.5", "2:4"):
        assert {row["method"] for row in prices["comparisons"][pattern]["rows"]} == {"swap", "bnb"}


def test_a_folder_has_the_price_of_its_sum_and_goes_on_after_a_failure(cli: Cli, folder: Path) -> None:
    words = ("compare", folder, "--patterns", PATTERNS, "--methods", "enumeration")
    run = cli(*words)
    assert run.code == 0
    assert "3 blocks together, each block relative to the loss of removing it whole: each pattern against" in run.out
    facts = cli(*words, "--json", "-").json()
    total = {price["pattern"]: price for price in facts["sum"]["prices"]}
    for pattern, price in total.items():
        values = [{p["pattern"]: p for p in entry["prices"]}[pattern]["objective"] for entry in facts["blocks"]]
        units = [entry["unit"] for entry in facts["blocks"]]
        assert price["objective"] == pytest.approx(sum(np.divide(values, units)))
    assert total["1:4"]["at_least"] > 0
    (folder / "row9.npz").touch()
    run = cli(*words)
    assert run.code == 1
    assert "1 of 4 blocks failed" in run.out
    assert run.err.startswith(f"error: {folder / 'row9.npz'}: ")


def test_a_layer_with_rows(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 16))
    layer = PruningProblem(rng.standard_normal(64), RowsCurvature(X.T @ X / 40 + 0.1 * np.eye(16), 4))
    layer.save(tmp_path / "layer.npz")
    words = ("compare", tmp_path / "layer.npz", "--methods", "admm", "--time-limit", 1)
    facts = cli(*words, "--patterns", "quota-per-row 0.5,2:4", "--json", "-").json()
    prices = {price["pattern"]: price for price in facts["blocks"][0]["prices"]}
    assert prices["2:4"]["within"] == ["quota-per-row 0.5"]
    assert 0 < prices["2:4"]["bound"] <= prices["2:4"]["objective"]


@pytest.mark.usefixtures("narrow")
def test_a_method_that_ran_under_some_patterns_only_is_said(cli: Cli, block: Path) -> None:
    run = cli("compare", block, "--patterns", PATTERNS)
    assert run.code == 0
    assert "left out under 2:4, 1:4: method narrow: cannot take the pattern Quotas" in run.out
    assert "name it to run it" not in run.out


@pytest.mark.usefixtures("narrow")
def test_what_cannot_be_is_refused(cli: Cli, block: Path, tmp_path: Path) -> None:
    words = ("compare", block, "--patterns")
    cli(*words, "2:4", "--sparsity", 0.5).refused("--patterns: takes the place of --sparsity, --prune and --pattern")
    cli(*words, ",").refused("--patterns: names nothing")
    cli(*words, "2:4,half").refused("pattern: is 'half'; give N:M")
    cli(*words, "2:4,2:5").refused(f"{block}: pattern 2:5: 5 does not divide the 8 weights")
    cli(*words, "2:4,sparsity 0.5", "--methods", "narrow").refused("method narrow: cannot take the pattern Quotas")
    cli(*words, "2:4", "--json", block).refused("is the input ")


def test_percentages_are_rounded_to_the_safe_side() -> None:
    assert proven_percent(0.61899, up=False) == "61.8 %"
    assert proven_percent(0.61801, up=True) == "61.9 %"
    assert proven_percent(0.01239, up=False) == "1.23 %"
    assert proven_percent(-0.5001, up=False) == "-50.1 %"
    assert proven_percent(0.0, up=True) == "0 %"
    assert proven_percent(1e-9, up=True) == "0.01 %"
    assert proven_percent(float("-inf"), up=False) == "unknown"
