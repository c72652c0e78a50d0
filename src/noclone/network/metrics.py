"""What an operator watches: counters and gauges of a node, as Prometheus reads them.

In: the event log, and the KMEs whose pools are looked at when somebody asks.  Out: the text of `/metrics`. Names carry
their units. Labels are names of the scenario and words of our own, so their number is bounded; no key, no id of a key
and no address is among them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from noclone.errors import NocloneError
from noclone.events import Event, EventLog
from noclone.kms.answers import Answer
from noclone.kms.service import KmeService
from noclone.kms.store import PoolState

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the text; nobody asks for them
POOL_WAIT_S = 2.0
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The numbers of the nodes that run in this process.

    Args:
        log: What happens is counted from its events, from now on.
        sites: Which KME serves each application: events name applications, dashboards want sites.
    """

    def __init__(self, log: EventLog, sites: Mapping[str, str]) -> None:
        self._sites = dict(sites)
        self._kmes: dict[str, KmeService] = {}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"noclone_{name}", text, labels, registry=registry)

        self._secret = counter("secret_key_bits", "Secret bits distilled.", "link", "end")
        self._blocks = counter("blocks", "Blocks of detections that ended, by outcome.", "link", "end", "outcome")
        self._delivered = counter("keys_delivered", "Keys handed to applications.", "kme")
        self._delivered_bits = counter("key_bits_delivered", "Bits of them.", "kme")
        self._refused = counter("requests_refused", "Requests of applications refused.", "kme", "status", "reason")
        self._expired = counter("keys_expired", "Keys erased because nobody collected them in time.", "kme")
        self._doors = counter("connections_refused", "Connections refused at a door.", "kme", "plane", "reason")
        self._relays = counter("relay_blocks", "Blocks relayed, by what became of them here.", "kme", "outcome")
        self._relayed = counter("relayed_key_bits", "Bits of key relayed, counted where they begin.", "kme", "profile")
        self._stalls = counter("relay_stalls", "Times that a pool began to get no key.", "kme", "peer", "profile")
        self._drawn = counter("vendor_key_bits", "Bits drawn from a vendor's QKD system.", "link", "end", "origin")
        self._lost = counter("vendor_keys_lost", "Keys of a vendor's that came to nothing.", "link", "end", "reason")
        self._border = counter("border_keys", "Keys to and from other domains, by outcome.", "domain", "outcome")
        self._combined = counter("combined_key_bits", "Bits of key combined, at each end.", "kme", "profile")
        self._starved = counter("exchange_stalls", "Times that a pool began to get no combined key.", "kme", "peer")
        self._identity = counter("identity_changes", "Certificates or suites that changed, by outcome.", "kme", "what")
        self._alarms = counter("alarms", "Alarms of the monitors.", "subject", "monitor")
        self._qber = Gauge("noclone_qber_ratio", "Error rate of the last block.", ["link", "end"], registry=registry)
        self._last = Gauge(
            "noclone_last_block_timestamp_seconds", "When the last block gave key.", ["link", "end"], registry=registry
        )
        self.latency = Histogram(
            "noclone_request_duration_seconds",
            "How long requests of applications take.",
            ["kme", "call", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        registry.register(_Pools(self._kmes))
        log.listen(self._count)

    def watch(self, name: str, kme: KmeService) -> None:
        """Look at this KME's pools from now on."""
        self._kmes[name] = kme

    def forget(self, name: str) -> None:
        """Look at it no more: it is about to stop."""
        self._kmes.pop(name, None)

    def timer(self, kme: str) -> Callable[[str, int, float], None]:
        """Return what takes the duration of each request of a KME's applications."""

        def took(call: str, status: int, seconds: float) -> None:
            self.latency.labels(kme, call, status).observe(seconds)

        return took

    def exposition(self) -> bytes:
        """Return all numbers in Prometheus's text format."""
        return generate_latest(self.registry)

    def _count(self, event: Event) -> None:
        name = event.subject.partition(":")[2]
        data = event.data
        match event.kind:
            case "block.distilled":
                end = str(data.get("end", ""))
                self._secret.labels(name, end).inc(data["secret_bits"])
                self._blocks.labels(name, end, "distilled").inc()
                if data["qber"] is not None:
                    self._qber.labels(name, end).set(data["qber"])
                self._last.labels(name, end).set(event.time_s)
            case "block.aborted":
                end = str(data.get("end", ""))
                self._blocks.labels(name, end, data["reason"]).inc()
                if data.get("qber") is not None:
                    self._qber.labels(name, end).set(data["qber"])
            case "vendor.drawn":
                self._drawn.labels(name, data["end"], data["origin"]).inc(data["bits"])
                self._last.labels(name, data["end"]).set(event.time_s)
            case "vendor.lost":
                self._lost.labels(name, data["end"], data["reason"]).inc(data["keys"])
            case "border.out" | "border.in" | "border.failed" | "border.lost":
                self._border.labels(name, event.kind.partition(".")[2]).inc(data["keys"])
            case "key.delivered":
                kme = self._sites.get(name, "unknown")
                self._delivered.labels(kme).inc(data.get("keys", 1))
                self._delivered_bits.labels(kme).inc(data["bits"])
            case "request.refused":
                self._refused.labels(name, data["status"], data["reason"]).inc()
            case "key.expired":
                self._expired.labels(name).inc(data["keys"])
            case "tls.refused":
                self._doors.labels(name, data["plane"], "tls").inc()
            case "kme.refused":
                self._doors.labels(name, "kme", "hello").inc()
            case "relay.made" | "relay.received" | "relay.lost" | "relay.failed" | "relay.refused":
                self._relays.labels(data["at"], event.kind.partition(".")[2]).inc()
                if event.kind == "relay.made":
                    self._relayed.labels(data["at"], data["profile"]).inc(data["bits"])
            case "relay.stalled":
                self._stalls.labels(name, data["peer"], data["profile"]).inc()
            case "exchange.made":
                self._combined.labels(data["at"], data["profile"]).inc(data["bits"])
            case "exchange.stalled":
                self._starved.labels(name, data["peer"]).inc()
            case "identity.renewed" | "identity.refused" | "suites.changed" | "suites.refused":
                self._identity.labels(name, event.kind).inc()
            case "alarm.raised":
                self._alarms.labels(event.subject, data.get("monitor", "")).inc()


class _Pools:
    """Looks at the pools when it is asked to; a store that does not answer in time is left out of that answer."""

    def __init__(self, kmes: Mapping[str, KmeService]) -> None:
        self._kmes = kmes

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        stored = GaugeMetricFamily("noclone_stored_key_bits", "Key in a pool.", labels=["kme", "peer", "state"])
        waiting = GaugeMetricFamily("noclone_reserved_keys", "Keys that wait for recipients.", labels=["kme", "peer"])
        reach = GaugeMetricFamily("noclone_kme_connected", "Whether the other KME is in reach.", labels=["kme", "peer"])
        for (name, peer), state in self._states().items():
            stored.add_metric([name, peer, "ready_out"], state.ready_out_bits)
            stored.add_metric([name, peer, "ready_in"], state.ready_in_bits)
            stored.add_metric([name, peer, "held"], state.held_bits)
            waiting.add_metric([name, peer], state.reserved_keys)
        for name, service in tuple(self._kmes.items()):
            for peer, calls in tuple(service.kme.peers.items()):
                reach.add_metric([name, peer], float(calls.connected))
        return [stored, waiting, reach]

    def _states(self) -> dict[tuple[str, str], PoolState]:
        asked: dict[tuple[str, str], Answer[PoolState]] = {}
        for name, service in tuple(self._kmes.items()):
            for peer in tuple(service.kme.peers):
                asked[name, peer] = service.kme.store.pool(peer)
        until_s, found = time.monotonic() + POOL_WAIT_S, {}
        for place, answer in asked.items():
            with contextlib.suppress(TimeoutError, NocloneError):
                found[place] = answer.result(max(0.0, until_s - time.monotonic()))
        return found
