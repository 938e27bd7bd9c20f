"""A formulation of your own: a Pyomo model, solved by HiGHS, judged beside everything else on the same block.

    python docs/examples/own_formulation.py [own_formulation.png]

The pruning problem of one block is min f(w) over w with at most k nonzeros, f(w) = c − bᵀw + ½ wᵀHw. Here it is solved
by a model with binaries z only. Split H = R + δI with R positive semidefinite. For every point v

    f(w) ≥ c − ½ vᵀRv − Σ z_i s_i(v),   s_i(v) = (b − Rv)_i² / 2δ,   for all w with the support z

(linearize ½ wᵀRw at v, then minimize each weight by itself). Each v is a cut that is linear in z, and a few dozen
of them are enough: a mixed-integer *linear* program, which HiGHS takes.
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.environ import Binary, ConcreteModel, Constraint, ConstraintList, Objective, RangeSet, Var

import cbs_opt

picture = sys.argv[1] if len(sys.argv) > 1 else "own_formulation.png"

n, keep = 16, 5
rng = np.random.default_rng(0)
X = rng.normal(size=(200, n)) @ (np.eye(n) + 0.3 * rng.normal(size=(n, n)))  # a layer's inputs, one row a sample
w = rng.normal(size=n)  # one trained output row of it
block = cbs_opt.PruningProblem.from_activations(w, X, dampening_frac=0.1, name="row 0").pruning(n - keep)

H = block.curvature.dense()
b, c = H @ w, 0.5 * w @ H @ w
delta = 0.999 * np.linalg.eigvalsh(H)[0]
R = H - delta * np.eye(n)

model = ConcreteModel("pruning by cuts in z")
model.I = RangeSet(0, n - 1)
model.z = Var(model.I, domain=Binary, doc="1 keeps the weight")
model.loss = Var(bounds=(0, None), doc="a lower bound on f")
model.few = Constraint(expr=sum(model.z[i] for i in model.I) <= keep, doc="at most k weights stay")
model.cuts = ConstraintList(doc="f at every mask is at least this")
model.objective = Objective(expr=model.loss)
highs = SolverFactory("highs")

mask = block.Z.argmax(np.abs(w))  # the k largest weights, to begin with
incumbent, best, losses, bounds = mask, np.inf, [], []
while not bounds or losses[-1] - bounds[-1] > 1e-4 * losses[-1]:
    v = cbs_opt.obs_update(block, mask)  # the best weights on this mask
    if block.objective(v) < best:
        incumbent, best = mask, block.objective(v)
    s = (b - R @ v) ** 2 / (2 * delta)
    model.cuts.add(model.loss >= c - 0.5 * v @ R @ v - sum(float(s[i]) * model.z[i] for i in model.I))
    result = highs.solve(model, threads=1)
    mask = np.array([model.z[i].value > 0.5 for i in model.I])
    losses.append(best)
    bounds.append(result.objective_bound)
print(f"{len(bounds)} cuts: loss {losses[-1]:.4f}, bound {bounds[-1]:.4f}\n")

# Whatever made a mask, the comparator judges it: the update and all losses are computed anew, the bound is proven.
table = cbs_opt.compare(block, ["magnitude", "greedy-obs", "swap", "bnb"], masks={"own formulation": incumbent})
print("method            loss      gap")
for row in table.rows:
    print(f"{row.method:16}{row.objective:7.4f}{row.gap:9.1%}")

figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
rounds = np.arange(1, len(bounds) + 1)
axes.step(rounds, losses, where="post", color="#D55E00", label="the best mask found so far")
axes.step(rounds, bounds, where="post", color="#0072B2", label="no mask is below")
axes.fill_between(rounds, bounds, losses, step="post", color="#0072B2", alpha=0.1)
axes.set(xlabel="cuts", ylabel="loss after the update", ylim=(0, None))
axes.legend(frameon=False)
figure.savefig(picture, dpi=110)
print(f"\nwrote {picture}")
