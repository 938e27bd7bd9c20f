"""`cbs-opt extract`: cuts a network into block files, and writes a manifest of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.network_options import (
    DampeningFrac,
    Damping,
    DataFile,
    Device,
    Ignore,
    Network,
    Samples,
    Targets,
    WeightsFile,
    partition_of,
)
from cbs_opt.cli.options import Json, split_names
from cbs_opt.cli.output import emit, say, seconds
from cbs_opt.cli.outputs import check_outputs, network_inputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working
from cbs_opt.kernel.words import counted

if TYPE_CHECKING:
    from cbs_opt.blocks import Extraction


def extract(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A new folder for the blocks.")],
    network: Network = "digits",
    weights: WeightsFile = None,
    data: DataFile = None,
    curvature: Annotated[
        str,
        typer.Option(
            "--curvature",
            metavar="C",
            help="The blocks' curvature: fisher (from per-sample gradients) or gram (from the layers' inputs).",
        ),
    ] = "fisher",
    partition: Annotated[
        str | None,
        typer.Option(
            "--partition",
            metavar="P",
            help="What one block holds: the weights of one output (row), those of a layer (layer), or N consecutive "
            "weights (a number N); default: 32 with fisher, row with gram.",
        ),
    ] = None,
    samples: Samples = 1_000,
    damping: Damping = None,
    dampening_frac: DampeningFrac = None,
    targets: Targets = None,
    ignore: Ignore = None,
    dense: Annotated[
        bool,
        typer.Option("--dense", help="Store the whole matrix H in every block file, so that each can be used alone."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed for drawing samples.")] = 0,
    device: Device = "cpu",
    json: Json = None,
) -> None:
    """Cut a network into block files, with a manifest, for `cbs-opt batch` to solve and `cbs-opt assemble` to put back.

    With no network given it cuts the embedded digits network.

    Example: cbs-opt extract --network mlpnet --weights W.npz --data D.npz --partition 64 --out blocks
    """
    from cbs_opt.blocks import extract as run
    from cbs_opt.network.data import digits_data, load_samples
    from cbs_opt.network.load import load_network

    partial = out.with_name(f"{out.name}.partial") if out.name else out
    check_outputs(json, made=[out, partial], inputs=network_inputs(network, weights, data))
    if data is None and network != "digits":
        raise InputError(f"network {network}: needs calibration samples; give --data FILE")
    model = load_network(network, weights)
    samples_of = digits_data() if data is None else load_samples(data, network)
    with working(f"extracting {network}") as tell:
        extracted = run(
            model,
            samples_of,
            out,
            curvature=curvature,
            partition=None if partition is None else partition_of(partition),
            samples=samples,
            damping=damping,
            dampening_frac=dampening_frac,
            targets=split_names(targets, "--targets") or ("*",),
            ignore=split_names(ignore, "--ignore") or (),
            dense=dense,
            device=device,
            seed=seed,
            network=network,
            weights_file=weights,
            data_file=data,
            progress=lambda words: tell(f"{network}: {words}"),
        )
    told = {**extracted.__dict__, "network": network}
    emit(json, told, lambda: _show(network, extracted))


def _show(network: str, extracted: Extraction) -> None:
    of, into = counted(extracted.layers, "layer"), counted(extracted.blocks, "block")
    say(
        f"{network}: {extracted.weights:,} weights of {of} in {into}, {_bytes(extracted.bytes)}, "
        f"{seconds(extracted.seconds)}"
    )
    for note in extracted.notes:
        say(f"  note: {note}")
    say(f"wrote {extracted.manifest}")


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"
