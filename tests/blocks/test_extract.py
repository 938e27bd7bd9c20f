"""Extracted blocks are the problems that pruning the network itself would make, and nothing half done is left."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from extracted import transformer_like
from network_state import state

import cbs_opt
import cbs_opt.blocks.cut
import cbs_opt.blocks.settings
from cbs_opt.blocks.manifest import Manifest, load_manifest
from cbs_opt.blocks.settings import Settings, packs
from cbs_opt.collect import gradient_factor, layer_grams
from cbs_opt.collect.layer_model import groups
from cbs_opt.errors import CbsOptError, InputError, NotPositiveDefiniteError, TooLargeError, UnsupportedError
from cbs_opt.kernel.block_file import content_of, read_npz
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, DenseCurvature, FactorCurvature, RowsCurvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.samples import drawn
from cbs_opt.network.targets import find_targets
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.fisher import fisher_problem
from cbs_opt.pruning.settings import Settings as PruneSettings

M = 50


def cut(model: Any, data: Any, out: Path, **options: Any) -> Manifest:
    return load_manifest(cbs_opt.extract(model, data, out, samples=M, **options).manifest)


def problems(plan: Manifest) -> list[PruningProblem]:
    return [PruningProblem.load(plan.path(block)) for block in plan.blocks]


class Case(NamedTuple):
    """A network and its data."""

    model: Any
    x: Any
    y: Any


@pytest.fixture(params=["digits", "convolutions", "transformer"])
def case(request: pytest.FixtureRequest, digits_network: Any, digits: Any, conv_network: Any) -> Case:
    if request.param == "digits":
        return Case(digits_network, digits.train_x, digits.train_y)
    if request.param == "convolutions":
        return Case(*conv_network)
    rng = np.random.default_rng(1)
    return Case(transformer_like(), rng.normal(size=(80, 3)).astype(np.float32), rng.integers(0, 3, 80))


def prune_blocks(case: Case, partition: Any) -> list[PruningProblem]:
    """The blocks of the block-diagonal Fisher problem that ``cbs_opt.prune`` solves."""
    x, y, _ = drawn(case.x, case.y, M, 0)
    weights = Weights.of(case.model, find_targets(case.model))
    factor = gradient_factor(case.model, x, y, weights.targets)
    asked = PruneSettings(curvature="fisher", damping=1e-3, partition=partition, method="magnitude")
    problem = fisher_problem(factor, weights, weights.mask, asked)
    assert isinstance(problem.curvature, BlockDiagonalCurvature)
    start, found = 0, []
    for curvature in problem.curvature.blocks:
        found.append(PruningProblem(problem.w_bar[start : start + curvature.n], curvature))
        start += curvature.n
    return found


@pytest.mark.parametrize("partition", [7, "row", "layer"])
@pytest.mark.parametrize("dense", [False, True])
def test_fisher_blocks_are_those_of_prune(tmp_path: Path, case: Case, partition: Any, dense: bool) -> None:
    plan = cut(case.model, (case.x, case.y), tmp_path / "b", partition=partition, dense=dense, damping=1e-3)
    expected = prune_blocks(case, partition)
    assert len(plan.blocks) == len(expected)
    for block, problem, other in zip(plan.blocks, problems(plan), expected, strict=True):
        np.testing.assert_array_equal(problem.w_bar, other.w_bar)
        H = other.curvature.dense()
        np.testing.assert_allclose(problem.curvature.dense(), H, rtol=1e-12, atol=1e-13 * H.max())
        assert isinstance(problem.curvature, DenseCurvature if dense or problem.n <= M else FactorCurvature)
        assert block.damping == 1e-3
        assert problem.g is None


def test_gram_rows_are_those_of_the_layers(tmp_path: Path, case: Case) -> None:
    plan = cut(case.model, case.x, tmp_path / "b", curvature="gram")
    layers = layer_grams(case.model, drawn(case.x, None, M, 0)[0], find_targets(case.model), dampening_frac=0.01)
    expected = [layer.problem(row) for layer in layers.values() for row in range(layer.target.outputs)]
    for problem, other in zip(problems(plan), expected, strict=True):
        assert problem.name == other.name
        np.testing.assert_array_equal(problem.w_bar, other.w_bar)
        np.testing.assert_array_equal(problem.curvature.dense(), other.curvature.dense())


def test_gram_layers_and_chunks_are_cut_from_the_same_matrices(tmp_path: Path, case: Case) -> None:
    layers = layer_grams(case.model, drawn(case.x, None, M, 0)[0], find_targets(case.model), dampening_frac=0.01)
    whole = iter(problems(cut(case.model, case.x, tmp_path / "layers", curvature="gram", partition="layer")))
    full = iter(problems(cut(case.model, case.x, tmp_path / "dense", curvature="gram", partition="layer", dense=True)))
    pieces = iter(problems(cut(case.model, case.x, tmp_path / "chunks", curvature="gram", partition=5)))
    for layer in layers.values():
        for group, rows in groups(layer.target):
            problem, H = next(whole), layer.curvatures[group].dense()
            assert isinstance(problem.curvature, RowsCurvature)
            np.testing.assert_array_equal(problem.w_bar, layer.w_bar[rows].ravel())
            np.testing.assert_array_equal(problem.curvature.H, H)
            dense = next(full)
            assert isinstance(dense.curvature, DenseCurvature)
            np.testing.assert_array_equal(dense.curvature.dense(), problem.curvature.dense())
            for row in layer.w_bar[rows]:
                for start in range(0, len(row), 5):
                    piece, part = next(pieces), slice(start, start + 5)
                    np.testing.assert_array_equal(piece.w_bar, row[part])
                    np.testing.assert_array_equal(piece.curvature.dense(), H[part, part])
    assert next(whole, None) is next(pieces, None) is None


def test_a_gram_matrix_is_stored_once(tmp_path: Path, conv_network: Any) -> None:
    model, x, _ = conv_network
    plan = cut(model, x, tmp_path / "b", curvature="gram")
    shared = sorted(file.name for file in plan.folder.glob("*.curvature.npz"))
    # One a layer, and one a group of the grouped convolution.
    assert len(shared) == 1 + 2 + 1
    named = Counter(str(read_npz(plan.path(block))["curvature"]) for block in plan.blocks)
    assert sorted(named) == shared
    assert sorted(named.values()) == [2, 2, 3, 4]
    assert not any("H" in read_npz(plan.path(block)) for block in plan.blocks)
    dense = cut(model, x, tmp_path / "d", curvature="gram", dense=True)
    assert not list(dense.folder.glob("*.curvature.npz"))
    for one, other in zip(problems(plan), problems(dense), strict=True):
        np.testing.assert_array_equal(one.curvature.dense(), other.curvature.dense())


@pytest.mark.parametrize("curvature", ["fisher", "gram"])
@pytest.mark.parametrize("partition", [None, 7, "row", "layer"])
def test_the_manifest_says_where_every_weight_is(tmp_path: Path, case: Case, curvature: str, partition: Any) -> None:
    plan = cut(case.model, (case.x, case.y), tmp_path / "b", curvature=curvature, partition=partition)
    targets = {target.tensor: target for target in find_targets(case.model)}
    seen = {name: np.zeros(target.numel, dtype=int) for name, target in targets.items()}
    for block in plan.blocks:
        assert content_of(plan.path(block)) == block.content
        problem, target = PruningProblem.load(plan.path(block)), targets[block.tensor]
        part = slice(block.first, block.first + block.n)
        matrix = target.matrix(case.model.get_parameter(block.tensor).detach()).double().numpy()
        np.testing.assert_array_equal(problem.w_bar, matrix.ravel()[part])
        seen[block.tensor][part] += 1
    assert all((count == 1).all() for count in seen.values())
    assert plan.facts["curvature"] == curvature
    words = {None: "chunks" if curvature == "fisher" else "rows", 7: "chunks", "row": "rows", "layer": "layers"}
    assert plan.facts["partition"] == words[partition]
    assert {name: tuple(tensor["shape"]) for name, tensor in plan.tensors.items()} == {
        name: target.shape for name, target in targets.items()
    }


def test_targets_seeds_and_damping_are_those_asked_for(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    plan = cut(digits_network, digits, tmp_path / "a", ignore=["fc1"], dampening_frac=0.5, seed=3, partition="row")
    x, y, _ = drawn(digits.train_x, digits.train_y, M, 3)
    factor = gradient_factor(digits_network, x, y, ["fc2.weight", "fc3.weight"])
    assert list(plan.tensors) == ["fc2.weight", "fc3.weight"]
    assert (plan.facts["damping"], plan.facts["dampening_frac"], plan.facts["seed"]) == (None, 0.5, 3)
    for block in plan.blocks:
        assert block.damping == pytest.approx(0.5 * factor.mean_square[block.tensor], rel=1e-12)
    other = cut(digits_network, digits, tmp_path / "b", ignore=["fc1"], dampening_frac=0.5, seed=4, partition="row")
    assert {block.content for block in plan.blocks}.isdisjoint(block.content for block in other.blocks)


@pytest.mark.parametrize("curvature", ["fisher", "gram"])
def test_the_same_again_is_the_same_again(tmp_path: Path, digits_network: Any, digits: Any, curvature: str) -> None:
    one = cut(digits_network, digits, tmp_path / "a", curvature=curvature)
    other = cut(digits_network, digits, tmp_path / "b", curvature=curvature)
    assert one.blocks == other.blocks


@pytest.mark.parametrize("curvature", ["fisher", "gram"])
def test_little_memory_gives_the_same_blocks(
    tmp_path: Path, digits_network: Any, digits: Any, curvature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = cut(digits_network, digits, tmp_path / "a", curvature=curvature)
    said: list[str] = []
    monkeypatch.setattr(cbs_opt.blocks.cut, "MOST_GRADIENTS", 1.0)
    other = cut(digits_network, digits, tmp_path / "b", curvature=curvature, progress=said.append)
    assert sum(words.startswith("collecting") for words in said) == 3
    for one, two in zip(problems(plan), problems(other), strict=True):
        H = one.curvature.dense()
        np.testing.assert_allclose(two.curvature.dense(), H, rtol=1e-5, atol=1e-6 * H.max())
    assert {file.name for file in other.folder.iterdir()} == {file.name for file in plan.folder.iterdir()}
    assert not any(str(tmp_path) in note for note in other.facts["notes"])


def test_memory_does_not_grow_with_the_number_of_blocks(tmp_path: Path) -> None:
    """The largest allocation while 60 and 480 blocks are written from the same gradients."""
    import tracemalloc

    import torch

    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 80)).astype(np.float32), rng.integers(0, 3, 40)
    model = torch.nn.Linear(80, 12)
    cbs_opt.extract(model, data, tmp_path / "warm", samples=40, partition=40)
    peaks = []
    for size in (16, 2):
        tracemalloc.start()
        done = cbs_opt.extract(model, data, tmp_path / str(size), samples=40, partition=size)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert done.blocks == 960 / size
    assert peaks[1] < peaks[0] + 100_000


def test_layers_are_taken_together_as_memory_allows() -> None:
    assert [*packs("abcde", [1, 1, 5, 1, 1], 2)] == [("a", "b"), ("c",), ("d", "e")]  # type: ignore[arg-type]
    assert [*packs("ab", [9, 9], 1)] == [("a",), ("b",)]  # type: ignore[arg-type]
    assert [*packs("", [], 1)] == []  # type: ignore[arg-type]


# ---------------------------------------------------------------- all or nothing


def test_what_is_there_is_not_touched(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    (tmp_path / "empty").mkdir()
    assert cut(digits_network, digits, tmp_path / "empty", targets=["fc3"]).blocks
    with pytest.raises(InputError, match="exists already; extract into a new folder"):
        cut(digits_network, digits, tmp_path / "empty", targets=["fc3"])
    (tmp_path / "cut.partial").mkdir()
    with pytest.raises(InputError, match=r"cut\.partial: exists; another extraction"):
        cut(digits_network, digits, tmp_path / "cut", targets=["fc3"])
    for name in (".", "..", "/"):
        with pytest.raises(InputError, match="name a new folder"):
            cut(digits_network, digits, Path(name), targets=["fc3"])
    with pytest.raises(InputError, match="does not exist; create it first"):
        cut(digits_network, digits, tmp_path / "no" / "b", targets=["fc3"])


def test_the_network_is_left_as_it_was(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    before = state(digits_network)
    cut(digits_network, digits, tmp_path / "b")
    assert all((before[name] == tensor).all() for name, tensor in digits_network.state_dict().items())


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, digits_network: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        cut(digits_network, digits, tmp_path / "b")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"curvature": "fishr"}, CbsOptError, "did you mean fisher"),
        ({"curvature": "sequential"}, UnsupportedError, "sequential: .*use fisher or gram, or `cbs-opt prune`"),
        ({"partition": "network"}, InputError, "partition: is 'network'; give row, layer or a number"),
        ({"partition": 0}, InputError, "partition: is 0"),
        ({"partition": True}, InputError, "partition: is True"),
        ({"damping": 0.0}, InputError, "damping: is 0; fisher needs a damping > 0"),
        ({"damping": 1.0, "dampening_frac": 1.0}, InputError, "exactly one of damping"),
        ({"samples": 0}, InputError, "samples: is 0; a whole number of at least 1 is needed"),
        ({"targets": ["conv"]}, InputError, "no prunable layer is called 'conv'; the network has fc1, fc2, fc3"),
        ({"seed": -1}, InputError, "seed: is -1"),
        ({"precision": "float16"}, InputError, "precision: is 'float16'"),
        ({"curvature": "gram", "damping": 0.0}, InputError, "layer fc1: .* of its inputs are zero on all samples"),
    ],
)
def test_what_cannot_be_asked_for(
    tmp_path: Path, digits_network: Any, digits: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        cbs_opt.extract(digits_network, digits, tmp_path / "b", **{"samples": M, **options})
    assert not list(tmp_path.iterdir())


def test_labels_are_needed_by_the_fisher_only(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    with pytest.raises(InputError, match="has no labels"):
        cut(digits_network, digits.train_x, tmp_path / "b")
    cut(digits_network, digits.train_x, tmp_path / "b", curvature="gram")


def test_a_singular_gram_matrix_names_its_layer(tmp_path: Path, digits: Any) -> None:
    import torch

    torch.manual_seed(0)
    x = np.repeat(digits.train_x[:M, 10:14], 2, axis=1)
    model = torch.nn.Sequential(torch.nn.Linear(8, 3))
    with pytest.raises(NotPositiveDefiniteError, match="layer 0: H: not positive definite") as caught:
        cut(model, x, tmp_path / "b", curvature="gram", damping=0.0)
    assert caught.value.sufficient_damping > 0


def test_layers_too_large_for_one_block_are_named(
    tmp_path: Path, digits_network: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbs_opt.blocks.settings, "available_memory", lambda: 4 * 8.0 * M * 512)
    with pytest.raises(TooLargeError, match=r"layer fc1: as one block its 2,048 weights and 50 samples .*row"):
        cut(digits_network, digits, tmp_path / "b", partition="layer")
    cut(digits_network, digits, tmp_path / "b", partition="layer", ignore=["fc1"])
    monkeypatch.setattr(cbs_opt.blocks.settings, "MAX_DENSE", 40)
    for options in ({"partition": "layer", "dense": True}, {"curvature": "gram"}, {"partition": 41}):
        with pytest.raises(TooLargeError, match=r"layer fc1: its .* weights would take .*--partition row"):
            cut(digits_network, digits, tmp_path / "c", **options)
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_a_disk_too_small_is_found_before_the_work(
    tmp_path: Path, digits_network: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**5))
    with pytest.raises(TooLargeError, match=r"has 0.0001 GB free, but 85 blocks take 0.00"):
        cut(digits_network, digits, tmp_path / "b")


def test_how_much_the_disk_needs_is_foreseen(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is at most what was foreseen, and not far below it beside small files' overhead."""
    targets = find_targets(case.model)
    for number, options in enumerate(
        (
            {},
            {"partition": "layer"},
            {"partition": "row"},
            {"dense": True, "partition": "row"},
            {"curvature": "gram"},
            {"curvature": "gram", "partition": "layer"},
            {"curvature": "gram", "partition": 4},
            {"curvature": "gram", "dense": True},
        )
    ):
        settings = Settings(samples=M, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
        with pytest.raises(TooLargeError) as caught:
            cbs_opt.blocks.settings.check_sizes(targets, settings, tmp_path)
        monkeypatch.undo()
        foreseen = 1e9 * float(str(caught.value).split(" blocks take ")[1].split(" GB")[0])
        done = cbs_opt.extract(case.model, (case.x, case.y), tmp_path / str(number), samples=M, **options)  # type: ignore[arg-type]
        shared = len(list(done.manifest.parent.glob("*.curvature.npz")))
        assert 0.5 * foreseen - 20_000 < done.bytes < 1.01 * foreseen + 1_000 * shared + 20_000


@pytest.mark.gpu
@pytest.mark.parametrize("curvature", ["fisher", "gram"])
def test_a_gpu_gives_the_same_blocks(tmp_path: Path, case: Case, curvature: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    one = cut(case.model, (case.x, case.y), tmp_path / "cpu", curvature=curvature)
    other = cut(case.model, (case.x, case.y), tmp_path / "gpu", curvature=curvature, device="cuda")
    assert other.facts["versions"]["device"] == "cuda"
    for here, there in zip(problems(one), problems(other), strict=True):
        np.testing.assert_array_equal(there.w_bar, here.w_bar)
        H = here.curvature.dense()
        np.testing.assert_allclose(there.curvature.dense(), H, rtol=1e-2, atol=1e-3 * H.max())


@pytest.mark.parametrize(
    ("curvature", "words"),
    [
        ("fisher", r"the gradient of sample 7 with respect to fc\d\.weight is not finite"),
        ("gram", "layer fc2: its input for sample 7 is not finite"),
    ],
)
def test_a_bad_sample_is_named_as_the_user_numbers_it(
    tmp_path: Path, digits_network: Any, digits: Any, curvature: str, words: str
) -> None:
    x, y = digits.train_x[: M + 10].copy(), digits.train_y[: M + 10]
    x[7] = 3e38
    with pytest.raises(InputError, match=words):
        cut(digits_network, (x, y), tmp_path / "cut", curvature=curvature, seed=1)
    assert not (tmp_path / "cut").exists()
