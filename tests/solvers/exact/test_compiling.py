"""What the first call of an engine costs: one signature a kernel, and a second process that leaves nothing behind."""

from __future__ import annotations

import ast
import fcntl
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest

from cbs_opt.solvers.compiled import compilation
from cbs_opt.solvers.compiled.compilation import cache_folder
from cbs_opt.solvers.exact import bnb, compiling

TWO_LAYOUTS = {"dense.cholesky", "dense.cholesky_solve"}
"""Of whole matrices and of leading parts: one layout for both would round differently."""

COMPILED = Path(compilation.__file__).parent

HELP = """
import fcntl, signal, sys
def work():
    with open({out!r}, "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        print(sys.path[0], "here", file=file, flush=True)
def fail():
    work()
    raise ValueError("on purpose")
def stay():
    with open({out!r}, "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        print("here", file=file, flush=True)
        open({ready!r}, "w").close()
        signal.pause()
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with a module ``helping``, whose functions write into ``out`` there."""
    os.mkfifo(tmp_path / "ready")
    text = HELP.format(out=str(tmp_path / "out"), ready=str(tmp_path / "ready"))
    (tmp_path / "helping.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "helping", raising=False)
    monkeypatch.setattr(compiling, "_cores", lambda: 2)
    return tmp_path


def test_what_is_inlined_is_as_fast_as_its_callers() -> None:
    """A function takes over its caller's leave to re-associate sums: its own would be lost, or one it must not have."""
    checked = 0
    for file in COMPILED.glob("*.py"):
        tree = ast.parse(file.read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        origin = {
            alias.name: COMPILED / f"{node.module.rsplit('.', 1)[1]}.py"
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module and ".compiled." in node.module
            for alias in node.names
        }
        for caller in functions.values():
            for call in ast.walk(caller):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                    continue
                name = call.func.id
                if name not in functions and name not in origin:
                    continue
                options = _options(origin.get(name, file), name)
                if "inlined" in options:
                    checked += 1
                    assert ("fast" in options) == ("fast" in _options(file, caller.name)), (
                        file.name,
                        caller.name,
                        name,
                    )
    assert checked > 0


def _options(file: Path, name: str) -> set[str | None]:
    """What ``compiled`` is told of a function of this file; nothing where something else is called so."""
    decorators = [
        decorator
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == name
        for decorator in node.decorator_list
    ]
    return {keyword.arg for found in decorators if isinstance(found, ast.Call) for keyword in found.keywords}


def test_no_kernel_is_compiled_twice() -> None:
    """A literal argument (``-1``) and a slice of a matrix are types of their own: all below is compiled once more."""
    bnb.prepare()
    seen = set()
    for index in cache_folder().rglob("*.nbi"):
        with index.open("rb") as file:
            if pickle.load(file) != numba.__version__:
                continue  # of another environment, which numba compiles anew
            _, overloads = pickle.loads(file.read())
        name = index.name.partition("-")[0]
        seen.add(name)
        for signature, *_ in overloads:
            assert not [t for t in signature if str(t).startswith("Literal")], (name, signature)
            if name not in TWO_LAYOUTS:
                assert not [t for t in signature if getattr(t, "layout", "C") != "C"], (name, signature)
    assert {"node.process", "leaves.try_leaves", "incumbents.greedy"} <= seen


@pytest.mark.parametrize("name", ["work", "fail"])
def test_a_second_process_works_beside_and_may_fail(helper: Path, name: str) -> None:
    import helping

    with compiling.compiled_beside(getattr(helping, name)):
        pass
    assert (helper / "out").read_text() == f"{helper} here\n"


def test_with_one_core_there_is_no_second_process(helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import helping

    monkeypatch.setattr(compiling, "_cores", lambda: 1)
    with compiling.compiled_beside(helping.work):
        pass
    assert not (helper / "out").exists()


def test_without_a_python_to_start_there_is_no_second_process(helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import helping

    for executable in ("", str(helper / "none")):
        monkeypatch.setattr(sys, "executable", executable)
        with compiling.compiled_beside(helping.work):
            pass
    assert not (helper / "out").exists()


def test_an_interrupt_ends_the_second_process(helper: Path) -> None:
    import helping

    def interrupted() -> None:
        with compiling.compiled_beside(helping.stay):
            (helper / "ready").read_bytes()  # until it is at work
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with (helper / "out").open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it would hold the lock
        assert file.read() == "here\n"


def test_a_killed_process_takes_the_second_one_along(helper: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(helper)!r})
import helping
from cbs_opt.solvers.exact import compiling
compiling._cores = lambda: 2
with compiling.compiled_beside(helping.stay):
    open({str(helper / "ready")!r}).read()
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with (helper / "out").open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # comes when the second process has ended
        assert file.read() == "here\n"


def test_garbage_is_collected_again_after_compiling() -> None:
    from cbs_opt.solvers.compiled.node import process

    def fail() -> None:
        with compiling.announced(process):
            assert not gc.isenabled()
            raise ValueError("on purpose")

    assert gc.isenabled()
    with pytest.raises(ValueError, match="on purpose"):
        fail()
    assert gc.isenabled()


@pytest.mark.parametrize(("index", "cold"), [("none.nbi", True), ("node.process-1.py311.nbi", False)])
def test_what_is_in_the_cache_is_not_compiled_by_two(tmp_path: Path, index: str, cold: bool) -> None:
    (tmp_path / index).touch()

    def process() -> None: ...

    process.__module__ = "cbs_opt.solvers.compiled.node"
    for folder, expected in ((str(tmp_path), cold), (None, False)):
        kernel = SimpleNamespace(py_func=process, stats=SimpleNamespace(cache_path=folder))
        with compiling.announced(kernel) as found:
            assert found is expected


def _kernel(folder: Path, name: str) -> SimpleNamespace:
    def process() -> None: ...

    process.__module__, process.__name__ = "cbs_opt.solvers.compiled.node", name
    return SimpleNamespace(py_func=process, stats=SimpleNamespace(cache_path=str(folder)))


def test_what_is_compiled_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class AtOnce:
        def __init__(self, seconds: float, function: Callable[[], None]) -> None:
            self._now = function if seconds == 0 else lambda: None

        def start(self) -> None:
            self._now()

        def cancel(self) -> None: ...

    monkeypatch.setattr(compiling, "_said", [])
    monkeypatch.setattr(compiling.threading, "Timer", AtOnce)
    first, second = _kernel(tmp_path, "first"), _kernel(tmp_path, "second")
    (tmp_path / "node.first-1.py311.nbi").touch()
    with compiling.announced(first):
        assert caplog.messages == []
    for _ in range(2):
        with compiling.announced(first, second) as cold:
            assert not cold  # of the first there is something
        assert caplog.messages == [compiling.NOTICE]


def test_nothing_is_compiled_within_a_time_limit() -> None:
    """Where the kernels of large trees are not in the cache, they are compiled before the clock runs."""
    code = """
import cbs_opt
from cbs_opt.solvers.compiled.pieces_node import process_pieces
from cbs_opt.solvers.exact import bnb, tree
from cbs_opt.testing.instances import gram
bnb.in_cache = lambda kernel: False
explore = tree.TreeSearch.explore
def look(self, time_limit, *rest):
    if time_limit is not None:
        print("compiled" if process_pieces.signatures else "not yet")
    return explore(self, time_limit, *rest)
tree.TreeSearch.explore = look
cbs_opt.solve(gram(6, 9, 0.1).pruning(3), "bnb", time_limit=3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "compiled\n"


def test_of_several_processes_one_compiles_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process() -> None: ...

    process.__module__ = "cbs_opt.solvers.compiled.node"
    kernel = SimpleNamespace(py_func=process, stats=SimpleNamespace(cache_path=str(tmp_path)))
    waited = []
    with (tmp_path / "compiling.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def ready(seconds: float) -> None:  # the other process is done while this one waits
            waited.append(seconds)
            (tmp_path / "node.process-1.py311.nbi").touch()
            fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr(compiling.time, "sleep", ready)
        with compiling.announced(kernel) as cold:
            assert not cold
            assert len(waited) == 1
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # this one holds it now
    with (tmp_path / "compiling.lock").open("w") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_process_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process() -> None: ...

    process.__module__ = "cbs_opt.solvers.compiled.node"
    kernel = SimpleNamespace(py_func=process, stats=SimpleNamespace(cache_path=str(tmp_path)))
    monkeypatch.setattr(compiling, "PATIENCE", 0.0)
    with (tmp_path / "compiling.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with compiling.announced(kernel) as cold:
            assert cold
