"""Experts: which layers see tokens that the network has chosen, and what they are fitted to."""

import copy

import numpy as np
import pytest
import tiny_llama
import torch
from layer_inputs import input_of
from torch import nn

import cbs_opt
from cbs_opt.collect import layer_grams, sequential_layers
from cbs_opt.errors import InputError
from cbs_opt.network.attention import own_copy
from cbs_opt.network.targets import find_targets

WIDTH, EXPERTS = 6, 3


class Expert(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.gate, self.down = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8), nn.Linear(8, WIDTH)

    def forward(self, x):
        return self.down(torch.sigmoid(self.gate(x)) * self.up(x)) + x


def by_masks(self, x, scores):
    """Truth values choose, and the answers are put back by them."""
    out, best = torch.zeros_like(x), scores.argmax(1)
    for number, expert in enumerate(self.experts):
        if (best == number).any():
            out[best == number] = expert(x[best == number])
    return out


def by_indices(self, x, scores):
    """The two best experts of each token, as in Mixtral."""
    weights, chosen = scores.softmax(1).topk(2)
    out, hit = torch.zeros_like(x), nn.functional.one_hot(chosen, EXPERTS).permute(2, 1, 0)
    for number, expert in enumerate(self.experts):
        place, tokens = torch.where(hit[number])
        if len(tokens):
            out.index_add_(0, tokens, expert(x[tokens]) * weights[tokens, place, None])
    return out


def sorted_by_expert(self, x, scores):
    """Tokens in the order of their experts, cut by counts, as in DeepSeek."""
    best = scores.argmax(1)
    order = best.argsort(stable=True)
    counts = best.bincount(minlength=EXPERTS).tolist()
    parts = zip(self.experts, x[order].split(counts), strict=True)
    answers = torch.cat([expert(part) if len(part) else part for expert, part in parts])
    out = torch.empty_like(answers)
    out[order] = answers
    return out


def by_products(self, x, scores):
    """Zeros and ones times tokens, as in the Switch Transformer: each expert has room for as many tokens."""
    hot = nn.functional.one_hot(scores.argmax(1), EXPERTS)
    place = nn.functional.one_hot((hot.cumsum(0) - 1).clamp(min=0), len(x)) * hot[..., None]
    dispatch = place.to(x.dtype)  # (token, expert, place)
    seen = torch.einsum("tec,td->ecd", dispatch, x)
    answers = torch.stack([expert(part) for expert, part in zip(self.experts, seen, strict=True)])
    return torch.einsum("tec,ecd->td", dispatch, answers)


def experts_choose(self, x, scores):
    """Each expert takes its four best tokens: as many in every network."""
    out = torch.zeros_like(x)
    for number, expert in enumerate(self.experts):
        tokens = scores[:, number].topk(4).indices
        out.index_add_(0, tokens, expert(x.index_select(0, tokens)))
    return out


KINDS = (by_masks, by_indices, sorted_by_expert, by_products, experts_choose)


class Mixture(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(Expert() for _ in range(EXPERTS))

    def forward(self, x):
        tokens = x.flatten(0, 1)
        return self.kind(self, tokens, self.router(tokens)).view(x.shape)


class Network(nn.Module):
    """Two blocks of a layer and a mixture behind it, and a head."""

    def __init__(self, kind):
        super().__init__()
        self.before = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.mixtures = nn.ModuleList(Mixture(kind) for _ in range(2))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x):
        for before, mixture in zip(self.before, self.mixtures, strict=True):
            x = torch.tanh(before(x)) + x
            x = x + mixture(x)
        return self.head(x.mean(1))


