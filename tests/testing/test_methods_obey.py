"""The package's own methods by the laws that everyone's are tried with; heuristics more often in their own tests."""

from __future__ import annotations

import pytest

from cbs_opt.testing import check_method

QUICK = (
    "sparsegpt",
    "admm",
    "bnb",
    "bnb-selection",
    "highs-oa",
    "highs-selection",
    "enumeration",
    "enumeration-selection",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_method_obeys(name: str) -> None:
    check_method(name, range(3))
