"""Where a network, its samples and its test come from, and how the pruned network is written.

Commands name a network and work with its ``Source``, so that they need not know which kind of network it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cbs_opt.errors import InputError
from cbs_opt.network import hugging_face
from cbs_opt.network.checkpoint import require_safetensors, save_network
from cbs_opt.network.data import digits_data, load_samples
from cbs_opt.network.load import load_network
from cbs_opt.network.measures import Measure, Perplexity
from cbs_opt.network.reference import NETWORKS

if TYPE_CHECKING:
    import torch

SEQUENCE_LENGTH = 512
"""How many tokens a sample has by default."""


class Source(Protocol):
    """What a command needs of a network of one kind: to read it and its samples, and to write it once pruned."""

    def files(self) -> list[Path]:
        """The files that are read."""

    def check_out(self, out: Path | None) -> None:
        """Raise if a network of this kind cannot be written to ``out``."""

    def model(self) -> torch.nn.Module:
        """The dense network, in eval mode."""

    def data(self) -> Any:
        """Calibration samples, as ``prune`` takes them."""

    def measure(self) -> Measure | None:
        """What to measure before and after pruning; None if the samples themselves have a test part."""

    def save(self, model: torch.nn.Module, tensors: Iterable[str], reports: Mapping[str, bytes], out: Path) -> None:
        """Write the network, whose ``tensors`` were pruned; files of ``reports`` only if ``out`` is a folder."""


@dataclass(frozen=True)
class Named(Source):
    """A network of this package, or ``module:factory``: one file of weights, one of samples."""

    name: str
    weights: Path | None
    samples: Path | None

    def files(self) -> list[Path]:
        return [file for file in (self.weights, self.samples) if file is not None]

    def check_out(self, out: Path | None) -> None:
        if out is not None:
            require_safetensors(out)
        if self.samples is None and self.name != "digits" and (self.name in NETWORKS or ":" in self.name):
            raise InputError(f"network {self.name}: needs calibration samples; give --data FILE")

    def model(self) -> torch.nn.Module:
        return load_network(self.name, self.weights)

    def data(self) -> Any:
        return digits_data() if self.samples is None else load_samples(self.samples, self.name)

    def measure(self) -> Measure | None:
        return None

    def save(self, model: torch.nn.Module, tensors: Iterable[str], reports: Mapping[str, bytes], out: Path) -> None:
        save_network(model, out)


@dataclass(frozen=True)
class Folder(Source):
    """A model of the transformers library, with texts to calibrate and to test it."""

    folder: Path
    text: Path
    test_text: Path | None
    length: int

    def files(self) -> list[Path]:
        return [file for file in (self.text, self.test_text) if file is not None]

    def check_out(self, out: Path | None) -> None:
        if out is not None:
            hugging_face.require_new_folder(out)

    def model(self) -> torch.nn.Module:
        return hugging_face.load_model(self.folder)

    def data(self) -> Any:
        return {"input_ids": hugging_face.windows(self.folder, self.text, self.length)}

    def measure(self) -> Measure | None:
        if self.test_text is None:
            return None
        return Perplexity(hugging_face.windows(self.folder, self.test_text, self.length))

    def save(self, model: torch.nn.Module, tensors: Iterable[str], reports: Mapping[str, bytes], out: Path) -> None:
        pruned = {name: model.get_parameter(name) for name in tensors}
        hugging_face.save_folder(self.folder, out, pruned, reports)


def source_of(
    network: str,
    *,
    weights: Path | None = None,
    data: Path | None = None,
    text: Path | None = None,
    test_text: Path | None = None,
    sequence_length: int | None = None,
) -> Source:
    """The source for a network's name and the options given with it.

    Raises
    ------
    InputError
        An option belongs to the other kind of network, or is missing.
    """
    folder = hugging_face.folder_of(network)
    if folder is None:
        for option, value in (("text", text), ("test-text", test_text), ("sequence-length", sequence_length)):
            if value is not None:
                raise InputError(f"--{option}: belongs to a network hf:FOLDER; leave it out for {network}")
        return Named(network, weights, data)
    for option, value in (("weights", weights), ("data", data)):
        if value is not None:
            raise InputError(f"--{option}: {network} has its weights in the folder and its samples in --text FILE")
    if text is None:
        raise InputError(f"network {network}: needs a text to be calibrated on; give --text FILE")
    return Folder(folder, text, test_text, SEQUENCE_LENGTH if sequence_length is None else sequence_length)
