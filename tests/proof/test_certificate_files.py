"""Certificate files: what is written is read; what is damaged is one sentence."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbs_opt import PruningProblem
from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature import FactorCurvature
from cbs_opt.proof import NotVerifiedError, Proof, prove, verify
from cbs_opt.proof.make import prove as build
from cbs_opt.solvers.exact import bnb_search


@pytest.fixture(scope="module")
def problem() -> PruningProblem:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(30, 12)) @ (np.eye(12) + rng.normal(size=(12, 12)))
    return PruningProblem.from_activations(rng.normal(size=12), X, damping=1e-2, name="row").pruning(7)


@pytest.fixture
def file(problem: PruningProblem, tmp_path: Path) -> Path:
    prove(problem).save(tmp_path / "row.npz")
    return tmp_path / "row.npz"


def rewritten(file: Path, **arrays: Any) -> Path:
    with np.load(file) as old:
        merged = {**old, **arrays}
    target = file.with_name("other.npz")
    np.savez(target, **{name: array for name, array in merged.items() if array is not None})
    return target


def test_what_is_written_is_read(problem: PruningProblem, file: Path) -> None:
    proof, again = prove(problem), Proof.load(file)
    assert (again.bound, again.limits.prune, again.digest) == (proof.bound, 7, proof.digest)
    assert again.tree is not None
    assert proof.tree is not None
    for name in ("parent", "side", "branch", "point", "fixed", "D", "w", "w_low"):
        np.testing.assert_array_equal(getattr(again.tree, name), getattr(proof.tree, name))
    assert verify(problem, again).bound == proof.bound


def test_pieces_are_written_and_read(problem: PruningProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 2)
    proof = prove(problem)
    proof.save(tmp_path / "row.npz")
    again = Proof.load(tmp_path / "row.npz")
    assert proof.tree is not None
    assert proof.tree.pieces is not None
    assert again.tree is not None
    assert again.tree.pieces is not None
    for name in ("members", "direction", "size", "share", "hold"):
        np.testing.assert_array_equal(getattr(again.tree.pieces, name), getattr(proof.tree.pieces, name))
    assert verify(problem, again).bound == proof.bound
    for spoilt, sentence in (
        ({"members": np.zeros(3, dtype=np.int64)}, "members: has shape"),
        ({"size": None}, "size: is missing"),
        ({"hold": np.zeros((1, 1), dtype=np.float32)}, "hold: has shape"),
    ):
        with pytest.raises(InputError, match=sentence):
            Proof.load(rewritten(tmp_path / "row.npz", **spoilt))
    members = np.full_like(proof.tree.pieces.members, 99)
    with pytest.raises(NotVerifiedError, match="members names weights that there are not"):
        verify(problem, Proof.load(rewritten(tmp_path / "row.npz", members=members)))


def test_a_dual_vector_is_written_and_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    problem = PruningProblem(rng.normal(size=8), FactorCurvature(rng.normal(size=(3, 8)), 0.5)).pruning(4)
    proof = build._from_dual(problem, None)
    proof.save(tmp_path / "dual.npz")
    again = Proof.load(tmp_path / "dual.npz")
    np.testing.assert_array_equal(again.alpha, proof.alpha)
    assert verify(problem, again).bound == proof.bound
    with pytest.raises(NotVerifiedError, match="alpha has 2 entries, but the factor has 3 rows"):
        verify(problem, Proof.load(rewritten(tmp_path / "dual.npz", alpha=np.zeros(2))))
    with pytest.raises(NotVerifiedError, match="overflow"):
        verify(problem, Proof.load(rewritten(tmp_path / "dual.npz", alpha=np.full(3, 1e308))))


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"branch": None}, "branch: is missing"),
    "no certificate": ({"certificate": None}, "is no certificate"),
    "version": (
        {"certificate": np.int64(4)},
        "has version 4, and this program reads versions up to 3; install a newer cbs-opt to read it",
    ),
    "no version": ({"certificate": np.int64(0)}, "has version 0, which there never was"),
    "labels": ({"certificate": np.int64(2)}, "room: is missing"),
    "dtype": ({"D": np.zeros((3, 12), dtype=np.float32)}, "D: has shape .* and dtype float32"),
    "shape": ({"weights": np.zeros(11)}, "weights: has shape"),
    "scalar": ({"bound": np.zeros(2)}, "bound: has shape"),
    "pickled": ({"mask": np.array([None] * 12, dtype=object)}, "mask: has shape"),
    "pattern": ({"prune": np.int64(99)}, "prune: is 99"),
    "both": ({"keep": np.ones(12, bool), "forbid": np.ones(12, bool)}, "keep: weight 0 is forced to stay"),
    "empty": ({"mask": np.zeros(0, bool)}, "mask: is empty"),
    "rows": ({"w": np.zeros((1, 12))}, "w: has shape"),
    "axes": ({"parent": np.zeros((2, 2), dtype=np.int64)}, "parent: has shape"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_one_sentence(file: Path, name: str) -> None:
    arrays, words = DAMAGED[name]
    with pytest.raises(InputError, match=rf"other\.npz: {words}"):
        Proof.load(rewritten(file, **arrays))


def test_bytes_that_are_no_booleans_are_refused(file: Path) -> None:
    """A byte of 2 would count as two weights in a sum."""
    with pytest.raises(InputError, match="mask: holds bytes other than 0 and 1"):
        Proof.load(rewritten(file, mask=np.full(12, 2, dtype=np.uint8).view(np.bool_)))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Proof.load(tmp_path / "none.npz")
    with pytest.raises(InputError, match="is a folder"):
        Proof.load(tmp_path)
    (tmp_path / "text.npz").write_text("certificate")
    with pytest.raises(InputError, match=r"text\.npz: cannot be read as a certificate"):
        Proof.load(tmp_path / "text.npz")


def test_a_header_that_promises_too_much_is_not_believed(file: Path) -> None:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 12)})
    other = rewritten(file, D=None)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("D.npy", text.getvalue())
    with pytest.raises(InputError, match="D: has shape"):
        Proof.load(other)


def test_every_flipped_byte_is_noticed_or_harmless(problem: PruningProblem, file: Path) -> None:
    """A zip archive carries checksums; what gets by them is refused by the verifier or still true."""
    data = bytearray(file.read_bytes())
    optimum = verify(problem, Proof.load(file)).objective
    rng = np.random.default_rng(0)
    target = file.with_name("flipped.npz")
    for _ in range(150):
        copy = data.copy()
        copy[int(rng.integers(0, len(data)))] ^= int(rng.integers(1, 256))
        target.write_bytes(copy)
        try:
            bound = verify(problem, Proof.load(target)).bound
        except (InputError, NotVerifiedError):
            continue
        assert bound <= optimum


def test_a_cut_file_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for length in (0, 10, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(InputError):
            Proof.load(file)


def with_member(file: Path, name: str, data: bytes) -> Path:
    """The certificate with one array as other bytes."""
    other = rewritten(file, **{name: None})
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr(f"{name}.npy", data)
    return other


def written(array: np.ndarray, version: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def test_headers_of_the_second_kind_are_read_and_later_ones_are_not(problem: PruningProblem, file: Path) -> None:
    weights = prove(problem).weights
    again = Proof.load(with_member(file, "weights", written(weights, (2, 0))))
    np.testing.assert_array_equal(again.weights, weights)
    with pytest.raises(InputError, match=r"npy format 3\.0 is not read"):
        Proof.load(with_member(file, "weights", written(weights, (3, 0))))


@pytest.mark.parametrize("change", [slice(None, -1), b"\0"])
def test_an_array_shorter_or_longer_than_it_says_is_refused(file: Path, change: slice | bytes) -> None:
    whole = written(np.zeros(12), (1, 0))
    data = whole + change if isinstance(change, bytes) else whole[change]
    with pytest.raises(InputError, match="weights: is cut short, or too long"):
        Proof.load(with_member(file, "weights", data))


def test_pieces_that_are_too_many_or_too_wide_are_refused(file: Path) -> None:
    for members, words in (
        (np.zeros((1, 65), np.int64), r"members: has shape \(1, 65\); a matrix of at most 64 columns"),
        (np.zeros((1001, 2), np.int64), r"members: has shape \(1001, 2\); a matrix of at most 1,000 rows"),
        (np.zeros(5, np.int64), r"members: has shape \(5,\)"),
    ):
        labels, room = np.zeros(12, np.int64), np.array([5])
        with pytest.raises(InputError, match=words):
            Proof.load(rewritten(file, certificate=np.int64(3), members=members, labels=labels, room=room))
