"""BB84 over fibre in SeQUeNCe, an event-driven simulator: each photon is an object, each arrival an event.

In: loss_db, pulses, clock_hz, photons_per_pulse.  Out: pulses and photons simulated per second, and against its clock.
"""

import json
import math
import sys
import time
from importlib.metadata import version
from typing import Any

PULSES_PER_TRAIN = 4000
FIBRE_M = 1_000.0
FIDELITY = 0.98


def build(loss_db: float, clock_hz: float, photons_per_pulse: float, run_ps: float) -> tuple[Any, Any, Any]:
    """Return a timeline with Alice and Bob on it, as `sequence.topology` connects two nodes."""
    from sequence.components.optical_channel import ClassicalChannel, QuantumChannel
    from sequence.kernel.timeline import Timeline
    from sequence.qkd.BB84 import pair_bb84_protocols
    from sequence.topology.node import QKDNode

    timeline = Timeline(run_ps)
    timeline.show_progress = False
    alice, bob = QKDNode("alice", timeline, stack_size=1), QKDNode("bob", timeline, stack_size=1)
    for number, node in enumerate((alice, bob)):
        node.set_seed(number)
    pair_bb84_protocols(alice.protocol_stack[0], bob.protocol_stack[0])
    for here, there in ((alice, bob), (bob, alice)):
        light = QuantumChannel(f"q-{here.name}", timeline, loss_db / FIBRE_M, FIBRE_M, FIDELITY)
        light.set_ends(here, there.name)
        ClassicalChannel(f"c-{here.name}", timeline, FIBRE_M).set_ends(here, there.name)
    alice.update_lightsource_params("frequency", clock_hz)
    alice.update_lightsource_params("mean_photon_num", photons_per_pulse)
    receiver = bob.components["bob.qsdetector"]  # QKDNode.update_detector_params does not reach it in 0.8.5
    for number in range(2):
        for name, value in (("efficiency", 1.0), ("dark_count", 0), ("count_rate", 1e9), ("time_resolution", 10)):
            receiver.update_detector_params(number, name, value)
    return timeline, alice, bob


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run some trains of pulses, from the request to sifted bits, and check the bits of both ends."""
    import numpy as np

    np.random.seed(1)  # SeQUeNCe draws from the global generator
    clock_hz, mean = float(job.get("clock_hz", 80e6)), float(job["photons_per_pulse"])
    trains = max(2, round(int(job["pulses"]) / PULSES_PER_TRAIN))
    run_ps = (trains + 2) * PULSES_PER_TRAIN / clock_hz * 1e12  # the last two are still being talked about
    timeline, alice, bob = build(float(job["loss_db"]), clock_hz, mean, run_ps)
    timeline.init()
    source, sent = alice.components["alice.lightsource"], 0
    emit = source.emit

    def count(states: Any) -> None:
        nonlocal sent
        sent += len(states)
        emit(states)

    source.emit = count
    sender, receiver = alice.protocol_stack[0], bob.protocol_stack[0]
    # The key that is asked for never gets full, so that the sifted bits stay where they can be compared.
    sender.push(PULSES_PER_TRAIN * mean, 1, math.inf)
    sender.key_lengths[0] = math.inf
    start = time.perf_counter()
    timeline.run()
    elapsed_s = time.perf_counter() - start
    ours, theirs = sender.key_bits, receiver.key_bits
    sifted = min(len(ours), len(theirs))  # Alice has not yet heard which bits of the last train arrived
    errors = sum(a != b for a, b in zip(ours[:sifted], theirs[:sifted], strict=True))
    expected = trains * PULSES_PER_TRAIN * -math.expm1(-mean * 10 ** (-float(job["loss_db"]) / 10)) / 2
    if not 0.5 * expected < sifted < 1.5 * expected or errors > 0.1 * sifted:
        raise SystemExit(f"SeQUeNCe sifted {sifted} bits with {errors} errors where about {expected:.0f} were expected")
    return {
        "peer": f"SeQUeNCe {version('sequence')}",
        "pulses_per_s": sent / elapsed_s,
        "photons_per_s": source.photon_counter / elapsed_s,
        "clock_hz": clock_hz,
        "realtime_factor": sent / elapsed_s / clock_hz,
        "sifted_bits": sifted,
        "qber": errors / sifted,
        "verified": "both ends' sifted bits agree but for the fibre's errors, and are as many as expected",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))) + "\n")
