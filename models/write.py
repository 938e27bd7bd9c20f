"""Writes a model to a file for other solvers: LP, MPS or NL, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cbs_opt.errors import InputError, UnsupportedError
from cbs_opt.kernel.files import write_whole

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

SUFFIXES = (".lp", ".mps", ".nl")


def write_model(model: ConcreteModel, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to a file that other solvers read, in the format that the suffix of ``path`` names.

    Components keep their names. An ``.nl`` file holds no names: those of its constraints and of its variables go, in
    the order of the file, into a ``.row`` and a ``.col`` file beside it, as other modelling systems do it.

    Parameters
    ----------
    model : ConcreteModel
        A model as ``Formulation.build`` returns it, or one of your own.
    path : path
        The file, which ends in ``.lp``, ``.mps`` or ``.nl``; it is written whole or not at all.

    Raises
    ------
    InputError
        The suffix is none of .lp, .mps, .nl, or the folder does not exist.
    UnsupportedError
        The model still has disjunctions, which no format holds, or has no free variable, which an .nl needs.
    """
    from pyomo.gdp import Disjunction

    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{target}: the suffix {suffix!r} names no format; use one of {', '.join(SUFFIXES)}")
    if any(model.component_data_objects(Disjunction, active=True)):
        raise UnsupportedError(
            f"{model.name}: no {suffix} file holds disjunctions; build it with transformation='gdp.bigm' or 'gdp.hull'"
        )
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"model{suffix}"
        try:
            model.write(str(written), io_options={"symbolic_solver_labels": True})
        except ValueError as error:
            raise UnsupportedError(f"{model.name}: cannot be written as {suffix} ({error})") from None
        if suffix == ".mps":
            _one_section(written)
        for file in sorted(Path(folder).iterdir()):
            _copy_whole(file, target if file == written else target.with_suffix(file.suffix))


def _one_section(file: Path) -> None:
    """Merge the SOS sections of an MPS file: Pyomo writes one for every ordered set, and readers refuse a second."""
    head, *sets = file.read_text(encoding="utf-8").split("\nSOS\n")
    if len(sets) > 1:
        file.write_text("\nSOS\n".join([head, "\n".join(sets)]), encoding="utf-8")


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file such that ``target`` is whole or not there at all."""
    content = source.read_bytes()
    write_whole(target, lambda stream: stream.write(content))
