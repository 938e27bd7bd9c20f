"""Progress at a terminal."""

import sys

from cbs_opt.kernel import terminal


def told(monkeypatch, at_terminal, **given):
    """What a function with progress says, and to whom: the spinner's words, the words of ``given``."""
    shown = []

    class Status:
        def __init__(self, text):
            shown.append(str(text))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            shown.append("end")

        def update(self, text):
            shown.append(str(text))

    class Console:
        def __init__(self, stderr):
            assert stderr

        status = staticmethod(Status)

    monkeypatch.setattr("rich.console.Console", Console)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: at_terminal, raising=False)

    @terminal.shows_progress("at it")
    def work(number, progress=None):
        if progress is not None:
            progress(f"step {number}")
        return number

    assert work(3, **given) == 3
    return shown


def test_a_terminal_shows_what_goes_on(monkeypatch):
    assert told(monkeypatch, True) == ["at it", "step 3", "end"]


def test_who_asks_for_progress_gets_it_instead(monkeypatch):
    words = []
    assert told(monkeypatch, True, progress=words.append) == []
    assert words == ["step 3"]


def test_elsewhere_a_line_is_written_every_half_minute(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with terminal.working("at it") as tell:
        for now in (101.0, 131.0, 150.0, 161.5):
            clock[0] = now
            tell(f"step at {now:g}\nof many")
    assert capsys.readouterr().err == "step at 131 of many\nstep at 161.5 of many\n"


def test_a_stderr_that_nobody_reads_loses_no_work(monkeypatch):
    class Closed:
        @staticmethod
        def isatty():
            return False

        @staticmethod
        def write(text):
            raise BrokenPipeError

    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", Closed())
    with terminal.working("at it") as tell:
        tell("step 1")


def test_a_short_call_elsewhere_says_nothing(monkeypatch, capsys):
    assert told(monkeypatch, False) == []
    assert capsys.readouterr().err == ""
