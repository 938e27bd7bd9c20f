"""`cbs-opt prune`: prunes, re-tunes and certifies a whole network."""

from __future__ import annotations

import math
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.network_options import (
    BoundTime,
    DampeningFrac,
    Damping,
    DataFile,
    Device,
    Ignore,
    Network,
    ReportFile,
    Seed,
    SequenceLength,
    Targets,
    TestTextFile,
    TextFile,
    WeightsFile,
    partition_of,
)
from cbs_opt.cli.options import Json, PatternOption, split_names
from cbs_opt.cli.output import emit, number, percent, say, seconds, table
from cbs_opt.cli.outputs import check_outputs, network_inputs
from cbs_opt.kernel.terminal import working
from cbs_opt.kernel.words import proven

if TYPE_CHECKING:
    from cbs_opt.pruning import LayerReport, Pruned


def prune(
    sparsity: Annotated[
        float | None, typer.Option("--sparsity", metavar="R", help="Prune at least this share of the weights, 0 to 1.")
    ] = None,
    pattern: PatternOption = None,
    network: Network = "digits",
    weights: WeightsFile = None,
    data: DataFile = None,
    text: TextFile = None,
    test_text: TestTextFile = None,
    sequence_length: SequenceLength = None,
    curvature: Annotated[
        str,
        typer.Option(
            "--curvature", metavar="C", help="How the loss is modelled: sequential, gram, fisher or gauss-newton."
        ),
    ] = "sequential",
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="M",
            help="What chooses the masks, a name from `cbs-opt methods`; default: by curvature and network size.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            metavar="m",
            min=1,
            help="How many calibration samples to draw; default: 1,000, or all if fewer.",
        ),
    ] = None,
    damping: Damping = None,
    dampening_frac: DampeningFrac = None,
    targets: Targets = None,
    ignore: Ignore = None,
    partition: Annotated[
        str,
        typer.Option(
            "--partition",
            metavar="P",
            help="With fisher, which weights interact: all (network), those of one layer, of one row, or of N "
            "consecutive weights (a number N).",
        ),
    ] = "network",
    allocation: Annotated[
        str,
        typer.Option(
            "--allocation",
            metavar="A",
            help="With gram and sequential, how layers and rows share the zeros: sensitivity, magnitude, layer or "
            "uniform; default: by the network's size.",
        ),
    ] = "",
    average: Annotated[
        int,
        typer.Option(
            "--average",
            metavar="B",
            min=1,
            help="With fisher: each row of the gradient matrix averages this many samples.",
        ),
    ] = 1,
    first_order: Annotated[
        bool, typer.Option("--first-order", help="With fisher: keep the gradient as a first-order term.")
    ] = False,
    stages: Annotated[
        int,
        typer.Option(
            "--stages", metavar="N", min=1, help="Prune in this many stages, each on the curvature at its beginning."
        ),
    ] = 1,
    schedule: Annotated[
        str,
        typer.Option(
            "--schedule", metavar="S", help="How sparsity grows from stage to stage: linear, exponential or cubic."
        ),
    ] = "cubic",
    settle: Annotated[
        int, typer.Option("--settle", metavar="N", min=0, help="Add this many stages at the final sparsity.")
    ] = 0,
    revive: Annotated[
        bool, typer.Option("--revive", help="Let later stages take back weights that earlier ones pruned.")
    ] = False,
    batchnorm: Annotated[
        bool,
        typer.Option(
            "--reestimate-batchnorm",
            help="Compute the running means and variances of batch normalization again at the end.",
        ),
    ] = False,
    bound: Annotated[
        bool | None,
        typer.Option(
            "--bound/--no-bound",
            help="Prove a lower bound, or leave it out; default: prove it unless the network is large.",
        ),
    ] = None,
    bound_time: BoundTime = None,
    refine: Annotated[
        int,
        typer.Option(
            "--refine",
            metavar="N",
            min=0,
            help="With sequential: re-tune each block as a whole, in this many passes over the samples.",
        ),
    ] = 0,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="DIR",
            help="With sequential: keep finished blocks in this folder; an interrupted run goes on from there.",
        ),
    ] = None,
    keep_zeros: Annotated[
        bool,
        typer.Option(
            "--keep-zeros", help="Keep weights zero that are zero in the given network, and count them as pruned."
        ),
    ] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the pruned network (.safetensors; for hf:FOLDER a new folder)."
        ),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="FILE", help="Write the masks (.safetensors, 1 keeps).")
    ] = None,
    report: ReportFile = None,
    json: Json = None,
) -> None:
    """Prune a whole network: choose the weights, re-tune the others, and prove how far that is from the best possible.

    With no network given, it prunes the embedded digits network. The gap is about the quadratic model of the loss (in
    the last stage, if there are several), not about accuracy.

    Example: cbs-opt prune --network mlpnet --weights W.npz --data D.npz --sparsity 0.9 --out P.safetensors

    A language model: cbs-opt prune --network hf:FOLDER --text T.txt --sparsity 0.5 --out FOLDER2
    """
    from cbs_opt.network.checkpoint import require_safetensors
    from cbs_opt.network.source import source_of
    from cbs_opt.pruning import prune as run
    from cbs_opt.pruning.page import page_of_pruned

    source = source_of(
        network, weights=weights, data=data, text=text, test_text=test_text, sequence_length=sequence_length
    )
    source.check_out(out)
    check_outputs(out, masks, report, json, inputs=network_inputs(network, *source.files()))
    if masks is not None:
        require_safetensors(masks)
    with working(f"pruning {network}") as tell:
        pruned = run(
            source.model(),
            source.data(),
            sparsity,
            test=source.measure(),
            pattern=pattern,
            curvature=curvature,
            method=method or "",
            samples=samples,
            damping=damping,
            dampening_frac=dampening_frac,
            targets=split_names(targets, "--targets") or ("*",),
            ignore=split_names(ignore, "--ignore") or (),
            partition=partition_of(partition),
            allocation=allocation,
            average=average,
            first_order=first_order,
            stages=stages,
            schedule=schedule,
            settle=settle,
            revive=revive,
            reestimate_batchnorm=batchnorm,
            bound=bound,
            keep_zeros=keep_zeros,
            bound_time=bound_time,
            refine=refine,
            work=work,
            seed=seed,
            device=device,
            progress=lambda words: tell(f"{network}: {words}"),
        )
    told = {"network": network, **pruned.to_dict()}
    if out is not None:
        page = page_of_pruned(network, pruned).encode()
        reports = {"pruning.json": dumps(told, indent=1).encode(), "pruning.html": page}
        source.save(pruned.model, [target.tensor for target in pruned.weights.targets], reports, out)
    if masks is not None:
        pruned.save_masks(masks)
    if report is not None:
        pruned.save_report(report, name=network)
    emit(json, told, lambda: _show(network, pruned, {"network": out, "masks": masks, "report": report}))


