"""`noclone satellite`: how much key one pass over a station gives, or a day of satellites and stations."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators

from noclone.cli.terminal import Epsilon, Json, grouped, progress, show
from noclone.io.origins import origin_lines
from noclone.io.published import beside
from noclone.io.published import lines as published_lines

if TYPE_CHECKING:
    from noclone.network.satellite_day import SatelliteDay
    from noclone.network.satellite_pass import PassKey

Km = Annotated[float, Parameter(validator=validators.Number(gte=150, lte=50_000))]
Degrees = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=90))]
Positive = Annotated[float, Parameter(validator=validators.Number(gte=1e-6, lte=1e15))]
NonNegative = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1e15))]
Share = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))]

satellite = App(name="satellite", help="Say how much key satellites give: one pass, or a day over several stations.")


@satellite.default
def one_pass(
    *,
    altitude_km: Km = 500.0,
    highest_deg: Degrees = 50.0,
    lowest_deg: Degrees = 15.0,
    divergence_urad: Positive = 10.0,
    aperture_m: Positive = 1.0,
    pointing_urad: NonNegative = 0.6,
    zenith_db: NonNegative = 2.0,
    fixed_db: NonNegative = 12.0,
    beam: Literal["gaussian", "top-hat"] = "gaussian",
    clock_hz: Positive = 1e8,
    detector_efficiency: Share = 0.5,
    noise_hz: NonNegative = 25.0,
    gate_ns: Positive = 2.0,
    misalignment: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=0.5))] = 0.008,
    proof: str = "lim2014",
    eps_secrecy: Epsilon = 1e-9,
    as_json: Json = False,
) -> int:
    """Say how much key one pass gives, as one finite block of decoy-state BB84 from the satellite down.

    The orbit is a circle over an Earth that does not turn; `noclone satellite day` has real ones. What is assumed
    stands in the options: their values are those that we use for Micius (Liao et al., Nature 549, 43, 2017);
    `fixed_db` is ours, to meet its measured loss.

    Args:
        altitude_km: Of the orbit.
        highest_deg: Elevation at the highest point of the pass.
        lowest_deg: Nobody looks below this.
        divergence_urad: Full angle of the beam.
        aperture_m: Diameter of the ground telescope.
        pointing_urad: Standard deviation of the pointing, per axis.
        zenith_db: Loss in the air straight up.
        fixed_db: Optics, filters and coupling at both ends.
        noise_hz: Of each of four detectors, dark counts and the sky's light together.
        gate_ns: Width of the window in which a click counts.
    """
    from noclone.errors import InputError
    from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
    from noclone.link.satellite import Downlink, Pass
    from noclone.network.satellite_pass import key_of_pass
    from noclone.proofs.epsilon import Epsilons
    from noclone.records import DecoyBB84

    over = Pass(altitude_km, highest_deg, lowest_deg)
    downlink = Downlink(divergence_urad, aperture_m, pointing_urad, zenith_db, fixed_db, beam)
    protocol = DecoyBB84((0.8, 0.1, 1e-6), (0.5, 0.25, 0.25), 0.5, 0.5)
    try:
        receiver = Receiver(
            scheme="passive",
            efficiency=(detector_efficiency,) * 4,
            dark_count_hz=(noise_hz,) * 4,
            gate_ps=1000 * gate_ns,
            misalignment=misalignment,
        )
        devices = LinkDevices(Source(clock_hz, protocol), Fibre(0.0, 0.0), receiver)
    except ValueError as error:
        raise InputError(f"no such devices: {error}", hint="change --clock-hz, --gate-ns or --noise-hz") from None
    found = key_of_pass(over, downlink, devices, Epsilons(eps_secrecy, 1e-15), proof=proof)
    nearest = over.range_km(0.0)
    gives = f"{grouped(found.secret_bits)} secret bits ({proof}, secrecy {eps_secrecy:g})"
    lines = [
        f"a pass of {found.seconds:.0f} s, {nearest:.0f} km away at its highest ({highest_deg:g} degrees)",
        *_key_lines(found, gives),
        "expected by the model; no light was simulated",
    ]
    show({**asdict(found), "nearest_km": nearest, "proof": proof}, lines, as_json=as_json)
    return 0 if found.secret_bits else 1


def _key_lines(key: PassKey, gives: str) -> list[str]:
    return [
        f"  loss {key.losses_db[0]:.1f} to {key.losses_db[1]:.1f} dB, detectors excepted",
        f"  {grouped(key.sifted_bits)} sifted bits in the key basis at {key.qber:.2%} errors",
        f"  {gives if key.secret_bits else f'NO KEY: {key.reason}'}",
    ]


@satellite.command
def day(
    scenario: str = "micius",
    /,
    *,
    start: str | None = None,
    hours: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lte=744))] = None,
    as_json: Json = False,
) -> int:
    """Follow satellites for a day (SGP4): every pass over every station, by night and by day, and what they relay.

    Exits with 1 where no pass gives key. Needs the extra `satellite`; nothing is fetched at run time.

    Args:
        scenario: A file of satellites and stations, or a shipped one: micius.
        start: When to begin, as 2026-11-01 or 2026-11-01T12:00; as the file says where not given.
        hours: For how long.
    """
    from noclone.network.satellite_day import run_day
    from noclone.network.satellite_file import load_satellites

    brief = load_satellites(scenario).at(start, hours)
    with progress() as bar:
        task = bar.add_task(f"{brief.name}, {brief.hours:g} h", total=len(brief.satellite) * len(brief.station))
        found = run_day(brief, lambda: bar.advance(task))
    show(found.to_json(), _lines(found), as_json=as_json)
    return 0 if any(one.key.secret_bits for one in found.passes) else 1


def _lines(found: SatelliteDay) -> list[str]:
    brief = found.brief
    lines = [f"{brief.title or brief.name}: {brief.begins():%Y-%m-%d %H:%M} UTC and {brief.hours:g} h after"]
    for one in found.passes:
        key = one.key
        sky = "day" if one.sun_deg > 0 else "night" if one.sun_deg < -18 else "twilight"
        gives = f"{grouped(key.secret_bits)} secret bits, {key.qber:.2%} errors" if key.secret_bits else "no key"
        lines.append(
            f"  {one.start[:16]}  {one.satellite} over {one.station}: {key.seconds:.0f} s, up to {one.highest_deg:.0f}°"
            f" and {one.nearest_km:.0f} km, {key.losses_db[0]:.1f} to {key.losses_db[1]:.1f} dB, {sky}: {gives}"
        )
    if not found.passes:
        lines.append(f"  no satellite rises above {brief.lowest_deg:g}° anywhere")
    for carried in found.relayed:
        lines.append(
            f"  {' and '.join(carried.between)}: {grouped(carried.secret_bits)} secret bits over {carried.satellite}, "
            "which knows them and must be trusted"
        )
    for shared in found.from_orbit:
        if not shared.seconds:
            lines.append(f"  {' and '.join(shared.between)} are never in view of {shared.satellite} at once")
            continue
        gives = f"{grouped(shared.secret_bits)} secret bits" if shared.secret_bits else "no key from one block"
        lines.append(
            f"  {' and '.join(shared.between)}, pairs from {shared.satellite}, which need not be trusted: "
            f"{shared.seconds:.0f} s in view of both, {shared.pairs:.0f} pairs at {shared.qber:.2%} errors: {gives}"
        )
    lines += published_lines(beside(brief.published, found.best()))
    lines += origin_lines(brief.numbers(), brief.origins, "expected by the model under clear skies, no light simulated")
    if brief.source:
        lines.append(f"  {brief.source}")
    return lines
