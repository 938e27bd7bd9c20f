"""Positions that a mask hides count in no curvature, however the network lays its positions out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cbs_opt.collect import layer_grams, sequential_layers
from cbs_opt.errors import InputError
from cbs_opt.network.samples import answer_of
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning.sensitivity import sensitivities

LENGTHS = (5, 3, 1, 4)
TOKENS = np.random.default_rng(0).integers(0, 11, (4, 5))
MASK = np.array([[position < length for position in range(5)] for length in LENGTHS], dtype=np.int64)
PADDING = {"attention_mask": MASK, "src_key_padding_mask": MASK == 0}


class Layered(nn.Module):
    """Tokens to scores: one layer before and one after a pooling over the tokens that count."""

    def __init__(self, layout: str = "samples first", named: str = "attention_mask") -> None:
        super().__init__()
        self.layout, self.named = layout, named
        self.embedding = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, tokens: torch.Tensor, **masks: torch.Tensor) -> torch.Tensor:
        counted = masks[self.named] if self.named == "attention_mask" else ~masks[self.named]
        x = self.embedding(tokens)
        if self.layout == "positions first":
            x = self.up(input=x.transpose(0, 1)).transpose(0, 1)
        elif self.layout == "flat":
            x = self.up(x.flatten(0, 1)).unflatten(0, tokens.shape)
        else:
            x = self.up(x)
        kept = counted.unsqueeze(-1).to(x.dtype)
        return self.head((torch.tanh(x) * kept).sum(dim=1) / kept.sum(dim=1))


def network(**how: str) -> Layered:
    torch.manual_seed(0)
    return Layered(**how).double().eval()


def expected_gram(model: Layered) -> np.ndarray:
    x = model.embedding(torch.from_numpy(TOKENS)).detach().numpy()[MASK == 1]
    return x.T @ x / len(x)


@pytest.mark.parametrize("layout", ["samples first", "positions first", "flat"])
@pytest.mark.parametrize("named", PADDING)
def test_a_gram_is_the_mean_over_tokens_that_count(layout: str, named: str) -> None:
    model = network(layout=layout, named=named)
    samples = {"tokens": TOKENS, named: PADDING[named]}
    found = layer_grams(model, samples, find_targets(model), damping=1.0, batch=3)
    assert found["up"].columns == sum(LENGTHS)
    np.testing.assert_allclose(found["up"].gram[0], expected_gram(model), atol=1e-14)
    assert found["head"].columns == 4, "what is pooled has no padding"


def test_layer_by_layer_likewise() -> None:
    model = network()
    layers = sequential_layers(model, {"tokens": TOKENS, "attention_mask": MASK}, find_targets(model), damping=1.0)
    first, second = iter(layers)
    np.testing.assert_allclose(first.gram[0], expected_gram(model), atol=1e-14)
    assert (first.columns, second.columns) == (sum(LENGTHS), 4)
    assert not first.g.any()


def test_a_sample_that_is_not_finite_is_named_behind_padding() -> None:
    model = network()
    with torch.no_grad():
        model.embedding.weight[TOKENS[3, 0]] = float("nan")
    only = np.flatnonzero((TOKENS[3, 0] == TOKENS) & (MASK == 1)) // 5
    with pytest.raises(InputError, match=rf"layer up: its input for sample {only[0]} is not finite"):
        layer_grams(model, {"tokens": TOKENS, "attention_mask": MASK}, find_targets(model), damping=1.0)


def test_what_comes_out_at_padding_is_felt_by_nobody() -> None:
    class Tagger(Layered):
        def forward(self, tokens: torch.Tensor, **masks: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.up(self.embedding(tokens))))

    torch.manual_seed(0)
    model = Tagger().double().eval()
    found = sensitivities(model, {"tokens": TOKENS, "attention_mask": MASK}, find_targets(model))
    np.testing.assert_allclose(found["head"], np.full(3, sum(LENGTHS) / 4))  # the signs' squares, of each token


def test_hidden_states_are_an_answer() -> None:
    states = torch.zeros(2, 3)
    assert answer_of(SimpleNamespace(last_hidden_state=states, pooler_output=torch.ones(2))) is states
    assert answer_of({"last_hidden_state": states, "pooler_output": torch.ones(2)}) is states
    assert answer_of({"last_hidden_state": states, "logits": states + 1})[0, 0] == 1
