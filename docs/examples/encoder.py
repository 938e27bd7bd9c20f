"""A transformer encoder: train `nn.TransformerEncoder`, prune its attention and its MLPs, unstructured and to 2:4.

    python docs/examples/encoder.py [encoder.png]

A digit of 8 × 8 pixels is read as a sequence of eight rows. The projections inside `nn.MultiheadAttention` are layers
like any other; embedding and head are left alone.
"""

import sys

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import cbs_opt

picture = sys.argv[1] if len(sys.argv) > 1 else "encoder.png"


class Encoder(nn.Module):
    """Eight tokens of eight pixels, two encoder layers, one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.position = nn.Parameter(0.1 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(32, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:  # (m, 8, 8)
        return self.head(self.encoder(self.embed(rows) + self.position).mean(dim=1))


torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x = (x / 16).reshape(-1, 8, 8).astype("float32")
train_x, test_x, train_y, test_y = map(torch.from_numpy, train_test_split(x, y, stratify=y, random_state=0))
network = Encoder()
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
for _ in range(20):
    for batch in torch.randperm(len(train_x)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(train_x[batch]), train_y[batch]).backward()
        optimizer.step()
network.eval()

# Half of all weights; half of them in hardware's pattern, two of every four; three quarters; nine tenths.
asked = {
    "half": {"sparsity": 0.5},
    "2:4": {"pattern": "2:4"},
    "3 of 4": {"sparsity": 0.75},
    "9 of 10": {"sparsity": 0.9},
}
runs = {
    words: cbs_opt.prune(network, train_x, **what, targets=["encoder.*"], test=(test_x, test_y))
    for words, what in asked.items()
}
print(f"dense: {runs['half'].accuracy_dense:.1%}\n\npruned     zeros   accuracy   gap")
for words, run in runs.items():
    print(f"{words:8}{run.sparsity:8.1%}{run.accuracy:11.1%}{run.gap:6.0%}")

# The picture: where the zeros are, and how far each layer can be from the best possible.
run = runs["3 of 4"]
names = [layer.name.removeprefix("encoder.layers.") for layer in run.layers]
figure = Figure(figsize=(8, 4), layout="constrained")
left, right = figure.subplots(1, 2, sharey=True)
left.barh(names, [100 * layer.sparsity for layer in run.layers], color="#0072B2")
left.set(xlabel="zeros in %", xlim=(0, 100))
right.barh(names, [100 * layer.gap for layer in run.layers], color="#D55E00")
right.set(xlabel="gap to the proven bound in %")
left.invert_yaxis()
figure.suptitle("Three of four weights pruned", fontsize=11)
figure.savefig(picture, dpi=110)
print(f"\nwrote {picture}")
