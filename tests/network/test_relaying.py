"""A network of KMEs over real TLS: pools of relayed key fill by themselves, and keys flow around what dies."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noclone.combined import provenance_from_json
from noclone.errors import NocloneError, ScenarioError
from noclone.events import EventLog
from noclone.kms import peer_link as peer_calls
from noclone.kms import service as kme_service
from noclone.kms.keys import Refused
from noclone.network.key_lookup import look_up
from noclone.network.live_attacks import Ground, LiveAttacks
from noclone.network.relaying import Goal, Meter, goals_of, on_demand_of
from noclone.network.responses import Responder, ResponseSection
from noclone.network.scenario import Scenario
from noclone.redteam.live import LIVE_ATTACKS
from noclone.trust.explanation import explanation, lines
from tests.network.relay_net import RELAY, RING, Net, scenario_of


def test_pools_fill_and_a_dead_node_is_gone_around_without_repeating_a_key(tmp_path: Path, web_pki: Path) -> None:
    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, RING)) as net:
            await net.fill()
            before = [await net.keys(8) for _ in range(3)]
            assert before[0][0][2]["noclone_relayed"] == ["paths-1"]
            way = before[-1][-1][2]["noclone_nodes"]
            ways = [["b", "c"], ["d", "e"]]  # equally long: whichever was heard of first
            assert way in ways
            await net.stop(way[0])
            after = [await net.keys(8) for _ in range(12)]
            assert after[-1][0][2]["noclone_nodes"] == ways[1 - ways.index(way)]
            seen = [key for batch in (*before, *after) for key in batch]
            assert len({key_id for key_id, *_ in seen}) == len({value for _, value, _ in seen}) == len(seen) == 120
            await net.start(way[0])
            await net.join(way[0])
            key_ids.append((await net.keys(8))[0][0])

    key_ids: list[str] = []
    scenario = scenario_of(tmp_path, RING)
    asyncio.run(story())
    found = look_up(scenario, key_ids[0], web_pki, tmp_path)  # nobody serves it: the stores know
    assert (found["sites"], found["master"], found["state"]) == (["a", "z"], "sae-a", "erased")
    assert set(found["signatures"].values()) == {"hold"}
    assert not any(isinstance(value, bytes) for value in found.values())
    told = explanation([provenance_from_json(one) for one in found["blocks"]], master_site="a", slave_site="z")
    assert told["minimal_cut_sets"]["order"] == 1
    assert any("relayed over one path" in line for line in lines(told))
    with pytest.raises(NocloneError):
        look_up(scenario, "0" * 36, web_pki, tmp_path)


def test_disjoint_paths_as_a_policy_says(tmp_path: Path, web_pki: Path) -> None:
    more = """
[[policy]]
between = ["sae-a", "sae-z"]
disjoint_paths = 2
max_nodes_knowing = 0
on_exhaustion = "wait:10"
"""

    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, RING, more=more)) as net:
            await net.fill()
            found = await net.keys(4)
            assert found[0][2]["noclone_relayed"] == ["paths-2"]
            assert found[0][2]["noclone_nodes"] == ["b", "c", "d", "e"]
            status = await net.services["a"].kme.status("sae-a", "sae-z")
            assert status["stored_key_count"] > 0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("policy", "profile", "nodes"),
    [
        ('require = "hybrid"', "catkdf:mlkem768-x25519:paths-1", 2),
        ('require = "hybrid"\ncombiner = "caskdf"\ndisjoint_paths = 2', "caskdf:mlkem768-x25519:paths-2", 4),
        ('combiner = "everlasting"\ndisjoint_paths = 2', "everlasting:mlkem768-x25519:paths-2", 4),
        ('require = "post-quantum"', "kem:mlkem768-x25519", 0),
    ],
)
def test_relayed_key_is_combined_end_to_end_as_a_policy_says(
    tmp_path: Path, web_pki: Path, policy: str, profile: str, nodes: int
) -> None:
    more = f"""
