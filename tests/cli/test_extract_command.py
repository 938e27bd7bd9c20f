"""`cbs-opt extract` and `cbs-opt assemble`, with `cbs-opt batch` between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commandline import Cli
from extracted import solve_into
from safetensors.numpy import load_file, save_file

from cbs_opt.blocks.manifest import load_manifest
from cbs_opt.network.reference.digits import digits_weights


@pytest.fixture
def blocks(cli: Cli, tmp_path: Path) -> Path:
    """The last layer of the digits network as 10 rows of 16 weights."""
    run = cli("extract", "--targets", "fc3", "--curvature", "gram", "--samples", 100, "--out", tmp_path / "blocks")
    assert run.code == 0
    assert "digits: 160 weights of 1 layer in 10 blocks" in run.out
    return tmp_path / "blocks"


def test_network_to_blocks_to_store_to_network(cli: Cli, blocks: Path, tmp_path: Path) -> None:
    store, out, masks = tmp_path / "r.sqlite", tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    methods = ("--methods", "magnitude,enumeration", "--jobs", 1)
    batch = cli("batch", blocks, *methods, "--sparsity", 0.75, "--store", store)
    assert batch.code == 0, batch
    run = cli("assemble", blocks, store, "--out", out, "--masks", masks, "--json", "-")
    assert run.code == 0, run
    told = run.json()
    assert (told["network"], told["n"], told["pruned"], told["missing"]) == ("digits", 160, 120, 0)
    assert sum(told["methods"].values()) == 10
    assert told["bound"] == pytest.approx(told["objective"])
    assert told["gap"] == pytest.approx(0, abs=1e-9)
    assert 0 < told["accuracy"] <= told["accuracy_dense"]
    tensors, chosen = load_file(out), load_file(masks)
    assert set(chosen) == {"fc3.weight"}
    assert ((~chosen["fc3.weight"]).sum(axis=1) == 12).all()
    assert not tensors["fc3.weight"][~chosen["fc3.weight"]].any()
    for name, dense in digits_weights().items():
        if name != "fc3.weight":
            np.testing.assert_array_equal(tensors[name], dense.numpy())
    files = ("--mask", masks, "--pruned", out)
    judged = cli("certify", "digits", *files, "--targets", "fc3", "--samples", 100, "--json", "-")
    assert judged.code == 0
    assert judged.json()["pruned"] == 120
    shown = cli("assemble", blocks / "manifest.json", store, "--method", "magnitude", "--out", out)
    assert "digits: pruned 120 of 160 weights (75.00 %), sparsity 0.75 of each of 10 blocks" in shown.out
    assert "answers        magnitude 10" in shown.out


def test_samples_without_labels_go_all_the_way(cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.random((40, 64)))
    words = ("--targets", "fc3", "--samples", 40, "--data", tmp_path / "x.npz", "--out", tmp_path / "b")
    cli("extract", "--curvature", "fisher", *words).refused("has no labels")
    assert cli("extract", "--curvature", "gram", *words).code == 0
    solve_into(tmp_path / "r.sqlite", load_manifest(tmp_path / "b"), ["magnitude"], "prune 4")
    assemble = ("assemble", tmp_path / "b", tmp_path / "r.sqlite", "--out", tmp_path / "p.safetensors")
    run = cli(*assemble, "--json", "-")
    assert (run.code, run.json()["accuracy"]) == (0, None)
    assert "the accuracy is not measured, since" in caplog.text
    cli(*assemble, "--data", tmp_path / "x.npz").refused("y is missing; labels are needed here")


def test_missing_blocks_and_partial(cli: Cli, blocks: Path, tmp_path: Path) -> None:
    store, out = tmp_path / "r.sqlite", tmp_path / "p.safetensors"
    plan = load_manifest(blocks)
    solve_into(store, plan, ["magnitude"], "prune 4", plan.blocks[:7])
    words = ("assemble", blocks, store, "--out", out)
    cli(*words).refused("3 of 10 blocks have no answer to prune 4 (3 not run)", "--prune 4 --store", "--partial")
    cli(*words, "--sparsity", 0.5).refused("holds no results for sparsity 0.5; it has prune 4")
    cli(*words, "--sparsity", 0.5, "--prune", 4).refused("exactly one of --sparsity R, --prune K")
    assert not out.exists()
    run = cli(*words, "--partial", "--prune", 4)
    assert run.code == 0
    assert "7 of 10" in run.out
    assert "3 of 10 blocks have no answer; their 48 weights stayed dense" in run.out
    assert "gap unknown" in run.out
    assert out.exists()


def test_weights_from_a_file_are_found_by_the_manifest_as_long_as_they_are_the_same(cli: Cli, tmp_path: Path) -> None:
    weights, store = tmp_path / "w.safetensors", tmp_path / "r.sqlite"
    tensors = {name: tensor.numpy() * np.float32(1.5) for name, tensor in digits_weights().items()}
    save_file(tensors, weights)
    words = ("--weights", weights, "--targets", "fc3", "--samples", 50, "--partition", 16, "--json", "-")
    run = cli("extract", *words, "--out", tmp_path / "b")
    assert run.code == 0, run
    told = run.json()
    assert (told["blocks"], told["weights"], told["network"]) == (10, 160, "digits")
    plan = load_manifest(told["manifest"])
    assert plan.weights["file"] == "w.safetensors"
    solve_into(store, plan, ["magnitude"], "prune 4")
    assemble = ("assemble", tmp_path / "b", store, "--out", tmp_path / "p.safetensors")
    assert cli(*assemble).code == 0
    cli("assemble", tmp_path / "b", store, "--out", weights).refused("is the input ")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "b").rename(tmp_path / "elsewhere" / "b")
    moved = ("assemble", tmp_path / "elsewhere" / "b", *assemble[2:])
    cli(*moved).refused("cut from the weights file w.safetensors, which is not where it was", "give it as --weights")
    weights.rename(tmp_path / "elsewhere" / "b" / "w.safetensors")
    assert cli(*moved).code == 0
    (tmp_path / "elsewhere" / "b" / "w.safetensors").rename(weights)
    (tmp_path / "elsewhere" / "b").rename(tmp_path / "b")
    kept = weights.read_bytes()
    weights.write_bytes(kept + b" ")
    cli(*assemble).refused("or not what it was; give it as --weights FILE")
    weights.write_bytes(kept)
    save_file(digits_weights_as_arrays(), tmp_path / "other.safetensors")
    cli(*assemble, "--weights", tmp_path / "other.safetensors").refused("cut from a network with other weights")
    # The same tensors from another file are the same network.
    np.savez(tmp_path / "again.npz", **tensors)
    assert cli(*assemble, "--weights", tmp_path / "again.npz").code == 0
    cli("assemble", tmp_path / "b", store, "--weights", weights, "--out", weights).refused("is the input ")


def digits_weights_as_arrays() -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in digits_weights().items()}


def test_a_manifest_runs_no_code(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "from cbs_opt.network import load_network\ndef net(): return load_network('digits')\n"
    (tmp_path / "my_net.py").write_text(code, encoding="utf-8")
    x = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(40) % 10)
    words = ("--network", "my_net:net", "--data", "d.npz", "--targets", "fc3", "--samples", 40, "--out", "b")
    assert cli("extract", *words).code == 0
    solve_into(tmp_path / "r.sqlite", load_manifest("b"), ["magnitude"], "prune 4")
    cli("assemble", "b", "r.sqlite", "--out", "p.safetensors").refused("runs the code of a module; if that is wanted")
    words = ("assemble", "b", "r.sqlite", "--network", "my_net:net", "--out", "p.safetensors")
    given, found = cli(*words, "--data", "d.npz", "--json", "-"), cli(*words, "--json", "-")
    assert given.code == found.code == 0, given
    assert given.json()["accuracy"] == found.json()["accuracy"] is not None
    assert "for accuracy there is `cbs-opt prune`" in cli(*words).out
    (tmp_path / "d.npz").unlink()
    assert "accuracy       not measured; --data FILE measures it" in cli(*words).out


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("extract", "--network", "mlpnet", "--out", "b"), "needs calibration samples; give --data FILE"),
        (("extract", "--partition", "network", "--out", "b"), "partition"),
        (("extract", "--partition", "0", "--out", "b"), "partition: is 0"),
        (("extract", "--curvature", "sequential", "--out", "b"), "cbs-opt prune"),
        (("extract", "--out", "no/b"), "does not exist; create it first"),
        (("extract",), "--out"),
        (("assemble", "no", "r.sqlite", "--out", "p.safetensors"), "name the manifest.json"),
        (("assemble", "b", "r.sqlite", "--out", "p.pt"), "safetensors"),
    ],
)
def test_what_cannot_be_asked_for(
    cli: Cli, words: tuple[str, ...], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli(*words).refused(word)
    assert not list(tmp_path.iterdir())


def test_help_shows_an_example(cli: Cli) -> None:
    for command in ("extract", "assemble"):
        run = cli(command, "--help")
        assert run.code == 0
        assert f"Example: cbs-opt {command}" in " ".join(run.out.split())
