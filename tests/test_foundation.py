"""Named randomness, the event log, units and the records that everything else rests on."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from noclone import rng, units
from noclone.clock import ManualClock
from noclone.counts import Counts
from noclone.errors import Aborted, InputError, NocloneError
from noclone.events import Event, EventLog
from noclone.records import BlockProvenance, DecoyBB84, Detections, Origin, SecretKey


def test_streams_depend_on_seed_and_name_alone() -> None:
    seed = rng.seed_from_int(7)
    assert rng.derive(seed, "a") == rng.derive(rng.seed_from_int(7), "a")
    assert rng.derive(seed, "a") != rng.derive(seed, "b")
    assert rng.derive(seed, "a") != rng.derive(rng.seed_from_int(8), "a")
    first, again = rng.stream(seed, "x").random(4), rng.stream(seed, "x").random(4)
    assert first.tolist() == again.tolist()
    assert rng.fresh_seed() != rng.fresh_seed()


def test_light_in_fibre_needs_five_microseconds_a_kilometre() -> None:
    assert units.fibre_delay_s(1.0) == pytest.approx(4.897e-6, rel=1e-3)
    assert units.transmittance(10.0) == pytest.approx(0.1)


def test_event_log_numbers_without_gaps_and_writes_private_lines(tmp_path: Path) -> None:
    clock = ManualClock(100.0)
    path = tmp_path / "events.jsonl"
    log = EventLog(path, clock=clock)
    heard: list[Event] = []
    stop = log.listen(heard.append)
    log.add("link.up", "link:a-b")
    clock.advance(1.5)
    log.add("block.distilled", "link:a-b", secret_bits=12)
    stop()
    log.add("link.down", "link:a-b")
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert lines[1] == {
        "number": 2,
        "time": 101.5,
        "kind": "block.distilled",
        "subject": "link:a-b",
        "secret_bits": 12,
    }
    assert [event.kind for event in heard] == ["link.up", "block.distilled"]
    assert [event.number for event in log.since(2)] == [3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_event_log_keeps_the_newest_in_memory() -> None:
    log = EventLog(keep=20)
    for _ in range(100):
        log.add("tick", "node:a")
    kept = [event.number for event in log]
    assert kept[-1] == 100
    assert len(kept) <= 20


def test_errors_know_their_exit_code() -> None:
    assert NocloneError("x").exit_code == 1
    assert InputError("x").exit_code == 2
    assert Aborted("qber-too-high", "x").reason == "qber-too-high"
    with pytest.raises(AssertionError):
        Aborted("no-such-reason", "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensities": (0.5,), "probabilities": (1.0,)}, "2 to 4"),
        ({"intensities": (0.1, 0.5)}, "fall"),
        ({"intensities": (0.5, -0.1)}, "fall"),
        ({"probabilities": (0.5, 0.6)}, "add up to 1"),
        ({"probabilities": (0.2, 0.3, 0.5)}, "one probability for each"),
        ({"p_key_alice": 1.0}, "between 0 and 1"),
    ],
)
def test_impossible_protocols_are_refused(change: dict[str, object], message: str) -> None:
    good = {"intensities": (0.5, 0.1), "probabilities": (0.7, 0.3), "p_key_alice": 0.9, "p_key_bob": 0.9}
    DecoyBB84(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        DecoyBB84(**{**good, **change})  # type: ignore[arg-type]


def test_counts_add_and_refuse_the_impossible() -> None:
    one = Counts(10, (5, 2), (3, 1), (1, 0), (1, 1))
    assert one + one == Counts(20, (10, 4), (6, 2), (2, 0), (2, 2))
    assert (one + Counts(1, (0, 0), (0, 0), (0, 0))).m_key is None
    assert one.qber_test == 0.25
    assert one.qber_key == pytest.approx(2 / 7)
    with pytest.raises(ValueError, match="more errors than detections"):
        Counts(10, (5, 2), (3, 1), (4, 0))


def test_detections_unpack_their_flags() -> None:
    events = np.array([(5 << 16) | 0x1, (9 << 16) | 0x2], np.uint64)
    detections = Detections("a-b", 0, 10, 1e9, events, Origin("simulated"))
    assert detections.slots.tolist() == [5, 9]
    assert detections.values.tolist() == [1, 0]
    assert detections.bases.tolist() == [0, 1]


def test_secret_keys_do_not_show_themselves() -> None:
    provenance = BlockProvenance(
        "a-b", "a", "b", 3, "decoy-bb84", Origin("simulated", True), "p", "fixed-length", 1e-10, 4e-10, "psk", 1.0
    )
    key = SecretKey(np.array([0x1234567890ABCDEF], np.uint64), 60, provenance)
    assert "1234567890" not in repr(key)
    assert str(0x1234567890ABCDEF) not in repr(key)
    assert len(key.to_bytes()) == 7
    assert BlockProvenance.from_json(json.loads(json.dumps(provenance.to_json()))) == provenance
