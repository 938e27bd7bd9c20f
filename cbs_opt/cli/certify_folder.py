"""`cbs-opt certify hf:DENSE --pruned hf:OTHER`: judges every layer of a language model that any tool has pruned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbs_opt.cli.options import split_names
from cbs_opt.cli.output import emit, number, percent, say, table
from cbs_opt.cli.outputs import check_outputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.network.measures import Measured
    from cbs_opt.pruning.certify_layers import LayerJudgement


def certify_folder(
    dense: str,
    pruned: str,
    options: Mapping[str, Any],
    text: Path | None,
    test_text: Path | None,
    length: int | None,
    bound_time: float | None,
    report: Path | None,
    json: str | None,
) -> None:
    """Judge the layers of ``pruned`` against ``dense`` (both hf:FOLDER); ``options`` by their command-line names."""
    from cbs_opt.kernel.curvature.damping import dominance_note
    from cbs_opt.kernel.files import write_whole
    from cbs_opt.network.hugging_face import folder_of
    from cbs_opt.network.measures import Measured
    from cbs_opt.network.source import source_of
    from cbs_opt.pruning.certify_layers import certify_layers
    from cbs_opt.pruning.page import page_of_judged

    if folder_of(pruned) is None:
        raise InputError(f"--pruned: is {pruned}; {dense} is judged against another hf:FOLDER")
    source = source_of(
        dense,
        weights=options["--weights"],
        data=options["--data"],
        text=text,
        test_text=test_text,
        sequence_length=length,
    )
    other = source_of(pruned, text=text)
    check_outputs(report, json, inputs=source.files())
    with working(f"reading {dense}") as tell:
        model, theirs, measure = source.model(), other.model(), source.measure()
        layers = certify_layers(
            model,
            theirs,
            source.data(),
            samples=options["--samples"],
            damping=options["--damping"],
            dampening_frac=options["--dampening-frac"],
            bound_time=bound_time,
            targets=split_names(options["--targets"], "--targets") or ("*",),
            ignore=split_names(options["--ignore"], "--ignore") or (),
            seed=options["--seed"] or 0,
            progress=tell,
        )
        measured = None
        if measure is not None:
            tell(f"measuring {measure.name}")
            measured = Measured(measure, measure.of(model), measure.of(theirs))
    told: dict[str, Any] = {"network": dense, "pruned_network": pruned, "layers": [layer.to_dict() for layer in layers]}
    notes = dominance_note([layer.dominance for layer in layers])
    told["notes"] = list(notes)
    if measured is not None:
        told |= measured.to_dict()
    if report is not None:
        asked = {
            **options,
            "--text": text,
            "--test-text": test_text,
            "--sequence-length": length,
            "--bound-time": bound_time,
        }
        page = page_of_judged(dense, pruned, layers, measured, list(notes), asked).encode()
        write_whole(report, lambda stream: stream.write(page))
    emit(json, told, lambda: _show(pruned, layers, measured, notes))


def _show(name: str, layers: tuple[LayerJudgement, ...], measured: Measured | None, notes: tuple[str, ...]) -> None:
    say(f"{name}: {len(layers)} layers with zeros, each on the inputs of the dense network")
    columns = [("layer", "left"), ("weights", "right"), ("pruned", "right"), ("relative loss", "right")]
    columns += [("as it is", "right"), ("re-tuned", "right"), ("bound", "right"), ("gap", "right")]
    rows = [
        [
            layer.name,
            f"{layer.n:,}",
            f"{100 * layer.pruned / layer.n:.1f} %",
            f"{layer.relative:.4g}",
            number(layer.given),
            number(layer.objective),
            number(layer.bound),
            percent(layer.gap),
        ]
        for layer in layers
    ]
    say(table(None, columns, rows))
    if measured is not None:
        before, after = measured.words()
        say(f"  {measured.name:<14} {after}  (dense {before})")
    for note in notes:
        say(f"  note: {note}")
    say("The gap is about the layers' quadratic model on these samples, not about the model's quality.")
