"""One browser for all tests that look at a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Chromium, find_chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium here: the page was not looked at (apt-get install chromium)")
    with Chromium(executable) as running:
        yield running
