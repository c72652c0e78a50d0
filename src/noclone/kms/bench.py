"""How many keys a second two live KMEs hand out: enc_keys over kept-alive mutual TLS, durable at both ends.

Everything runs on this machine over loopback: each KME in a process of its own, the clients in a third.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from noclone.bits import words_from_bytes
from noclone.events import EventLog
from noclone.io import tls
from noclone.kms.service import KmeFiles, KmeService
from noclone.kms.store import Store
from noclone.process import uninterrupted_children
from noclone.records import BlockProvenance, Origin, SecretKey

SAES = {"sae-a": "alder", "sae-b": "birch"}
KEYS_MAX = 128
REQUEST = b"GET /api/v1/keys/sae-b/enc_keys?number=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
SETTLE_S = 0.5


def bench_kme(
    *, seconds: float = 3.0, connections: int = 64, folder: Path | None = None, n_bytes: int = 64 << 20
) -> dict[str, Any]:
    """Measure enc_keys for 256-bit keys, every one durable at both KMEs before it is answered.

    Args:
        seconds: How long to measure each figure.
        connections: Applications that ask at the same time, each over a connection of its own.
        folder: Where the stores lie; it should be on the disk that is to be measured.
        n_bytes: Key that the two begin with; half of it serves the master that asks.

    Returns:
        One key a request over kept connections (requests_per_s, p50_ms, p99_ms); the same at half of that rate;
        128 keys a request; and one key a request with a new connection for each; with what it was measured.
    """
    with tempfile.TemporaryDirectory(prefix="noclone-bench-", dir=folder) as temporary:
        place = Path(temporary)
        make_certificates(place)
        with two_kmes(place, n_bytes) as pair:
            context = tls.client_context(place / "sae.crt", place / "sae.key", place / "kme-ca.crt")
            site = _Site(context, pair.ports["alder"], seconds)
            one = asyncio.run(site.load(connections))
            half = asyncio.run(site.load(connections, pause_s=2 * connections / max(1.0, one["requests_per_s"])))
            many = asyncio.run(site.load(max(1, connections // 8), number=KEYS_MAX))
            fresh = asyncio.run(site.connect_each_time(max(1, connections // 4)))
    return {
        **one,
        "connections": connections,
        "half_load": half,
        "number_128": {**many, "keys_per_s": round(KEYS_MAX * many["requests_per_s"])},
        "new_connections": fresh,
        "durable": "SQLite, WAL, synchronous=FULL, at both KMEs",
    }


@dataclass(frozen=True)
class _Site:
    """Applications beside a KME, who ask for keys as fast as they get them."""

    context: SSL.Context
    port: int
    seconds: float

    async def load(self, connections: int, *, number: int = 1, pause_s: float = 0.0) -> dict[str, Any]:
        """Ask over connections that stay; with a pause, each asks once in that time, if it has its answer by then."""
        streams = [await self._connect() for _ in range(connections)]
        times = _Times(self.seconds)

        async def ask(index: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(pause_s * index / connections)
            while (sent := time.perf_counter()) < times.end:
                await _request(reader, writer, number)
                times.add(sent)
                await asyncio.sleep(max(0.0, sent + pause_s - time.perf_counter()))

        await asyncio.gather(*(ask(index, reader, writer) for index, (reader, writer) in enumerate(streams)))
        for _, writer in streams:
            writer.close()
        return times.summary()

    async def connect_each_time(self, at_once: int) -> dict[str, Any]:
        """Ask for one key over a new connection each time."""
        times = _Times(self.seconds)

        async def ask() -> None:
            while (sent := time.perf_counter()) < times.end:
                reader, writer = await self._connect()
                await _request(reader, writer, 1)
                writer.close()
                times.add(sent)

        await asyncio.gather(*(ask() for _ in range(at_once)))
        return times.summary()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer, _ = await tls.connect_streams(self.context, "127.0.0.1", self.port, name="localhost")
        return reader, writer


class _Times:
    """How long answers took that came within the time of measuring."""

    def __init__(self, seconds: float) -> None:
        self.begin = time.perf_counter() + SETTLE_S
        self.end = self.begin + seconds
        self._seconds = seconds
        self._times: list[float] = []

    def add(self, sent: float) -> None:
        """Note the answer that has just come to what was sent then."""
        answered = time.perf_counter()
        if self.begin <= answered < self.end:
            self._times.append(answered - sent)

    def summary(self) -> dict[str, Any]:
        """Return rate and quantiles."""
        times = sorted(self._times) or [0.0]
        return {
            "requests_per_s": round(len(self._times) / self._seconds, 1),
            "p50_ms": round(1e3 * times[len(times) // 2], 2),
            "p99_ms": round(1e3 * times[len(times) * 99 // 100], 2),
            "requests": len(self._times),
        }


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(REQUEST % number)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the KME answered {json.loads(body)['message']}")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two KMEs that run: where applications find them, and in which processes they are."""

    ports: dict[str, int]
    pids: dict[str, int]


