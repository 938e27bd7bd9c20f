"""Files that older versions wrote are read by this one: blocks, stores, manifests, certificates, masks, checkpoints.

What is expected is worked out here with NumPy from the arrays in the files, or said in the folder's README.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commandline import Cli
from numpy.typing import NDArray
from safetensors.numpy import load_file

import cbs_opt
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network

VERSION_0_1 = Path(__file__).parent / "fixtures" / "version_0_1"
BLOCKS = sorted(VERSION_0_1.glob("blocks/*.npz")) + sorted(VERSION_0_1.glob("digits/fc3.weight.*[0-9].npz"))
LAYER = (10, 16)
"""Of the digits network, fc3: cut into one block an output, half of each pruned."""

Array = NDArray[np.float64]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, in which the commands run."""
    shutil.copytree(VERSION_0_1, tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    return tmp_path / "files"


class Model(NamedTuple):
    """offset + gᵀd + ½dᵀHd of the weights w̄ + d."""

    w: Array
    H: Array
    g: Array
    offset: float

    def loss(self, weights: Array) -> Any:
        """Of weights of shape (n,), a number; of several, shape (sets, n), as many."""
        d = weights - self.w
        return self.offset + d @ self.g + np.sum(d @ self.H * d, axis=-1) / 2

    def retuned(self, kept: NDArray[np.int64]) -> Array:
        """The best weights, shape (sets, n), for each set of weights that are kept, shape (sets, number kept)."""
        d = np.tile(-self.w, (len(kept), 1))
        np.put_along_axis(d, kept, 0.0, axis=1)
        slope = np.take_along_axis(self.g + d @ self.H, kept, axis=1)
        step = np.linalg.solve(self.H[kept[:, :, None], kept[:, None, :]], -slope[:, :, None])
        np.put_along_axis(d, kept, step[:, :, 0], axis=1)
        return self.w + d

    def best(self, prune: int) -> float:
        """The least loss with so many zeros, by trying all."""
        n = len(self.w)
        kept = np.array(list(combinations(range(n), n - prune)))
        return float(self.loss(self.retuned(kept)).min())


def model(file: Path) -> Model:
    """The block's quadratic model, from the arrays in its file and what ``cbs-opt``'s documentation says of them."""
    with np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    w = arrays["w"]
    shared: Any = arrays
    if "curvature" in arrays:
        with np.load(file.parent / str(arrays["curvature"]), allow_pickle=False) as archive:
            shared = dict(archive)
    if "H" in shared:
        H = np.kron(np.eye(int(arrays.get("rows", 1))), shared["H"])
    else:
        samples = shared["G"] if "G" in shared else shared["X"]
        H = samples.T @ samples / len(samples) + float(shared["damping"]) * np.eye(len(w))
    return Model(w, H, arrays.get("g", np.zeros(len(w))), float(arrays.get("offset", 0.0)))


def test_every_kind_of_block_is_there() -> None:
    fields: set[str] = set()
    for file in BLOCKS:
        with np.load(file, allow_pickle=False) as archive:
            fields |= set(archive.files)
    assert fields > {"w", "H", "G", "X", "damping", "curvature", "rows", "g", "offset", "name", "optimum", "layer"}


@pytest.mark.parametrize("file", BLOCKS, ids=lambda file: file.stem)
def test_a_block_is_the_problem_that_its_arrays_say(file: Path) -> None:
    problem, expected = cbs_opt.PruningProblem.load(file), model(file)
    assert np.array_equal(problem.w_bar, expected.w)
    np.testing.assert_allclose(problem.curvature.dense(), expected.H, rtol=1e-13, atol=1e-13 * np.abs(expected.H).max())
    for seed in range(3):
        weights = np.random.default_rng(seed).normal(size=problem.n)
        weights[seed::2] = 0.0
        assert problem.objective(weights) == pytest.approx(expected.loss(weights), rel=1e-12)


def test_names_and_rows_of_blocks() -> None:
    load, blocks = cbs_opt.PruningProblem.load, VERSION_0_1 / "blocks"
    assert load(blocks / "first_order.npz").name == "first order, Ω"
    assert load(blocks / "matrix.npz").name == "matrix"  # has none: that of the file
    assert load(VERSION_0_1 / "digits" / "fc3.weight.032.npz").name == "fc3.weight row 2"
    rows = load(blocks / "rows.npz").curvature
    assert isinstance(rows, cbs_opt.RowsCurvature)
    assert rows.rows == 3


def test_blocks_are_told_apart_by_the_same_digests() -> None:
    """Content: SHA-256 of the file; where it names a curvature file, of its own digest and that one's together."""
    with np.load(VERSION_0_1 / "digits" / "fc3.weight.000.npz", allow_pickle=False) as archive:
        shared = hashlib.sha256((VERSION_0_1 / "digits" / str(archive["curvature"])).read_bytes()).digest()
    plan = json.loads((VERSION_0_1 / "digits" / "manifest.json").read_text(encoding="utf-8"))
    assert len(plan["blocks"]) == LAYER[0]
    for entry in plan["blocks"]:
        own = hashlib.sha256((VERSION_0_1 / "digits" / entry["file"]).read_bytes()).digest()
        assert entry["content"] == hashlib.sha256(own + shared).hexdigest()


def test_a_batch_of_another_version_solves_again_and_keeps_what_is_there(folder: Path, cli: Cli) -> None:
    """Keys of results hold the major and minor version: the answers of another one are other answers."""
    before = rows_of(folder)
    words = ("digits", "--methods", "greedy-obs,bnb", "--sparsity", 0.5, "--store", "results.sqlite", "--jobs", 1)
    told = cli("batch", *words, "--json", "-").json()
    assert (told["asked"], told["before"], told["solved"], told["failed"]) == (20, 0, 20, 0)
    after = rows_of(folder)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 20
    again = cli("batch", *words, "--json", "-").json()
    assert (again["before"], again["solved"]) == (20, 0)


def rows_of(folder: Path) -> list[Any]:
    """All results of the store."""
    database = sqlite3.connect(folder / "results.sqlite")
    try:
        return database.execute("SELECT * FROM results ORDER BY id").fetchall()
    finally:
        database.close()


@pytest.fixture(scope="module")
def best_of_digits() -> list[float]:
    """The least loss of each block of the digits network with half its weights pruned."""
    return [model(file).best(LAYER[1] // 2) for file in sorted(VERSION_0_1.glob("digits/fc3.weight.*[0-9].npz"))]


def test_a_report_of_the_store(folder: Path, cli: Cli, best_of_digits: list[float]) -> None:
    run = cli("report", "results.sqlite", "--json", "-")
    told = run.json()
    assert run.code == 0
    assert (told["blocks"], told["results"], told["done"], told["failed"]) == (13, 29, 28, 1)
    (line,) = [line for line in told["networks"] if line["network"] and line["method"] == "best of all"]
    assert (line["network"], line["blocks"], line["weights"], line["missing"]) == ("digits, layers fc3", 10, 160, "")
    assert line["objective"] == pytest.approx(sum(best_of_digits), rel=1e-6)
    assert line["bound"] <= sum(best_of_digits)
    assert line["gap"] <= 1e-6
    said = cli("report", "results.sqlite").out
    assert "bad input" in said


def test_answers_of_the_store_are_put_together(folder: Path, cli: Cli, best_of_digits: list[float]) -> None:
    words = ("assemble", "digits", "results.sqlite", "--sparsity", 0.5, "--json", "-")
    told = cli(*words, "--out", "again.safetensors", "--masks", "again-masks.safetensors").json()
    assert (told["n"], told["pruned"], told["blocks"], told["missing"]) == (160, 80, 10, 0)
    assert told["objective"] == pytest.approx(sum(best_of_digits), rel=1e-6)
    assert told["bound"] <= sum(best_of_digits)
    network, masks = load_file("again.safetensors"), load_file("again-masks.safetensors")
    for name, tensor in load_file("pruned.safetensors").items():
        assert np.array_equal(network.pop(name), tensor)
    assert not network
    (mask,) = masks.values()
    assert np.array_equal(mask, load_file("masks.safetensors")["fc3.weight"])


def test_a_pruned_checkpoint_and_its_masks(best_of_digits: list[float]) -> None:
    """Each row of the layer has the best loss there is, up to float32; the rest is the network that comes along."""
    file = VERSION_0_1 / "pruned.safetensors"
    pruned, dense = (load_network("digits", path).state_dict() for path in (file, None))
    mask = load_file(VERSION_0_1 / "masks.safetensors")["fc3.weight"]
    layer = pruned["fc3.weight"].double().numpy()
    assert mask.shape == layer.shape == LAYER
    assert np.array_equal(layer != 0, mask)
    for row, (weights, best) in enumerate(zip(layer, best_of_digits, strict=True)):
        block = model(VERSION_0_1 / "digits" / f"fc3.weight.{row * LAYER[1]:03}.npz")
        assert block.loss(weights) == pytest.approx(best, rel=1e-4)
        assert np.array_equal(block.w, dense["fc3.weight"][row].double().numpy())
    assert all(np.array_equal(pruned[name], dense[name]) for name in dense if name != "fc3.weight")


def test_masks_and_a_checkpoint_are_judged_by_the_fisher_of_the_network(cli: Cli) -> None:
    """With all samples nothing is drawn: the model of the last layer is ½dᵀ(GᵀG/m + λI)d, G of softmax less labels."""
    data = digits_data()
    state = {name: tensor.double().numpy() for name, tensor in load_network("digits").state_dict().items()}
    hidden = data.train_x.reshape(len(data.train_y), -1).astype(np.float64)
    for layer in ("fc1", "fc2"):
        hidden = np.maximum(hidden @ state[f"{layer}.weight"].T + state[f"{layer}.bias"], 0.0)
    scores = hidden @ state["fc3.weight"].T + state["fc3.bias"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    slope = scores / scores.sum(axis=1, keepdims=True) - np.eye(LAYER[0])[data.train_y]
    G = (slope[:, :, None] * hidden[:, None, :]).reshape(len(slope), -1)
    w = state["fc3.weight"].ravel()
    fisher = Model(w, G.T @ G / len(G) + 0.03 * np.eye(len(w)), np.zeros(len(w)), 0.0)

    pruned, masks = VERSION_0_1 / "pruned.safetensors", VERSION_0_1 / "masks.safetensors"
    settings = ("--targets", "fc3", "--samples", len(G), "--damping", 0.03)
    told = cli("certify", "digits", "--mask", masks, "--pruned", pruned, *settings, "--json", "-").json()
    given = load_file(pruned)["fc3.weight"].astype(np.float64).ravel()
    kept = np.flatnonzero(load_file(masks)["fc3.weight"])
    retuned = fisher.loss(fisher.retuned(kept[None])[0])
    assert (told["n"], told["pruned"]) == (160, 80)
    assert told["given_objective"] == pytest.approx(fisher.loss(given), rel=1e-7)
    assert told["objective"] == pytest.approx(retuned, rel=1e-7)
    assert 0 < told["bound"] <= retuned


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_mask_file_is_judged(cli: Cli, suffix: str) -> None:
    block, file = VERSION_0_1 / "blocks" / "first_order.npz", VERSION_0_1 / f"mask.{suffix}"
    if suffix == "npz":
        with np.load(file, allow_pickle=False) as archive:
            arrays: Any = dict(archive)
    else:
        arrays = load_file(file)
    expected = model(block)
    told = cli("certify", block, "--mask", file, "--json", "-").json()
    retuned = expected.retuned(np.flatnonzero(arrays["mask"])[None])[0]
    assert told["pruned"] == 6
    assert told["objective"] == pytest.approx(expected.loss(retuned), rel=1e-9)
    assert told["selection_objective"] == pytest.approx(expected.loss(expected.w * arrays["mask"]), rel=1e-9)
    assert told["bound"] == pytest.approx(expected.best(6), rel=1e-5)
    assert told["bound"] <= expected.best(6)
    judged = cli("certify", block, "--mask", file, "--pruned", file, "--json", "-").json()
    assert judged["given_objective"] == pytest.approx(expected.loss(arrays["weights"]), rel=1e-12)


def test_a_certificate_with_a_tree_is_verified(cli: Cli) -> None:
    block, file = VERSION_0_1 / "blocks" / "matrix.npz", VERSION_0_1 / "tree.npz"
    told = cli("certify", block, "--certificate", file, "--json", "-").json()
    best = model(block).best(7)
    assert told["verified"]
    assert told["nodes"] > 1
    assert not told["notes"]  # made for another block, it would say so
    assert told["objective"] == pytest.approx(best, rel=1e-12)
    assert best * (1 - 1e-5) <= told["bound"] <= best


def test_a_certificate_with_a_dual_vector_is_verified() -> None:
    """f ≥ −½‖α‖² + Σ over weights of the least of y d + ½λd², d free where kept and −w̄ where pruned (600 at least)."""
    block, proof = VERSION_0_1 / "large.npz", cbs_opt.Proof.load(VERSION_0_1 / "dual.npz")
    verification = cbs_opt.verify(cbs_opt.PruningProblem.load(block), proof)
    with np.load(block, allow_pickle=False) as arrays:
        w, A, damping = arrays["w"], arrays["G"] / np.sqrt(len(arrays["G"])), float(arrays["damping"])
    with np.load(VERSION_0_1 / "dual.npz", allow_pickle=False) as arrays:
        alpha, mask, prune = arrays["alpha"], arrays["mask"], int(arrays["prune"])
    y = A.T @ alpha
    kept, pruned = -(y**2) / (2 * damping), damping * w**2 / 2 - y * w
    cost = np.sort(pruned - kept)
    assert prune == 600
    assert verification.bound == pytest.approx(-alpha @ alpha / 2 + kept.sum() + cost[:prune].sum(), rel=1e-9)
    assert verification.objective == pytest.approx(model(block).loss(proof.weights), rel=1e-9)
    assert np.array_equal(proof.weights != 0, mask)
    assert verification.bound <= verification.objective


def test_no_file_names_the_machine_it_was_made_on() -> None:
    """Paths in the store are relative to its folder, as the README says."""
    database = sqlite3.connect(f"{(VERSION_0_1 / 'results.sqlite').as_uri()}?immutable=1", uri=True)
    files = database.execute("SELECT file, manifest FROM blocks").fetchall()
    database.close()
    assert len(files) == 13
    for file, manifest in files:
        assert (VERSION_0_1 / file).is_file()
        assert manifest in (None, "digits/manifest.json")
