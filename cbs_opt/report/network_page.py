"""The HTML page of a pruned network: what was asked for and what was found, layer by layer and block by block.

The page is the same for a network that was pruned here and for one that was only judged; a ``NetworkPage`` holds what
it says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.kernel.words import duration, gap, percent, proven, scientific, shown
from cbs_opt.report.html import Cell, document, facts, pairs, table
from cbs_opt.report.layer_plot import Panel, layer_plot

ABOUT_THE_LAYERS = (
    "Bounds and gaps are about the quadratic model of the loss, not about the quality of the network, which stands "
    "beside them where it was measured."
)


@dataclass(frozen=True)
class LayerLine:
    """One layer; what is unknown is None, and a bound or a gap may be infinite.

    ``relative`` is the objective divided by that of the layer with all weights zero. ``retuned`` is the objective of
    the best weights on the layer's mask, and ``mask_gap`` their gap, given if ``gap`` is that of other weights.
    """

    name: str
    n: int
    pruned: int
    objective: float | None = None
    relative: float | None = None
    bound: float | None = None
    gap: float | None = None
    retuned: float | None = None
    mask_gap: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class BlockLine:
    """The relative squared error of a block's output, before refinement and after it (None if it was not refined)."""

    name: str
    error: float
    refined: float | None = None


@dataclass(frozen=True)
class NetworkPage:
    """Everything that the page says.

    Parameters
    ----------
    title, lead : str
        What the page is about, in a few words and in a sentence.
    cards : sequence of (name, value)
        The most important numbers, shown first.
    layers : sequence of LayerLine
        The layers in the order of the network.
    rivals : str
        The masks that a layer's bound holds for, in the singular: no 'mask with as many zeros in each row' has a lower
        loss. Left out, they are all masks that are allowed.
    blocks : sequence of BlockLine
        The blocks, if the network was pruned block by block.
    bound_asked : bool
        Whether a bound was asked for; if not, a missing one is shown as 'not asked'.
    stages : sequence of (sparsity, objective, bound, gap, quality in words)
        The stages, shown if there are several.
    measure : str
        The name of the quality that was measured.
    seconds : mapping of phase to float
        The time of each phase.
    notes : sequence of str
        Everything that was altered or cut short, in sentences.
    settings : mapping
        All that was asked for.
    """

    title: str
    lead: str
    cards: Sequence[tuple[str, str]]
    layers: Sequence[LayerLine]
    rivals: str = "mask"
    blocks: Sequence[BlockLine] = ()
    bound_asked: bool = True
    stages: Sequence[tuple[float, float, float, float, str]] = ()
    measure: str = "accuracy"
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)


def network_page(page: NetworkPage) -> str:
    """The page as text."""
    head = (
        f"<h1>{escape(shown(page.title, 200))}</h1>\n<p>{escape(shown(page.lead, 600))}</p>\n"
        f'<p class="note">{escape(ABOUT_THE_LAYERS)}</p>\n{facts(page.cards)}'
    )
    sections = [head, _notes(page), _stages(page), _layers(page), _blocks(page), _about(page)]
    return document(page.title, "".join(sections), styles=["page.css"], scripts=["page.js"], sealed=True)


def _notes(page: NetworkPage) -> str:
    if not page.notes:
        return ""
    items = "".join(f"<li>{escape(shown(note, 500))}</li>\n" for note in page.notes)
    return f"<h2>Notes</h2>\n<ul>\n{items}</ul>\n"


def _stages(page: NetworkPage) -> str:
    if len(page.stages) < 2:
        return ""
    lines = []
    for number, (sparsity, objective, bound, left, quality) in enumerate(page.stages, 1):
        cells = [Cell(str(number), number), Cell(percent(sparsity, 2), sparsity)]
        cells += [Cell(scientific(objective), objective), *_proven(page, bound, left), Cell(quality, text=True)]
        lines.append(("", cells))
    return f"<h2>Stages</h2>\n{table(['stage', 'sparsity', 'objective', 'bound', 'gap', page.measure], lines)}"


def _layers(page: NetworkPage) -> str:
    own = any(layer.objective is not None for layer in page.layers)
    retuned = any(layer.mask_gap is not None for layer in page.layers)
    headings = ["layer", "weights", "sparsity"]
    if retuned:
        headings += ["relative objective", "as it is", "re-tuned", "bound", "gap", "mask gap", "time"]
    elif own:
        headings += ["relative objective", "objective", "bound", "gap", "time"]
    lines = []
    for layer in page.layers:
        share = layer.pruned / layer.n
        cells = [Cell(shown(layer.name, 80), text=True), Cell(f"{layer.n:,}", layer.n), Cell(percent(share, 2), share)]
        if own:
            spent = math.nan if layer.seconds is None else layer.seconds
            losses = [layer.objective, layer.retuned] if retuned else [layer.objective]
            cells += [_number(layer.relative), *map(_number, losses), *_proven(page, layer.bound, layer.gap)]
            cells += [_proven(page, None, layer.mask_gap)[1]] if retuned else []
            cells.append(Cell(duration(spent), spent))
        lines.append(("proven" if layer.gap is not None and layer.gap <= GAP_TOLERANCE else "", cells))
    told = (
        "<p>The relative objective is the layer's loss over its loss without any weight. A bound is proven: by the "
        f"layer's model, no {escape(page.rivals)} has a lower loss.</p>\n"
        if own
        else ""
    )
    return f"<h2>Layer by layer</h2>\n{told}{_plot(page)}{table(headings, lines, 'scroll tall')}"


def _plot(page: NetworkPage) -> str:
    relative = [layer.relative for layer in page.layers]
    gaps = [layer.gap for layer in page.layers]
    panels = [
        Panel("relative objective", relative, [_number(value).shown for value in relative], logarithmic=True),
        Panel("gap", gaps, [proven(value, gap, page.bound_asked) for value in gaps], logarithmic=False),
    ]
    return layer_plot([layer.name for layer in page.layers], panels)


def _blocks(page: NetworkPage) -> str:
    if not page.blocks:
        return ""
    refined = any(block.refined is not None for block in page.blocks)
    lines = []
    for block in page.blocks:
        cells = [Cell(shown(block.name, 80), text=True), _number(block.error)]
        lines.append(("", [*cells, _number(block.refined)] if refined else cells))
    headings = ["block", "error of its output"] + (["after refinement"] if refined else [])
    return (
        "<h2>Block by block</h2>\n<p>How far a block's output is from that of the dense network, squared and relative "
        f"to it, on the calibration samples.</p>\n{table(headings, lines, 'scroll tall')}"
    )


def _about(page: NetworkPage) -> str:
    parts = []
    if page.seconds:
        parts.append(f"<h2>Time</h2>\n{pairs({phase: duration(spent) for phase, spent in page.seconds.items()})}")
    if page.settings:
        parts.append(f"<h2>What was asked for</h2>\n{pairs(page.settings)}")
    return "".join(parts)


def _number(value: float | None) -> Cell:
    known = math.nan if value is None else value
    return Cell(scientific(known), known)


def _proven(page: NetworkPage, bound: float | None, left: float | None) -> list[Cell]:
    """The cells of a bound and a gap."""
    return [
        Cell(proven(bound, scientific, page.bound_asked), bound),
        Cell(proven(left, gap, page.bound_asked), left),
    ]
