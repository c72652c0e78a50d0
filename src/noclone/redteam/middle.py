"""Eve holds what stands in the middle of a link: the source of pairs, or the station that both ends send to.

In: the light of a link, and a share of its slots.  Out: `Eavesdropper`, whose light is not what the two ends think.

These links trust nothing in the middle (`audit.trusted_devices`), so it may be hers. Here it is, and she uses it as she
can where nobody tests: every sifted bit of the key basis that she touched is hers, without an error in it and at the
rate that both ends expect. What the test basis shows, and whether key comes out all the same, is for the protocol.

    separable-source        two photons of one value in the key basis, and no entanglement (Bennett, Brassard, Mermin,
                            Phys. Rev. Lett. 68, 557 (1992)): half of the test bits are wrong; also from a satellite
    measuring-repeater      over repeaters: either end gets a memory of one value of the key basis, as noisy as the
                            chain was to be, and no entanglement: half of the test bits are wrong
    measuring-station       MDI-QKD: each pulse is measured in the key basis, and an announcement made up of two
                            values that differ (Lo, Curty, Qi, Phys. Rev. Lett. 108, 130503 (2012)): half of the test
                            bits are wrong, where a quarter is by nature
    discriminating-station  twin fields: each pulse meets a beam as strong as the key's, which tells it apart without
                            error with probability 1 - exp(-2 mu) (Huttner, Imoto, Gisin, Mor, Phys. Rev. A 51, 1863
                            (1995)); but an announcement then takes a photon from either sender, and decoys tell
    counting-station        sending or not: where just one of two pulses has a photon, she knows who sent (Wang, Yu, Hu,
                            Phys. Rev. A 98, 062323 (2018)); but which output clicks then says nothing of the phases

Each of these is a law of what happens in a slot, like the honest one (`link.joint`), or of what is left of a pair.
Notes say what she read.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone import rng
from noclone.errors import InputError
from noclone.link.choices import basis_limits
from noclone.link.heralded import HeraldedPairs, drawn_codes
from noclone.link.joint import CODES, NOTE_SHIFT, JointLaw
from noclone.link.lights import LinkLight
from noclone.link.meeting import F64, I64, ROWS, UNIFORM, Meeting, Seeds, weights
from noclone.link.overheard import Overheard
from noclone.link.pairs import PairDevices, PairSource
from noclone.link.passing import PassLight, Stretch
from noclone.link.settings import share_of_32_bits
from noclone.link.sns import SLICE_SHIFT, SnsStation
from noclone.link.station import PSI_MINUS, PSI_PLUS, STATES, BellStation
from noclone.link.tap import NO_TAP, Eavesdropper, Learned
from noclone.link.twin import TwinStation
from noclone.proofs.entropy import binary_entropy
from noclone.protocols import PHASE_SLICES, DecoyMdi, Sender, SendOrNot
from noclone.records import U8, U64, Basis, Detections
from noclone.redteam.record import EveRecord, information

TOUCHED, VALUE = 1, 2  # notes
KEY_CODES = np.arange(CODES) >> 1 & 1 == Basis.KEY


@dataclass(frozen=True, slots=True)
class MiddleAttack:
    """An attack by who holds the middle.

    Args:
        honest: The light that it takes the place of.
        held: The same with Eve in the middle of a share of the slots.
        trial: The shipped scenario on whose link it is tried.
        key_bits: Of a block there: as few as give an honest link key.
        worth: Closed form: information in a sifted bit that she touched.
    """

    name: str
    honest: type[Any]
    held: Callable[[Any, float], LinkLight]
    trial: str
    key_bits: int
    worth: Callable[[Any], float] = lambda _light: 1.0

    def eavesdropper(self, light: LinkLight, strength: float) -> Eavesdropper:
        """Return who carries it out on a link.

        Args:
            strength: Share of the slots that she touches; at 0 the light is the honest light, bit for bit.

        Raises:
            InputError: The link has nothing in its middle, or something else.
        """
        if not self.meets(light):
            raise InputError(
                f"'{self.name}' has nothing to attack on a link of {light.protocol.NAME}",
                hint="`noclone attack list` says which links an attack is for",
            )

        def learned(view: Overheard) -> Learned:
            touched, value = view.outcomes & TOUCHED, (view.outcomes & VALUE) // VALUE
            return information(EveRecord(value.astype(np.uint8), (touched * (1 + value)).astype(np.uint8)), view)

        return Eavesdropper(NO_TAP, self._with_eve(light, strength) if strength else light, learned)

    def meets(self, light: LinkLight) -> bool:
        """Say whether this is an attack on that light, wherever its middle is: a satellite's, throughout its pass."""
        if isinstance(light, PassLight):
            return type(light.stretches[0].devices) is self.honest
        return type(light) is self.honest

    def _with_eve(self, light: LinkLight, strength: float) -> LinkLight:
        if isinstance(light, PassLight):
            held = {one.devices: self.held(one.devices, strength) for one in light.stretches}
            return PassLight(tuple(Stretch(held[one.devices], one.n_slots) for one in light.stretches))  # type: ignore[arg-type]
        return self.held(light, strength)


