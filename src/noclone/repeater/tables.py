"""The tables that describe a network of repeaters: devices, memories, rules, links, and where their numbers come from.

In: TOML, of a file of its own (`brief`) or inside a scenario's link.  Out: checked `RepeaterTables`, which give the
chain between two nodes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from noclone.errors import InputError
from noclone.io.origins import check_origins, numbers
from noclone.io.published import Published
from noclone.repeater.chain import Chain, Rules
from noclone.repeater.clocked import Clocked
from noclone.repeater.links import Emitters, Link, one_click, reflected, two_clicks
from noclone.repeater.pairs import BellPair, Memory
from noclone.spelling import choices

NODES_MAX, LINKS_MAX = 2000, 10_000
SECTIONS = ("devices", "memory", "rules", "link", "clock")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Two = Annotated[list[Name], Field(min_length=2, max_length=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class RepeaterError(InputError):
    """A file of repeaters cannot be read, or describes what cannot be."""


class Table(BaseModel):
    """A table of the file: unknown fields are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DevicesTable(Table):
    """How the two memories of every link come to share a pair."""

    scheme: Literal["one-click", "two-clicks", "reflected", "measured"] = "two-clicks"
    emission: Share = 0.5
    detector: Share = 0.9
    dark: Share = 0.0
    visibility: Share = 1.0
    local_s: Positive = 1e-6
    modes: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    attenuation_db_per_km: NonNegative = 0.2
    extra_db: NonNegative = 0.0
    skew: Share = 0.5
    bright: Annotated[float, Field(gt=0, lt=1)] = 0.1
    phase_rad: NonNegative = 0.0
    double_excitation: Share = 0.0
    success: Share | None = Field(default=None, description="measured: of an attempt, whatever the length")
    attempt_s: Positive | None = Field(default=None, description="measured")
    correlations: Annotated[list[float], Field(min_length=3, max_length=3)] | None = Field(
        default=None, description="measured, reflected: <XX>, -<YY>, <ZZ> of a fresh pair"
    )
    mean_photons: Positive = Field(default=0.1, description="reflected: of the pulse")

    def link(self, length_km: float) -> Link:
        """Return a link of such a length."""
        if self.scheme == "measured":
            if self.success is None or self.attempt_s is None or self.correlations is None:
                raise RepeaterError("measured devices need success, attempt_s and correlations")
            return Link(length_km, self.success, self.attempt_s, BellPair(*self.correlations))
        emitters = Emitters(
            self.emission, self.detector, self.dark, self.visibility, self.local_s, self.modes,
            self.attenuation_db_per_km, self.skew, self.extra_db,
        )  # fmt: skip
        if self.scheme == "two-clicks":
            return two_clicks(length_km, emitters)
        if self.scheme == "reflected":
            gate = BellPair(*(self.correlations or (1.0, 1.0, 1.0)))
            return reflected(length_km, emitters, self.mean_photons, gate)
        return one_click(
            length_km, emitters, self.bright, phase_rad=self.phase_rad, double_excitation=self.double_excitation
        )


class MemoryTable(Table):
    """What every node keeps its halves in; what is left out lasts for ever."""

    dephasing_s: Positive | None = None
    depolarising_s: Positive | None = None

    def memory(self) -> Memory:
        """Return the memory."""
        return Memory(self.dephasing_s or math.inf, self.depolarising_s or math.inf)


class RulesTable(Table):
    """How nodes behave."""

    swap_success: Annotated[float, Field(gt=0, le=1)] = 1.0
    swap_quality: Share = 1.0
    cutoff_s: Positive | None = None
    pumps: Annotated[int, Field(ge=0, le=20)] = 0
    stream: bool = False
    ends: Literal["measured", "stored"] = "measured"


class LinkTable(Table):
    """A fibre between two nodes."""

    between: Two
    length_km: NonNegative


class ClockTable(Table):
    """Pairs at stated times, over one link."""

    period_s: Positive
    setup_s: NonNegative = 0.0
    without: Annotated[float, Field(ge=0, le=0.5)] = 0.25


class PublishedTable(Published):
    """A published result, to stand beside ours."""

    what: Literal["rate_hz", "fidelity", "clocked_fidelity", "clocked_rate_hz", "clocked_success"]


class RepeaterTables(Table):
    """Nodes, links, devices, rules, and where the numbers come from."""

    devices: DevicesTable = DevicesTable()
    memory: MemoryTable = MemoryTable()
    rules: RulesTable = RulesTable()
    link: Annotated[list[LinkTable], Field(min_length=1, max_length=LINKS_MAX)]
    clock: ClockTable | None = None
    published: list[PublishedTable] = []
    origins: dict[str, str] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_origins(self.origins, self.numbers())
        if len({node for one in self.link for node in one.between}) > NODES_MAX:
            raise ValueError(f"more than {NODES_MAX} nodes")
        if any(one.between[0] == one.between[1] for one in self.link):
            raise ValueError("a link joins two nodes")
        return self

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of the file by place."""
        return numbers(self, SECTIONS)

    def path_between(self, a: str, b: str) -> list[str]:
        """Return the nodes from one to the other, whose links take least time in all.

        Raises:
            RepeaterError: No links lead there.
        """
        import networkx

        graph: Any = networkx.Graph()
        for ends, link in self._best().items():
            graph.add_edge(*sorted(ends), mean_s=link.mean_s)
        if a == b or a not in graph or b not in graph or not networkx.has_path(graph, a, b):
            raise RepeaterError(
                f"no links lead from {a} to {b}", hint=choices(a if a not in graph else b, sorted(graph), "there are")
            )
        return list(networkx.shortest_path(graph, a, b, weight="mean_s"))

    def chain_between(self, a: str, b: str) -> Chain:
        """Return the chain between two nodes."""
        best = self._best()
        links = tuple(best[frozenset(hop)] for hop in pairwise(self.path_between(a, b)))
        return Chain(links, (self.memory.memory(),) * (len(links) + 1), Rules(**self.rules.model_dump()))

    def _best(self) -> dict[frozenset[str], Link]:
        """Return, of all links between the same two nodes, the quickest."""
        best: dict[frozenset[str], Link] = {}
        for one in self.link:
            ends, link = frozenset(one.between), self.devices.link(one.length_km)
            if ends not in best or link.mean_s < best[ends].mean_s:
                best[ends] = link
        return best

    def clocked_between(self, a: str, b: str) -> Clocked | None:
        """Return the link that hands over at stated times, if there is a clock."""
        if self.clock is None:
            return None
        chain = self.chain_between(a, b)
        if len(chain.links) != 1:
            raise RepeaterError(f"a clock is for one link, and the way from {a} to {b} has {len(chain.links)}")
        return Clocked(chain.links[0], chain.memories[0], self.clock.period_s, self.clock.setup_s, self.clock.without)

    def loss_db(self, length_km: float) -> float:
        """Return what fibres of such a length in all lose."""
        return self.devices.attenuation_db_per_km * length_km
