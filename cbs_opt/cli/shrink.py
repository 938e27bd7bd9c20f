"""`cbs-opt shrink`: makes a network smaller by removing whole channels, so that it stays dense."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.network_options import (
    DampeningFrac,
    Damping,
    DataFile,
    Ignore,
    Network,
    Seed,
    SequenceLength,
    Targets,
    TestTextFile,
    TextFile,
    WeightsFile,
)
from cbs_opt.cli.options import Json, split_names
from cbs_opt.cli.output import emit, number, percent, say, seconds, table
from cbs_opt.cli.outputs import check_outputs, network_inputs
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.structure import Shrunk


def shrink(
    flops: Annotated[
        float | None,
        typer.Option("--flops", metavar="R", help="Leave at most this share of the operations, 0 to 1."),
    ] = None,
    parameters: Annotated[
        float | None,
        typer.Option("--parameters", metavar="R", help="Leave at most this share of the parameters, 0 to 1."),
    ] = None,
    network: Network = "digits",
    weights: WeightsFile = None,
    data: DataFile = None,
    text: TextFile = None,
    test_text: TestTextFile = None,
    sequence_length: SequenceLength = None,
    selection: Annotated[
        str,
        typer.Option(
            "--selection", metavar="S", help="How units are chosen: joint (loss after the update) or magnitude."
        ),
    ] = "joint",
    allocation: Annotated[
        str,
        typer.Option(
            "--allocation",
            metavar="A",
            help="How sets of units share the budget: curves (measured loss curves, solved by HiGHS) or uniform.",
        ),
    ] = "curves",
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="m", min=1, help="Calibration samples; default: 1,000, or all if fewer."),
    ] = None,
    damping: Damping = None,
    dampening_frac: DampeningFrac = None,
    targets: Targets = None,
    ignore: Ignore = None,
    refine: Annotated[
        int, typer.Option("--refine", metavar="N", min=0, help="Re-tune each block as a whole, in this many passes.")
    ] = 0,
    batchnorm: Annotated[
        bool,
        typer.Option(
            "--reestimate-batchnorm",
            help="Compute the running means and variances of batch normalization again at the end.",
        ),
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write the small network into this folder, for cbs_opt.load_shrunk."),
    ] = None,
    json: Json = None,
) -> None:
    """Remove whole filters, neurons and heads, which leaves a smaller dense network, and re-tune the remaining weights.

    The network is traced to find which channels have to go together. With no network given, it shrinks the embedded
    digits network.

    Example: cbs-opt shrink --network resnet20 --weights W.npz --data D.npz --flops 0.5 --out small
    """
    from cbs_opt.network.source import source_of
    from cbs_opt.structure import shrink as run
    from cbs_opt.structure.saved import STRUCTURE, TENSORS

    source = source_of(
        network, weights=weights, data=data, text=text, test_text=test_text, sequence_length=sequence_length
    )
    source.check_out(None)
    made = () if out is None else (out, out / STRUCTURE, out / TENSORS)
    check_outputs(json, made=made, inputs=network_inputs(network, *source.files()))
    if out is not None:
        from cbs_opt.kernel.files import prepare_folder

        prepare_folder(out)
    with working(f"shrinking {network}") as tell:
        found = run(
            source.model(),
            source.data(),
            flops=flops,
            parameters=parameters,
            test=source.measure(),
            selection=selection,
            allocation=allocation,
            samples=samples,
            damping=damping,
            dampening_frac=dampening_frac,
            targets=split_names(targets, "--targets") or ("*",),
            ignore=split_names(ignore, "--ignore") or (),
            refine=refine,
            reestimate_batchnorm=batchnorm,
            seed=seed,
            progress=lambda words: tell(f"{network}: {words}"),
        )
    if out is not None:
        found.save(out)
    emit(json, {"network": network, **found.to_dict()}, lambda: _show(network, found, out))


def _show(network: str, found: Shrunk, out: Path | None) -> None:
    say(
        f"{network}: {percent(found.flops / found.flops_dense)} of the operations and "
        f"{percent(found.parameters / found.parameters_dense)} of the parameters are left "
        f"({found.parameters:,} of {found.parameters_dense:,})"
    )
    rows = [[part.name, str(part.units), str(len(part.kept)), number(part.loss)] for part in found.sets]
    say(table(None, [("made by", "left"), ("units", "right"), ("kept", "right"), ("loss", "right")], rows))
    say(f"  {'loss':<14} {number(found.loss)}")
    if found.settings["allocation"] == "curves":
        say(f"  {'bound':<14} {number(found.bound)}  (gap {percent(found.gap)}, over all allocations on these curves)")
    if found.measured is not None:
        before, after = found.measured.words()
        say(f"  {found.measured.name:<14} {after}  (dense {before})")
    say("  time           " + ", ".join(f"{phase} {seconds(spent)}" for phase, spent in found.seconds.items()))
    for note in found.notes:
        say(f"  note: {note}")
    if out is not None:
        say(f"wrote the small network to {out}; cbs_opt.load_shrunk(dense, '{out}') builds it again")
