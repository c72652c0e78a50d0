"""Attacks on the doors of a KME, over real TLS on this machine: rogue authorities, impostors, floods, slow clients.

In: a served KME.  Out: `Row`s. Authorities: a certificate is worth what its issuer is, so one that a trusted authority
mis-issues is as good as the real one. Floods and slow clients: what an honest application's request takes meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from noclone.client import Etsi014Client
from noclone.errors import NocloneError
from noclone.io import tls
from noclone.kms.peer_link import PeerLink
from noclone.kms.service import KmeService
from noclone.network.identities import load_kme
from noclone.network.pki import create_pki
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, doors, stage

FLOOD = 300
SLOW = 60
WAIT_S = 5.0


def client(one: Stage, service: KmeService, sae: str, pki: Path | None = None) -> Etsi014Client:
    """Return an application's client, with its own certificate or with one from another folder."""
    place = (pki or one.folder / "pki") / "saes" / sae
    return Etsi014Client(
        service.url,
        certificate=place / "sae.crt",
        key=place / "sae.key",
        ca=one.folder / "pki" / "saes" / "sae-a" / "kme-ca.crt",
        timeout_s=WAIT_S,
    )


async def _ask(one: Stage, service: KmeService, sae: str, to: str, pki: Path | None = None) -> str:
    """Ask for the status; return why it was refused, or nothing."""

    def call() -> str:
        try:
            with client(one, service, sae, pki) as application:
                application.status(to)
        except NocloneError as error:
            return error.message
        return ""

    return await asyncio.to_thread(call)


async def _rogue(defended: bool) -> Row:
    async with stage([("a", "z")]) as one:
        forged = one.folder / "forged"
        if not defended:  # the authority that everybody trusts signs for Eve
            source = one.folder / "pki" / "authority"
            (forged / "authority").mkdir(parents=True, mode=0o700)
            forged.chmod(0o700)
            for file in source.iterdir():
                target = forged / "authority" / file.name
                target.write_bytes(file.read_bytes())
                target.chmod(0o600)
        create_pki(forged, kmes={"a": ["127.0.0.1"]}, saes=["sae-a"])
        async with doors(one, ["a"]) as services:
            problem = await _ask(one, services["a"], "sae-a", "sae-z", forged)
        return Row(
            "rogue-authority",
            defended,
            0.0 if problem else 1.0,
            0 if problem else 256,
            0.0 if problem else 256.0,
            "refused" if problem else "broken",
            detected_after=1 if problem else None,
            unit="requests",
            noticed_by=("tls.refused",) if problem else (),
            note="refused in the handshake"
            if problem
            else "what a trusted authority signs is believed: keys of sae-a are Eve's to ask for",
        )


async def _impostor() -> Row:
    async with stage([("a", "z"), ("c", "z")]) as one, doors(one, ["a", "c"]) as services:
        identity = load_kme(one.folder / "pki", "a")
        context = tls.client_context(identity.certificate, identity.key, identity.kme_ca)
        link = PeerLink(one.kmes["a"], "z", ("127.0.0.1", services["c"].kme_port), context)  # c answers for z
        link.start()
        try:
            deadline = time.monotonic() + WAIT_S
            while link.problem == "not connected yet" and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            believed, problem = link.connected, link.problem
        finally:
            await link.stop()
    return Row(
        "kme-impostor",
        True,
        float(believed),
        0,
        0.0,
        "broken" if believed else "refused",
        detected_after=None if believed else 1,
        unit="requests",
        noticed_by=() if believed else ("identity",),
        note=problem,
    )


async def _while_waiting(one: Stage, service: KmeService) -> tuple[float, int]:
    """Ask as an honest application, again and again; return the longest wait and how often nobody answered."""
    longest, failed = 0.0, 0
    for _ in range(5):
        started = time.monotonic()
        failed += bool(await _ask(one, service, "sae-a", "sae-z"))
        longest = max(longest, time.monotonic() - started)
    return longest, failed


async def _connect(service: KmeService, speak: bytes) -> asyncio.StreamWriter | None:
    """Open a connection and say something that is no handshake, or nothing."""
    host, port = service.url.removeprefix("https://").split(":")
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(speak)
        return writer
    return None


async def _flood(name: str, count: int, speak: bytes) -> Row:
    async with stage([("a", "z")]) as one, doors(one, ["a"]) as services:
        calm, _ = await _while_waiting(one, services["a"])
        writers = [await _connect(services["a"], speak) for _ in range(count)]
        longest, failed = await _while_waiting(one, services["a"])
        for writer in writers:
            if writer is not None:
                writer.close()
        refused = sum(event.kind == "tls.refused" for event in one.log)
    return Row(
        name,
        True,
        0.0,
        0,
        0.0,
        "no service" if failed else "service",
        detected_after=1 if refused else None,
        unit="requests",
        noticed_by=("tls.refused",) if refused else (),
        note=f"{count} connections; an honest request took {1000 * longest:.0f} ms at most "
        f"({1000 * calm:.0f} ms before), {failed} of 5 failed",
    )


def rogue_authority(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Come with a certificate of another authority; undefended, of the trusted one."""
    return asyncio.run(_rogue(defended))


def kme_impostor(_seed: bytes, defended: bool, _strength: float) -> Row | None:
    """Answer for another KME."""
    return asyncio.run(_impostor()) if defended else None


def request_flood(_seed: bytes, defended: bool, strength: float) -> Row | None:
    """Send many connections that talk nonsense."""
    return (
        asyncio.run(_flood("request-flood", max(1, int(strength * FLOOD)), b"GET / HTTP/1.0\r\n\r\n"))
        if defended
        else None
    )


def slow_clients(_seed: bytes, defended: bool, strength: float) -> Row | None:
    """Open many connections and say nothing."""
    return asyncio.run(_flood("slow-clients", max(1, int(strength * SLOW)), b"")) if defended else None
