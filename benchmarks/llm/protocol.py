"""What is measured on what: rows of one protocol stand in one log, and no others."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.recording import Row
from cbs_opt.errors import InputError
from cbs_opt.network.hugging_face import windows

DENSE = "dense"
"""The selector that prunes nothing; its row holds the perplexity of the network as it was."""


@dataclass(frozen=True)
class Protocol:
    """One experiment.

    Parameters
    ----------
    model, text, test_text : Path
        A folder of ``save_pretrained``, the text to calibrate on, and the text to measure on.
    windows, length : int
        Calibration windows, and tokens in each.
    test_windows, test_length : int
        The same of the test text, of which the first ones are taken.
    """

    model: Path
    text: Path
    test_text: Path
    windows: int
    length: int
    test_windows: int
    test_length: int

    @classmethod
    def of(cls, asked: argparse.Namespace) -> Protocol:
        """As the command line says it."""
        return cls(**{name: getattr(asked, name) for name in cls.__dataclass_fields__})

    def arguments(self) -> list[str]:
        """For the command line of another process, wherever that runs."""
        told = []
        for name, value in asdict(self).items():
            told += [f"--{name.replace('_', '-')}", str(value.resolve() if isinstance(value, Path) else value)]
        return told

    def recorded(self) -> Row:
        """What rows of one log have in common; no path is part of it.

        Raises
        ------
        InputError
            The folder or a text cannot be read.
        """
        return {
            "model": _described(self.model),
            **{name: _digest(getattr(self, name)) for name in ("text", "test_text")},
            **{name: value for name, value in asdict(self).items() if not isinstance(value, Path)},
        }

    def calibration(self, seed: int) -> NDArray[np.int64]:
        """Windows of the text (windows, length): the first ones for seed 0, else drawn without replacement.

        Raises
        ------
        InputError
            The text has fewer.
        """
        there = _enough(windows(self.model, self.text, self.length), self.windows, self.text)
        if seed == 0:
            return there[: self.windows]
        return there[np.random.default_rng(seed).permutation(len(there))[: self.windows]]

    def test(self) -> NDArray[np.int64]:
        """The first windows of the test text (test_windows, test_length).

        Raises
        ------
        InputError
            The text has fewer.
        """
        there = _enough(windows(self.model, self.test_text, self.test_length), self.test_windows, self.test_text)
        return there[: self.test_windows]


class Bounds(NamedTuple):
    """Whether the layers of a row are bounded, and the seconds for all of them together (None: no limit)."""

    asked: bool
    seconds: float | None = None

    def arguments(self) -> list[str]:
        """For the command line of another process."""
        limit = [] if self.seconds is None else ["--bound-time", str(self.seconds)]
        return ["--bounds", *limit] if self.asked else []


def require_same(protocol: Row, rows: Sequence[Row], log: Path) -> None:
    """Raise where the log has rows of another protocol.

    Raises
    ------
    InputError
    """
    for row in rows:
        others = [name for name, value in row.get("protocol", protocol).items() if protocol.get(name) != value]
        if others:
            raise InputError(
                f"{log}: holds rows of another protocol ({', '.join(others)} differ); name another folder with --out"
            )


def _described(folder: Path) -> str:
    """The shape of a network, from its configuration."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: has no config.json that can be read ({error}); name a model's folder") from None
    architecture = (config.get("architectures") or ["unknown architecture"])[0]
    words = {"num_hidden_layers": "blocks", "hidden_size": "wide", "vocab_size": "tokens in the vocabulary"}
    return ", ".join([architecture, *(f"{config[name]} {what}" for name, what in words.items() if name in config)])


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); name a text file") from None


def _enough(there: NDArray[np.int64], wanted: int, text: Path) -> NDArray[np.int64]:
    if len(there) < wanted:
        raise InputError(f"{text}: has {len(there)} windows of {there.shape[1]} tokens; {wanted} are asked for")
    return there
