"""`cbs-opt certify NETWORK` layer by layer: judges every layer of a network that any tool has pruned."""

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
    import torch

    from cbs_opt.network.measures import Measured
    from cbs_opt.pruning.certify_layers import LayerJudgement


def certify_by_layer(
    dense: str,
    mask: Path | None,
    pruned: Path | None,
    options: Mapping[str, Any],
    text: Path | None,
    test_text: Path | None,
    length: int | None,
    pattern: str | None,
    bound_time: float | None,
    report: Path | None,
    json: str | None,
) -> None:
    """Judge the layers of what a tool left of ``dense``; ``options`` by their command-line names."""
    from cbs_opt.kernel.curvature.damping import dominance_note
    from cbs_opt.kernel.files import write_whole
    from cbs_opt.network.measures import Measured, as_measure, measure_notes
    from cbs_opt.network.source import source_of
    from cbs_opt.pruning.certify_layers import certify_layers
    from cbs_opt.pruning.page import page_of_judged

    source = source_of(
        dense,
        weights=options["--weights"],
        data=options["--data"],
        text=text,
        test_text=test_text,
        sequence_length=length,
    )
    source.check_out(None)
    judged = _name_of(dense, mask, pruned)
    check_outputs(report, json, inputs=[*source.files(), mask, pruned])
    with working(f"reading {dense}") as tell:
        model, data = source.model(), source.data()
        network = None if pruned is None else _other(dense, pruned, text)
        theirs = network if mask is None else _masks(mask)
        layers = certify_layers(
            model,
            theirs,
            data,
            pattern=pattern,
            samples=options["--samples"],
            damping=options["--damping"],
            dampening_frac=options["--dampening-frac"],
            bound_time=bound_time,
            targets=split_names(options["--targets"], "--targets") or ("*",),
            ignore=split_names(options["--ignore"], "--ignore") or (),
            seed=options["--seed"] or 0,
            progress=tell,
        )
        measured, notes = None, dominance_note([layer.dominance for layer in layers])
        measure = as_measure(source.measure(), data)
        if measure is not None and network is not None:
            tell(f"measuring {measure.name}")
            measured = Measured(measure, measure.of(model), measure.of(network))
            notes = (*notes, *measure_notes(source.measure(), data))
    told: dict[str, Any] = {"network": dense, "pruned_network": judged, "layers": [layer.to_dict() for layer in layers]}
    told["notes"] = list(notes)
    if measured is not None:
        told |= measured.to_dict()
    if report is not None:
        asked = {
            **options,
            "--text": text,
            "--test-text": test_text,
            "--sequence-length": length,
            "--pattern": pattern,
            "--bound-time": bound_time,
        }
        page = page_of_judged(dense, judged, layers, measured, list(notes), asked).encode()
        write_whole(report, lambda stream: stream.write(page))
    emit(json, told, lambda: _show(judged, layers, measured, notes, pattern))


def _name_of(dense: str, mask: Path | None, pruned: Path | None) -> str:
    """What is judged: one of the two files, or another folder where the dense network is one."""
    from cbs_opt.network.hugging_face import folder_of

    if folder_of(dense) is not None and (mask is not None or pruned is None or folder_of(str(pruned)) is None):
        raise InputError(f"{dense}: is judged against another folder, --pruned hf:OTHER, without --mask")
    if (mask is None) == (pruned is None):
        raise InputError("layer by layer, exactly one of --mask FILE and --pruned FILE is judged; give one of them")
    return str(pruned if mask is None else mask)


def _other(dense: str, pruned: Path, text: Path | None) -> torch.nn.Module:
    """The pruned network: another folder, or the dense network with other weights."""
    from cbs_opt.network.hugging_face import folder_of
    from cbs_opt.network.load import load_network
    from cbs_opt.network.source import source_of

    if folder_of(dense) is not None:
        return source_of(str(pruned), text=text).model()
    return load_network(dense, pruned)


def _masks(path: Path) -> dict[str, Any]:
    from cbs_opt.pruning.certify_network import load_masks

    return {name: mask.astype(bool) for name, mask in load_masks(path).items()}


def _show(
    name: str,
    layers: tuple[LayerJudgement, ...],
    measured: Measured | None,
    notes: tuple[str, ...],
    pattern: str | None,
) -> None:
    from cbs_opt.pruning.page import rivals

    say(f"{name}: {len(layers)} layers with zeros, each on the inputs of the dense network")
    columns = [("layer", "left"), ("weights", "right"), ("pruned", "right"), ("relative", "right")]
    columns += [(name, "right") for name in ("as it is", "re-tuned", "bound", "gap", "mask gap")]
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
            percent(layer.mask_gap),
        ]
        for layer in layers
    ]
    say(table(None, columns, rows))
    if measured is not None:
        before, after = measured.words()
        say(f"  {measured.name:<14} {after}  (dense {before})")
    for note in notes:
        say(f"  note: {note}")
    say("gap: of the weights as they are; mask gap: of the best weights on the same mask.")
    say(f"The bound of a layer holds for all masks {rivals(pattern)}.")
    say("Gaps are about the layers' quadratic model on these samples, not about the network's quality.")
