"""The verdict: true to the events, and never more than they show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noclone.audit.verdict import judge
from noclone.distill.job import BlockAborted
from noclone.events import EventLog
from noclone.network.blocks import record_aborted
from noclone.records import BlockProvenance, Origin


def provenance(block: int, *, link: str = "a-b", kind: Any = "simulated", seeded: bool = False) -> dict[str, Any]:
    origin = Origin(kind, seeded)
    return BlockProvenance(
        link, "ada", "ben", block, "decoy-bb84", origin, "wiesemann2024", "fixed-length", 1e-10, (block + 1) * 1e-10,
        "pre-shared-key", 0.0,
    ).to_json()  # fmt: skip


def made(log: EventLog, block: int, **kind: Any) -> None:
    for end in ("alice", "bob"):
        log.add(
            "block.distilled",
            f"link:{kind.get('link', 'a-b')}",
            block=block,
            end=end,
            secret_bits=1000,
            qber=0.01,
            assumptions=["The public channel is authenticated."],
            provenance=provenance(block, **kind),
        )


def refused(log: EventLog, block: int, reason: str = "qber-too-high") -> None:
    for end in ("alice", "bob"):
        log.add("block.aborted", "link:a-b", block=block, end=end, reason=reason, message="25.4 % errors", qber=0.254)


def text(log: EventLog) -> str:
    return "\n".join(judge(log).lines())


def test_nothing_happened_yet() -> None:
    assert judge(EventLog()).code == "insufficient-evidence"


def test_keys_of_simulated_light_are_never_called_secret_without_saying_so() -> None:
    log = EventLog()
    made(log, 0)
    verdict = judge(log)
    assert verdict.code == "secure-in-model"
    assert "SIMULATED" in text(log)
    assert all("in the model of its simulated light" in s for s in verdict.in_transit if "secret and equal" in s)
    assert "fibre:a-b" in text(log), "who controls the light knows everything"


def test_seeded_keys_are_no_secret() -> None:
    log = EventLog()
    made(log, 0, seeded=True)
    assert "SEEDED" in text(log)
    assert "They are no secret" in text(log)


def test_both_ends_report_a_block_and_it_counts_once() -> None:
    log = EventLog()
    made(log, 0)
    made(log, 1)
    assert "2 blocks gave 2,000 secret bits" in text(log)
    assert "probability of 2e-10" in text(log), "the epsilon is the summed one"


def test_an_attack_changes_the_verdict_and_the_truth_is_told_apart() -> None:
    log = EventLog()
    made(log, 0)
    for block in (1, 2):
        log.add("light.sent", "link:a-b", block=block, attack="intercept-resend", strength=1.0)
        refused(log, block)
    verdict = judge(log)
    assert verdict.code == "under-attack"
    assert "A refused block gives no key" in " ".join(verdict.happened)
    assert verdict.truth == ("a-b: Eve was on 2 blocks, 1-2 (intercept-resend at strength 1): 2 refused, 0 accepted.",)
    assert not any("Eve" in sentence for sentence in verdict.happened), "what only the simulator knows stays apart"
    log.add("light.sent", "link:a-b", block=3, attack=None, strength=0.0)
    made(log, 3)
    assert judge(log).code == "secure-in-model"
    assert "flow again" in judge(log).sentence


def test_an_accepted_block_under_a_weak_attack_is_admitted() -> None:
    log = EventLog()
    log.add("light.sent", "link:a-b", block=0, attack="intercept-resend", strength=0.001)
    made(log, 0)
    assert "1 accepted (0), whose length pays" in judge(log).truth[0]


def test_light_that_eve_touched_and_nobody_distilled_is_told_apart() -> None:
    log = EventLog()
    for block in (1, 2, 3):
        log.add("light.sent", "link:a-b", block=block, attack="intercept-resend", strength=1.0)
    refused(log, 2)
    assert (
        "3 blocks, 1-3 (intercept-resend at strength 1): 1 refused, 2 not finished, 0 accepted." in judge(log).truth[0]
    )


@pytest.mark.parametrize(
    ("reason", "code"), [("authentication-failed", "under-attack"), ("too-few-detections", "no-key")]
)
def test_the_reason_decides_what_is_suspected(reason: str, code: str) -> None:
    log = EventLog()
    refused(log, 0, reason)
    assert judge(log).code == code
    assert not judge(log).in_transit, "without key there is nothing to claim"


def test_the_worst_link_speaks() -> None:
    log = EventLog()
    made(log, 0, link="c-d")
    refused(log, 0)
    assert judge(log).code == "under-attack"


def test_the_formula_is_there_for_machines() -> None:
    log = EventLog()
    made(log, 0)
    data = json.loads(json.dumps(judge(log).to_json()))
    assert "site:ada" in json.dumps(data["formula"])
    assert data["code"] == "secure-in-model"


def test_recorded_detections_do_not_blame_the_light_process() -> None:
    log = EventLog()
    made(log, 0, kind="recorded")
    assert "fibre:a-b" not in text(log)
    assert "SIMULATED" not in text(log)


def test_one_end_alone_is_heard_too() -> None:
    """Bob's host has Bob's log only; and a block that one end alone released is no key."""
    log = EventLog()
    log.add(
        "block.aborted", "link:a-b", block=0, end="bob", reason="qber-too-high", message="the peer gave up", qber=None
    )
    assert judge(log).code == "under-attack"
    made(log, 1)
    assert judge(log).code == "secure-in-model"
    log.add("block.aborted", "link:a-b", block=1, end="alice", reason="peer-aborted", message="lost", qber=None)
    assert "one end alone released 1 block (1)" in " ".join(judge(log).happened)


def forged(log: EventLog, block: int, reason: str = "qber-too-high") -> None:
    """Record a block that somebody ended with an untagged word, as a link's end does."""
    abort = BlockAborted(
        "peer-aborted", f"the peer gave the block up: {reason}: buy gold", peer_reason=reason, authenticated=False
    )
    record_aborted(log, "a-b", block, abort, end="alice")


