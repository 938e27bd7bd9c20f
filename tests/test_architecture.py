"""The house rules that a reader cannot see in any one file: floors, light imports, packages, names, size."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"cbs_opt": "cbs_opt", "models": "cbs_opt.models", "solvers": "cbs_opt.solvers"}

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "version"),
    ("kernel.arrays",),
    ("kernel.curvature", "kernel.patterns"),
    ("kernel",),
    ("network.reference", "solvers.forms"),
    ("solvers.compiled", "network"),
    ("solvers.bounds", "collect"),
    ("models", "solvers.heuristic"),
    ("solvers.exact",),
    ("solvers",),
    ("evaluation",),
    ("store", "proof.certificate", "testing", "regression", "library.certificates"),
    ("proof.check", "blocks"),
    ("proof.make", "report.measures"),
    ("proof", "batch", "report"),
    ("pruning",),
    ("study", "structure", "library"),
    ("cli",),
)
"""The rooms, from the ground up. A file imports from its own room and from floors below, never across or upwards; the
files of a folder are one room, and a folder inside it is another. docs/architecture.md says what each room is for."""

APART = {
    "network": ("models", "solvers", "evaluation"),
    "network.reference": ("models", "solvers", "evaluation"),
    "collect": ("models", "solvers", "evaluation"),
    "proof.check": ("models", "solvers", "evaluation", "network", "collect", "store"),
    "proof.certificate": ("models", "solvers", "evaluation", "network", "collect", "store"),
}
"""Rooms that know nothing of these, though they lie below: networks know nothing of solvers, and what verifies a
certificate shares nothing with the search that made it."""

HEAVY = {"torch", "pyomo", "numba", "matplotlib", "sklearn", "joblib", "highspy", "rich", "safetensors", "transformers"}
"""Imported only inside the functions that need them."""

COMPILED = "cbs_opt.solvers.compiled"
"""The room of compiled loops: its files are imported lazily, and may import numba at their top."""

MOST_LINES = 400
"""Of a module, of a test and of a benchmark alike."""

MOST_LOOSE = 4
"""Files beside the rooms in ``cbs_opt/``, ``__init__`` included."""


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its import name."""
    for folder, package in FOLDERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), file


SOURCES = dict(sources())
parametrized = pytest.mark.parametrize("module", SOURCES)


def tree_of(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules a piece of code imports; ``from a import b`` is a.b where that is a module, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in SOURCES else node.module


class WithoutTypeChecking(ast.NodeTransformer):
    """Takes out what stands under ``if TYPE_CHECKING``."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        guarded = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if guarded else self.generic_visit(node)


class AtImportTime(WithoutTypeChecking):
    """Leaves what runs when the module is imported: no function bodies either."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        return None

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        return None


def room_of(module: str) -> str:
    """The folder a module stands in, as in ``FLOORS``; a loose file is its own room."""
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    return module.removeprefix("cbs_opt.") if package == "cbs_opt" else package.removeprefix("cbs_opt.")


FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


@parametrized
def test_imports_run_downwards(module: str) -> None:
    if module == "cbs_opt":
        return  # it only names where the public names live
    room = room_of(module)
    others = {room_of(name) for name in imports(tree_of(module)) if name in SOURCES and name != "cbs_opt"} - {room}
    assert {other for other in others if FLOOR_OF[other] >= FLOOR_OF[room]} == set()
    assert {other for other in others for name in APART.get(room, ()) if (other + ".").startswith(name + ".")} == set()


def test_the_page_of_the_architecture_knows_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {room for row in rows for room in re.findall("`(.+?)`", row)} == set(FLOOR_OF)
    for file in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", page):
        assert (ROOT / "cbs_opt" / file).exists() or (ROOT / file).exists(), file


def test_the_floors_are_the_folders() -> None:
    assert set(FLOOR_OF) == {room_of(module) for module in SOURCES if module != "cbs_opt"}


def test_no_file_imports_itself_in_a_circle() -> None:
    """Circles between the files of one room, which the floors do not see; what only names a type is none."""
    arrows = {
        module: {name for name in imports(WithoutTypeChecking().visit(tree_of(module))) if name in SOURCES}
        - {module, "cbs_opt"}
        for module, file in SOURCES.items()
        if file.name != "__init__.py"
    }
    while True:
        free = {module for module, targets in arrows.items() if not targets & set(arrows)}
        if not free:
            break
        arrows = {module: targets for module, targets in arrows.items() if module not in free}
    assert arrows == {}


def test_few_files_are_loose_and_none_is_called_like_a_public_function() -> None:
    import cbs_opt

    loose = list((ROOT / "cbs_opt").glob("*.py"))
    assert len(loose) <= MOST_LOOSE
    children = {path.stem for path in (ROOT / "cbs_opt").iterdir() if path.suffix in ("", ".py")}
    assert children & set(cbs_opt.__all__) == set()


@parametrized
def test_a_file_is_called_after_what_it_does(module: str) -> None:
    assert SOURCES[module].stem not in ("run", "common", "utils", "util", "misc", "helpers")


@parametrized
def test_nothing_heavy_is_imported_with_a_module(module: str) -> None:
    if module.startswith(COMPILED):
        return
    assert {name.split(".")[0] for name in imports(AtImportTime().visit(tree_of(module)))} & HEAVY == set()


@parametrized
def test_compiled_loops_stand_in_one_room_and_are_imported_lazily(module: str) -> None:
    tree = tree_of(module)
    if module.startswith(COMPILED):
        return
    assert {name for name in imports(AtImportTime().visit(tree_of(module))) if name.startswith(COMPILED)} == set()
    numba = [name for name in imports(tree) if name.split(".")[0] == "numba"]
    assert numba == []


@pytest.mark.parametrize("folder", [*FOLDERS, "benchmarks", "tests", "docs"])
def test_no_file_outgrows_its_idea(folder: str) -> None:
    lines = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / folder).rglob("*.py")}
    assert {file: count for file, count in lines.items() if count > MOST_LINES} == {}


@parametrized
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree_of(module))


def test_the_packages_of_the_wheel_are_the_folders() -> None:
    """A package missing from the list would be dropped from the wheel in silence."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name for name, file in SOURCES.items() if file.name == "__init__.py"}
    assert set(tools["packages"]) == folders
    assert tools["package-dir"] == {package: folder for folder, package in FOLDERS.items()}


def test_every_folder_of_modules_is_a_package() -> None:
    for file in SOURCES.values():
        assert (file.parent / "__init__.py").exists()


def test_test_modules_have_names_of_their_own() -> None:
    """A name that stands twice makes a failure hard to find."""
    names = [file.name for file in (ROOT / "tests").rglob("*.py") if file.name != "conftest.py"]
    assert len(names) == len(set(names))
