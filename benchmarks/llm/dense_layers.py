"""The layer models of the dense network, by which all rows of a seed are judged: computed once, then read from disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.llm.selectors import DAMPENING_FRAC
from cbs_opt.collect import LayerModel, sequential_layers
from cbs_opt.network.targets import Target, find_targets

if TYPE_CHECKING:
    import torch

ORDER = "order.json"
"""Written last: a folder that has it has everything."""


def dense_layers(model: torch.nn.Module, x: Any, folder: Path | None = None) -> Iterator[LayerModel]:
    """Each layer's quadratic model on the dense network's inputs, in the order of execution.

    Parameters
    ----------
    folder : Path, optional
        Of this network and these samples alone: the models are kept there, or taken from there.
    """
    targets = find_targets(model)
    if folder is not None and (folder / ORDER).exists():
        yield from _kept(model, targets, folder)
        return
    told = []
    for layer in sequential_layers(model, x, targets, dampening_frac=DAMPENING_FRAC, goal="pruned", proving=True):
        if folder is not None:
            told.append(_keep(layer, folder))
        yield layer
    if folder is not None:
        (folder / ORDER).write_text(json.dumps(told), encoding="utf-8")


def _keep(layer: LayerModel, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    if layer.sibling is None:
        np.save(folder / f"{layer.name}.npy", layer.gram)
        np.save(folder / f"{layer.name}.slack.npy", layer.slack)
    return {
        "name": layer.name,
        "sibling": None if layer.sibling is None else layer.sibling.name,
        "damping": layer.damping,
        "columns": layer.columns,
        "precision": layer.precision,
    }


def _kept(model: torch.nn.Module, targets: tuple[Target, ...], folder: Path) -> Iterator[LayerModel]:
    by_name = {target.name: target for target in targets}
    last: LayerModel | None = None  # siblings follow right behind the layer whose curvature they share
    for told in json.loads((folder / ORDER).read_text(encoding="utf-8")):
        target = by_name[told["name"]]
        if told["sibling"] is None:
            last = None
        w_bar = target.matrix_in(model)
        files = (folder / f"{target.name}{end}" for end in (".npy", ".slack.npy"))
        gram, slack = (np.load(file, allow_pickle=False) for file in files) if last is None else (last.gram, last.slack)
        layer = LayerModel(
            target=target,
            w_bar=w_bar,
            gram=gram,
            slack=slack,
            g=np.zeros_like(w_bar),
            offset=np.zeros(len(w_bar)),
            damping=told["damping"],
            columns=told["columns"],
            precision=told["precision"],
            sibling=last,
        )
        last = last or layer
        yield layer
