"""The estimate before the work: operations against counts by hand, and when it is said."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import cbs_opt
from cbs_opt.collect import sequential_layers
from cbs_opt.evaluation.catalogue import methods
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.stacks import PRODUCTS, SMALL, operations_of_update
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning import estimate
from cbs_opt.pruning.block_by_block import Pace
from cbs_opt.pruning.estimate import Speed
from cbs_opt.pruning.settings import Settings

ASKED = {"method": "sparsegpt", "allocation": "layer", "dampening_frac": 0.01, "bound": False}


def two_layers():
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).eval()


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def sequence_of(model, x, **more):
    return sequential_layers(model, x, find_targets(model), damping=0.01, **more)


# Running both networks through the layer: 2 · 2·in·out; sums: in² of the Gram, and in place of 4·in·out for the change
# of outputs 3·in² where there are more outputs than inputs.
FIRST, SECOND = 4 * 4 * 6, 4 * 6 * 3
SUMS_OF_FIRST, SUMS_OF_SECOND = 16 + 3 * 16, 36 + 4 * 3 * 6


@pytest.mark.parametrize("length", [(), (5,)])
def test_a_count_by_hand(length):
    found = sequence_of(two_layers(), normal(10, *length, 4)).operations()
    columns = 10 * 5 ** len(length)
    assert found == [
        Operations(single=columns * (FIRST + SUMS_OF_FIRST)),
        Operations(single=columns * (SECOND + SUMS_OF_SECOND)),
    ]


def test_in_the_networks_own_precision_and_with_one_network_only():
    (first, _) = sequence_of(two_layers(), normal(10, 4), precision="float64", goal="pruned").operations()
    assert first == Operations(double=10 * (FIRST / 2 + 16))


def test_what_is_not_kept_is_computed_again():
    found = sequence_of(two_layers(), normal(10, 4), memory=0).operations()
    assert [one.single for one in found] == [10 * SUMS_OF_FIRST, 10 * (FIRST + SUMS_OF_SECOND)]


def test_positions_of_a_convolution_are_columns():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten()).eval()
    (found,) = sequence_of(model, normal(2, 4, 5, 7)).operations()
    positions, inputs, outputs = 2 * 3 * 5, 2 * 9, 6
    running = 2 * 2 * outputs * inputs
    assert found.single == positions * (running + 2 * inputs**2 + 4 * outputs * inputs)


def test_the_update_has_a_factor_for_each_row():
    small, large = LayerSize(3, 10, 6.0), LayerSize(3, 1000, 500.0)
    assert operations_of_update(small) == Operations(double=SMALL * 3 * 6**3 / 3 + PRODUCTS * 2 * 3 * 10**2)
    assert operations_of_update(large).single == SMALL * 500**3


def test_the_methods_own_statement_counts_layer_by_layer_and_group_by_group(monkeypatch):
    asked = []

    def told(size):
        asked.append(size)
        return Operations(single=1e9, double=2e9)

    def counted(of_method):
        monkeypatch.setattr(estimate, "method", lambda name: SimpleNamespace(operations=of_method))
        return estimate.operations(sequence, quotas, Settings(method="sparsegpt"))

    sequence = sequence_of(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten()).eval(), normal(2, 4, 5, 5))
    quotas = {"0": np.array([36, 18])}
    (whole,), (rest,) = counted(told), counted(lambda size: Operations())
    assert asked == [LayerSize(rows=3, inputs=18, kept=9.0)]
    assert whole == pytest.approx(rest.and_(Operations(2e9, 4e9)))
    assert counted(None) is None


def test_refinement_runs_the_pruned_block_forwards_and_backwards():
    sequence, quotas = sequence_of(two_layers(), normal(10, 4)), {"0": np.array([12]), "1": np.array([9])}
    plain, refined = (
        estimate.operations(sequence, quotas, Settings(method="sparsegpt", refine=passes)) for passes in (0, 2)
    )
    more = [one.single - other.single for one, other in zip(refined, plain, strict=True)]
    assert more == pytest.approx([estimate.BESIDE * 10 * 7 * 2 * 24, estimate.BESIDE * 10 * 7 * 2 * 18])


def test_seconds_are_operations_over_speed():
    assert Speed(single=2.0, double=4.0).seconds(Operations(single=6.0, double=4.0)) == 4.0
    speed = Speed.measured(torch.device("cpu"))
    assert speed.single > 0
    assert speed.double > 0


@pytest.mark.parametrize("name", ["magnitude", "obd", "wanda", "woodfisher", "sparsegpt", "admm", "greedy-obs", "swap"])
def test_twice_the_rows_are_at_most_twice_the_work(name):
    one, two = (methods()[name].operations(LayerSize(rows, 64, 32.0)) for rows in (100, 200))
    assert 0 < sum(one) < sum(two) <= 2 * sum(one)


def told(monkeypatch, caplog, seconds=600.0, **asked):
    monkeypatch.setattr(estimate.Speed, "seconds", lambda self, work: seconds)
    said = []
    with caplog.at_level(logging.INFO, "cbs_opt"):
        cbs_opt.prune(two_layers(), normal(40, 4), 0.5, progress=said.append, **(ASKED | asked))
    return said, [record.getMessage() for record in caplog.records]


def test_it_is_said_once_and_before_the_first_block(monkeypatch, caplog):
    said, logged = told(monkeypatch, caplog)
    words = "pruning 2 blocks, 42 weights: about 20 min"
    assert said.count(words) == logged.count(f"prune: {words}") == 1
    first = next(number for number, one in enumerate(said) if one.startswith("block 1 of 2"))
    assert said.index(words) == first - 1
    assert said[first].startswith("block 1 of 2, about 20 min left: ")


def test_bounds_are_said_not_to_be_in_it(monkeypatch, caplog):
    said, _ = told(monkeypatch, caplog, bound=True)
    assert "pruning 2 blocks, 42 weights: about 20 min, bounds not counted" in said


def test_without_a_statement_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setattr(estimate, "method", lambda name: SimpleNamespace(operations=None))
    said, _ = told(monkeypatch, caplog)
    assert not any(one.startswith("pruning 2 blocks") for one in said)
    assert any(one.startswith("block 1 of 2: ") for one in said)


def test_what_a_work_folder_has_is_not_in_it(monkeypatch, caplog, tmp_path):
    torch.manual_seed(0)
    model = two_layers()
    asked = ASKED | {"work": tmp_path}
    cbs_opt.prune(model, normal(40, 4), 0.5, **asked)
    (tmp_path / "stage-1" / "block-0002.safetensors").unlink()
    monkeypatch.setattr(estimate.Speed, "seconds", lambda self, work: 30.0)
    said = []
    cbs_opt.prune(model, normal(40, 4), 0.5, progress=said.append, **asked)
    assert "pruning 1 block, 18 weights: about 30 s" in said


def test_the_pace_so_far_corrects_the_estimate(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("cbs_opt.pruning.block_by_block.time.perf_counter", lambda: now[0])
    one = find_targets(nn.Linear(4, 4))
    pace = Pace([one, one, one], [10.0, 20.0, 20.0])
    assert pace.words(0) == "block 1 of 3, about 50 s left"
    now[0] = 20.0  # twice as long as estimated
    pace.done(0)
    assert pace.words(1) == "block 2 of 3, about 80 s left"


def test_a_small_first_block_says_nothing_about_the_rest(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("cbs_opt.pruning.block_by_block.time.perf_counter", lambda: now[0])
    one = find_targets(nn.Linear(4, 4))
    bounded, alone = (Pace([one, one, one], [0.1, 10.0, 10.0], whole=whole) for whole in (False, True))
    assert (bounded.words(0), alone.words(0)) == ("block 1 of 3", "block 1 of 3, about 21 s left")
    now[0] = 60.0  # most of it for compiling
    bounded.done(0), alone.done(0)
    assert (bounded.words(1), alone.words(1)) == ("block 2 of 3", "block 2 of 3, about 20 s left")
    now[0] = 80.0
    bounded.done(1), alone.done(1)
    assert bounded.words(2) == alone.words(2) == "block 3 of 3, about 80 s left"
