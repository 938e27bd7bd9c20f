"""Every public name stands in the reference, with a docstring that names what it takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"

PUBLIC = (
    "cbs_opt",
    "cbs_opt.batch",
    "cbs_opt.blocks",
    "cbs_opt.models",
    "cbs_opt.network",
    "cbs_opt.proof",
    "cbs_opt.pruning",
    "cbs_opt.store",
    "cbs_opt.structure",
    "cbs_opt.study",
    "cbs_opt.testing",
)
"""The rooms that users enter: what their ``__all__`` names is public."""


UNDESCRIBED = re.compile(r"^\w[^\n]* : [^\n]*\n(?!    )", re.MULTILINE)
"""The head of a parameter that nothing is said of."""


def documented() -> list[str]:
    """The paths that the pages of the reference describe."""
    pages = sorted(REFERENCE.glob("*.md"))
    return [
        path for page in pages for path in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def found(path: str) -> Any:
    """What a dotted path leads to."""
    module, _, name = path.rpartition(".")
    room = import_module(module)
    return getattr(room, name) if hasattr(room, name) else import_module(path)


def described() -> dict[str, Any]:
    """What the reference describes, and what stands in the modules it describes as a whole."""
    things: dict[str, Any] = {}
    for path in documented():
        thing = found(path)
        if inspect.ismodule(thing):
            members = {name: value for name, value in vars(thing).items() if inspect.isclass(value)}
            things |= {f"{path}.{name}": value for name, value in members.items() if value.__module__ == path}
        else:
            things[path] = thing
    return things


def test_no_name_is_described_twice() -> None:
    assert len(documented()) == len(set(documented()))


@pytest.mark.parametrize("room", PUBLIC)
def test_every_public_name_is_in_the_reference(room: str) -> None:
    there = list(described().values())
    module = import_module(room)
    missing = [name for name in module.__all__ if not any(getattr(module, name) is thing for thing in there)]
    assert not missing


def test_what_the_pages_import_is_in_the_reference() -> None:
    there = described()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for line in re.findall(r"^from (cbs_opt\S*) import (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            for name in line[1].split(", "):
                value = getattr(import_module(line[0]), name)
                known = any(value is thing for thing in there.values()) or f"{line[0]}.{name}" in there
                assert known, f"{page.name} imports {name} from {line[0]}; give it a place in docs/reference"


def callables() -> Iterator[tuple[str, Any]]:
    """Functions and classes of the reference, and the other ways to make one of a class."""
    for path, thing in described().items():
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield path, thing
        if inspect.isclass(thing):
            for name, member in vars(thing).items():
                if isinstance(member, classmethod) and not name.startswith("_"):
                    yield f"{path}.{name}", member.__func__


def methods() -> Iterator[tuple[str, Any]]:
    """The public methods and properties of the classes of the reference."""
    for path, thing in described().items():
        for name, member in vars(thing).items() if inspect.isclass(thing) else ():
            if (isinstance(member, property) or inspect.isfunction(member)) and not name.startswith("_"):
                yield f"{path}.{name}", member


def test_every_method_and_property_has_a_docstring() -> None:
    # What a class overrides is described by its base.
    missing = [path for path, member in methods() if not inspect.getdoc(member)]
    bases = {path.rpartition(".")[2] for path, member in methods() if inspect.getdoc(member)}
    assert not [path for path in missing if path.rpartition(".")[2] not in bases]


def parameters(thing: Any) -> list[str]:
    """Names of what is to be given, without those of a class that takes what its base takes."""
    try:
        taken = inspect.signature(thing).parameters.values()
    except ValueError:  # an error or an enumeration
        return []
    return [one.name for one in taken if one.name not in ("self", "cls") and not one.name.startswith("_")]


@pytest.mark.parametrize(
    ("path", "thing"), list(callables()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_docstrings_say_what_is_taken(path: str, thing: Any) -> None:
    words = inspect.getdoc(thing) or ""
    assert len(words.split()) >= 3, f"{path} has no docstring"
    names = parameters(thing)
    made_by_nobody = inspect.isclass(thing) and (
        issubclass(thing, (Exception, str)) or getattr(thing, "_is_protocol", False)
    )
    if len(names) >= 2 and not made_by_nobody:
        section = re.search(
            r"^(Parameters|Attributes)\n-+\n(.*?)(?=^\w[^\n]*\n-+$|\Z)", words, re.MULTILINE | re.DOTALL
        )
        said = section.group(2) if section else ""
        assert not UNDESCRIBED.findall(said + "\n"), f"{path}: {words}"
        heads = re.findall(r"^(\*{0,2}\w[^\n:]*?)(?: ?:.*)?$", said, re.MULTILINE)
        known = {name.strip(" *") for head in heads for name in head.split(",")}
        assert not [name for name in names if name not in known], f"{path}: {words}"
