"""The stand-alone ETSI 014 client, against servers that are right, wrong, rude, or not there."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Etsi014Client, Refusal
from noclone.errors import InputError, KmeError
from noclone.network.pki import create_pki

Answer = tuple[int, Any]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    create_pki(folder, kmes={"alder": []}, saes=["sae-a"])
    create_pki(folder / "other", kmes={"alder": []}, saes=["sae-a"])
    return folder


class Server:
    """Answers what a test puts into `answers`, and keeps what it was asked."""

    def __init__(self, pki: Path, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> None:
        self.answers: list[Answer | bytes] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                outer.asked.append((self.command, self.path, json.loads(body) if body else None))
                answer = outer.answers.pop(0)
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                    self.close_connection = True
                    return
                text = answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                return

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                return

        self.http = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(pki / "kmes/alder/kme.crt"), str(pki / "kmes/alder/kme.key"))
        context.load_verify_locations(str(pki / "authority/sae-ca.crt"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = newest
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=lambda: self.http.serve_forever(poll_interval=0.02))
        self.thread.start()

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(pki: Path) -> Iterator[Server]:
    server = Server(pki)
    yield server
    server.stop()


def files(pki: Path, whose: str = ".") -> dict[str, Path]:
    place = pki / whose / "saes/sae-a"
    return {"certificate": place / "sae.crt", "key": place / "sae.key", "ca": place / "kme-ca.crt"}


@pytest.fixture
def client(pki: Path, server: Server) -> Iterator[Etsi014Client]:
    with Etsi014Client(server.url, **files(pki), timeout_s=60) as client:
        yield client


STATUS = {
    "source_KME_ID": "alder",
    "target_KME_ID": "birch",
    "master_SAE_ID": "sae-a",
    "slave_SAE_ID": "sae-b",
    "key_size": 352,
    "stored_key_count": 25000,
    "max_key_count": 100000,
    "max_key_per_request": 128,
    "max_key_size": 1024,
    "min_key_size": 64,
    "max_SAE_ID_count": 0,
}


def entry(value: bytes = b"k" * 32, **more: Any) -> dict[str, Any]:
    return {"key_ID": str(uuid.uuid4()), "key": base64.b64encode(value).decode(), **more}


def test_status_as_in_the_standards_example(server: Server, client: Etsi014Client) -> None:
    server.answers = [(200, STATUS), (200, {**STATUS, "status_extension": {"x": 1}})]
    status = client.status("sae b/ü")
    assert (status.key_size, status.stored_key_count, status.max_sae_id_count) == (352, 25000, 0)
    assert server.asked == [("GET", "/api/v1/keys/sae%20b%2F%C3%BC/status", None)]
    assert client.status("sae-b").extension == {"x": 1}
    assert server.connections == 1


def test_keys_come_in_the_order_asked_for_and_never_show(server: Server, client: Etsi014Client) -> None:
    first, second = entry(b"s" * 16, key_extension={"noclone_origin": "simulated"}), entry(b"t" * 16)
    server.answers = [
        (200, {"keys": [first, second], "key_container_extension": {"n": 1}}),
        (200, {"keys": [second, first]}),
    ]
    container = client.enc_keys("sae-b", number=2, size=128, additional=["sae-c"])
    assert [key.value for key in container.keys] == [b"s" * 16, b"t" * 16]
    assert [key.simulated for key in container.keys] == [True, False]
    assert container.extension == {"n": 1}
    assert "sss" not in repr(container)
    assert "c3Nz" not in repr(container)
    same = client.dec_keys("sae-x", [key.key_id for key in container.keys])
    assert [key.value for key in same.keys] == [b"s" * 16, b"t" * 16]
    assert server.asked[0][2] == {"number": 2, "size": 128, "additional_slave_SAE_IDs": ["sae-c"]}
    assert server.asked[1][2] == {"key_IDs": [{"key_ID": first["key_ID"]}, {"key_ID": second["key_ID"]}]}


@pytest.mark.parametrize(
    ("code", "body", "text"),
    [
        (400, {"message": "size shall be a multiple of 8"}, "size shall be a multiple of 8"),
        (401, {}, "gave no reason"),
        (401, b"", "gave no reason"),
        (503, {"message": "not enough key is stored", "details": [{"noclone_reason": "keys-exhausted"}]}, "not enough"),
        (500, b"<html>", "gave no reason"),
        (302, b"", "302"),
    ],
)
def test_a_no_is_told_with_its_reason(server: Server, client: Etsi014Client, code: int, body: Any, text: str) -> None:
    server.answers = [(code, body)]
    with pytest.raises(Refusal, match=text) as refusal:
        client.enc_keys("sae-b")
    assert refusal.value.status == code
    assert refusal.value.reason == ("keys-exhausted" if code == 503 else "")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", {}, {"keys": None}, {"keys": [1]}, {"keys": [{"key_ID": "x"}]},
     {"keys": [{"key_ID": "x", "key": "***"}]}, {"keys": []}, {"keys": [{"key_ID": "x", "key": 7}]}],
)  # fmt: skip
def test_an_answer_that_is_no_container(server: Server, client: Etsi014Client, body: Any) -> None:
    server.answers = [(200, body), (200, {"source_KME_ID": 1})]
    with pytest.raises(KmeError):
        client.enc_keys("sae-b")
    with pytest.raises(KmeError, match="does not follow"):
        client.status("sae-b")


def test_other_keys_than_asked_for_are_refused(server: Server, client: Etsi014Client) -> None:
    server.answers = [(200, {"keys": [entry()]})]
    with pytest.raises(KmeError, match="other keys"):
        client.dec_keys("sae-b", [str(uuid.uuid4())])


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"\x00\xff rubbish\r\n\r\n"]
)
def test_a_conversation_that_breaks_is_an_error_and_the_next_one_works(
    server: Server, client: Etsi014Client, answer: bytes
) -> None:
    server.answers = [answer, (200, STATUS)]
    with pytest.raises(KmeError, match="broke"):
        client.status("sae-b")
    assert client.status("sae-b").key_size == 352
    assert server.connections == 2


def test_a_kept_connection_that_the_kme_closed_is_opened_again(server: Server, client: Etsi014Client) -> None:
    text = json.dumps(STATUS).encode()
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text, (200, STATUS)]
    assert client.status("sae-b").key_size == 352
    threading.Event().wait(0.1)
    assert client.status("sae-b").key_size == 352
    assert server.connections == 2


def test_who_is_not_trusted_on_either_side(pki: Path, server: Server) -> None:
    with pytest.raises(KmeError, match="is not the one that we trust"):
        Etsi014Client(server.url, **{**files(pki), "ca": pki / "other/authority/kme-ca.crt"}).status("x")
    with pytest.raises(KmeError) as refused:
        Etsi014Client(server.url, **{**files(pki, "other"), "ca": pki / "authority/kme-ca.crt"}).status("x")
    assert "certificate" in refused.value.message


def test_nobody_there_and_nobody_who_answers(pki: Path, server: Server) -> None:
    with pytest.raises(KmeError, match="nobody listens"):
        Etsi014Client("https://127.0.0.1:1", **files(pki)).status("x")
    gate = threading.Event()

    class Slow(list[Any]):
        def pop(self, *_: Any) -> Any:
            gate.wait(5)
            return (200, STATUS)

    server.answers = Slow()
    with pytest.raises(KmeError, match=r"did not answer within 0\.3 s"):
        Etsi014Client(server.url, **files(pki), timeout_s=0.3).status("x")
    gate.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://", "ftp://x"])
def test_what_is_no_address(pki: Path, url: str) -> None:
    with pytest.raises(InputError, match="no address"):
        Etsi014Client(url, **files(pki))


def test_files_that_are_not_there_or_no_certificates(pki: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Etsi014Client("https://localhost", **{**files(pki), "key": tmp_path / "no.key"})
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(InputError, match="cannot be used"):
        Etsi014Client("https://localhost", **{**files(pki), "certificate": tmp_path / "junk"})


def test_threads_share_a_client(server: Server, client: Etsi014Client) -> None:
    server.answers = [(200, STATUS)] * 40
    call: Callable[[], Any] = lambda: [client.status("sae-b") for _ in range(10)]  # noqa: E731
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 40
    assert server.connections == 1


def test_requests_of_the_async_client_run_side_by_side(pki: Path, server: Server) -> None:
    import asyncio

    from noclone.async_client import AsyncEtsi014Client

    async def ask() -> list[Any]:
        async with AsyncEtsi014Client(server.url, **files(pki), timeout_s=120, connections=2) as client:
            server.answers += [(200, STATUS)] * 5 + [(503, {"message": "no key"})]
            several = await asyncio.gather(*(client.status("sae-b") for _ in range(5)))
            with pytest.raises(Refusal, match="no key"):
                await client.enc_keys("sae-b")
            return several

    assert [status.slave for status in asyncio.run(ask())] == ["sae-b"] * 5
    assert server.connections == 2
    assert server.asked[-1] == ("POST", "/api/v1/keys/sae-b/enc_keys", {"number": 1})


def test_who_gives_up_waiting_takes_no_connection_along(pki: Path, server: Server) -> None:
    import asyncio

    from noclone.async_client import AsyncEtsi014Client

    async def ask() -> str:
        async with AsyncEtsi014Client(server.url, **files(pki), timeout_s=120, connections=1) as client:
            server.answers += [(200, STATUS)] * 2
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.status("sae-b"), 0)
            waiting = asyncio.create_task(client.status("sae-b"))
            await asyncio.sleep(0)
            waiting.cancel()
            return (await client.status("sae-b")).slave

    assert asyncio.run(ask()) == "sae-b"


def test_tls_1_2_is_spoken_only_where_it_is_asked_for(pki: Path) -> None:
    server = Server(pki, ssl.TLSVersion.TLSv1_2)
    try:
        server.answers = [(200, STATUS)]
        with Etsi014Client(server.url, **files(pki)) as strict, pytest.raises(KmeError):
            strict.status("sae-b")
        with Etsi014Client(server.url, **files(pki), tls="1.2") as lenient:
            assert lenient.status("sae-b").slave == "sae-b"
    finally:
        server.stop()
