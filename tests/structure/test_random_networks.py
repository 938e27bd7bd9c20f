"""Networks drawn at random from ways of coupling channels: what is removed never changes the others' outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from cbs_opt.network.inputs import as_samples
from cbs_opt.network.targets import find_targets
from cbs_opt.structure.channels import removed_positions
from cbs_opt.structure.couple import coupling
from cbs_opt.structure.rebuild import masked, small

WIDTH = 8


class Around(nn.Module):
    """One way to combine what a module makes of x with x."""

    def __init__(self, inner: nn.Module, combined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.combined = inner, combined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.combined(x, self.inner(x))


def gated(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    a, b = y.chunk(2, dim=1)
    return x + a * torch.sigmoid(b)


def conv(groups: int = 1, width: int = WIDTH) -> nn.Module:
    return nn.Conv2d(WIDTH, width, 3, padding=1, groups=groups)


KINDS: tuple[Callable[[], nn.Module], ...] = (
    conv,
    lambda: conv(groups=2),
    lambda: conv(groups=WIDTH),
    lambda: nn.BatchNorm2d(WIDTH),
    lambda: nn.GroupNorm(4, WIDTH),
    nn.SiLU,
    lambda: Around(conv(), lambda x, y: x + y),
    lambda: Around(conv(), lambda x, y: x * torch.sigmoid(y.mean(dim=(2, 3), keepdim=True))),
    lambda: Around(conv(), lambda x, y: x * torch.softmax(y.mean(dim=1, keepdim=True), dim=-1)),
    lambda: nn.Sequential(Around(conv(width=4), lambda x, y: torch.cat([x, y], dim=1)), nn.Conv2d(WIDTH + 4, WIDTH, 1)),
    lambda: Around(conv(width=2 * WIDTH), gated),
    lambda: Around(conv(), lambda x, y: torch.maximum(x, y.flip(1))),
    lambda: nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(WIDTH // 4, WIDTH, 2, stride=2)),
)


@pytest.mark.parametrize("seed", range(16))
def test_the_small_network_is_the_masked_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    middle = [KINDS[kind]() for kind in rng.integers(len(KINDS), size=rng.integers(3, 9))]
    head = [nn.Conv2d(WIDTH, WIDTH, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTH, 3)]
    model = nn.Sequential(nn.Conv2d(3, WIDTH, 3, padding=1), *middle, *head).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand_like(tensor))
    x = rng.normal(size=(5, 3, 6, 6)).astype(np.float32)
    found = coupling(model, as_samples(x).take(slice(1)).inputs(model), find_targets(model))
    assert found.sets  # at least the head's convolution
    kept = [rng.permutation(part.units)[: rng.integers(1, part.units)] for part in found.sets]
    removed = removed_positions(found.sets, kept)
    with torch.no_grad():
        y, z = masked(model, removed)(torch.from_numpy(x)), small(model, removed)(torch.from_numpy(x))
    torch.testing.assert_close(z, y, rtol=1e-4, atol=1e-5 * float(y.abs().max()))
    parameters = sum(p.numel() for p in small(model, removed).parameters())
    assert parameters == found.parameters.of([len(units) for units in kept])
