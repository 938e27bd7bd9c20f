"""`python -m benchmarks.mutation`: which small mistakes in the code that proves would no test notice?

Of a file of ``TARGETS`` every mutant is tried (``benchmarks.mutation.mutants``): a comparison, an operator, a sign or a
number is changed, and the file's tests are run until the first that fails. What they let pass is printed with its line.
A mutant is imported in the place of its module by a process of its own; no file is touched.

A survivor is a test that is missing, or no mistake at all: the change makes no difference, or one to the safe side.
docs/testing.md has the table. The exit status is 1 where a file's tests fail without any mistake.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import CodeType, ModuleType

from benchmarks.mutation.mutants import Mutant, mutants

KERNEL, PROOF = "tests/kernel/", "tests/proof/"

TARGETS: dict[str, tuple[str, ...]] = {
    "cbs_opt/kernel/update.py": (KERNEL + "test_update.py", KERNEL + "test_update_error.py"),
    "cbs_opt/kernel/arrays/sums.py": (KERNEL + "test_sums.py",),
    "cbs_opt/kernel/sums.py": (KERNEL + "test_sums.py",),
    "cbs_opt/kernel/result.py": (KERNEL + "test_result.py",),
    "cbs_opt/kernel/judge.py": (KERNEL + "test_judge.py", KERNEL + "test_update_error.py"),
    "cbs_opt/kernel/patterns/labelled.py": (
        KERNEL + "test_labelled.py",
        KERNEL + "test_labels.py",
        KERNEL + "test_patterns.py",
    ),
    "cbs_opt/kernel/patterns/cardinality.py": (KERNEL + "test_patterns.py", KERNEL + "test_labelled.py"),
    "cbs_opt/kernel/patterns/quotas.py": (KERNEL + "test_quotas.py",),
    "cbs_opt/kernel/patterns/groups.py": (KERNEL + "test_groups.py",),
    "cbs_opt/kernel/patterns/budget.py": (KERNEL + "test_budget.py",),
    "cbs_opt/kernel/patterns/knapsack.py": (KERNEL + "test_budget.py",),
    "cbs_opt/kernel/patterns/program.py": (KERNEL + "test_program.py", KERNEL + "test_linear.py"),
    "cbs_opt/kernel/patterns/rows.py": (KERNEL + "test_pattern_rows.py", KERNEL + "test_linear.py"),
    "cbs_opt/kernel/patterns/nested.py": (KERNEL + "test_intersect.py",),
    "cbs_opt/kernel/patterns/within_groups.py": (KERNEL + "test_intersect.py",),
    "solvers/bounds/elimination.py": ("tests/solvers/bounds/test_elimination.py",),
    "cbs_opt/proof/check/definite.py": (PROOF + "test_definite_digits.py", PROOF + "test_exact.py"),
    "cbs_opt/proof/check/exact_model.py": (PROOF + "test_exact.py", PROOF + "test_labelled_proofs.py"),
    "cbs_opt/proof/check/region.py": (PROOF + "test_regions.py", PROOF + "test_labelled_proofs.py"),
    "cbs_opt/proof/check/dual.py": (PROOF + "test_dual_bound.py", PROOF + "test_labelled_proofs.py"),
    "cbs_opt/proof/check/integers.py": (PROOF + "test_exact.py",),
    "cbs_opt/proof/check/verify.py": (
        PROOF + "test_checker.py",
        PROOF + "test_labelled_proofs.py",
        PROOF + "test_tampering.py",
    ),
}
"""The code that bounds, re-tunes, chooses and verifies, and the tests that each file's mistakes must not pass."""

PACKAGES = {"models": "cbs_opt.models", "solvers": "cbs_opt.solvers", "cbs_opt": "cbs_opt"}

EARLY = ("torch", "numpy", "scipy.linalg", "scipy.sparse", "hypothesis.strategies", "xdist.plugin", "pytest")
"""Imported before the process is doubled for a mutant: what takes long to import, and is not under test."""

SLOWER = 10
"""A mutant that takes so many times the processor time of the tests without it does not end, and was noticed."""

UNSEEN = 0


def main(arguments: list[str] | None = None) -> int:
    """Try the files' mutants; print survivors and a line a file."""
    asked = _parser().parse_args(arguments)
    os.environ["CI"] = "1"  # the same draws every time
    for name in EARLY:
        import_module(name)
    if strange := set(asked.files) - set(TARGETS):
        raise SystemExit(f"{', '.join(sorted(strange))}: no target; the targets are {', '.join(TARGETS)}")
    for file in asked.files or TARGETS:
        started = time.process_time() + _of_children()
        if _tried(None, file, None) != UNSEEN:
            print(f"{file}: its tests fail as it is")  # noqa: T201
            return 1
        limit = SLOWER * (time.process_time() + _of_children() - started) + 5.0
        found = list(mutants(Path(file).read_text(encoding="utf-8")))
        chosen = found if asked.most is None else _some(found, asked.most)
        survivors = 0
        for mutant in chosen:
            if _tried(mutant, file, limit) == UNSEEN:
                survivors += 1
                print(f"{file}:{mutant.line}: {mutant.words}", flush=True)  # noqa: T201
        tried = "" if len(chosen) == len(found) else f" of {len(found)}"
        print(f"{file}: {len(chosen)}{tried} mutants, {len(chosen) - survivors} killed", flush=True)  # noqa: T201
    return 0


def _some(found: list[Mutant], most: int) -> list[Mutant]:
    """At most so many of them, drawn, in their order."""
    numbers = random.Random(0).sample(range(len(found)), min(most, len(found)))
    return [found[number] for number in sorted(numbers)]


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tried(mutant: Mutant | None, file: str, limit: float | None) -> int:
    """The status of the tests' process with the mutant in place of the file."""
    child = os.fork()
    if child == 0:
        _test(mutant, file, limit)
    return os.waitpid(child, 0)[1]


def _test(mutant: Mutant | None, file: str, limit: float | None) -> None:
    """In a process of its own, which ends here."""
    import pytest

    if mutant is not None:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
    status = 1
    try:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 1))
        if mutant is not None:
            sys.meta_path.insert(0, _Finder(_module_of(file), file, mutant.source))
        # Its plugins are imported already, so that pytest cannot rewrite their assertions.
        quick = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        status = int(pytest.main([*quick, *TARGETS[file]]))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201
    finally:
        sys.stdout.flush()
        os._exit(status)


def _module_of(file: str) -> str:
    folder, _, rest = file.removesuffix(".py").partition("/")
    return f"{PACKAGES[folder]}.{rest.replace('/', '.')}"


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for one module, with another source."""

    def __init__(self, name: str, file: str, source: str) -> None:
        self._name, self._file, self._source = name, file, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Loader(fullname, self._file, self._source)
        return importlib.machinery.ModuleSpec(fullname, loader, origin=self._file)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, file: str, source: str) -> None:
        super().__init__(name, file)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="; ".join(TARGETS) + "; all if left out")
    parser.add_argument("--most", type=int, help="mutants of each file, drawn; all if left out")
    return parser
