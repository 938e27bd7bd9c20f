"""Networks by name, weights and data from files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cbs_opt.errors import InputError, UnknownMethodError
from cbs_opt.network.data import Data, digits_data, load_data, load_samples
from cbs_opt.network.load import load_network, load_tensors
from cbs_opt.network.samples import accuracy

SHARED = Path(os.environ.get("CBS_OPT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture
def state():
    return load_network("digits").state_dict()


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pt"])
def test_weights_from_files(tmp_path, state, suffix):
    file = tmp_path / f"w.{suffix}"
    doubled = {name: 2 * tensor for name, tensor in state.items()}
    if suffix == "safetensors":
        save_file(doubled, file)
    elif suffix == "npz":
        np.savez(file, **{name: tensor.numpy() for name, tensor in doubled.items()})
    else:
        torch.save(doubled, file)
    for name, tensor in load_network("digits", file).state_dict().items():
        torch.testing.assert_close(tensor, doubled[name])


def test_unknown_name_says_what_there_is():
    with pytest.raises(UnknownMethodError, match=r"did you mean digits\? there are digits, mlpnet, .*, module:factory"):
        load_network("digit")


def test_mlpnet_needs_weights():
    with pytest.raises(InputError, match="give a weights file"):
        load_network("mlpnet")


def test_misfit_names_tensors_and_shapes(tmp_path, state):
    state = dict(state)
    del state["fc2.bias"]
    state["fc9.weight"] = torch.zeros(1)
    state["fc1.weight"] = torch.zeros(3, 4)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError) as error:
        load_network("digits", tmp_path / "w.safetensors")
    for part in ("fc2.bias is missing", "fc9.weight has no place", "fc1.weight has shape (3, 4) instead of (32, 64)"):
        assert part in str(error.value)


def test_weights_with_nan(tmp_path, state):
    state["fc1.bias"][3] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"fc1\.bias holds NaN"):
        load_network("digits", tmp_path / "w.safetensors")


class Pickled:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("suffix", ["pt", "npz"])
def test_pickles_are_never_executed(tmp_path, suffix):
    file = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save({"fc1.weight": Pickled()}, file)
    else:
        np.savez(file, w=np.array([Pickled()], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        load_tensors(file)


@pytest.mark.parametrize("content", [b"", b"not a file of tensors"])
@pytest.mark.parametrize("suffix", ["pt", "npz", "safetensors"])
def test_unreadable_weights(tmp_path, suffix, content):
    file = tmp_path / f"w.{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"{file.name}: cannot be read"):
        load_tensors(file)


def test_factory_from_the_current_folder(tmp_path, monkeypatch, caplog):
    (tmp_path / "my_nets_for_test.py").write_text(
        "import torch\ndef tiny():\n    return torch.nn.Linear(3, 2)\ndef wrong():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_network("my_nets_for_test:tiny"), torch.nn.Linear)
    assert "no weights file is given; it keeps the weights that its factory sets" in caplog.text
    with pytest.raises(InputError, match=r"returned int; a torch\.nn\.Module is needed"):
        load_network("my_nets_for_test:wrong")


def test_a_misspelt_factory_or_module_is_answered_with_the_nearest_name(tmp_path, monkeypatch):
    (tmp_path / "nets_for_spelling.py").write_text(
        "import torch\nSmallNot = 3\nclass SmallNet(torch.nn.Linear):\n    pass\ndef broken():\n    return SmallNat\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no attribute 'SmallNt'\); did you mean SmallNet\? give module:factory"):
        load_network("nets_for_spelling:SmallNt")
    with pytest.raises(
        InputError, match=r"No module named 'nets_for_speling'\); did you mean nets_for_spelling\? give"
    ):
        load_network("nets_for_speling:SmallNet")
    for name in ("nets_for_spelling:nothing_like_it", "nets_for_spelling:broken"):
        with pytest.raises(InputError, match=r"cannot be made \(.*\); give module:factory"):
            load_network(name)


def test_samples_without_labels(tmp_path):
    x = np.array([[0, 255], [255, 255]], dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    np.testing.assert_array_equal(load_samples(tmp_path / "x.npz"), [[0, 1], [1, 1]])
    with pytest.raises(InputError, match=r"x\.npz: y is missing; labels are needed here"):
        load_data(tmp_path / "x.npz")
    for wrong, said in ((np.float32(1), "x has shape"), (np.ones((0, 2)), "x has shape"), ([[np.nan]], "NaN")):
        np.savez(tmp_path / "wrong.npz", x=wrong)
        with pytest.raises(InputError, match=rf"wrong\.npz: .*{said}"):
            load_samples(tmp_path / "wrong.npz")
    np.savez(tmp_path / "both.npz", x=x, y=np.array([0, 1]))
    assert len(load_samples(tmp_path / "both.npz").train_y) == 2
    np.savez(tmp_path / "y.npz", y=np.array([0, 1]))
    with pytest.raises(InputError, match="train_x is missing"):
        load_samples(tmp_path / "y.npz")


def test_data_of_integer_type_is_scaled(tmp_path):
    x = np.array([[0, 255]], dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.array([1]))
    np.testing.assert_allclose(load_data(tmp_path / "d.npz").train_x, [[0, 1]])
    expected = (np.array([[0, 1]]) - 0.1307) / 0.3081
    np.testing.assert_allclose(load_data(tmp_path / "d.npz", "mlpnet").test_x, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_x": np.ones((2, 3))}, "train_y is missing"),
        ({"x": np.ones((2, 3)), "y": np.array([0.5, 1])}, "integer labels"),
        ({"x": np.ones((2, 3)), "y": np.array([0])}, r"d\.npz: train_y: has shape \(1,\) for 2 samples"),
        ({"x": np.array([[1.0, np.nan]]), "y": np.array([0])}, r"train_x: entry \(0, 1\) is not finite"),
    ],
)
def test_bad_data(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_data(tmp_path / "d.npz")


def test_samples_that_do_not_fit_the_network():
    x = np.zeros((2, 5), dtype=np.float32)
    with pytest.raises(InputError, match=r"cannot take samples of shape \(5,\)"):
        accuracy(load_network("digits"), x, np.zeros(2, dtype=np.int64))


def test_data_of_torch_is_named_as_such(tmp_path):
    torch.save({"train_x": torch.zeros(3, 2)}, tmp_path / "d.pt")
    with pytest.raises(InputError, match=r"d\.pt: is a file of torch\.save, .* write it with numpy\.savez"):
        load_data(tmp_path / "d.pt")


def test_data_is_float32():
    data = digits_data()
    assert isinstance(data, Data)
    assert data.train_x.dtype == data.test_x.dtype == np.float32


def shared(name):
    """A file of the shared data; the test is skipped, and says so, where it is missing."""
    if not (SHARED / name).is_file():
        pytest.skip(f"no {name} under {SHARED}; set CBS_OPT_DATA")
    return SHARED / name


@pytest.mark.data
def test_mlpnet_accuracy():
    data = load_data(shared("mnist.npz"), "mlpnet")
    model = load_network("mlpnet", shared("mlpnet_mnist.npz"))
    assert accuracy(model, data.test_x, data.test_y) == 0.9397


@pytest.mark.data
@pytest.mark.slow
def test_resnet20_accuracy():
    data = load_data(shared("cifar10.npz"), "resnet20")
    model = load_network("resnet20", shared("resnet20_cifar10.npz"))
    assert accuracy(model, data.test_x, data.test_y) == 0.9143


def masked_digits(of=("fc1", "fc2", "fc3")):
    """The digits network with every other weight of some layers masked by torch.nn.utils.prune."""
    from torch.nn.utils import prune

    model = load_network("digits")
    for name in of:
        layer = model.get_submodule(name)
        mask = (torch.arange(layer.weight.numel()) % 2).reshape(layer.weight.shape)
        prune.custom_from_mask(layer, "weight", mask)
    return model


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_that_torch_prune_has_masked(tmp_path, digits, prefix):
    model = masked_digits()
    torch.save({f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}, tmp_path / "w.pt")
    read = load_network("digits", tmp_path / "w.pt")
    x = torch.from_numpy(digits.test_x[:50])
    assert torch.equal(read(x), model(x))
    assert not read.fc1.weight.flatten()[::2].any()
    assert read.fc1.weight.flatten()[1::2].all()


def test_what_only_looks_like_a_masked_weight(tmp_path):
    state = masked_digits(["fc1"]).state_dict()
    for name, tensor, word in (
        ("fc1.weight_mask", 0.5 * state["fc1.weight_mask"], "fc1.weight_mask is no mask of fc1.weight_orig"),
        ("fc1.weight_mask", state["fc1.weight_mask"][:3], r"zeros and ones in the shape \(32, 64\)"),
        ("fc1.weight", state["fc1.weight_orig"], "fc1.weight is not fc1.weight_orig times fc1.weight_mask"),
        ("fc2.weight_orig", state["fc2.weight"], "fc2.weight_orig has no place in the network"),
    ):
        torch.save({**state, name: tensor}, tmp_path / "w.pt")
        with pytest.raises(InputError, match=word):
            load_network("digits", tmp_path / "w.pt")
