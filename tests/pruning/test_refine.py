"""What a refinement counts as the error of a block."""

from __future__ import annotations

import pytest
import torch

from cbs_opt.pruning.refine import FLOOR, by_position


def test_the_error_of_a_case_by_hand():
    """Norms² 25 and 100, mean 62.5; errors² 1 and 4."""
    y = torch.tensor([[[3.0, 4.0], [6.0, 8.0]]])
    y_hat = y + torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    expected = (1 / (25 + FLOOR * 62.5) + 4 / (100 + FLOOR * 62.5)) / 2
    assert float(by_position(y_hat, y)) == pytest.approx(expected, rel=1e-6)
    assert float(by_position(y_hat[0], y[0])) == pytest.approx(expected, rel=1e-6)  # padding left out: positions first


def test_an_image_is_one_position():
    y = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1).expand(2, 2, 5, 5)
    y_hat = y.clone()
    y_hat[0, 0] += 1.0
    assert float(by_position(y_hat, y)) == pytest.approx(25 / (625 * (1 + FLOOR)) / 2, rel=1e-6)


def test_a_position_of_great_norm_does_not_decide_and_one_of_none_neither():
    y = torch.ones(1, 100, 4)
    y[0, 0], y[0, 1] = 30.0, 0.0
    ordinary, great, none = (y.clone() for _ in range(3))
    ordinary[0, 2:] += 0.1
    great[0, 0] += 0.1 * 30
    none[0, 1] += 0.1
    plain = [float((y_hat - y).square().sum()) for y_hat in (ordinary, great)]
    assert plain[1] > 9 * plain[0]
    found = [float(by_position(y_hat, y)) for y_hat in (ordinary, great, none)]
    assert found[0] > 30 * found[1]
    assert found[0] > 30 * found[2]
