"""What the tests of the command line share: what a command printed, and blocks to feed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.kernel.problem import PruningProblem


@dataclass(frozen=True)
class Run:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    def refused(self, *words: str, code: int = 2) -> None:
        """One sentence on stderr with all of ``words``, nothing on stdout."""
        assert self.code == code, self
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err


Cli = Callable[..., Run]


def make_block(file: Path, seed: int = 0, n: int = 8) -> Path:
    """A layer Gram block of ``n`` weights."""
    rng = np.random.default_rng(seed)
    problem = PruningProblem.from_activations(rng.standard_normal(n), rng.standard_normal((3 * n, n)), damping=1e-2)
    problem.save(file)
    return file
