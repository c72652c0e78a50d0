"""The scenario file: which nodes, links, applications and attacks there are, as TOML, checked before anything runs.

In: a TOML file that people write (its JSON Schema: `noclone schema`).  Out: a `Scenario`, and from it what the other
layers take: a link's light (`link_sections`), addresses. Units stand in the names of fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from noclone.errors import ScenarioError
from noclone.io.published import Published
from noclone.io.shipped import Shipped
from noclone.network.audit_section import AuditSection
from noclone.network.border_sections import BorderSection, check_borders
from noclone.network.fibre_section import FibreSection
from noclone.network.fields import Name, Positive, SaeId, Section
from noclone.network.link_sections import LinkSection, ReceiverSection, SourceSection
from noclone.network.pqc_section import PqcSection
from noclone.network.relay_sections import Edges, PolicySection, RelaySection, check_policies
from noclone.network.responses import ResponseSection
from noclone.network.vendor_sections import VendorLinkSection
from noclone.spelling import choices, did_you_mean

SHIPPED = Shipped("noclone.network", "scenarios", "scenario", ScenarioError)
NODES_MAX, LINKS_MAX = 400, 1200
NOT_OF = {
    "bbm92": ("source",),
    "mdi": ("receiver",),
    "twin-field": ("receiver",),
    "sns": ("receiver",),
}  # tables that links of a protocol do not have
LINK_SECTIONS = ("source", "fibre", "pass", "receiver", "distillation", "flaws", "guards")

T = TypeVar("T")


class PublishedSection(Published):
    """A published number of a link, to stand beside what its run gives."""

    link: Name
    what: Literal["key_bps", "key_bits", "sifted_bits", "sifted_bps", "error_rate"] = Field(
        description="key a second of light; key of the best block; sifted bits of that block, both bases together; the "
        "same a second of light; share of wrong test bits"
    )


class NodeSection(Section):
    """A site with a key-management entity (KME)."""

    name: Name
    title: str = ""
    host: str = Field(default="127.0.0.1", description="address that its servers listen on")
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None


class SaeSection(Section):
    """An application (secure application entity) and the node that serves it."""

    id: SaeId
    node: Name


class DefaultsSection(Section):
    """What all links have alike: a link's own tables win, field by field."""

    source: dict[str, Any] = Field(default_factory=dict)
    fibre: dict[str, Any] = Field(default_factory=dict)
    passes: dict[str, Any] = Field(alias="pass", default_factory=dict)
    receiver: dict[str, Any] = Field(default_factory=dict)
    distillation: dict[str, Any] = Field(default_factory=dict)
    flaws: dict[str, Any] = Field(default_factory=dict)
    guards: dict[str, Any] = Field(default_factory=dict)


class AttackSection(Section):
    """An attack that `noclone run` carries out by itself; only where `lab = true`."""

    name: Name = Field(description="attack on light or messages: `noclone attack list`")
    on: Name = Field(description="link")
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    first_block: Annotated[int, Field(ge=0)] = 0
    last_block: Annotated[int, Field(ge=0)] | None = None

    def covers(self, link: str, block: int) -> bool:
        """Say whether this attack is on during a block."""
        return self.on == link and self.first_block <= block and (self.last_block is None or block <= self.last_block)


class KeySection(Section):
    """What the KMEs store and deliver."""

    key_size_bits: Annotated[int, Field(ge=64, le=4096, multiple_of=64)] = Field(
        default=256, description="default key size"
    )
    lifetime_hours: Positive = Field(default=24.0, description="stored and uncollected keys are erased after this")


