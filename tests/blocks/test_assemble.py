"""Solved blocks come back as a network, checked, and their objectives and bounds add up."""

from __future__ import annotations

import copy
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extracted import failure, record, solve_into, transformer_like
from safetensors.numpy import load_file

import cbs_opt
from cbs_opt.blocks.assemble import Assembled
from cbs_opt.blocks.manifest import Manifest, load_manifest
from cbs_opt.collect import gradient_factor
from cbs_opt.errors import BoundViolationError, InputError, StoreError
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network
from cbs_opt.network.samples import drawn
from cbs_opt.network.targets import find_targets
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.fisher import fisher_problem
from cbs_opt.pruning.settings import Settings
from cbs_opt.store import StoreWriter

M = 60


class Solved:
    """Two layers of the digits network cut into 42 chunks of 16, solved by these methods."""

    def __init__(self, folder: Path, network: Any, data: Any, methods: tuple[str, ...] = ("magnitude", "bnb")) -> None:
        self.network, self.data, self.store = network, data, folder / "results.sqlite"
        done = cbs_opt.extract(
            network, data, folder / "blocks", samples=M, partition=16, damping=1e-2, ignore=["fc1"], network="digits"
        )
        self.plan: Manifest = load_manifest(done.manifest)
        self.solutions = solve_into(self.store, self.plan, methods, "sparsity 0.75")

    def copy(self, folder: Path) -> Solved:
        """The same in another folder, to be tampered with."""
        other = copy.copy(self)
        shutil.copytree(self.plan.folder, folder / "blocks")
        other.store = shutil.copy(self.store, folder / "results.sqlite")
        other.plan = load_manifest(folder / "blocks")
        return other

    def assemble(self, **options: Any) -> Assembled:
        return cbs_opt.assemble(self.plan.file, self.store, options.pop("model", self.network), **options)


BLOCKS, EACH = 42, 12


