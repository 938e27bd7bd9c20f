"""Batches as processes of their own, watched from outside through /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def start(*words: object) -> subprocess.Popen[bytes]:
    """``cbs-opt batch`` with these words, in a process group of its own."""
    command = [sys.executable, "-P", "-c", "import sys; from cbs_opt.cli import main; sys.exit(main())", "batch"]
    return subprocess.Popen(
        [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


@dataclass
class Watched:
    """What a batch used: wall and processor seconds of all its processes, and the memory of the first over time."""

    code: int
    out: str
    err: str
    seconds: float
    processor_seconds: float
    memory: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, MB)."""


def watch(batch: subprocess.Popen[bytes], every: float = 0.25) -> Watched:
    """Wait for the end of a batch; what its processes used is looked up now and then."""
    started, used, memory = time.monotonic(), dict[int, float](), list[tuple[float, float]]()
    while batch.poll() is None:
        for process in _group(batch.pid):
            used[process] = max(used.get(process, 0.0), _processor_seconds(process))
        memory.append((time.monotonic() - started, _memory(batch.pid) / 1e6))
        time.sleep(every)
    seconds = time.monotonic() - started
    out, err = batch.communicate()
    return Watched(batch.returncode, out.decode(), err.decode(), seconds, sum(used.values()), memory[:-1])


def _group(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) == leader:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def _processor_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0.0
