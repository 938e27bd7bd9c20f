"""What a certificate holds: the claim, the incumbent, and as proof either a tree with its points or one dual vector."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.files import write_whole
from cbs_opt.kernel.words import counted, plain_number
from cbs_opt.proof.certificate.archive import MOST_DUAL_ENTRIES, MOST_ENTRIES, _Reader
from cbs_opt.proof.certificate.limits import Limits

CARDINALITY, LABELS, PIECES = 1, 2, 3
"""Versions of the format: 1 states the pattern as a number of zeros, 2 as labels with their room, and 3 adds points
with rank-one pieces. A file has the lowest version that can hold its content."""

TREE = ("parent", "side", "branch", "point", "fixed", "D", "w", "w_low")

PIECE = ("members", "direction", "size", "share", "hold")

MOST_PIECES = 1_000

MOST_MEMBERS = 64


Progress = Callable[[int, int], None]
"""``progress(done, nodes)``, called from time to time with the number of nodes that are done, and of all nodes."""


class NotVerifiedError(CbsOptError):
    """A certificate does not prove its claim; the message says at which node, and why."""


@dataclass(frozen=True, eq=False)
class PieceTable:
    """E rank-one pieces (vᵀw)² that points of a tree use beside their diagonals: v = size·direction on a few weights.

    Parameters
    ----------
    members : int64 array (E, W)
        The indices of the weights of each piece, followed by −1.
    direction : float64 array (E, W)
        The direction of each piece on its weights, in the square root of the units of H.
    size, share, hold : float32 arrays (M, E)
        For each of the M points, the factor of the direction, and ζ and θ of ``check.region.Pieces``.
    """

    members: NDArray[np.int64]
    direction: Matrix
    size: NDArray[np.float32]
    share: NDArray[np.float32]
    hold: NDArray[np.float32]

    def columns(self, point: int, n: int) -> Matrix:
        """The columns v of all pieces at one point, shape (n, E); each entry is a product that is rounded once."""
        V = np.zeros((n, len(self.members)))
        piece, place = np.nonzero(self.members >= 0)
        V[self.members[piece, place], piece] = self.direction[piece, place] * self.size[point, piece].astype(np.float64)
        return V


@dataclass(frozen=True, eq=False)
class Tree:
    """A search tree of N nodes, with M points for bound (B). Node 0 is the root; parents come before their children.

    Parameters
    ----------
    parent : int64 array (N,)
        The parent of each node; −1 for the root.
    side : int8 array (N,)
        Whether the node keeps (1) or prunes (2) the weight that its parent is split on; 0 for the root.
    branch : int64 array (N,)
        The weight that the node is split on; −1 where its own point closes it.
    point : int64 array (N,)
        The row of D, w and w_low with the node's point; −1 where the node is split without using one.
    fixed : int8 array (N, n)
        The weights that the node's point fixes before the node is split: 1 keeps, 2 prunes, 0 fixes nothing.
    D, w, w_low : arrays (M, n)
        The splitting D, in the units of H, and the point ŵ = w + w_low of bound (B). Entries of pruned weights are
        ignored.
    pieces : PieceTable or None
        The rank-one pieces that points use beside D; None where there are none.
    """

    parent: NDArray[np.int64]
    side: NDArray[np.int8]
    branch: NDArray[np.int64]
    point: NDArray[np.int64]
    fixed: NDArray[np.int8]
    D: Matrix
    w: Matrix
    w_low: Matrix
    pieces: PieceTable | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Proof(Displayed):
    """A certificate: the claim that f(w) ≥ ``bound`` for every w whose support lies in the pattern, and its proof.

    ``cbs_opt.prove`` makes one, and ``cbs_opt.verify`` checks it against the problem. Until then it is only a claim.

    Parameters
    ----------
    limits : Limits
        The pattern.
    mask, weights : arrays (n,)
        The incumbent: its mask (1 keeps) and its weights, zero where the mask prunes.
    bound : float
        The claimed lower bound, in the units of f.
    digest : str
        ``claim_digest`` of the problem that it was made for. It helps to say that a block is the wrong one, and plays
        no part in the proof.
    tree : Tree or None
        The nodes of a search, with a point for each leaf.
    alpha : array (m,) or None
        The point α of the dual bound (D). Exactly one of ``tree`` and ``alpha`` is there.
    """

    limits: Limits
    mask: Mask
    weights: Vector
    bound: float
    digest: str
    tree: Tree | None = None
    alpha: Vector | None = None

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.mask)

    @property
    def nodes(self) -> int:
        """Nodes of the tree; 1 for the dual bound."""
        return 1 if self.tree is None else len(self.tree.parent)

    def _card(self) -> Card:
        kind = "one dual vector" if self.tree is None else f"a tree of {counted(self.nodes, 'node')}"
        return Card(
            f"{self.n:,} weights, {self.limits}: claims a lower bound of {plain_number(self.bound)}",
            {"proof": f"{kind}; `verify` checks it with the block", "digest of the block": self.digest[:16] + "…"},
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate to an ``.npz`` file, whole or not at all; docs/certificates.md describes the format."""

        save_proof(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Proof:
        """Read a certificate; its form is checked, but not its claim.

        Raises
        ------
        InputError
            The file is no certificate; the message names it and what is wrong with it.
        """

        return load_proof(path)


def save_proof(proof: Proof, path: str | os.PathLike[str]) -> None:
    """Write ``proof`` to the file ``path``, whole or not at all."""
    limits = proof.limits
    arrays: dict[str, Any] = {
        "certificate": np.int64(_version(proof)),
        "digest": np.frombuffer(bytes.fromhex(proof.digest), dtype=np.uint8),
        "keep": limits.keep,
        "forbid": limits.forbid,
        "mask": proof.mask,
        "weights": proof.weights,
        "bound": np.float64(proof.bound),
    }
    if _version(proof) == CARDINALITY:
        arrays["prune"] = np.int64(limits.prune)
    else:
        arrays |= {"labels": limits.labels, "room": limits.room}
    if proof.tree is not None:
        arrays |= {name: getattr(proof.tree, name) for name in TREE}
        if proof.tree.pieces is not None:
            arrays |= {name: getattr(proof.tree.pieces, name) for name in PIECE}
    else:
        arrays["alpha"] = proof.alpha
    write_whole(path, lambda stream: np.savez_compressed(stream, **arrays))


def _version(proof: Proof) -> int:
    if proof.tree is not None and proof.tree.pieces is not None:
        return PIECES
    return CARDINALITY if proof.limits.single else LABELS


def load_proof(path: str | os.PathLike[str]) -> Proof:
    """Read a certificate; its form is checked, but not its claim.

    Raises
    ------
    InputError
        The file is no certificate; the message names it and what is wrong with it.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: is a folder; name a file in it" if file.is_dir() else f"{file}: no such file")
    try:
        with zipfile.ZipFile(file) as archive:
            return _read(_Reader(archive))
    except CbsOptError as error:
        raise InputError(f"{file}: {error}") from None
    except Exception as error:  # zipfile, zlib and numpy.lib.format raise a dozen kinds on damaged bytes
        raise InputError(f"{file}: cannot be read as a certificate ({error}); make it again") from None


def _read(reader: _Reader) -> Proof:
    if "certificate" not in reader.names:
        raise InputError("is no certificate; `cbs-opt solve BLOCK --certificate FILE` writes one")
    version = int(reader.array("certificate", "<i8", ()))
    if version > PIECES:
        raise InputError(
            f"has version {version}, and this program reads versions up to {PIECES}; install a newer cbs-opt to read it"
        )
    if version < CARDINALITY:
        raise InputError(f"has version {version}, which there never was; make it again")
    n = reader.length("mask", MOST_DUAL_ENTRIES)
    if n == 0:
        raise InputError("mask: is empty")
    tree: Tree | None = None
    alpha: NDArray[np.float64] | None = None
    if "alpha" in reader.names:
        alpha = reader.array("alpha", "<f8", (reader.length("alpha", MOST_DUAL_ENTRIES),))
    else:
        N = reader.length("parent", MOST_ENTRIES // n + 1)
        M = reader.rows("D", MOST_ENTRIES // n + 1)
        tree = Tree(
            parent=reader.array("parent", "<i8", (N,)),
            side=reader.array("side", "|i1", (N,)),
            branch=reader.array("branch", "<i8", (N,)),
            point=reader.array("point", "<i8", (N,)),
            fixed=reader.array("fixed", "|i1", (N, n)),
            D=reader.array("D", "<f8", (M, n)),
            w=reader.array("w", "<f8", (M, n)),
            w_low=reader.array("w_low", "<f8", (M, n)),
            pieces=_read_pieces(reader, M) if version == PIECES else None,
        )
    return Proof(
        limits=_read_limits(reader, version, n),
        mask=reader.array("mask", "|b1", (n,)),
        weights=reader.array("weights", "<f8", (n,)),
        bound=float(reader.array("bound", "<f8", ())),
        digest=reader.array("digest", "|u1", (32,)).tobytes().hex(),
        tree=tree,
        alpha=alpha,
    )


def _read_pieces(reader: _Reader, points: int) -> PieceTable:
    E = reader.rows("members", MOST_PIECES)
    W = reader.columns("members", MOST_MEMBERS)
    return PieceTable(
        members=reader.array("members", "<i8", (E, W)),
        direction=reader.array("direction", "<f8", (E, W)),
        size=reader.array("size", "<f4", (points, E)),
        share=reader.array("share", "<f4", (points, E)),
        hold=reader.array("hold", "<f4", (points, E)),
    )


def _read_limits(reader: _Reader, version: int, n: int) -> Limits:
    keep, forbid = (reader.array(name, "|b1", (n,)) for name in ("keep", "forbid"))
    if version == CARDINALITY:
        return Limits.cardinality(int(reader.array("prune", "<i8", ())), keep, forbid)
    room = reader.array("room", "<i8", (reader.length("room", n),))
    return Limits(reader.array("labels", "<i8", (n,)), room, keep, forbid)
