"""Studies end to end, on tiny blocks."""

import csv
import gc
import json
import weakref
from functools import partial

import numpy as np
import pytest
from browser import Chromium, find_chromium
from study_blocks import INJECTED, METHODS, block, read_page

import cbs_opt
from cbs_opt.cli.study_tables import study_table
from cbs_opt.evaluation.comparator import trivial_bound
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.words import gap
from cbs_opt.study import Subject, files_subject, run_study, write_study
from cbs_opt.study.piece import Cut, Piece, StudyBlock


def test_rows_and_sums(result):
    assert result.complete
    assert result.exit_code == 0
    assert result.message() == ""
    assert len(result.rows) == 3 * 2 * len(METHODS)
    for summary in result.summaries():
        rows = [r.row for r in result.rows if r.sparsity == summary.sparsity and r.row.method == summary.method]
        units = [block(seed).objective(np.zeros(6)) for seed in range(3)]
        total = sum(row.objective / unit for row, unit in zip(rows, units, strict=True))
        assert summary.objective == pytest.approx(total, rel=1e-12)
        assert summary.worst_gap == max(row.gap for row in rows)
        assert summary.bound <= summary.objective * (1 + 1e-9)
        assert summary.gap == pytest.approx((summary.objective - summary.bound) / summary.objective, abs=1e-8)
        assert summary.worst_gap >= summary.gap >= 0
    exact = [summary for summary in result.summaries() if summary.method == "bnb"]
    assert all(summary.proven == summary.blocks == 3 for summary in exact)
    best = {s.sparsity: s.objective for s in exact}
    assert all(s.objective >= best[s.sparsity] * (1 - 1e-9) for s in result.summaries())


def test_files(result, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    (out / "accuracy.png").write_text("of an earlier study")
    written = {path.name for path in write_study(result, out)}
    pictures = {"gap.png", "gap.svg", "objective.png", "objective.svg"}
    assert written == {"results.json", "results.csv", "index.html"} | pictures
    assert {path.name for path in out.iterdir()} == written | {"mine.txt"}
    data = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert data["complete"] is True
    assert data["settings"]["seed"] == 0
    assert data["environment"]["numpy"] == np.__version__
    assert len(data["rows"]) == len(result.rows)
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["objective"]) for row in rows] == [row.row.objective for row in result.rows]
    assert rows[0]["block"] == "block 0"


def test_the_picture_of_gaps_says_their_numbers(result, tmp_path):
    write_study(result, tmp_path)
    picture = (tmp_path / "gap.svg").read_text(encoding="utf-8")
    for summary in result.summaries():
        assert f">{gap(summary.gap)}</text>" in picture


def test_a_telephone_gets_pictures_that_it_can_show_whole(result, tmp_path):
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium here")
    write_study(result, tmp_path)
    sizes = "[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width).filter(w => w)"
    with Chromium(executable) as browser:
        for width in (390, 1280):
            browser.look_at(tmp_path / "index.html", width=width)
            shown = browser.run(sizes)
            assert len(shown) == 2  # of each picture the one for this width
            assert all(0.6 * min(width, 1056) < w < width for w in shown)
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.problems() == []


def test_sums_say_what_unit_they_are_in(folder, result, tmp_path):
    relative = "Objectives and bounds over all blocks count each block relative to the loss of removing it whole; "
    assert result.mixed_units
    assert result.to_dict()["meaning"][1].startswith(relative)
    write_study(result, tmp_path / "out")
    assert relative in "".join(read_page(tmp_path / "out" / "index.html").text)
    picture = (tmp_path / "out" / "objective.svg").read_text(encoding="utf-8")
    assert "each relative to the loss of removing the whole block" in picture
    assert "tick: weights as trained, dot: after the update, line: proven bound" in picture
    single = run_study(files_subject([folder / "b0.npz"]), methods=["magnitude"], sparsities=[0.5], jobs=1)
    assert not single.mixed_units
    assert single.notes == ()
    assert "exact for the block-diagonal model" in single.meaning[1]
    assert single.summaries()[0].objective == single.rows[0].row.objective


def test_control_characters_in_a_name_become_spaces(tmp_path):
    block(0, name="a\x1b[2Jb\nc\u202ed λ").save(tmp_path / "b.npz")
    assert PruningProblem.load(tmp_path / "b.npz").name == "a [2Jb c d λ"


def test_page_is_self_contained_and_escaped(result, tmp_path):
    write_study(result, tmp_path)
    page = read_page(tmp_path / "index.html")
    assert page.tags.count("script") == 1
    assert page.tags.count("svg") == 4  # two pictures, each for a wide and for a narrow screen
    assert page.references == []
    assert INJECTED in page.text
    assert "The gap is about the quadratic model of the loss, not about accuracy" in "".join(page.text)


def test_table_is_for_people(result):
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(study_table(result))
    console.file.close()
    text = console.export_text()
    assert "3/3" in text
    assert "worst" in text
    assert "relative to that of removing the whole block" in " ".join(text.split())
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_study_of_heuristics_has_the_bound_without_branching(folder):
    result = run_study(files_subject([folder]), methods=["magnitude"], sparsities=[0.5], jobs=1)
    assert result.methods == ("magnitude",)
    for row in result.rows:
        number = {"block 0": 0, INJECTED: 1, "block 2": 2}[row.row.problem]
        problem = PruningProblem.load(folder / f"b{number}.npz").at_sparsity(0.5)
        assert row.row.bound == lower_bound(problem).value > trivial_bound(problem)


def test_workers_give_the_same_answers(folder, result):
    parallel = run_study(files_subject([folder]), methods=METHODS, sparsities=[0.5, 0.8], jobs=2)
    assert [(r.row.problem, r.row.method, r.kept) for r in parallel.rows] == [
        (r.row.problem, r.row.method, r.kept) for r in result.rows
    ]
    assert parallel.environment["threads"] == "1"


@pytest.mark.parametrize("jobs", [1, 2])
def test_blocks_are_forgotten_before_the_next_are_made(jobs):
    seen = []

    def made(seeds, tell):
        gc.collect()
        assert all(curvature() is None for curvature in seen)
        problems = [block(seed, name=f"block {seed}") for seed in seeds]
        seen.extend(weakref.ref(problem.curvature) for problem in problems)
        return Cut(tuple(StudyBlock(problem, problem.name, 0.1) for problem in problems))

    pieces = tuple(Piece(str(seeds), 2, 12, partial(made, seeds)) for seeds in ((0, 1), (2, 3), (4, 5)))
    result = run_study(Subject("six blocks", pieces), methods=["magnitude", "bnb"], sparsities=[0.5, 0.8], jobs=jobs)
    assert result.complete
    assert result.failures == ()
    assert len(seen) == 6
    order = [(row.sparsity, row.row.problem) for row in result.rows if row.row.method == "bnb"]
    assert order == [(sparsity, f"block {seed}") for sparsity in (0.5, 0.8) for seed in range(6)]
    for row in result.rows:
        problem = block(int(row.row.problem[-1])).at_sparsity(row.sparsity)
        assert row.row.objective >= enumerated(problem) * (1 - 1e-9)
        assert row.row.method == "magnitude" or row.row.objective <= enumerated(problem) * (1 + 1e-9)


def enumerated(problem):
    return cbs_opt.solve(problem, "enumeration").objective
