"""Events in words, for people: one line each, or nothing where it is no news."""

from __future__ import annotations

from typing import Any

from noclone.events import Event

ONE_END_WILL_DO = ("block.distilled", "block.aborted", "vendor.drawn")


def tell(event: Event, *, both_ends: bool = False) -> str:
    """Say what an event is about, without its subject; nothing where it is no news for people.

    Args:
        both_ends: Say also what Bob's end reports; where both run here, Alice's is enough.
    """
    if event.data.get("end") == "bob" and event.kind in ONE_END_WILL_DO and not both_ends:
        return ""
    return _of_eve(event) or _of_steering(event) or _of_the_network(event)


def _of_eve(event: Event) -> str:
    data: dict[str, Any] = event.data
    match event.kind:
        case "attack.started":
            return f"Eve: {data['name']}, strength {data['strength']:g}"
        case "attack.stopped":
            return f"Eve has left ({data['name']})"
        case "eve.learned":
            return f"Eve's record of block {data['block']} is worth {data['per_sifted_bit']:.3f} bit of each sifted bit"
        case "eve.got-key":
            of = f" of {data['of']}" if data.get("of") else ""
            return f"Eve has {_grouped(data['known_bits'])} of {_grouped(data['key_bits'])} key bits{of}"
        case "attack.failed":
            return f"Eve gave up ({data['name']}): {data['message']}"
    return ""


def _of_steering(event: Event) -> str:
    """What an operator did, or an alarm's response."""
    data: dict[str, Any] = event.data
    match event.kind:
        case "link.stopped":
            if data.get("by"):
                return "stopped by the operator"
            round_it = ", and relays go round it" if data.get("then") == "re-route" else ""
            return f"STOPPED after the alarm {data.get('monitor', '')}: it makes no more blocks{round_it}"
        case "link.started":
            return "started again by the operator"
        case "node.draining":
            return "is being drained by the operator: it makes no key and carries none; what is stored is served"
        case "node.drained":
            return "is drained: nothing is under way, and it can be taken down"
        case "node.resumed":
            return "goes on, says the operator"
        case "kek.rotated":
            return f"its key store is sealed under key-encryption key {data['generation']}, by the operator"
        case "identity.issued":
            return "gets new keys and certificates from the operator, and takes them up in seconds"
    return ""


def _noise(data: dict[str, Any]) -> str:
    """Return how noisy a block was: its error rate, or of continuous variables the noise beyond the light's own."""
    if data["qber"] is not None:
        return f", error rate {data['qber']:.2%}"
    seen = data.get("quadratures")
    return f", excess noise {seen['excess']:.4f} of the shot noise" if seen else ""


def _of_the_network(event: Event) -> str:
    data: dict[str, Any] = event.data
    match event.kind:
        case "block.distilled":
            return f"block {data['block']}: {_grouped(data['secret_bits'])} secret bits{_noise(data)}"
        case "block.aborted":
            return f"block {data['block']}: NO KEY ({data['reason']}): {data['message']}"
        case "node.started":
            return f"ETSI GS QKD 014 at {data['etsi014']}"
        case "fibre.started":
            return "its light is on"
        case "kme.connected":
            return f"reaches the KME of {data['peer']}"
        case "kme.disconnected":
            return f"has lost the KME of {data['peer']}"
        case "person.paged":
            return f"calls {data['whom'] or 'somebody'}: {data['monitor']}"
        case "link.down":
            return f"{data['end']}: {data['message']}; trying again"
        case "vendor.drawn":
            return f"block {data['block']}: {_grouped(data['bits'])} bits drawn from the vendor ({data['origin']})"
        case "vendor.lost":
            return f"{data['end']}: {data['keys']} keys of the vendor's were lost: {data['reason']}"
        case "border.opened":
            return f"ETSI GS QKD 020 at {data['etsi020']}"
        case "border.failed" | "border.lost":
            return f"{data['keys']} keys did not cross: {data['reason']}"
        case "link.up":
            return f"{data['end']}: works again"
        case "key.delivered":
            more = f" and the {data['keys'] - 1} after it" if data.get("keys", 1) > 1 else ""
            return f"key {data['key_id']}{more} ({data['bits']} bits)"
        case "kme.refused" | "tls.refused":
            return f"refused: {data['reason']}"
        case "key.refused":
            return f"the peer refused {len(data['keys'])} keys: {', '.join(data['reasons'])}"
        case "exchange.made" if data["at"] < event.subject.partition("+")[2]:  # both ends say so; one is enough
            return f"block {data['block']}: {_grouped(data['bits'])} bits by {' and '.join(data['kems'])}"
        case "exchange.stalled":
            return f"no combined key with {data['peer']}: {data['reason']}"
        case "link.bootstrapped":
            return f"{data['at']}: bootstrap number {data['number']} by {' and '.join(data['signatures'])}"
        case "identity.renewed":
            return f"goes on with renewed certificates; {data['revoked']} are revoked"
        case "identity.refused" | "suites.refused":
            return f"keeps what it had: {data['reason']}"
        case "suites.changed":
            return f"suites in force: {', '.join(data['accepted'])}"
        case "root.pinned":
            return f"pins the root of trust, SHA-256 {data['fingerprint']}"
        case "alarm.raised":
            return f"ALARM {data.get('monitor', '')}: {data.get('message', '')}"
        case "verdict.changed":
            return f"VERDICT {data['code']}: {data['sentence']}"
    return ""


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
