"""Measures what gaps do not tell: the accuracy of the network with each method's answers in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cbs_opt.blocks.assemble import assemble
from cbs_opt.blocks.manifest import load_manifest
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.network.data import Data, digits_data, load_data
from cbs_opt.network.load import load_network
from cbs_opt.report.build import BatchReport
from cbs_opt.report.networks import BEST

if TYPE_CHECKING:
    import torch


def with_accuracy(report: BatchReport, tell: Callable[[str], None] = lambda words: None) -> BatchReport:
    """The report with the accuracy of each network, for each request and each method that has answers to all blocks.

    The notes name networks that cannot be loaded from the manifest alone, and those whose weights or data are not
    where the manifest says.
    """
    lines, notes = list(report.network_gaps), []
    for network in report.networks:
        if network.manifest is None:
            continue
        try:
            model, data = _loaded(network.manifest)
        except CbsOptError as error:
            notes.append(f"{network.name}: its accuracy was not measured ({error})")
            continue
        for place, line in enumerate(lines):
            if line.network != network.name or line.sums.without_answer or sum(network.absent.values()):
                continue
            tell(f"measuring {network.name}, {line.method} at {line.asked}")
            method = None if line.method == BEST else line.method
            try:
                found = assemble(
                    network.manifest, report.records.source, model, method=method, asked=line.asked, data=data
                )
            except CbsOptError as error:
                notes.append(f"{network.name}, {line.method} at {line.asked}: could not be assembled ({error})")
                continue
            lines[place] = replace(line, accuracy=found.accuracy, accuracy_dense=found.accuracy_dense)
    return replace(report, network_gaps=tuple(lines), not_measured=tuple(notes))


def _loaded(manifest: Path) -> tuple[torch.nn.Module, Data]:
    """The network and the data of a manifest; code of a module is never run for it."""
    plan = load_manifest(manifest)
    if not plan.network or ":" in plan.network:
        raise InputError("a report loads networks of this package only; `cbs-opt assemble` measures others")
    model = load_network(plan.network, plan.weights_file)
    if plan.data_file is not None:
        return model, load_data(plan.data_file, plan.network)
    if plan.network != "digits":
        raise InputError("its data are not where the manifest says; `cbs-opt assemble --data FILE` measures it")
    return model, digits_data()
