"""The same batch on a Dask cluster of two worker processes gives the same store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cbs_opt.batch import Settings, run_batch
from cbs_opt.errors import InputError
from cbs_opt.store import open_store

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own are not ours to mend


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of two processes on this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def content(store: str) -> set[tuple[object, ...]]:
    """Everything but times, orders and what it was computed with."""
    with open_store(store) as opened:
        blocks = {block.id: block.content for block in opened.blocks()}
        return {
            (
                row.key,
                blocks[row.block],
                row.method,
                row.asked,
                row.seed,
                str(row.options),
                row.status,
                row.reason,
                row.error,
                row.solution_status,
                row.termination_condition,
                row.objective,
                row.bound,
                row.gap,
                row.selection_objective,
                row.round_off,
                row.nodes,
                row.n,
                row.pruned,
                row.notes,
                row.attempts,
                None if row.mask is None else row.mask.tobytes(),
                None if row.weights is None else row.weights.tobytes(),
            )
            for row in opened.results(arrays=True)
        }


def test_the_same_store_on_a_cluster(settings: Settings, folder: Path, scheduler: str) -> None:
    (folder / "bad.npz").write_bytes(b"")
    settings = replace(settings, methods=("greedy-obs", "cbs", "bnb"), seeds=(0, 1), options={"cbs": {"trials": 3}})
    here = replace(settings, store=settings.store + ".here")
    there = replace(settings, jobs=None, backend="dask", scheduler=scheduler)
    run_batch(here)
    result = run_batch(there)
    assert (result.solved, result.exit_code) == (7 * 4, 1)
    assert content(there.store) == content(here.store)
    assert run_batch(there).solved == 0


def test_a_scheduler_that_is_not_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from cbs_opt.batch import backends

    monkeypatch.setattr(backends, "PATIENCE", 0.5)
    with pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:9: does not answer"):
        run_batch(replace(settings, backend="dask", scheduler="tcp://127.0.0.1:9"))
    assert not Path(settings.store).exists()


@pytest.mark.parametrize(
    ("backend", "scheduler", "words"),
    [("dask", None, "needs the address of its scheduler"), ("loky", "tcp://x:1", "is for --backend dask")],
)
def test_backends_and_schedulers_go_together(
    settings: Settings, backend: str, scheduler: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run_batch(replace(settings, backend=backend, scheduler=scheduler))
