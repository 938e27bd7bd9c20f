"""`cbs-opt prune` and `cbs-opt certify NETWORK`, through the command line."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cbs_opt


@pytest.fixture
def pruned(cli, tmp_path):
    """The digits network pruned: the JSON and the two files."""
    folder = tmp_path
    run = cli(
        "prune",
        "--sparsity",
        0.8,
        "--curvature",
        "fisher",
        "--damping",
        1e-3,
        "--method",
        "magnitude",
        "--samples",
        200,
        "--no-bound",
        "--json",
        "-",
        "--out",
        folder / "p.safetensors",
        "--masks",
        folder / "m.safetensors",
    )
    assert run.code == 0
    return run.json(), folder


def test_json_says_what_was_done(pruned):
    told, _ = pruned
    assert told["network"] == "digits"
    assert told["n"] == 2720
    assert told["pruned"] == 2176
    assert told["sparsity"] == pytest.approx(0.8)
    assert told["bound"] is None
    assert told["gap"] is None
    assert told["bound_asked"] is False
    assert told["objective"] > 0
    assert 0.9 < told["accuracy_dense"] <= 1
    assert 0 <= told["accuracy"] < told["accuracy_dense"]
    assert sum(layer["pruned"] for layer in told["layers"]) == 2176
    assert {"curvature", "selection", "accuracy"} <= set(told["seconds"])
    assert told["settings"]["samples"] == 200
    assert told["damping"] == 1e-3
    assert any("float32" in note for note in told["notes"])


def test_files_agree(pruned):
    _, folder = pruned
    tensors, masks = load_file(folder / "p.safetensors"), load_file(folder / "m.safetensors")
    assert sum(int((~mask).sum()) for mask in masks.values()) == 2176
    for name, mask in masks.items():
        assert mask.dtype == bool
        assert not tensors[name][~mask].any()


def test_certify_judges_masks_and_checkpoints(cli, pruned):
    told, folder = pruned
    both = cli(
        "certify",
        "digits",
        "--mask",
        folder / "m.safetensors",
        "--pruned",
        folder / "p.safetensors",
        "--samples",
        200,
        "--damping",
        1e-3,
        "--json",
        "-",
    ).json()
    assert both["pruned"] == 2176
    # The network was re-tuned on the same model: weights as given, re-tuned anew, and the run itself agree.
    assert both["objective"] == pytest.approx(told["objective"], rel=1e-6)
    assert both["given_objective"] == pytest.approx(told["objective"], rel=1e-4)
    assert 0 < both["bound"] <= both["objective"] < both["selection_objective"]
    assert "empirical Fisher of 200 samples, seed 0, λ = 0.001" in both["notes"]
    assert "gradients in float32" in both["notes"]
    model = ("--samples", 200, "--damping", 1e-3)
    zeros = cli("certify", "digits", "--pruned", folder / "p.safetensors", *model, "--json", "-").json()
    assert zeros["accuracy"] == both["accuracy"] == told["accuracy"]
    assert zeros["accuracy_dense"] == told["accuracy_dense"]
    assert "accuracy" not in cli("certify", "digits", "--mask", folder / "m.safetensors", *model, "--json", "-").json()
    cli("certify", "digits", "--pruned", folder / "m.safetensors", *model).refused("give them as masks (--mask)")
    cli("certify", "digits", "--mask", folder / "p.safetensors", *model).refused("a checkpoint is given as --pruned")
    assert zeros["objective"] == pytest.approx(both["objective"], rel=1e-9)


def test_torch_mask_names_are_understood(cli, pruned, tmp_path):
    _, folder = pruned
    masks = {f"{name}_mask": mask.astype(np.float32) for name, mask in load_file(folder / "m.safetensors").items()}
    save_file(masks, tmp_path / "torch.safetensors")
    run = cli("certify", "digits", "--mask", tmp_path / "torch.safetensors", "--samples", 50, "--json", "-")
    assert run.json()["pruned"] == 2176


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("prune", "--sparsity", 0.5, "--network", "mlpnet"), "--data"),
        (("prune", "--sparsity", 2), "sparsity"),
        (("prune", "--sparsity", 0.5, "--curvature", "fishr"), "did you mean fisher"),
        (("prune", "--sparsity", 0.5, "--targets", "conv*"), "fc1, fc2, fc3"),
        (("prune", "--sparsity", 0.5, "--out", "x.pt"), "safetensors"),
        (("prune", "--sparsity", 0.5, "--partition", "rows"), "partition"),
        (("prune", "--sparsity", 0.5, "--partition", "²"), "partition"),
        (("prune", "--sparsity", 0.5, "--network", "mlpnett"), "did you mean mlpnet"),
        (("prune", "--sparsity", 0.5, "--out", "nowhere/p.safetensors"), "nowhere"),
        (("certify", "digits"), "--mask"),
        (("certify", "digits", "--mask", "nowhere.npz"), "no such file"),
        (("certify", "nowhere.npz", "--mask", "m.npz"), "nowhere.npz"),
    ],
)
def test_bad_input_is_one_sentence(cli, arguments, word):
    cli(*arguments).refused(word)


def test_what_is_no_data_file_is_said_without_advice_to_unpickle(cli, tmp_path):
    (tmp_path / "text.npz").write_text("hello", encoding="utf-8")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object), y=np.zeros(1, dtype=np.int64))
    for name in ("text.npz", "objects.npz"):
        run = cli("prune", "--sparsity", 0.5, "--data", tmp_path / name)
        run.refused("cannot be read as data")
        assert "allow_pickle" not in run.err


def test_options_of_networks_are_refused_for_blocks(cli, tmp_path):
    np.savez(tmp_path / "b.npz", w=np.ones(3), H=np.eye(3))
    np.savez(tmp_path / "m.npz", mask=np.array([True, True, False]))
    cli("certify", tmp_path / "b.npz", "--mask", tmp_path / "m.npz", "--samples", 5).refused("--samples")


def test_changes_beside_the_targets_are_said(cli, pruned):
    _, folder = pruned
    run = cli(
        "certify",
        "digits",
        "--mask",
        folder / "m.safetensors",
        "--pruned",
        folder / "p.safetensors",
        "--samples",
        50,
        "--targets",
        "fc2",
        "--json",
        "-",
    )
    assert run.json()["n"] == 512
    beside = [note for note in run.json()["notes"] if "not judged" in note]
    assert [note.split(":")[0] for note in beside] == ["fc1.weight", "fc3.weight"]


def test_a_checkpoint_that_keeps_what_the_mask_prunes_is_named(cli, pruned, tmp_path):
    _, folder = pruned
    masks = load_file(folder / "m.safetensors")
    turned = masks["fc2.weight"].copy()
    turned[np.unravel_index(np.flatnonzero(turned)[0], turned.shape)] = False
    save_file({**masks, "fc2.weight": turned}, tmp_path / "other.safetensors")
    cli(
        "certify",
        "digits",
        "--mask",
        tmp_path / "other.safetensors",
        "--pruned",
        folder / "p.safetensors",
        "--samples",
        50,
    ).refused("fc2.weight: 1 weights")


def test_masks_that_do_not_fit_are_named(cli, pruned, tmp_path):
    _, folder = pruned
    masks = load_file(folder / "m.safetensors")
    save_file({name: mask for name, mask in masks.items() if name != "fc2.weight"}, tmp_path / "less.safetensors")
    cli("certify", "digits", "--mask", tmp_path / "less.safetensors", "--samples", 50).refused(r"fc2.weight")
    save_file({**masks, "fc2.weight": masks["fc2.weight"].T.copy()}, tmp_path / "turned.safetensors")
    cli("certify", "digits", "--mask", tmp_path / "turned.safetensors", "--samples", 50).refused("shape")


def test_a_checkpoint_of_torch_prune_is_masks_and_weights_and_a_network(cli, tmp_path):
    import torch
    from torch.nn.utils import prune

    from cbs_opt.network.load import load_network

    model = load_network("digits")
    prune.custom_from_mask(model.fc1, "weight", torch.arange(64) % 2 * torch.ones(32, 1))
    torch.save(model.state_dict(), tmp_path / "t.pt")
    prune.remove(model.fc1, "weight")
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    arguments = ("certify", "digits", "--samples", 50, "--json", "-")
    wanted = cli(*arguments, "--pruned", tmp_path / "plain.pt").json()
    assert wanted["pruned"] == 32 * 32
    for words in (("--mask", "t.pt"), ("--pruned", "t.pt"), ("--mask", "t.pt", "--pruned", "plain.pt")):
        run = cli(*arguments, *(word if word.startswith("--") else tmp_path / word for word in words))
        assert run.code == 0, run
        assert {key: run.json()[key] for key in ("pruned", "objective", "bound")} == {
            key: wanted[key] for key in ("pruned", "objective", "bound")
        }
    pruning = ("prune", "--sparsity", 0.5, "--method", "magnitude", "--samples", 50, "--no-bound", "--json", "-")
    told = [cli(*pruning, "--weights", tmp_path / name).json() for name in ("t.pt", "plain.pt")]
    assert told[0]["objective"] == told[1]["objective"]


def test_two_masks_of_one_weight_have_to_agree(cli, tmp_path):
    masks = {f"fc{i}.weight": np.ones(shape, dtype=bool) for i, shape in ((1, (32, 64)), (2, (16, 32)), (3, (10, 16)))}
    second = masks["fc1.weight"].copy()
    second[0, 0] = False
    masks["fc1.weight"] = second.copy()
    certify = ("certify", "digits", "--mask", tmp_path / "m.npz", "--samples", 50)
    np.savez(tmp_path / "m.npz", **masks, **{"fc1.weight_mask": second})
    assert cli(*certify).code == 0
    second[0, 1] = False
    np.savez(tmp_path / "m.npz", **masks, **{"fc1.weight_mask": second})
    cli(*certify).refused("m.npz: fc1.weight and fc1.weight_mask are different masks of one weight; leave one out")


def test_a_pruned_network_is_pruned_further(cli, pruned, tmp_path):
    _, folder = pruned
    words = ("prune", "--weights", folder / "p.safetensors", "--samples", 100, "--curvature", "gram", "--no-bound")
    told = cli(
        *words, "--sparsity", 0.9, "--keep-zeros", "--masks", tmp_path / "more.safetensors", "--json", "-"
    ).json()
    assert told["pruned"] == 2448
    assert told["settings"]["keep_zeros"]
    before, after = load_file(folder / "m.safetensors"), load_file(tmp_path / "more.safetensors")
    assert not any((after[name] & ~before[name]).any() for name in before)
    cli(*words, "--sparsity", 0.5, "--keep-zeros").refused("80 % of the weights are zero already")
    assert "2,176 of the 2,720 weights were exactly zero before; keep_zeros" in cli(*words, "--sparsity", 0.9).out


def test_the_page_says_what_the_terminal_says(cli, tmp_path):
    words = ("prune", "--sparsity", 0.5, "--curvature", "gram", "--samples", 100, "--method", "admm")
    told = cli(*words, "--no-bound", "--report", tmp_path / "p.html", "--json", tmp_path / "p.json")
    assert told.code == 0, told.err
    assert f"wrote the report to {tmp_path / 'p.html'}" in told.out
    page = (tmp_path / "p.html").read_text(encoding="utf-8").partition("<script>")[0]
    for text in (told.out, page):
        assert "not asked" in text
        assert "unknown" not in text
        assert all(layer in text for layer in ("fc1", "fc2", "fc3"))
    cli(*words, "--bound", "--stages", 2, "--report", tmp_path / "q.html")
    page = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "not asked" not in page
    assert "Stages" in page
    cli(*words, "--report", "nowhere/p.html").refused("nowhere")
    cli(*words, "--report", tmp_path / "r.html", "--json", tmp_path / "r.html").refused("is the output")
    cli("certify", "digits", "--pruned", "p.safetensors", "--report", "r.html").refused("--report: belongs to")


def test_layer_by_layer_on_the_command_line_as_in_python(cli, digits, digits_network, tmp_path):
    half = ("--samples", 60, "--pattern", "2:4")
    out, masks = tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    assert cli("prune", *half, "--no-bound", "--out", out, "--masks", masks).code == 0
    certify = ("certify", "digits", "--curvature", "gram", *half)
    told = cli(*certify, "--pruned", out, "--report", tmp_path / "r.html", "--json", tmp_path / "r.json")
    assert told.code == 0, told.err
    facts = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    found = cbs_opt.certify_layers(digits_network, load_file(out), digits, samples=60, pattern="2:4")
    assert [layer["name"] for layer in facts["layers"]] == ["fc1", "fc2", "fc3"]
    for layer, row in zip(facts["layers"], found, strict=True):
        assert (layer["given"], layer["bound"]) == pytest.approx((row.given, row.bound), rel=1e-9)
    assert 0.5 < facts["accuracy"] <= facts["accuracy_dense"] + 0.02
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "no mask of the pattern 2:4 has a lower loss" in page
    for text in (told.out, page):
        assert all(name in text for name in ("fc1", "fc2", "fc3", "re-tuned", "accuracy"))
    assert "holds for all masks of the pattern 2:4." in told.out
    of_masks = cli(*certify, "--mask", masks, "--json", "-").json()
    assert "accuracy" not in of_masks  # masks alone are no network
    for layer, row in zip(of_masks["layers"], found, strict=True):
        assert layer["objective"] == pytest.approx(row.objective, rel=1e-9)
        assert layer["given"] >= row.given  # as trained, where the network was re-tuned
    cli(*certify, "--mask", masks, "--pruned", out).refused("exactly one of --mask FILE and --pruned FILE")
    cli(*certify).refused("exactly one of --mask FILE and --pruned FILE")
    cli("certify", "digits", "--pruned", out, "--curvature", "sequential").refused("fisher or by gram")
    cli("certify", "digits", "--pruned", out, "--pattern", "2:4").refused("with --curvature gram")
    cli("certify", "digits", "--pruned", out, "--text", out).refused("--text: belongs to a network hf:FOLDER")
    cli(*certify, "--pruned", out, "--report", out).refused("is the input")
