"""How good a network is, in one number, on samples that no curvature was collected from.

A measure has a name and computes the number for a network; a pruning run calls it before and after. Any object with
the methods of ``Measure`` can be one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.network.data import Data, Labels, calibration
from cbs_opt.network.inputs import SamplesLike
from cbs_opt.network.samples import accuracy, answer_of

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Measure(Protocol):
    """What computes one number for a network."""

    @property
    def name(self) -> str:
        """What the number is called: 'accuracy'."""

    def of(self, model: torch.nn.Module, progress: Callable[[int, int], None] | None = None) -> float:
        """The number for the network in eval mode; ``progress(done, of)`` is called with numbers of samples."""

    def words(self, value: float) -> str:
        """The number as people read it: '97.3 %'."""


@dataclass(frozen=True, eq=False)
class Accuracy:
    """The share of samples x (m of them) whose largest class score is at their label y (m,)."""

    x: SamplesLike
    y: Labels

    name = "accuracy"

    def of(self, model: torch.nn.Module, progress: Callable[[int, int], None] | None = None) -> float:
        return accuracy(model, self.x, self.y)

    def words(self, value: float) -> str:
        return f"{100 * value:.2f} %"


@dataclass(frozen=True, eq=False)
class Perplexity:
    """exp of the mean negative log-likelihood that a language model gives to tokens 2 … L of each window.

    Parameters
    ----------
    tokens : int array, shape (windows, L)
        The windows, with L ≥ 2. Each one is a text of its own: its first token has no context and is not predicted.
    """

    tokens: NDArray[np.int64]

    name = "perplexity"

    def of(self, model: torch.nn.Module, progress: Callable[[int, int], None] | None = None) -> float:
        import torch

        model.eval()
        device = next(model.parameters()).device
        total = 0.0
        with torch.inference_mode():
            for done, window in enumerate(self.tokens):
                if progress is not None:
                    progress(done, len(self.tokens))
                ids = torch.from_numpy(window)[None].to(device)
                logits = answer_of(model(input_ids=ids, use_cache=False))
                scores = logits[0, :-1].float()
                total += float(torch.nn.functional.cross_entropy(scores, ids[0, 1:], reduction="sum"))
        count = self.tokens.shape[0] * (self.tokens.shape[1] - 1)
        return float(np.exp(min(total / count, 700.0)))

    def words(self, value: float) -> str:
        return f"{value:.2f}"


@dataclass(frozen=True)
class Measured:
    """A measure, and its numbers for the dense and the pruned network."""

    measure: Measure
    dense: float
    pruned: float

    @property
    def name(self) -> str:
        """What was measured."""
        return self.measure.name

    def to_dict(self) -> dict[str, float]:
        """Plain data for JSON: 'accuracy_dense' and 'accuracy'."""
        return {f"{self.name}_dense": self.dense, self.name: self.pruned}

    def words(self) -> tuple[str, str]:
        """The numbers before and after pruning, as people read them."""
        return self.measure.words(self.dense), self.measure.words(self.pruned)


def measure_notes(test: Any, data: Any) -> tuple[str, ...]:
    """What is worth saying of the samples that ``as_measure`` takes for the same arguments."""
    return data.notes if test is None and isinstance(data, Data) else ()


def as_measure(test: Any, data: Any = None) -> Measure | None:
    """The measure for ``test``: itself, or accuracy on its samples; left out, accuracy on the test part of a ``Data``.

    Raises
    ------
    InputError
        ``test`` has no labels.
    """
    if isinstance(test, Measure):
        return test
    if test is None:
        return Accuracy(data.test_x, data.test_y) if isinstance(data, Data) else None
    try:
        x, y = calibration(test, needs_labels=False)
        if y is not None:
            return Accuracy(*calibration((x, y)))
    except InputError as error:
        raise InputError(f"test: {str(error).removeprefix('data: ')}") from None
    raise InputError("test: has no labels, without which there is no accuracy; give (x, y), or leave it out")
