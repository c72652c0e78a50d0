"""Every claim can be falsified: random networks, real keys, random coalitions; the formula against what these compute.

The keys are made by real KMEs: relayed hop by hop, combined by real exchanges, delivered to both applications. What a
coalition knows is worked out from the wire and from what its members betray (`redteam.knowledge`), which asks no
formula; who forges signatures sits in the middle of a session of his own (`redteam.forgery`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator
from typing import cast

import pytest

from noclone.audit.demands import Demand, demands_of, plan_links
from noclone.combined import inner_profile
from noclone.crypto.combiners import KDF_NAME, Mode
from noclone.crypto.kems import SUITES
from noclone.errors import AuthenticationError
from noclone.kms.calls import PeerRefused
from noclone.kms.keys import StoredKey
from noclone.kms.relay_statements import ECDSA_P256, ML_DSA_65
from noclone.kms.requests import KeyRequest
from noclone.network.relaying import policies_of
from noclone.network.scenario import Scenario
from noclone.records import Origin
from noclone.redteam.forgery import Forger
from noclone.redteam.knowledge import OF_FIBRES, Knowledge
from noclone.redteam.stage import Stage, stage
from noclone.trust.formula import Atom, Formula, minimal_cut_sets
from noclone.trust.provenance import SESSION, formula_of_key

NODES = "abcdef"
ENDS = ("a", "f")
SHAPES = ({}, {"disjoint_paths": 1}, {"disjoint_paths": 2}, {"shares": "2-of-3"}, {"shares": "1-of-2"})
MODES: tuple[dict[str, str], ...] = (
    {},
    {"combiner": "everlasting"},
    {"require": "hybrid"},
    {"require": "hybrid", "combiner": "caskdf"},
    {"require": "post-quantum"},
)
SOURCE = {"clock_hz": 1e8, "intensities": [0.43, 0.15], "probabilities": [0.55, 0.45], "p_key": 0.8}
RECEIVER = {"p_key": 0.8, "efficiency": 0.5, "dark_count_hz": 10.0, "misalignment": 0.01}
SIGNATURES = (ECDSA_P256, ML_DSA_65)
BLOCK_BYTES = 128
RANDOM_COALITIONS = 30
Coalition = frozenset[Atom]


def random_network(draw: random.Random, mode: dict[str, str]) -> Scenario:
    """Six nodes in a row with more links among them, and one policy between the two ends."""
    edges = set(itertools.pairwise(NODES))
    edges |= {pair for pair in itertools.combinations(NODES, 2) if draw.random() < 0.5}
    shapes = list(SHAPES)
    draw.shuffle(shapes)
    for shape in shapes:
        if mode.get("require") == "post-quantum":
            shape = {}
        with contextlib.suppress(ValueError):  # fewer paths that share no node than asked for
            return Scenario.model_validate(
                {
                    "name": "random",
                    "node": [{"name": name} for name in NODES],
                    "sae": [{"id": f"sae-{name}", "node": name} for name in NODES],
                    "link": [
                        {
                            "name": f"{a}-{b}", "alice": a, "bob": b, "fibre": {"length_km": 20.0},
                            "source": SOURCE, "receiver": RECEIVER,
                        }
                        for a, b in sorted(edges)
                    ],
                    "policy": [{"between": ["sae-a", "sae-f"], **mode, **shape}],
                }
            )  # fmt: skip
    raise AssertionError("one path there always is")


async def made(one: Stage, demand: Demand) -> list[StoredKey]:
    """Make key as the audit says that it would be made, and deliver two keys of it."""
    a, f = ENDS
    mode, _, rest = demand.profile.partition(":")
    inner = inner_profile(demand.profile)
    if inner and inner != "link":
        await one.relays[a].relay(demand.routes, demand.shares[0], 4096)
        await one.ready(a, f, 2 * 8 * BLOCK_BYTES, inner)
    if rest:
        await one.exchanges[a].exchange(f, cast(Mode, mode), BLOCK_BYTES, inner)
    got = (await one.kmes[a].enc_keys("sae-a", "sae-f", KeyRequest.model_validate({"number": 2}))).keys
    same = (await one.kmes[f].dec_keys("sae-f", "sae-a", [key.key_id for key in got])).keys
    assert [key.value for key in got] == [key.value for key in same]
    return list(got)


def coalitions(draw: random.Random, formula: Formula, demand: Demand, scenario: Scenario) -> Iterator[Coalition]:
    """Random ones out of everything there is; the formula's own cut sets, and each of these without one member."""
    kems = {kem.name for suite in SUITES.values() for kem in suite}
    algorithms = [*kems, KDF_NAME, *(name + SESSION for name in SIGNATURES)]
    everything = [Atom(kind, link.name) for link in scenario.links for kind in OF_FIBRES]
    everything += [Atom("node", name) for name in NODES if name not in ENDS]
    everything += [Atom("alg", name) for name in sorted(algorithms)]
    for _ in range(RANDOM_COALITIONS):
        share = draw.choice([0.05, 0.15, 0.4])
        yield frozenset(atom for atom in everything if draw.random() < share)
    for cut in minimal_cut_sets(formula, 40).sets:
        yield cut
        yield from (cut - {atom} for atom in cut)


