"""One block, exactly and by heuristics: how much does the choice of the mask matter, and what is the best there is?

    python docs/examples/block.py [block.png]

A *block* is a pruning problem small enough to be solved to proven optimality: here one neuron of the digits network
that comes with the package, 32 weights.
"""

import sys

import numpy as np
import torch
from matplotlib.figure import Figure

import cbs_opt
from cbs_opt.network import digits_data, load_network

picture = sys.argv[1] if len(sys.argv) > 1 else "block.png"

# The weights w of one neuron of the second layer, and what flows into that layer: one row a sample.
network, data = load_network("digits"), digits_data()
with torch.no_grad():
    X = torch.relu(network.fc1(torch.from_numpy(data.train_x))).double().numpy()
w = network.fc2.weight[4].detach().double().numpy()

# The problem: which weights to remove together, so that the output changes least once the others are re-tuned?
# That is ½·mean (Xv − Xw)² + λ/2 ‖v − w‖² over all v with enough zeros; λ is 1 % of the mean of the diagonal of XᵀX/m.
block = cbs_opt.PruningProblem.from_activations(w, X, dampening_frac=0.01, name="fc2, neuron 4")

# Every method on the same problem. The loss of each mask is computed here, never by the method; the bound is proven.
table = cbs_opt.compare(block.at_sparsity(0.75))
print(f"{block.name}: prune 24 of {block.n} weights; no mask has a loss below {table.bound:.5f}\n")
print("method        loss as trained   loss re-tuned      gap")
for row in table.rows:
    print(f"{row.method:14}{row.selection_objective:15.5f}{row.objective:16.5f}{row.gap:9.1%}")

# The same from four pruned weights to all but one. Branch and bound proves each of these problems in some milliseconds.
numbers = range(4, block.n)
best = np.array([cbs_opt.solve(block.pruning(k), "bnb").objective for k in numbers])
figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
for method, colour in (("magnitude", "#E69F00"), ("cbs", "#CC79A7"), ("greedy-obs", "#0072B2")):
    loss = np.array([cbs_opt.solve(block.pruning(k), method).objective for k in numbers])
    axes.plot(numbers, loss / best, "o-", markersize=4, color=colour, label=method)
axes.axhline(1, color="#009E73", linewidth=3, label="bnb: proven, nothing is lower")
axes.set(yscale="log", yticks=[1, 2, 3, 4, 6], yticklabels=["1", "2", "3", "4", "6"])
axes.minorticks_off()
axes.set(xlabel=f"pruned weights, of {block.n}", ylabel="loss, as a multiple of the least there is")
figure.legend(loc="outside upper center", ncols=4, frameon=False)
figure.savefig(picture, dpi=110)
print(f"\nwrote {picture}")