def test_a_forged_word_is_no_proof_of_an_attack() -> None:
    log = EventLog()
    forged(log, 0)
    verdict = judge(log)
    assert verdict.code == "no-key"
    assert "without proof of who it is" in " ".join(verdict.happened)
    (event,) = log
    assert event.data["authenticated"] is False
    assert event.data["reason"] == "peer-aborted"
    assert "gold" not in event.to_json() + text(log)


def test_a_proven_word_counts() -> None:
    log = EventLog()
    abort = BlockAborted(
        "peer-aborted",
        "the peer gave the block up: qber-too-high: 25 %",
        peer_reason="qber-too-high",
        authenticated=True,
    )
    record_aborted(log, "a-b", 0, abort, end="bob")
    assert judge(log).code == "under-attack"
    assert "25 %" in " ".join(judge(log).happened)
    assert next(iter(log)).data["authenticated"] is True


@pytest.mark.parametrize("forged_first", [True, False])
def test_a_forged_word_hides_no_finding(forged_first: bool) -> None:
    """Neither about the same block, in any order, nor about a later one."""
    log = EventLog()
    made(log, 0)
    if forged_first:
        forged(log, 1, "too-few-detections")
    log.add("block.aborted", "link:a-b", block=1, end="bob", reason="qber-too-high", message="25.4 %", qber=0.254)
    forged(log, 1, "too-few-detections")
    assert "qber-too-high: 25.4 %" in " ".join(judge(log).happened)
    forged(log, 2)
    assert judge(log).code == "under-attack"
    made(log, 3)
    assert judge(log).code == "secure-in-model"


def test_words_of_a_stranger_are_not_repeated() -> None:
    """Old logs hold them, and a hello that does not fit is quoted in the event: the verdict quotes neither."""
    log = EventLog()
    for block, reason in enumerate(("peer-misbehaved", "peer-aborted", "qber-too-high")):
        log.add(
            "block.aborted", "link:a-b", block=block, end="alice", reason=reason, message="buy gold", qber=None,
            authenticated=None if block == 0 else False,
        )  # fmt: skip
        assert "gold" not in text(log)
        assert judge(log).code == "no-key"


def test_the_first_sentence_leaves_out_no_caveat() -> None:
    log = EventLog()
    made(log, 0)
    assert "SIMULATED" in judge(log).sentence
    made(log, 1, seeded=True)
    assert "no secret" in judge(log).sentence


def test_relayed_keys_are_told_with_those_who_know_them() -> None:
    log = EventLog()
    made(log, 0)
    assert "no key is relayed" in text(log)
    for end, kind in (("a", "relay.made"), ("z", "relay.received")):
        log.add(kind, "relay:a~z", at=end, block=1, profile="paths-1", bits=8, nodes=["b"])
        log.add(kind, "relay:a~z", at=end, block=3, profile="paths-2", bits=8, nodes=["b", "c"])
    log.add("relay.failed", "relay:a~z", at="z", block=5, reason="x")
    told = judge(log)
    assert told.code == "secure-in-model"
    assert told.across == (
        "a~z: 1 block relayed (paths-1): b knows those that passed it.",
        "a~z: 1 block relayed (paths-2): b, c handled shares, and none knows a key alone.",
    )
