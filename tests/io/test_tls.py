"""TLS on asyncio: real sockets, real certificates, callers that stall, flood, cut off or are nobody."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from noclone.errors import AuthenticationError, KmeError, PkiError
from noclone.io import tls
from noclone.network.pki import create_pki

YEAR = dt.timedelta(days=365)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four authorities: ours, a rogue's, one whose certificates have expired, one whose are not valid yet."""
    root = tmp_path_factory.mktemp("pki")
    now = dt.datetime.now(dt.UTC)
    for name, when in (("ours", now), ("rogue", now), ("expired", now - 2 * YEAR), ("early", now + YEAR)):
        create_pki(root / name, kmes={"alder": [], "birch": []}, saes=["sae-a"], now=when)
    for stale in ("expired", "early"):  # our authority, but at another time
        for ca in ("sae-ca.crt", "sae-ca.key", "kme-ca.crt", "kme-ca.key"):
            data = (root / "ours" / "authority" / ca).read_bytes()
            (root / stale / "authority" / ca).write_bytes(data)
        for leaf in ("saes/sae-a/sae", "kmes/alder/kme", "kmes/birch/kme"):
            (root / stale / f"{leaf}.crt").unlink()
        when = now - 2 * YEAR if stale == "expired" else now + YEAR
        create_pki(root / stale, kmes={"alder": [], "birch": []}, saes=["sae-a"], now=when)
    return root


def server(pki: Path, kind: str = "sae", whose: str = "ours") -> Any:
    place = pki / whose / "kmes" / "alder"
    return tls.server_context(place / "kme.crt", place / "kme.key", pki / "ours" / "authority" / f"{kind}-ca.crt")


def client(pki: Path, whose: str = "ours", leaf: str = "saes/sae-a/sae", ca: str = "ours") -> Any:
    place = pki / whose / leaf
    authority = pki / ca / "authority" / "kme-ca.crt"
    return tls.client_context(place.with_suffix(".crt"), place.with_suffix(".key"), authority)


