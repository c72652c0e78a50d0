"""The monitors of a running network, and what they may do: made alike for one node and for all in one process.

In: the log, the scenario, plans of the links that are watched.  Out: `Watching`, whose `vet` the ends of links ask
about each finished block.
"""

from __future__ import annotations

from collections.abc import Iterable

from noclone.distill.job import BlockStatistics
from noclone.events import EventLog
from noclone.network.blocks import LinkPlan
from noclone.network.responses import Responder, ResponseSection, Stop
from noclone.watch.demand import DemandMonitor
from noclone.watch.monitors import LinkMonitor


class Watching:
    """Monitors of links and of demand, and the responses to their alarms.

    Args:
        stop: Called with the name of a link that is to make no more blocks, and whether routes shall avoid it.
    """

    def __init__(
        self,
        log: EventLog,
        plans: Iterable[LinkPlan],
        responses: Iterable[ResponseSection],
        stop: Stop | None = None,
    ) -> None:
        self.monitor = LinkMonitor(log, {plan.link.name: plan.watched for plan in plans})
        self.demand = DemandMonitor(log)
        self.responder = Responder(log, tuple(responses), stop)

    def vet(self, link: str, block: int, statistics: BlockStatistics) -> None:
        """Hold a finished block against the monitors.

        Raises:
            BlockAborted: An alarm asks for the block to give no key.
        """
        self.responder.vet(link, self.monitor.check(link, block, statistics.counts), statistics)
