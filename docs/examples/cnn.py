"""Train a small CNN, prune it, prove how far its masks are from the best possible, and do the same to another tool's.

    python docs/examples/cnn.py [cnn.png]

Everything is on scikit-learn's handwritten digits, so nothing is downloaded.
"""

import copy
import sys

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.utils import prune as torch_prune

import cbs_opt

picture = sys.argv[1] if len(sys.argv) > 1 else "cnn.png"

# A plain PyTorch training, with nothing of cbs-opt in it.
torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x = (x / 16).reshape(-1, 1, 8, 8).astype("float32")
train_x, test_x, train_y, test_y = map(torch.from_numpy, train_test_split(x, y, stratify=y, random_state=0))
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(128, 10),
)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for _ in range(10):
    for batch in torch.randperm(len(train_x)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(train_x[batch]), train_y[batch]).backward()
        optimizer.step()
network.eval()

# Prune nine of ten weights: masks and re-tuned weights, layer by layer, from the training images without their labels.
pruned = cbs_opt.prune(network, train_x, 0.9, test=(test_x, test_y))
print(
    f"accuracy {pruned.accuracy:.1%} (dense {pruned.accuracy_dense:.1%}) with {pruned.sparsity:.0%} of the weights gone"
)
print("layer    zeros    loss    no mask is below     gap")
for layer in pruned.layers:
    print(f"{layer.name:7}{layer.sparsity:7.1%}{layer.objective:8.3f}{layer.bound:20.3f}{layer.gap:8.1%}")


# The masks of another tool, PyTorch's own magnitude pruning, over the same share of all weights.
def by_magnitude(sparsity: float) -> nn.Module:
    other = copy.deepcopy(network)
    layers = [(module, "weight") for module in other if isinstance(module, (nn.Conv2d, nn.Linear))]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=sparsity)
    for module, name in layers:
        torch_prune.remove(module, name)
    return other


# Certified: for each layer, how far it is from the best mask with as many zeros in that layer.
print("\nPyTorch's masks, certified\nlayer    zeros    loss    with the update    no mask is below     gap of the mask")
for layer in cbs_opt.certify_layers(network, by_magnitude(0.9), train_x):
    zeros = layer.pruned / layer.n
    losses = f"{layer.given:8.3f}{layer.objective:19.3f}{layer.bound:20.3f}"
    print(f"{layer.name:7}{zeros:7.1%}{losses}{layer.mask_gap:20.1%}")


# The picture: accuracy over sparsity.
def accuracy(model: nn.Module) -> float:
    with torch.no_grad():
        return (model(test_x).argmax(1) == test_y).float().mean().item()


sparsities = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
curves = {
    "cbs_opt.prune": [cbs_opt.prune(network, train_x, s, bound=False).model for s in sparsities],
    "torch.nn.utils.prune, by magnitude": [by_magnitude(s) for s in sparsities],
}
figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
for (name, models), colour in zip(curves.items(), ("#009E73", "#E69F00"), strict=True):
    axes.plot(sparsities, [100 * accuracy(model) for model in models], "o-", color=colour, label=name)
axes.axhline(100 * accuracy(network), color="#5a6472", linestyle=":", label="dense")
axes.set(xlabel="share of weights that are zero", ylabel="test accuracy in %", ylim=(0, 102))
axes.legend(frameon=False)
figure.savefig(picture, dpi=110)
print(f"\nwrote {picture}")
