"""Interrupts that wait: what is written to a store is counted, whenever Ctrl-C comes."""

import signal

import pytest

from cbs_opt.kernel.interrupts import interrupts_held


def test_an_interrupt_is_heard_at_the_end() -> None:
    done = []

    def work() -> None:
        with interrupts_held():
            done.append(1)
            signal.raise_signal(signal.SIGINT)
            done.append(2)
        done.append(3)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_body_goes_before_an_interrupt() -> None:
    def fail() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body"):
        fail()
