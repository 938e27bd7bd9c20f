"""What fails in a study, or is interrupted, does not cost what is done."""

import json
import math

import numpy as np
import pytest
from study_blocks import INJECTED, read_page

from cbs_opt.errors import BlockFileError, InputError, UnknownMethodError
from cbs_opt.evaluation import catalogue
from cbs_opt.evaluation.catalogue import register
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.result import Outcome
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network
from cbs_opt.study import files_subject, model_subject, run_study, write_study


def test_failed_blocks_are_recorded_and_the_others_go_on(folder, tmp_path):
    np.savez(folder / "indefinite.npz", w=np.ones(2), H=-np.eye(2))
    np.savez(folder / "nan.npz", w=np.array([1, math.nan]), H=np.eye(2))
    result = run_study(files_subject([folder]), methods=["magnitude"], sparsities=[0.5], jobs=1)
    assert len(result.rows) == 3
    assert result.exit_code == 1
    assert [failure.reason for failure in result.failures if "entry 1 is nan" in failure.reason]
    assert "2 block solves failed" in result.message()
    write_study(result, tmp_path / "out")
    page = read_page(tmp_path / "out" / "index.html")
    assert "Failed blocks" in page.text


@pytest.fixture
def registered(monkeypatch):
    """Registers methods for one test."""
    monkeypatch.setattr(catalogue, "_EXTRA", {})

    def add(name, run, **facts):
        summary = {"summary": "of a test", "exact": False, "objective": Objective.JOINT, "reference": "none"}
        register(MethodSpec(name, run, **summary, **facts))
        return name

    return add


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_method_that_fails_on_a_block_fails_alone(folder, registered, jobs):
    def breaks(problem):
        if problem.name == "block 2":
            raise FloatingPointError("no luck")
        return Outcome(problem.Z.argmax(abs(problem.w_bar)))

    names = ["magnitude", registered("breaks", breaks)]
    result = run_study(files_subject([folder]), methods=names, sparsities=[0.5], jobs=jobs)
    (failure,) = result.failures
    assert (failure.block, failure.method, failure.reason) == ("block 2", "breaks", "FloatingPointError: no luck")
    assert [(row.row.problem, row.row.method) for row in result.rows] == [
        ("block 0", "magnitude"),
        ("block 0", "breaks"),
        (INJECTED, "magnitude"),
        (INJECTED, "breaks"),
        ("block 2", "magnitude"),
    ]
    assert result.complete
    assert result.exit_code == 1
    assert result.message().startswith("1 block solves failed; the first is block 2 at 0.5, breaks: FloatingPoint")
    plain = run_study(files_subject([folder]), methods=["magnitude"], sparsities=[0.5], jobs=1)
    mine = [row.row.objective for row in result.rows if row.row.method == "magnitude"]
    assert mine == [row.row.objective for row in plain.rows]


def test_a_block_that_ends_its_process_and_one_that_takes_too_long(folder, registered):
    def bad(problem):
        import os
        import time

        if problem.name == "block 0":
            os._exit(3)
        if problem.name == "block 2":
            time.sleep(60)
        return Outcome(problem.Z.argmax(abs(problem.w_bar)))

    names = ["magnitude", registered("bad", bad)]
    result = run_study(files_subject([folder]), methods=names, sparsities=[0.5], time_limit=0.1, jobs=1)
    assert [(f.block, f.method) for f in result.failures] == [("block 0", "bad"), ("block 2", "bad")]
    assert "ended with exit code 3" in result.failures[0].reason
    assert "the time limit is 0.1 s" in result.failures[1].reason
    assert len(result.rows) == 4


def test_interrupted_study_keeps_what_is_done(folder, tmp_path):
    def interrupt(done, total, name):
        assert total == 6
        if done == 2:
            raise KeyboardInterrupt

    result = run_study(
        files_subject([folder]), methods=["magnitude"], sparsities=[0.5, 0.8], jobs=1, on_progress=interrupt
    )
    assert result.exit_code == 130
    assert result.message() == "interrupted after 2 of 6 block solves; what is done is kept"
    write_study(result, tmp_path / "out")
    data = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert data["complete"] is False
    assert len(data["rows"]) == 2
    assert "Incomplete:" in read_page(tmp_path / "out" / "index.html").text


def test_interrupted_before_the_first_answer_overwrites_nothing(folder, result, tmp_path):
    def interrupt(done, total, name):
        raise KeyboardInterrupt

    write_study(result, tmp_path / "out")
    before = (tmp_path / "out" / "results.json").read_bytes()
    np.savez(folder / "b0.npz", w=np.ones(2), H=np.eye(2))
    nothing = run_study(
        files_subject([folder / "b0.npz", folder / "b1.npz"]), methods=["magnitude"], jobs=1, on_progress=interrupt
    )
    assert len(nothing.rows) == 1  # the answer that had come is kept
    empty = type(nothing)(**{**nothing.__dict__, "rows": ()})
    assert write_study(empty, tmp_path / "out") == ()
    assert (tmp_path / "out" / "results.json").read_bytes() == before


def test_layers_that_cannot_be_made_later_on_do_not_cost_what_is_done(monkeypatch):
    """The gradients of fc3 are not there; fc1 is studied all the same."""
    from cbs_opt.blocks import cut

    model, data = load_network("digits"), digits_data()
    collect = cut.gradient_factor

    def failing(network, x, y, pack, **options):
        if pack[0].name == "fc3":
            raise InputError("layer fc3: no gradients today")
        return collect(network, x, y, pack, **options)

    monkeypatch.setattr(cut, "gradient_factor", failing)
    monkeypatch.setattr("cbs_opt.blocks.settings.MOST_GRADIENTS", 1.0)
    subject = model_subject("digits", model, data, {"fc1": "fisher", "fc3": "fisher"}, samples=20, blocks_per_layer=2)
    told = []
    result = run_study(
        subject, methods=["magnitude"], sparsities=[0.5], jobs=1, on_progress=lambda *words: told.append(words)
    )
    assert [(f.block, f.reason) for f in result.failures] == [("fc3", "layer fc3: no gradients today")]
    assert len(result.rows) == 2
    assert result.exit_code == 1
    assert told[-1][:2] == (4, 4)
    assert result.summaries()[0].accuracy is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["magnitud"]}, UnknownMethodError, "did you mean magnitude"),
        ({"sparsities": [1.5]}, InputError, "1.5"),
        ({"sparsities": []}, InputError, "sparsities: there are none"),
    ],
)
def test_bad_requests(folder, options, error, message):
    with pytest.raises(error, match=message):
        run_study(files_subject([folder]), jobs=1, **options)


def test_bad_files(tmp_path):
    with pytest.raises(BlockFileError, match=r"no \.npz file"):
        files_subject([tmp_path])
    with pytest.raises(BlockFileError, match="no such file"):
        files_subject([tmp_path / "missing.npz"])
