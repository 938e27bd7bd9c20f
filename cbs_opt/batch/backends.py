"""The workers of a batch, by joblib's backends: on this machine (loky) or on a cluster (Dask, Ray)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cbs_opt.batch.settings import Settings
from cbs_opt.batch.solver_process import Limits
from cbs_opt.batch.worker import Returned, work
from cbs_opt.errors import InputError
from cbs_opt.kernel.interrupts import interrupts_ignored
from cbs_opt.kernel.words import counted

Groups = Iterator[tuple[int, list[dict[str, Any]]]]

DEATHS = frozenset({"TerminatedWorkerError", "BrokenProcessPool", "KilledWorker", "WorkerCrashedError"})
"""The names of the errors that mean that a worker process was ended from outside."""

PATIENCE = 20
"""Seconds to wait for the answer of a scheduler."""

IDLE = 20
"""Seconds after which a worker of loky without work ends itself, as it has to when its parent was killed."""


class WorkersDied(Exception):
    """Workers were ended from outside, and the tasks that they were working on are lost."""


@dataclass(frozen=True)
class Backend:
    """Workers that are ready for tasks.

    Parameters
    ----------
    jobs : int
        The number of workers.
    name : str
        The workers in words, for messages.
    run : callable
        ``run(groups, limits)`` hands groups of tasks to the workers, and yields each group when it is done; it raises
        ``WorkersDied`` where workers were ended from outside.
    """

    jobs: int
    name: str
    run: Callable[[Groups, Limits], Generator[Returned, None, None]]


@contextlib.contextmanager
def backend_of(settings: Settings) -> Iterator[Backend]:
    """A context with the workers that ``settings`` asks for.

    Raises
    ------
    InputError
        A package is missing, the address of a scheduler is missing or superfluous, or the cluster does not answer.
    """
    if settings.backend == "loky":
        if settings.scheduler is not None:
            raise InputError("scheduler: is for --backend dask and --backend ray; name one of them too")
        with _loky(settings.jobs) as backend:
            yield backend
        return
    if settings.scheduler is None:
        raise InputError(f"backend {settings.backend}: needs the address of its scheduler; give --scheduler ADDRESS")
    package = {"dask": "distributed", "ray": "ray"}[settings.backend]
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"backend {settings.backend}: needs the package {package}; "
            f"install it by pip install 'cbs-opt[{settings.backend}]'"
        )
    with (_dask if settings.backend == "dask" else _ray)(settings.scheduler, settings.jobs) as backend:
        yield backend


@contextlib.contextmanager
def _loky(jobs: int | None) -> Iterator[Backend]:
    from joblib import cpu_count
    from joblib.externals.loky import get_reusable_executor

    count = jobs or int(cpu_count())

    def run(groups: Groups, limits: Limits) -> Generator[Returned, None, None]:
        # With one job, joblib works in this process itself, so that there is no parent whose end has to be noticed.
        parent = os.getpid() if count > 1 else None
        yield from _results(groups, limits, parent, count, count, backend="loky", idle_worker_timeout=IDLE)

    try:
        yield Backend(count, counted(count, "worker"), run)
    finally:
        if count > 1:
            get_reusable_executor(max_workers=count).shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _dask(scheduler: str, jobs: int | None) -> Iterator[Backend]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise _no_answer(scheduler, error) from None
    with client:
        there = sum(client.ncores().values())
        if not there:
            raise InputError(f"scheduler {scheduler}: has no workers; start some")
        count = min(jobs, there) if jobs else there

        def run(groups: Groups, limits: Limits) -> Generator[Returned, None, None]:
            yield from _results(groups, limits, None, count, 2 * count, backend="dask", client=client)

        yield Backend(count, f"Dask, {count} threads at {scheduler}", run)


@contextlib.contextmanager
def _ray(scheduler: str, jobs: int | None) -> Iterator[Backend]:
    import ray
    from ray.util.joblib import register_ray

    try:
        ray.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise _no_answer(scheduler, error) from None
    try:
        register_ray()
        there = int(ray.cluster_resources().get("CPU", 0))
        if not there:
            raise InputError(f"scheduler {scheduler}: has no processors; start some workers")
        count = min(jobs, there) if jobs else there

        def run(groups: Groups, limits: Limits) -> Generator[Returned, None, None]:
            yield from _results(groups, limits, None, count, 2 * count, backend="ray")

        yield Backend(count, f"Ray, {count} processors at {scheduler}", run)
    finally:
        ray.shutdown()


def _no_answer(scheduler: str, error: Exception) -> InputError:
    return InputError(f"scheduler {scheduler}: does not answer ({error}); start it, or correct the address")


def _results(
    groups: Groups, limits: Limits, parent: int | None, jobs: int, ahead: int, **backend: Any
) -> Generator[Returned, None, None]:
    """Each group of tasks when it is done; ``ahead`` groups are handed out at a time."""
    from joblib import Parallel, delayed, parallel_config

    watched = contextlib.nullcontext if parent is None else interrupts_ignored
    calls = (delayed(work)(group, tasks, limits, parent) for group, tasks in groups)
    with watched(), parallel_config(n_jobs=jobs, **backend):
        streams = Parallel()._backend.supports_return_generator
        way = "generator_unordered" if streams else "list"
        parallel = Parallel(return_as=way, batch_size=1, pre_dispatch=ahead)
    try:
        if not streams:
            # A backend that returns everything at once is given few groups at a time, with the same workers each time.
            with parallel:
                while part := list(islice(calls, ahead)):
                    yield from parallel(part)
            return
        with watched():
            results = parallel(calls)
        yield from results
    except Exception as error:
        if type(error).__name__ in DEATHS:
            raise WorkersDied from error
        raise