class Scenario(Section):
    """A whole network."""

    name: Name
    title: str = ""
    description: str = ""
    lab: bool = Field(default=False, description="attacks are possible only where this is true")
    base_port: Annotated[int, Field(ge=1024, le=65000)] = 9440
    keys: KeySection = Field(default_factory=KeySection)
    defaults: DefaultsSection = Field(default_factory=DefaultsSection)
    nodes: list[NodeSection] = Field(alias="node", min_length=2, max_length=NODES_MAX)
    saes: list[SaeSection] = Field(alias="sae", default=[])
    links: list[LinkSection] = Field(alias="link", default=[], max_length=LINKS_MAX)
    vendor_links: list[VendorLinkSection] = Field(alias="vendor_link", default=[], max_length=LINKS_MAX)
    borders: list[BorderSection] = Field(alias="border", default=[], max_length=16)
    attacks: list[AttackSection] = Field(alias="attack", default=[])
    relay: RelaySection = Field(default_factory=RelaySection)
    pqc: PqcSection = Field(default_factory=PqcSection)
    policies: list[PolicySection] = Field(alias="policy", default=[])
    responses: list[ResponseSection] = Field(alias="response", default=[], max_length=200)
    audit: AuditSection = Field(default_factory=AuditSection)
    published: list[PublishedSection] = Field(default=[], max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, data: Any) -> Any:
        """Give each link what it does not say itself."""
        match data:
            case {"defaults": dict(defaults), "link": [*links]}:
                return {**data, "link": [_with_defaults(link, defaults) for link in links]}
        return data

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        nodes = _unique("node", [n.name for n in self.nodes])
        links = {link.name for link in self.links}
        _unique("link", [*(link.name for link in self.links), *(link.name for link in self.vendor_links)])
        _unique("sae", [s.id for s in self.saes])
        for sae in self.saes:
            _known(f"sae '{sae.id}'", "node", sae.node, nodes)
        for link in self.links:
            _known(f"link '{link.name}'", "alice", link.alice, nodes)
            _known(f"link '{link.name}'", "bob", link.bob, nodes)
            if link.bootstrap == "signatures" and self.pqc.kme_tls_qkd != "none":
                raise ValueError(
                    f"link '{link.name}' is to be bootstrapped by signatures alone, and [pqc] kme_tls_qkd ="
                    f" '{self.pqc.kme_tls_qkd}' lets nothing stand on them alone; give it a pre-shared key"
                )
        for vendor in self.vendor_links:
            _known(f"vendor_link '{vendor.name}'", "alice", vendor.alice, nodes)
            _known(f"vendor_link '{vendor.name}'", "bob", vendor.bob, nodes)
        check_borders(self.borders, nodes, {sae.id: sae.node for sae in self.saes})
        for attack in self.attacks:
            _known(f"attack '{attack.name}'", "on", attack.on, links)
        for told in self.published:
            _known(f"published '{told.what}'", "link", told.link, links)
        for response in self.responses:
            if response.on is not None:
                _known(f"response to '{response.alarm}'", "on", response.on, links)
        if self.lab and self.vendor_links:
            raise ValueError(
                f"a lab, where Eve may do as she likes, has no real devices: set lab = false, or remove vendor_link "
                f"'{self.vendor_links[0].name}'"
            )
        if self.attacks and not self.lab:
            raise ValueError("attacks exist only in a lab: set lab = true, or remove [[attack]]")
        check_policies(
            self.policies,
            {sae.id: sae.node for sae in self.saes},
            self.edges(),
            self.relay,
        )
        _unique("pair of nodes", [" and ".join(sorted(pair)) for pair in self.edges().all])
        last = self.base_port + self.first_link_port + 2 * len(self.links)
        if last > 65_536:
            raise ValueError(f"base_port {self.base_port} leaves too few ports: the last one would be {last - 1}")
        return self

    def edges(self) -> Edges:
        """Return which pairs of nodes a link joins, and by what."""
        return Edges(
            tuple((link.alice, link.bob) for link in self.links),
            tuple((link.alice, link.bob) for link in self.vendor_links),
            tuple(link.name for link in self.vendor_links if link.epsilon is None),
        )

    @property
    def first_link_port(self) -> int:
        """Where the links' ports begin after base_port: nodes take two each from 0, the operator the one before."""
        return max(100, 2 * len(self.nodes) + 2)

    def link(self, name: str) -> LinkSection:
        """Return the link of that name."""
        return _find("link", name, {link.name: link for link in self.links})

    def light(self) -> list[LinkSection]:
        """Return the links whose light is simulated.

        Raises:
            ScenarioError: There is none.
        """
        if not self.links:
            raise ScenarioError(
                f"the scenario '{self.name}' has no simulated light to run",
                hint=f"its keys are made without: noclone serve {self.name}",
            )
        return self.links

    def node(self, name: str) -> NodeSection:
        """Return the node of that name."""
        return _find("node", name, {node.name: node for node in self.nodes})

    def sae(self, identifier: str) -> SaeSection:
        """Return the application of that id."""
        return _find("SAE", identifier, {sae.id: sae for sae in self.saes})

    def etsi014_address(self, node: str) -> tuple[str, int]:
        """Return where applications reach a node's KME."""
        return self.node(node).host, self.base_port + 2 * self._node_index(node)

    def kme_address(self, node: str) -> tuple[str, int]:
        """Return where other KMEs reach a node's KME."""
        return self.node(node).host, self.base_port + 2 * self._node_index(node) + 1

    def light_address(self, link: str) -> tuple[str, int]:
        """Return where both ends of a simulated link reach its light."""
        return self.node(self.link(link).bob).host, self.base_port + self.first_link_port + 2 * self._link_index(link)

    def channel_address(self, link: str) -> tuple[str, int]:
        """Return where Bob reaches Alice over the public channel."""
        return self.node(self.link(link).alice).host, self.base_port + self.first_link_port + 2 * self._link_index(
            link
        ) + 1

    def control_address(self) -> tuple[str, int]:
        """Return where the operator reaches a served network: always on this machine."""
        return "127.0.0.1", self.base_port + self.first_link_port - 1

    def window_address(self) -> tuple[str, int]:
        """Return where a served network's window opens, if nothing else is said: on this machine."""
        return "127.0.0.1", self.base_port + self.first_link_port - 2

    def _node_index(self, name: str) -> int:
        return [n.name for n in self.nodes].index(name)

    def _link_index(self, name: str) -> int:
        return [link.name for link in self.links].index(name)


