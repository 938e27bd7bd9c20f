"""What happens where nobody says anything: no labels, one λ everywhere, and a word where λ dominates the curvature."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Cli

import cbs_opt
from cbs_opt.blocks.manifest import load_manifest
from cbs_opt.collect import gradients, layer_grams
from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature.damping import dominance_said
from cbs_opt.network.data import Data
from cbs_opt.network.targets import find_targets
from cbs_opt.study import files_subject, model_subject, run_study, write_study

M = 60


def dominated(notes: Any) -> list[float]:
    """The ratios that notes say, one a sentence."""
    return [ratio for note in notes if (ratio := dominance_said(note))]


@pytest.fixture
def few(digits: Data, digits_network: Any) -> Data:
    """So few samples that every draw takes them all, if in another order; those the network is surest of."""
    import torch

    logits = digits_network(torch.from_numpy(digits.train_x)).detach()
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(digits.train_y), reduction="none")
    surest = np.sort(np.argsort(loss.numpy())[:M])
    return Data(digits.train_x[surest], digits.train_y[surest], digits.test_x, digits.test_y)


@pytest.fixture
def sure(digits_network: Any) -> Any:
    """As if trained to the end: the same classes, five times the logits."""
    import torch

    network = copy.deepcopy(digits_network)
    with torch.no_grad():
        network.fc3.weight *= 5
        network.fc3.bias *= 5
    return network


def fisher_mean(network: Any, data: Data, *names: str) -> float:
    """Mean diagonal of the Fisher of these tensors, from float64 gradients."""
    entries = {name: np.arange(network.get_parameter(name).numel()) for name in names}
    rows = gradients(network, data.train_x, data.train_y, entries)
    return float(np.concatenate([(rows[name].rows ** 2).mean(axis=0) for name in names]).mean())


def gram_means(network: Any, x: Any) -> dict[str, float]:
    layers = layer_grams(network, x, find_targets(network), damping=1.0)
    return {name: float(np.trace(layer.gram[0])) / layer.target.inputs for name, layer in layers.items()}


# ---------------------------------------------------------------- defaults


def test_prune_needs_no_labels(digits_network: Any, digits: Data) -> None:
    found = cbs_opt.prune(digits_network, digits.train_x, 0.8, test=(digits.test_x, digits.test_y))
    assert found.settings["curvature"] == "sequential"
    assert found.settings["dampening_frac"] == 0.01
    assert found.settings["damping"] is None
    assert found.accuracy is not None
    assert found.accuracy_dense is not None
    assert found.accuracy > found.accuracy_dense - 0.02
    assert found.notes == ()


def test_the_command_does_the_same(cli: Cli) -> None:
    told = cli("prune", "--sparsity", 0.5, "--samples", 100, "--no-bound", "--json", "-").json()
    assert told["settings"]["curvature"] == "sequential"
    assert told["settings"]["dampening_frac"] == 0.01


def test_networks_that_sequential_cannot_take_say_what_can() -> None:
    import torch

    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x).relu())

    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    with pytest.raises(InputError, match=r"layer layer: .* 2 times in one pass; .* ignore it, or take curvature gram"):
        cbs_opt.prune(Twice(), x, 0.5)
    with pytest.raises(InputError, match=r"put it into a torch\.nn\.Sequential, or take curvature gram"):
        cbs_opt.prune(torch.nn.Linear(6, 6), x, 0.5)
    for network in (Twice(), torch.nn.Linear(6, 6)):
        assert cbs_opt.prune(network, x, 0.5, curvature="gram").weights.pruned == 18


# ---------------------------------------------------------------- one λ


@pytest.mark.parametrize("asked", [{}, {"dampening_frac": 0.3}, {"damping": 0.07}], ids=["default", "share", "lambda"])
def test_one_lambda_of_a_layers_gram_everywhere(
    digits_network: Any, few: Data, asked: dict[str, Any], tmp_path: Path
) -> None:
    share = asked.get("dampening_frac", 0.01)
    wanted = {
        name: asked.get("damping", share * mean) for name, mean in gram_means(digits_network, few.train_x).items()
    }
    pruned = cbs_opt.prune(digits_network, few, 0.5, curvature="gram", samples=M, bound=False, **asked)
    behind = cbs_opt.prune(digits_network, few, 0.5, samples=M, bound=False, **asked)
    cut = cbs_opt.extract(digits_network, few, tmp_path / "b", curvature="gram", samples=M, **asked)
    blocks = {block.tensor: block.damping for block in load_manifest(cut.manifest).blocks}
    subject = model_subject("digits", digits_network, few, dict.fromkeys(wanted, "gram"), samples=M, **asked)
    studied = {key: value for piece in subject.pieces for key, value in piece.cut(lambda words: None).damping.items()}
    judged = cbs_opt.certify_layers(digits_network, pruned.model, few, samples=M, **asked)
    for name, value in wanted.items():
        assert pruned.stages[0].damping[name] == pytest.approx(value, rel=1e-6)
        assert blocks[f"{name}.weight"] == pytest.approx(value, rel=1e-6)
        assert studied[f"{name}.weight"] == pytest.approx(value, rel=1e-6)
    assert {layer.name: layer.damping for layer in judged} == pytest.approx(wanted, rel=1e-6)
    assert behind.stages[0].damping["fc1"] == pytest.approx(wanted["fc1"], rel=1e-6)


def test_one_lambda_of_a_layers_fisher_everywhere(digits_network: Any, few: Data, tmp_path: Path) -> None:
    wanted = {name: 0.01 * fisher_mean(digits_network, few, f"{name}.weight") for name in ("fc1", "fc2", "fc3")}
    arguments = {"curvature": "fisher", "method": "magnitude", "samples": M, "bound": False}
    pruned = cbs_opt.prune(digits_network, few, 0.5, partition="layer", **arguments)
    cut = cbs_opt.extract(digits_network, few, tmp_path / "b", samples=M)
    blocks = {block.tensor: block.damping for block in load_manifest(cut.manifest).blocks}
    subject = model_subject("digits", digits_network, few, dict.fromkeys(wanted, "fisher"), samples=M)
    studied = {key: value for piece in subject.pieces for key, value in piece.cut(lambda words: None).damping.items()}
    for name, value in wanted.items():
        assert pruned.stages[0].damping[name] == pytest.approx(value, rel=1e-4)
        assert blocks[f"{name}.weight"] == pytest.approx(value, rel=1e-4)
        assert studied[f"{name}.weight"] == pytest.approx(value, rel=1e-6)
    whole = cbs_opt.prune(digits_network, few, 0.5, **arguments)
    mean = fisher_mean(digits_network, few, "fc1.weight", "fc2.weight", "fc3.weight")
    assert whole.stages[0].damping == pytest.approx(0.01 * mean, rel=1e-4)
    judged = cbs_opt.certify_network(digits_network, few, whole.masks(), samples=M)
    assert float(judged.notes[0].partition("λ = ")[2]) == pytest.approx(0.01 * mean, rel=1e-3)


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential"])
def test_more_samples_than_there_are_means_all_and_says_so(
    digits_network: Any, few: Data, tmp_path: Path, curvature: str
) -> None:
    arguments = {"curvature": curvature, "method": "magnitude", "bound": False}
    all_, more = (cbs_opt.prune(digits_network, few, 0.5, samples=m, **arguments) for m in (M, M + 1))
    note = f"{M + 1} samples were wanted; all {M} that there are were taken"
    assert [note in pruned.notes for pruned in (all_, more)] == [False, True]
    assert more.objective == all_.objective
    assert np.array_equal(more.weights.mask, all_.weights.mask)
    if curvature == "fisher":
        assert note in cbs_opt.certify_network(digits_network, few, more.masks(), samples=M + 1).notes
    if curvature == "gram":
        cut = cbs_opt.extract(digits_network, few, tmp_path / "b", curvature="gram", samples=M + 1)
        assert note in cut.notes
        assert json.loads(cut.manifest.read_text())["samples"] == M
        subject = model_subject("digits", digits_network, few, {"fc1": "gram"}, samples=M + 1)
        assert note in subject.notes


def test_a_layer_without_a_weight_is_a_warning(
    digits_network: Any, few: Data, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cbs_opt"):
        cbs_opt.prune(digits_network, few, 1.0, targets=["fc3"], method="magnitude", samples=M, bound=False)
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "layer fc3: all its 160 weights are pruned, nothing it is given gets through" in warning.getMessage()


def test_masks_may_go_by_the_names_of_modules(digits_network: Any, few: Data) -> None:
    tensors = cbs_opt.prune(digits_network, few, 0.5, samples=M, method="magnitude", bound=False).masks()
    modules = {name.removesuffix(".weight"): mask for name, mask in tensors.items()}
    judged, same = (cbs_opt.certify_network(digits_network, few, masks, samples=M) for masks in (tensors, modules))
    assert set(modules) == {"fc1", "fc2", "fc3"}
    assert (same.objective, same.bound, same.pruned, same.notes) == (
        judged.objective,
        judged.bound,
        judged.pruned,
        judged.notes,
    )


def test_gradients_that_are_all_zero_leave_no_share(digits_network: Any, few: Data) -> None:
    import torch

    blind = copy.deepcopy(digits_network)
    with torch.no_grad():
        blind.fc3.weight.zero_()
        blind.fc3.bias.fill_(-1e4)
        blind.fc3.bias[3] = 1e4
    threes = few.train_x, np.full(M, 3)
    for curvature in ("fisher", "gauss-newton"):
        with pytest.raises(InputError, match="a share of"):
            cbs_opt.prune(blind, threes, 0.5, curvature=curvature, samples=M)
    found = cbs_opt.prune(blind, threes, 0.5, curvature="fisher", damping=1e-3, samples=M)
    assert dominated(found.notes) == [np.inf]


# ---------------------------------------------------------------- the warning


def test_prune_says_that_lambda_dominates(sure: Any, few: Data, caplog: pytest.LogCaptureFixture) -> None:
    ratio = 1e-3 / fisher_mean(sure, few, "fc1.weight", "fc2.weight", "fc3.weight")
    assert ratio > 1e4
    arguments = {"curvature": "fisher", "samples": M, "damping": 1e-3}
    with caplog.at_level(logging.INFO, logger="cbs_opt"):
        found = cbs_opt.prune(sure, few, 0.8, method="magnitude", **arguments)
    assert found.gap < 1e-6  # 'proven optimal', of λ
    assert dominated(found.notes) == [pytest.approx(ratio, rel=0.01)]
    assert dominated(found.to_dict()["notes"]) == dominated(found.notes)
    assert any("times the mean diagonal of the curvature" in record.getMessage() for record in caplog.records)
    several = cbs_opt.prune(sure, few, 0.8, method="magnitude", stages=3, bound=False, **arguments)
    assert len(dominated(several.notes)) == 1
    for quiet in ({"curvature": "fisher"}, {}):
        assert dominated(cbs_opt.prune(sure, few, 0.8, samples=M, bound=False, **quiet).notes) == []


def test_prune_says_in_how_many_layers(digits_network: Any, few: Data) -> None:
    means = gram_means(digits_network, few.train_x)
    between = (means["fc1"] + means["fc2"]) / 2
    assert means["fc1"] < between < min(means["fc2"], means["fc3"])
    for curvature in ("gram", "sequential"):
        found = cbs_opt.prune(digits_network, few, 0.5, curvature=curvature, samples=M, damping=between, bound=False)
        (note,) = [note for note in found.notes if dominance_said(note)]
        assert "in 1 of 3 layers" in note
        assert dominance_said(note) == pytest.approx(between / means["fc1"], rel=0.01)
    cut = cbs_opt.prune(
        digits_network, few, 0.5, curvature="fisher", partition="row", samples=M, damping=1.0, method="magnitude"
    )
    assert any("in 3 of 3 layers" in note for note in cut.notes)


def test_certify_says_it(sure: Any, few: Data, tmp_path: Path, cli: Cli) -> None:
    pruned = cbs_opt.prune(sure, few, 0.5, samples=M, bound=False)
    judged = cbs_opt.certify_network(sure, few, pruned.masks(), samples=M, damping=1e-3)
    ratio = 1e-3 / fisher_mean(sure, few, "fc1.weight", "fc2.weight", "fc3.weight")
    assert dominated(judged.notes) == [pytest.approx(ratio, rel=0.01)]
    assert dominated(cbs_opt.certify_network(sure, few, pruned.masks(), samples=M).notes) == []
    rows = np.random.default_rng(0).normal(size=(4, 8))
    cbs_opt.PruningProblem.from_gradients(np.ones(8), rows, dampening_frac=2e3).save(tmp_path / "b.npz")
    np.savez(tmp_path / "m.npz", mask=np.arange(8) < 4)
    run = cli("certify", tmp_path / "b.npz", "--mask", tmp_path / "m.npz")
    assert "note: λ is 2,000 times the mean diagonal of the curvature" in run.out


def test_study_says_it(sure: Any, few: Data, tmp_path: Path) -> None:
    layers = {"fc2": "fisher", "fc3": "fisher"}
    means = [fisher_mean(sure, few, f"{name}.weight") for name in layers]
    subject = model_subject("sure", sure, few, layers, blocks_per_layer=1, samples=M, damping=1e-3)
    found = run_study(subject, sparsities=[0.5], methods=["magnitude"], jobs=1)
    (note,) = [note for note in found.notes if dominance_said(note)]
    assert "in 2 of 2 layers" in note
    assert dominance_said(note) == pytest.approx(1e-3 / min(means), rel=0.01)
    write_study(found, tmp_path)
    assert note in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert note in json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["notes"]
    rows = np.random.default_rng(0).normal(size=(4, 8))
    cbs_opt.PruningProblem.from_gradients(np.ones(8), rows, dampening_frac=2e3).save(tmp_path / "b.npz")
    from_file = run_study(files_subject([tmp_path / "b.npz"]), sparsities=[0.5], methods=["magnitude"], jobs=1)
    assert dominated(from_file.notes) == [2e3]


def test_the_report_of_a_batch_says_it(sure: Any, few: Data, tmp_path: Path, cli: Cli) -> None:
    """Blocks that hold H do not know λ any more: their manifest does. A block with its λ says so itself."""
    cut = cbs_opt.extract(
        sure, few, tmp_path / "cut", samples=M, damping=1e-3, targets=["fc3"], partition="row", network="sure"
    )
    ratio = 1e-3 / fisher_mean(sure, few, "fc3.weight")
    assert dominated(cut.notes) == [pytest.approx(ratio, rel=0.01)]
    rows = np.random.default_rng(0).normal(size=(4, 8))
    for name, share in (("faint", 2e3), ("plain", 0.01)):
        problem = cbs_opt.PruningProblem.from_gradients(np.arange(1.0, 9.0), rows, dampening_frac=share, name=name)
        problem.save(tmp_path / f"{name}.npz")
    places = [tmp_path / "cut", tmp_path / "faint.npz", tmp_path / "plain.npz"]
    store = tmp_path / "r.sqlite"
    asked = ("--methods", "magnitude", "--sparsity", 0.5, "--store", store, "--jobs", 1)
    assert cli("batch", *places, *asked).code == 0
    page = tmp_path / "report.html"
    of_network, of_blocks = cli("report", store, "--html", page, "--json", "-").json()["warnings"]
    assert of_network.startswith("sure, layers fc3: λ is ")
    assert dominated([of_network.partition(": ")[2]]) == [pytest.approx(ratio, rel=0.01)]
    assert of_blocks.startswith("blocks of no network: λ is up to 2,000 times")
    assert "in 1 of 2 blocks" in of_blocks
    for text in (page.read_text(encoding="utf-8"), " ".join(cli("report", store).out.split())):
        assert of_network in text
        assert of_blocks in text
