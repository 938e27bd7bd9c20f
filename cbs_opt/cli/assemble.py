"""`cbs-opt assemble`: puts solved blocks back into the network that they were cut from."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.network_options import DataFile, WeightsFile
from cbs_opt.cli.options import Json, PatternOption, Prune, Sparsity
from cbs_opt.cli.output import emit, number, percent, say, table
from cbs_opt.cli.outputs import block_inputs, check_outputs, network_inputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.blocks.assemble import Assembled
    from cbs_opt.blocks.manifest import Manifest

log = logging.getLogger("cbs_opt")


def assemble(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest of the blocks, or their folder.")],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The store of `cbs-opt batch`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Write the pruned network (.safetensors).")],
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="FILE", help="Write the masks (.safetensors, 1 keeps).")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="N", help="Needed if the manifest names none, or module:factory.")
    ] = None,
    weights: WeightsFile = None,
    data: DataFile = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="M", help="Take this method's answers (default: each block's best)."),
    ] = None,
    sparsity: Sparsity = None,
    prune: Prune = None,
    pattern: PatternOption = None,
    partial: Annotated[bool, typer.Option("--partial", help="Leave blocks without an answer dense.")] = False,
    json: Json = None,
) -> None:
    """Put solved blocks back into their network: write it, pruned, and say what is proven about the blocks.

    Every block is checked against the manifest and the network. The weights and the data are those that the manifest
    names, unless --weights or --data name others; with data the accuracy is measured, too. A batch that was asked for
    several sparsities or patterns needs --sparsity, --prune or --pattern to say which of them is put back.

    Blocks are solved independently of each other, which suits studies of the optimization. Where accuracy is wanted,
    use `cbs-opt prune`: it fits every layer to the inputs that the pruned layers before it give.

    Example: cbs-opt assemble blocks results.sqlite --out pruned.safetensors --masks masks.safetensors
    """
    from cbs_opt.blocks.assemble import assemble as run
    from cbs_opt.blocks.manifest import NAME, load_manifest
    from cbs_opt.kernel.asked import Asked
    from cbs_opt.network.checkpoint import require_safetensors
    from cbs_opt.network.data import Data, digits_data, load_data, load_samples
    from cbs_opt.network.load import load_network
    from cbs_opt.store.database import files_of

    file = manifest / NAME if manifest.is_dir() else manifest
    read = [*block_inputs([file]), *files_of(store), *network_inputs(network, weights, data)]
    check_outputs(out, masks, json, inputs=read)
    for target in (out, masks):
        if target is not None:
            require_safetensors(target)
    asked = None
    if (sparsity, prune, pattern) != (None, None, None):
        asked = str(Asked.of_options(sparsity, prune, pattern))
    plan = load_manifest(manifest)
    name = _network(plan, network)
    given, weights, data = data, weights or plan.weights_file, data or plan.data_file
    check_outputs(out, masks, json, inputs=[*read, weights, data])
    model = load_network(name, weights)
    samples = None
    if data is not None:
        # A file that only the manifest names may have served a curvature without labels.
        found = load_data(data, name) if data == given else load_samples(data, name)
        samples = found if isinstance(found, Data) else None
        if samples is None:
            log.warning("assemble: the accuracy is not measured, since %s has no labels; give others by --data", data)
    elif name == "digits":
        samples = digits_data()
    with working(f"assembling {name}") as tell:
        assembled = run(
            file,
            store,
            model,
            method=method,
            asked=asked,
            partial=partial,
            data=samples,
            progress=lambda words: tell(f"{name}: {words}"),
        )
    assembled.save(out)
    if masks is not None:
        assembled.save_masks(masks)
    emit(json, {"network": name, **assembled.to_dict()}, lambda: _show(name, assembled, out, masks))


def _network(plan: Manifest, given: str | None) -> str:
    """The network's name; code of a module runs only if the command line names it, never for a manifest's sake."""
    name = given or plan.network
    if not name:
        raise InputError(f"{plan.file}: names no network; say which with --network N")
    if given is None and ":" in name:
        raise InputError(
            f"{plan.file}: the network {name} runs the code of a module; if that is wanted, give it as --network"
        )
    return name


def _show(network: str, found: Assembled, out: Path, masks: Path | None) -> None:
    from cbs_opt.kernel.words import shown

    n, pruned = found.weights.n, found.weights.pruned
    say(
        f"{network}: pruned {pruned:,} of {n:,} weights ({100 * pruned / n:.2f} %), {found.asked} of each of "
        f"{found.blocks - found.missing:,} blocks"
    )
    columns = [
        ("tensor", "left"),
        ("blocks", "right"),
        ("weights", "right"),
        ("pruned", "right"),
        ("sparsity", "right"),
        ("objective", "right"),
        ("bound", "right"),
    ]
    say(
        table(
            None,
            columns,
            [
                [
                    t.name,
                    f"{t.blocks - t.missing:,}" + (f" of {t.blocks:,}" if t.missing else ""),
                    f"{t.n:,}",
                    f"{t.pruned:,}",
                    f"{100 * t.pruned / t.n:.1f} %",
                    number(t.objective),
                    number(t.bound),
                ]
                for t in found.tensors
            ],
        )
    )
    say("  answers        " + ", ".join(f"{shown(method)} {count:,}" for method, count in found.methods.items()))
    say(f"  objective      {number(found.objective)}")
    of = f" of the {found.blocks - found.missing:,} blocks, not of the network" if found.missing else ""
    say(f"  proven bound   {number(found.bound)}  (gap {percent(found.gap)}{of})")
    if found.accuracy is not None and found.accuracy_dense is not None:
        say(f"  accuracy       {100 * found.accuracy:.2f} %  (dense {100 * found.accuracy_dense:.2f} %)")
    else:
        say("  accuracy       not measured; --data FILE measures it")
    for note in found.notes:
        say(f"  note: {note}")
    for file, what in ((out, "network"), (masks, "masks")):
        if file is not None:
            say(f"wrote the {what} to {file}")
    if math.isfinite(found.bound):
        say(
            "Objective and bound are sums over the blocks, each with what was asked of it, and leave out what couples "
            "one block with another."
        )
    say(
        "The gap is about the quadratic model of the loss, not about accuracy. Blocks solved one by one are for "
        "studies of the optimization; for accuracy there is `cbs-opt prune`."
    )
