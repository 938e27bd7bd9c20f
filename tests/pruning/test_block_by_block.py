"""Blocks: the errors of their outputs, refinement, and going on where a run was ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from network_state import state
from torch import nn

import cbs_opt
from cbs_opt.errors import InputError
from cbs_opt.pruning import work as work_folder


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return (x + self.down(torch.relu(self.up(self.norm(x)))),)


class Stack(nn.Module):
    """Blocks in a list that hand on a tuple, as decoder blocks do, and a head."""

    def __init__(self, width=12, depth=3):
        super().__init__()
        self.blocks = nn.ModuleList(Residual(width) for _ in range(depth))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        for block in self.blocks:
            (x,) = block(x)
        return self.head(x)


@pytest.fixture
def stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Stack().eval()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)


ASKED = {
    "curvature": "sequential",
    "method": "sparsegpt",
    "allocation": "layer",
    "dampening_frac": 0.01,
    "bound": False,
}


def outputs(model, name, x):
    """What the module answers when the network runs on x."""
    found = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, args, output: found.append(output))
    with torch.no_grad():
        model(torch.from_numpy(x))
    hook.remove()
    answer = found[0][0] if isinstance(found[0], tuple) else found[0]
    return answer.double().numpy()


def assert_errors_are_of_the_model(pruned, dense, x, field):
    for block in pruned.blocks:
        ours, theirs = outputs(pruned.model, block.name, x), outputs(dense, block.name, x)
        expected = ((ours - theirs) ** 2).sum() / (theirs**2).sum()
        assert getattr(block, field) == pytest.approx(expected, rel=1e-4), block.name


def test_errors_of_blocks(stack, x):
    pruned = cbs_opt.prune(stack, x, 0.5, **ASKED)
    assert [block.name for block in pruned.blocks] == ["blocks.0", "blocks.1", "blocks.2", "head"]
    assert all(block.refined is None and block.error > 0 for block in pruned.blocks)
    assert_errors_are_of_the_model(pruned, stack, x, "error")
    assert pruned.to_dict()["blocks"][0] == {"name": "blocks.0", "error": pruned.blocks[0].error, "refined": None}


def test_refinement_lowers_the_errors_and_keeps_the_masks(stack, x):
    before = state(stack)
    plain, refined = (cbs_opt.prune(stack, x, 0.7, refine=passes, **ASKED) for passes in (0, 5))
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.state_dict().items())
    assert refined.blocks[0].error == pytest.approx(plain.blocks[0].error, rel=1e-5)
    assert all(block.refined <= block.error for block in refined.blocks)
    assert refined.blocks[0].refined < 0.95 * plain.blocks[0].error
    assert refined.blocks[2].refined < plain.blocks[2].error
    assert_errors_are_of_the_model(refined, stack, x, "refined")
    assert refined.weights.pruned == plain.weights.pruned
    for name, mask in refined.masks().items():
        weight = refined.model.get_parameter(name).detach().numpy()
        assert not weight[~mask].any()
    for name in before:
        if "norm" in name or "bias" in name:
            assert torch.equal(refined.model.state_dict()[name], before[name]), name


@pytest.mark.parametrize("curvature", ["sequential", "gram"])
@pytest.mark.parametrize(("precision", "digits"), [(torch.float32, np.float32), (torch.float64, np.float64)])
def test_weights_have_the_digits_of_the_network(stack, x, curvature, precision, digits):
    pruned = cbs_opt.prune(stack.to(precision), x, 0.6, **ASKED | {"curvature": curvature})
    assert pruned.weights.values.dtype == digits
    for name, weights in pruned.weights.matrices().items():
        np.testing.assert_array_equal(pruned.model.get_submodule(name).weight.detach().numpy(), weights)


def test_padding_counts_in_no_error_and_no_refinement():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.blocks = nn.Embedding(9, 12), nn.ModuleList([Residual(12)])

        def forward(self, tokens, attention_mask=None):
            return self.blocks[0](self.embedding(tokens))[0]

    torch.manual_seed(0)
    model = Tokens().eval()
    rng = np.random.default_rng(0)
    tokens, mask = rng.integers(1, 9, (40, 6)), np.ones((40, 6), dtype=np.int64)
    alone = cbs_opt.prune(model, {"tokens": tokens, "attention_mask": mask}, 0.5, refine=2, **ASKED)
    longer = np.concatenate([tokens, np.zeros((40, 3), dtype=np.int64)], axis=1)
    shown = np.concatenate([mask, np.zeros((40, 3), dtype=np.int64)], axis=1)
    padded = cbs_opt.prune(model, {"tokens": longer, "attention_mask": shown}, 0.5, refine=2, **ASKED)
    assert padded.blocks[0].error == pytest.approx(alone.blocks[0].error, rel=1e-4)
    assert padded.blocks[0].refined == pytest.approx(alone.blocks[0].refined, rel=1e-2)


def assert_same(one, other):
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    assert one.layers[0].objective == other.layers[0].objective
    assert one.blocks == other.blocks
    assert one.stages == other.stages


class Ended(Exception):
    pass


@pytest.mark.parametrize("refine", [0, 2])
def test_a_run_ended_anywhere_goes_on_and_ends_with_the_same_bytes(stack, x, tmp_path, monkeypatch, refine):
    asked = ASKED | {"refine": refine}
    undisturbed = cbs_opt.prune(stack, x, 0.5, **asked)
    keep = work_folder.StageFolder.keep
    for _ in range(3):
        kept = []

        def ends(self, number, outcome, kept=kept):
            keep(self, number, outcome)
            kept.append(number)
            raise Ended

        monkeypatch.setattr(work_folder.StageFolder, "keep", ends)
        with pytest.raises(Ended):
            cbs_opt.prune(stack, x, 0.5, work=tmp_path / "work", **asked)
        assert len(kept) == 1, "each run prunes one further block"
    monkeypatch.setattr(work_folder.StageFolder, "keep", keep)
    resumed = cbs_opt.prune(stack, x, 0.5, work=tmp_path / "work", **asked)
    assert_same(undisturbed, resumed)
    again = cbs_opt.prune(stack, x, 0.5, work=tmp_path / "work", **asked)
    assert_same(undisturbed, again)


def test_stages_have_folders_of_their_own(stack, x, tmp_path):
    undisturbed = cbs_opt.prune(stack, x, 0.6, stages=2, **ASKED)
    for _ in range(2):
        kept = cbs_opt.prune(stack, x, 0.6, stages=2, work=tmp_path, **ASKED)
        assert_same(undisturbed, kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage-1", "stage-2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sparsity": 0.6}, "other asked"),
        ({"seed": 1}, "other asked, samples"),
        ({"dampening_frac": 0.1}, "other asked"),
    ],
)
def test_a_folder_of_another_run_is_refused(stack, x, tmp_path, change, words):
    asked = {"sparsity": 0.5} | ASKED | {"work": tmp_path}
    cbs_opt.prune(stack, x, **asked)
    with pytest.raises(InputError, match=f"is of another run \\({words}\\); name another folder, or delete this one"):
        cbs_opt.prune(stack, x, **(asked | change))


def test_another_network_is_refused_and_damage_is_said(stack, x, tmp_path):
    cbs_opt.prune(stack, x, 0.5, work=tmp_path, **ASKED)
    (file,) = tmp_path.glob("stage-1/block-0002.*")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"block-0002.safetensors cannot be read .* delete it"):
        cbs_opt.prune(stack, x, 0.5, work=tmp_path, **ASKED)
    with torch.no_grad():
        stack.head.bias += 1
    with pytest.raises(InputError, match="other network"):
        cbs_opt.prune(stack, x, 0.5, work=tmp_path, **ASKED)


@pytest.mark.parametrize("option", [{"refine": 2}, {"work": "w"}])
def test_they_belong_to_sequential(stack, x, option):
    asked = ASKED | {"curvature": "gram"} | option
    with pytest.raises(InputError, match="belongs to the curvature sequential"):
        cbs_opt.prune(stack, x, 0.5, **asked)


@pytest.mark.parametrize("refine", [-1, 1.5, True])
def test_passes_are_a_whole_number(stack, x, refine):
    with pytest.raises(InputError, match=r"refine: is .* a whole number of passes"):
        cbs_opt.prune(stack, x, 0.5, refine=refine, **ASKED)


def test_progress_says_which_block_and_how_long(stack, x):
    words = []
    cbs_opt.prune(stack, x, 0.5, progress=words.append, **ASKED)
    for block, layer in ((1, "blocks.0.up"), (3, "blocks.2.down")):
        begin, end = f"block {block} of 4, about ", f" s left: pruning layer {layer}"
        assert any(w.startswith(begin) and w.endswith(end) for w in words)


def test_killed_three_times_the_command_ends_with_the_same_bytes(tmp_path):
    """Killed from outside, at moments of its own choosing, with blocks done and one under way."""
    command = [str(Path(sys.executable).with_name("cbs-opt")), "prune", "--network", "digits", "--sparsity", "0.6"]
    command += ["--curvature", "sequential", "--no-bound", "--refine", "1", "--samples", "500"]
    command += ["--method", "sparsegpt", "--allocation", "uniform"]
    subprocess.run([*command, "--out", tmp_path / "whole.safetensors"], check=True, capture_output=True)
    work = tmp_path / "work"
    for done in (1, 2, 3):
        running = subprocess.Popen(
            [*command, "--work", work, "--out", tmp_path / "resumed.safetensors"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while running.poll() is None and not (work / "stage-1" / f"block-{done:04d}.safetensors").exists():
            pass
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    subprocess.run(
        [*command, "--work", work, "--out", tmp_path / "resumed.safetensors"], check=True, capture_output=True
    )
    assert Path(tmp_path / "whole.safetensors").read_bytes() == Path(tmp_path / "resumed.safetensors").read_bytes()
