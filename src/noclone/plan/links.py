"""From a device and the losses of its arms to the [[link]] that `noclone run` takes, set for most key.

In: a device of the catalogue, losses and lengths.  Out: the tables of a `LinkSection`. What a sender may choose (how
bright, how often which basis) is looked for by trying, with the length that `noclone run` would agree on; BB84 keeps
the intensities of the shipped scenario `metro`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from noclone.errors import ScenarioError
from noclone.network.blocks import plan_link
from noclone.network.link_sections import LinkSection
from noclone.plan.devices import (
    AnyDevice,
    Device,
    DeviceSection,
    GaussianSection,
    PairsSection,
    RepeaterSection,
    StationSection,
)
from noclone.units import transmittance

Tables = dict[str, Any]
Settings = tuple[float, ...]
TUNED_DB = 2.5  # settings are looked for at losses rounded up to this: they change slowly
HALVINGS = 3
KILOMETRE = 1.0
# Where the search starts; shares of a basis as odds. After `kehl`, `middle` and `combs`.
STARTS: dict[str, Settings] = {
    "bbm92": (0.03, 4.0),  # pairs a pulse, key basis
    "mdi": (0.25, 0.08, 0.7, 1.2),  # two intensities, brightest against the others, key basis
    "twin-field": (0.02, 4.0),  # key intensity, key basis
    "sns": (0.49, 0.1, 0.37, 2.8),  # key intensity, a decoy, sending or not, key basis
    "cv": (15.0,),  # variance
}
DEAD_MOST = (
    0.02  # of a detector's time: beyond it what pairs should bring is known less well, and monitors raise alarms
)
DECOYS, DECOY_SHARES = (0.85, 0.14, 0.0), (0.06, 0.34, 0.6)  # twin-field: in the test basis
_DEVICES: TypeAdapter[Device] = TypeAdapter(AnyDevice)


def link_of(
    name: str, ends: Sequence[str], device: Device, losses_db: Sequence[float], lengths_km: Sequence[float]
) -> Tables:
    """Return the tables of a link; what is chosen in it suits its losses.

    Args:
        losses_db: Of the fibre; of Alice's and Bob's arm where something stands between.
    """
    rounded = tuple(math.ceil(loss / TUNED_DB) * TUNED_DB for loss in losses_db)
    settings = _best(device.model_dump_json(), rounded)
    tables = _tables(device, losses_db, lengths_km, settings)
    return {"name": name, "alice": ends[0], "bob": ends[1], "protocol": device.protocol, **tables}


def agreed_bps(link: Tables) -> float:
    """Return the key that `noclone run` agrees on, a second; 0 where there is none."""
    try:
        plan = plan_link(LinkSection.model_validate(link))
    except (ScenarioError, ValueError):  # blocks that would take for ever; a decoy above the signal
        return 0.0
    return plan.agreement.length_bits / plan.seconds_per_block


@lru_cache(maxsize=4096)
def _best(text: str, losses_db: tuple[float, ...]) -> Settings:
    device = _DEVICES.validate_json(text)
    start = STARTS.get(device.protocol, ())
    ends, lengths = ("a", "b"), (KILOMETRE,) * len(losses_db)

    def rate(settings: Settings) -> float:
        tables = _tables(device, losses_db, lengths, settings)
        return agreed_bps({"name": "a-b", "alice": ends[0], "bob": ends[1], "protocol": device.protocol, **tables})

    return climb(rate, start)


def climb(rate: Callable[[Settings], float], start: Settings) -> Settings:
    """Return settings near the best: each in turn is made larger or smaller by a factor, which shrinks."""
    best, found, factor = start, rate(start) if start else 0.0, 2.0
    for _ in range(HALVINGS):
        for place in range(len(start)):
            for step in (factor, 1.0 / factor):
                while True:
                    tried = (*best[:place], best[place] * step, *best[place + 1 :])
                    better = rate(tried)
                    if better <= found:
                        break
                    best, found = tried, better
        factor = math.sqrt(factor)
    return tuple(float(f"{value:.3g}") for value in best)


def _tables(device: Device, losses_db: Sequence[float], lengths_km: Sequence[float], settings: Settings) -> Tables:
    match device:
        case DeviceSection():
            tables = _decoy_bb84(device)
        case PairsSection():
            tables = _pairs(device, losses_db, settings)
        case StationSection():
            tables = _station(device, losses_db, settings)
        case GaussianSection():
            tables = _gaussian(device, settings)
        case RepeaterSection():
            raise TypeError("a chain of repeaters has spans, not arms: see `beyond`")
    fibres = [_fibre(length, loss) for length, loss in zip(lengths_km, losses_db, strict=True)]
    if isinstance(device, PairsSection) and len(fibres) == 1:
        fibres.insert(0, _fibre(0.0, 0.0))  # the source stands at Alice's
    if len(fibres) == 2:
        tables["fibre_alice"] = fibres[0]
    return {**tables, "fibre": fibres[-1], "distillation": {"block_key_bits": device.block_key_bits}}


def _fibre(length_km: float, loss_db: float) -> Tables:
    if length_km == 0:
        return {"length_km": 0.0, "extra_loss_db": loss_db}
    return {"length_km": round(length_km, 4), "attenuation_db_per_km": float(f"{loss_db / length_km:.6g}")}


def _detectors(device: DeviceSection | PairsSection | StationSection) -> Tables:
    return {
        "efficiency": device.efficiency,
        "dark_count_hz": device.dark_count_hz,
        "dead_time_ns": device.dead_time_ns,
        "misalignment": device.misalignment,
    }


def _share(odds: float) -> float:
    return round(odds / (1.0 + odds), 4)


def _decoy_bb84(device: DeviceSection) -> Tables:
    source = {"clock_hz": device.clock_hz, "intensities": [0.43, 0.15], "probabilities": [0.55, 0.45], "p_key": 0.8}
    return {"source": source, "receiver": {"p_key": 0.8, **_detectors(device)}}


def _pairs(device: PairsSection, losses_db: Sequence[float], settings: Settings) -> Tables:
    mean, odds = settings
    busiest = device.efficiency * (1.0 if len(losses_db) == 1 else transmittance(min(losses_db)))
    if device.dead_time_ns:  # of either end's two detectors
        mean = min(mean, 2 * DEAD_MOST / (device.clock_hz * busiest * device.dead_time_ns * 1e-9))
    source = {"clock_hz": device.clock_hz, "mean_pairs": float(f"{min(mean, 4.0):.3g}")}
    return {"pairs": source, "receiver": {"p_key": _share(odds), **_detectors(device)}}


def _station(device: StationSection, losses_db: Sequence[float], settings: Settings) -> Tables:
    """Two senders: the light of both arrives alike, so the one of the lossier arm sends more."""
    *bright, odds = settings
    key = bright[0]
    if device.protocol == "twin-field":
        levels, shares = DECOYS, DECOY_SHARES
    else:
        first = _share(bright[2])
        second = round(0.75 * (1 - first), 4)
        levels, shares = (bright[0], bright[1], 0.0), (first, second, round(1 - first - second, 4))
    most = max(losses_db)
    sources = []
    for loss in losses_db:
        less = transmittance(most - loss)
        source: Tables = {
            "clock_hz": device.clock_hz,
            "intensities": [float(f"{level * less:.4g}") for level in levels],
            "probabilities": list(shares),
            "p_key": _share(odds),
        }
        if device.protocol != "mdi":
            source["key_intensity"] = float(f"{key * less:.4g}")
        sources.append(source)
    station = _detectors(device) | ({} if device.protocol == "mdi" else {"phase_noise_rad": device.phase_rad})
    alike = {} if sources[0] == sources[1] else {"source_bob": sources[1]}
    return {"source": sources[0], **alike, "station": station}


def _gaussian(device: GaussianSection, settings: Settings) -> Tables:
    coherent = {
        "detection": device.detection,
        "efficiency": device.efficiency,
        "electronic": device.electronic,
        "trusted": device.trusted_receiver,
    }
    modulation = {"clock_hz": device.clock_hz, "variance": settings[0], "excess": device.excess}
    return {"modulation": modulation, "coherent": coherent}
