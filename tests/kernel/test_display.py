"""What results show of themselves: one line, one screen, escaped HTML, a table."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import cbs_opt
from cbs_opt.errors import UnavailableMethodError
from cbs_opt.kernel.display import NOTES, ROWS_OF_A_SCREEN, Card, Displayed, frame_of
from cbs_opt.kernel.words import counted
from cbs_opt.network.data import Data, digits_data
from cbs_opt.network.load import load_network

AWKWARD = "<b>a&b</b>\x1b[31m\n‮"


def test_one_is_not_many() -> None:
    assert [counted(n, "node") for n in (0, 1, 2, 1234)] == ["0 nodes", "1 node", "2 nodes", "1,234 nodes"]


@pytest.fixture(scope="module")
def problem() -> cbs_opt.PruningProblem:
    rng = np.random.default_rng(0)
    H = rng.normal(size=(30, 12))
    return cbs_opt.PruningProblem(rng.normal(size=12), H.T @ H, name=AWKWARD).pruning(8)


@pytest.fixture(scope="module")
def results(problem: cbs_opt.PruningProblem) -> dict[str, Displayed]:
    from cbs_opt.evaluation.certify import certify

    solution = cbs_opt.solve(problem, "swap")
    proof = cbs_opt.prove(problem)
    return {
        "PruningProblem": problem,
        "Solution": solution,
        "Comparison": cbs_opt.compare(problem, ["magnitude", "swap"]),
        "PatternPrices": cbs_opt.compare_patterns(problem, ["sparsity 0.5", "2:4"], ["bnb"]),
        "Judgement": certify(problem, solution.mask, solution.weights),
        "Proof": proof,
        "Verification": cbs_opt.verify(problem, proof),
        "Data": digits_data(),
        "Pruned": cbs_opt.prune(load_network("digits"), digits_data(), 0.5, method="magnitude", bound=False),
        "Allocation": cbs_opt.allocate([[0.0, 1.0], [0.0, 2.0]], [[2.0, 1.0], [2.0, 1.0]], 3.0),
    }


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def test_every_result_fits_a_line_and_a_screen(results: dict[str, Displayed]) -> None:
    for kind, result in results.items():
        line, screen = repr(result), str(result)
        assert re.fullmatch(rf"<{kind} .+>", line), line
        assert len(line) < 160, line
        assert 1 <= len(screen.splitlines()) <= 26, screen
        assert not re.search(r"[\x00-\x09\x0b-\x1f‮]", line + screen), kind


def test_nothing_in_a_name_is_markup(results: dict[str, Displayed]) -> None:
    for kind, result in results.items():
        seen = Tags()
        seen.feed(result._repr_html_())
        assert seen.tags <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}, kind
    assert "&lt;b&gt;a&amp;b&lt;/b&gt;" in results["Solution"]._repr_html_()


def test_the_numbers_are_those_of_the_result(problem: cbs_opt.PruningProblem) -> None:
    solution = cbs_opt.solve(problem, "bnb")
    assert f"{solution.objective:.7g}" in str(solution)
    assert f"{solution.bound:.7g}" in str(solution)
    assert "8 of 12 weights" in repr(solution)
    assert "optimal, proven" in repr(solution)
    assert "optimal" not in repr(cbs_opt.solve(problem, "magnitude"))


def test_long_tables_and_many_notes_are_cut_and_say_so() -> None:
    card = Card("t", {}, ("a", "b"), [("x", "1")] * (ROWS_OF_A_SCREEN + 3), ["n"] * (NOTES + 1))
    assert "… and 3 more rows" in card.text()
    assert "… and 1 more note" in card.text()
    assert card.html().count("<tr>") == ROWS_OF_A_SCREEN + 3 + 1


def test_a_frame_has_a_row_a_record(monkeypatch: pytest.MonkeyPatch, results: dict[str, Displayed]) -> None:
    pandas = ModuleType("pandas")
    pandas.DataFrame = lambda records: SimpleNamespace(records=records)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    comparison, pruned = results["Comparison"], results["Pruned"]
    assert isinstance(comparison, cbs_opt.Comparison)
    assert [row["method"] for row in comparison.to_frame().records] == ["magnitude", "swap"]
    assert [row["name"] for row in pruned.to_frame().records] == ["fc1", "fc2", "fc3"]  # type: ignore[attr-defined]
    assert np.isnan(frame_of([{"bound": None}]).records[0]["bound"])


def test_without_pandas_a_frame_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UnavailableMethodError, match=r"to_frame: needs the package pandas; install it by"):
        frame_of([])


def test_samples_say_their_shape() -> None:
    x, y = np.zeros((5, 2, 3), dtype=np.float32), np.array([0, 1, 2, 1, 0])
    assert repr(Data(x, y, x[:2], y[:2])) == "<Data 5 training and 2 test samples of shape (2, 3), 3 classes>"


def test_patterns_curvatures_and_methods_are_one_line(problem: cbs_opt.PruningProblem) -> None:
    assert repr(problem.Z) == "<Cardinality: prune at least 8 of 12>"
    assert repr(problem.curvature) == "<DenseCurvature of 12 weights, damping 0>"
    assert repr(cbs_opt.methods()["magnitude"]).startswith("<MethodSpec magnitude: ")