@contextmanager
def two_kmes(place: Path, n_bytes: int, *, refill: bool = False) -> Iterator[Pair]:
    """Run two KMEs with a block of key, and with more of them whenever it runs low, if `refill` says so."""
    seed = os.urandom(32)
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = {}, {}
    try:
        for name in ("alder", "birch"):
            pipes[name], theirs = spawn.Pipe()
            arguments = (place, name, _Blocks(seed, n_bytes, refill), theirs)
            processes[name] = spawn.Process(target=_serve, args=arguments, daemon=True)
            with uninterrupted_children():
                processes[name].start()
            theirs.close()
        ports = {name: pipe.recv() for name, pipe in pipes.items()}
        pipes["alder"].send(ports["birch"][1])
        pipes["birch"].send(ports["alder"][1])
        for pipe in pipes.values():
            pipe.recv()
        yield Pair(
            {name: port for name, (port, _) in ports.items()},
            {name: process.pid or 0 for name, process in processes.items()},
        )
    except BaseException:
        for process in processes.values():
            process.kill()
        raise
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes.values():
            process.join(10)
            if process.is_alive():
                process.kill()


@dataclass(frozen=True, slots=True)
class _Blocks:
    """What the two get instead of a link's key: the same at both ends."""

    seed: bytes
    n_bytes: int
    refill: bool

    def __getitem__(self, number: int) -> SecretKey:
        origin = BlockProvenance(
            "alder-birch", "alder", "birch", number, "bench", Origin("simulated"), "none", "fixed-length",
            1.0, 1.0, "none", 0.0,
        )  # fmt: skip
        stream = hashlib.shake_256(self.seed + number.to_bytes(8, "big"))
        return SecretKey(words_from_bytes(stream.digest(self.n_bytes)), 8 * self.n_bytes, origin)

    async def top_up(self, service: KmeService, peer: str) -> None:
        """Deposit another block whenever half of one is used up."""
        for number in itertools.count(1):
            while True:
                state = await service.kme.store.pool(peer)
                if state.held_bits == 0 and min(state.ready_out_bits, state.ready_in_bits) < 2 * self.n_bytes:
                    break
                await asyncio.sleep(0.5)
            await service.kme.deposit(await asyncio.to_thread(self.__getitem__, number), peer)


def _serve(place: Path, name: str, blocks: _Blocks, pipe: Connection) -> None:
    with suppress(BrokenPipeError, EOFError):  # who started us has left: so do we
        asyncio.run(_serve_async(place, name, blocks, pipe))


async def _serve_async(place: Path, name: str, blocks: _Blocks, pipe: Connection) -> None:
    peer = "birch" if name == "alder" else "alder"
    files = KmeFiles(place / f"{name}.crt", place / f"{name}.key", place / "kme-ca.crt", place / "sae-ca.crt")
    with Store.open(place / f"{name}.db", name=name, kek=os.urandom(32)) as store:
        service = KmeService(store, SAES, files, peers=(peer,), events=EventLog(keep=1000))
        await service.start()
        filling: asyncio.Task[None] | None = None
        try:
            pipe.send((int(service.url.rsplit(":", 1)[1]), service.kme_port))
            service.connect(peer, ("127.0.0.1", await asyncio.to_thread(pipe.recv)))
            await service.connected(peer)
            while not (await service.kme.deposit(blocks[0], peer) or not await store.held(peer)):
                await asyncio.sleep(0.05)
                await service.kme.resume(peer)
            if blocks.refill:
                filling = asyncio.create_task(blocks.top_up(service, peer))
            gc.collect()
            gc.freeze()  # as `noclone serve` does
            pipe.send("ready")
            await asyncio.to_thread(_wait_for_the_end, pipe)
        finally:
            if filling is not None:
                filling.cancel()
            await service.stop()


def _wait_for_the_end(pipe: Connection) -> None:
    try:
        pipe.recv()
    except EOFError:
        return


def make_certificates(place: Path, names: Sequence[str] = ("alder", "birch")) -> None:
    """Make what the bench needs; `noclone pki` makes the real thing, in a layer above this one."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = dt.datetime.now(dt.UTC)

    def certify(name: str, uri: str | None, signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, issuer_key = signer or (subject, key)
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=uri is None, path_length=None), critical=True)
        if uri is not None:
            names = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
            names_and_address = [*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names_and_address), critical=False)
        pem = builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (place / f"{name}.crt").write_bytes(pem)
        path = place / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return subject, key

    kme_ca, sae_ca = certify("kme-ca", None, None), certify("sae-ca", None, None)
    for name in names:
        certify(name, tls.kme_uri(name), kme_ca)
    certify("sae", tls.sae_uri("sae-a"), sae_ca)
    certify("sae-b", tls.sae_uri("sae-b"), sae_ca)