def network(kind, seed=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(kind).eval()


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = normal(30, 5, WIDTH)
ASKED = {"method": "sparsegpt", "allocation": "layer", "dampening_frac": 0.01, "bound": False}


def is_expert(name):
    return ".experts." in name


def walk(model, x, **more):
    """All layer models, each layer being halved before the next, the layers, and the sequence."""
    layers = sequential_layers(model, x, find_targets(model), damping=0.01, precision="float64", batch=4, **more)
    found = []
    for layer in layers:
        found.append(layer)
        layers.replace(layer, np.where(np.abs(layer.w_bar) > np.median(np.abs(layer.w_bar)), 1.5 * layer.w_bar, 0.0))
    return found, layers


@pytest.mark.parametrize("kind", KINDS)
def test_experts_alone_are_fitted_to_their_own_outputs(kind):
    found, layers = walk(network(kind), X)
    assert len(found) == 2 * (1 + 1 + 3 * EXPERTS) + 1
    for layer in found:
        if is_expert(layer.name):
            assert not layer.g.any(), layer.name
            assert not layer.offset.any(), layer.name
        elif layer.name != "before.0":  # whose inputs are the same in both networks
            assert layer.g.any(), layer.name
    (note,) = (note for note in layers.notes if "tokens that the network chooses" in note)
    assert note.startswith("layers mixtures.0.experts.0.")
    assert f"and {2 * 3 * EXPERTS - 3} more" in note


@pytest.mark.parametrize("kind", [by_masks, by_indices, sorted_by_expert])
def test_their_curvature_is_of_the_tokens_that_they_see_in_the_pruned_network(kind):
    model = network(kind)
    found, _ = walk(model, X)
    pruned = copy.deepcopy(model).double()
    for layer in found:
        if is_expert(layer.name):
            seen = calls_of(pruned, layer.name, torch.from_numpy(X).double())
            np.testing.assert_allclose(layer.gram[0], seen.T @ seen / len(seen), rtol=1e-9, atol=1e-12)
            assert layer.columns == len(seen)
        halved = np.where(np.abs(layer.w_bar) > np.median(np.abs(layer.w_bar)), 1.5 * layer.w_bar, 0.0)
        with torch.no_grad():
            pruned.get_parameter(layer.target.tensor).copy_(torch.from_numpy(halved))


def calls_of(model, name, x):
    """The inputs of a layer, (tokens, in)."""
    seen = [torch.zeros(0, model.get_submodule(name).in_features, dtype=x.dtype)]
    hook = model.get_submodule(name).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
    hook.remove()
    return torch.cat(seen).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_gives_the_numbers_of_starting_from_scratch(kind):
    quick, scratch = walk(network(kind), X)[0], walk(network(kind), X, memory=0)[0]
    for layer, other in zip(quick, scratch, strict=True):
        assert layer.name == other.name
        np.testing.assert_array_equal(layer.gram, other.gram)
        np.testing.assert_array_equal(layer.g, other.g)


@pytest.mark.parametrize("build", ["attending", "skipping", "encoder", "llama"])
def test_networks_without_experts_have_no_such_layer(build, request):
    if build == "encoder":
        model = own_copy(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2))
        given = {"src": normal(4, 5, 8), "src_key_padding_mask": np.arange(5) > np.array([[4], [3], [4], [2]])}
    elif build == "llama":
        model = tiny_llama.made(11).eval()
        given = {"input_ids": np.ones((3, 6), dtype=np.int64), "attention_mask": np.ones((3, 6), dtype=np.int64)}
        given["attention_mask"][1, :3] = 0
    else:
        model = request.getfixturevalue(build)
        given = request.getfixturevalue("tokens" if build == "attending" else "images")
    layers = sequential_layers(model, given, find_targets(model), damping=0.01)
    assert layers.notes == []


def test_a_network_of_the_transformers_library_with_experts_in_one_tensor():
    """They are no layers and stay; the layers behind them are paired, though tokens were routed."""
    import transformers

    torch.manual_seed(0)
    model = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            vocab_size=20,
            initializer_range=0.3,
        )
    ).eval()
    tokens = np.random.default_rng(0).integers(0, 20, (12, 8))
    pruned = cbs_opt.prune(model, {"input_ids": tokens}, 0.5, ignore=["lm_head"], refine=1, **ASKED)
    assert len(pruned.layers) == 2 * 4
    assert not any("chooses" in note for note in pruned.notes)
    for name, tensor in model.state_dict().items():
        if ".experts." in name:
            assert torch.equal(tensor, pruned.model.state_dict()[name]), name
    for block in pruned.blocks:
        assert block.refined <= block.error


# ---------------------------------------------------------------- who is not called


