"""Cut a network into blocks, solve them all with several methods at once, read the store, put the blocks together.

    python docs/examples/batch.py [batch.png]

The block files and the store are written to a temporary folder here; on the command line the same four steps are
`cbs-opt extract`, `cbs-opt batch`, `cbs-opt report` and `cbs-opt assemble`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import cbs_opt
from cbs_opt.batch import Asked, Settings, run_batch
from cbs_opt.network import digits_data, load_network
from cbs_opt.store import open_store

METHODS = ("magnitude", "greedy-obs", "swap", "bnb")


def main(picture: str) -> None:
    network, data = load_network("digits"), digits_data()
    with tempfile.TemporaryDirectory() as folder:
        # One block for each neuron of the last two layers, with the Gram matrix of what flows into it.
        blocks, store_file = Path(folder, "blocks"), Path(folder, "results.sqlite")
        cut = cbs_opt.extract(network, data, blocks, curvature="gram", targets=["fc2", "fc3"])
        print(f"{cut.blocks} blocks of {cut.weights} weights")

        # Every block by every method. Killed and started again, a batch does what is missing.
        settings = Settings(
            blocks=(str(blocks),),
            methods=METHODS,
            asked=(Asked("sparsity", "0.75"),),
            store=str(store_file),
            jobs=2,
        )
        done = run_batch(settings)
        print(f"{done.solved} tasks done, {len(done.failures)} failed\n")

        # The store has each answer beside the best bound that any method proved on the same block.
        with open_store(store_file) as store:
            gaps = {method: np.array([row.gap for row in store.gaps(method=method)]) for method in METHODS}

        # The best mask of each block's model (bnb) need not be the most accurate network: a gap is about the model.
        print("method        mean gap   worst gap   proven   accuracy")
        for method in METHODS:
            together = cbs_opt.assemble(blocks, store_file, network, method=method, data=data)
            proven = int((gaps[method] <= 1e-6).sum())
            print(
                f"{method:12}{gaps[method].mean():10.1%}{gaps[method].max():12.1%}{proven:6}/{cut.blocks}"
                f"{together.accuracy:11.1%}"
            )

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for method, colour in zip(METHODS, ("#E69F00", "#0072B2", "#CC79A7", "#009E73"), strict=True):
        axes.plot(np.arange(1, cut.blocks + 1), 100 * np.sort(gaps[method]), "o-", color=colour, label=method)
    axes.set(xlabel="blocks, from the smallest gap to the largest", ylabel="gap to the best proven bound in %")
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=110)
    print(f"\nwrote {picture}")


if __name__ == "__main__":  # the workers of a batch import this file, too
    main(sys.argv[1] if len(sys.argv) > 1 else "batch.png")
