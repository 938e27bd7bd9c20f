"""What a batch would do: which blocks, which tasks, in which order, and which of them are done already."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import make_block

from cbs_opt.batch import Asked, Plan, Settings
from cbs_opt.batch.inputs import find_blocks
from cbs_opt.errors import CbsOptError
from cbs_opt.kernel.block_file import content_of
from cbs_opt.store.writer import Known


def nothing(key: str) -> Known | None:
    return None


def test_files_folders_and_patterns(folder: Path) -> None:
    whole = [block.file for block in find_blocks([folder])]
    assert whole == [str(folder / f"row{i}.npz") for i in range(6)]
    assert [block.file for block in find_blocks([str(folder / "row[12].npz"), whole[1], whole[0]])] == [
        whole[1],
        whole[2],
        whole[0],
    ]
    (first, *_) = find_blocks([folder])
    assert (first.name, first.n, first.content) == ("row0", 6, content_of(whole[0]))


@pytest.mark.parametrize(("place", "words"), [("*.nothing", "nothing matches"), ("missing.npz", "no such file")])
def test_blocks_that_are_not_there(folder: Path, place: str, words: str) -> None:
    with pytest.raises(CbsOptError, match=words):
        list(find_blocks([folder / place]))


def test_tasks_are_blocks_by_methods_by_patterns_by_seeds(settings: Settings) -> None:
    asked = (Asked("sparsity", "0.5"), Asked("prune", "2"), Asked("pattern", "1:2"))
    plan = Plan(replace(settings, methods=("cbs", "bnb", "obd"), asked=asked, seeds=(0, 1)), nothing)
    combinations = [(c.spec.name, str(c.asked), c.seed) for c in plan.combinations]
    assert combinations == [
        ("cbs", "sparsity 0.5", 0),
        ("cbs", "sparsity 0.5", 1),
        ("cbs", "prune 2", 0),
        ("cbs", "prune 2", 1),
        ("bnb", "sparsity 0.5", None),
        ("bnb", "prune 2", None),
        ("bnb", "pattern 1:2", None),
        ("obd", "sparsity 0.5", None),
        ("obd", "prune 2", None),
        ("obd", "pattern 1:2", None),
    ]
    assert plan.left_out == {"cbs, pattern 1:2": "method cbs: cannot take the pattern 1:2"}
    assert plan.tasks == len(plan.pending) == 6 * 10
    assert len({combination.key(block) for block in plan.blocks for combination in plan.combinations}) == 6 * 10


def test_nothing_fits(settings: Settings) -> None:
    with pytest.raises(CbsOptError, match="method cbs: cannot take the pattern 2:4"):
        Plan(replace(settings, methods=("cbs",), asked=(Asked("pattern", "2:4"),)), nothing)
    with pytest.raises(CbsOptError, match="nothing is asked"):
        Plan(replace(settings, asked=()), nothing)
    with pytest.raises(CbsOptError, match="there are no blocks"):
        Plan(replace(settings, blocks=()), nothing)


def test_the_longest_come_first(settings: Settings) -> None:
    plan = Plan(settings, nothing)
    tasks = [plan.task(int(number)) for number in plan.pending]
    assert [combination.spec.name for _, combination in tasks] == ["bnb"] * 6 + ["greedy-obs"] * 6
    assert [block.n for block, _ in tasks] == [*range(11, 5, -1)] * 2


def test_equal_files_are_solved_once(settings: Settings, folder: Path) -> None:
    shutil.copy(folder / "row0.npz", folder / "again.npz")
    plan = Plan(settings, nothing)
    assert (len(plan.blocks), plan.repeated) == (6, 1)


@pytest.mark.parametrize(
    ("stored", "time_limit", "retry", "again"),
    [
        (None, None, False, True),
        (Known(True, None, True, "convergenceCriteriaSatisfied", 5.0, 0.0), 60.0, True, False),
        (Known(True, None, False, "maxTimeLimit", 5.0, 0.1), 5.0, True, False),
        (Known(True, None, False, "maxTimeLimit", 5.0, 0.1), 4.0, False, False),
        (Known(True, None, False, "maxTimeLimit", 5.0, 0.1), 6.0, False, True),
        (Known(True, None, False, "maxTimeLimit", 5.0, 0.1), None, False, True),
        (Known(False, "time limit", False, None, 5.0, None), 5.0, False, False),
        (Known(False, "time limit", False, None, 5.0, None), 6.0, False, True),
        (Known(False, "bad input", False, None, 5.0, None), 6.0, False, False),
        (Known(False, "bad input", False, None, 5.0, None), 6.0, True, True),
    ],
)
def test_what_is_done_again(
    settings: Settings, stored: Known | None, time_limit: float | None, retry: bool, again: bool
) -> None:
    plan = Plan(replace(settings, methods=("bnb",), time_limit=time_limit), lambda key: stored, retry_failed=retry)
    assert len(plan.pending) == (6 if again else 0)
    assert plan.tally.sums()[0] + plan.tally.sums()[3] == (0 if again else 6)


def test_a_manifest_says_where_blocks_belong(tmp_path: Path) -> None:
    from cbs_opt.blocks.manifest import ManifestBlock, line_of, write_manifest

    for i in range(2):
        make_block(tmp_path / f"b{i}.npz", i, n=8)
    contents = [content_of(tmp_path / f"b{i}.npz") for i in range(2)]
    blocks = [ManifestBlock(f"b{i}.npz", contents[i], "fc.weight", 8 * i, 8, 0.1) for i in range(2)]
    facts = {
        "network": "x",
        "weights": {"file": None, "sha256": None, "state": None},
        "partition": "rows",
        "curvature": "gram",
        "tensors": {"fc.weight": {"shape": [2, 8], "rows": 2, "kind": "linear", "groups": 1}},
    }
    write_manifest(tmp_path / "manifest.json", facts, iter(map(line_of, blocks)))
    for place in (tmp_path, tmp_path / "manifest.json"):
        found = list(find_blocks([place]))
        assert [(block.tensor, block.first, block.n) for block in found] == [("fc.weight", 0, 8), ("fc.weight", 8, 8)]
        assert {block.manifest for block in found} == {str(tmp_path / "manifest.json")}
        assert [block.content for block in found] == contents
