"""`cbs-opt certify`: bound and gap of a mask from any tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.certify_layers import certify_by_layer
from cbs_opt.cli.network_options import (
    BoundTime,
    DampeningFrac,
    Damping,
    DataFile,
    Ignore,
    ReportFile,
    SequenceLength,
    Targets,
    TestTextFile,
    TextFile,
    WeightsFile,
)
from cbs_opt.cli.options import Json, PatternOption, split_names
from cbs_opt.cli.output import emit, load_asked, number, percent, say, seconds
from cbs_opt.cli.outputs import block_inputs, check_outputs, network_inputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working
from cbs_opt.kernel.words import counted

if TYPE_CHECKING:
    from cbs_opt.evaluation.certify import Judgement
    from cbs_opt.network.measures import Measured
    from cbs_opt.proof import Verification


def certify(
    block: Annotated[
        Path, typer.Argument(metavar="BLOCK|NETWORK", help="A block file (.npz), or a network as in `cbs-opt prune`.")
    ],
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            metavar="FILE",
            help="The mask (1 keeps), in a .npy, .npz or .safetensors file.",
        ),
    ] = None,
    pruned: Annotated[
        Path | None,
        typer.Option(
            "--pruned", metavar="FILE", help="The pruned weights, zero where pruned; judged as they are, too."
        ),
    ] = None,
    weights: WeightsFile = None,
    data: DataFile = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="m", min=1, help="With a network: how many samples to draw (default 1000)."),
    ] = None,
    damping: Damping = None,
    dampening_frac: DampeningFrac = None,
    targets: Targets = None,
    ignore: Ignore = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Seed for drawing samples.")] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="S",
            min=0,
            help="Seconds to tighten a small block's bound, 0 for none (default 10).",
        ),
    ] = None,
    pattern: PatternOption = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate", metavar="FILE", help="Instead of a mask, verify this certificate of `cbs-opt solve`."
        ),
    ] = None,
    curvature: Annotated[
        str | None,
        typer.Option(
            "--curvature",
            metavar="C",
            help="With a network: fisher (the loss model of the whole network, the default) or gram (layer by layer, "
            "on the outputs of each; hf:FOLDER always is).",
        ),
    ] = None,
    text: TextFile = None,
    test_text: TestTextFile = None,
    sequence_length: SequenceLength = None,
    bound_time: BoundTime = None,
    report: ReportFile = None,
    json: Json = None,
) -> None:
    """Say how far a mask from any tool is from the best possible at its own sparsity (or --pattern): bound and gap.

    --mask also takes the file that `cbs-opt solve --out` writes, and then judges the weights in it, too.

    With --certificate the bound of a certificate is verified, independently of any search and in exact arithmetic;
    the exit code is 1 if that fails.

    For a network, --weights and --data are those of the dense network, as for `cbs-opt prune`; give what is to be
    judged as --mask (one tensor per layer), as --pruned (a checkpoint with zeros), or as both. The loss model is the
    Fisher of the dense network, and the bound is about all masks with as many zeros in the whole network.

    With --curvature gram each layer is judged by itself, without labels, by how far its outputs are from those of the
    dense layer, against all masks with as many zeros in the layer (or all of --pattern N:M). That is close to how
    `cbs-opt prune` chooses masks by default. A language model (hf:FOLDER) is always judged so:
    cbs-opt certify hf:DENSE --pruned hf:OTHER --text T.txt

    Example: cbs-opt certify block.npz --mask mask.npz
    """
    of_a_network = {
        "--weights": weights,
        "--data": data,
        "--samples": samples,
        "--damping": damping,
        "--dampening-frac": dampening_frac,
        "--targets": targets,
        "--ignore": ignore,
        "--seed": seed,
    }
    of_a_text = {"--text": text, "--test-text": test_text, "--sequence-length": sequence_length}
    by_layer = _is_by_layer(block, curvature)
    of_layers: dict[str, Any] = {"--bound-time": bound_time, "--report": report}
    for name, said in of_layers.items():
        if said is not None and not by_layer:
            raise InputError(f"{name}: belongs to a network judged by layers, with --curvature gram or hf:FOLDER")
    if _is_network(block):
        if certificate is not None or time_limit is not None:
            raise InputError("--certificate, --time-limit belong to a block; leave them out for a network")
        if by_layer:
            certify_by_layer(
                str(block),
                mask,
                pruned,
                of_a_network,
                text,
                test_text,
                sequence_length,
                pattern,
                bound_time,
                report,
                json,
            )
            return
        if pattern is not None:
            raise InputError("--pattern: belongs to a block, or to a network with --curvature gram; leave it out here")
        for name, said in of_a_text.items():
            if said is not None:
                raise InputError(f"{name}: belongs to a network hf:FOLDER; leave it out here")
        check_outputs(json, inputs=[mask, pruned, *network_inputs(str(block), weights, data)])
        _network(str(block), mask, pruned, of_a_network, json)
        return
    for name, value in {**of_a_network, **of_a_text, "--curvature": curvature}.items():
        if value is not None:
            raise InputError(f"{name}: belongs to a network; leave it out for a block")
    if (mask is None) == (certificate is None):
        raise InputError("give exactly one of --mask FILE and --certificate FILE")
    check_outputs(json, inputs=[*block_inputs([block]), mask, pruned, certificate])
    if certificate is not None:
        if pruned is not None:
            raise InputError("--pruned belongs to --mask; a certificate has its own")
        if pattern is not None:
            raise InputError("--pattern belongs to --mask; a certificate has its own")
        if time_limit is not None:
            raise InputError("--time-limit belongs to --mask; a certificate is verified in full, leave it out")
        _verify(block, certificate, json)
        return
    assert mask is not None, "one of the two is given"
    from cbs_opt.evaluation.certify import certify as run
    from cbs_opt.evaluation.mask_file import load_mask, load_weights
    from cbs_opt.kernel.asked import Asked
    from cbs_opt.kernel.problem import PruningProblem

    problem = PruningProblem.load(block) if pattern is None else load_asked(block, Asked("pattern", pattern))
    chosen = load_mask(mask, problem.n)
    given = load_weights(pruned or mask, problem.n, required=pruned is not None)
    with working(f"bounding {problem.name}, {problem.n} weights"):
        judged = run(
            problem,
            chosen,
            given,
            time_limit=10.0 if time_limit is None else time_limit,
            pattern=None if pattern is None else problem.Z,
        )
    emit(json, judged.to_dict(), lambda: _show(judged))


def _is_by_layer(network: Path, curvature: str | None) -> bool:
    """Whether a network is judged layer by layer."""
    from cbs_opt.network.hugging_face import folder_of

    if curvature not in (None, "fisher", "gram"):
        raise InputError(f"--curvature: is {curvature!r}; a network is judged by fisher or by gram")
    if folder_of(str(network)) is None:
        return curvature == "gram"
    if curvature == "fisher":
        raise InputError(f"{network}: is judged layer by layer; leave --curvature out")
    return True


def _is_network(block: Path) -> bool:
    from cbs_opt.network.reference import NETWORKS

    return not block.exists() and (str(block) in NETWORKS or ":" in str(block))


def _network(name: str, mask: Path | None, pruned: Path | None, options: dict[str, Any], json: str | None) -> None:
    from cbs_opt.network.data import digits_data, load_data
    from cbs_opt.network.load import load_network, load_tensors
    from cbs_opt.network.measures import Measured, as_measure, measure_notes
    from cbs_opt.pruning.certify_network import certify_network, load_masks

    if mask is None and pruned is None:
        raise InputError("give --mask FILE, --pruned FILE, or both")
    weights, data = options["--weights"], options["--data"]
    if data is None and name != "digits":
        raise InputError(f"network {name}: needs the samples of its loss model; give --data FILE")
    model = load_network(name, weights)
    tensors = None if pruned is None else load_tensors(pruned)
    samples = digits_data() if data is None else load_data(data, name)
    with working(f"bounding {name}"):
        judged = certify_network(
            model,
            samples,
            None if mask is None else load_masks(mask),
            tensors,
            samples=1_000 if options["--samples"] is None else options["--samples"],
            damping=options["--damping"],
            dampening_frac=options["--dampening-frac"],
            targets=split_names(options["--targets"], "--targets") or ("*",),
            ignore=split_names(options["--ignore"], "--ignore") or (),
            seed=options["--seed"] or 0,
            name=name,
        )
    measure, measured = as_measure(None, samples), None
    if tensors is not None and measure is not None:
        state = model.state_dict()
        dense = measure.of(model)
        own = {name: tensor for name, tensor in tensors.items() if name in state and tensor.shape == state[name].shape}
        model.load_state_dict(own, strict=False)
        measured = Measured(measure, dense, measure.of(model))
        judged = replace(judged, notes=(*judged.notes, *measure_notes(None, samples)))
    told = judged.to_dict() | ({} if measured is None else measured.to_dict())
    emit(json, told, lambda: _show(judged, measured))


def _verify(block: Path, file: Path, json: str | None) -> None:
    from cbs_opt.kernel.problem import PruningProblem
    from cbs_opt.proof import NotVerifiedError, Proof, verify

    problem = PruningProblem.load(block)
    proof = Proof.load(file)
    try:
        with working(f"verifying {file.name}, {counted(proof.nodes, 'node')}") as tell:
            verification = verify(
                problem,
                proof,
                progress=lambda done, nodes: tell(f"verifying {file.name}: {done:,} of {nodes:,} nodes"),
            )
    except NotVerifiedError as error:
        typer.echo(f"error: {file}: {error}", err=True)
        raise typer.Exit(1) from None
    emit(json, {"verified": True, **verification.to_dict()}, lambda: _show_verified(verification))


def _show_verified(v: Verification) -> None:
    say(f"{v.name}: verified, {counted(v.nodes, 'node')} in {seconds(v.seconds)}, by {v.arithmetic}")
    forced = "" if v.forced == 0 else f" that keeps or prunes the {v.forced} weights it has to"
    say(f"  no mask with {v.pattern}{forced} has a loss below {v.bound!r}")
    say(f"  the certificate's mask has a loss of {v.objective!r}  (gap {percent(v.gap)})")
    for note in v.notes:
        say(f"  note: {note}")
    say("The loss is the quadratic model's, of the float64 numbers in the block.")


def _show(certificate: Judgement, measured: Measured | None = None) -> None:
    c = certificate
    say(f"{c.name}: a mask that prunes {c.pruned} of {c.n} weights")
    say(f"  loss, weights as trained  {number(c.selection_objective)}")
    if c.given_objective is not None:
        say(f"  loss, weights as given    {number(c.given_objective)}  (gap {percent(c.given_gap)})")
    say(f"  loss, weights re-tuned    {number(c.objective)}  (gap {percent(c.gap)})")
    say(f"  proven lower bound        {number(c.bound)}  ({c.bound_method}, {seconds(c.seconds)})")
    if measured is not None:
        before, after = measured.words()
        say(f"  {measured.name:<25} {after}  (dense {before})")
    for note in c.notes:
        say(f"  note: {note}")
    say("The gap is about the quadratic model of the loss, not about accuracy.")
