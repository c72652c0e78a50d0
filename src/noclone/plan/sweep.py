"""What changes if: a brief planned for every combination of some parameters, side by side, on Dask.

In: briefs.  Out: a `Swept` for each. Plans are independent. They run in processes of this machine, as many as there are
cores, with no socket open; or on the workers of a Dask cluster, which must have the same noclone installed. Dask:
Rocklin, Proc. 14th Python in Science Conf., 126 (2015).
"""

from __future__ import annotations

import multiprocessing.pool
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import noclone
from noclone.errors import NocloneError
from noclone.extras import how_to_install
from noclone.plan.candidates import candidates_of
from noclone.plan.sites import Brief
from noclone.plan.solver import NoPlan, solve
from noclone.process import cores, uninterrupted_children

CONNECT_S = 5


@dataclass(frozen=True, slots=True)
class Task:
    """One plan to make, in what any process understands.

    Args:
        brief: As JSON.
        version: Of the noclone that asks.
    """

    brief: str
    values: dict[str, float]
    time_limit_s: float
    gap: float
    only_what_runs: bool = False
    version: str = noclone.__version__


@dataclass(frozen=True, slots=True)
class Swept:
    """One plan of a sweep, in numbers; `problem` says why there is none."""

    values: dict[str, float]
    cost: float
    gap: float
    links: int
    relays: int
    met: int
    demands: int
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def plan_task(task: Task) -> Swept:
    """Make one plan: here a process of this machine, or a worker of a cluster, begins.

    Raises:
        NocloneError: This noclone is another one than that which asks.
    """
    if task.version != noclone.__version__:
        raise NocloneError(f"a worker has noclone {noclone.__version__}, and {task.version} asks it to plan")
    brief = Brief.model_validate_json(task.brief)
    candidates, _ = candidates_of(brief, only_what_runs=task.only_what_runs)
    try:
        found = solve(brief, candidates, time_limit_s=task.time_limit_s, gap=task.gap)
    except NoPlan as problem:
        return Swept(task.values, 0.0, 0.0, 0, 0, 0, len(brief.demands), problem.message)
    return Swept(task.values, found.cost, found.gap, len(found.built), len(found.relays), found.met, len(brief.demands))


def sweep(
    tasks: Sequence[Task], *, cluster: str | None = None, on_plan: Callable[[], None] = lambda: None
) -> list[Swept]:
    """Make all plans, and return them in the order of the tasks.

    Args:
        cluster: Address of a Dask scheduler, such as tcp://10.0.0.7:8786; this machine where none is given.
        on_plan: Told of each that is done.

    Raises:
        NocloneError: Dask is not installed, the cluster does not answer, or its workers cannot plan.
    """
    try:
        import dask  # noqa: F401
        import distributed  # noqa: F401
    except ImportError:
        raise NocloneError(
            "sweeps run on Dask, which is not installed",
            hint=how_to_install("plan"),
        ) from None
    return _here(tasks, on_plan) if cluster is None else _there(tasks, cluster, on_plan)


def _here(tasks: Sequence[Task], on_plan: Callable[[], None]) -> list[Swept]:
    from dask import compute, delayed
    from dask.callbacks import Callback

    count = min(len(tasks), cores())
    work = [delayed(plan_task, pure=False)(delayed(task, traverse=False)) for task in tasks]

    def done(key: Any, *_: Any) -> None:
        if str(key).startswith("plan_task"):
            on_plan()

    with _pool(count) as pool, Callback(posttask=done):
        return list(compute(*work, scheduler="processes", pool=pool, optimize_graph=False))


def _pool(count: int) -> multiprocessing.pool.Pool:
    """Return processes that Ctrl-C does not reach, not even while they start: leaving the pool ends them at once."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of compiled code's threads
    with uninterrupted_children():
        return context.Pool(count, _ignore_interrupts)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _there(tasks: Sequence[Task], cluster: str, on_plan: Callable[[], None]) -> list[Swept]:
    from distributed import Client, as_completed

    try:
        client = Client(cluster, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as problem:
        raise NocloneError(
            f"no Dask scheduler answers at {cluster}: {problem}", hint="start one: dask scheduler; dask worker ADDRESS"
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise NocloneError(f"the cluster at {cluster} has no workers", hint=f"start one: dask worker {cluster}")
        futures = client.map(plan_task, tasks, pure=False)
        try:
            for _ in as_completed(futures, loop=client.loop):
                on_plan()
            return list(client.gather(futures))
        except (ImportError, AttributeError) as problem:
            raise NocloneError(
                f"the workers at {cluster} cannot plan: {problem}",
                hint="install the same 'noclone[plan]' where they run",
            ) from None
        finally:
            client.cancel(futures)


def sweep_lines(found: Sequence[Swept]) -> list[str]:
    """Return a sweep as a table."""
    names = list(found[0].values) if found else []
    wide = [max(10, len(name)) for name in names]
    head = " ".join(f"{name:>{width}}" for name, width in zip(names, wide, strict=True))
    out = [f"{head} {'cost':>10} {'gap':>6} {'links':>6} {'relays':>7} {'met':>12}"]
    for one in found:
        given = " ".join(f"{value:>{width}g}" for value, width in zip(one.values.values(), wide, strict=True))
        told = one.problem or (
            f"{one.cost:>10,.0f} {one.gap:>6.1%} {one.links:>6} {one.relays:>7} {f'{one.met} of {one.demands}':>12}"
        )
        out.append(f"{given} {told}")
    return out
