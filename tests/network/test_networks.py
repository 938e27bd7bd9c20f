"""The reference networks: sizes, names, images."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cbs_opt.errors import InputError
from cbs_opt.network.data import load_data
from cbs_opt.network.load import load_network, load_tensors
from cbs_opt.network.reference import NETWORKS, cifarnet, mobilenet, resnet20, resnet50


@pytest.mark.parametrize(
    ("name", "parameters", "shape"),
    [
        ("mlpnet", 32_360, (1, 28, 28)),
        ("resnet20", 272_474, (3, 32, 32)),
        ("cifarnet", 2400 + 25_600 + 51_200 + 576 * 64 + 64 + 650, (3, 32, 32)),
        # As torchvision documents ResNet50_Weights, and as Keras documents MobileNet (4.2 M; the exact sum is by hand).
        ("resnet50", 25_557_032, (3, 224, 224)),
        ("mobilenet", None, (3, 224, 224)),
    ],
)
def test_sizes_and_outputs(name, parameters, shape):
    model = NETWORKS[name].build().eval()
    if parameters is not None:
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    with torch.no_grad():
        assert model(torch.zeros(2, *shape)).shape == (2, 1000 if shape[1] == 224 else 10)


def test_mobilenet_counts_as_in_its_paper():
    """13 pairs: depthwise 9·c and pointwise c·c' weights, two batch norms; a first convolution and a classifier."""
    channels = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    pairs = sum(9 * c + c * d + 2 * c + 2 * d for c, d in pairwise(channels))
    expected = 27 * 32 + 64 + pairs + 1024 * 1000 + 1000
    assert sum(parameter.numel() for parameter in mobilenet().parameters()) == expected


def test_names_of_the_published_checkpoints():
    names = set(resnet50().state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.1.bias", "layer4.2.conv3.weight"} <= names
    assert len(names) == 320
    names = set(mobilenet().state_dict())
    assert {"model.0.0.weight", "model.1.0.weight", "model.1.3.weight", "model.13.4.running_mean", "fc.weight"} <= names
    assert [name for name in cifarnet().state_dict() if "conv" in name] == [f"conv{i}.weight" for i in (1, 2, 3)]


def test_strides():
    model = resnet50().eval()
    assert model.layer2[0].conv2.stride == (2, 2)
    assert model.layer2[0].conv1.stride == (1, 1)
    with torch.no_grad():
        assert model.layer1(model.maxpool(model.conv1(torch.zeros(1, 3, 64, 64)))).shape == (1, 256, 16, 16)
        assert mobilenet().model[:14](torch.zeros(2, 3, 224, 224)).shape == (2, 1024, 7, 7)


def test_colours_come_first(tmp_path):
    x = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.savez(tmp_path / "d.npz", x=x, y=np.array([0, 1]))
    scaled = load_data(tmp_path / "d.npz", "resnet20").train_x
    assert scaled.shape == (2, 3, 4, 5)
    np.testing.assert_allclose(scaled[1, 2, 3, 4], (x[1, 3, 4, 2] / 255 - 0.5) / 0.5, rtol=1e-6)
    np.testing.assert_allclose(
        load_data(tmp_path / "d.npz", "resnet50").train_x[0, :, 1, 2],
        (x[0, 1, 2] / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
        rtol=1e-5,
    )


def test_images_of_another_shape(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3, 4, 4), dtype=np.uint8), y=np.array([0, 1]))
    with pytest.raises(InputError, match=r"d\.npz: images: have shape \(2, 3, 4, 4\)"):
        load_data(tmp_path / "d.npz", "cifarnet")


def test_training_checkpoints_are_unwrapped(tmp_path):
    state = resnet20().state_dict()
    wrapped = {"epoch": 7, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    torch.save(wrapped, tmp_path / "c.pth")
    loaded = load_tensors(tmp_path / "c.pth")
    assert loaded.keys() == state.keys()
    load_network("resnet20", tmp_path / "c.pth")
