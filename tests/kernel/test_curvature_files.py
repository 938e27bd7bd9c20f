"""Curvature files that many blocks share, and the content that tells blocks apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbs_opt.kernel.block_file
from cbs_opt.errors import BlockFileError, CbsOptError, NotPositiveDefiniteError
from cbs_opt.kernel.block_file import block_files, content_of, save_curvature
from cbs_opt.kernel.curvature import DenseCurvature, FactorCurvature, RowsCurvature
from cbs_opt.kernel.problem import PruningProblem

RNG = np.random.default_rng(1)
ROWS = RNG.standard_normal((9, 4))
H = ROWS.T @ ROWS / 9 + 0.1 * np.eye(4)
SHARED = "fc.curvature.npz"


def shared(folder: Path, **arrays: Any) -> Path:
    """A block in ``folder`` that names a curvature file of these arrays (H by default)."""
    np.savez(folder / SHARED, **(arrays or {"H": H}))
    file = folder / "fc.0.npz"
    np.savez(file, w=RNG.standard_normal(4), curvature=SHARED)
    return file


@pytest.mark.parametrize("source", ["H", "G", "X", "few samples"])
def test_a_block_has_the_curvature_it_names(tmp_path: Path, source: str) -> None:
    rows = ROWS[:3] if source == "few samples" else ROWS
    arrays = {"H": H} if source == "H" else {source[0] if len(source) == 1 else "G": rows, "damping": 0.2}
    file = shared(tmp_path, **arrays)
    whole = tmp_path / "whole.npz"
    with np.load(file) as block:
        np.savez(whole, w=block["w"], **arrays)
    problem, expected = PruningProblem.load(file), PruningProblem.load(whole)
    assert type(problem.curvature) is type(expected.curvature)
    np.testing.assert_array_equal(problem.curvature.dense(), expected.curvature.dense())
    np.testing.assert_array_equal(problem.w_bar, expected.w_bar)


@pytest.mark.parametrize("curvature", [DenseCurvature(H), FactorCurvature(ROWS[:2], 0.3), RowsCurvature(H, 2)])
def test_what_is_saved_in_two_files_comes_back(tmp_path: Path, curvature: Any) -> None:
    problem = PruningProblem(np.arange(1.0, curvature.n + 1), curvature, g=np.ones(curvature.n), offset=0.5, name="row")
    save_curvature(curvature, tmp_path / SHARED)
    problem.save(tmp_path / "a.npz", curvature=SHARED)
    loaded = PruningProblem.load(tmp_path / "a.npz")
    assert type(loaded.curvature) is type(curvature)
    np.testing.assert_allclose(loaded.curvature.dense(), curvature.dense(), rtol=1e-15)
    np.testing.assert_array_equal(loaded.linear_term(), problem.linear_term())
    assert (loaded.offset, loaded.name) == (0.5, "row")


def test_a_curvature_file_among_blocks_is_left_out_and_alone_it_is_named(tmp_path: Path) -> None:
    from cbs_opt.batch.inputs import find_blocks

    file = shared(tmp_path)
    assert block_files([tmp_path / SHARED, file]) == [file]
    assert [block.name for block in find_blocks([str(tmp_path / SHARED), str(file)])] == ["fc.0"]
    assert [block.name for block in find_blocks([str(tmp_path / "*.npz")])] == ["fc.0"]
    with pytest.raises(BlockFileError, match=rf"{SHARED}: is the curvature that blocks share, and no block; name a"):
        PruningProblem.load(tmp_path / SHARED)


def test_the_rows_of_a_layer_are_a_block_with_one_small_matrix(tmp_path: Path) -> None:
    file = tmp_path / "layer.npz"
    problem = PruningProblem(np.arange(12.0), RowsCurvature(H, 3))
    problem.save(file)
    with np.load(file) as arrays:
        assert arrays["H"].shape == (4, 4)
    loaded = PruningProblem.load(file)
    assert isinstance(loaded.curvature, RowsCurvature)
    np.testing.assert_array_equal(loaded.curvature.dense(), problem.curvature.dense())


def test_it_is_read_once_and_anew_when_it_changed(tmp_path: Path) -> None:
    file = shared(tmp_path)
    first = PruningProblem.load(file).curvature
    assert PruningProblem.load(file).curvature is first
    np.savez(tmp_path / SHARED, H=2 * H)
    np.testing.assert_array_equal(PruningProblem.load(file).curvature.dense(), 2 * H)


def test_memory_holds_no_more_than_the_last_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cbs_opt.kernel.block_file._CurvatureCache()
    size = 0
    for number in range(5):
        save_curvature(DenseCurvature(H), tmp_path / f"{number}{SHARED}")
        size = (tmp_path / f"{number}{SHARED}").stat().st_size
    monkeypatch.setattr(cbs_opt.kernel.block_file, "MOST_BYTES", 2 * size)
    for number in range(5):
        cache.get(tmp_path / f"{number}{SHARED}")
    assert len(cache._held) == 2
    monkeypatch.setattr(cbs_opt.kernel.block_file, "MOST_BYTES", 0)
    cache.get(tmp_path / f"0{SHARED}")
    assert len(cache._held) == 1


def test_a_folder_of_blocks_leaves_the_curvature_out(tmp_path: Path) -> None:
    file = shared(tmp_path)
    assert block_files([tmp_path]) == [file]


@pytest.mark.parametrize(
    "name",
    ["../fc.curvature.npz", "/tmp/fc.curvature.npz", "a\\fc.curvature.npz", "fc.npz", "", "..", "x\0.curvature.npz"],
)
def test_only_a_bare_name_in_the_blocks_own_folder_is_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / SHARED, H=H)
    file = tmp_path / "in" / "b.npz"
    np.savez(file, w=np.ones(4), curvature=name)
    with pytest.raises(BlockFileError, match=r"b\.npz: curvature: is .*give the bare name") as caught:
        PruningProblem.load(file)
    assert str(caught.value).isprintable()
    assert len(content_of(file)) == 64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"H": np.full((4, 4), np.nan)}, r"curvature: fc\.curvature\.npz: H: entry \(0, 0\) is nan"),
        ({"H": H[:3, :3]}, "w: has 4 weights, but the curvature is of order 3"),
        ({"G": ROWS}, r"curvature: fc\.curvature\.npz: damping: is missing"),
        ({"w": H}, r"curvature: fc\.curvature\.npz: .*it has none of them"),
        ({"curvature": "fc.curvature.npz"}, r"curvature: fc\.curvature\.npz: .*it has none of them"),
        ({"H": np.ones(3)}, r"curvature: fc\.curvature\.npz: H: has shape \(3,\)"),
    ],
)
def test_what_is_wrong_in_the_curvature_file_names_both_files(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    file = shared(tmp_path, **arrays)
    for _ in range(2):
        with pytest.raises(CbsOptError, match=message) as caught:
            PruningProblem.load(file)
        assert str(caught.value).startswith(f"{file}: ")


def test_missing_cut_or_indefinite_curvature_files(tmp_path: Path) -> None:
    file = shared(tmp_path, H=-H)
    with pytest.raises(NotPositiveDefiniteError) as caught:
        PruningProblem.load(file)
    assert caught.value.sufficient_damping > 0
    (tmp_path / SHARED).write_bytes((tmp_path / SHARED).read_bytes()[:-30])
    with pytest.raises(BlockFileError, match=r"curvature: fc\.curvature\.npz: not an npz archive, or cut short"):
        PruningProblem.load(file)
    (tmp_path / SHARED).unlink()
    with pytest.raises(BlockFileError, match=r"curvature: fc\.curvature\.npz is missing in .*copy it there"):
        PruningProblem.load(file)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (0, "rows: is 0"),
        (1.5, "rows: is 1.5; a whole number"),
        (3, "w: has 4 weights"),
        ([1, 2], "rows: has shape"),
        (np.nan, "rows: is nan; a whole number"),
        (np.inf, "rows: is inf; a whole number"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, rows: Any, message: str) -> None:
    file = tmp_path / "b.npz"
    np.savez(file, w=np.ones(4), H=np.eye(2), rows=rows)
    with pytest.raises(CbsOptError, match=message):
        PruningProblem.load(file)


def test_rows_of_a_factor_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.npz"
    np.savez(file, w=np.ones(8), G=ROWS[:2], damping=1.0, rows=2)
    with pytest.raises(BlockFileError, match="rows: is given, but the curvature is no matrix H"):
        PruningProblem.load(file)


def test_a_curvature_file_has_its_own_ending(tmp_path: Path) -> None:
    with pytest.raises(BlockFileError, match=r"let it end in \.curvature\.npz"):
        save_curvature(DenseCurvature(H), tmp_path / "fc.npz")


# ---------------------------------------------------------------- content


def test_content_is_that_of_both_files(tmp_path: Path) -> None:
    file = shared(tmp_path)
    content = content_of(file)
    assert content_of(file) == content
    assert set(content) <= set("0123456789abcdef")
    (tmp_path / "elsewhere").mkdir()
    for name in (file.name, SHARED):
        (tmp_path / "elsewhere" / name).write_bytes((tmp_path / name).read_bytes())
    assert content_of(tmp_path / "elsewhere" / file.name) == content
    np.savez(tmp_path / SHARED, H=2 * H)
    changed = content_of(file)
    (tmp_path / SHARED).unlink()
    missing = content_of(file)
    np.savez(tmp_path / SHARED, H=H)
    assert content_of(file) == content
    assert len({content, changed, missing}) == 3


def test_the_same_block_written_again_has_the_same_content(tmp_path: Path) -> None:
    problem = PruningProblem(np.ones(4), H, name="b")
    problem.save(tmp_path / "a.npz")
    os.utime(tmp_path / "a.npz", (0, 0))
    problem.save(tmp_path / "b.npz")
    assert content_of(tmp_path / "a.npz") == content_of(tmp_path / "b.npz")


def test_every_file_has_its_content_whatever_is_in_it(tmp_path: Path) -> None:
    whole = shared(tmp_path).read_bytes()
    found = set()
    for number, content in enumerate((b"", b"no archive", whole, whole[:-30], whole[:100], bytes(100))):
        file = tmp_path / f"{number}.npz"
        file.write_bytes(content)
        found.add(content_of(file))
    assert len(found) == 6
    for missing in (tmp_path / "no.npz", tmp_path):
        with pytest.raises(BlockFileError, match=r"no such file|is a folder"):
            content_of(missing)


def test_a_block_that_is_not_what_it_was_is_not_read(tmp_path: Path) -> None:
    """Content and arrays come from the same bytes."""
    file = tmp_path / "block.npz"
    PruningProblem(np.ones(3), np.eye(3)).save(file)
    content = content_of(file)
    assert PruningProblem.load(file, content).n == 3
    PruningProblem(np.ones(3), 2 * np.eye(3)).save(file)
    with pytest.raises(BlockFileError, match="not what it was when the batch began"):
        PruningProblem.load(file, content)
