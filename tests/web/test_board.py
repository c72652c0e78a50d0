"""The board: what the window shows is what the events say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noclone.audit.audit import audit
from noclone.events import EventLog
from noclone.network.blocks import plan_link
from noclone.network.metrics import Metrics
from noclone.network.news import tell
from noclone.network.scenario import load_scenario
from noclone.web.board import EVIDENCE_BLOCKS_MAX, NEWS_MAX, Board, layout
from noclone.web.links import SERIES_MAX, LinkState
from tests.audit.test_verdict import provenance


@pytest.fixture
def board(small_scenario: Path) -> Board:
    scenario = load_scenario(small_scenario)
    return Board(scenario, {link.name: plan_link(link) for link in scenario.links}, [])


def distilled(board: Board, block: int, *, end: str = "alice", time_s: float | None = None) -> None:
    log = EventLog()
    event = log.add(
        "block.distilled",
        "link:ada-ben",
        block=block,
        end=end,
        secret_bits=1000,
        qber=0.01,
        epsilon=1e-10,
        proof="wiesemann2024",
        detections=5000,
        counts={"n_slots": 1000, "n_key": [100, 50], "n_test": [10, 5], "m_test": [1, 0], "m_key": None},
        length_terms=[{"name": "sifted bits in the key basis", "bits": 3000.0}],
        assumptions=[],
        provenance=provenance(block, link="ada-ben"),
    )
    board.take(event)


def refused(board: Board, block: int) -> None:
    event = EventLog().add(
        "block.aborted", "link:ada-ben", block=block, end="alice", reason="qber-too-high", message="25 %", qber=0.25
    )
    board.take(event)


def link(board: Board) -> dict[str, Any]:
    return board.snapshot()["links"][0]


def test_a_block_moves_the_link_and_the_verdict(board: Board) -> None:
    assert link(board)["state"] == "waiting"
    assert board.verdict()["code"] == "insufficient-evidence"
    distilled(board, 0)
    distilled(board, 0, end="bob")
    now = link(board)
    assert now["state"] == "ok"
    assert len(now["series"]) == 1, "both ends report a block; it is one"
    assert now["secret_bps"] == pytest.approx(1000 / now["seconds_per_block"])
    assert now["series"][0][4:] == [0.11, 0.055]
    assert board.verdict()["code"] == "secure-in-model"


def test_a_change_of_mind_is_news_once(board: Board) -> None:
    board.audited(audit(board.scenario))
    distilled(board, 0)
    since = board.number
    refused(board, 1)
    refused(board, 2)
    changes = board.changes(since)
    told = [line for line in changes["news"] if line["kind"] == "verdict.changed"]
    assert len(told) == 1
    assert "from secure-in-model to under-attack" in told[0]["text"]
    assert changes["verdict"]["levels"][0]["answer"] == "no"
    assert link(board)["secret_bps"] == 0, "a refused block gives nothing"
    distilled(board, 3)
    assert board.verdict()["levels"][0]["answer"] == "conditional"


def test_changes_tell_only_what_is_new(board: Board) -> None:
    distilled(board, 0)
    since = board.number
    assert board.changes(since)["links"] == []
    assert "news" not in board.changes(since)
    board.stored("ada-ben", 5000, 10.0)
    assert [one["stored_bits"] for one in board.changes(since)["links"]] == [5000]


def test_between_blocks_only_the_store_of_a_link_is_told(board: Board) -> None:
    distilled(board, 0)
    before = board.number
    board.stored("ada-ben", 5000, 100.0)
    charted = board.number
    board.stored("ada-ben", 4000, 100.1)
    first, second = board.changes(before)["links"][0], board.changes(charted)["links"][0]
    assert set(second) == {"name", "stored_bits", "full", "seconds_left", "series", "levels"}
    assert (second["stored_bits"], second["series"], second["levels"]) == (4000, [], [])
    assert first["levels"] == [[100.0, 5000]], "a viewer who is behind lacks no point of the chart"
    distilled(board, 1)
    assert board.changes(charted)["links"][0]["state"] == "ok"
    assert len(board.changes(charted)["links"][0]["series"]) == 2


def test_how_long_the_store_lasts_follows_its_use(board: Board) -> None:
    board.stored("ada-ben", 60_000, 0.0)
    assert link(board)["seconds_left"] is None
    board.stored("ada-ben", 54_000, 1.0)
    assert link(board)["seconds_left"] == pytest.approx(54_000 / (6000 / 60))
    board.stored("ada-ben", 54_000, 100.0)
    assert link(board)["seconds_left"] is None, "nobody has used any for a minute"


def test_a_link_of_another_protocol_says_what_it_trusts_and_how_noisy_it_is() -> None:
    for name, protocol in (("quadratures", "cv"), ("middle", "mdi")):
        scenario = load_scenario(name)
        shown = Board(scenario, {one.name: plan_link(one) for one in scenario.links}, [])
        fixed = link(shown)
        assert (fixed["protocol"], fixed["intensities"]) == (protocol, [])
        assert fixed["trusts"].startswith("trusts ")
    log = EventLog()
    metrics = Metrics(log, {})
    state = LinkState(plan_link(load_scenario("quadratures").links[0]))
    seen = {"transmittance": 0.63, "excess": 0.0061, "signal_to_noise": 5.5, "efficiency": 0.866}
    event = log.add(
        "block.distilled",
        f"link:{state.name}",
        **{"block": 0, "qber": None, "quadratures": seen, "secret_bits": 700_000, "detections": 10**7},
        **{"epsilon": 1e-10, "proof": "pirandola2023", "length_terms": []},
    )
    state.take(event)
    assert (state.to_json()["qber"], state.to_json()["quadratures"]) == (None, seen)
    told = tell(event).replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{NO-BREAK SPACE}", " ")
    assert told == "block 0: 700 000 secret bits, excess noise 0.0061 of the shot noise"
    assert b"distilled" in metrics.exposition()  # and no error rate that nobody measured


def test_what_is_kept_is_bounded(board: Board) -> None:
    for block in range(EVIDENCE_BLOCKS_MAX + 40):
        distilled(board, block)
    snapshot = board.snapshot()
    assert len(snapshot["links"][0]["series"]) == SERIES_MAX
    assert len(snapshot["news"]) == NEWS_MAX
    assert len(board._evidence["ada-ben"].blocks) == EVIDENCE_BLOCKS_MAX


def test_the_schematic_places_every_node_within_the_picture() -> None:
    found = layout(load_scenario("tokyo"))
    assert len(found) == 6
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in found.values())
    assert len(set(found.values())) == 6


def test_what_eve_learned_stands_apart_from_what_monitors_saw(board: Board) -> None:
    log = EventLog()
    board.take(log.add("attack.started", "link:ada-ben", name="blinding", strength=1.0))
    board.take(
        log.add("eve.learned", "link:ada-ben", block=3, sifted_bits=100, information_bits=99.0, per_sifted_bit=0.99)
    )
    now = link(board)
    assert now["attack"]["name"] == "blinding"
    assert now["eve"]["information_bits"] == 99.0
    assert now["alarms"] == 0


def test_a_full_store_is_said(board: Board) -> None:
    distilled(board, 0)
    since = board.number
    board.stored("ada-ben", 100, 1.0, full=True)
    assert [one["full"] for one in board.changes(since)["links"]] == [True]
    board.stored("ada-ben", 100, 2.0)
    assert link(board)["full"] is False


def test_a_change_of_mind_says_what_it_rests_on(board: Board) -> None:
    distilled(board, 0)
    board.take(
        EventLog().add("alarm.raised", "link:ada-ben", block=1, monitor="error-rate", message="25 % where 1 % is usual")
    )
    refused(board, 1)
    lines = board.snapshot()["news"]
    assert [line["kind"] for line in lines][-3:] == ["alarm.raised", "block.aborted", "verdict.changed"]
    evidence = lines[-1]["evidence"]
    assert [one["kind"] for one in evidence] == ["block.aborted", "alarm.raised"]
    told = {(line["number"], line["kind"]) for line in lines}
    assert all((one["number"], one["kind"]) in told for one in evidence), "each stands on the timeline"


def test_who_holds_a_link_and_until_when(board: Board) -> None:
    log = EventLog()
    distilled(board, 0)
    board.take(log.add("link.stopped", "link:ada-ben", by="operator"))
    board.take(log.add("node.draining", "node:ben", by="operator"))
    assert (link(board)["state"], link(board)["why"]) == ("stopped", "by the operator")
    board.take(log.add("link.started", "link:ada-ben", by="operator"))
    assert link(board)["why"] == "as ben is drained"
    assert link(board)["secret_bps"] == 0
    since = board.number
    board.take(log.add("node.drained", "node:ben"))
    assert [one["state"] for one in board.changes(since)["nodes"]] == ["drained"]
    board.take(log.add("node.resumed", "node:ben", by="operator"))
    assert link(board)["state"] == "waiting"
    board.take(log.add("link.stopped", "link:ada-ben", monitor="error-rate", alarm=3))
    assert link(board)["why"] == "after the alarm error-rate"
    assert [node["state"] for node in board.snapshot()["nodes"]] == ["serving", "serving"]


def test_the_level_of_the_store_is_a_series(board: Board) -> None:
    for second in range(5):
        board.stored("ada-ben", 1000 + second, float(second))
        board.stored("ada-ben", 2000 + second, second + 0.1)
    assert [point[0] for point in link(board)["levels"]] == [0.0, 1.0, 2.0, 3.0, 4.0]


BEYOND = """
name = "beyond"
[[node]]
name = "north"
[[node]]
name = "south"
[[sae]]
id = "app-n"
node = "north"
[[sae]]
id = "app-s"
node = "south"
[[vendor_link]]
name = "north-south"
alice = "north"
bob = "south"
vendor = "Acme QKD"
[vendor_link.at_alice]
url = "https://127.0.0.1:1"
sae = "kms-n"
certificate = "c"
key = "k"
ca = "a"
[vendor_link.at_bob]
url = "https://127.0.0.1:2"
sae = "kms-s"
certificate = "c"
key = "k"
ca = "a"
[[border]]
domain = "elsewhere"
node = "south"
port = 19999
peer = "gate"
url = "https://127.0.0.1:3"
peer_ca = "x"
saes = ["their-app"]
"""


def test_a_vendors_link_and_a_border_are_shown_for_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "beyond.toml"
    path.write_text(BEYOND)
    board, log = Board(load_scenario(path), {}, []), EventLog()
    shown = link(board)
    assert (shown["kind"], shown["vendor"], shown["state"]) == ("vendor", "Acme QKD", "waiting")
    assert shown["qber"] is None, "nobody here sees its light"
    assert board.verdict()["code"] == "insufficient-evidence"
    draw = {"block": 0, "bits": 6000, "keys": 4, "origin": "hardware", "seeded": False, "epsilon": 1.0}
    for end in ("alice", "bob"):
        board.take(log.add("vendor.drawn", "link:north-south", end=end, **draw, provenance={}))
    assert link(board)["secret_bps"] == pytest.approx(100), "both ends report a draw; it is one"
    assert board.verdict()["code"] == "on-a-vendors-word"
    assert "Acme QKD" in board.verdict()["sentence"]
    board.take(log.add("vendor.lost", "link:north-south", end="alice", reason="vendor-empty", keys=2))
    board.take(log.add("link.down", "link:north-south", end="alice", message="the vendor has no key"))
    assert (link(board)["state"], link(board)["keys_lost"]) == ("down", 2)
    since = board.number
    board.stored_by_vendor("north-south", 512)
    board.take(log.add("border.out", "border:elsewhere", at="south", keys=3))
    board.take(log.add("border.failed", "border:elsewhere", at="south", keys=1, reason="border-timeout"))
    changes = board.changes(since)
    assert [one["stored_bits"] for one in changes["links"]] == [512]
    (border,) = changes["borders"]
    assert (border["state"], border["out"], border["failed"], border["why"]) == ("failing", 3, 1, "border-timeout")
