"""Calls from inside ``torch.inference_mode()``, where scripts that measure a network often are."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import cbs_opt

X = np.random.default_rng(0).normal(size=(60, 1, 4, 4)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 60)


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolved = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten())
        return nn.Sequential(convolved, nn.Linear(16, 8), nn.Linear(8, 3)).eval()


ASKED = [
    {"curvature": "sequential", "method": "sparsegpt", "allocation": "layer", "refine": 1, "bound": False},
    {"curvature": "gram", "method": "sparsegpt", "allocation": "layer", "bound": False},
    {"curvature": "fisher", "method": "magnitude", "bound": False},
    {"curvature": "gauss-newton", "reestimate_batchnorm": True},
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked["curvature"])
@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_the_same_comes_out_inside(asked, context):
    outside = cbs_opt.prune(network(), (X, Y), 0.5, **asked)
    with context():
        made_here = cbs_opt.prune(network(), (torch.from_numpy(X) * 1, torch.from_numpy(Y)), 0.5, **asked)
        before = torch.is_inference_mode_enabled()
    given = network()
    with context():
        inside = cbs_opt.prune(given, (X, Y), 0.5, **asked)
    assert before == (context is torch.inference_mode), "it is as it was behind the call"
    for found in (made_here, inside):
        for name, tensor in outside.model.state_dict().items():
            assert torch.equal(tensor, found.model.state_dict()[name]), name
            assert not found.model.state_dict()[name].is_inference(), name


def test_layers_are_judged_inside():
    with torch.inference_mode():
        dense = network()
        pruned = copy.deepcopy(dense)
        pruned[1].weight[:, :8] = 0
        (judged,) = cbs_opt.certify_layers(dense, pruned, X)
    assert judged.pruned == 64
