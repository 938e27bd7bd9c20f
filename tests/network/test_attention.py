"""torch's attention, opened: the same numbers, and two layers more to prune."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import cbs_opt
from cbs_opt.collect import layer_grams
from cbs_opt.errors import InputError
from cbs_opt.network.attention import close_attention, modules_called, open_attention, own_copy
from cbs_opt.network.data import digits_data
from cbs_opt.network.targets import find_target, find_targets, find_tensor

X = np.random.default_rng(0).normal(size=(40, 5, 8)).astype(np.float32)


class Encoder(nn.Module):
    """A transformer encoder and a head on the mean of its states."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=batch_first), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(8, 3)
        self.axis = 1 if batch_first else 0

    def forward(self, x: torch.Tensor, src_key_padding_mask: torch.Tensor | None = None) -> torch.Tensor:
        x = x if self.axis else x.transpose(0, 1)
        return self.head(self.layers(x, src_key_padding_mask=src_key_padding_mask).mean(dim=self.axis))


def encoder(batch_first: bool = True) -> Encoder:
    torch.manual_seed(0)
    return Encoder(batch_first).eval()


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_opened_network_computes_the_same(batch_first: bool) -> None:
    model, x = encoder(batch_first), torch.from_numpy(X)
    padding = torch.arange(5) >= torch.randint(1, 6, (40, 1), generator=torch.Generator().manual_seed(0))
    opened = open_attention(copy.deepcopy(model))
    with torch.no_grad(), modules_called():
        for mask in (None, padding):
            torch.testing.assert_close(opened(x, mask), model(x, mask), rtol=0, atol=1e-6)
    assert list(dict(opened.named_parameters())) == list(dict(model.named_parameters()))
    closed = close_attention(opened)
    assert [type(module) for module in closed.modules()] == [type(module) for module in model.modules()]
    assert torch.backends.mha.get_fastpath_enabled()


def test_cross_attention_computes_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Transformer(8, 2, 1, 1, 12, batch_first=True).eval()
    source, target = torch.from_numpy(X[:4]), torch.from_numpy(X[4:8])
    with torch.no_grad(), modules_called():
        opened = open_attention(copy.deepcopy(model))
        torch.testing.assert_close(opened(source, target), model(source, target), rtol=0, atol=1e-6)


def test_its_projections_are_layers() -> None:
    model = encoder()
    opened = own_copy(model)
    targets = find_targets(opened)
    assert [t.tensor for t in targets][:2] == [
        "layers.layers.0.self_attn.out_proj.weight",
        "layers.layers.0.self_attn.in_proj_weight",
    ]
    assert all(find_tensor(opened, t.tensor) == find_target(opened, t.name) == t for t in targets)
    with pytest.raises(InputError, match=r"layer 'layers\.nothing': the network has no such prunable layer"):
        find_tensor(opened, "layers.nothing.weight")
    grams = layer_grams(opened, X, targets, damping=1.0, precision="float64")
    rows = X.reshape(-1, 8).astype(np.float64)
    np.testing.assert_allclose(grams["layers.layers.0.self_attn.in_proj"].gram[0], rows.T @ rows / 200, atol=1e-12)
    # What goes into the output projection, from torch's own attention without it.
    attention = copy.deepcopy(model).double().layers.layers[0].self_attn
    with torch.no_grad():
        attention.out_proj.weight.copy_(torch.eye(8))
        attention.out_proj.bias.zero_()
        x = torch.from_numpy(X).double()
        into = attention(x, x, x)[0].reshape(-1, 8).numpy()
    found = grams["layers.layers.0.self_attn.out_proj"].gram[0]
    np.testing.assert_allclose(found, into.T @ into / 200, atol=1e-12)


def test_an_encoder_is_pruned_and_handed_back_as_it_was() -> None:
    model = encoder()
    before = copy.deepcopy(model.state_dict())
    found = cbs_opt.prune(model, X, 0.5, curvature="sequential", method="admm", samples=40, bound=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [type(module) for module in found.model.modules()] == [type(module) for module in model.modules()]
    assert list(found.model.state_dict()) == list(before)
    assert found.sparsity == pytest.approx(0.5, abs=0.01)
    masked = found.attach_masks().eval()
    x = torch.from_numpy(X)
    with torch.no_grad(), modules_called():
        torch.testing.assert_close(masked(x), found.model(x))
        assert not torch.allclose(found.model(x), model(x))


class Tied(nn.Module):
    """A language model whose head is its embedding, with a layer that nothing flows through."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.body = nn.Linear(6, 6)
        self.unused = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(self.embedding(tokens))))


def test_tied_and_unused_layers_stay_and_are_said_to() -> None:
    torch.manual_seed(0)
    model, tokens = Tied().eval(), np.random.default_rng(0).integers(0, 11, (20, 4))
    found = cbs_opt.prune(model, tokens, 0.5, curvature="gram", method="magnitude", samples=20)
    assert [layer.name for layer in found.layers] == ["body"]
    assert found.notes[:2] == (
        "layer unused: stays as it is, the network does not call it for any sample",
        "layer head: stays as it is, its weight is embedding.weight",
    )
    with pytest.raises(InputError, match=r"layer head: its weight is the same tensor as embedding\.weight"):
        cbs_opt.prune(model, tokens, 0.5, curvature="gram", targets=["head"], samples=20)
    with pytest.raises(InputError, match="layer unused: the network never calls it"):
        cbs_opt.prune(model, tokens, 0.5, curvature="gram", method="magnitude", targets=["unused"], samples=20)


class _Reader(nn.Module):
    """Reads a digit row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.place = nn.Linear(8, 64), nn.Parameter(0.02 * torch.randn(8, 64))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, 0.1, batch_first=True), 2)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embedding(x.reshape(-1, 8, 8)) + self.place).mean(dim=1))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_an_encoder_trained_on_the_digits_keeps_its_accuracy_at_80_percent() -> None:
    """With the defaults of ``prune``; one of the 359 images is 0.28 points."""
    data = digits_data()
    x, y = torch.from_numpy(data.train_x).float(), torch.from_numpy(data.train_y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Reader()
        adam = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(40):
            for part in torch.randperm(len(x)).split(64):
                adam.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                adam.step()
    pruned = cbs_opt.prune(model.eval(), data, 0.8, bound=False)
    assert pruned.sparsity >= 0.8
    assert pruned.accuracy_dense is not None
    assert pruned.accuracy is not None
    assert pruned.accuracy_dense > 0.95
    assert pruned.accuracy >= pruned.accuracy_dense - 0.005
