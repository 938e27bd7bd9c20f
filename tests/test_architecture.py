"""The house rules that a reader cannot see in any one file: import directions, light imports, packages, size."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"cbs_opt": "cbs_opt", "models": "cbs_opt.models", "solvers": "cbs_opt.solvers"}

KERNEL = {
    "cbs_opt",
    "cbs_opt.blockfile",
    "cbs_opt.curvature",
    "cbs_opt.environment",
    "cbs_opt.errors",
    "cbs_opt.files",
    "cbs_opt.judge",
    "cbs_opt.npz",
    "cbs_opt.patterns",
    "cbs_opt.problem",
    "cbs_opt.registry",
    "cbs_opt.result",
    "cbs_opt.update",
    "cbs_opt.validate",
}
"""Everybody may import these (and what lies below the packages among them)."""

HEAVY = {"torch", "pyomo", "numba", "matplotlib", "sklearn", "joblib", "highspy", "rich", "safetensors"}
"""Imported only inside the functions that need them."""

COMPILED = ("_kernels.py", "compilation.py")
"""Modules of compiled loops are themselves imported lazily, and may import numba at their top."""

MOST_LINES = 420


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its import name."""
    for folder, package in FOLDERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), file


SOURCES = dict(sources())
parametrized = pytest.mark.parametrize("module", SOURCES)


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


def at_import_time(tree: ast.Module) -> ast.Module:
    """What runs when the module is imported: no function bodies, nothing under ``if TYPE_CHECKING``."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            guarded = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if guarded else self.generic_visit(node)

    stripped = Strip().visit(tree)
    assert isinstance(stripped, ast.Module)
    return stripped


def within(module: str, homes: set[str]) -> bool:
    """Whether ``module`` is one of ``homes`` or lies below one; the root package stands for itself only."""
    return any(module == home or (home != "cbs_opt" and module.startswith(f"{home}.")) for home in homes)


def allowed(module: str) -> set[str] | None:
    """The homes a module may import from; None: anything."""
    if within(module, KERNEL):
        return KERNEL
    if within(module, {"cbs_opt.models"}):
        return KERNEL | {"cbs_opt.models"}
    if within(module, {"cbs_opt.solvers"}):
        return KERNEL | {"cbs_opt.models", "cbs_opt.solvers"}
    return None


@parametrized
def test_imports_point_towards_the_kernel(module: str) -> None:
    homes = allowed(module)
    if homes is None or module == "cbs_opt":
        return  # those who conduct import all; the root package only names where its public names live
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    ours = {name for name in imports(tree) if name.split(".")[0] == "cbs_opt"}
    assert {name for name in ours if not within(name, homes)} == set()


@parametrized
def test_nothing_heavy_is_imported_with_a_module(module: str) -> None:
    file = SOURCES[module]
    if file.name.endswith(COMPILED):
        return
    tree = at_import_time(ast.parse(file.read_text(encoding="utf-8")))
    assert {name.split(".")[0] for name in imports(tree)} & HEAVY == set()


@parametrized
def test_compiled_loops_are_imported_lazily(module: str) -> None:
    tree = at_import_time(ast.parse(SOURCES[module].read_text(encoding="utf-8")))
    compiled = {name for name in imports(tree) if name.endswith(("_kernels", ".compilation"))}
    assert compiled == set() or SOURCES[module].name.endswith(COMPILED)


@parametrized
def test_no_file_outgrows_its_idea(module: str) -> None:
    lines = SOURCES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES


@parametrized
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(ast.parse(SOURCES[module].read_text(encoding="utf-8")))


def test_the_packages_of_the_wheel_are_the_folders() -> None:
    """A package missing from the list would be dropped from the wheel in silence."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name for name, file in SOURCES.items() if file.name == "__init__.py"}
    assert set(tools["packages"]) == folders
    assert tools["package-dir"] == {package: folder for folder, package in FOLDERS.items()}


def test_every_folder_of_modules_is_a_package() -> None:
    for file in SOURCES.values():
        assert (file.parent / "__init__.py").exists()


def test_the_kernel_list_is_up_to_date() -> None:
    assert set(SOURCES) >= KERNEL


def test_test_modules_have_names_of_their_own() -> None:
    """Folders of tests are no packages, so two modules of one name would hide each other."""
    names = [file.name for file in (ROOT / "tests").rglob("*.py") if file.name != "conftest.py"]
    assert len(names) == len(set(names))