[pqc]
block_bytes = 512
low_bits = 4096
high_bits = 8192
[[policy]]
between = ["sae-a", "sae-z"]
{policy}
"""

    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, RING, more=more)) as net:
            await net.fill()
            found = await net.keys(4, timeout_s=120)
            mark = found[0][2]
            assert mark["noclone_combined"] == [profile]
            assert len(mark.get("noclone_nodes", [])) == nodes
            assert mark["noclone_kems"] == ["ML-KEM-768", "X25519"]
            assert len({value for _, value, _ in found}) == 4
            key_ids.append(found[0][0])

    key_ids: list[str] = []
    asyncio.run(story())
    found = look_up(scenario_of(tmp_path, RING, more=more), key_ids[0], web_pki, tmp_path)
    told = explanation([provenance_from_json(one) for one in found["blocks"]], master_site="a", slave_site="z")
    assert told["contributions"]["without_qkd"]["secret"]
    assert told["contributions"]["with_a_quantum_computer"]["secret"]
    assert told["contributions"]["without_post_quantum"]["secret"] == bool(nodes)
    assert any("agreed on by X25519 and ML-KEM-768" in line for line in lines(told))
    if nodes:  # the relays' signatures are looked at within the combined block as well
        assert set(found["signatures"].values()) == {"hold"}


def test_a_link_without_key_stalls_with_its_reason_and_recovers(tmp_path: Path, web_pki: Path) -> None:
    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, "ab bz")) as net:
            with pytest.raises(Refused) as refused:
                await net.keys(1, timeout_s=3.0)
            assert refused.value.reason in ("keys-exhausted", "peer-unreachable")
            stalled = [event for event in net.logs["a"].since(0) if event.kind == "relay.stalled"]
            assert "no path from a to z" in stalled[0].data["reason"]
            await net.fill()
            await net.keys(1)
            async with asyncio.timeout(60):  # the key may be of z's making, while a still waits to try again
                while not any(event.kind == "relay.recovered" for event in net.logs["a"].since(0)):
                    await asyncio.sleep(0.05)
            for name in "ab":
                pool = net.stores[name].pool("b" if name == "a" else "a", ("link",)).result()
                assert pool.ready_out_bits >= 512  # the reserve was left

    asyncio.run(story())


def test_an_alarm_that_asks_for_it_leads_relays_round_a_link_that_has_key_stored(tmp_path: Path, web_pki: Path) -> None:
    """The response "re-route", as far as routes: the ends of a-b say that it is down, and everybody goes by that."""

    async def seen(net: Net, hop: tuple[str, str], up: bool) -> None:
        states, clock = net.relaying["z"].states, net.stores["z"].clock
        async with asyncio.timeout(120):
            while (hop in states.links(clock.now_s())) != up:
                await asyncio.sleep(0.05)

    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, RING)) as net:
            log, alice = net.logs["a"], net.relaying["a"]
            Responder(
                log,
                [ResponseSection(alarm="photocurrent", then="re-route")],
                lambda link, avoided: alice.hold(drained=False, avoided=frozenset("b" if avoided else "")),
            )
            await net.fill()
            await seen(net, ("a", "b"), up=True)
            assert (await net.keys(1))[0][2]["noclone_nodes"] == ["b", "c"]
            log.add("alarm.raised", "link:a-b", monitor="photocurrent")
            await seen(net, ("a", "b"), up=False)
            await seen(net, ("b", "a"), up=False)
            for _ in range(40):
                if (await net.keys(8))[0][2]["noclone_nodes"] == ["d", "e"]:
                    break
            else:
                raise AssertionError("relays still go over the link that an alarm withdrew")
            assert net.stores["a"].pool("b", ("link",)).result().ready_out_bits > 8 * 4096
            alice.hold(drained=False, avoided=frozenset())
            await seen(net, ("a", "b"), up=True)

    asyncio.run(story())


@pytest.mark.parametrize(("policy", "share"), [("", 1.0), ("disjoint_paths = 2", 0.0)])
def test_the_owner_of_a_node_reads_what_passes_and_no_more(
    tmp_path: Path, web_pki: Path, policy: str, share: float
) -> None:
    """The attack compromised-node on a running network: all of one path's key, nothing of two paths' sum."""
    more = f'[[policy]]\nbetween = ["sae-a", "sae-z"]\n{policy}\n' if policy else ""

    async def story() -> None:
        scenario = scenario_of(tmp_path, RING, more=more)
        async with Net(tmp_path, web_pki, scenario) as net:
            log = EventLog()
            nodes = {name: SimpleNamespace(service=service) for name, service in net.services.items()}
            eve = LiveAttacks(LIVE_ATTACKS, Ground(scenario, web_pki, nodes, log))  # type: ignore[arg-type]
            untouched = net.services["b"].kme.handlers["relay-share"]
            eve.start("compromised-node", "b", 1.0)
            await asyncio.sleep(0)  # she is there before any key is
            await net.fill()
            async with asyncio.timeout(90):  # pools fill by themselves
                while not any(event.kind == "eve.got-key" for event in log):
                    await asyncio.sleep(0.05)
            assert eve.state() == [{"name": "compromised-node", "on": "b", "target": "node", "strength": 1.0}]
            await eve.close()
            got = [event.data for event in log if event.kind == "eve.got-key"]
            assert {one["known_bits"] / one["key_bits"] for one in got} == {share}
            assert net.services["b"].kme.handlers["relay-share"] == untouched
            assert [event.kind for event in log][-1] == "attack.stopped"

    asyncio.run(story())


def test_everybody_knows_every_link_and_nobody_believes_a_stranger(tmp_path: Path, web_pki: Path) -> None:
    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, RING)) as net:
            await net.fill()
            for _ in range(200):
                views = [len(one.states.links(net.stores["a"].clock.now_s())) for one in net.relaying.values()]
                if views == [12] * 6:
                    break
                await asyncio.sleep(0.05)
            assert views == [12] * 6
            states = net.relaying["a"].states
            truth = states._reports["b"][0]
            now_s = net.stores["a"].clock.now_s()
            from dataclasses import replace

            for lie in (
                replace(truth, number=truth.number + 1000, links=truth.links[:1]),
                replace(truth, number=truth.number + 1000, origin="c"),
                replace(truth, number=int(1000 * now_s) + 10**9),
            ):
                with pytest.raises(NocloneError):
                    states.hear(lie, now_s)
            assert not states.hear(truth, now_s)  # a replay is no news

    asyncio.run(story())


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("disjoint_paths = 3", "there are 2 paths between a and z that share no node; it takes 3"),
        ('shares = "2-of-3"', "there are 2 paths"),
        ('shares = "3-of-2"', "no more needed than there are"),
        ('require = "post-quantum"\ndisjoint_paths = 2', "takes no QKD by itself"),
        ('require = "post-quantum"\non_exhaustion = "fallback:paths-1"', "are not post-quantum"),
        ('require = "hybrid"\non_exhaustion = "fallback:kem"', "are not hybrid"),
        ('on_exhaustion = "fallback:kem"', "are not information-theoretic"),
        ('combiner = "catkdf"', "no key of it is information-theoretic"),
        ('require = "hybrid"\nsimulated = false', "is simulated"),
        ("simulated = false", "the light of every link of a scenario is simulated"),
        ("max_nodes_knowing = 1\ndisjoint_paths = 1", "2 or more would know a key between a and z; at most 1 may"),
        ('on_exhaustion = "fallback:link"', "no link joins a and z"),
        ('on_exhaustion = "fallback:paths-3"', "it takes 3"),
        ('on_exhaustion = "hope"', "on_exhaustion"),
        ('shares = "1-of-2"\ndisjoint_paths = 2', "either shares or disjoint_paths"),
        ("colour = 1", "unknown field 'colour'"),
    ],
)
def test_a_policy_that_no_path_can_meet_is_refused_at_load(tmp_path: Path, policy: str, reason: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario_of(tmp_path, RING, more=f'[[policy]]\nbetween = ["sae-a", "sae-z"]\n{policy}\n')
    assert reason in f"{refused.value.message} {refused.value.hint}"


def test_which_pools_a_node_keeps(tmp_path: Path) -> None:
    more = """
