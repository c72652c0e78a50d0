"""Maps become scenarios: what is kept, what is left out and said, and that the result can be run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from noclone.errors import InputError, ScenarioError
from noclone.io.toml import parse_toml
from noclone.network.blocks import plan_link
from noclone.network.scenario import Scenario
from noclone.network.topology_files import (
    EARTH_RADIUS_KM,
    Place,
    Topology,
    great_circle_km,
    random_topology,
    read_graphml,
    scenario_text,
)

MAPS = Path(__file__).parents[3] / "shared" / "data"
HEAD = """<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key attr.name="label" attr.type="string" for="node" id="l"/>
<key attr.name="Latitude" attr.type="double" for="node" id="a"/>
<key attr.name="Longitude" attr.type="double" for="node" id="o"/><graph edgedefault="undirected">"""


def node(number: int, label: str, latitude: object = None, longitude: object = None) -> str:
    where = "" if latitude is None else f'<data key="a">{latitude}</data><data key="o">{longitude}</data>'
    return f'<node id="{number}"><data key="l">{label}</data>{where}</node>'


def write(tmp_path: Path, *parts: str) -> Path:
    path = tmp_path / "some map.graphml"
    path.write_text(HEAD + "".join(parts) + "</graph></graphml>", encoding="utf-8")
    return path


def edge(a: int, b: int) -> str:
    return f'<edge source="{a}" target="{b}"/>'


def load(text: str) -> Scenario:
    return parse_toml(text, Scenario, ScenarioError, name="test")


def test_great_circles() -> None:
    pole, equator = Place("p", "P", 90, 0), Place("e", "E", 0, 17)
    assert great_circle_km(pole, equator) == pytest.approx(math.pi / 2 * EARTH_RADIUS_KM)
    assert great_circle_km(Place("a", "A", 10, 20), Place("b", "B", -10, -160)) == pytest.approx(
        math.pi * EARTH_RADIUS_KM
    )
    one, other = (
        Place("a", "A", 60, 0),
        Place("b", "B", 60, 0.01),
    )  # a small step east: cos(60 degrees) of one at the equator
    assert great_circle_km(one, other) == pytest.approx(EARTH_RADIUS_KM * math.radians(0.01) / 2, rel=1e-6)


@pytest.mark.skipif(not MAPS.exists(), reason="the maps of the Topology Zoo are not beside this checkout")
def test_surfnet_is_a_network_of_links_that_give_key() -> None:
    topology = read_graphml(MAPS / "Surfnet.graphml")
    text, notes = scenario_text(topology, source="Internet Topology Zoo")
    scenario = load(text)
    assert (len(scenario.nodes), len(scenario.links)) == (50, 68)  # 73 edges, five of them second ones
    assert sum("joined twice" in note for note in notes) == 5
    assert max(link.fibre.length_km for link in scenario.links) == pytest.approx(112, abs=0.5)
    assert all(plan_link(link).agreement.length_bits > 0 for link in scenario.links)


def test_what_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        node(0, "São Paulo", 52.0, 5.0),
        node(1, "SAO PAULO", 52.1, 5.1),
        node(2, "Nowhere"),
        node(3, "Far", 40.0, 5.0),
        node(4, "Odd", 99.0, 5.0),
        node(5, "東京", 52.2, 5.2),
        *(edge(a, b) for a, b in ((0, 1), (1, 0), (0, 2), (0, 3), (1, 4), (1, 5), (5, 5))),
    )
    text, notes = scenario_text(read_graphml(path), source="test", route_factor=1.5, attenuation_db_per_km=0.25)
    scenario = load(text)
    assert [n.name for n in scenario.nodes] == ["sao-paulo", "sao-paulo-2", "node-5"]
    assert [n.title for n in scenario.nodes] == ["São Paulo", "SAO PAULO", "東京"]
    assert {(link.alice, link.bob) for link in scenario.links} == {
        ("sao-paulo", "sao-paulo-2"),
        ("node-5", "sao-paulo-2"),
    }
    first = scenario.link("sao-paulo-sao-paulo-2")
    assert first.fibre.length_km == pytest.approx(
        1.5 * great_circle_km(Place("", "", 52, 5), Place("", "", 52.1, 5.1)), abs=0.01
    )
    assert first.fibre.attenuation_db_per_km == 0.25
    said = "\n".join(notes)
    for words in (
        "Nowhere has no coordinates",
        "Odd lies at 99.0",
        "joined to itself",
        "beyond 150 km",
        "joined twice",
    ):
        assert words in said
    assert "far is joined to nobody" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no xml", "not a GraphML file"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><graphml/>', "no document type"),
        (HEAD + node(0, "a", 1, 1) + "</graph></graphml>", "fewer than two nodes"),
    ],
)
def test_files_that_are_no_map(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.graphml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_graphml(path)


def test_titles_cannot_break_out_of_their_quotes() -> None:
    evil = Place("a", 'x"\nname = "y\\', 50, 0)
    topology = Topology("t", '"""', (evil, Place("b", "B", 50.1, 0)), (("a", "b"),))
    scenario = load(scenario_text(topology, source="test")[0])
    assert len(scenario.nodes) == 2


def test_long_names_are_shortened_and_stay_different() -> None:
    names = [f"a-very-long-name-of-a-place-{i:02d}" for i in range(4)]
    places = tuple(Place(name, name, 50 + i / 10, 0) for i, name in enumerate(names))
    topology = Topology("t", "T", places, tuple((names[0], other) for other in names[1:]))
    links = [link.name for link in load(scenario_text(topology, source="test")[0]).links]
    assert len(set(links)) == 3
    assert max(map(len, links)) <= 32


def test_two_hundred_nodes_in_one_piece() -> None:
    import networkx

    topology = random_topology(200, 7)
    assert networkx.is_connected(networkx.Graph(topology.pairs))
    assert random_topology(200, 7) == topology != random_topology(200, 8)
    scenario = load(scenario_text(topology, source="test")[0])
    assert len(scenario.nodes) == 200
    addresses = [scenario.etsi014_address(n.name) for n in scenario.nodes]
    addresses += [scenario.kme_address(n.name) for n in scenario.nodes]
    addresses += [scenario.light_address(link.name) for link in scenario.links]
    addresses += [scenario.channel_address(link.name) for link in scenario.links]
    addresses.append(scenario.control_address())
    assert len(set(addresses)) == 400 + 2 * len(scenario.links) + 1


def test_ports_that_do_not_fit_are_refused() -> None:
    text = scenario_text(random_topology(200, 7), source="test")[0]
    with pytest.raises(ScenarioError, match="base_port 65000 leaves too few ports"):
        load(text.replace('title = "200', 'base_port = 65000\ntitle = "200'))
