"""Block files: what is saved comes back, and what cannot be read is named."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt.errors import BlockFileError, CbsOptError, InputError, NotPositiveDefiniteError
from cbs_opt.kernel.block_file import read_npz
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
)
from cbs_opt.kernel.files import write_whole
from cbs_opt.kernel.problem import PruningProblem

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((3, 5))
KINDS: dict[str, Curvature] = {
    "dense": DenseCurvature(ROWS.T @ ROWS, 0.1),
    "factor": FactorCurvature(ROWS, 0.1),
    "tall factor": FactorCurvature(RNG.standard_normal((9, 5)), 0.1),
    "diagonal": DiagonalCurvature(np.arange(1.0, 6.0)),
    "block-diagonal": BlockDiagonalCurvature([DenseCurvature(np.eye(2)), FactorCurvature(ROWS[:, :3], 0.2)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extras", [{}, {"g": np.arange(5.0), "offset": 0.25, "name": "fc1 Zeile 3 ü"}])
def test_what_is_saved_comes_back(tmp_path: Path, kind: str, extras: dict[str, Any]) -> None:
    file = tmp_path / "block.npz"
    problem = PruningProblem(np.linspace(-1, 1, 5), KINDS[kind], **extras)
    problem.save(file)
    loaded = PruningProblem.load(file)
    np.testing.assert_array_equal(loaded.w_bar, problem.w_bar)
    np.testing.assert_allclose(loaded.curvature.dense(), problem.curvature.dense(), rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(loaded.linear_term(), problem.linear_term())
    assert loaded.offset == problem.offset
    assert loaded.name == (problem.name or "block")
    assert loaded.pattern is None
    if kind == "factor":
        assert isinstance(loaded.curvature, FactorCurvature)
        assert loaded.curvature.damping == 0.1


@pytest.mark.parametrize("field", ["G", "X"])
@pytest.mark.parametrize("m", [3, 8])
def test_gradients_and_inputs_with_all_optional_fields(tmp_path: Path, field: str, m: int) -> None:
    rows = np.random.default_rng(m).standard_normal((m, 5))
    file = tmp_path / "b.npz"
    extra = {"optimum": np.arange(3), "notes": np.array("left alone")}
    np.savez(file, w=np.ones(5), **{field: rows}, damping=0.2, g=np.arange(5.0), offset=0.5, name="row 7", **extra)
    problem = PruningProblem.load(file)
    np.testing.assert_allclose(problem.curvature.dense(), rows.T @ rows / m + 0.2 * np.eye(5), atol=1e-13)
    assert (problem.name, problem.offset, problem.curvature.damping) == ("row 7", 0.5, 0.2)
    np.testing.assert_array_equal(problem.linear_term(), np.arange(5.0))


@settings(max_examples=20)
@given(st.integers(-138, 138), st.integers(0, 10**6))
def test_a_round_trip_keeps_every_bit_of_a_dense_block(tmp_path_factory: Any, exponent: int, seed: int) -> None:
    A = np.random.default_rng(seed).standard_normal((4, 4))
    file = tmp_path_factory.mktemp("bits") / "b.npz"
    problem = PruningProblem(A[0], DenseCurvature((A.T @ A + np.eye(4)) * 10.0**exponent))
    problem.save(file)
    np.testing.assert_array_equal(PruningProblem.load(file).curvature.dense(), problem.curvature.dense())


# ---------------------------------------------------------------- unreadable

EYE = np.eye(3)
ONES = np.ones(3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"H": EYE}, "w: is missing"),
        ({"w": ONES}, "exactly one of H, G, X and curvature; it has none of them"),
        ({"w": ONES, "H": EYE, "G": EYE, "damping": 1.0}, "exactly one of H, G, X and curvature; it has H and G"),
        ({"w": ONES, "G": EYE}, "damping: is missing; G needs it"),
        ({"w": ONES, "X": EYE, "damping": [1.0, 2.0]}, r"damping: has shape \(2,\).*one number is needed"),
        ({"w": ONES, "X": EYE, "damping": np.nan}, "damping: is nan; a finite number ≥ 0"),
        ({"w": ONES, "X": EYE, "damping": -0.1}, "damping: is -0.1"),
        ({"w": ONES, "G": EYE[:2], "damping": 0.0}, "damping: is 0, but 2 samples cannot determine 3 weights"),
        ({"w": [1.0, np.inf, 1.0], "H": EYE}, "w: entry 1 is inf"),
        ({"w": ONES, "H": np.full((3, 3), np.nan)}, r"H: entry \(0, 0\) is nan"),
        ({"w": ONES, "G": [[1.0, np.nan, 1.0]], "damping": 1.0}, r"G: entry \(0, 1\) is nan"),
        ({"w": ONES, "X": [[1.0, 1.0, -np.inf]], "damping": 1.0}, r"X: entry \(0, 2\) is -inf"),
        ({"w": ONES, "H": EYE, "g": [1.0, np.nan, 1.0]}, "g: entry 1 is nan"),
        ({"w": ONES, "H": EYE, "g": [1.0]}, "g: has 1 entries, but there are 3 weights"),
        ({"w": ONES, "H": EYE, "offset": np.inf}, "offset: is inf"),
        ({"w": ONES, "H": EYE, "offset": "x"}, "offset: has shape"),
        ({"w": ONES, "H": np.eye(4)}, "w: has 3 weights, but the curvature is of order 4"),
        ({"w": ONES, "H": np.ones((3, 2))}, r"H: has shape \(3, 2\); a square"),
        ({"w": ONES, "H": np.triu(np.ones((3, 3))) + EYE}, r"H: not symmetric, H\["),
        ({"w": ["a", "b", "c"], "H": EYE}, "w: has dtype <U1; give real numbers"),
        ({"w": np.array([1, None, 2], dtype=object), "H": EYE}, "holds pickled objects, which are never loaded"),
    ],
)
def test_bad_fields_name_the_file_the_field_and_the_entry(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    file = tmp_path / "bad.npz"
    np.savez(file, **arrays)
    with pytest.raises(CbsOptError, match=message) as caught:
        PruningProblem.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_the_kind_of_trouble_and_the_sufficient_damping_survive_the_file_name(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    np.savez(file, w=ONES, H=-EYE)
    with pytest.raises(NotPositiveDefiniteError, match=r"bad\.npz: H: not positive definite") as caught:
        PruningProblem.load(file)
    np.savez(file, w=ONES, H=-EYE + caught.value.sufficient_damping * EYE)
    PruningProblem.load(file)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    missing, folder, empty, text, cut = (tmp_path / name for name in ("a.npz", "b.npz", "c.npz", "d.npz", "e.npz"))
    folder.mkdir()
    empty.touch()
    text.write_text("w = [1, 2]")
    np.savez(cut, w=ONES, H=EYE)
    cut.write_bytes(cut.read_bytes()[:-30])
    for file, message in (
        (missing, "no such file"),
        (folder, "is a folder"),
        (empty, "not an npz archive, or cut short"),
        (text, "not an npz archive, or cut short"),
        (cut, "not an npz archive, or cut short"),
    ):
        with pytest.raises(BlockFileError, match=message) as caught:
            PruningProblem.load(file)
        assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damaged_byte_causes_anything_but_our_own_error(tmp_path: Path, save: Any) -> None:
    whole, damaged = tmp_path / "whole.npz", tmp_path / "damaged.npz"
    save(whole, w=ONES, H=EYE)
    content = whole.read_bytes()
    for position in range(0, len(content), 5):
        damaged.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            PruningProblem.load(damaged)
        except CbsOptError as error:
            assert str(error).startswith(f"{damaged}: ")  # noqa: PT017


def test_arrays_that_are_not_asked_for_are_not_even_read(tmp_path: Path) -> None:
    file = tmp_path / "b.npz"
    np.savez(file, w=ONES, H=EYE, labels=np.array([{}], dtype=object))
    assert PruningProblem.load(file).n == 3
    with pytest.raises(BlockFileError, match="pickled"):
        read_npz(file)


# ---------------------------------------------------------------- writing whole or not at all


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "b.npz"
    PruningProblem(ONES, EYE).save(file)
    before = file.read_bytes()

    def fail(stream: Any) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(file, fail)
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.npz"]


def test_targets_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target, message in (
        (tmp_path / "no" / "b.npz", "does not exist; create it first"),
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "file" / "b.npz", "is not a folder"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            PruningProblem(ONES, EYE).save(target)
        assert str(caught.value).startswith(f"{target}: ")


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    def full(stream: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"b\.npz: cannot be written \(No space left on device\)"):
        write_whole(tmp_path / "b.npz", full)
    assert not list(tmp_path.iterdir())


def test_links_are_followed_and_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.npz"
    link.symlink_to(tmp_path / "there" / "real.npz")
    PruningProblem(ONES, EYE).save(link)
    assert link.is_symlink()
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(os.stat(tmp_path / "there" / "real.npz").st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_device_is_written_to_not_replaced() -> None:
    if not os.path.exists(os.devnull) or os.name == "nt":
        pytest.skip("no device file")
    PruningProblem(ONES, EYE).save(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
