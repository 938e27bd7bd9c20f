"""Per-sample gradients against plain autograd, one sample at a time."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from network_state import state

from cbs_opt import PruningProblem, obs_update
from cbs_opt.collect import gradient_factor, gradients, per_sample
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.network.data import digits_data, load_data
from cbs_opt.network.load import load_network
from cbs_opt.network.targets import find_targets


def by_autograd(model, x, y, names, loss=torch.nn.functional.cross_entropy):
    """Gradient of the loss of these samples taken together, flattened, in float64."""
    double = model.double()
    inputs = torch.from_numpy(x)
    value = loss(double(inputs.double() if inputs.is_floating_point() else inputs), torch.from_numpy(y))
    found = torch.autograd.grad(value, [double.get_parameter(name) for name in names])
    return np.concatenate([gradient.flatten().numpy() for gradient in found])


@pytest.fixture(scope="module")
def model():
    return load_network("digits")


def test_chosen_entries_equal_autograd(model):
    data = digits_data()
    x, y = data.train_x[:7], data.train_y[:7]
    entries = {"fc1.weight": np.array([0, 5, 700, 2047]), "fc3.weight": np.arange(160)}
    collected = gradients(model, x, y, entries, chunk=3)
    for name, chosen in entries.items():
        full = np.stack([by_autograd(load_network("digits"), x[i : i + 1], y[i : i + 1], [name]) for i in range(7)])
        assert collected[name].rows.dtype == np.float64
        np.testing.assert_allclose(collected[name].rows, full[:, chosen], rtol=1e-10, atol=1e-14)
        assert collected[name].mean_square == pytest.approx((full**2).mean(), rel=1e-10)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_convolutions_equal_autograd(skipping, images, labels, precision):
    names = ["b.weight", "a.bias", "bn.weight", "short.weight", "fc.weight", "c.weight"]
    found = gradient_factor(skipping, images, labels, names, precision=precision, chunk=3)
    expected = np.stack([by_autograd(skipping, images[i : i + 1], labels[i : i + 1], names) for i in range(7)])
    assert str(found.A.dtype) == found.precision == precision
    assert found.notes == (f"gradients in {precision}",)
    tolerance = 1e-12 if precision == "float64" else 1e-4
    np.testing.assert_allclose(found.A * np.sqrt(7), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    for name, columns in found.columns.items():
        assert found.mean_square[name] == pytest.approx((expected[:, columns] ** 2).mean(), rel=1e-4)


def test_tokens_and_transposed_weights_equal_autograd(attending, tokens, labels):
    targets = find_targets(attending)
    found = gradient_factor(attending, tokens, labels, targets, precision="float64")
    names = [target.tensor for target in targets]
    expected = np.stack([by_autograd(attending, tokens[i : i + 1], labels[i : i + 1], names) for i in range(7)])
    np.testing.assert_allclose(found.A * np.sqrt(7), expected, rtol=1e-10, atol=1e-13)


def test_a_loss_of_ones_own(skipping, images):
    wanted = np.random.default_rng(5).normal(size=(7, 5))

    def loss(outputs, labels):
        return ((outputs - labels) ** 2).mean()

    found = gradient_factor(skipping, images, wanted, ["fc.weight"], loss=loss, precision="float64")
    expected = [by_autograd(skipping, images[i : i + 1], wanted[i : i + 1], ["fc.weight"], loss) for i in range(7)]
    np.testing.assert_allclose(found.A * np.sqrt(7), expected, rtol=1e-10, atol=1e-13)


def test_averaged_rows(skipping, images, labels):
    found = gradient_factor(skipping, images, labels, ["c.weight"], average=3, seed=4, precision="float64")
    assert found.samples.shape == (2, 3)
    assert len(np.unique(found.samples)) == 6
    expected = [np.sqrt(3) * by_autograd(skipping, images[s], labels[s], ["c.weight"]) for s in found.samples]
    np.testing.assert_allclose(found.A * np.sqrt(2), expected, rtol=1e-10, atol=1e-13)


def test_the_draw_is_that_of_the_seed(skipping, images, labels):
    one, same, other = (
        gradient_factor(skipping, images, labels, ["fc.weight"], rows=4, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.A, same.A)
    np.testing.assert_array_equal(one.samples, same.samples)
    assert not np.array_equal(one.samples, other.samples)
    everything = gradient_factor(skipping, images, labels, ["fc.weight"])
    np.testing.assert_array_equal(everything.samples[:, 0], np.arange(7))


def test_curvature_is_the_empirical_fisher(skipping, images, labels):
    names = ["c.weight", "fc.weight"]
    found = gradient_factor(skipping, images, labels, names, precision="float64")
    G = np.stack([by_autograd(skipping, images[i : i + 1], labels[i : i + 1], names) for i in range(7)])
    H = G.T @ G / 7 + 0.1 * (G**2).mean() * np.eye(G.shape[1])
    v = np.random.default_rng(0).normal(size=G.shape[1])
    np.testing.assert_allclose(found.curvature(dampening_frac=0.1).matvec(v), H @ v, rtol=1e-9)


def test_rows_on_disk(skipping, images, labels, tmp_path):
    in_memory = gradient_factor(skipping, images, labels, ["c.weight"])
    on_disk = gradient_factor(skipping, images, labels, ["c.weight"], memory=0, folder=tmp_path)
    assert isinstance(on_disk.A, np.memmap)
    assert any(str(tmp_path) in note for note in on_disk.notes)
    np.testing.assert_array_equal(on_disk.A, in_memory.A)
    assert len(list(tmp_path.iterdir())) == 1
    del on_disk
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_on_disk_after_an_error(skipping, images, labels, tmp_path):
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"the gradient of sample 3 with respect to \w+\.weight is not finite"):
        gradient_factor(skipping, images, labels, find_targets(skipping), memory=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk(skipping, images, labels, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(TooLargeError, match="GB free, but 7 rows of 432 gradients take"):
        gradient_factor(skipping, images, labels, ["c.weight"], memory=0, folder=tmp_path)


@pytest.fixture
def little_memory(monkeypatch):
    """At most two rows at once."""
    plain = per_sample.RowGradients._compute

    def compute(self, inputs, labels):
        if len(labels) > 2:
            torch.empty(2**60)  # what torch really raises here
        return plain(self, inputs, labels)

    monkeypatch.setattr(per_sample.RowGradients, "_compute", compute)


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_takes_fewer_rows_at_once_and_says_so(skipping, images, labels):
    found = gradient_factor(skipping, images, labels, ["fc.weight"], precision="float64")
    expected = [by_autograd(skipping, images[i : i + 1], labels[i : i + 1], ["fc.weight"]) for i in range(7)]
    np.testing.assert_allclose(found.A * np.sqrt(7), expected, rtol=1e-10, atol=1e-13)
    assert any("2 rows at a time" in note for note in found.notes)


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_names_the_chunk_that_fits(skipping, images, labels):
    with pytest.raises(TooLargeError, match="chunk: 5 rows do not fit the memory; 2 do"):
        gradient_factor(skipping, images, labels, ["fc.weight"], chunk=5)


class Peeking(torch.nn.Linear):
    """Looks at a value, which cannot be done for many samples at once."""

    def forward(self, x):
        return super().forward(x) * (2.0 if float(x.sum()) > 0 else 1.0)


def test_a_network_that_cannot_be_vectorized_is_looped_over(images, labels):
    model = torch.nn.Sequential(torch.nn.Flatten(), Peeking(192, 5)).eval()
    found = gradient_factor(model, images, labels, ["1.weight"], precision="float64")
    expected = [by_autograd(model, images[i : i + 1], labels[i : i + 1], ["1.weight"]) for i in range(7)]
    np.testing.assert_allclose(found.A * np.sqrt(7), expected, rtol=1e-10, atol=1e-13)
    assert any("row by row" in note for note in found.notes)


def test_dead_layers_are_named(skipping, images, labels):
    with torch.no_grad():
        skipping.fc.weight[:, 54:] = 0
        skipping.c.weight.zero_()
        skipping.short.weight.zero_()
        skipping.fc.weight[:, :54] = 0
    found = gradient_factor(skipping, images, labels, ["b.weight", "fc.weight"])
    assert found.notes[1:] == ("b.weight: all its gradients are zero on these samples (a dead layer)",)


def test_model_is_left_alone(model):
    before = state(model)
    data = digits_data()
    gradients(model, data.train_x[:2], data.train_y[:2], {"fc2.weight": np.arange(4)})
    gradient_factor(model, data.train_x[:2], data.train_y[:2], ["fc2.weight"], precision="float64")
    assert all(parameter.grad is None and parameter.dtype == torch.float32 for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_gradient_that_is_not_finite_names_sample_and_tensor(model):
    x = digits_data().train_x[:4].copy()
    x[2, 10] = np.inf
    with pytest.raises(InputError, match=r"the gradient of sample 2 with respect to fc1\.weight is not finite"):
        gradients(model, x, digits_data().train_y[:4], {"fc1.weight": np.arange(64)})


def test_label_without_output(model):
    with pytest.raises(InputError, match="labels from 3 to 10, but the network has 10 outputs"):
        gradients(model, digits_data().train_x[:2], np.array([3, 10]), {"fc1.weight": np.arange(2)})


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        (["fc9.weight"], {}, "tensor 'fc9.weight': the network has no such parameter"),
        ([], {}, "tensors: are none"),
        (["fc.weight", "fc.weight"], {}, "name each tensor to collect once"),
        (["fc.weight"], {"rows": 8}, "8 of 1 samples each need 8, but there are 7"),
        (["fc.weight"], {"rows": 3, "average": 3}, "3 of 3 samples each need 9, but there are 7"),
        (["fc.weight"], {"average": 0}, "at least 1 is needed"),
        (["fc.weight"], {"chunk": 0}, "chunk: is 0"),
        (["fc.weight"], {"precision": "float16"}, "there are float32 and float64"),
        (["fc.weight"], {"memory": 0, "folder": "/no/such/folder"}, "folder: /no/such/folder is no folder"),
    ],
)
def test_bad_requests_for_gradients(skipping, images, labels, tensors, options, message):
    with pytest.raises(InputError, match=message):
        gradient_factor(skipping, images, labels, tensors, **options)


def test_samples_that_do_not_fit(skipping, labels):
    with pytest.raises(InputError, match=r"cannot take samples of shape \(4, 8, 8\)"):
        gradient_factor(skipping, np.zeros((7, 4, 8, 8), dtype=np.float32), labels, ["fc.weight"])


@pytest.mark.data
def test_the_shared_whole_network_instance():
    """The magnitude mask and its update cost what another implementation found on the same 1000 samples."""
    folder = Path(os.environ.get("CBS_OPT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not (folder / "mlpnet_reference_instance.npz").is_file():
        pytest.skip(f"no mlpnet_reference_instance.npz under {folder}; set CBS_OPT_DATA")
    instance = np.load(folder / "mlpnet_reference_instance.npz")
    data, model = load_data(folder / "mnist.npz", "mlpnet"), load_network("mlpnet", folder / "mlpnet_mnist.npz")
    x, y = data.train_x[instance["idx"]], data.train_y[instance["idx"]]
    targets = find_targets(model)
    fisher = gradient_factor(model, x, y, targets, precision="float64").curvature(damping=float(instance["damping"]))
    w = np.concatenate([model.get_parameter(target.tensor).detach().flatten().double().numpy() for target in targets])
    order = np.argsort(np.abs(w))
    for sparsity, value in zip(instance["sparsity"], instance["magnitude_update_objective"], strict=True):
        problem = PruningProblem(w, fisher).at_sparsity(float(sparsity))
        z = np.ones(len(w), dtype=bool)
        z[order[: problem.Z.prune]] = False
        assert problem.objective(obs_update(problem, z)) == pytest.approx(value, abs=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gradients_on_the_gpu(skipping, images, labels):
    names = ["b.weight", "fc.weight"]
    here = gradient_factor(skipping, images, labels, names, precision="float64")
    there = gradient_factor(skipping.cuda(), images, labels, names, precision="float64")
    np.testing.assert_allclose(there.A, here.A, rtol=1e-8, atol=1e-12)
