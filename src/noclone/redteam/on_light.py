"""The catalogue's attacks on light: those that want key, and those that want silence.

In: the attacks themselves (`attacks`).  Out: `LIGHT` and `DARK`. All can be carried out on running links.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from noclone.redteam.attacks import LIGHT_ATTACKS
from noclone.redteam.entry import Entry, Trial
from noclone.redteam.light_trial import try_light
from noclone.redteam.middle import MIDDLE_ATTACKS
from noclone.redteam.middle_trial import try_middle
from noclone.redteam.rows import Row

SILENCE = ("fibre-cut", "jamming")


def _light(name: str) -> Trial:
    def trial(seed: bytes, defended: bool, strength: float) -> Row | None:
        if name in SILENCE and not defended:
            return None
        if name in MIDDLE_ATTACKS:
            seen = try_middle(MIDDLE_ATTACKS[name], defended=defended, strength=strength, seed=seed)
        else:
            seen = try_light(LIGHT_ATTACKS[name], defended=defended, strength=strength, seed=seed)
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


_in_the_middle = partial(Entry, layer="light", live="link")
_light_entry = partial(_in_the_middle, protocol="decoy-bb84")
_silence = partial(Entry, layer="availability", live="link", protocol="decoy-bb84")

LIGHT: tuple[Entry, ...] = (
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
    _in_the_middle(
        "separable-source",
        protocol="bbm92",
        does="holds the source of a bbm92 link, and sends two photons of one value in place of entangled pairs",
        hopes="every bit, at no error in the key basis",
        caught_by="the test basis, half of whose bits are wrong; CHSH, which separable states do not violate",
        source="Bennett, Brassard, Mermin, PRL 68, 557 (1992)",
        threat="held-middle",
        trial=_light("separable-source"),
    ),
    _in_the_middle(
        "measuring-repeater",
        protocol="bbm92",
        does="holds a repeater of a bbm92 link, measures in the key basis, and hands on what she read as entanglement",
        hopes="every bit, at no more errors in the key basis than the chain makes",
        caught_by="the test basis, half of whose bits are wrong",
        source="Bennett, Brassard, Mermin, PRL 68, 557 (1992); Lo, Chau, Science 283, 2050 (1999)",
        threat="held-middle",
        trial=_light("measuring-repeater"),
    ),
    _in_the_middle(
        "measuring-station",
        protocol="mdi",
        does="holds the station of an mdi link, measures both pulses, and announces a Bell state that was none",
        hopes="every bit, at no error in the key basis",
        caught_by="the test basis, half of whose bits are wrong, where a quarter is by nature",
        source="Lo, Curty, Qi, PRL 108, 130503 (2012)",
        threat="held-middle",
        trial=_light("measuring-station"),
    ),
    _in_the_middle(
        "discriminating-station",
        protocol="twin-field",
        does="holds the station of a twin-field link, and tells both pulses' phases apart where it can without error",
        hopes="every bit, at no error in the key basis",
        caught_by="decoys: an announcement takes a photon of either sender, where an honest one takes one of both",
        source="Huttner, Imoto, Gisin, Mor, PRA 51, 1863 (1995); Curty, Azuma, Lo, npj Quantum Inf. 5, 64 (2019)",
        threat="held-middle",
        trial=_light("discriminating-station"),
    ),
    _in_the_middle(
        "counting-station",
        protocol="sns",
        does="holds the station of a link that makes bits of sending or not, and looks which pulse has a photon",
        hopes="who sent: every bit where it was Alice, and more than half of one where it was Bob",
        caught_by="the test basis: which output clicks then says nothing of the phases, and half of them are wrong",
        source="Wang, Yu, Hu, PRA 98, 062323 (2018)",
        threat="held-middle",
        trial=_light("counting-station"),
    ),
)

DARK: tuple[Entry, ...] = (
    _silence(
        "fibre-cut",
        does="takes the light away",
        hopes="no key",
        caught_by="the gains; stored key and other paths go on for a while",
        source="ETSI White Paper 27 (2018)",
        threat="fibre-cut",
        trial=_light("fibre-cut"),
    ),
    _silence(
        "jamming",
        does="puts stray light on the fibre",
        hopes="no key",
        caught_by="the error rate",
        source="ETSI White Paper 27 (2018)",
        threat="jamming",
        trial=_light("jamming"),
    ),
)
