"""Fills the HTML page about a network with what ``prune`` or ``certify_layers`` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cbs_opt.kernel.words import duration, gap, percent, plain_number, proven
from cbs_opt.report.network_page import BlockLine, LayerLine, NetworkPage, network_page

if TYPE_CHECKING:
    from cbs_opt.network.measures import Measured
    from cbs_opt.pruning.certify_layers import LayerJudgement
    from cbs_opt.pruning.result import Pruned


def page_of_pruned(network: str, pruned: Pruned) -> str:
    """The page of a network that was pruned here, and that its title calls ``network``."""
    settings, asked, measured = pruned.settings, pruned.bound_asked, pruned.measured
    goal = f"pattern {settings['pattern']}" if settings["pattern"] else f"sparsity {settings['sparsity']:g}"
    by = f" and the allocation {settings['allocation']}" if settings["allocation"] else ""
    return network_page(
        NetworkPage(
            title=f"Pruned network: {network}" if network else "Pruned network",
            lead=f"Asked for: {goal}, by the method {settings['method']} on the curvature {settings['curvature']}{by}, "
            f"from {settings['samples']:,} calibration samples.",
            cards=[
                ("weights pruned", f"{pruned.weights.pruned:,} of {pruned.weights.n:,}"),
                ("sparsity", percent(pruned.sparsity, 2)),
                *_quality(measured),
                ("objective", plain_number(pruned.objective)),
                ("proven bound", proven(pruned.bound, plain_number, asked)),
                ("gap", proven(pruned.gap, gap, asked)),
                ("time", duration(sum(pruned.seconds.values()))),
            ],
            layers=[
                LayerLine(
                    layer.name,
                    layer.n,
                    layer.pruned,
                    layer.objective,
                    layer.relative,
                    layer.bound,
                    layer.gap,
                    seconds=layer.seconds,
                )
                for layer in pruned.layers
            ],
            rivals=f"mask {rivals(settings['pattern'], settings['allocation'])}",
            blocks=[BlockLine(block.name, block.error, block.refined) for block in pruned.blocks],
            bound_asked=asked,
            stages=[
                (
                    stage.sparsity,
                    stage.objective,
                    stage.bound,
                    stage.gap,
                    "–" if measured is None or stage.quality is None else measured.measure.words(stage.quality),
                )
                for stage in pruned.stages
            ],
            measure="accuracy" if measured is None else measured.name,
            seconds=pruned.seconds,
            notes=pruned.notes,
            settings=_given(settings),
        )
    )


def page_of_judged(
    dense: str,
    pruned: str,
    layers: Sequence[LayerJudgement],
    measured: Measured | None,
    notes: Sequence[str],
    options: Mapping[str, object],
) -> str:
    """The page of a network that any tool has pruned, judged against the dense one."""
    n, zeros = sum(layer.n for layer in layers), sum(layer.pruned for layer in layers)
    gaps = [layer.gap for layer in layers]
    return network_page(
        NetworkPage(
            title=f"Judged network: {pruned}",
            lead=f"{len(layers)} layers with zeros, each judged on the inputs of the dense network {dense}: the loss "
            "and the gap of its weights as they are, and those of the best weights on its mask. Weights that were "
            "re-tuned on the inputs of the pruned network lose more on those of the dense one.",
            cards=[
                ("weights pruned", f"{zeros:,} of {n:,}"),
                ("sparsity of these layers", percent(zeros / n, 2)),
                *_quality(measured),
                ("mean relative objective", plain_number(sum(layer.relative for layer in layers) / len(layers))),
                ("mean gap", gap(sum(gaps) / len(gaps))),
                ("largest gap", gap(max(gaps))),
                ("time", duration(sum(layer.seconds for layer in layers))),
            ],
            layers=[
                LayerLine(
                    layer.name,
                    layer.n,
                    layer.pruned,
                    layer.given,
                    layer.relative,
                    layer.bound,
                    layer.gap,
                    layer.objective,
                    layer.mask_gap,
                    layer.seconds,
                )
                for layer in layers
            ],
            rivals=f"mask {rivals(options.get('--pattern'))}",
            notes=notes,
            settings=_given(
                {"network": dense, "pruned": pruned, **{k.removeprefix("--"): v for k, v in options.items()}}
            ),
        )
    )


def _quality(measured: Measured | None) -> list[tuple[str, str]]:
    if measured is None:
        return []
    dense, pruned = measured.words()
    return [(f"{measured.name}, dense", dense), (f"{measured.name}, pruned", pruned)]


def rivals(pattern: object, allocation: object = "layer") -> str:
    """Which masks the bound of a layer is about, in words that follow 'mask' or 'masks'.

    They are those of a pattern, or, if it is empty, those that prune what the allocation lets the layer or row lose.
    """
    if pattern:
        return f"of the pattern {pattern}"
    if allocation == "layer":
        return "with as many zeros in the layer (of a grouped convolution, in each group)"
    return "with as many zeros in each row"


def _given(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings without those that are empty."""
    return {name: value for name, value in settings.items() if value not in (None, "", [], {})}
