"""Handling of Ctrl-C and SIGTERM: what is half done is tidied up, and only the process that started a batch reacts."""

from __future__ import annotations

import contextlib
import signal
import threading
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """A context in which started processes ignore Ctrl-C.

    A terminal sends Ctrl-C to all its processes, but those here are to be ended by the one that started them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if handler is not None:  # None: the handler was not set by Python, and cannot be restored
            signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """A context at whose end a Ctrl-C or SIGTERM that came inside takes effect, so that its body is not cut short."""
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
    """A context without joblib's warning that tasks were cancelled, which is intended after Ctrl-C or an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tasks which were still being processed", category=UserWarning)
        yield


@contextlib.contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """A context in which SIGTERM, which cluster managers send, raises ``KeyboardInterrupt`` as Ctrl-C does."""
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
