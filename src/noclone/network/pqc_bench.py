"""How fast post-quantum cryptography is here: combining key, exchanging it, and TLS with ML-DSA-65 on both sides.

TLS is measured between two processes on this machine over loopback, the server with the HTTP stack of the KMEs'
doors and an answer of 64 bytes; who calls shares the cores with who answers.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from noclone.crypto.combiners import MODES, Transcript, combine, named, qkd_bytes
from noclone.crypto.kems import PrivateKeys, encapsulate
from noclone.io import tls
from noclone.io.https import HttpsServer
from noclone.network.pki import create_pki
from noclone.process import uninterrupted_children

BLOCK_BYTES = 16_384
KEY_BYTES = 32
SUITES = ("mlkem768-x25519", "mlkem1024-x25519", "mlkem768-hqc192-x25519")
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"x" * 64
READY_TIMEOUT_S = 60.0


def bench_post_quantum(*, seconds: float = 4.0, at_once: int = 8) -> dict[str, Any]:
    """Measure combiners, exchanges and TLS.

    Args:
        seconds: How long each figure is measured.
        at_once: Connections, or handshakes, under way at the same time.
    """
    return {
        "by_combiner": {mode: {"combined_keys_per_s": _combining(mode, seconds / 8)} for mode in MODES},
        "named_keys_per_s": _naming(seconds / 8),
        "by_suite": {name: {"exchanges_per_s": _exchanging(name, seconds / 8)} for name in SUITES},
        **_tls(seconds, at_once),
    }


def _rate(work: Any, per_call: int, seconds: float) -> float:
    """Return units of work a second: the best of three runs."""
    best = 0.0
    for _ in range(3):
        count, begin = 0, time.perf_counter()
        while (now := time.perf_counter()) < begin + seconds / 3 or not count:
            work()
            count += per_call
        best = max(best, count / (now - begin))
    return best


def _combining(mode: Any, seconds: float) -> float:
    said = Transcript(os.urandom(2000), os.urandom(2000))
    qkd = None if mode == "kem" else os.urandom(qkd_bytes(mode, BLOCK_BYTES))
    secrets = (os.urandom(32), os.urandom(32))
    return _rate(lambda: combine(mode, qkd, secrets, said, BLOCK_BYTES), BLOCK_BYTES // KEY_BYTES, seconds)


def _naming(seconds: float) -> float:
    value, names = os.urandom(KEY_BYTES), {"key_ID": "x" * 36, "master SAE": "a", "slave SAEs": ["b"], "KMEs": "a b"}
    return _rate(lambda: named(value, names), 1, seconds)


def _exchanging(name: str, seconds: float) -> float:
    def work() -> None:
        keys = PrivateKeys(name)
        _, ciphertexts = encapsulate(name, keys.public)
        keys.open(ciphertexts)

    return _rate(work, 1, seconds)


def _tls(seconds: float, at_once: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="noclone-bench-") as temporary:
        place = Path(temporary) / "pki"
        create_pki(place, kmes={"kme": []}, saes=["sae"])
        parent, child = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(place, child), daemon=True)
        with uninterrupted_children():
            server.start()
        try:
            if not parent.poll(READY_TIMEOUT_S):
                raise RuntimeError("the server of the bench did not start")
            return asyncio.run(_call(place, parent.recv(), seconds, at_once))
        finally:
            parent.close()
            server.join(5)
            server.kill()


def _serve(place: Path, ready: Connection) -> None:
    own = place / "kmes/kme"
    post = tls.Post(tls.Identity(own / "kme-pq.crt", own / "kme-pq.key", own / "sae-pq-ca.crt"), required=True)
    context = tls.server_context(own / "kme.crt", own / "kme.key", own / "sae-ca.crt", post=post)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    async def run() -> None:
        server = await HttpsServer.start(app, context)
        ready.send(server.port)
        await asyncio.to_thread(_wait_for_end, ready)
        await server.stop(0.1)

    with suppress(BrokenPipeError):  # who started us has left: so do we
        asyncio.run(run())


def _wait_for_end(ready: Connection) -> None:
    try:
        ready.recv()
    except EOFError:
        return


async def _call(place: Path, port: int, seconds: float, at_once: int) -> dict[str, Any]:
    own = place / "saes/sae"
    post = tls.Post(tls.Identity(own / "sae-pq.crt", own / "sae-pq.key", own / "kme-pq-ca.crt"), required=True)
    context = tls.client_context(own / "sae.crt", own / "sae.key", own / "kme-ca.crt", post=post)
    new = await _count(lambda: _once(context, port), seconds, at_once)
    streams = [await tls.connect_streams(context, "127.0.0.1", port) for _ in range(at_once)]
    group = streams[0][2].get_extra_info("tls")["group"]
    idle = list(streams)

    async def again() -> None:
        reader, writer, _ = stream = idle.pop()
        await _ask(reader, writer)
        idle.append(stream)

    kept = await _count(again, seconds, at_once)
    for _, writer, _ in streams:
        writer.close()
    return {"group": group, "certificates": "ML-DSA-65", "new_connections_per_s": new, "kept_requests_per_s": kept}


async def _count(work: Any, seconds: float, at_once: int) -> float:
    begin = time.perf_counter()
    done = 0

    async def repeat() -> None:
        nonlocal done
        while time.perf_counter() < begin + seconds:
            await work()
            done += 1

    await asyncio.gather(*(repeat() for _ in range(at_once)))
    return done / (time.perf_counter() - begin)


async def _once(context: SSL.Context, port: int) -> None:
    reader, writer, _ = await tls.connect_streams(context, "127.0.0.1", port)
    await _ask(reader, writer)
    writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))
