"""One run of one row: prune, measure, and append what came out to a file that is never rewritten."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

import cbs_opt
from benchmarks.paper.rows import ROWS
from cbs_opt.kernel.environment import environment
from cbs_opt.network.data import Data, digits_data, load_data
from cbs_opt.network.load import load_network
from cbs_opt.network.samples import accuracy
from cbs_opt.network.weights import Weights

FILES = {"mlpnet": ("mlpnet_mnist.npz", "mnist.npz"), "resnet20": ("resnet20_cifar10.npz", "cifar10.npz")}
VALIDATION_SHARE = 1 / 6
"""Of the training images, cut off at their end, where hyper-parameters are chosen."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with its published weights, and the images."""

    name: str
    model: Any
    data: Data

    @classmethod
    def load(cls, name: str, folder: Path | None) -> Subject:
        """From a folder that holds the checkpoint and the images; digits needs none, its data is in the package.

        Raises
        ------
        InputError
            A file that is missing, or does not fit.
        """
        if name == "digits":
            return cls(name, load_network(name), digits_data())
        assert folder is not None, "the command asks for it"
        weights, images = (folder / file for file in FILES[name])
        return cls(name, load_network(name, weights), load_data(images, name))

    @cached_property
    def validation(self) -> Data:
        """Calibration and validation images, both cut from the training images; no test image among them."""
        cut = len(self.data.train_y) - round(VALIDATION_SHARE * len(self.data.train_y))
        x, y = self.data.train_x, self.data.train_y
        return Data(x[:cut], y[:cut], x[cut:], y[cut:])


class Log:
    """Results, one JSON object a line; what is there is not run again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: list[dict[str, Any]] = []
        if path.exists():
            self.entries = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The entry with these values, if there is one."""
        return next((e for e in self.entries if all(e.get(name) == value for name, value in key.items())), None)

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry, on disk at once."""
        self.entries.append(entry)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def candidates(network: str, row: str) -> Iterator[dict[str, Any]]:
    """All hyper-parameters that are tried for a row."""
    grid = ROWS[network][row].grid
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def measure(
    subject: Subject, data: Data, row: str, sparsity: float, seed: int, chosen: Mapping[str, Any], bound: bool
) -> dict[str, Any]:
    """Accuracy on the test part of ``data``, with the update and, for the same mask, without; seconds of pruning."""
    arguments = {**ROWS[subject.name][row].arguments, **chosen}
    arguments["samples"] = min(arguments["samples"], len(data.train_y))
    found = cbs_opt.prune(subject.model, (data.train_x, data.train_y), sparsity, seed=seed, bound=bound, **arguments)
    dense = Weights.of(subject.model, found.weights.targets)
    masked = dense.with_values(np.where(found.weights.mask, dense.values, 0.0), found.weights.mask)
    told = found.to_dict()
    return {
        "network": subject.name,
        "row": row,
        "sparsity": sparsity,
        "seed": seed,
        "chosen": dict(chosen),
        "accuracy": _accuracy(found.model, data),
        "accuracy_without_update": _accuracy(masked.into(subject.model), data),
        "accuracy_dense": _dense_accuracy(subject, data),
        "pruned": found.weights.pruned,
        "n": found.weights.n,
        "objective": told["objective"],
        "bound": told["bound"],
        "gap": told["gap"],
        "seconds": sum(found.seconds.values()),
        "environment": environment(),
    }


@cache
def _dense_accuracy(subject: Subject, data: Data) -> float:
    return _accuracy(subject.model, data)


def _accuracy(model: Any, data: Data) -> float:
    return accuracy(model, data.test_x, data.test_y)
