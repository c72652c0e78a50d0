"""Attacks on nodes and applications of a running network, each until it is stopped; see `network.live_attacks`.

In: the ground, a target, a strength.  Out: `eve.got-key` events, in which what she has is counted against the real key;
what monitors see comes from the KMEs that she asks. The certificates and memory that she uses are the network's own:
they are what is stolen.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from noclone.client import Etsi014Client
from noclone.crypto.secret_sharing import join
from noclone.errors import KmeError
from noclone.kms.kme import Kme
from noclone.kms.relay_messages import CONFIRMATION_BYTES
from noclone.network.identities import load_sae
from noclone.network.live_attacks import Ground, LiveAttack
from noclone.records import SecretKey
from noclone.relayed import RelayProvenance

PAUSE_S = 0.1  # between two requests of a thief, at full strength
GREED = 64  # keys in a request of who wants all
FLOOD = 50  # connections of a wave, at full strength
WAVE_S = 0.5
TELL_S = 1.0  # what a thief has is said so often at most
SILENCE_S = 5.0  # for which slow clients hold their connections


async def compromised_node(ground: Ground, name: str, _strength: float) -> None:
    """Read a node's memory: the shares that pass, and with enough of them the key."""
    pads: dict[str, bytes] = {}
    shares: dict[str, dict[int, bytes]] = {}
    told: set[str] = set()
    kme = ground.nodes[name].service.kme
    open_share, collect = kme.handlers["relay-share"], kme.store.collect

    async def collected(*arguments: Any) -> Any:
        keys = await collect(*arguments)
        pads.update({key.key_id: key.value for key in keys})
        return keys

    async def share_came(peer: str, data: dict[str, Any]) -> dict[str, Any]:
        answer = await open_share(peer, data)
        message = data["message"]
        pad = pads.pop(message["key_id"], None)
        if pad is not None:
            sealed = base64.b64decode(message["data"])
            share = bytes(x ^ y for x, y in zip(sealed, pad[-len(sealed) :], strict=True))
            shares.setdefault(message["header"]["transfer"], {})[message["share"]] = share
        return answer

    def watched(other: Kme) -> Callable[[SecretKey, str], Awaitable[bool]]:
        deposit = other.deposit

        async def deposited(secret: SecretKey, peer: str) -> bool:
            made = secret.provenance
            if isinstance(made, RelayProvenance) and name in made.nodes and made.transfer not in told:
                told.add(made.transfer)
                hers = shares.pop(made.transfer, {})
                known = len(hers) >= made.threshold and _joined(hers, made) == secret.to_bytes()
                _got(ground, f"node:{name}", "compromised-node", secret.n_bits, secret.n_bits * known, made.link)
            return await deposit(secret, peer)

        return deposited

    others = [node.service.kme for other, node in ground.nodes.items() if other != name]
    with contextlib.ExitStack() as undo:
        kme.handlers["relay-share"] = share_came
        undo.callback(kme.handlers.__setitem__, "relay-share", open_share)
        undo.enter_context(_instead(kme.store, "collect", collected))
        for other in others:
            undo.enter_context(_instead(other, "deposit", watched(other)))
        await asyncio.Event().wait()


def _joined(shares: dict[int, bytes], made: RelayProvenance) -> bytes:
    return bytes(join(shares, made.threshold, len(made.shares)))[:-CONFIRMATION_BYTES]


@contextlib.contextmanager
def _instead(owner: object, method: str, other: Any) -> Iterator[None]:
    """Put something else in the place of a method of one object, for a while."""
    setattr(owner, method, other)
    try:
        yield
    finally:
        delattr(owner, method)


async def stolen_sae_certificate(ground: Ground, sae: str, strength: float) -> None:
    """Ask for new keys as an application whose certificate was stolen, now and then."""
    await _ask_as(ground, sae, "stolen-sae-certificate", 1, PAUSE_S / strength)


async def key_exhaustion(ground: Ground, sae: str, strength: float) -> None:
    """Take all key that an application can have, as fast as it comes."""
    await _ask_as(ground, sae, "key-exhaustion", max(1, int(GREED * strength)), PAUSE_S)


async def _ask_as(ground: Ground, sae: str, attack: str, number: int, pause_s: float) -> None:
    scenario = ground.scenario
    home = scenario.sae(sae).node
    peers = [other.id for other in scenario.saes if other.node != home]
    identity = load_sae(ground.pki, sae)
    host, port = scenario.etsi014_address(home)
    with Etsi014Client(
        f"https://{host}:{port}", certificate=identity.certificate, key=identity.key, ca=identity.kme_ca
    ) as thief:
        loop = asyncio.get_running_loop()
        since_s, bits = loop.time(), 0
        while True:
            for peer in peers:
                with contextlib.suppress(KmeError):  # refused, or none left: she comes again
                    got = await asyncio.to_thread(thief.enc_keys, peer, number)
                    bits += sum(8 * len(key.value) for key in got.keys)
                await asyncio.sleep(pause_s)
            if bits and loop.time() - since_s >= TELL_S:
                _got(ground, f"sae:{sae}", attack, bits, bits)
                since_s, bits = loop.time(), 0


async def request_flood(ground: Ground, node: str, strength: float) -> None:
    """Open wave after wave of connections that talk nonsense."""
    while True:
        await _wave(ground, node, max(1, int(FLOOD * strength)), b"GET / HTTP/1.0\r\n\r\n", WAVE_S)


async def slow_clients(ground: Ground, node: str, strength: float) -> None:
    """Hold many connections on which nothing is said."""
    while True:
        await _wave(ground, node, max(1, int(FLOOD * strength)), b"", SILENCE_S)


async def _wave(ground: Ground, node: str, count: int, speak: bytes, hold_s: float) -> None:
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(*ground.scenario.etsi014_address(node))
                writers.append(writer)
                writer.write(speak)
        await asyncio.sleep(hold_s)
    finally:
        for writer in writers:
            writer.transport.abort()


def _got(ground: Ground, subject: str, attack: str, key_bits: int, known_bits: int, of: str = "") -> None:
    more = {"of": of} if of else {}
    ground.log.add("eve.got-key", subject, attack=attack, key_bits=key_bits, known_bits=known_bits, **more)


LIVE_ATTACKS: dict[str, LiveAttack] = {
    attack.name: attack
    for attack in (
        LiveAttack("compromised-node", "node", compromised_node),
        LiveAttack("request-flood", "node", request_flood),
        LiveAttack("slow-clients", "node", slow_clients),
        LiveAttack("stolen-sae-certificate", "application", stolen_sae_certificate),
        LiveAttack("key-exhaustion", "application", key_exhaustion),
    )
}