@dataclass(frozen=True, slots=True)
class TwoPhotons(PairSource):
    """A source of two photons of one value in the key basis."""

    value: int = 0

    def silence(self, alice: F64, bob: F64) -> F64:
        """Return the probability that nothing is seen; see `PairSource.silence`."""
        return np.asarray(alice[..., self.value, self.value] * bob[..., self.value, self.value])


@dataclass(frozen=True, slots=True)
class HeldPairs(PairDevices):
    """A link whose source is Eve's in a share of the slots."""

    share: float = 1.0

    def law(self) -> JointLaw:
        """Return the law of what both ends' detectors do, with her notes."""
        rows, _ = self.rows()
        honest = self.table()
        sent = [replace(self, source=_two_photons(self.source, value)).table() for value in (0, 1)]
        key = rows[0, 0]  # of two ends that measure in the key basis
        rate = min(1.0, self._together(honest[key]) / self._together((sent[0] + sent[1])[key] / 2))
        columns = [(1 - self.share) * honest, *(self.share * rate / 2 * table for table in sent)]
        sets = np.arange(honest.shape[1])
        named = [sets, *(sets | (TOUCHED | VALUE * value) << NOTE_SHIFT for value in (0, 1))]
        for table in columns:
            table[:, 0] = 0.0  # nothing happens
        return JointLaw.of(rows, np.concatenate(columns, axis=1), np.concatenate(named))

    def _together(self, chances: F64) -> float:
        """Return how likely both ends see something."""
        alice = np.arange(len(chances)) & (1 << self.receiver_alice.detectors) - 1
        bob = np.arange(len(chances)) >> self.receiver_alice.detectors
        return float(chances[(alice > 0) & (bob > 0)].sum())


def _two_photons(source: PairSource, value: int) -> TwoPhotons:
    return TwoPhotons(source.clock_hz, source.mean_pairs, source.statistics, value)


@dataclass(frozen=True)
class HeldRepeater(HeraldedPairs):
    """A link over repeaters, one of which is Eve's in a share of the slots: correlations of the key basis are left."""

    share: float = 1.0

    def handed_over(self, slots: U64, correlations: F64, eve: U64) -> F64:
        """Return x, y, z of the pairs that the two ends get: where she measured, z alone."""
        measured = self._measured(slots, eve)[:, None]
        return np.where(measured, correlations * np.array([0.0, 0.0, 1.0]), correlations)

    def notes(self, slots: U64, values: U8, eve: U64) -> NDArray[np.int64]:
        """Return what she read: the value that she gave to Alice."""
        return np.where(self._measured(slots, eve), TOUCHED | VALUE * values.astype(np.int64), 0)

    def _measured(self, slots: U64, eve: U64) -> NDArray[np.bool_]:
        return np.asarray(drawn_codes(eve, slots, basis_limits(share_of_32_bits(self.share))) & 2 == 0)


@dataclass(frozen=True, slots=True)
class _Held(Meeting):
    """A station that is Eve's in a share of the slots. She sits at both senders' doors, with devices without loss."""

    share: float = 1.0

    @abstractmethod
    def reads(self, sender: Sender, key_intensity: float) -> F64:
        """Return how likely she reads each value, indexed [sender's code][value]; else she reads nothing."""

    @abstractmethod
    def says(self, alice: int, bob: int) -> tuple[int, ...]:
        """Return what she announces, any of it, where she has read these values."""

    def law(self) -> JointLaw:
        """Return the law of what is announced, with her notes."""
        protocol = self.protocol
        keys = (0.0, 0.0) if isinstance(protocol, DecoyMdi) else (protocol.key_alice, protocol.key_bob)
        alice, bob = (self.reads(sender, key) for sender, key in zip((protocol.alice, protocol.bob), keys, strict=True))
        honest = self.announced()
        columns, named = [honest], [np.arange(honest.shape[2])]
        made_up = []
        for a in (0, 1):
            for b in (0, 1):
                for said in self.says(a, b):
                    made_up.append(alice[:, None, a] * bob[None, :, b] / len(self.says(a, b)))
                    named.append(np.array([said | (TOUCHED | VALUE * a) << NOTE_SHIFT]))
        hers = np.stack(made_up, axis=2)
        rate = min(1.0, self._in_key(honest) / self._in_key(hers))
        columns = [(1 - self.share) * honest, self.share * rate * hers]
        table = np.concatenate(columns, axis=2).reshape(CODES * CODES, -1)
        return JointLaw.of(ROWS, table, np.concatenate(named))

    def _in_key(self, table: F64) -> float:
        """Return how likely something is announced where both send in the key basis."""
        sent = weights(self.protocol.alice)[:, None] * weights(self.protocol.bob)[None, :]
        return float(np.einsum("ab,abs->", sent * KEY_CODES[:, None] * KEY_CODES[None, :], table))


