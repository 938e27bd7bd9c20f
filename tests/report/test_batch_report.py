"""From a store to a report, against numbers worked out by hand."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_store import block, content, done, failed, large_store, write_manifest, write_store

import cbs_opt
from cbs_opt.kernel.update import obs_update
from cbs_opt.report.build import BatchReport, EndPoints, build_report
from cbs_opt.report.measures.curves import GapCurve
from cbs_opt.report.summary import Summary
from cbs_opt.store import Record, StoreWriter, open_store


def report_of(path: Path) -> BatchReport:
    with open_store(path) as store:
        return build_report(store)


def made(folder: Path, *records: Record) -> BatchReport:
    return report_of(write_store(folder / "results.sqlite", records))


def summary(report: BatchReport, method: str, asked: str = "sparsity 0.5") -> Summary:
    (found,) = [line for line in report.summaries if (line.method, line.asked) == (method, asked)]
    return found


@pytest.fixture
def two(tmp_path: Path) -> BatchReport:
    """Blocks a and b. exact proves a (2.0) and leaves b open (4.0, bound 3.0); quick finds 2.5 and 4.0, fails on c."""
    a, b, c = block("a"), block("b", n=8), block("c")
    return made(
        tmp_path,
        done(a, "quick", 2.5, seconds=0.1),
        done(a, "exact", 2.0, 2.0, seconds=1.0),
        done(b, "quick", 4.0, seconds=0.3),
        done(b, "exact", 4.0, 3.0, seconds=2.0, trace=[(0.5, 5.0, 1.0), (1.0, 4.0, None), (1.5, 4.0, 3.0)]),
        failed(c, "quick", "time limit", "took longer than 2 s"),
    )


class TestSummaries:
    def test_an_exact_method(self, two: BatchReport) -> None:
        exact = summary(two, "exact")
        assert (exact.blocks, exact.done, exact.failed, exact.untried) == (2, 2, 0, 1)
        assert (exact.proven, exact.own_proofs, exact.proven_share) == (1, 1, 0.5)
        assert (exact.mean_gap, exact.worst_gap, exact.worst_block) == (0.125, 0.25, "b")
        assert exact.times == (1.0, 2.0, 2.0, 2.0)
        assert exact.seconds == 3.0
        assert (exact.wins, exact.sole_wins) == (2, 1)

    def test_a_heuristic_is_judged_by_the_bounds_of_others(self, two: BatchReport) -> None:
        quick = summary(two, "quick")
        assert (quick.blocks, quick.done, quick.failed) == (3, 2, 1)
        assert quick.reasons == {"time limit": 1}
        assert quick.mean_gap == pytest.approx((0.2 + 0.25) / 2)
        assert (quick.wins, quick.sole_wins) == (1, 0)
        assert quick.proven_share == 0

    def test_no_bound_at_all(self, tmp_path: Path) -> None:
        line = summary(made(tmp_path, done(block("a"), "quick", 1.0)), "quick")
        assert line.unknown_gap == 1
        assert math.isnan(line.mean_gap)
        assert line.proven == 0

    def test_the_gaps_are_those_of_the_store(self, tmp_path: Path) -> None:
        file = large_store(tmp_path, blocks=60)
        report = report_of(file)
        ours = dict(zip(report.records.identity.tolist(), report.records.gap.tolist(), strict=True))
        with open_store(file) as store:
            for theirs in store.gaps():
                expected = math.inf if theirs.gap is None else theirs.gap
                assert ours[theirs.result] == pytest.approx(expected)

    def test_what_tells_results_of_one_method_apart_is_in_its_name(self, tmp_path: Path) -> None:
        a = block("a")
        report = made(
            tmp_path,
            done(a, "draws", 1.0, seed=0),
            done(a, "draws", 1.1, seed=1),
            done(a, "tuned", 1.0, options={"width": 3, "time_limit": 1.0}),
            done(a, "tuned", 1.0, options={"time_limit": 1.0}),
            done(a, "plain", 1.0, options={"width": 5}, seed=7),
        )
        assert set(report.records.methods) == {
            "draws (seed 0)",
            "draws (seed 1)",
            "tuned (no options)",
            "tuned (width=3)",
            "plain",
        }

    def test_requests_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        assert made(tmp_path, done(block("a"), "m", 1.0, asked="²3 or 4.5.6 ٣")).records.asked == ("²3 or 4.5.6 ٣",)
        (tmp_path / "results.sqlite").unlink()
        asked = ["prune 10", "sparsity 0.5", "prune 9", "pattern 2:4", "sparsity 0.25"]
        report = made(tmp_path, *(done(block("a"), "quick", 1.0, asked=words) for words in asked))
        assert report.records.asked == ("pattern 2:4", "prune 9", "prune 10", "sparsity 0.25", "sparsity 0.5")


class TestProfiles:
    def test_only_what_every_method_has_finished_counts(self, two: BatchReport) -> None:
        (profiles,) = two.profiles
        assert profiles.problems == 2  # exact has not tried c
        assert profiles.time["exact"].at(1) == 0.5
        assert profiles.time["quick"].at(1e9) == 0
        assert profiles.objective["quick"].at(1.2) == 0.5
        assert profiles.objective["quick"].at(1.25) == 1


class TestCurves:
    def test_the_searches_own_words_and_the_end_of_others(self, two: BatchReport) -> None:
        curve, end = two.curves["exact", "sparsity 0.5"], two.curves["quick", "sparsity 0.5"]
        assert isinstance(curve, GapCurve)
        assert isinstance(end, EndPoints)
        assert (curve.searches, curve.reported) == (2, 1)
        # b says (5 − 1)/5 at 0.5 s, and ends with 1/4 at 2 s; a is proven at 1 s, its end.
        assert curve.median[0] == pytest.approx(0.8)
        assert curve.most[curve.seconds >= 1.6][0] == pytest.approx(0.25)
        assert curve.median[-1] == 0
        assert curve.most[-1] == pytest.approx(0.25)
        assert end.seconds == (0.1, 0.1, 0.3)
        assert (end.median, end.most) == pytest.approx((0.2, 0.25))


class TestNetworks:
    def blocks(self, folder: Path, curvature: str = "fisher") -> list[Any]:
        manifest = str(folder / "manifest.json")
        cut = [
            block("a", tensor="fc1", first=0, manifest=manifest),
            block("b", tensor="fc1", first=4, manifest=manifest),
            block("c", tensor="fc2", first=0, manifest=manifest, unit=10.0),
        ]
        write_manifest(folder / "manifest.json", cut, curvature)
        return cut

    def test_the_gap_of_the_network(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        report = made(tmp_path, done(a, "m", 1.0, 1.0), done(b, "m", 2.0, 1.0), done(c, "m", 5.0, 4.0))
        (line,) = report.network_gaps
        assert line.of_the_network
        assert (line.network, line.sums.objective, line.sums.bound, line.sums.gap) == ("toy", 8.0, 6.0, 0.25)
        layers = {gap.layer: (gap.sums.objective, gap.sums.bound) for gap in report.layer_gaps}
        assert layers == {"fc1": (3.0, 2.0), "fc2": (5.0, 4.0)}
        assert report.exit_code == 0

    def test_the_best_of_all_methods(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        report = made(
            tmp_path,
            *(done(one, "m", 2.0, 1.0) for one in (a, b, c)),
            *(done(one, "other", value) for one, value in ((a, 1.5), (b, 3.0), (c, 1.0))),
        )
        sums = {line.method: line.sums for line in report.network_gaps}
        assert sums["best of all"].objective == 1.5 + 2.0 + 1.0
        assert sums["other"].objective == 5.5
        assert sums["m"].bound == sums["other"].bound == 3.0

    def test_gram_matrices_of_layers_are_in_their_own_units(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path, "gram")
        report = made(tmp_path, done(a, "m", 1.0, 1.0), done(b, "m", 2.0, 1.0), done(c, "m", 5.0, 4.0))
        (line,) = report.network_gaps
        assert line.relative
        assert line.sums.objective == 3.5
        assert line.sums.bound == pytest.approx(2.4)

    @pytest.mark.parametrize(
        ("third", "words"),
        [
            ("none", "no result"),
            ("failed", "1 without a result"),
            ("no bound", "1 without a bound"),
            ("broken", "1 with a broken bound"),
        ],
    )
    def test_a_block_that_is_missing_makes_it_no_gap_of_the_network(
        self, tmp_path: Path, third: str, words: str
    ) -> None:
        a, b, c = self.blocks(tmp_path)
        last = {
            "none": [],
            "failed": [failed(c, "m", "error", "fell over")],
            "no bound": [done(c, "m", 5.0)],
            "broken": [done(c, "m", 5.0, 6.0)],
        }[third]
        report = made(tmp_path, done(a, "m", 1.0, 1.0), done(b, "m", 2.0, 1.0), *last)
        (line,) = report.network_gaps
        assert not line.of_the_network
        assert line.to_dict()["gap"] is None
        assert line.to_dict()["partial_gap"] == pytest.approx(1 / 3)
        assert words in line.missing()

    def test_a_manifest_that_is_gone_leaves_doubt(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        (tmp_path / "manifest.json").unlink()
        report = made(tmp_path, *(done(one, "m", 1.0, 1.0) for one in (a, b, c)))
        (line,) = report.network_gaps
        assert not line.of_the_network
        assert "unknown" in line.missing()

    def test_a_manifest_that_was_written_again(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        write_manifest(tmp_path / "manifest.json", [a, b])
        report = made(tmp_path, *(done(one, "m", 1.0, 1.0) for one in (a, b, c)))
        (line,) = report.network_gaps
        assert line.of_the_network
        assert line.sums.blocks == 2
        assert report.notes[0].endswith(": 1")

    def test_a_manifest_of_other_blocks(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        write_manifest(tmp_path / "manifest.json", [block("other", tensor="fc1", first=0)])
        report = made(tmp_path, *(done(one, "m", 1.0, 1.0) for one in (a, b, c)))
        (line,) = report.network_gaps
        assert not line.of_the_network
        assert "none of them" in line.missing()

    @pytest.mark.parametrize("manifest", ["/dev/zero", "x" * 5_000, "a\0b", ".", "/proc/self/mem"])
    def test_a_manifest_that_cannot_be_one(self, tmp_path: Path, manifest: str) -> None:
        report = made(tmp_path, done(block("a", tensor="fc1", first=0, manifest=manifest), "m", 1.0, 1.0))
        assert not any(line.of_the_network for line in report.network_gaps)

    def test_an_answer_known_too_roughly_is_proven_nowhere(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        report = made(tmp_path, *(done(one, "m", 1.0, 1.0 - 1e-9, round_off=1e-3) for one in (a, b, c)))
        (line,) = report.network_gaps
        assert line.proven == summary(report, "m").proven == 0

    def test_sums_over_no_blocks_are_unknown(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        report = made(tmp_path, *(done(one, "m", 1.0) for one in (a, b, c)))
        (line,) = report.network_gaps
        assert (line.to_dict()["objective"], line.to_dict()["bound"]) == (None, None)

    def test_blocks_that_are_not_all_of_their_layers(self, tmp_path: Path) -> None:
        _, b, c = self.blocks(tmp_path)
        write_manifest(tmp_path / "manifest.json", [b, c])
        report = made(tmp_path, *(done(one, "m", 1.0, 1.0) for one in (b, c)))
        (line,) = report.network_gaps
        assert not line.of_the_network
        assert line.to_dict()["gap"] is None
        assert "4 weights of its layers lie in no block" in line.missing()

    def test_two_manifests_of_one_network_are_not_mixed(self, tmp_path: Path) -> None:
        cut = []
        for folder, name in (("one", "a"), ("other", "b")):
            (tmp_path / folder).mkdir()
            place = tmp_path / folder / "manifest.json"
            cut.append(block(name, tensor="fc1", first=0, manifest=str(place)))
            write_manifest(place, cut[-1:])
        report = made(tmp_path, done(cut[0], "m", 2.0, 1.0), done(cut[1], "m", 5.0, 5.0))
        assert len({network.name for network in report.networks}) == 2
        for network, gap in zip(report.networks, (0.5, 0.0), strict=True):
            (line,) = (line for line in report.network_gaps if line.network == network.name)
            assert line.sums.gap == gap

    def test_the_layers_that_were_taken_are_named(self, tmp_path: Path) -> None:
        place = tmp_path / "manifest.json"
        a = block("a", tensor="fc1", first=0, manifest=str(place))
        write_manifest(place, [a])
        read = json.loads(place.read_text())
        place.write_text(json.dumps({**read, "targets": ["fc1", "fc2"], "ignore": ["fc2"]}))
        report = made(tmp_path, done(a, "m", 2.0, 1.0))
        assert report.networks[0].name == "toy, layers fc1, fc2 without fc2"

    def test_a_block_at_two_places_counts_twice(self, tmp_path: Path) -> None:
        a, b, c = self.blocks(tmp_path)
        twin = block("a", tensor="fc2", first=4, manifest=a.manifest)
        write_manifest(tmp_path / "manifest.json", [a, b, c, twin])
        report = made(tmp_path, *(done(one, "m", value, value) for one, value in ((a, 1.0), (b, 2.0), (c, 4.0))))
        (line,) = report.network_gaps
        assert (line.sums.blocks, line.sums.objective) == (4, 8.0)
        assert line.of_the_network

    def test_files_by_themselves_are_no_network(self, two: BatchReport) -> None:
        assert {line.network for line in two.network_gaps} == {""}
        assert not any(line.of_the_network for line in two.network_gaps)
        assert two.layer_gaps == ()


def test_no_masks_and_weights_of_a_network_are_below_its_certified_bound(tmp_path: Path) -> None:
    """Real blocks, small enough for every mask to be tried."""
    manifest = str(tmp_path / "manifest.json")
    rng = np.random.default_rng(3)
    cut, records, best = [], [], 0.0
    for place in range(4):
        problem = cbs_opt.PruningProblem.from_gradients(rng.normal(size=8), rng.normal(size=(5, 8)), damping=0.05)
        problem = problem.at_sparsity(0.5)
        cut.append(block(f"b{place}", 8, tensor="fc", first=8 * place, manifest=manifest))
        for method in ("magnitude", "bnb"):
            found = cbs_opt.solve(problem, method)
            bound = found.bound if math.isfinite(found.bound) else None
            records.append(
                done(
                    cut[-1],
                    method,
                    found.objective,
                    bound,
                    round_off=found.round_off,
                    selection_objective=found.selection_objective,
                )
            )
        best += min(
            problem.objective(obs_update(problem, mask))
            for kept in itertools.combinations(range(8), 4)
            for mask in [np.isin(np.arange(8), kept)]
        )
    write_manifest(tmp_path / "manifest.json", cut)
    report = made(tmp_path, *records)
    lines = {line.method: line for line in report.network_gaps}
    for line in lines.values():
        assert line.of_the_network
        assert line.sums.bound <= best * (1 + 1e-12)
        assert line.sums.gap >= (line.sums.objective - best) / line.sums.objective - 1e-12
    assert lines["best of all"].sums.objective == pytest.approx(best, rel=1e-6)
    assert lines["magnitude"].sums.gap > lines["bnb"].sums.gap


class TestBrokenBounds:
    def test_a_bound_above_the_answer_of_another_method(self, tmp_path: Path) -> None:
        a = block("a")
        report = made(tmp_path, done(a, "liar", 3.0, 3.0), done(a, "quick", 2.0))
        joint = [bound for bound in report.broken if bound.problem == "joint"]
        (found,) = joint
        assert (found.prover, found.bound, found.method, found.objective) == ("liar", 3.0, "quick", 2.0)
        assert report.exit_code == 1
        assert summary(report, "quick").broken == 1
        assert summary(report, "quick").proven == 0

    def test_a_bound_on_the_selection_problem(self, tmp_path: Path) -> None:
        a = block("a")
        report = made(tmp_path, done(a, "liar", 3.0, selection_bound=2.5), done(a, "quick", 2.0))
        (found,) = report.broken
        assert (found.problem, found.prover, found.objective) == ("selection", "liar", pytest.approx(2.2))

    def test_round_off_breaks_nothing(self, tmp_path: Path) -> None:
        a = block("a")
        report = made(tmp_path, done(a, "exact", 3.0, 3.0 + 1e-12), done(a, "rough", 2.9, round_off=0.2))
        assert not report.broken

    def test_other_requests_and_blocks_are_other_problems(self, tmp_path: Path) -> None:
        report = made(
            tmp_path,
            done(block("a"), "m", 3.0, 3.0),
            done(block("a"), "m", 2.0, asked="sparsity 0.2"),
            done(block("b"), "m", 1.0),
        )
        assert not report.broken


class TestStores:
    def test_an_empty_store(self, tmp_path: Path) -> None:
        report = made(tmp_path)
        assert report.counts()["results"] == 0
        assert report.summaries == report.network_gaps == report.broken == ()

    def test_nothing_but_failures(self, tmp_path: Path) -> None:
        report = made(tmp_path, failed(block("a", n=0), "m", "bad input", "is no block"))
        assert report.counts()["failed"] == 1
        assert summary(report, "m").proven_share == 0

    def test_while_a_batch_writes(self, tmp_path: Path) -> None:
        file = tmp_path / "results.sqlite"
        with StoreWriter(file) as store:
            store.write([done(block("a"), "m", 1.0, 1.0)])
            assert report_of(file).counts()["done"] == 1
            store.write([done(block("b"), "m", 1.0, 1.0)])
            assert report_of(file).counts()["done"] == 2

    def test_plain_data_has_no_nan(self, two: BatchReport) -> None:
        from cbs_opt.cli.output import plain

        assert json.loads(json.dumps(plain(two.to_dict()), allow_nan=False))["results"] == 5

    def test_a_result_of_no_block_is_damage(self, tmp_path: Path) -> None:
        file = write_store(tmp_path / "results.sqlite", [done(block("a"), "m", 1.0)])
        with sqlite3.connect(file) as database:
            database.execute("DELETE FROM blocks WHERE content = ?", [content("a")])
        database.close()
        with pytest.raises(Exception, match="damaged"):
            report_of(file)
