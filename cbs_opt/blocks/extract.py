"""``extract``, which makes block files and a manifest of a network and data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbs_opt.blocks.cut import fisher_blocks, gram_blocks
from cbs_opt.blocks.folder import BlockFolder
from cbs_opt.blocks.settings import Settings, check_sizes
from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature.damping import dominance_note
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.interrupts import terminations_as_interrupts
from cbs_opt.kernel.text import as_text
from cbs_opt.kernel.words import duration
from cbs_opt.network.attention import own_copy
from cbs_opt.network.checkpoint import file_digest, state_digest
from cbs_opt.network.data import calibration
from cbs_opt.network.samples import Precision, clipped, drawn
from cbs_opt.network.targets import Target, find_targets
from cbs_opt.network.weights import Weights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, repr=False)
class Extraction(Displayed):
    """What ``extract`` has written.

    Parameters
    ----------
    manifest : Path
        The manifest, in the folder of the blocks.
    blocks, weights, bytes : int
        The number of block files, of the weights in them, and of the bytes of all files.
    layers : int
        The number of layers that were cut.
    seconds : float
        Wall time.
    notes : tuple of str
        What was altered or looks wrong, one sentence each.
    """

    manifest: Path
    blocks: int
    weights: int
    bytes: int
    layers: int
    seconds: float
    notes: tuple[str, ...]

    def _card(self) -> Card:
        return Card(
            f"{self.blocks:,} blocks with {self.weights:,} weights of {self.layers:,} layers in {self.manifest.parent}",
            {
                "manifest": str(self.manifest),
                "size": f"{self.bytes / 1e6:,.3g} MB",
                "time": duration(self.seconds),
            },
            notes=self.notes,
        )


def extract(
    model: torch.nn.Module,
    data: Any,
    out: str | os.PathLike[str],
    *,
    curvature: str = "fisher",
    partition: str | int | None = None,
    samples: int = 1_000,
    damping: float | None = None,
    dampening_frac: float | None = None,
    targets: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    dense: bool = False,
    precision: Precision = "float32",
    device: str = "cpu",
    seed: int = 0,
    network: str = "",
    weights_file: str | os.PathLike[str] | None = None,
    data_file: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Extraction:
    """Cut a network into block files, with a manifest that says where in the network each block's weights belong.

    Each block is a part of the quadratic model that ``cbs_opt.prune`` makes of the same samples, seed and λ, as a
    problem of its own. Memory grows neither with the number of blocks nor with the network, since gradients or inputs
    are collected for a few layers at a time.

    Parameters
    ----------
    model : torch.nn.Module
        The network; it is not changed.
    data : Data, (x, y), or x alone for 'gram'
        The calibration samples; ``samples`` of them are drawn with ``seed``.
    out : path
        A new folder, which appears when it is complete.
    curvature : 'fisher' or 'gram'
        The empirical Fisher of per-sample gradients (of the cross-entropy), or the Gram matrix of each layer's inputs.
    partition : 'row', 'layer' or int
        'row' makes one block of each output of a layer, and 'layer' one of each layer (for 'gram', one of each group of
        a convolution). A number makes chunks of so many consecutive weights (for 'gram', within a row). If left out,
        chunks of 32 for 'fisher' and 'row' for 'gram'.
    samples : int
        The number m of calibration samples.
    damping, dampening_frac : float
        λ itself, or λ as a share of the mean diagonal of each layer's curvature; a share of 0.01 if neither is given.
    targets, ignore : patterns
        Patterns of layer names, as in ``cbs_opt.prune``.
    dense : bool
        Whether every block stores its H, shape (n, n). Otherwise a Fisher block with more weights than samples stores
        its gradients, and blocks that share a Gram matrix name one file that holds it.
    precision : 'float32' or 'float64'
        The precision of the gradients. Inputs of layers are computed in the network's own precision and summed in
        float64.
    device : 'cpu' or 'cuda'
        Where gradients and inputs are computed.
    seed : int
        The seed of the draw of samples.
    network, weights_file, data_file : str and paths, optional
        Where model and data come from; recorded in the manifest.
    progress : callable, optional
        Called with a few words from time to time.

    Returns
    -------
    Extraction
        What was written.

    Raises
    ------
    CbsOptError
        The request cannot be met, or computing fails; no folder is left behind. A layer that is too large to be one
        block is a ``TooLargeError`` that names it.
    """
    import torch

    started = time.perf_counter()
    tell = progress or (lambda words: None)
    settings = Settings(curvature, partition, samples, damping, dampening_frac, dense, precision, device, seed)
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model: is a {type(model).__name__}; a torch.nn.Module is needed")
    wanted, left_out = _patterns(targets), _patterns(ignore)
    x, y = calibration(data, needs_labels=curvature == "fisher")
    samples, of_samples = clipped(samples, len(x))
    settings = replace(settings, samples=samples)
    dense_model = own_copy(model, device)
    chosen = find_targets(dense_model, wanted, left_out)
    Weights.of(dense_model, chosen)  # raises where a weight is not finite
    folder = BlockFolder(out)
    check_sizes(chosen, settings, folder.place.parent)
    facts = {
        "network": network,
        "weights": {
            "file": as_text(Path(weights_file).name) if weights_file else None,
            "path": _from(folder.place, weights_file),
            "sha256": file_digest(weights_file) if weights_file else None,
            "state": state_digest(model),
        },
        "data": as_text(Path(data_file).name) if data_file else None,
        "data_path": _from(folder.place, data_file),
        "targets": wanted,
        "ignore": left_out,
        **settings.facts(),
    }
    calibrating = drawn(x, y, samples, seed)
    with terminations_as_interrupts(), folder:
        if curvature == "fisher":
            cut = fisher_blocks(dense_model, calibrating, chosen, settings, folder, tell)
        else:
            cut = gram_blocks(dense_model, calibrating, chosen, settings, folder, tell)
        notes = list(dict.fromkeys([*of_samples, *cut.notes, *dominance_note(cut.dominance.values())]))
        tell("writing the manifest")
        described = {target.tensor: _described(target) for target in chosen}
        versions = {**environment(), "device": device}
        manifest = folder.finish({**facts, "notes": notes, "versions": versions, "tensors": described})
    seconds = time.perf_counter() - started
    return Extraction(manifest, folder.blocks, folder.weights, folder.bytes, len(chosen), seconds, tuple(notes))


def _described(target: Target) -> dict[str, Any]:
    return {"shape": list(target.shape), "rows": target.outputs, "kind": target.kind, "groups": target.groups}


def _patterns(given: Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _from(folder: Path, file: str | os.PathLike[str] | None) -> str | None:
    """The path of ``file`` relative to ``folder``, for a manifest in that folder; None without a file."""
    if file is None:
        return None
    try:
        return as_text(os.path.relpath(os.path.realpath(file), os.path.realpath(folder)))
    except ValueError:  # on another drive
        return as_text(os.path.realpath(file))