@dataclass(frozen=True, slots=True)
class MeasuringStation(_Held, BellStation):
    """It measures both pulses in the key basis, and announces a Bell state of two values that differ."""

    def reads(self, sender: Sender, _key_intensity: float) -> F64:
        """Return how likely each value is read: of one that clicks alone, or of two that click a random one."""
        intensities = np.array([*sender.intensities, 0.0, 0.0, 0.0, 0.0])[np.arange(CODES) >> 2]
        click = -np.expm1(-intensities[:, None] * STATES[np.arange(CODES) & 3] ** 2)
        return np.asarray(click * (1 - click[:, ::-1]) + click * click[:, ::-1] / 2)

    def says(self, alice: int, bob: int) -> tuple[int, ...]:
        """Return the announcements: none where the values agree."""
        return (*PSI_MINUS, *PSI_PLUS) if alice != bob else ()


@dataclass(frozen=True, slots=True)
class DiscriminatingStation(_Held, TwinStation):
    """It tells each pulse of the key basis apart, where it can do so without error."""

    def reads(self, sender: Sender, key_intensity: float) -> F64:
        """Return how likely just one of the outputs clicks where a pulse meets a beam of the key's intensity."""
        codes = np.arange(CODES)
        sent = np.array([*sender.intensities, 0.0, 0.0, 0.0, 0.0])[codes >> 2]
        sent = np.where(KEY_CODES, key_intensity, sent)
        fixed = np.where(codes & 1 == 1, np.pi, 0.0)[:, None] + 0 * UNIFORM
        phase = np.where(KEY_CODES[:, None], fixed, UNIFORM[None, :])
        beat = 2 * np.sqrt(sent * key_intensity)[:, None] * np.cos(phase)
        both = (sent + key_intensity)[:, None]
        click = -np.expm1(-np.stack([both + beat, both - beat], axis=2) / 2)
        return np.asarray((click * (1 - click[:, :, ::-1])).mean(axis=1))

    def says(self, alice: int, bob: int) -> tuple[int, ...]:
        """Return the announcement: the output behind which two such values meet."""
        return (0b01,) if alice == bob else (0b10,)


@dataclass(frozen=True, slots=True)
class CountingStation(_Held, SnsStation):
    """It looks which of the two pulses has a photon, and so who sent, where just one has."""

    def reads(self, sender: Sender, key_intensity: float) -> F64:
        """Return how likely there is no photon, and how likely there is one or more."""
        level = np.arange(CODES) >> 2
        tested = np.array([*sender.intensities, 0.0, 0.0, 0.0, 0.0])[level]
        some = -np.expm1(-np.where(KEY_CODES, np.where(level == 0, key_intensity, 0.0), tested))
        return np.stack([1 - some, some], axis=1)

    def says(self, alice: int, bob: int) -> tuple[int, ...]:
        """Return the announcements: either output, for nothing has met there."""
        return (0b01, 0b10) if alice != bob else ()

    def events(self, happened: I64, first: int, seeds: Seeds) -> U64:
        """Return announcements as Bob keeps them: hers say nothing of phases, so that his slice is any."""
        kept = SnsStation.events(self, happened, first, seeds)
        touched = happened >> NOTE_SHIFT & TOUCHED > 0
        tested = kept & np.uint64(Detections.BASIS) > 0
        turned = rng.stream(seeds.light, f"eve-{first}").integers(0, PHASE_SLICES, len(kept), np.uint64)
        return np.where(touched & tested, kept ^ turned << np.uint64(SLICE_SHIFT), kept)


def _with_eve(held: type[Any]) -> Callable[[Any, float], LinkLight]:
    """Return what puts Eve into the middle of a light."""

    def made(light: Any, share: float) -> LinkLight:
        return held(**{field.name: getattr(light, field.name) for field in fields(light)}, share=share)  # type: ignore[no-any-return]

    return made


def counting_worth(light: SnsStation) -> float:
    """Return what it tells her which sender's pulse had a photon: all, or that Alice sent nothing, or nothing came."""
    protocol = light.protocol
    assert isinstance(protocol, SendOrNot)
    sends = [one.probabilities[0] for one in (protocol.alice, protocol.bob)]
    empty = [math.exp(-key) for key in (protocol.key_alice, protocol.key_bob)]
    none = [1 - p * (1 - e) for p, e in zip(sends, empty, strict=True)]
    hers, his = (1 - none[0]) * none[1], none[0] * (1 - none[1])  # whose photon it was
    return 1 - his / (hers + his) * binary_entropy(sends[0] * empty[0] / none[0])


MIDDLE_ATTACKS: dict[str, MiddleAttack] = {
    attack.name: attack
    for attack in (
        MiddleAttack("separable-source", PairDevices, _with_eve(HeldPairs), "entangled", 100_000),
        MiddleAttack("measuring-repeater", HeraldedPairs, _with_eve(HeldRepeater), "backbone", 60_000),
        MiddleAttack("measuring-station", BellStation, _with_eve(MeasuringStation), "middle", 3_000_000),
        MiddleAttack("discriminating-station", TwinStation, _with_eve(DiscriminatingStation), "kehl", 600_000),
        MiddleAttack("counting-station", SnsStation, _with_eve(CountingStation), "combs", 1_000_000, counting_worth),
    )
}
