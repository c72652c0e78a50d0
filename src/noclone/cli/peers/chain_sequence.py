"""A chain of repeaters in SeQUeNCe, an event-driven simulator: reservation, Barrett-Kok links, swaps, all by messages.

In: nodes, length_km of a link, emission, seconds of the network's time.  Out: pairs between the ends per second here.
"""

import json
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

DB_PER_KM, FIDELITY = 0.2, 0.98
START_PS, PS = int(1e11), 1e12


def description(nodes: int, length_km: float, emission: float, end_ps: int) -> dict[str, Any]:
    """Return the network as SeQUeNCe's own files describe it: one memory to either side of each router."""
    metres, delay = length_km * 1e3, length_km * 1e3 / 2e-4
    names = [f"router_{i}" for i in range(nodes)]
    memory = {"efficiency": emission, "frequency": 1e6, "fidelity": FIDELITY, "coherence_time": -1}
    return {
        "is_parallel": False,
        "stop_time": end_ps,
        "formalism": "ket_vector",
        "templates": {"node": {"MemoryArray": memory}},
        "nodes": [
            {
                "name": name,
                "type": "QuantumRouter",
                "seed": i,
                "memo_size": 1 if i in (0, nodes - 1) else 2,
                "template": "node",
            }
            for i, name in enumerate(names)
        ],
        "qconnections": [
            {
                "node1": a,
                "node2": b,
                "attenuation": DB_PER_KM / 1e3,
                "distance": metres,
                "type": "meet_in_the_middle",
                "seed": i,
            }
            for i, (a, b) in enumerate(pairwise(names))
        ],
        "cconnections": [
            {"node1": names[i], "node2": names[j], "delay": (j - i) * delay}
            for i in range(nodes)
            for j in range(i + 1, nodes)
        ],
    }


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Ask for pairs between the ends for some of the network's time, and count those that come."""
    from sequence.app.request_app import RequestApp
    from sequence.topology.router_net_topo import RouterNetTopo

    nodes, seconds = int(job["nodes"]), float(job["seconds"])
    end_ps = START_PS + int(seconds * PS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.json"
        path.write_text(json.dumps(description(nodes, float(job["length_km"]), float(job["emission"]), end_ps + 10)))
        network = RouterNetTopo(str(path))
    timeline = network.get_timeline()
    routers = {router.name: router for router in network.get_nodes_by_type("QuantumRouter")}
    asking, asked = (RequestApp(routers[f"router_{i}"]) for i in (0, nodes - 1))
    timeline.init()
    asking.start(asked.node.name, START_PS, end_ps, 1, 0.1)
    began = time.perf_counter()
    timeline.run()
    elapsed_s = time.perf_counter() - began
    if asking.memory_counter == 0:
        raise SystemExit(f"SeQUeNCe delivered no pair over {nodes} nodes in {seconds:g} s of the network's time")
    return {
        "peer": f"SeQUeNCe {version('sequence')}",
        "pairs": asking.memory_counter,
        "pairs_per_s": asking.memory_counter / elapsed_s,
        "pairs_per_network_s": asking.memory_counter / seconds,
        "events_per_s": timeline.run_counter / elapsed_s,
        "wall_s": elapsed_s,
        "verified": "the pairs are those that its own application at the near end was handed",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))) + "\n")