def _show(network: str, pruned: Pruned, written: dict[str, Path | None]) -> None:
    n, settings, asked = pruned.weights.n, pruned.settings, pruned.bound_asked
    measured = "accuracy" if pruned.measured is None else pruned.measured.name
    say(
        f"{network}: pruned {pruned.weights.pruned:,} of {n:,} weights ({100 * pruned.sparsity:.2f} %), "
        f"{settings['curvature']} curvature, {settings['method']}"
    )
    if len(pruned.stages) > 1:
        rows = [
            [
                str(i + 1),
                f"{100 * s.sparsity:.2f} %",
                number(s.objective),
                proven(s.gap, percent, asked),
                _quality(pruned, s.quality),
            ]
            for i, s in enumerate(pruned.stages)
        ]
        columns = [
            ("stage", "right"),
            ("sparsity", "right"),
            ("objective", "right"),
            ("gap", "right"),
            (measured, "right"),
        ]
        say(table(None, columns, rows))
    own = any(layer.objective is not None for layer in pruned.layers)
    columns = [("layer", "left"), ("weights", "right"), ("pruned", "right"), ("sparsity", "right")]
    if own:
        columns += [(name, "right") for name in ("objective", "relative", "bound", "gap", "time")]
    say(
        table(
            None,
            columns,
            [
                [layer.name, f"{layer.n:,}", f"{layer.pruned:,}", f"{100 * layer.sparsity:.1f} %"]
                + (_of_its_own(layer, asked) if own else [])
                for layer in pruned.layers
            ],
        )
    )
    say(f"  objective      {number(pruned.objective)}")
    left = f"  (gap {percent(pruned.gap)})" if asked or math.isfinite(pruned.bound) else ""
    say(f"  proven bound   {proven(pruned.bound, number, asked)}{left}")
    if pruned.measured is not None:
        before, after = pruned.measured.words()
        say(f"  {measured:<14} {after}  (dense {before})")
    if pruned.blocks:
        worst = max(pruned.blocks, key=lambda block: block.error)
        say(f"  {'blocks':<14} largest {worst.words()} ({worst.name})")
    say("  time           " + ", ".join(f"{phase} {seconds(spent)}" for phase, spent in pruned.seconds.items()))
    for note in pruned.notes:
        say(f"  note: {note}")
    for what, file in written.items():
        if file is not None:
            say(f"wrote the {what} to {file}")
    if math.isfinite(pruned.bound):
        if own:
            say(
                "The bound is the sum of the layers', each as it was posed: its inputs, and how many weights each row "
                "loses."
            )
        say("The gap is about the quadratic model of the loss, not about accuracy.")


def _of_its_own(layer: LayerReport, asked: bool) -> list[str]:
    """The cells of a layer that was optimized as a problem of its own."""
    relative = "–" if layer.relative is None else f"{layer.relative:.4g}"
    bound, gap = proven(layer.bound, number, asked), proven(layer.gap, percent, asked)
    return [number(layer.objective), relative, bound, gap, seconds(layer.seconds)]


def _quality(pruned: Pruned, value: float | None) -> str:
    return "–" if value is None or pruned.measured is None else pruned.measured.measure.words(value)