class Actively:
    """Whether a forger in the middle gets the key: tried once for each thing that it can depend on."""

    def __init__(self, one: Stage, demand: Demand) -> None:
        self._one, self._demand = one, demand
        self._tried: dict[tuple[frozenset[str], bool], bool] = {}

    async def gets(self, forges: frozenset[str], qkd: bool) -> bool:
        if ":" not in self._demand.profile or not forges:
            return False
        if (forges, qkd) not in self._tried:
            self._tried[forges, qkd] = await self._try(forges, qkd)
        return self._tried[forges, qkd]

    async def _try(self, forges: frozenset[str], qkd: bool) -> bool:
        one, (a, f) = self._one, ENDS
        forger = Forger(one, forges, one.pads[a] if qkd else {})
        one.middle = forger.middle
        try:
            mode = cast(Mode, self._demand.profile.partition(":")[0])
            found = await one.exchanges[a].exchange(f, mode, BLOCK_BYTES, inner_profile(self._demand.profile))
        except (AuthenticationError, PeerRefused):
            return False
        finally:
            one.middle = None
        mine = [one.blocks[end][found.exchange] for end in ENDS]
        assert mine == [forger.keys[found.exchange, end] for end in ENDS], "a session that she does not know went on"
        assert mine[0] != mine[1]
        return True


async def hold(seed: int, mode: dict[str, str]) -> tuple[int, int]:
    draw = random.Random(f"{seed} {mode}")
    scenario = random_network(draw, mode)
    demand = demands_of(scenario, plan_links(scenario))[0]
    edges = [(link.alice, link.bob) for link in scenario.links]
    async with asyncio.timeout(100), stage(edges, policies_of(scenario)) as one:
        await one.fill(1 << 15, origin=Origin("simulated"))
        keys = await made(one, demand)
        formula = formula_of_key(keys[0].provenance, master_site=ENDS[0], slave_site=ENDS[1])
        assert formula == demand.formula, "the audit promised another formula"
        actively = Actively(one, demand)
        offers = [heard.sent["offer"] for heard in one.heard if heard.operation == "exchange-offer"]
        known = total = 0
        for coalition in coalitions(draw, formula, demand, scenario):
            knowledge = Knowledge(one, coalition)
            has_qkd = bool(offers) and (offers[0]["mode"] == "kem" or offers[0]["key_id"] in knowledge.pads)
            forges = frozenset(name for name in SIGNATURES if Atom("alg", name + SESSION) in coalition)
            knows = {knowledge.knows(key, ENDS) for key in keys}
            assert len(knows) == 1
            found = knows == {True} or await actively.gets(forges, has_qkd)
            assert found == formula.leaks(coalition), sorted(map(str, coalition))
            known, total = known + found, total + 1
        return known, total


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()) or "qkd")
def test_eve_knows_a_delivered_key_exactly_when_its_formula_says_so(mode: dict[str, str]) -> None:
    known, total = asyncio.run(hold(1, mode))
    assert 0 < known < total


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_the_same_of_many_networks(seed: int) -> None:
    for mode in MODES:
        asyncio.run(hold(seed, mode))


def test_the_check_can_fail() -> None:
    """A formula that leaves out one node is found out: on one path, its owner has the key."""

    async def story() -> None:
        async with stage([("a", "b"), ("b", "f")]) as one:
            await one.fill()
            await one.relays["a"].relay([("a", "b", "f")], 1, 256)
            await one.ready("a", "f", 256)
            (key,) = (await one.kmes["a"].enc_keys("sae-a", "sae-f", KeyRequest.model_validate({}))).keys
            true = formula_of_key(key.provenance, master_site="a", slave_site="f")
            wrong = Formula(1, tuple(part for part in true.parts if part != Atom("node", "b")))
            owner = frozenset({Atom("node", "b")})
            assert Knowledge(one, owner).knows(key, ENDS)
            assert true.leaks(owner)
            assert not wrong.leaks(owner)

    asyncio.run(story())


def test_linear_algebra_gives_what_follows_and_nothing_else() -> None:
    from noclone.crypto.secret_sharing import products, split
    from noclone.redteam.linear import Observation, power, value_of

    draw = random.Random(4)
    secret = draw.randbytes(16)
    shares = split(secret, 3, 5, draw.randbytes)
    rows = [Observation(tuple(power(place + 1, e) for e in range(3)), share) for place, share in enumerate(shares)]
    for chosen in itertools.combinations(rows, 3):
        assert value_of((1, 0, 0), chosen) == secret
    for chosen in itertools.combinations(rows, 2):
        assert value_of((1, 0, 0), chosen) is None
    twice = Observation(tuple(int(products()[2, w]) for w in rows[0].weights), bytes(products()[2][list(shares[0])]))
    assert value_of((1, 0, 0), [rows[0], twice, rows[1]]) is None, "the same share twice is one share"
