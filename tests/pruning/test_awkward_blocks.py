"""Blocks of networks that are frozen, in half precision, fast in eval mode, with a cache, or change things in place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_llama import made
from torch import nn

import cbs_opt
from cbs_opt.collect import sequential_layers
from cbs_opt.collect.output_error import OutputError
from cbs_opt.errors import InputError
from cbs_opt.evaluation.lower_bound import LowerBound
from cbs_opt.network.attention import modules_called
from cbs_opt.network.samples import accuracy
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning import layerwise
from cbs_opt.pruning.block_by_block import Pace

ASKED = {"method": "sparsegpt", "allocation": "layer", "bound": False}


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class InPlace(Mixed):
    def forward(self, x):
        x += self.down(torch.relu(self.up(x)))
        return x


def stack(kind=Mixed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(kind(), kind(), nn.Linear(12, 4)).eval()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32)


def outputs(model, name, *inputs, **named):
    found = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, args, output: found.append(output))
    with torch.no_grad(), modules_called():
        model(*inputs, **named)
    hook.remove()
    return (found[0][0] if isinstance(found[0], tuple) else found[0]).double()


def assert_refined_errors(pruned, dense, counted, *inputs, **named):
    for block in pruned.blocks[:2]:
        ours, theirs = (outputs(model, block.name, *inputs, **named)[counted] for model in (pruned.model, dense))
        expected = float(((ours - theirs) ** 2).sum() / (theirs**2).sum())
        assert block.refined == pytest.approx(expected, rel=1e-5), block.name
        assert block.refined < block.error


def test_a_frozen_network_is_refined_like_any_other(x):
    frozen, free = stack().requires_grad_(False), stack()
    one, other = (cbs_opt.prune(model, x, 0.5, refine=2, **ASKED) for model in (frozen, free))
    assert one.blocks == other.blocks
    assert one.blocks[0].refined < one.blocks[0].error
    assert not any(parameter.requires_grad for parameter in (*one.model.parameters(), *frozen.parameters()))
    assert all(parameter.requires_grad for parameter in (*other.model.parameters(), *free.parameters()))


def test_squares_beyond_float16_are_added_up():
    total = OutputError()
    total.add(torch.full((4, 3), 303.0).half(), torch.full((4, 3), 300.0).half(), None)
    assert total.relative == pytest.approx(1e-4, rel=1e-6)


def test_a_network_in_bfloat16_goes_on_from_its_folder(x, tmp_path):
    model = stack().to(torch.bfloat16)
    first = cbs_opt.prune(model, x, 0.5, work=tmp_path, **ASKED)
    (tmp_path / "stage-1" / "block-0002.safetensors").unlink()
    again = cbs_opt.prune(model, x, 0.5, work=tmp_path, **ASKED)
    assert again.blocks == first.blocks


class Encoder(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=batch_first)
        self.embedding, self.batch_first = nn.Embedding(30, 16), batch_first
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens, src_key_padding_mask=None):
        x = self.embedding(tokens)
        x = self.encoder(x if self.batch_first else x.transpose(0, 1), src_key_padding_mask=src_key_padding_mask)
        return self.head(x[:, 0] if self.batch_first else x[0])


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_encoder_with_padding_is_refined_and_goes_on_with_the_same_bytes(tmp_path, batch_first):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Encoder(batch_first).eval()
    tokens, padding = np.random.default_rng(0).integers(0, 30, (40, 10)), np.zeros((40, 10), dtype=np.bool_)
    padding[:20, 6:] = True
    data = {"tokens": tokens, "src_key_padding_mask": padding}
    first = cbs_opt.prune(model, data, 0.5, refine=2, work=tmp_path, **ASKED)
    counted = torch.from_numpy(~padding if batch_first else ~padding.T)
    assert_refined_errors(first, model, counted, torch.from_numpy(tokens), torch.from_numpy(padding))
    for number in (2, 3):
        (tmp_path / "stage-1" / f"block-{number:04d}.safetensors").unlink()
    again = cbs_opt.prune(model, data, 0.5, refine=2, work=tmp_path, **ASKED)
    assert again.blocks == first.blocks
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_a_language_model_with_its_cache_on_is_refined():
    pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = made(30).eval()
    assert model.config.use_cache
    tokens = np.random.default_rng(0).integers(0, 30, (40, 10))
    pruned = cbs_opt.prune(model, {"input_ids": tokens}, 0.5, refine=2, ignore=["lm_head"], **ASKED)
    assert_refined_errors(pruned, model, slice(None), torch.from_numpy(tokens))


def test_a_network_that_changes_its_input_in_place_changes_no_samples(x):
    model, before = stack(InPlace), x.copy()
    grams = [layer.gram[0] for layer in sequential_layers(model, x, find_targets(model), damping=0.1)]
    seen = outputs(model, "1", torch.from_numpy(before.copy())).numpy()  # what the last layer takes
    np.testing.assert_allclose(grams[-1], seen.T @ seen / len(x), rtol=1e-4, atol=1e-5)
    accuracy(model, x, np.zeros(len(x), dtype=np.int64))
    cbs_opt.prune(model, x, 0.5, **ASKED)
    np.testing.assert_array_equal(x, before)


def test_new_weights_are_not_those_of_whoever_gave_them(x):
    model = stack().double()
    layers = sequential_layers(model, x.astype(np.float64), find_targets(model), damping=0.1)
    layer = next(iter(layers))
    weights = 0.5 * layer.w_bar
    layers.replace(layer, weights)
    weights[:] = 0.0
    found = layers.network().get_parameter(layer.target.tensor).detach().numpy()
    np.testing.assert_array_equal(found, 0.5 * layer.w_bar)


def test_a_convolution_and_a_linear_layer_may_share_their_input():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(8, 8), nn.Linear(448, 3)

        def forward(self, x):
            return self.head(torch.cat([self.conv(x).flatten(1), self.linear(x).flatten(1)], dim=1))

    images = np.random.default_rng(0).normal(size=(30, 3, 8, 8)).astype(np.float32)
    pruned = cbs_opt.prune(Both().eval(), images, 0.5, **ASKED)
    assert [layer.name for layer in pruned.layers] == ["conv", "linear", "head"]


def test_a_lazy_module_without_values_is_said(x):
    with pytest.raises(InputError, match=r"parameter 1.weight is of a lazy module and has no values yet"):
        cbs_opt.prune(nn.Sequential(nn.Linear(12, 8), nn.LazyLinear(3)), x, 0.5, **ASKED)


def test_a_folder_of_other_layers_is_refused_though_their_weights_are_the_same(x, tmp_path):
    model = stack()
    model[1].load_state_dict(model[0].state_dict())
    cbs_opt.prune(model, x, 0.5, targets=["0.*"], work=tmp_path, **ASKED)
    with pytest.raises(InputError, match=r"is of another run \(other layers\)"):
        cbs_opt.prune(model, x, 0.5, targets=["1.*"], work=tmp_path, **ASKED)
    (tmp_path / "stage-1" / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"is of another run"):
        cbs_opt.prune(model, x, 0.5, targets=["1.*"], work=tmp_path, **ASKED)


def test_the_file_of_another_block_is_said(x, tmp_path):
    cbs_opt.prune(stack(), x, 0.5, work=tmp_path, seed=np.int64(0), **ASKED)
    first, second = (tmp_path / "stage-1" / f"block-000{number}.safetensors" for number in (1, 2))
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match=r"block-0001.safetensors cannot be read .* delete it"):
        cbs_opt.prune(stack(), x, 0.5, work=tmp_path, seed=0, **ASKED)


def test_what_a_method_noted_is_there_again(x, tmp_path, monkeypatch):
    solve = layerwise.solve
    monkeypatch.setattr(layerwise, "solve", lambda *args, **named: replace(solve(*args, **named), notes=("so it is",)))
    for _ in range(2):
        assert "so it is" in cbs_opt.prune(stack(), x, 0.5, work=tmp_path, **ASKED).notes


def test_a_run_that_goes_on_has_the_rest_of_the_time_for_bounds(x, tmp_path, monkeypatch):
    limits = []

    def bounded(problem, device, limit):
        limits.append(limit)
        return LowerBound(0.0, "rows", 0.0, 0)

    monkeypatch.setattr(layerwise, "lower_bound", bounded)
    asked = ASKED | {"bound": True, "bound_time": 1000.0, "work": tmp_path}
    cbs_opt.prune(stack(), x, 0.5, **asked)
    assert len(limits) == 5
    (tmp_path / "stage-1" / "block-0002.safetensors").unlink()
    limits.clear()
    cbs_opt.prune(stack(), x, 0.5, **asked)
    assert limits[0] == pytest.approx(1000.0 * 144 / 624), "its share by the number of weights"


def test_what_is_left_is_what_is_not_done(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("cbs_opt.pruning.block_by_block.time.perf_counter", lambda: now[0])
    one = find_targets(nn.Linear(4, 4))
    pace = Pace([one, one, one])
    now[0] = 10.0
    pace.done(0)
    assert pace.words(0, done=True) == pace.words(1).replace("block 2", "block 1") == "block 1 of 3, about 20 s left"
