"""ETSI GS QKD 014 over real mutual TLS: the contract, with our client and with one that others wrote."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import uuid
from typing import Any

import pytest
from etsi_qkd_014_client import QKD014Client
from etsi_qkd_014_client.data import DataError, DataKeyContainer, DataStatus

NOT_FOUND = "one or more keys specified are not found on KME"


def third_party(network: Any, sae: str) -> QKD014Client:
    files = network.sae(sae)
    host = network.url(sae).removeprefix("https://")
    return QKD014Client(host, str(files["certificate"]), str(files["key"]), str(files["ca"]))


def test_the_client_that_others_wrote_gets_the_same_key_at_both_ends(live: Any) -> None:
    master, slave = third_party(live, "sae-a"), third_party(live, "sae-b")
    code, status = master.get_status("sae-b")
    assert code == 200
    assert isinstance(status, DataStatus)
    assert (status.source_kme_id, status.target_kme_id) == ("alder", "birch")
    assert (status.master_sae_id, status.slave_sae_id) == ("sae-a", "sae-b")
    assert status.stored_key_count > 100
    code, plain = master.get_key("sae-b")
    assert code == 200
    assert isinstance(plain, DataKeyContainer)
    assert len(base64.b64decode(plain.keys[0].key)) == 32
    code, more = master.get_key("sae-b", number=3, size=1000)
    assert code == 200
    asked = [*more.keys, *plain.keys]
    code, same = slave.get_key_with_key_IDs("sae-a", [key.key_id for key in asked])
    assert code == 200
    assert [(k.key_id, k.key) for k in same.keys] == [(k.key_id, k.key) for k in asked]
    code, again = slave.get_key_with_key_IDs("sae-a", [plain.keys[0].key_id])
    assert code == 400
    assert isinstance(again, DataError)
    assert again.message == NOT_FOUND
    code, stranger = third_party(live, "sae-b2").get_key_with_key_IDs("sae-a", [plain.keys[0].key_id])
    assert code == 401
    assert isinstance(stranger, DataError)


def test_multicast_and_extensions_with_the_client_that_others_wrote(live: Any) -> None:
    master = third_party(live, "sae-a")
    code, shared = master.get_key("sae-b", additional_slave_sae_ids=["sae-b2"], extension_optional=[{"abc_x": 1}])
    assert code == 200
    for sae in ("sae-b2", "sae-b"):
        code, copy = third_party(live, sae).get_key_with_key_IDs("sae-a", [shared.keys[0].key_id])
        assert code == 200
        assert copy.keys[0].key == shared.keys[0].key
    code, refused = master.get_key("sae-b", extension_mandatory=[{"abc_route": "direct"}])
    assert code == 400
    assert refused.message == "not all extension_mandatory parameters are supported"
    code, _ = third_party(live, "sae-b").get_status("sae-a")
    assert code == 200


def context_of(network: Any, sae: str) -> ssl.SSLContext:
    files = network.sae(sae)
    context = ssl.create_default_context(cafile=str(files["ca"]))
    context.load_cert_chain(str(files["certificate"]), str(files["key"]))
    return context


class Wire:
    """HTTP by hand over one TLS connection."""

    def __init__(self, network: Any, sae: str) -> None:
        host, port = network.url(sae).removeprefix("https://").split(":")
        self.address = (host, int(port))
        self.context = context_of(network, sae)
        self.connection = http.client.HTTPSConnection(*self.address, context=self.context, timeout=120)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        self.connection.request(method, f"/api/v1/keys/{path}", body, headers or {})
        response = self.connection.getresponse()
        text = response.read()
        assert response.headers["content-type"] == "application/json"
        self.headers = response.headers
        return response.status, json.loads(text) if text else None


@pytest.fixture
def master(live: Any) -> Any:
    wire = Wire(live, "sae-a")
    yield wire
    wire.connection.close()


@pytest.fixture
def slave(live: Any) -> Any:
    wire = Wire(live, "sae-b")
    yield wire
    wire.connection.close()


def test_the_get_forms_and_an_empty_post(master: Wire, slave: Wire) -> None:
    code, plain = master.ask("GET", "sae-b/enc_keys")
    assert (code, len(plain["keys"])) == (200, 1)
    code, sized = master.ask("GET", "sae-b/enc_keys?number=3&size=1024")
    assert code == 200
    assert [len(base64.b64decode(key["key"], validate=True)) for key in sized["keys"]] == [128] * 3
    for body in (b"", b"  ", b"{}"):
        code, posted = master.ask("POST", "sae-b/enc_keys", body)
        assert (code, len(posted["keys"])) == (200, 1)
    assert master.headers["cache-control"] == "no-store"
    for key in (plain["keys"][0], sized["keys"][1]):
        code, same = slave.ask("GET", f"sae-a/dec_keys?key_ID={key['key_ID'].upper()}")
        assert code == 200
        assert same["keys"][0] == key
        assert str(uuid.UUID(key["key_ID"])) == key["key_ID"]


BAD_REQUESTS = [
    ('{"size": 7}', "size shall be a multiple of 8"),
    ('{"size": 0}', "size shall be above zero"),
    ('{"size": null}', "size"),
    ('{"size": [256]}', "size"),
    ('{"size": "256"}', "size"),
    ('{"size": 256.0}', "size"),
    ('{"size": true}', "size"),
    ('{"number": null}', "number"),
    ('{"number": true}', "number"),
    ('{"number": 0}', "number"),
    ('{"number": -1}', "number"),
    ('{"number": 129}', "number shall be at most 128"),
    ('{"number": 1e3}', "number"),
    ('{"number": ' + "9" * 5000 + "}", "JSON"),
    ('{"number": 1, "number": 2}', "JSON"),
    ('{"number": NaN}', "JSON"),
    ('{"additional_slave_SAE_IDs": null}', "additional_slave_SAE_IDs"),
    ('{"additional_slave_SAE_IDs": "sae-b2"}', "additional_slave_SAE_IDs"),
    ('{"additional_slave_SAE_IDs": [1]}', "additional_slave_SAE_IDs"),
    ('{"additional_slave_SAE_IDs": ["sae b"]}', "additional_slave_SAE_IDs"),
    ('{"additional_slave_SAE_IDs": ["\\ud800"]}', "additional_slave_SAE_IDs"),
    ('{"additional_slave_SAE_IDs": ["sae-a2"]}', "slave"),
    ('{"extension_mandatory": {"a": 1}}', "extension_mandatory"),
    ('{"extension_mandatory": [1]}', "extension_mandatory"),
    ('{"extension_mandatory": [{"abc_x": 1}]}', "not all extension_mandatory parameters are supported"),
    ('{"extension_optional": null}', "extension_optional"),
    ("[]", "object"),
    ("null", "object"),
    ("{", "JSON"),
    ("\x00", "JSON"),
    ("[" * 20_000, "JSON"),
    ('{"a":' * 9_000 + "1" + "}" * 9_000, "JSON"),
    ('{"size": 256, "x": "' + "y" * 70_000 + '"}', "longer than"),
]


@pytest.mark.parametrize(("body", "message"), BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_what_is_no_key_request_is_refused_with_400_and_a_message(master: Wire, body: str, message: str) -> None:
    code, answer = master.ask("POST", "sae-b/enc_keys", body.encode("utf-8", "surrogatepass"))
    assert code == 400
    assert message in answer["message"]
    assert answer["details"][0]["noclone_reason"]
    assert "Traceback" not in json.dumps(answer)
    code, _ = master.ask("GET", "sae-b/status")  # the connection, and the KME, are as before
    assert code == 200


def test_bytes_that_are_no_utf8_are_refused(master: Wire) -> None:
    code, answer = master.ask("POST", "sae-b/enc_keys", b'{"x": "\xff"}')
    assert (code, answer["message"]) == (400, "the body is not JSON (RFC 8259)")


SOME_ID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        '{"key_IDs": []}',
        '{"key_IDs": null}',
        '{"key_IDs": "x"}',
        json.dumps({"key_IDs": [SOME_ID]}),
        '{"key_IDs": [{"key_ID": null}]}',
        '{"key_IDs": [{"key_ID": 7}]}',
        '{"key_IDs": [{"key_ID": "550e8400"}]}',
        json.dumps({"key_IDs": [{"key_ID": "{" + SOME_ID + "}"}]}),
        json.dumps({"key_IDs": [{"key_ID": SOME_ID}, {"key_ID": SOME_ID}]}),
        json.dumps({"key_IDs": [{"key_ID": SOME_ID}, {"key_ID": SOME_ID.upper()}]}),
    ],
)
def test_what_are_no_key_ids_is_refused_with_400(slave: Wire, body: str) -> None:
    code, answer = slave.ask("POST", "sae-a/dec_keys", body.encode())
    assert code == 400
    assert answer["message"] != NOT_FOUND


def test_ids_nobody_knows_are_not_found(slave: Wire) -> None:
    for method, path, body in (
        ("POST", "sae-a/dec_keys", b'{"key_IDs": [{"key_ID": "%s"}]}' % SOME_ID.encode()),
        ("GET", f"sae-a/dec_keys?key_ID={SOME_ID}", None),
        ("GET", f"nobody/dec_keys?key_ID={SOME_ID}", None),
    ):
        assert slave.ask(method, path, body)[0] == 400
        assert slave.ask(method, path, body)[1]["message"] == NOT_FOUND


@pytest.mark.parametrize(
    "query",
    ["number=", "number=x", "number=1.0", "number=-1", "number=١", "number=1&number=1", "size=7", "key_ID=1",
     "additional_slave_SAE_IDs=sae-b2", "number=99999999999", "number=0", "size=0"],
)  # fmt: skip
def test_queries_that_get_may_not_have(master: Wire, query: str) -> None:
    from urllib.parse import quote

    assert master.ask("GET", f"sae-b/enc_keys?{quote(query, safe='=&')}")[0] == 400


@pytest.mark.parametrize("query", ["", "?key_ID=", f"?key_ID={SOME_ID}&key_ID={SOME_ID}", f"?key_ID={SOME_ID}&x=1"])
def test_dec_keys_by_get_takes_exactly_one_id(slave: Wire, query: str) -> None:
    assert slave.ask("GET", f"sae-a/dec_keys{query}")[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "sae-b/nothing", 404),
        ("GET", "", 404),
        ("GET", "../../../etc/passwd", 404),
        ("GET", "sae-b%2Fx/status", 404),
        ("POST", "sae-b/status", 405),
        ("DELETE", "sae-b/enc_keys", 405),
        ("TRACE", "sae-b/enc_keys", 405),
        ("PUT", "sae-a/dec_keys", 405),
    ],
)
def test_what_is_no_call_of_the_standard_still_gets_a_message(master: Wire, method: str, path: str, code: int) -> None:
    status, answer = master.ask(method, path)
    assert status == code
    assert answer["message"]
    assert isinstance(answer["details"], list)


def test_head_takes_no_key(master: Wire) -> None:
    before = master.ask("GET", "sae-b/status")[1]["stored_key_count"]
    assert master.ask("HEAD", "sae-b/enc_keys")[0] == 405
    assert master.ask("GET", "sae-b/status")[1]["stored_key_count"] == before


def test_no_header_says_who_calls(master: Wire) -> None:
    forged = {
        name: value
        for name in (
            "X-SAE-ID",
            "ssl-client-cert",
            "X-Client-Certificate",
            "X-Forwarded-Client-Cert",
            "X-SSL-Client-CN",
        )
        for value in ("sae-a2",)
    }
    forged["X-Forwarded-For"] = "10.0.0.1"
    code, answer = master.ask("GET", "sae-b/status", headers=forged)
    assert (code, answer["master_SAE_ID"]) == (200, "sae-a")


def test_a_slave_that_is_not_known(master: Wire) -> None:
    for path in ("nobody/status", "nobody/enc_keys"):
        code, answer = master.ask("GET", path)
        assert code == 400
        assert answer["details"][0]["noclone_reason"] == "unknown-slave"


def test_an_application_that_names_itself_as_its_slave(master: Wire) -> None:
    assert master.ask("GET", "sae-a/status")[1]["target_KME_ID"] == "alder"
    code, got = master.ask("GET", "sae-a/enc_keys?number=2&size=512")
    assert code == 200
    key_id, extension = got["keys"][0]["key_ID"], got["keys"][0]["key_extension"]
    assert (extension["noclone_origin"], extension["noclone_leaks"]) == ("local", "site:alder")
    code, same = master.ask("GET", f"sae-a/dec_keys?key_ID={key_id}")
    assert (code, same["keys"]) == (200, got["keys"][:1])
    assert master.ask("GET", f"sae-a/dec_keys?key_ID={key_id}")[0] == 400  # once
    assert len({entry["key"] for entry in got["keys"]}) == 2


def test_an_application_at_the_wrong_kme_is_refused_with_401(live: Any) -> None:
    wire = Wire(live, "sae-a")
    host, port = live.birch.url.removeprefix("https://").split(":")
    connection = http.client.HTTPSConnection(host, int(port), context=wire.context, timeout=120)
    connection.request("GET", "/api/v1/keys/sae-b/status")
    response = connection.getresponse()
    assert response.status == 401
    assert json.loads(response.read())["message"]
    connection.close()


def test_what_is_no_http_gets_400_and_the_connection_ends(live: Any) -> None:
    wire = Wire(live, "sae-a")
    for junk in (b"\x16\x03\x01 not http\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"G" * 40_000):
        with wire.context.wrap_socket(socket.create_connection(wire.address), server_hostname="127.0.0.1") as tls:
            tls.settimeout(60)
            tls.sendall(junk)
            answer = b""
            while piece := tls.recv(4096):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 400")
            assert "message" in json.loads(answer.split(b"\r\n\r\n")[1])


def test_requests_that_drip_are_cut_off(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import noclone.io.https

    monkeypatch.setattr(noclone.io.https, "REQUEST_TIMEOUT_S", 0.3)
    wire = Wire(live, "sae-a")
    for start in (
        b"",
        b"GET /api/v1/keys",
        b"POST /api/v1/keys/sae-b/enc_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ):
        with wire.context.wrap_socket(socket.create_connection(wire.address), server_hostname="127.0.0.1") as tls:
            tls.settimeout(60)
            tls.sendall(start)
            while tls.recv(4096):
                pass


def test_keep_alive_and_requests_in_a_row_on_one_connection(live: Any) -> None:
    wire = Wire(live, "sae-a")
    request = b"GET /api/v1/keys/sae-b/status HTTP/1.1\r\nHost: x\r\n\r\n"
    with wire.context.wrap_socket(socket.create_connection(wire.address), server_hostname="127.0.0.1") as tls:
        tls.settimeout(60)
        tls.sendall(3 * request)
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 3 or not answer.endswith(b"}"):
            piece = tls.recv(65536)
            assert piece
            answer += piece


def test_refusals_are_events_and_hold_no_query(live: Any, master: Wire) -> None:
    master.ask("GET", "nobody/enc_keys?number=3")
    [event] = [event for event in live.events["alder"] if event.data.get("path") == "/api/v1/keys/nobody/enc_keys"][-1:]
    assert (event.kind, event.data["status"], event.data["reason"]) == ("request.refused", 400, "unknown-slave")
