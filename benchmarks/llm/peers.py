"""What the peers' own codes gave: quoted beside our rows where these are measured on exactly the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.recording import Row

SIZES = {"windows": 64, "length": 512, "test_windows": 48, "test_length": 1024}
MODEL, DENSE_PERPLEXITY = "SmolLM2-135M-Instruct", 21.31
"""The model, and by which figure it and the test text are known."""


@dataclass(frozen=True)
class Quoted:
    """Perplexity and, where it was written down, mean relative layer error."""

    name: str
    perplexity: float
    error: float | None = None


QUOTED: dict[str, tuple[Quoted, ...]] = {
    "0.5": (
        Quoted("Wanda", 40.98, 0.0299),
        Quoted("SparseGPT", 32.90, 0.0146),
        Quoted("ALPS", 28.65, 0.00948),
    ),
    "0.7": (Quoted("SparseGPT", 93.70), Quoted("ALPS", 57.86)),
    "2:4": (Quoted("SparseGPT", 47.80, 0.0261), Quoted("ALPS", 38.65, 0.0184)),
}
"""By pattern; measured with the peers' own code on the windows of seed 0."""


def quoted(pattern: str, protocol: Row, dense: float | None) -> Sequence[Quoted]:
    """The peers' figures for a pattern; none where the model, the texts or the windows are others."""
    return QUOTED.get(pattern, ()) if is_theirs(protocol, dense) else ()


def is_theirs(protocol: Row, dense: float | None) -> bool:
    """Whether the model, the test text and the windows are those of the peers' figures."""
    same = all(protocol.get(name) == size for name, size in SIZES.items())
    return same and dense is not None and abs(dense - DENSE_PERPLEXITY) < 0.02
