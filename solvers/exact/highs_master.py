"""HiGHS on the master problem of the outer approximation: one instance of it is kept, and tangents are added as rows.

HiGHS accepts an LP solution whose multipliers are wrong by up to its tolerance δ. By weak duality a multiplier that is
wrong by δ costs δ times the range of its column or row *at the solutions of interest*. There all variables lie between
−1 and 1, and the slack of a tangent is a square, (y − a)² ≤ 4. HiGHS sees an objective in which V is ``SCALE``. In its
units the bound that HiGHS states is lowered by

    2δ (4·tangents + 4n + 4·columns + the ranges of the pattern's own columns and rows),    (margin)

where the factor 2 allows for rows that HiGHS adds itself. This is the word of a careful floating-point solver, not a
proof in exact arithmetic. It presupposes a well-scaled model: where rows had coefficients near 1e-9, which HiGHS scales
up together with their round-off, HiGHS was seen to cut off the optimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.models.outer_approximation import Master, Point
from cbs_opt.solvers.exact.interrupts import interruptible

SCALE = 1024.0
"""What V is worth in the objective that HiGHS sees."""

TOLERANCE = 1e-8
"""HiGHS' primal, dual and integrality tolerances."""

OPTIONS = {
    "output_flag": False,
    "mip_feasibility_tolerance": TOLERANCE,
    "primal_feasibility_tolerance": TOLERANCE,
    "dual_feasibility_tolerance": TOLERANCE,
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What one run of HiGHS says.

    Parameters
    ----------
    bound : float
        A lower bound on the master problem, in units of V; −inf for none.
    point : Point or None
        The solution found; None for none.
    termination : TerminationCondition
        Why the run ended.
    nodes : int
        Nodes of its tree.
    failure : str
        HiGHS' status, where it ended with neither an answer nor a limit.
    """

    bound: float
    point: Point | None
    termination: TerminationCondition
    nodes: int
    failure: str = ""


class HighsMaster:
    """A master problem that HiGHS holds and solves again after every change."""

    def __init__(self, master: Master) -> None:
        from pyomo.contrib.solver.common.factory import SolverFactory

        self.master = master
        self._solver = SolverFactory("highs")
        updates = self._solver.config.auto_updates
        for name in updates:
            updates[name] = False
        self._solver.set_instance(master.model)
        model = master.model
        self._columns = [list(part.values()) for part in (model.z, model.u, model.s, model.y, model.t)]

    @property
    def tangents(self) -> int:
        """The number of tangents so far."""
        return len(self.master.model.tangents)

    @property
    def margin(self) -> float:
        """What the bound of HiGHS is lowered by, in units of V: (margin) of this module, and what was left out."""
        ranges = 4 * self.tangents + 4 * len(self._columns[0]) + 4 * sum(len(part) for part in self._columns)
        return 2 * TOLERANCE * (ranges + self.master.ranges) / SCALE + self.master.left_out

    def add_tangents(self, point: Point, least: float) -> int:
        """Add the tangents that cut ``point`` off (see ``Master.add_tangents``); returns how many there were."""
        rows = self.master.add_tangents(point, least)
        if rows:
            self._solver.add_constraints(rows)
        return len(rows)

    def restrict(self, weight: int, least: float, most: float) -> None:
        """Set the bounds of the z of one ``weight``."""
        z = self._columns[0][weight]
        z.setlb(least)
        z.setub(most)
        self._solver.update_variables([z])

    def make_discrete(self) -> None:
        """Make z binary, and give the pattern's own variables the domains that they were declared with."""
        variables = [variable for variable, _ in self.master.discrete]
        for variable, domain in self.master.discrete:
            variable.domain = domain
        self._solver.update_variables(variables)

    @interruptible()
    def solve(self, seconds: float, gap: float) -> Answer:
        """Run HiGHS for at most ``seconds``, to the relative ``gap``.

        Any end other than an answer or a limit is a ``failure``. That includes infeasibility, which proves nothing
        here.
        """
        if seconds <= 0:
            return Answer(-math.inf, None, TerminationCondition.TIME_LIMIT, 0)
        results = self._solver.solve(
            self.master.model,
            threads=1,
            time_limit=seconds if math.isfinite(seconds) else None,
            rel_gap=gap,
            abs_gap=0.0,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            solver_options=OPTIONS,
        )
        ended = TerminationCondition.named(results.termination_condition.name)
        if ended is None:
            return Answer(-math.inf, None, TerminationCondition.CONVERGED, 0, results.termination_condition.name)
        point = None
        if results.solution_loader.get_number_of_solutions():
            values = results.solution_loader.get_vars()
            point = Point(*(np.array([values[column] for column in part]) for part in self._columns))
        proven = results.objective_bound
        known = proven is not None and math.isfinite(proven)
        bound = sum_below(math.nextafter(float(proven) / SCALE, -math.inf), -self.margin) if known else -math.inf
        nodes = max(0, int(results.extra_info.mip_node_count))
        return Answer(bound, point, ended, nodes)
