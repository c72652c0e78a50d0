"""The board: what the window shows is what the events say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noclone.audit.audit import audit
from noclone.events import EventLog
from noclone.network.blocks import plan_link
from noclone.network.scenario import load_scenario
from noclone.web.board import EVIDENCE_BLOCKS_MAX, NEWS_MAX, SERIES_MAX, Board, layout
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


def test_how_long_the_store_lasts_follows_its_use(board: Board) -> None:
    board.stored("ada-ben", 60_000, 0.0)
    assert link(board)["seconds_left"] is None
    board.stored("ada-ben", 54_000, 1.0)
    assert link(board)["seconds_left"] == pytest.approx(54_000 / (6000 / 60))
    board.stored("ada-ben", 54_000, 100.0)
    assert link(board)["seconds_left"] is None, "nobody has used any for a minute"


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
