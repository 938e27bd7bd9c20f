"""The work folder of a run: it keeps the outcome of each block, so that a run that was ended goes on with the next.

Each stage has a folder of its own in it: ``stage-1/run.json`` says which network, samples and settings it belongs to,
and ``stage-1/block-0007.safetensors`` holds the outcome of pruning the seventh block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.files import write_whole
from cbs_opt.network.checkpoint import state_digest, tensors_digest
from cbs_opt.network.samples import Drawn
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.result import BlockReport
from cbs_opt.pruning.stage import BlockOutcome, LayerLoss, LayerOutcome
from cbs_opt.version import __version__

if TYPE_CHECKING:
    import torch

AT_ONCE = 16
"""How many samples are hashed together."""


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage."""

    folder: Path

    @classmethod
    def open(
        cls,
        place: Path,
        number: int,
        asked: Mapping[str, Any],
        dense: torch.nn.Module,
        weights: Weights,
        samples: Drawn,
    ) -> StageFolder:
        """The folder of a stage, which is made if it does not exist yet.

        Parameters
        ----------
        place : Path
            The work folder.
        number : int
            The number of the stage, counted from 0.
        asked : mapping
            All that the stage's outcome depends on beside the network, its weights before the stage and the samples.

        Raises
        ------
        InputError
            The folder belongs to another run, or cannot be made or written to.
        """
        import torch

        folder = place / f"stage-{number + 1}"
        run = {
            "version": __version__,
            "asked": json.loads(json.dumps(asked, default=str)),
            "network": state_digest(dense),
            "layers": [target.tensor for target in weights.targets],
            "weights": tensors_digest(
                [("values", torch.from_numpy(weights.values)), ("mask", torch.from_numpy(weights.mask))]
            ),
            "samples": tensors_digest(
                named
                for start in range(0, len(samples.x), AT_ONCE)
                for named in samples.x.take(slice(start, start + AT_ONCE)).inputs(dense).tensors()
            ),
        }
        about = folder / "run.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before = json.loads(about.read_text(encoding="utf-8")) if about.exists() else None
        except (OSError, ValueError) as error:
            raise InputError(f"work: {folder} cannot be used ({error}); name another folder") from None
        if before is None:
            write_whole(about, lambda stream: stream.write(json.dumps(run, indent=1).encode()))
        elif before != run:
            known = before if isinstance(before, dict) else {}
            other = ", ".join(key for key in run if known.get(key) != run[key])
            raise InputError(
                f"work: {folder} is of another run (other {other}); name another folder, or delete this one"
            )
        return cls(folder)

    def keep(self, number: int, outcome: BlockOutcome) -> None:
        """Write the outcome of block ``number``, counted from 0: whole, or not at all."""
        from safetensors.numpy import save

        tensors: dict[str, NDArray[Any]] = {}
        told: dict[str, Any] = {}
        for name, layer in outcome.layers.items():
            tensors[f"{name}/weights"], tensors[f"{name}/mask"] = layer.weights, layer.mask
            told[name] = {"loss": asdict(layer.loss), "damping": layer.damping, "dominance": layer.dominance}
        report = None if outcome.report is None else outcome.report.to_dict()
        about = {"block": json.dumps({"layers": told, "report": report, "notes": outcome.notes})}
        payload = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=about)
        write_whole(self._file(number), lambda stream: stream.write(payload))

    def load(self, number: int, names: Sequence[str]) -> BlockOutcome | None:
        """The outcome of block ``number``, whose layers have these ``names``; None if it has not been pruned yet.

        Raises
        ------
        InputError
            The file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        file = self._file(number)
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="np") as archive:
                told = json.loads(archive.metadata()["block"])
                layers = {
                    name: LayerOutcome(
                        archive.get_tensor(f"{name}/weights"),
                        archive.get_tensor(f"{name}/mask"),
                        LayerLoss(**about["loss"]),
                        about["damping"],
                        about["dominance"],
                    )
                    for name, about in ((name, told["layers"][name]) for name in names)
                }
                report = None if told["report"] is None else BlockReport(**told["report"])
                return BlockOutcome(layers, report, tuple(told["notes"]))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(
                f"work: {file} cannot be read ({error}); delete it, and its block is pruned again"
            ) from None

    def _file(self, number: int) -> Path:
        return self.folder / f"block-{number + 1:04d}.safetensors"
