"""The rows of the tables: what each passes to ``cbs_opt.prune``, what is searched for it, and what others published.

Published figures (test accuracy %, one shot unless said) are quoted: CBS from Yu, Serra, Ramalingam & Zhe, ICML 2022,
tables 1 and 2; CHITA and CHITA++ (multi-stage) from Benbaki et al., ICML 2023 (arXiv:2302.14623).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPARSITIES = {
    "digits": (0.8, 0.9),
    "mlpnet": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
    "resnet20": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}

QUOTED: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "digits": {},
    "mlpnet": {
        "CBS (quoted)": (93.96, 93.96, 93.98, 93.90, 93.14, 88.92, 55.45),
        "CHITA++ (quoted, multi-stage)": (95.97, 95.93, 95.89, 95.80, 95.55, 94.70, 90.73),
    },
    "resnet20": {
        "CBS (quoted)": (91.35, 91.21, 90.58, 88.88, 81.84, 51.28, 13.68),
        "CHITA (quoted)": (91.37, 91.19, 90.60, 89.22, 84.12, 57.90, 15.60),
        "CHITA++ (quoted, multi-stage)": (91.25, 91.20, 91.04, 90.78, 90.38, 88.72, 79.32),
    },
}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Parameters
    ----------
    arguments : mapping
        For ``cbs_opt.prune``, the same at every sparsity.
    grid : mapping of argument to values
        Tried on validation images, for each sparsity anew.
    bound : bool
        Whether the table shows a certified gap.
    """

    arguments: Mapping[str, Any]
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    bound: bool = False


AVERAGED = {"curvature": "fisher", "samples": 10_000, "average": 10}
"""1,000 rows, each the mean gradient of 10 samples; λ is then a tenth of what it would be with single samples."""


@dataclass(frozen=True)
class Softened:
    """Cross-entropy of logits divided by a temperature: samples that the network is sure of keep gradients (Hinton,
    Vinyals & Dean, 2015, arXiv:1503.02531)."""

    temperature: float

    def __call__(self, outputs: Any, labels: Any) -> Any:
        """The mean over samples."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs / self.temperature, labels)


def _fisher(method: str, dampings: tuple[float, ...], bound: bool = False) -> Row:
    return Row({**AVERAGED, "method": method}, {"damping": dampings}, bound)


ROWS: Mapping[str, Mapping[str, Row]] = {
    "digits": {  # the embedded network: a quick look at the whole program, no data needed
        "fisher relaxation": Row(
            {"curvature": "fisher", "method": "relaxation", "samples": 200}, {"damping": (1e-3, 1e-2)}, bound=True
        ),
        "layers greedy-obs": Row({"curvature": "sequential", "method": "greedy-obs", "samples": 200, "damping": 1e-2}),
    },
    "mlpnet": {
        "fisher magnitude": _fisher("magnitude", (1e-3, 1e-2, 1e-1)),
        "fisher woodfisher": _fisher("woodfisher", (1e-3, 1e-2, 1e-1)),
        "fisher cbs": _fisher("cbs", (1e-3, 1e-2, 1e-1)),
        "fisher iht": _fisher("iht", (1e-3, 1e-2, 1e-1)),
        "fisher relaxation": _fisher("relaxation", (1e-4, 3e-4, 1e-3, 1e-2, 1e-1), bound=True),
        "fisher relaxation softened": Row(
            {**AVERAGED, "method": "relaxation", "loss": Softened(4.0)},
            {"dampening_frac": (3.0, 10.0, 30.0)},
            bound=True,
        ),
        "layers magnitude": Row(
            {"curvature": "sequential", "method": "magnitude", "allocation": "magnitude", "samples": 10_000},
            {"damping": (1e-3, 1e-2)},
        ),
        "layers greedy-obs": Row(
            {"curvature": "sequential", "method": "greedy-obs", "samples": 10_000}, {"damping": (1e-3, 1e-2)}
        ),
        "layers swap": Row({"curvature": "sequential", "method": "swap", "samples": 10_000}, {"damping": (1e-3, 1e-2)}),
        "gauss-newton": Row({"curvature": "gauss-newton", "samples": 60_000, "damping": 1e-2}),
        "gauss-newton 12 stages": Row(
            {"curvature": "gauss-newton", "samples": 60_000, "stages": 8, "settle": 4, "damping": 1e-2}
        ),
        "gauss-newton obd 12 stages": Row(
            {"curvature": "gauss-newton", "method": "obd", "samples": 60_000, "stages": 8, "settle": 4, "damping": 1e-2}
        ),
    },
    "resnet20": {
        "layers magnitude": Row(
            {
                "curvature": "sequential",
                "method": "magnitude",
                "allocation": "magnitude",
                "samples": 4_000,
                "dampening_frac": 1e-3,
            },
        ),
        "layers greedy-obs": Row(
            {"curvature": "sequential", "method": "greedy-obs", "samples": 4_000, "dampening_frac": 1e-3}
        ),
        "layers greedy-obs 2 stages": Row(
            {"curvature": "sequential", "method": "greedy-obs", "samples": 4_000, "dampening_frac": 1e-3, "stages": 2}
        ),
        "layers swap": Row({"curvature": "sequential", "method": "swap", "samples": 4_000, "dampening_frac": 1e-3}),
    },
}
