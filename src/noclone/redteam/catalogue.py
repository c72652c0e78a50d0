"""The catalogue of attacks, as data: what each does, what should catch it, where it is published, how it is tried.

In: nothing.  Out: `CATALOGUE`, by name. A trial returns a `rows.Row`, or None where there is nothing undefended to try.
The audit names its threats alike; `threat` says which of them an attack bears on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from noclone.redteam import (
    broken_kem,
    compromised_node,
    delay,
    doors_trial,
    harvest_now,
    key_exhaustion,
    key_id_swap,
    reordering,
    replay,
    restored_backup,
    spoofed_sae,
    stolen_database,
    stolen_sae_certificate,
    suppression,
    tampering,
    truncation,
    weak_randomness,
)
from noclone.redteam.attacks import LIGHT_ATTACKS
from noclone.redteam.light_trial import try_light
from noclone.redteam.message_trial import try_exhaustion, try_in_the_middle, try_messages
from noclone.redteam.messages import MessageAttack, Touched
from noclone.redteam.rows import Row

Layer = Literal["light", "public channel", "nodes and people", "cryptography", "availability"]
Trial = Callable[[bytes, bool, float], Row | None]
SILENCE = ("fibre-cut", "jamming")


@dataclass(frozen=True, slots=True)
class Entry:
    """One attack.

    Args:
        does: What Eve does.
        hopes: What she hopes for.
        caught_by: What should catch her, or take away what she learned.
        source: Where it is published.
        threat: Name of the audit's threat; empty where it speaks of that in its formulas alone.
        live: Whether `noclone attack` can carry it out on a running network.
    """

    name: str
    layer: Layer
    does: str
    hopes: str
    caught_by: str
    source: str
    threat: str
    trial: Trial = field(repr=False)
    live: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        names = ("name", "layer", "does", "hopes", "caught_by", "source", "threat", "live")
        return {name: getattr(self, name) for name in names}


def _light(name: str) -> Trial:
    def trial(seed: bytes, defended: bool, strength: float) -> Row | None:
        attack = LIGHT_ATTACKS[name]
        if name in SILENCE and not defended:
            return None
        seen = try_light(attack, defended=defended, strength=strength, seed=seed)
        outcome: Literal["broken", "held", "refused", "no service"] = "held" if seen.key_bits else "refused"
        if name in SILENCE:
            outcome = "held" if seen.key_bits else "no service"
        if seen.exposed_bits:
            outcome = "broken"
        return Row(
            name,
            defended,
            seen.eve_bits,
            seen.key_bits,
            seen.exposed_bits,
            outcome,
            qber=seen.qber,
            detected_after=seen.detected_after,
            noticed_by=(*((seen.refused,) if seen.refused and seen.refused != "alarm" else ()), *seen.alarms),
            predicted=None if seen.sifted_bits < 1000 else seen.predicted,
            strength=strength,
            note=f"{seen.sifted_bits} sifted bits, of which {seen.secret_bits:.0f} can be made secret from her",
        )

    return trial


def _message(attack: MessageAttack) -> Trial:
    return lambda seed, defended, strength: try_messages(attack, seed=seed, strength=strength) if defended else None


def _middle(seed: bytes, defended: bool, _strength: float) -> Row:
    return try_in_the_middle(seed=seed, defended=defended)


def _exhaustion(seed: bytes, defended: bool, strength: float) -> Row:
    carriage = Touched(tampering.turn_one_bit(), strength)
    return try_exhaustion(carriage, seed=seed, defended=defended)


_light_entry = partial(Entry, layer="light", live=True)
_channel = partial(Entry, layer="public channel")
_nodes = partial(Entry, layer="nodes and people")
_silence = partial(Entry, layer="availability")

ENTRIES: tuple[Entry, ...] = (
    _light_entry(
        "intercept-resend",
        does="measures a share of the pulses in bases of her own choice, and sends what she read",
        hopes="half a bit of every sifted bit that she touched",
        caught_by="the error rate, which rises by a quarter of her share",
        source="Bennett, Bessette, Brassard, Salvail, Smolin, J. Cryptology 5, 3 (1992)",
        threat="intercept-resend",
        trial=_light("intercept-resend"),
    ),
    _light_entry(
        "photon-number-splitting",
        does="counts the photons of each pulse, keeps one of several, and stops single ones",
        hopes="every bit of a pulse that had two photons or more",
        caught_by="decoy intensities: their gains no longer fit together",
        source="Brassard, Lütkenhaus, Mor, Sanders, PRL 85, 1330 (2000)",
        threat="photon-number-splitting",
        trial=_light("photon-number-splitting"),
    ),
    _light_entry(
        "beam-splitting",
        does="replaces the fibre by one without loss, and keeps the light that was lost",
        hopes="1 - exp(-mu (1 - T)) of all sifted bits, and nothing shows",
        caught_by="the decoy proof, which counts single photons alone",
        source="Dušek, Haderka, Hendrych, Opt. Commun. 169, 103 (1999)",
        threat="photon-number-splitting",
        trial=_light("beam-splitting"),
    ),
    _light_entry(
        "blinding",
        does="keeps Bob's detectors in linear mode with bright light, and makes them click as she likes",
        hopes="every bit, at no error",
        caught_by="the current through the detectors, the missing dark counts and double clicks",
        source="Lydersen, Wiechers, Wittmann, Elser, Skaar, Makarov, Nature Photonics 4, 686 (2010)",
        threat="blinding",
        trial=_light("blinding"),
    ),
    _light_entry(
        "trojan-horse",
        does="shines light into Alice's lab and reads her modulators in what comes back",
        hopes="1 - h(e) of each bit, e the least error of telling two coherent states apart",
        caught_by="an input meter; the proof that charges what leaks",
        source="Lucamarini, Choi, Ward, Dynes, Yuan, Shields, PRX 5, 031030 (2015)",
        threat="trojan-horse",
        trial=_light("trojan-horse"),
    ),
    _light_entry(
        "time-shift",
        does="lets pulses come early or late, where one of Bob's detectors is the better one",
        hopes="1 - h(r / (1 + r)) of each bit, at no error",
        caught_by="the histogram of arrival times; detectors that Bob swaps take away what she learns",
        source="Qi, Fung, Lo, Ma, Quantum Inf. Comput. 7, 73 (2007); Zhao et al., PRA 78, 042333 (2008)",
        threat="efficiency-mismatch",
        trial=_light("time-shift"),
    ),
    _light_entry(
        "after-gate",
        does="sends bright pulses when gated detectors are in linear mode by themselves",
        hopes="every bit, at no error",
        caught_by="a gate outside which no click counts; the histogram of arrival times",
        source="Wiechers et al., New J. Phys. 13, 013043 (2011)",
        threat="after-gate",
        trial=_light("after-gate"),
    ),
    _light_entry(
        "dead-time",
        does="makes some of Bob's detectors blind to the pulse with a flash just before it",
        hopes="nearly every bit, at no error",
        caught_by="clicks that count only while all detectors are alive: the gains then fall",
        source="Weier et al., New J. Phys. 13, 073024 (2011)",
        threat="dead-time",
        trial=_light("dead-time"),
    ),
    _light_entry(
        "laser-seeding",
        does="sends light into Alice's laser, which becomes brighter, and keeps the surplus",
        hopes="bits of pulses whose photons the proof counts too low",
        caught_by="a power meter at Alice's output",
        source="Huang et al., Phys. Rev. Applied 12, 064043 (2019)",
        threat="laser-seeding",
        trial=_light("laser-seeding"),
    ),
    _light_entry(
        "laser-damage",
        does="burns Alice's attenuator with bright light, and keeps the surplus",
        hopes="as laser-seeding, for good",
        caught_by="a power meter at Alice's output",
        source="Makarov et al., PRA 94, 030302 (2016)",
        threat="laser-seeding",
        trial=_light("laser-damage"),
    ),
    _light_entry(
        "intensity-correlation",
        does="learns a pulse's intensity from its neighbours, and splits each intensity as its own gain asks for",
        hopes="what photon-number splitting hopes for, with decoys",
        caught_by="a meter of how pulses depend on earlier settings; fewer double clicks",
        source="Zapatero, Navarrete, Tamaki, Curty, Quantum 5, 602 (2021)",
        threat="intensity-correlation",
        trial=_light("intensity-correlation"),
    ),
    _channel(
        "man-in-the-middle",
        does="poses as Bob to Alice and as Alice to Bob, with light of her own",
        hopes="the keys of both ends",
        caught_by="one-time tags over the whole conversation",
        source="Wegman, Carter, J. Comput. Syst. Sci. 22, 265 (1981)",
        threat="man-in-the-middle",
        trial=_middle,
    ),
    *(
        _channel(
            attack.name,
            does=does,
            hopes=hopes,
            caught_by=caught,
            source="docs/public-channel.md",
            threat="man-in-the-middle",
            trial=_message(attack),
            live=True,
        )
        for attack, does, hopes, caught in (
            (tampering.ATTACK, "turns over one bit of a message", "two ends with different keys", "the tags"),
            (replay.ATTACK, "sends a message twice", "two ends that disagree on what was said", "numbered frames"),
            (reordering.ATTACK, "sends a tag before what it closes", "a tag that covers less", "numbered frames"),
            (truncation.ATTACK, "cuts a message in half", "counts that are left out", "lengths that both ends know"),
            (delay.ATTACK, "holds every message up", "a decision that depends on time", "a protocol without a clock"),
            (suppression.ATTACK, "loses the last message", "key at one end alone", "key that both KMEs must hold"),
        )
    ),
    _channel(
        "authentication-exhaustion",
        does="spoils block after block, each of which costs a pair of tag keys",
        hopes="an empty pool, and a link that goes on without tags",
        caught_by="a pool that is refilled, and no block without a tag",
        source="references of docs/public-channel.md; Cederlöf, Larsson, IEEE Trans. Inf. Theory 54, 1735 (2008)",
        threat="authentication-exhaustion",
        trial=_exhaustion,
    ),
    _nodes(
        "compromised-node",
        does="owns a node that keys are relayed over",
        hopes="every key that passes",
        caught_by="sums of shares over paths that share no node; the trust formula says which keys",
        source="Salvail et al., J. Comput. Secur. 18, 61 (2010), arXiv:0904.4072",
        threat="compromised-node",
        trial=compromised_node.trial,
    ),
    _nodes(
        "stolen-database",
        does="copies a key store",
        hopes="the keys in it",
        caught_by="a key-encryption key that is not in it",
        source="docs/key-store.md",
        threat="stolen-database",
        trial=stolen_database.trial,
    ),
    _nodes(
        "stolen-sae-certificate",
        does="asks for an application's keys with its certificate, stolen",
        hopes="the keys that were meant for it",
        caught_by="keys that are given once: the owner is refused",
        source="ETSI GS QKD 014 V1.1.1, clause 5",
        threat="stolen-sae-certificate",
        trial=stolen_sae_certificate.trial,
    ),
    _nodes(
        "spoofed-sae",
        does="asks in the name of another application",
        hopes="its keys",
        caught_by="a KME that believes the certificate alone",
        source="ETSI GS QKD 014 V1.1.1, clause 5",
        threat="stolen-sae-certificate",
        trial=spoofed_sae.trial,
    ),
    _nodes(
        "rogue-authority",
        does="comes with a certificate that another authority made, or the trusted one made by mistake",
        hopes="to be taken for an application",
        caught_by="authorities that a KME names; nothing, where the trusted one is fooled",
        source="RFC 5280; DigiNotar 2011",
        threat="rogue-authority",
        trial=doors_trial.rogue_authority,
    ),
    _nodes(
        "kme-impostor",
        does="answers in place of another KME, with the certificate of a third",
        hopes="promises and shares that are meant for it",
        caught_by="the name in the certificate",
        source="docs/relay.md",
        threat="rogue-authority",
        trial=doors_trial.kme_impostor,
    ),
    _nodes(
        "restored-backup",
        does="puts both ends back to an older state",
        hopes="keys that are used a second time",
        caught_by="backups that hold no key",
        source="docs/key-store.md",
        threat="restored-backup",
        trial=restored_backup.trial,
    ),
    _nodes(
        "weak-randomness",
        does="guesses the seed of Alice's settings from what she announces",
        hopes="every bit",
        caught_by="seeds of 32 bytes from the operating system",
        source="NIST SP 800-90B; Heninger et al., USENIX Security 2012",
        threat="weak-randomness",
        trial=weak_randomness.trial,
    ),
    _nodes(
        "key-id-swap",
        does="puts the id of a key that she knows into somebody else's session",
        hopes="a session under her key, or two under one",
        caught_by="keys that are bound to whom they were promised, and given once",
        source="Hövelmanns, Planken, Schaffner, Verschoor, arXiv:2509.12478",
        threat="key-id-swap",
        trial=key_id_swap.trial,
    ),
    Entry(
        "broken-kem",
        "cryptography",
        does="breaks the KEM of an exchange that she recorded",
        hopes="the key",
        caught_by="a QKD key in the combination",
        source="ETSI TS 103 744; Giacon, Heuer, Poettering, PKC 2018",
        threat="",
        trial=broken_kem.trial,
    ),
    Entry(
        "harvest-now-decrypt-later",
        "cryptography",
        does="writes down what crosses the wire until a KEM falls",
        hopes="keys of long ago",
        caught_by="a QKD key in the combination, which never crossed a wire",
        source="Mosca, IEEE Secur. Priv. 16, 38 (2018)",
        threat="",
        trial=harvest_now.trial,
    ),
    _silence(
        "fibre-cut",
        does="takes the light away",
        hopes="no key",
        caught_by="the gains; stored key and other paths go on for a while",
        source="ETSI White Paper 27 (2018)",
        threat="fibre-cut",
        trial=_light("fibre-cut"),
        live=True,
    ),
    _silence(
        "jamming",
        does="puts stray light on the fibre",
        hopes="no key",
        caught_by="the error rate",
        source="ETSI White Paper 27 (2018)",
        threat="jamming",
        trial=_light("jamming"),
        live=True,
    ),
    _silence(
        "key-exhaustion",
        does="takes all key that two sites have",
        hopes="none for others",
        caught_by="quotas of each pair",
        source="docs/relay.md",
        threat="request-flood",
        trial=key_exhaustion.trial,
    ),
    _silence(
        "request-flood",
        does="opens many connections that talk nonsense",
        hopes="a KME that is busy",
        caught_by="limits on each door",
        source="docs/etsi014.md",
        threat="request-flood",
        trial=doors_trial.request_flood,
    ),
    _silence(
        "slow-clients",
        does="opens many connections and says nothing",
        hopes="a KME that waits",
        caught_by="a deadline on each handshake",
        source="docs/etsi014.md",
        threat="request-flood",
        trial=doors_trial.slow_clients,
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}
