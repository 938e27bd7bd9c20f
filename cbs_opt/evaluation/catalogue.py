"""The table of all methods: the built-in ones and those that a user registers."""

from __future__ import annotations

from functools import cache

from cbs_opt.errors import UnknownMethodError, unknown_name
from cbs_opt.kernel.method import MethodSpec, index_methods

_EXTRA: dict[str, MethodSpec] = {}


def register(spec: MethodSpec) -> None:
    """Make a method of your own known under its name, in this process, for ``solve``, ``compare`` and ``prune``.

    Raises
    ------
    ValueError
        The name is taken.
    """
    if spec.name in methods():
        raise ValueError(f"method {spec.name}: the name is taken; choose another")
    _EXTRA[spec.name] = spec


def methods() -> dict[str, MethodSpec]:
    """All methods by name, in the order of the documentation."""
    return {**_built_in(), **_EXTRA}


@cache
def _built_in() -> dict[str, MethodSpec]:
    from cbs_opt.solvers import BUILT_IN

    return index_methods(BUILT_IN)


def method(name: str) -> MethodSpec:
    """The method called ``name``; ``pyomo:NAME`` solves the joint problem with the solver that Pyomo calls NAME.

    Raises
    ------
    UnknownMethodError
        There is no such method (lists the names).
    """
    if not isinstance(name, str):
        raise UnknownMethodError(f"method: is a {type(name).__name__}; one name is needed, compare takes several")
    if name.startswith("pyomo:"):
        from cbs_opt.solvers.exact.miqp import pyomo_method

        return pyomo_method(name)
    known = methods()
    if name not in known:
        raise unknown_name("method", name, list(known))
    return known[name]


def usual_methods() -> tuple[tuple[MethodSpec, ...], dict[str, str]]:
    """The methods that a comparison runs if none is named, and for each other method why it is left out."""
    chosen: list[MethodSpec] = []
    skipped: dict[str, str] = {}
    for name, spec in methods().items():
        reason = spec.unavailable_because()
        if reason:
            skipped[name] = reason
        elif spec.left_out_because:
            skipped[name] = f"{spec.left_out_because}; name it to run it"
        else:
            chosen.append(spec)
    return tuple(chosen), skipped
