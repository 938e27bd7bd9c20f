"""Ctrl-C where joblib's workers do the work: the process that started them ends them, and nobody else takes notice."""

from __future__ import annotations

import contextlib
import signal
import threading
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes started in here ignore Ctrl-C, which reaches all of a terminal: whoever started them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if handler is not None:  # not one of Python's
            signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM in the body are heard at its end: what it does is done whole, or not begun."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if heard:
        signal.raise_signal(heard[0])


@contextlib.contextmanager
def quiet_cancellation() -> Iterator[None]:
    """Without joblib's remark that tasks were cancelled: after Ctrl-C, or an error told otherwise, that is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tasks which were still being processed", category=UserWarning)
        yield


@contextlib.contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """SIGTERM, which cluster managers send, ends the work as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
