"""The settings of a batch, from a study file, the command line, or both."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cbs_opt.errors import InputError, did_you_mean
from cbs_opt.kernel.asked import KINDS, Asked
from cbs_opt.kernel.method import MethodSpec

BACKENDS = ("loky", "dask", "ray")
LEAST_MEMORY = 500_000_000
"""About the bytes of memory that a solver process takes before it solves anything."""
SET_FOR_ALL = {"time_limit": "time_limit", "memory_limit": "memory_limit", "gap": "gap", "seed": "seeds"}
"""Options of methods that are set for the whole batch, each with its name in the settings."""
NOT_PLAIN = frozenset({"start", "progress", "record"})
"""Options of methods whose values are no numbers or words, so that a study file cannot set them."""


@dataclass(frozen=True)
class Settings:
    """The settings of a batch: which blocks are solved, by which methods and for which patterns, and how.

    Parameters
    ----------
    blocks : tuple of str
        Block files, folders, patterns such as ``blocks/*.npz``, or manifests.
    methods : tuple of str
        Names of methods, from ``cbs_opt.methods()``.
    asked : tuple of Asked
        What is asked of each block: sparsities, numbers of zeros, or patterns.
    seeds : tuple of int
        The seeds with which each method that draws random numbers is run.
    store : str
        The SQLite file of the results.
    jobs : int or None
        The number of workers; None for as many as there are cores, or as the cluster has.
    backend : str
        'loky' for this machine, 'dask' or 'ray' for a cluster.
    scheduler : str or None
        The address of a running Dask or Ray cluster; None for 'loky'.
    time_limit, memory_limit : float (seconds), int (bytes) or None
        The limits of one task; None for no limit.
    gap : float or None
        Relative gap at which exact methods may stop; None for their own default.
    options : mapping of method to its own options
        Options of single methods, for instance ``{"admm": {"iterations": 100}}``.
    """

    blocks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("bnb",)
    asked: tuple[Asked, ...] = ()
    seeds: tuple[int, ...] = (0,)
    store: str = "results.sqlite"
    jobs: int | None = None
    backend: str = "loky"
    scheduler: str | None = None
    time_limit: float | None = None
    memory_limit: int | None = None
    gap: float | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def with_values(self, values: Mapping[str, Any]) -> Settings:
        """The same settings with those in ``values`` replaced, after a check; the keys are those of a study file.

        Raises
        ------
        InputError
            A key is unknown (the message suggests the nearest), or a value is none of its key.
        """
        known = [*(name for name in (f.name for f in fields(self)) if name != "asked"), *KINDS]
        for key in values:
            if key not in known:
                raise InputError(f"{key}: unknown; {_nearest(key, known)}")
        changes = {key: _CHECKS[key](key, value) for key, value in values.items() if key not in KINDS}
        asked = [Asked(kind, str(v)) for kind in KINDS if kind in values for v in _list(kind, values[kind])]
        if asked:
            changes["asked"] = tuple(dict.fromkeys(asked))
        return replace(self, **changes)

    def options_of(self, spec: MethodSpec) -> dict[str, Any]:
        """The options of the method without limits; they are part of the key under which a result is stored."""
        options = dict(self.options.get(spec.name, {}))
        if self.gap is not None and "gap" in spec.options:
            options["gap"] = self.gap
        return options

    def limits_of(self, spec: MethodSpec) -> dict[str, Any]:
        """The limits that the method takes as options, so that it stops by itself and returns what it has."""
        limits: dict[str, Any] = {}
        if self.time_limit is not None and "time_limit" in spec.options:
            limits["time_limit"] = self.time_limit
        if self.memory_limit is not None and "memory_limit" in spec.options:
            limits["memory_limit"] = min(2e9, self.memory_limit / 2)
        return limits


def read_study(path: str | os.PathLike[str], settings: Settings | None = None) -> Settings:
    """Read the settings of a study file in TOML; paths in the file are relative to its folder.

    Parameters
    ----------
    path : path
        The study file.
    settings : Settings, optional
        The settings that apply to all keys that are not in the file.

    Raises
    ------
    InputError
        The file cannot be read, a key is unknown, or a value is none of its key; the message names the file and the
        key.
    """
    file = Path(path)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, numbers and nesting beyond all measure
        raise InputError(f"{file}: is not TOML ({error})") from None
    try:
        found = (settings or Settings()).with_values(values)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    here = file.parent
    blocks = tuple(str(here / block) for block in found.blocks) if "blocks" in values else found.blocks
    return replace(found, blocks=blocks, store=str(here / found.store) if "store" in values else found.store)


def as_bytes(text: str | int | float) -> int:
    """A memory size, as '4GB', '500 MB', '2GiB' or a number of bytes, in bytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)(i?)b?\s*", str(text), re.IGNORECASE)
    if not found:
        raise InputError(f"memory_limit: is {text!r}; give bytes, or a number with a unit as in 4GB")
    value, unit, binary = found.groups()
    return int(float(value) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def _nearest(word: str, known: list[str]) -> str:
    return f"{did_you_mean(word, known)}there are {', '.join(known)}"


def _list(key: str, value: Any) -> list[Any]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or not all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in values):
        raise InputError(f"{key}: is {value!r}; give one or more, as a list")
    return list(values)


def _words(key: str, value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_word(key, str(v)) for v in _list(key, value)))


def _methods(key: str, value: Any) -> tuple[str, ...]:
    from cbs_opt.evaluation.catalogue import method

    names = _words(key, value)
    for name in names:
        spec = method(name)
        reason = spec.unavailable_because()
        if reason:
            raise InputError(f"method {name}: {reason}; install it, or leave the method out")
    return names


def _seeds(key: str, value: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_whole(key, v, least=0) for v in _list(key, value)))


def _whole(key: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{key}: is {value!r}; a whole number, {least} or more, is needed")
    return value


def _word(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InputError(f"{key}: is {value!r}; text is needed, without NUL characters")
    return value


def _backend(key: str, value: Any) -> str:
    if value not in BACKENDS:
        raise InputError(f"{key}: {value!r} is unknown; {_nearest(str(value), list(BACKENDS))}")
    return str(value)


def _seconds(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"{key}: is {value!r}; a number of seconds above 0 is needed")
    return float(value)


def memory_of(key: str, value: Any) -> int:
    """A memory limit in bytes; an error if it is too small for any solver process."""
    size = as_bytes(value)
    if size < LEAST_MEMORY:
        raise InputError(f"{key}: is {size / 1e6:.0f} MB; a solver process needs {LEAST_MEMORY / 1e6:.0f} MB or more")
    return size


def _gap(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InputError(f"{key}: is {value!r}; a number, 0 or more, is needed")
    return float(value)


def _options(key: str, value: Any) -> dict[str, dict[str, Any]]:
    from cbs_opt.evaluation.catalogue import method

    if not isinstance(value, Mapping) or not all(isinstance(table, Mapping) for table in value.values()):
        raise InputError(f"{key}: is {value!r}; give a table for each method, as [options.cbs]")
    for name, table in value.items():
        own = [word for word in method(name).options if word not in SET_FOR_ALL and word not in NOT_PLAIN]
        for word, given in table.items():
            if word in SET_FOR_ALL:
                raise InputError(f"{key}.{name}.{word}: is set for all methods by {SET_FOR_ALL[word]} at the top")
            if word not in own:
                raise InputError(f"{key}.{name}.{word}: unknown; {_nearest(word, own) if own else 'there are none'}")
            if not isinstance(given, (bool, int, float, str)):
                raise InputError(f"{key}.{name}.{word}: is {given!r}; a number or a word is needed")
    return {str(name): dict(table) for name, table in value.items()}


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "blocks": _words,
    "methods": _methods,
    "seeds": _seeds,
    "store": _word,
    "jobs": _whole,
    "backend": _backend,
    "scheduler": _word,
    "time_limit": _seconds,
    "memory_limit": memory_of,
    "gap": _gap,
    "options": _options,
}
