"""`noclone satellite`: how much key one pass of a satellite over a ground station gives."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from noclone.cli.terminal import Json, grouped, show

Km = Annotated[float, Parameter(validator=validators.Number(gte=150, lte=50_000))]
Degrees = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=90))]
Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]
NonNegative = Annotated[float, Parameter(validator=validators.Number(gte=0))]
Share = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))]


def satellite(
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
    misalignment: NonNegative = 0.008,
    proof: str = "lim2014",
    eps_secrecy: Positive = 1e-9,
    as_json: Json = False,
) -> int:
    """Say how much key one pass gives, as one finite block of decoy-state BB84 from the satellite down.

    The orbit is a circle over an Earth that does not turn. What is assumed stands in the options: their values are
    those that we use for Micius (Liao et al., Nature 549, 43, 2017); `fixed_db` is ours, to meet its measured loss.

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
    from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
    from noclone.link.satellite import Downlink, Pass
    from noclone.network.satellite_pass import key_of_pass
    from noclone.proofs.epsilon import Epsilons
    from noclone.records import DecoyBB84

    over = Pass(altitude_km, highest_deg, lowest_deg)
    downlink = Downlink(divergence_urad, aperture_m, pointing_urad, zenith_db, fixed_db, beam)
    receiver = Receiver(
        scheme="passive",
        efficiency=(detector_efficiency,) * 4,
        dark_count_hz=(noise_hz,) * 4,
        gate_ps=1000 * gate_ns,
        misalignment=misalignment,
    )
    protocol = DecoyBB84((0.8, 0.1, 1e-6), (0.5, 0.25, 0.25), 0.5, 0.5)
    found = key_of_pass(
        over,
        downlink,
        LinkDevices(Source(clock_hz, protocol), Fibre(0.0, 0.0), receiver),
        Epsilons(eps_secrecy, 1e-15),
        proof=proof,
    )
    nearest = over.range_km(0.0)
    lines = [
        f"a pass of {found.seconds:.0f} s, {nearest:.0f} km away at its highest ({highest_deg:g} degrees)",
        f"  loss {found.losses_db[0]:.1f} to {found.losses_db[1]:.1f} dB, detectors excepted",
        f"  {grouped(found.sifted_bits)} sifted bits in the key basis at {found.qber:.2%} errors",
        f"  {grouped(found.secret_bits)} secret bits ({proof}, secrecy {eps_secrecy:g})"
        if found.secret_bits
        else f"  NO KEY: {found.reason}",
        "expected by the model; no light was simulated",
    ]
    show({**asdict(found), "nearest_km": nearest, "proof": proof}, lines, as_json=as_json)
    return 0 if found.secret_bits else 1