@pytest.fixture(scope="module")
def solved_once(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    return Solved(tmp_path_factory.mktemp("solved"), load_network("digits"), digits_data())


@pytest.fixture
def solved(solved_once: Solved, tmp_path: Path) -> Solved:
    return solved_once.copy(tmp_path)


def change(store: Path, command: str, *values: Any) -> None:
    with sqlite3.connect(store) as database:
        assert database.execute(command, values).rowcount >= 1
    database.close()


def test_from_network_to_blocks_and_back(solved: Solved, tmp_path: Path) -> None:
    found = solved.assemble(data=solved.data)
    exact = solved.solutions[len(solved.plan.blocks) :]
    # The exact method's objective is the best of each block, up to the gap at which it may stop.
    assert found.objective == pytest.approx(sum(solution.objective for solution in exact), rel=1e-5)
    assert found.bound == pytest.approx(sum(min(s.bound, s.objective) for s in exact), rel=1e-5)
    assert 0 <= found.gap < 1e-5
    assert (found.blocks, found.missing, found.asked) == (BLOCKS, 0, "sparsity 0.75")
    assert sum(found.methods.values()) == BLOCKS
    assert found.methods["bnb"] > BLOCKS / 2
    assert found.weights.pruned == BLOCKS * EACH
    assert found.accuracy_dense is not None
    assert found.accuracy is not None
    assert 0.3 < found.accuracy < found.accuracy_dense
    assert sum(tensor.objective for tensor in found.tensors) == pytest.approx(found.objective)
    assert sum(tensor.pruned for tensor in found.tensors) == found.weights.pruned

    found.save(tmp_path / "p.safetensors")
    found.save_masks(tmp_path / "m.safetensors")
    tensors, masks = load_file(tmp_path / "p.safetensors"), load_file(tmp_path / "m.safetensors")
    state = solved.network.state_dict()
    assert set(tensors) == set(state)
    assert set(masks) == {"fc2.weight", "fc3.weight"}
    for name, mask in masks.items():
        assert not tensors[name][~mask].any()
        for block in (block for block in solved.plan.blocks if block.tensor == name):
            assert (~mask.ravel()[block.first : block.first + block.n]).sum() == EACH
    np.testing.assert_array_equal(tensors["fc1.bias"], state["fc1.bias"].numpy())


def test_the_sum_is_the_block_diagonal_model_of_prune(solved: Solved) -> None:
    found = solved.assemble()
    x, y, _ = drawn(solved.data.train_x, solved.data.train_y, M, 0)
    weights = Weights.of(solved.network, find_targets(solved.network, ignore=["fc1"]))
    factor = gradient_factor(solved.network, x, y, weights.targets)
    settings = Settings(curvature="fisher", partition=16, damping=1e-2, method="magnitude")
    problem = fisher_problem(factor, weights, weights.mask, settings)
    assert problem.objective(found.weights.values) == pytest.approx(found.objective, rel=1e-9)


def test_what_certify_says_of_the_files(solved: Solved, tmp_path: Path) -> None:
    """The whole-network model couples the blocks: its loss is another number, its bound below it all the same."""
    found = solved.assemble()
    state = found.model.state_dict()
    judged = cbs_opt.certify_network(
        solved.network, solved.data, found.masks(), state, samples=M, damping=1e-2, ignore=["fc1"]
    )
    assert judged.pruned == found.weights.pruned
    assert judged.given_objective is not None
    assert 0 < judged.bound <= judged.objective <= judged.given_objective
    assert judged.given_objective == pytest.approx(found.objective, rel=0.9)


def test_one_methods_answers(solved: Solved) -> None:
    found = solved.assemble(method="magnitude")
    assert found.methods == {"magnitude": BLOCKS}
    plain = solved.solutions[: len(solved.plan.blocks)]
    assert found.objective == pytest.approx(sum(solution.objective for solution in plain), rel=1e-9)
    # The bound is the other method's.
    assert found.bound == pytest.approx(solved.assemble().bound)
    assert found.gap > 0
    with pytest.raises(InputError, match="holds no results of the method swap; it has magnitude, bnb"):
        solved.assemble(method="swap")


def test_what_was_asked_for_has_to_be_said_where_there_is_a_choice(solved: Solved) -> None:
    solve_into(solved.store, solved.plan, ["magnitude"], "prune 2")
    with pytest.raises(InputError, match=r"holds results for prune 2, sparsity 0\.75; say which to take: --sparsity R"):
        solved.assemble()
    assert solved.assemble(asked="prune 2").weights.pruned == BLOCKS * 2
    assert solved.assemble(asked="prune 2").bound == -np.inf
    assert solved.assemble(asked="prune 2").to_dict()["gap"] is None
    assert solved.assemble(asked="sparsity 0.750").weights.pruned == BLOCKS * EACH
    with pytest.raises(InputError, match=r"holds no results for sparsity 0\.8; it has prune 2, sparsity 0\.75"):
        solved.assemble(asked="sparsity 0.8")


@pytest.fixture
def unfinished(tmp_path: Path, digits_network: Any, digits: Any) -> Solved:
    """All but five blocks of fc3 are solved; two of these five failed."""
    result = Solved(tmp_path, digits_network, digits, methods=())
    blocks = result.plan.blocks
    solve_into(result.store, result.plan, ["magnitude"], "sparsity 0.75", blocks[:-5])
    with StoreWriter(result.store) as writer:
        writer.write([failure(result.plan, block, "sparsity 0.75", "magnitude", "time limit") for block in blocks[-2:]])
    return result


def test_blocks_without_an_answer_are_an_error_that_says_what_to_run(unfinished: Solved) -> None:
    with pytest.raises(InputError) as caught:
        unfinished.assemble()
    file = unfinished.plan.blocks[-5].file
    assert str(caught.value) == (
        "5 of 42 blocks have no answer to sparsity 0.75 (3 not run, 2 time limit), "
        f"{file} the first; run `cbs-opt batch {unfinished.plan.file} --sparsity 0.75 --store {unfinished.store} "
        "--retry-failed`, or leave them dense with --partial"
    )


def test_partial_leaves_them_dense_and_says_so(unfinished: Solved) -> None:
    found = unfinished.assemble(partial=True)
    assert found.missing == 5
    assert found.weights.pruned == 37 * EACH
    assert any(note.startswith("5 of 42 blocks have no answer; their 80 weights stayed dense") for note in found.notes)
    last = found.tensors[-1]
    assert (last.name, last.blocks, last.missing) == ("fc3.weight", 10, 5)
    weight = unfinished.network.get_parameter("fc3.weight").detach().numpy().ravel()
    np.testing.assert_array_equal(found.model.get_parameter("fc3.weight").detach().numpy().ravel()[-80:], weight[-80:])
    assert found.masks()["fc3.weight"].ravel()[-80:].all()


def test_a_store_without_answers(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    empty = Solved(tmp_path, digits_network, digits, methods=())
    with pytest.raises(StoreError, match=r"no\.sqlite"):
        cbs_opt.assemble(empty.plan.file, tmp_path / "no.sqlite", digits_network)
    with pytest.raises(InputError, match="holds no results yet; run `cbs-opt batch"):
        empty.assemble(partial=True)
    with StoreWriter(empty.store) as writer:
        writer.write([failure(empty.plan, empty.plan.blocks[0], "prune 2", "bnb", "error")])
    with pytest.raises(InputError, match=r"42 of 42 blocks have no answer .*\(41 not run, 1 error\)"):
        empty.assemble(partial=True)


def test_odd_layers_come_back_to_their_places(tmp_path: Path, conv_network: Any) -> None:
    rng = np.random.default_rng(1)
    transformer = transformer_like(), rng.normal(size=(80, 3)).astype(np.float32), rng.integers(0, 3, 80)
    for name, (model, x, y) in (("convolutions", conv_network), ("transformer", transformer)):
        for curvature, partition in (("fisher", "row"), ("gram", "row"), ("gram", "layer"), ("fisher", 6)):
            folder = tmp_path / f"{name} {curvature} {partition}"
            folder.mkdir()
            done = cbs_opt.extract(model, (x, y), folder / "b", samples=M, curvature=curvature, partition=partition)
            plan = load_manifest(done.manifest)
            solve_into(folder / "s.sqlite", plan, ["magnitude"], "sparsity 0.5")
            found = cbs_opt.assemble(folder / "b", folder / "s.sqlite", model)
            for target in find_targets(model):
                dense = target.matrix(model.get_parameter(target.tensor).detach()).numpy()
                pruned = target.matrix(found.model.get_parameter(target.tensor).detach()).numpy()
                for block in (block for block in plan.blocks if block.tensor == target.tensor):
                    part = slice(block.first, block.first + block.n)
                    # Magnitude: what is left is larger than what is gone, in the order of the block.
                    kept = pruned.ravel()[part] != 0
                    assert 1 <= kept.sum() == block.n // 2
                    magnitude = np.abs(dense.ravel()[part])
                    assert magnitude[kept].min() >= magnitude[~kept].max()


# ---------------------------------------------------------------- nothing on trust


def test_another_network_or_other_weights_are_refused(solved: Solved, conv_network: Any) -> None:
    import torch

    other = copy.deepcopy(solved.network)
    with torch.no_grad():
        other.fc3.bias += 1e-3
    with pytest.raises(InputError, match="the blocks were cut from a network with other weights"):
        solved.assemble(model=other)
    with pytest.raises(InputError, match=r"manifest\.json: fc2\.weight: layer 'fc2': the network has no such"):
        solved.assemble(model=conv_network[0])
    wider = torch.nn.Module()
    wider.fc2 = torch.nn.Linear(3, 3)
    with pytest.raises(InputError, match=r"fc2\.weight has the shape \(16, 32\), but in the network \(3, 3\)"):
        solved.assemble(model=wider)


def test_a_block_file_that_changed_is_refused(solved: Solved) -> None:
    block = solved.plan.blocks[7]
    problem = PruningProblem.load(solved.plan.path(block))
    PruningProblem(problem.w_bar, 2 * problem.curvature.dense()).save(solved.plan.path(block))
    with pytest.raises(InputError, match=rf"{block.file}: is not what its manifest says"):
        solved.assemble()
    solved.plan.path(block).unlink()
    with pytest.raises(InputError, match=rf"{block.file}: no such file"):
        solved.assemble()


def test_blocks_in_exchanged_places_are_refused(solved: Solved) -> None:
    text = solved.plan.file.read_text(encoding="utf-8")
    one, other = solved.plan.blocks[0], solved.plan.blocks[1]
    text = text.replace(f'"{one.file}"', '"x.npz"').replace(f'"{other.file}"', f'"{one.file}"')
    text = text.replace('"x.npz"', f'"{other.file}"').replace(one.content, "x").replace(other.content, one.content)
    solved.plan.file.write_text(text.replace('"x"', f'"{other.content}"'), encoding="utf-8")
    with pytest.raises(InputError, match=r"its weights are not weights 0 to 15 of fc2\.weight"):
        solved.assemble()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("objective", 1e-9, "is stored with the objective 1e-09, but its weights have"),
        ("mask", b"\xff\xff", r"a mask that is not what was asked for \(0 of 16"),
        ("weights", np.full(16, np.nan).tobytes(), "weights that are not finite"),
        ("weights", np.ones(16).tobytes(), "not zero where its mask prunes"),
        ("weights", np.ones(15).tobytes(), "mask and weights are not of n weights"),
    ],
)
def test_a_damaged_answer_is_refused(solved: Solved, column: str, value: Any, message: str) -> None:
    change(solved.store, f"UPDATE results SET {column} = ? WHERE id = 5 OR id = 5 + 42", value)
    with pytest.raises((InputError, StoreError), match=message):
        solved.assemble()