class Echo(asyncio.Protocol):
    """Sends back what comes, and counts."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


Story = Callable[[tls.TlsServer, list[str]], Any]


def with_server(context: Any, story: Story, factory: Any = Echo, **settings: Any) -> None:
    async def run() -> None:
        reasons: list[str] = []
        listening = await tls.TlsServer.start(
            context, factory, on_refused=lambda reason, _: reasons.append(reason), **settings
        )
        try:
            async with asyncio.timeout(120):
                await story(listening, reasons)
        finally:
            await listening.stop()
        assert listening.connections == 0

    asyncio.run(run())


def test_the_group_is_post_quantum_and_the_caller_is_known(pki: Path) -> None:
    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        reader, writer, transport = await tls.connect_streams(
            client(pki), "127.0.0.1", listening.port, name="localhost"
        )
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        about = transport.get_extra_info("tls")
        assert (about["version"], about["group"]) == ("TLSv1.3", "X25519MLKEM768")
        assert tls.identity(transport.peer_certificate, "kme") == "alder"
        assert transport.get_extra_info("peername")[1] == listening.port
        writer.close()

    with_server(server(pki), story)


def test_the_standard_library_interoperates(pki: Path) -> None:
    place = pki / "ours" / "saes" / "sae-a"

    def talk(port: int) -> bytes:
        context = ssl.create_default_context(cafile=str(place / "kme-ca.crt"))
        context.load_cert_chain(str(place / "sae.crt"), str(place / "sae.key"))
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost") as sock:
            sock.sendall(b"hello")
            return sock.recv(5)

    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        assert await asyncio.to_thread(talk, listening.port) == b"hello"

    with_server(server(pki), story)


@pytest.mark.parametrize(
    ("whose", "leaf", "reason"),
    [
        ("rogue", "saes/sae-a/sae", "certificate verify failed"),
        ("expired", "saes/sae-a/sae", "certificate verify failed"),
        ("early", "saes/sae-a/sae", "certificate verify failed"),
        ("ours", "kmes/birch/kme", "certificate verify failed"),  # a KME at the applications' door
    ],
)
def test_certificates_that_are_refused(pki: Path, whose: str, leaf: str, reason: str) -> None:
    async def story(listening: tls.TlsServer, reasons: list[str]) -> None:
        reader, writer, _ = await tls.connect_streams(client(pki, whose, leaf), "127.0.0.1", listening.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert reasons == [reason]
        writer.close()

    with_server(server(pki), story)


def test_an_application_is_refused_at_the_door_for_kmes(pki: Path) -> None:
    async def story(listening: tls.TlsServer, reasons: list[str]) -> None:
        reader, writer, _ = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert reasons == ["certificate verify failed"]
        writer.close()

    with_server(server(pki, "kme"), story)


def test_a_caller_without_a_certificate_and_one_with_old_tls_are_refused(pki: Path) -> None:
    def talk(port: int, *, old: bool) -> None:
        context = ssl.create_default_context(cafile=str(pki / "ours/authority/kme-ca.crt"))
        if old:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost") as sock:
            sock.settimeout(60)
            sock.sendall(b"hello")
            assert not sock.recv(5)

    async def story(listening: tls.TlsServer, reasons: list[str]) -> None:
        for old in (False, True):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(lambda old=old: talk(listening.port, old=old))
        assert reasons == ["peer did not return a certificate", "unsupported protocol"]

    with_server(server(pki), story)


@pytest.mark.parametrize(
    ("whose", "name"),
    [("rogue", "localhost"), ("expired", "localhost"), ("ours", "elsewhere.example"), ("ours", "10.1.2.3")],
)
def test_a_client_refuses_the_wrong_server(pki: Path, whose: str, name: str) -> None:
    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        with pytest.raises(AuthenticationError, match="certificate verify failed"):
            await tls.connect(client(pki), Echo, "127.0.0.1", listening.port, name=name)

    with_server(server(pki, whose=whose), story)


def test_a_megabyte_each_way_arrives_whole_and_in_order(pki: Path) -> None:
    data = os.urandom(1 << 20)

    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        reader, writer, _transport = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()

    with_server(server(pki), story)


def test_a_reader_that_pauses_holds_the_writer_back(pki: Path) -> None:
    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        reader, writer, transport = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
        transport.pause_reading()
        writer.write(b"x" * 100_000)
        await asyncio.sleep(0.1)
        assert not reader._buffer  # type: ignore[attr-defined]
        transport.resume_reading()
        assert len(await reader.readexactly(100_000)) == 100_000
        writer.close()

    with_server(server(pki), story)


def test_a_caller_who_does_not_read_does_not_fill_the_memory(pki: Path) -> None:
    class Flood(asyncio.Protocol):
        paused = False
        written = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.push()

        def push(self) -> None:
            while not Flood.paused and Flood.written < 1 << 30:
                self.transport.write(bytes(65_536))  # type: ignore[attr-defined]
                Flood.written += 65_536

        def pause_writing(self) -> None:
            Flood.paused = True

        def resume_writing(self) -> None:
            Flood.paused = False

    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        _, writer, transport = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
        transport.pause_reading()
        async with asyncio.timeout(120):
            while not Flood.paused:
                await asyncio.sleep(0.01)
        assert Flood.written < 64 << 20
        transport.abort()
        writer.close()

    with_server(server(pki), story, Flood)


def test_strangers_who_stall_or_talk_nonsense_are_cut_off_and_others_are_served(pki: Path, monkeypatch: Any) -> None:
    defaults: Any = tls.TlsProtocol.__init__
    impatient = {**defaults.__kwdefaults__, "handshake_timeout_s": 0.5}
    monkeypatch.setattr(defaults, "__kwdefaults__", impatient)

    async def story(listening: tls.TlsServer, reasons: list[str]) -> None:
        strangers = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(20)]
        for _, writer in strangers[:10]:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        reader, writer, _ = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        for stranger, _ in strangers:
            with suppress(ConnectionError):
                while await stranger.read(1000):
                    pass
        assert reasons.count("the TLS handshake took too long") == 10
        assert len(reasons) == 20
        for _, stranger_writer in strangers:
            stranger_writer.close()
        writer.close()

    with_server(server(pki), story)


def test_a_handshake_without_end_is_cut_off(pki: Path) -> None:
    async def story(listening: tls.TlsServer, reasons: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        record = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(16_379)
        with suppress(ConnectionError):
            for _ in range(8):
                writer.write(record)
                await writer.drain()
            while await reader.read(1000):
                pass
        writer.close()
        assert len(reasons) == 1

    with_server(server(pki), story)


def test_no_more_than_so_many_connections(pki: Path) -> None:
    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        inside = [await tls.connect_streams(client(pki), "127.0.0.1", listening.port) for _ in range(3)]
        with pytest.raises((KmeError, AuthenticationError)):
            await tls.connect(client(pki), Echo, "127.0.0.1", listening.port)
        inside[0][1].close()
        while listening.connections == 3:
            await asyncio.sleep(0.01)
        reader, writer, _ = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        for _, other, _ in (*inside[1:], (None, writer, None)):
            other.close()

    with_server(server(pki), story, connections_max=3)


def test_an_end_without_farewell_is_an_error_and_one_with_it_is_not(pki: Path) -> None:
    ends: list[Exception | None] = []
    farewells: list[bool] = []

    class Ear(Echo):
        def eof_received(self) -> None:
            farewells.append(True)

        def connection_lost(self, exc: Exception | None) -> None:
            ends.append(exc)

    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        for polite in (True, False):
            reader, writer, transport = await tls.connect_streams(client(pki), "127.0.0.1", listening.port)
            writer.write(b"x")
            await reader.readexactly(1)
            if polite:
                writer.close()
            else:
                transport._tls.raw.close()  # as a cut in the line looks
            while len(ends) < (1 if polite else 2):
                await asyncio.sleep(0.01)
        assert farewells == [True]
        assert ends[0] is None
        assert isinstance(ends[1], ConnectionResetError)

    with_server(server(pki), story, Ear)


def test_nobody_there_and_a_taken_port(pki: Path) -> None:
    async def story(listening: tls.TlsServer, _: list[str]) -> None:
        with pytest.raises(KmeError, match="nobody answers"):
            await tls.connect(client(pki), Echo, "127.0.0.1", 1)
        with pytest.raises(KmeError, match="cannot listen"):
            await tls.TlsServer.start(server(pki), Echo, port=listening.port)

    with_server(server(pki), story)


def test_a_silent_server_is_given_up(pki: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))

    async def story() -> None:
        with pytest.raises((KmeError, AuthenticationError)):
            await tls.connect(client(pki), Echo, "127.0.0.1", silent.getsockname()[1], timeout_s=0.3)

    asyncio.run(story())
    silent.close()


def test_files_that_cannot_be_used(pki: Path, tmp_path: Path) -> None:
    place = pki / "ours" / "kmes" / "alder"
    with pytest.raises(PkiError, match="does not exist"):
        tls.server_context(tmp_path / "no.crt", place / "kme.key", place / "sae-ca.crt")
    other = pki / "ours" / "kmes" / "birch"
    with pytest.raises(PkiError, match="cannot be used"):
        tls.server_context(place / "kme.crt", other / "kme.key", place / "sae-ca.crt")
    loose = tmp_path / "kme.key"
    loose.write_bytes((place / "kme.key").read_bytes())
    loose.chmod(0o644)
    with pytest.raises(PkiError, match="others than its owner"):
        tls.server_context(place / "kme.crt", loose, place / "sae-ca.crt")


@pytest.mark.parametrize(
    ("common", "uris", "name"),
    [
        ("x", ["spiffe://noclone/sae/sae-a"], "sae-a"),
        ("sae-c", [], "sae-c"),
        ("sae-c", ["spiffe://noclone/kme/alder"], None),
        ("sae-c", ["spiffe://elsewhere/sae/sae-a"], None),
        ("sae-c", ["spiffe://noclone/sae/a", "spiffe://noclone/sae/b"], None),
        ("sae-c", ["spiffe://noclone/sae/"], None),
    ],
)
def test_whom_a_certificate_names(common: str, uris: list[str], name: str | None) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + YEAR)
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    assert tls.identity(builder.sign(key, hashes.SHA256()), "sae") == name