def _with_defaults(link: Any, defaults: dict[str, Any]) -> Any:
    if not isinstance(link, dict):
        return link
    filled = dict(link)
    without: tuple[str, ...] = NOT_OF.get(link.get("protocol", ""), ())
    if link.get("repeater") is not None:
        without = ("source", "fibre", "pass", "receiver")
    for name in LINK_SECTIONS:
        if name in without or name == ("fibre" if "pass" in link else "pass"):
            continue
        common, own = defaults.get(name), link.get(name, {})
        if isinstance(common, dict) and isinstance(own, dict):
            filled[name] = {**common, **own}
    return filled


def _unique(what: str, names: list[str]) -> set[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} '{twice[0]}' appears twice")
    return set(names)


def _known(where: str, field: str, name: str, names: set[str]) -> None:
    if name not in names:
        meant = did_you_mean(name, names)
        raise ValueError(f"{where}: {field} = '{name}' is not one of: {', '.join(sorted(names))}{meant}")


def _find(what: str, name: str, known: dict[str, T]) -> T:
    if name not in known:
        raise ScenarioError(f"this scenario has no {what} '{name}'", hint=choices(name, known, "it has"))
    return known[name]


def load_scenario(path: Path | str) -> Scenario:
    """Read a scenario from a file, or a shipped one by its name, such as `metro`.

    Raises:
        ScenarioError: The file cannot be read, or what it says is impossible.
    """
    return SHIPPED.load(path, Scenario)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of scenario files. What `[defaults]` may give is asked of no link."""
    found = Scenario.model_json_schema(by_alias=True)
    for section in (SourceSection, FibreSection, ReceiverSection):
        del found["$defs"][section.__name__]["required"]
    found["$defs"][LinkSection.__name__]["required"] = ["name", "alice", "bob"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "noclone scenario"}