def test_a_bound_above_an_objective_is_a_bug_and_said_so(solved: Solved) -> None:
    change(solved.store, "UPDATE results SET bound = 2 * objective WHERE id = 50")
    with pytest.raises(BoundViolationError, match=r"\.npz: a proven bound of"):
        solved.assemble()


def test_a_bound_above_the_answer_that_is_not_taken_is_one_too(solved: Solved) -> None:
    """A bound between the two answers of a block is wrong, whichever of them goes into the network."""
    with sqlite3.connect(solved.store) as database:
        pairs = database.execute(
            "SELECT b.id, b.objective, m.objective FROM results b JOIN results m ON m.block = b.block "
            "WHERE b.method = 'bnb' AND m.method = 'magnitude' AND m.objective > 1.1 * b.objective"
        ).fetchall()
    database.close()
    row, best, worse = pairs[0]
    change(solved.store, "UPDATE results SET bound = ? WHERE id = ?", (best + worse) / 2, row)
    with pytest.raises(BoundViolationError, match=r"\.npz: a proven bound of"):
        solved.assemble(method="magnitude")


def test_a_block_of_another_tensor_is_refused(solved: Solved) -> None:
    change(solved.store, "UPDATE blocks SET tensor = 'fc9.weight' WHERE id = 3")
    with pytest.raises(InputError, match=r"holds fc2\.weight\.032\.npz as a block of fc9\.weight, but the manifest"):
        solved.assemble()


