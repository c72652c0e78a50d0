"""TLS that is post-quantum itself: who meets whom, what they agree on, and what a door for nobody else lets pass."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from noclone.errors import AuthenticationError, PkiError
from noclone.io import tls
from noclone.network.pki import create_pki
from noclone.network.revocation import revoke, rotate


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pki")
    for whose in ("ours", "rogue"):
        create_pki(root / whose, kmes={"alder": []}, saes=["sae-a", "sae-b"])
    return root


def identity(place: Path, leaf: str, ca: Path) -> tls.Identity:
    return tls.Identity(place / f"{leaf}.crt", place / f"{leaf}.key", ca)


def server(pki: Path, *, required: bool = False, crls: Any = ()) -> Any:
    place = pki / "ours/kmes/alder"
    post = tls.Post(identity(place, "kme-pq", place / "sae-pq-ca.crt"), required)
    return tls.server_context(place / "kme.crt", place / "kme.key", place / "sae-ca.crt", post=post, crls=crls)


def client(
    pki: Path, *, classical: bool = True, post: bool = True, required: bool = False, whose: str = "ours", sae: str = "a"
) -> Any:
    place, trusted = pki / whose / f"saes/sae-{sae}", pki / "ours/saes/sae-a"
    more = tls.Post(identity(place, "sae-pq", trusted / "kme-pq-ca.crt"), required) if post else None
    assert classical or required
    return tls.client_context(place / "sae.crt", place / "sae.key", trusted / "kme-ca.crt", post=more)


class Quiet(asyncio.Protocol):
    peers: ClassVar[list[Any]] = []

    def connection_made(self, transport: Any) -> None:
        Quiet.peers.append(transport.peer_certificate)
        transport.write(b"x")


def meet(server_context: Any, client_context: Any) -> tuple[str, Any, Any]:
    """Return the group, the server's key and the client's key of one connection."""

    async def run() -> tuple[str, Any, Any]:
        Quiet.peers.clear()
        listening = await tls.TlsServer.start(server_context, Quiet)
        try:
            async with asyncio.timeout(120):
                reader, writer, transport = await tls.connect_streams(
                    client_context, "127.0.0.1", listening.port, name="localhost"
                )
                assert await reader.readexactly(1) == b"x"  # in TLS 1.3 a client hears of its refusal only afterwards
                group = transport.get_extra_info("tls")["group"]
                keys = transport.peer_certificate.public_key(), Quiet.peers[0].public_key()
                writer.close()
                return group, *keys
        finally:
            await listening.stop()

    return asyncio.run(run())


REFUSED = (AuthenticationError, ConnectionError, asyncio.IncompleteReadError)


def test_two_that_can_speak_ml_dsa_both_ways(pki: Path) -> None:
    for required in (False, True):
        group, theirs, ours = meet(server(pki, required=required), client(pki, required=required))
        assert group == "X25519MLKEM768"
        assert isinstance(theirs, mldsa.MLDSA65PublicKey)
        assert isinstance(ours, mldsa.MLDSA65PublicKey)


def test_a_classical_client_gets_in_where_nothing_forbids_it(pki: Path) -> None:
    group, _, ours = meet(server(pki), client(pki, post=False))
    assert group == "X25519MLKEM768"
    assert isinstance(ours, ec.EllipticCurvePublicKey)


def test_a_classical_client_does_not_pass_a_door_that_requires_more(pki: Path) -> None:
    with pytest.raises(REFUSED):
        meet(server(pki, required=True), client(pki, post=False))


def standard_library(pki: Path, port: int) -> str:
    place = pki / "ours/saes/sae-a"
    context = ssl.create_default_context(cafile=str(place / "kme-ca.crt"))
    context.load_cert_chain(str(place / "sae.crt"), str(place / "sae.key"))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=120) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as sock,
    ):
        assert sock.recv(1) == b"x"
        return str(sock.version())


@pytest.mark.parametrize("required", [False, True])
def test_the_standard_library_gets_in_unless_it_is_forbidden(pki: Path, required: bool) -> None:
    async def run() -> None:
        listening = await tls.TlsServer.start(server(pki, required=required), Quiet)
        try:
            if required:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await asyncio.to_thread(standard_library, pki, listening.port)
            else:
                assert await asyncio.to_thread(standard_library, pki, listening.port) == "TLSv1.3"
        finally:
            await listening.stop()

    asyncio.run(run())


def test_a_client_that_requires_it_does_not_take_less(pki: Path) -> None:
    place = pki / "ours/kmes/alder"
    classical = tls.server_context(place / "kme.crt", place / "kme.key", place / "sae-ca.crt")
    with pytest.raises(REFUSED):
        meet(classical, client(pki, required=True))


def test_a_classical_group_does_not_pass_a_door_that_requires_more(pki: Path) -> None:
    context = client(pki, required=True)
    assert tls.lib.SSL_CTX_set1_curves_list(context._context, b"X25519") == 1
    with pytest.raises(REFUSED):
        meet(server(pki, required=True), context)
    group, _, _ = meet(server(pki), context)
    assert group.lower() == "x25519"


@pytest.mark.parametrize("required", [False, True])
def test_a_rogue_authority_is_worth_nothing(pki: Path, required: bool) -> None:
    with pytest.raises(REFUSED):
        meet(server(pki, required=required), client(pki, whose="rogue", required=required))


def test_a_classical_authority_vouches_for_the_post_quantum_one_to_those_who_have_no_other(pki: Path) -> None:
    """Or a client with a new OpenSSL and the classical authority alone could not talk to a KME with both."""
    _, theirs, _ = meet(server(pki), client(pki, post=False))
    assert isinstance(theirs, mldsa.MLDSA65PublicKey)


def test_it_must_be_there_to_be_required(pki: Path, tmp_path: Path) -> None:
    place = pki / "ours/kmes/alder"
    missing = tls.Post(tls.Identity(tmp_path / "no.crt", place / "kme-pq.key", place / "sae-pq-ca.crt"))
    with pytest.raises(PkiError, match="does not exist"):
        tls.server_context(place / "kme.crt", place / "kme.key", place / "sae-ca.crt", post=missing)


@pytest.mark.parametrize("required", [False, True])
def test_a_revoked_certificate_is_refused_and_others_are_not(tmp_path: Path, required: bool) -> None:
    create_pki(tmp_path / "ours", kmes={"alder": []}, saes=["sae-a", "sae-b"])
    change = revoke(tmp_path / "ours", "sae", "sae-b")
    assert {name: len(serials) for name, serials in change.revoked.items()} == {
        "kme-ca": 0, "kme-pq-ca": 0, "sae-ca": 1, "sae-pq-ca": 1,
    }  # fmt: skip
    place = tmp_path / "ours/kmes/alder"
    crls = [place / f"{name}.crl" for name in change.revoked]
    context = server(tmp_path, required=required, crls=crls)
    meet(context, client(tmp_path, required=required))
    for post in {True, required}:
        with pytest.raises(REFUSED):
            meet(context, client(tmp_path, sae="b", required=required, post=post))
    if not required:
        meet(context, client(tmp_path, post=False))
        with pytest.raises(REFUSED):
            meet(context, client(tmp_path, sae="b", post=False))


def test_a_rotated_certificate_works_and_the_old_one_until_it_is_revoked(tmp_path: Path) -> None:
    create_pki(tmp_path / "ours", kmes={"alder": []}, saes=["sae-a", "sae-b"])
    old = client(tmp_path, sae="b")
    rotate(tmp_path / "ours", "sae", "sae-b")
    new = client(tmp_path, sae="b")
    for each in (old, new):
        meet(server(tmp_path), each)
    serials = rotate(tmp_path / "ours", "sae", "sae-b", revoke_old=True).revoked["sae-pq-ca"]
    assert len(serials) == 1
    place = tmp_path / "ours/kmes/alder"
    context = server(tmp_path, crls=[place / f"{k}{f}-ca.crl" for k in ("kme", "sae") for f in ("", "-pq")])
    meet(context, client(tmp_path, sae="b"))
    with pytest.raises(REFUSED):
        meet(context, new)
    meet(context, old)  # rotated away before anybody revoked it


def test_who_was_revoked_is_cut_off_when_a_server_hears_of_it(tmp_path: Path) -> None:
    create_pki(tmp_path / "ours", kmes={"alder": []}, saes=["sae-a", "sae-b"])

    async def run() -> None:
        listening = await tls.TlsServer.start(server(tmp_path), Quiet)
        try:
            streams = {}
            for sae in "ab":
                streams[sae] = await tls.connect_streams(client(tmp_path, sae=sae), "127.0.0.1", listening.port)
                assert await streams[sae][0].readexactly(1) == b"x"
            change = revoke(tmp_path / "ours", "sae", "sae-b")
            place = tmp_path / "ours/kmes/alder"
            context = server(tmp_path, crls=[place / f"{name}.crl" for name in change.revoked])
            assert listening.renew(context, frozenset(change.revoked["sae-pq-ca"])) == 1
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(streams["b"][0].readexactly(1), 5)
            assert listening.connections >= 1
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(streams["a"][0].readexactly(1), 0.2)
            streams["a"][1].close()
        finally:
            await listening.stop()

    asyncio.run(run())
