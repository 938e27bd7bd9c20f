"""Whether what a page shows is still what is printed."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
TIME = re.compile(r"\b0 (?:µs|ms|min|h)(?!\w)")
RULE = re.compile(r"[─\s]*")


def in_step(shown: str, printed: str) -> bool:
    """Whether the same is printed, but for numbers, units of time, blanks, rules, and lines that "…" stands for."""

    def plain(text: str) -> list[str]:
        lines = [TIME.sub("0 s", NUMBER.sub("0", " ".join(line.split()))) for line in text.splitlines()]
        return [line for line in lines if not RULE.fullmatch(line)]

    wanted = "".join(".*" if line == "…" else re.escape(line) + "\n" for line in plain(shown))
    return re.fullmatch(wanted, "".join(f"{line}\n" for line in plain(printed)), re.DOTALL) is not None