def test_several_seeds_and_the_best_of_them(solved: Solved) -> None:
    block = solved.plan.blocks[0]
    problem = PruningProblem.load(solved.plan.path(block)).at_sparsity(0.75)
    worse = cbs_opt.solve(problem.within(cbs_opt.Cardinality(16, 15)), "magnitude")
    with StoreWriter(solved.store) as writer:
        writer.write([record(solved.plan, block, "sparsity 0.75", worse, seed=seed) for seed in (0, 1)])
    assert solved.assemble(method="magnitude").weights.pruned == BLOCKS * EACH


@pytest.mark.parametrize(("partition", "fits"), [(8, False), ("layer", False), ("row", True)])
def test_groups_that_reach_across_rows_are_refused(tmp_path: Path, digits: Any, partition: Any, fits: bool) -> None:
    """Rows of 4: a block of 8 weights is two of them, and 3:8 of it need not be any pattern of the rows."""
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(64, 4), torch.nn.Linear(4, 10)).eval()
    asked = "pattern 2:4" if fits else "pattern 3:8"
    done = cbs_opt.extract(model, digits, tmp_path / "b", samples=M, partition=partition, targets=["1"])
    plan = load_manifest(done.manifest)
    solve_into(tmp_path / "s.sqlite", plan, ["magnitude"], asked)
    if fits:
        found = cbs_opt.assemble(plan.file, tmp_path / "s.sqlite", model)
        assert (found.masks()["1.weight"].sum(axis=1) <= 2).all()
        return
    with pytest.raises(InputError, match=r"groups of 8 .* not those of the rows of 1\.weight, 4 weights each"):
        cbs_opt.assemble(plan.file, tmp_path / "s.sqlite", model)


@pytest.mark.parametrize(("asked", "fits"), [("columns 0.5", False), ("quota-per-row 0.5", True)])
def test_rows_one_by_one_are_no_whole_columns(tmp_path: Path, digits: Any, asked: str, fits: bool) -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(64, 4), torch.nn.Linear(4, 10)).eval()
    done = cbs_opt.extract(model, digits, tmp_path / "b", samples=M, partition="row", targets=["1"])
    plan = load_manifest(done.manifest)
    solve_into(tmp_path / "s.sqlite", plan, ["magnitude"], f"pattern {asked}")
    if fits:
        found = cbs_opt.assemble(plan.file, tmp_path / "s.sqlite", model)
        assert (found.masks()["1.weight"].sum(axis=1) <= 2).all()
        return
    with pytest.raises(InputError, match=r"rows and columns in this block are not those of the rows of 1\.weight"):
        cbs_opt.assemble(plan.file, tmp_path / "s.sqlite", model)


def test_sums_over_layers_in_their_own_units_say_so(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    done = cbs_opt.extract(digits_network, digits, tmp_path / "b", samples=M, curvature="gram", ignore=["fc1"])
    plan = load_manifest(done.manifest)
    solve_into(tmp_path / "s.sqlite", plan, ["magnitude"], "sparsity 0.5")
    (note,) = cbs_opt.assemble(plan.file, tmp_path / "s.sqlite", digits_network).notes
    assert "in their unit" in note
