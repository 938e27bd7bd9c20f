"""Layer by layer against a slow computation of its own: both networks in full for every layer, every row by itself."""

import copy

import numpy as np
import pytest
import torch
from layer_inputs import input_of, unfolded
from network_state import state
from torch import nn

from cbs_opt.collect import sequential_layers
from cbs_opt.errors import InputError
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network
from cbs_opt.network.reference import resnet20
from cbs_opt.network.targets import find_targets

FIELDS = ("gram", "g", "offset", "w_bar")


def halved(layer):
    """The layer's weights without the smaller half, and shifted: any new weights will do."""
    keep = np.abs(layer.w_bar) > np.median(np.abs(layer.w_bar))
    return np.float32(keep * layer.w_bar * 1.5).astype(np.float64)


def walk(model, x, **options):
    """All layer models, each layer being halved before the next, and the pruned network."""
    layers = sequential_layers(model, x, find_targets(model), damping=0.01, precision="float64", batch=3, **options)
    found = []
    for layer in layers:
        found.append(layer)
        layers.replace(layer, halved(layer))
    return found, layers


def assert_matches_slow(model, x):
    found, layers = walk(model, x)
    dense, pruned = copy.deepcopy(model).double(), copy.deepcopy(model).double()
    rng = np.random.default_rng(0)
    for layer in found:
        module = dense.get_submodule(layer.name)
        X = unfolded(layer.target, module, input_of(dense, layer.name, x))
        X_hat = unfolded(layer.target, module, input_of(pruned, layer.name, x))
        m, d = X.shape[2], layer.target.inputs
        for row in range(layer.target.outputs):
            group, w_bar = layer.target.group(row), layer.w_bar[row]
            np.testing.assert_array_equal(w_bar, layer.target.matrix(module.weight)[row].detach().numpy())
            H = X_hat[group] @ X_hat[group].T / m + 0.01 * np.eye(d)
            wanted = w_bar @ X[group]
            b = X_hat[group] @ wanted / m + 0.01 * w_bar
            c = 0.5 * wanted @ wanted / m + 0.005 * w_bar @ w_bar
            np.testing.assert_allclose(layer.H[group], H, rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(layer.B[row], b, rtol=1e-9, atol=1e-11)
            assert layer.c[row] == pytest.approx(c, rel=1e-9, abs=1e-12)
            w = rng.normal(size=d)
            f = 0.5 * ((w @ X_hat[group] - wanted) ** 2).sum() / m + 0.005 * ((w - w_bar) ** 2).sum()
            assert layer.problem(row).objective(w) == pytest.approx(f, rel=1e-9)
            assert layer.losses(np.tile(w, (layer.target.outputs, 1)))[row] == pytest.approx(f, rel=1e-9)
        with torch.no_grad():
            pruned.get_parameter(layer.target.tensor).copy_(layer.target.weight(torch.from_numpy(halved(layer))))
    inputs = torch.from_numpy(x)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        assert torch.equal(layers.network().double()(inputs), pruned(inputs))


def assert_same(one, other):
    assert [layer.name for layer in one] == [layer.name for layer in other]
    for layer, twin in zip(one, other, strict=True):
        assert all(np.array_equal(getattr(layer, field), getattr(twin, field)) for field in FIELDS), layer.name


def test_skips_groups_strides_and_in_place_operations(skipping, images):
    assert_matches_slow(skipping, images)


def test_tokens_tuples_and_transposed_weights(attending, tokens):
    assert_matches_slow(attending, tokens)


def test_order_is_that_of_execution(skipping, images):
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(192, 3)

        def forward(self, x):
            return self.last(self.first(x.flatten(1)))

    model = Reversed().eval()
    assert [layer.name for layer in walk(model, images)[0]] == ["first", "last"]


@pytest.mark.parametrize("build", ["skipping", "attending", "resnet20"])
def test_going_on_gives_the_numbers_of_starting_from_scratch(build, request):
    if build == "resnet20":
        model, x = resnet20().eval(), np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    else:
        model = request.getfixturevalue(build)
        x = request.getfixturevalue("tokens" if build == "attending" else "images")
    quick, layers = walk(model, x)
    scratch, plain = walk(model, x, memory=0)
    assert layers.notes == plain.notes == []
    assert_same(quick, scratch)


def test_every_module_computes_once(images):
    """What going on is for: each convolution runs once a batch and stream (the trials on one sample aside)."""
    calls = []

    class Counting(nn.Conv2d):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    model = nn.Sequential(*(Counting(3, 3, 3, padding=1) for _ in range(6))).eval()
    walk(model, images)
    large = [size for size in calls if size == 3]
    assert len(large) == 2 * 2 * 5  # streams × batches of three × layers (the last is stopped at, not run)


def test_too_little_memory_is_noted_and_changes_nothing(skipping, images):
    quick, _ = walk(skipping, images)
    tight, layers = walk(skipping, images, memory=40_000)
    assert any("exceed 4e-05 GB" in note for note in layers.notes)
    assert_same(quick, tight)


class Aliasing(nn.Module):
    """Uses what a module returned after another has changed it in place."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 5)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.a(x.flatten(1))
        z = self.c(self.b(self.act(y)))
        return self.d(z + y)  # y is act's output by now


def test_modules_that_change_their_input(images):
    model = Aliasing().eval()
    quick, layers = walk(model, images)
    assert layers.notes == []
    assert_same(quick, walk(model, images, memory=0)[0])
    assert_matches_slow(model, images)


class Disguised(Aliasing):
    """A module hands back its own input, which is then changed in place."""

    def __init__(self):
        super().__init__()
        self.act = nn.Identity()

    def forward(self, x):
        y = self.a(x.flatten(1))
        z = self.c(self.b(self.act(y).add_(1)))
        return self.d(z + y)


def test_modules_that_return_their_input(images):
    model = Disguised().eval()
    quick, layers = walk(model, images)
    assert layers.notes == []
    assert_same(quick, walk(model, images, memory=0)[0])
    assert_matches_slow(model, images)


class Reaching(nn.Module):
    """Changes in place what it was not called with."""

    held = None

    def forward(self, x):
        self.held.add_(1)
        return 2 * x


class Unseen(Aliasing):
    """A module reaches for another one's answer."""

    def __init__(self):
        super().__init__()
        self.act = Reaching()

    def forward(self, x):
        y = self.a(x.flatten(1))
        self.act.held = y
        z = self.c(self.b(self.act(x.flatten(1)[:, :6])))
        self.act.held = None
        return self.d(z + y)


def test_a_network_that_cannot_be_replayed_is_found_out(images):
    model = Unseen().eval()
    quick, layers = walk(model, images)
    assert any("the network cannot go on from here" in note for note in layers.notes)
    assert_same(quick, walk(model, images, memory=0)[0])
    assert_matches_slow(model, images)


class Deciding(nn.Module):
    """Takes another course for batches of large numbers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        y = self.a(x.flatten(1))
        z = self.c(self.b(y))
        return self.d(z + y if float(x.abs().max()) > 50 else z)


def test_a_network_that_takes_another_course(images):
    images[5] *= 100
    model = Deciding().eval()
    assert_same(walk(model, images)[0], walk(model, images, memory=0)[0])


def test_goal_pruned(skipping, images):
    dense, _ = walk(skipping, images)
    found, _ = walk(skipping, images, goal="pruned")
    for layer, other in zip(found, dense, strict=True):
        np.testing.assert_array_equal(layer.gram, other.gram)
        assert not layer.g.any()
        assert not layer.offset.any()
        assert layer.problem(0).g is None


def test_layers_that_are_not_replaced_stay(images, skipping):
    layers = sequential_layers(skipping, images, find_targets(skipping), dampening_frac=0.01)
    for layer in layers:
        assert not layer.g.any()  # nothing has changed, so the two networks agree to the last digit
        assert layer.precision == "float32"
    state = layers.network().state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in skipping.state_dict().items())


def test_the_exact_minimizer_mends_what_the_layer_before_broke():
    """Halving fc1 and re-fitting fc2 on what comes out of it must not be worse than leaving fc2 as it is."""
    model, x = load_network("digits"), digits_data().train_x[:300]
    layers = sequential_layers(model, x, find_targets(model, ["fc1", "fc2"]), dampening_frac=1e-4, precision="float64")
    for layer in layers:
        if layer.name == "fc1":
            layers.replace(layer, halved(layer))
        else:
            w = np.linalg.solve(layer.H[0], layer.B.T).T
            assert (layer.losses(w) < 0.9 * layer.offset).all()
            np.testing.assert_allclose(layer.losses(w), layer.c - 0.5 * np.einsum("ri,ri->r", layer.B, w), rtol=1e-8)


def test_model_is_left_alone_by_walking(skipping, images):
    before = state(skipping)
    walk(skipping, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in skipping.state_dict().items())
    assert all("forward" not in module.__dict__ for module in skipping.modules())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.spare = nn.Linear(192, 192), nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(self.fc(x.flatten(1)))


@pytest.mark.parametrize(
    ("targets", "message"),
    [("fc", "layer fc: the network calls it 2 times in one pass"), ("spare", "spare: the network calls it never")],
)
def test_layers_that_are_not_called_once(images, targets, message):
    model = Twice().eval()
    with pytest.raises(InputError, match=message):
        sequential_layers(model, images, find_targets(model, targets), damping=1.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.zeros((3, 3)), r"have shape \(3, 3\); \(8, 27\) is needed"), (np.full((8, 27), np.nan), "hold NaN")],
)
def test_bad_new_weights(skipping, images, weights, message):
    layers = sequential_layers(skipping, images, find_targets(skipping), damping=1.0)
    with pytest.raises(InputError, match=f"layer a: the new weights {message}"):
        layers.replace(next(iter(layers)), weights)


def test_no_targets_and_no_such_goal(skipping, images):
    with pytest.raises(InputError, match="targets: are none"):
        sequential_layers(skipping, images, [], damping=1.0)
    with pytest.raises(InputError, match="goal: is 'sparse'; there are dense and pruned"):
        sequential_layers(skipping, images, find_targets(skipping), damping=1.0, goal="sparse")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_walking_on_the_gpu(skipping, images):
    here, _ = walk(skipping, images)
    there, _ = walk(skipping.cuda(), images)
    for layer, twin in zip(here, there, strict=True):
        np.testing.assert_allclose(twin.gram, layer.gram, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(twin.g, layer.g, rtol=1e-6, atol=1e-8)


def test_a_bad_sample_is_called_by_the_number_given(skipping, images):
    images[5, 0, 0, 0] = np.inf
    layers = sequential_layers(skipping, images, find_targets(skipping), damping=1.0, numbers=np.arange(10, 17))
    with pytest.raises(InputError, match="layer a: its input for sample 15 is not finite"):
        next(iter(layers))


def test_changes_that_float32_cannot_square_are_computed_in_float64(skipping, images):
    """The first-order term and the offset of the second layer grow as the square of the images."""
    found = []
    for size in (1.0, 1e25):
        skipping.bn.running_mean.zero_()
        for layer in (skipping.a, skipping.b, skipping.bn):
            layer.bias.data.zero_()
        layers = sequential_layers(skipping, images * np.float32(size), find_targets(skipping, ["a", "b"]), damping=1.0)
        sequence = iter(layers)
        first = next(sequence)
        layers.replace(first, 0.5 * first.w_bar)
        second = next(sequence)
        found.append((second.g / size**2, second.offset / size**2))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


class Attention(nn.Module):
    """Queries, keys and values of one input, and a second layer whose input only looks the same."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.q, self.k, self.v = nn.Linear(6, 4), nn.Linear(6, 3), nn.Linear(6, 4)
        self.copy = nn.Linear(6, 2)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.q(x), self.k(x), self.v(x), self.copy(x + 0.0)


def test_layers_with_one_input_are_summed_together():
    torch.manual_seed(0)
    model, x = Attention().double().eval(), np.random.default_rng(0).normal(size=(7, 3, 5))
    together = sequential_layers(model, x, find_targets(model), damping=0.1, batch=2)
    found = {}
    for layer in together:
        found[layer.name] = layer
        together.replace(layer, layer.w_bar * 0.5)
    assert found["k"].curvatures is found["q"].curvatures
    assert found["v"].curvatures is found["q"].curvatures
    assert found["copy"].curvatures is not found["q"].curvatures
    for name in ("q", "k", "v", "copy"):
        alone = sequential_layers(model, x, find_targets(model, ["first", name]), damping=0.1, batch=2)
        for layer in alone:
            alone.replace(layer, layer.w_bar * 0.5)
        for field in ("w_bar", "gram", "g", "offset"):
            np.testing.assert_allclose(getattr(found[name], field), getattr(layer, field), rtol=1e-12, atol=1e-14)
        assert layer.g.any()
    np.testing.assert_array_equal(together.network().get_submodule("v").weight.detach(), model.v.weight.detach() * 0.5)