class Chosen(nn.Module):
    """The sign of the first number of a sample chooses one of two experts; a third one is there for nothing."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        x = self.first(x) + x
        out = torch.zeros_like(x)
        for expert, which in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0, x[:, 0] > 1e6), strict=True):
            if which.any():
                out[which] = expert(x[which])
        return out


def chosen():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Chosen().eval()


def positive(count, *, but=()):
    x = normal(count, WIDTH)
    x[:, 0] = 50.0
    x[list(but), 0] = -50.0
    return x


def test_an_expert_that_only_a_late_sample_reaches_is_pruned():
    model, x = chosen(), positive(200, but=[150])
    for curvature in ("sequential", "gram"):
        pruned = cbs_opt.prune(model, x, 0.5, curvature=curvature, **ASKED)
        assert [layer.name for layer in pruned.layers] == ["first", "experts.0", "experts.1"]
        assert all(layer.pruned == 18 for layer in pruned.layers)


@pytest.mark.parametrize("curvature", ["sequential", "gram"])
@pytest.mark.parametrize("targets", ["*", ["first", "expert*"]])
def test_an_expert_that_no_sample_reaches_stays_as_it_is_and_is_noted(curvature, targets):
    model, x = chosen(), positive(40, but=[7])
    pruned = cbs_opt.prune(model, x, 0.5, curvature=curvature, targets=targets, **ASKED)
    assert "layer experts.2: stays as it is, the network does not call it for any sample" in pruned.notes
    assert torch.equal(pruned.model.experts[2].weight, model.experts[2].weight)
    assert [layer.name for layer in pruned.layers] == ["first", "experts.0", "experts.1"]


def test_one_that_is_named_in_full_is_an_error():
    with pytest.raises(InputError, match=r"layer experts.2: the network calls it never"):
        cbs_opt.prune(chosen(), positive(40, but=[7]), 0.5, targets=["first", "experts.2"], **ASKED)


def test_it_is_not_judged_either_which_is_said(caplog):
    model, x = chosen(), positive(40, but=[7])
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in (other.experts[0], other.experts[2]):
            layer.weight[:, :3] = 0
    assert [layer.name for layer in cbs_opt.certify_layers(model, other, x)] == ["experts.0"]
    (said,) = caplog.records
    assert said.levelname == "WARNING"
    assert said.getMessage().startswith("certify: layer experts.2: is not judged")
    with pytest.raises(InputError, match="no sample reaches any of the layers that have zeros"):
        cbs_opt.certify_layers(model, other, x, targets=["experts.2"])


def test_an_expert_that_the_pruned_network_does_not_reach_takes_the_tokens_of_the_dense_one():
    model, x = chosen(), positive(40, but=[7])
    targets = find_targets(model, ["first", "experts.0", "experts.1"])
    layers = sequential_layers(model, x, targets, damping=0.01, batch=16)
    experts = []
    for layer in layers:
        if layer.name == "first":
            weights = layer.w_bar.copy()
            weights[0] = 0.0
            weights[0, 0] = -2.0  # the sign of the first number is the other one: x + first(x) is −x there
            layers.replace(layer, weights)
        else:
            experts.append(layer)
    assert [layer.columns for layer in experts] == [1, 39]
    layers = sequential_layers(model, positive(40), targets[:2], damping=0.01, batch=16)
    for layer in layers:
        if layer.name == "first":
            layers.replace(layer, weights)
        else:
            seen = input_of(copy.deepcopy(model).double(), "experts.0", positive(40))
            np.testing.assert_allclose(layer.gram[0], seen.T @ seen / 40, rtol=1e-5)
            assert not layer.g.any()
    assert any("no token reaches it in the pruned network" in note for note in layers.notes)


def test_layer_grams_still_refuse_what_is_never_called():
    model = chosen()
    with pytest.raises(InputError, match=r"layer experts.2: the network never calls it"):
        layer_grams(model, positive(10, but=[1]), find_targets(model), damping=0.01)


class Cut(nn.Module):
    """As many tokens as a number says: nothing that is chosen shows, but their count."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        x = self.first(x).flatten(0, 1)
        return self.second(x[: int(x[:, 0].gt(0).sum()) + 1]).sum(0, keepdim=True).expand(len(x), -1)


def test_another_count_of_tokens_is_found_out_when_it_happens():
    torch.manual_seed(0)
    model = Cut().eval()
    found, layers = walk(model, X)
    assert not found[1].g.any()
    assert any(note.startswith("layer second: sees others in the pruned network") for note in layers.notes)
