"""Going on from layer to layer against starting from scratch, on networks drawn at random."""

import numpy as np
import pytest
import torch
from torch import nn

from cbs_opt.collect import sequential_layers
from cbs_opt.network.targets import find_targets

STEPS = ("linear", "relu", "relu in place", "identity", "twice", "block", "pair")
STEPS += ("add", "add in place", "scale in place", "times", "gated", "shaped", "relu of a function in place")


class Steps(nn.Module):
    """Random steps on a growing list of values, each step taking any of the last few; blocks within blocks.

    With in-place changes of values that are used again, modules that return their input, modules called twice and
    modules that return pairs; with products and shapes of values, taken outside any module.
    """

    def __init__(self, rng, depth, pair=False):
        super().__init__()
        self.pair = pair
        self.plan = []
        self.parts = nn.ModuleList()
        for _ in range(rng.integers(2, 6)):
            step = str(rng.choice(STEPS))
            if step in ("block", "pair") and not depth:
                step = "linear"
            part = {"linear": nn.Linear(6, 6), "relu": nn.ReLU(), "relu in place": nn.ReLU(inplace=True)}.get(step)
            if step in ("block", "pair"):
                part = Steps(rng, depth - 1, step == "pair")
            self.parts.append(part or (nn.Tanh() if step == "twice" else nn.Identity()))
            self.plan.append((step, int(rng.integers(1, 4)), int(rng.integers(1, 5))))
        self.skip = bool(rng.integers(0, 2))

    def forward(self, x):
        values = [x]
        for (step, i, j), part in zip(self.plan, self.parts, strict=True):
            a, b = values[-min(i, len(values))], values[-min(j, len(values))]
            if step == "add":
                values.append(a + b)
            elif step == "add in place":
                values.append(a.add_(b))
            elif step == "scale in place":
                values.append(a.mul_(1.1))
            elif step == "times":
                values.append(a * b)
            elif step == "gated":
                values.append(nn.functional.silu(a) * b)
            elif step == "shaped":
                values.append(b + torch.full(a.shape, a.size(-1) / 10, dtype=a.dtype, device=a.device))
            elif step == "relu of a function in place":
                values.append(nn.functional.relu(a, inplace=True))
            elif step == "twice":
                values.append(part(part(a)))
            elif step == "pair":
                values.append(sum(part(a)))
            else:
                values.append(part(a))
        if self.pair:
            return values[-1], values[0]
        return values[-1] + values[len(values) // 2] if self.skip else values[-1]


@pytest.mark.parametrize("seed", range(60))
def test_any_graph(seed):
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 6), Steps(rng, 2), Steps(rng, 2), nn.Linear(6, 3)).eval()
    x = rng.normal(size=(5, 6)).astype(np.float32)
    found = []
    for memory in (0, None):
        layers = sequential_layers(model, x, find_targets(model), damping=1.0, batch=2, memory=memory)
        found.append([])
        for layer in layers:
            found[-1].append(layer)
            layers.replace(layer, np.random.default_rng(len(found[-1])).normal(size=layer.w_bar.shape) / 2)
    for scratch, going_on in zip(*found, strict=True):
        assert scratch.name == going_on.name
        for field in ("gram", "g", "offset"):
            np.testing.assert_array_equal(getattr(scratch, field), getattr(going_on, field))
