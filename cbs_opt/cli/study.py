"""`cbs-opt study`: compares heuristics with exact solves, on the embedded network, another network, or block files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.network_options import DampeningFrac, Damping, partition_of
from cbs_opt.cli.options import Json, split_names
from cbs_opt.cli.output import emit, say
from cbs_opt.cli.outputs import block_inputs, check_outputs, network_inputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.study import Subject


def study(
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[BLOCK...]", help="Block files or folders, as for --blocks.")
    ] = None,
    blocks: Annotated[
        list[Path] | None,
        typer.Option("--blocks", metavar="FILES...", help="Study these block files, or folders of them."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option("--network", metavar="N", help="Study a network: digits, mlpnet, resnet20, or module:factory."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="W", help="The network's trained weights (.safetensors, .npz or .pt)."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="D", help="Samples for curvature and accuracy (.npz); with gram, x alone will do."
        ),
    ] = None,
    curvature: Annotated[
        str | None,
        typer.Option(
            "--curvature", metavar="fisher|gram", help="With --network: fisher (gradients; default) or gram (inputs)."
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets", metavar="A,B", help="With --network: layers to cut into blocks, as 'fc*' (default all)."
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            "--partition",
            metavar="P",
            help="With --network: what a block holds: row, layer, or N consecutive weights (fisher: 32; gram: row).",
        ),
    ] = None,
    blocks_per_layer: Annotated[
        int | None,
        typer.Option(
            "--blocks-per-layer",
            metavar="K",
            min=0,
            help="With --network: take at most this many blocks of a layer, evenly spread (default 8); 0 takes all.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="M", min=1, help="Samples the curvature is collected from (default 1000)."),
    ] = None,
    damping: Damping = None,
    dampening_frac: DampeningFrac = None,
    sparsity: Annotated[
        str, typer.Option("--sparsity", metavar="R,R", help="Study each block at each of these sparsities, 0 to 1.")
    ] = "0.5,0.8,0.9",
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B,C", help="Names from `cbs-opt methods`; left out: all that fit."),
    ] = None,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit", metavar="S", min=0, help="Seconds for each solve; one that takes longer is ended."
        ),
    ] = 10.0,
    memory_limit: Annotated[
        str | None, typer.Option("--memory-limit", metavar="SIZE", help="Memory for each solve's process, as 4GB.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed for everything drawn at random.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="How many worker processes; left out: one per core."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for results, plots and the HTML page.")
    ] = Path("cbs-study"),
    json: Json = None,
) -> None:
    """Compare heuristics with exact solves on real layer blocks, with a proven gap for every answer.

    With no input it studies an embedded network that recognizes handwritten digits. Ctrl-C ends the study and keeps
    what is done. A solve that fails is named, the others go on, and the exit code is 1.

    Example: cbs-opt study --blocks blocks/ --sparsity 0.5,0.9 --methods magnitude,greedy-obs,bnb
    """
    from cbs_opt.batch.settings import memory_of
    from cbs_opt.cli.progress import progress_bar
    from cbs_opt.cli.study_tables import study_table
    from cbs_opt.evaluation.catalogue import method as find_method
    from cbs_opt.kernel.files import prepare_folder
    from cbs_opt.study import run_study, write_study
    from cbs_opt.study.write import FILES

    files = [*(blocks or ()), *(more or ())]
    if files and network is not None:
        raise InputError("give either block files or --network, not both")
    of_a_network = {
        "--weights": weights,
        "--data": data,
        "--curvature": curvature,
        "--targets": targets,
        "--partition": partition,
        "--blocks-per-layer": blocks_per_layer,
    }
    if network is None:
        _refuse(of_a_network, "belongs to a network; give --network, too, or leave it out")
    if files:
        collected = {"--samples": samples, "--damping": damping, "--dampening-frac": dampening_frac}
        _refuse(collected, "makes no difference to block files, which bring their curvature; leave it out")
    levels = _shares(sparsity)
    names = split_names(methods, "--methods")
    for name in names or ():
        find_method(name)
    memory = None if memory_limit is None else memory_of("memory_limit", memory_limit)
    read = [*block_inputs(files), *network_inputs(network, weights, data)]
    check_outputs(json, made=[out, *(out / name for name in FILES)], inputs=read)
    prepare_folder(out)

    with working("reading"):
        subject = _subject(
            files,
            network,
            weights,
            data,
            curvature,
            targets,
            partition,
            blocks_per_layer,
            samples,
            damping,
            dampening_frac,
            seed,
        )
    with progress_bar() as advance:
        result = run_study(
            subject,
            sparsities=levels,
            methods=names,
            seed=seed,
            time_limit=time_limit,
            memory_limit=memory,
            jobs=jobs,
            on_progress=advance,
        )
    with working("drawing"):
        written = write_study(result, out)

    def show() -> None:
        say(study_table(result), "", "written: " + ", ".join(str(file) for file in written))

    emit(json, result.to_dict(), show)
    if result.message():
        typer.echo(result.message() if result.interrupted else f"error: {result.message()}", err=True)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise where one of ``options`` is given: it would be ignored."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: {reason}")


def _subject(
    files: list[Path],
    network: str | None,
    weights: Path | None,
    data: Path | None,
    curvature: str | None,
    targets: str | None,
    partition: str | None,
    blocks_per_layer: int | None,
    samples: int | None,
    damping: float | None,
    dampening_frac: float | None,
    seed: int,
) -> Subject:
    from cbs_opt.study import digits_subject, files_subject, network_subject
    from cbs_opt.study.subject import BLOCKS_PER_LAYER

    samples = 1_000 if samples is None else samples
    curvature = "fisher" if curvature is None else curvature
    if files:
        return files_subject(files)
    if network is None:
        return digits_subject(samples=samples, damping=damping, dampening_frac=dampening_frac, seed=seed)
    if curvature not in ("fisher", "gram"):
        raise InputError(f"curvature: is {curvature!r}; there are fisher, gram")
    return network_subject(
        network,
        data,
        weights,
        curvature=curvature,
        targets=split_names(targets, "--targets") or ["*"],
        partition=None if partition is None else partition_of(partition),
        blocks_per_layer=BLOCKS_PER_LAYER if blocks_per_layer is None else blocks_per_layer or None,
        samples=samples,
        damping=damping,
        dampening_frac=dampening_frac,
        seed=seed,
    )


def _shares(text: str) -> list[float]:
    """'0.5, 0.9' → [0.5, 0.9], each in [0, 1]."""
    from cbs_opt.kernel.patterns import prune_count

    shares = []
    for part in split_names(text, "--sparsity") or ():
        prune_count(1, part)  # type: ignore[arg-type]
        shares.append(float(part))
    return shares