[[policy]]
between = ["sae-a", "sae-z"]
max_nodes_knowing = 0
on_exhaustion = "fallback:paths-1"
[[policy]]
between = ["sae-a", "sae-b"]
lifetime_s = 60
"""
    scenario = scenario_of(tmp_path, RING, "abcz", more)
    assert set(goals_of(scenario, "a")) == {
        Goal("z", "paths-2", 0),
        Goal("z", "paths-1", None),
        Goal("c", "paths-1", None),
    }
    assert goals_of(scenario, "d") == []
    assert [goal.peer for goal in goals_of(scenario, "b")] == ["z"]
    few = Scenario.model_validate({**scenario.model_dump(by_alias=True), "relay": {"pools_max": 1}})
    assert {goal.peer for goal in goals_of(few, "a")} == {"z"}  # what a policy names is kept in any case
    assert on_demand_of(scenario, "a") == []
    assert on_demand_of(few, "a") == [Goal("c", "paths-1")]
    assert (goals_of(few, "c"), on_demand_of(few, "c")) == ([Goal("a", "paths-1")], [])


def test_where_there_are_too_many_pools_they_are_kept_for_those_who_ask(tmp_path: Path, web_pki: Path) -> None:
    scenario = scenario_of(tmp_path, "ab bc cd dz", "acdz")
    scenario = Scenario.model_validate(
        {**scenario.model_dump(by_alias=True), "relay": {**tomllib.loads(RELAY)["relay"], "pools_max": 1}}
    )
    assert (goals_of(scenario, "a"), [goal.peer for goal in on_demand_of(scenario, "a")]) == ([], ["c", "d", "z"])

    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario) as net:
            await net.fill()
            kme, keeper = net.services["a"].kme, net.relaying["a"].keeper
            await asyncio.sleep(0.3)
            assert not keeper._filling.wanted
            assert await net.keys(4)  # the first request is refused, and begins the pool
            assert [goal.peer for goal in keeper._filling.wanted] == ["z"]
            filling = keeper._filling.wanted[Goal("z", "paths-1")]
            await kme.status("sae-a", "sae-d")
            assert [goal.peer for goal in keeper._filling.wanted] == ["d"]
            assert filling is not None
            await asyncio.wait([filling], timeout=10)
            assert filling.cancelled()
            assert await net.keys(4)
            with pytest.raises(Refused):
                await kme.status("sae-a", "nobody")
            assert [goal.peer for goal in keeper._filling.wanted] == ["z"]

    asyncio.run(story())


def test_a_meter_forgets_after_a_minute() -> None:
    from noclone.clock import ManualClock

    clock = ManualClock()
    meter = Meter(clock)
    meter.add(6000)
    assert meter.rate_bps() == 100
    clock.advance(61.0)
    assert meter.rate_bps() == 0


FAN = "ab bz ac cz ad dz"
TWO_OF_THREE = """
[[policy]]
between = ["sae-a", "sae-z"]
shares = "2-of-3"
max_nodes_knowing = 0
on_exhaustion = "wait:10"
"""


@pytest.mark.parametrize("death", ["silent", "gone", "with a share"])
def test_two_of_three_shares_outlive_a_node(
    tmp_path: Path, web_pki: Path, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    """One node of three answers nothing any more, is gone, or takes shares and says nothing of them: keys go on."""
    monkeypatch.setattr(peer_calls, "CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(kme_service, "REACH_TIMEOUT_S", 0.5)

    async def never(*_: Any) -> dict[str, Any]:
        await asyncio.sleep(3600)
        raise AssertionError

    async def swallow(*_: Any) -> dict[str, Any]:
        return {}

    async def story() -> None:
        async with Net(tmp_path, web_pki, scenario_of(tmp_path, FAN, more=TWO_OF_THREE)) as net:
            await net.fill(65_536)
            before = await net.keys(4)
            assert before[0][2]["noclone_relayed"] == ["shares-2-3"]
            # Two shares are enough: one whose pad is late is known to be lost.
            assert len(before[0][2]["noclone_nodes"]) >= 2
            assert set(before[0][2]["noclone_nodes"]) <= set("bcd")
            if death == "silent":
                handlers = net.services["c"].kme.handlers
                for operation in ("relay-share", "network-state"):
                    handlers[operation] = never
                monkeypatch.setattr(net.services["c"].kme, "on_reserve", never)
            elif death == "gone":
                await net.stop("c")
            else:
                net.services["c"].kme.handlers["relay-share"] = swallow
            seen, made = list(before), 0
            async with asyncio.timeout(240):
                while made < 3:  # blocks that were relayed without it
                    seen += await net.keys(8)
                    events = [event for event in net.logs["a"].since(0) if event.kind == "relay.made"]
                    made = sum("c" not in event.data["nodes"] for event in events)
                    await asyncio.sleep(0.05)
            after = await net.keys(8)
            seen += after
            assert len({key_id for key_id, *_ in seen}) == len({value for _, value, _ in seen}) == len(seen)
            assert after[-1][2]["noclone_relayed"] == ["shares-2-3"]

    asyncio.run(story())
