"""The light of a link, whichever its protocol: what network and planning ask of it.

In: devices.  Out: counts to expect, or one block of both ends' records. A protocol that is to make the same journey
answers here, has a record in `protocols` and a proof in `proofs`, and is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from noclone import gpu
from noclone.link.devices import LinkDevices
from noclone.link.heralded import HeraldedPairs, expected_heralded_counts, transmit_heralded
from noclone.link.light import transmit_chunks
from noclone.link.meeting import Meeting, expected_station_counts, transmit_to_station
from noclone.link.pairs import PairDevices, transmit_pairs
from noclone.link.pairs_theory import expected_pair_counts
from noclone.link.passing import PassLight, expected_pass_counts, transmit_pairs_down, transmit_pass
from noclone.link.quadratures import CoherentDevices, SeededAmplitudes, expected_quadratures, transmit_quadratures
from noclone.link.settings import MeasuredSettings, SeededSettings, SendingSettings
from noclone.link.sns import SnsStation, expected_sns_counts
from noclone.link.tap import NO_TAP, Tap
from noclone.link.theory import ExpectedCounts, expected_counts
from noclone.process import cores
from noclone.protocols import (
    DecoyMdi,
    EntangledPairs,
    GaussianModulation,
    LinkProtocol,
    Sender,
    SendOrNot,
    TwinField,
)
from noclone.records import U64, AliceRecord, DecoyBB84, Detections, Origin

LinkLight = LinkDevices | PairDevices | HeraldedPairs | Meeting | PassLight | CoherentDevices
NOTHING_SEEN = np.zeros(0, np.uint64)


def expected(light: LinkLight, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average."""
    match light:
        case PairDevices():
            return expected_pair_counts(light, n_slots)
        case HeraldedPairs():
            return expected_heralded_counts(light, n_slots)
        case SnsStation():
            return expected_sns_counts(light, n_slots)
        case Meeting():
            return expected_station_counts(light, n_slots)
        case PassLight():
            return expected_pass_counts(light, n_slots)
        case CoherentDevices():
            return expected_quadratures(light, n_slots)
        case LinkDevices():
            return expected_counts(light, n_slots)


def seeded_sender(protocol: LinkProtocol) -> DecoyBB84 | Sender | None:
    """Return what Alice's seed chooses from; None where she measures, or sends no bits."""
    match protocol:
        case DecoyBB84():
            return protocol
        case DecoyMdi() | TwinField() | SendOrNot():
            return protocol.alice
        case EntangledPairs() | GaussianModulation():
            return None


def usual_threads() -> int:
    """Return how many threads work out a link's light: two beside its ends; every core where a card outruns them."""
    return max(2, cores()) if gpu.wanted() else 2


def chunks(
    light: LinkLight,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    tap: Tap | None = None,
    threads: int | None = None,
) -> Iterator[tuple[U64, U64]]:
    """Yield Alice's events, where she measures, and Bob's, a bounded number at a time.

    Args:
        tap: What Eve does to the pulses; of decoy-state BB84 only.
        threads: On which they are worked out; the result does not depend on it. See `usual_threads`.
    """
    assert tap in (None, NO_TAP) or isinstance(light, LinkDevices)
    block_of: dict[str, Any] = {
        "alice_seed": alice_seed,
        "physics_seed": physics_seed,
        "n_slots": n_slots,
        "link": link,
        "block": block,
        "threads": threads or usual_threads(),
    }
    match light:
        case PairDevices():
            yield from transmit_pairs(light, **block_of)
            return
        case PassLight(protocol=EntangledPairs()):
            yield from transmit_pairs_down(light, **block_of)
            return
        case HeraldedPairs():
            yield from transmit_heralded(
                light, alice_seed=alice_seed, physics_seed=physics_seed, n_slots=n_slots, link=link, block=block
            )
            return
        case Meeting():
            bobs = transmit_to_station(light, **block_of)
        case PassLight():
            bobs = transmit_pass(light, **block_of)
        case CoherentDevices():
            bobs = transmit_quadratures(light, **block_of)
        case LinkDevices():
            bobs = transmit_chunks(light, tap=tap, **block_of)
    for events in bobs:
        yield NOTHING_SEEN, events


def alices_record(
    light: LinkLight, *, alice_seed: bytes, events: U64, n_slots: int, link: str, block: int, origin: Origin
) -> AliceRecord:
    """Return what Alice knows of a block: what she sent, or what she measured (`events`)."""
    if isinstance(light, CoherentDevices):
        return SeededAmplitudes(alice_seed, light.protocol)
    sender = seeded_sender(light.protocol)
    if isinstance(light.protocol, SendOrNot):
        return SendingSettings(alice_seed, light.protocol.alice)
    if sender is not None:
        return SeededSettings(alice_seed, sender)
    return MeasuredSettings(Detections(link, block, n_slots, light.clock_hz, events, origin))


def one_block(
    light: LinkLight,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    origin: Origin,
    tap: Tap | None = None,
) -> tuple[AliceRecord, Detections]:
    """Return what both ends know of one block of light; see `chunks`."""
    parts = list(
        chunks(
            light, alice_seed=alice_seed, physics_seed=physics_seed, n_slots=n_slots, link=link, block=block, tap=tap
        )
    )
    alices, bobs = (np.concatenate([NOTHING_SEEN, *(part[side] for part in parts)]) for side in (0, 1))
    settings = alices_record(
        light, alice_seed=alice_seed, events=alices, n_slots=n_slots, link=link, block=block, origin=origin
    )
    return settings, Detections(link, block, n_slots, light.clock_hz, bobs, origin)
