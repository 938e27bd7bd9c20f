"""The checks of a contributor, in the environment that nox was started from.

    nox             check everything: format, lint, types of the built wheel, the site of the pages, tests
    nox -s mend     mend what can be mended: imports, simple lint, format
    nox -s coverage how much of the package the tests run, by folder; slow
    nox -s release  what would be uploaded, built and tried from empty environments; slow
    nox -s lint     one part alone: format, lint, types, docs or tests; words after -- go to its program

``.ci/run`` makes an empty environment and calls the same sessions.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent

nox.options.default_venv_backend = "none"
nox.options.sessions = ["format", "lint", "types", "docs", "tests"]
nox.options.stop_on_first_error = True


@nox.session
def format(session: nox.Session) -> None:
    """Every file is as the formatter writes it."""
    session.run(sys.executable, "-m", "ruff", "format", "--check", *(session.posargs or ["."]))


@nox.session
def lint(session: nox.Session) -> None:
    """No rule of the linter is broken."""
    session.run(sys.executable, "-m", "ruff", "check", *(session.posargs or ["."]))


@nox.session
def types(session: nox.Session) -> None:
    """The wheel is built, its types are checked, and it works from another folder.

    In the root of the repository ./cbs_opt would shadow the wheel, and type checkers cannot follow editable installs.
    """
    with tempfile.TemporaryDirectory() as work:
        site = Path(work, "site")
        session.run(sys.executable, "-m", "build", "--wheel", "--outdir", work, str(ROOT), silent=True)
        wheel = next(Path(work).glob("*.whl"))
        session.run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel))
        session.chdir(work)
        mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *session.posargs]
        session.run(*mypy, "-p", "cbs_opt", env={"MYPYPATH": str(site)})
        session.run(sys.executable, "-c", IN_THE_WHEEL, str(site), env={"PYTHONPATH": str(site)})
        session.chdir(ROOT)


IN_THE_WHEEL = """
import os, sys
import cbs_opt, cbs_opt.models, cbs_opt.solvers
assert os.path.realpath(cbs_opt.__file__).startswith(os.path.realpath(sys.argv[1])), cbs_opt.__file__
print(len(cbs_opt.methods()), 'methods in the wheel')
"""


@nox.session
def docs(session: nox.Session) -> None:
    """The site of the pages is built into build/site; a broken link or a docstring that cannot be read is an error.

    `nox -s docs -- serve` shows it while you write.
    """
    # No --quiet: --strict counts the warnings that are given. The theme's notice of its end is none of ours.
    words = session.posargs or ["build", "--strict"]
    session.run(sys.executable, "-m", "mkdocs", *words, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite, the code blocks of README and docs included."""
    session.run(sys.executable, "-m", "pytest", *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """How much of the package the suite runs, by folder; fails below a floor (``fail_under`` in pyproject.toml).

    Not part of a plain `nox`, since every line is counted as it runs. Other processes and compiled loops are not seen.
    """
    told = "build/covered.json"
    options = ["--cov", "--cov-fail-under=0", "--cov-report=", f"--cov-report=json:{told}"]
    session.run(sys.executable, "-m", "pytest", *options, *session.posargs)
    session.run(sys.executable, "-c", BY_FOLDER, told)
    session.run(sys.executable, "-m", "coverage", "report", "--format=total")


BY_FOLDER = """
import collections, json, os, sys
lines = collections.defaultdict(lambda: [0, 0])
for file, found in json.load(open(sys.argv[1]))["files"].items():
    of = found["summary"]
    for folder in (os.path.dirname(file), "all"):
        lines[folder][0] += of["covered_lines"] + of["covered_branches"]
        lines[folder][1] += of["num_statements"] + of["num_branches"]
for folder, (run, all_) in sorted(lines.items()):
    print(f"{folder:35} {run / max(all_, 1):6.1%} of {all_} lines and branches")
"""


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Source archive and wheel are built; each is installed into an empty environment and tried away from the sources.

    The tests are those of the unpacked source archive: ``TRIED``, or all of them with words for pytest after --.
    """
    with tempfile.TemporaryDirectory() as work:
        session.run(sys.executable, "-m", "build", "--outdir", work, str(ROOT), silent=True)
        (sources,), (wheel,) = Path(work).glob("*.tar.gz"), Path(work).glob("*.whl")
        with tarfile.open(sources) as packed:
            held = {name.partition("/")[2] for name in packed.getnames()}
        if missing := set(subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()) - held:
            session.error(f"not in the source archive: {', '.join(sorted(missing))}; see MANIFEST.in")
        shutil.unpack_archive(sources, work, filter="data")
        tree = Path(work, sources.name.removesuffix(".tar.gz"))
        for archive in (sources, wheel):
            session.chdir(work)
            session.run(sys.executable, "-m", "venv", "--clear", "empty")
            session.run("empty/bin/pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), f"{archive}[test]")
            session.run("empty/bin/cbs-opt", "warmup")
            session.run("empty/bin/python", "-c", IN_THE_WHEEL, str(Path(work, "empty")))
            tests = [str(tree / "tests" / name) for name in ([""] if session.posargs else TRIED)]
            pytest = ["empty/bin/python", "-P", "-m", "pytest", "-c", str(tree / "pyproject.toml")]
            session.run(*pytest, *tests, *session.posargs)
        session.chdir(ROOT)


# What shows whether an installation is whole.
TRIED = ("test_public_api.py", "test_kit.py", "test_files_of_older_versions.py", "cli/test_executable.py")


@nox.session(default=False)
def mend(session: nox.Session) -> None:
    """What a machine can mend: simple lint and the format."""
    session.run(sys.executable, "-m", "ruff", "check", "--fix", ".", success_codes=[0, 1])
    session.run(sys.executable, "-m", "ruff", "format", ".")
