"""The window's door: who may look, who may act, what every answer carries, and a stream that resumes."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noclone.errors import InputError
from noclone.network.blocks import plan_link
from noclone.network.plain_http import PlainServer
from noclone.network.scenario import load_scenario
from noclone.web.board import Board
from noclone.web.server import Window
from noclone.web.what_if import changed_link


def test_everything_on_the_page_comes_from_here_with_strict_headers(shown: Any) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/app.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/land.json", "application/json"),
    ):
        status, headers, data = shown.ask("GET", path, origin=None)
        assert status == 200, path
        assert headers["content-type"].startswith(kind)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert data
    assert shown.ask("GET", "/../server.py")[0] == 404


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("evil.example", "own", 403),
        ("", "http://evil.example", 403),
        ("", "null", 403),
        ("", None, 403),  # a change without an origin comes from no page of ours
    ],
)
def test_other_sites_cannot_act(shown: Any, host: str, origin: str | None, status: int) -> None:
    assert shown.ask("POST", "/api/session", {"token": shown.token}, host=host, origin=origin)[0] == status


def test_acting_takes_the_token_and_looking_does_not(shown: Any) -> None:
    attack = {"name": "intercept-resend", "on": "ada-ben", "strength": 1.0}
    assert shown.ask("GET", "/api/snapshot")[0] == 200
    assert shown.ask("POST", "/api/attacks", attack)[0] == 401
    assert shown.ask("DELETE", "/api/attacks/ada-ben")[0] == 401
    assert shown.ask("GET", "/api/keys/00000000-0000-0000-0000-000000000000")[0] == 401
    assert shown.ask("POST", "/api/session", {"token": "guess"})[0] == 401
    assert shown.ask("POST", "/api/attacks", attack, cookie="noclone-operator=guess")[0] == 401
    status, headers, _ = shown.ask("POST", "/api/session", {"token": shown.token})
    assert status == 200
    assert all(word in headers["set-cookie"].lower() for word in ("httponly", "samesite=strict"))
    assert shown.token not in headers["set-cookie"]


def test_leaving_ends_the_session(shown: Any) -> None:
    cookie = shown.enter()
    assert shown.ask("GET", "/api/session", cookie=cookie)[2]["operator"] is True
    assert shown.ask("DELETE", "/api/session", cookie=cookie)[0] == 200
    assert shown.ask("GET", "/api/session", cookie=cookie)[2]["operator"] is False


def test_bad_input_is_refused_in_words(shown: Any) -> None:
    cookie = shown.enter()
    for path, body in (
        ("/api/attacks", {"name": "intercept-resend"}),
        ("/api/attacks", {"name": "nothing", "on": "ada-ben", "strength": 1}),
        ("/api/attacks", {"name": "intercept-resend", "on": "nowhere", "strength": 1}),
        ("/api/attacks", {"name": "intercept-resend", "on": "ada-ben", "strength": 7}),
        ("/api/attacks", []),
        ("/api/link", {"link": "ada-ben", "changes": {"name": "x"}}),
        ("/api/link", {"link": "ada-ben", "changes": {"length_km": True}}),
        ("/api/link", {"link": "ada-ben", "changes": {"length_km": -1}}),
        ("/api/suppose", {"statements": []}),
        ("/api/suppose", {"statements": ["node:* compromised"]}),
        ("/api/suppose", {"statements": ["x" * 300]}),
        ("/api/suppose", {"statements": ["node:ada compromised"] * 17}),
    ):
        status, _, answer = shown.ask("POST", path, body, cookie=cookie)
        assert status in (400, 403), (path, body)
        assert answer["message"]
    assert shown.ask("POST", "/api/link", {"x": "y" * 10_000}, cookie=cookie)[0] == 400


def test_what_if_uses_the_proofs(shown: Any) -> None:
    def rate(km: float) -> float:
        answer = shown.ask("POST", "/api/link", {"link": "ada-ben", "changes": {"length_km": km}})[2]
        return float(answer["secret_bps"])

    assert rate(10) > rate(50) > rate(120) > 0
    gone = shown.ask("POST", "/api/link", {"link": "ada-ben", "changes": {"length_km": 400}})[2]
    assert gone["secret_bps"] == 0
    assert gone["why"]
    shown.wait_for(lambda snapshot: bool(snapshot["verdict"]["levels"]))
    told = shown.ask("POST", "/api/suppose", {"statements": ["node:ada compromised"]})[2]
    assert told["leaking_in_all"] == 2


def test_a_changed_link_is_the_scenarios_own_where_nothing_changes(shown: Any) -> None:
    scenario = load_scenario(shown.scenario)
    snapshot = shown.ask("GET", "/api/snapshot")[2]
    assert changed_link(scenario, "ada-ben", {})["secret_bps"] == snapshot["links"][0]["secret_bps_expected"]
    with pytest.raises(InputError, match="cannot be changed"):
        changed_link(scenario, "ada-ben", {"proof": 1})


def messages(shown: Any, last: str = "", *, until: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Read the stream until a kind of message has come: id, kind, data of each."""
    connection = http.client.HTTPConnection("127.0.0.1", shown.port, timeout=120)
    connection.request("GET", "/api/stream", headers={"Last-Event-ID": last} if last else {})
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    out = []
    try:
        while not out or out[-1][1] != until:
            lines = [answer.readline().decode().rstrip("\n") for _ in range(4)]
            fields = dict(line.partition(": ")[::2] for line in lines if line)
            out.append((fields["id"], fields["event"], json.loads(fields["data"])))
    finally:
        connection.close()
    return out


def test_the_stream_begins_with_everything_and_resumes_by_number(shown: Any) -> None:
    shown.wait_for(lambda snapshot: bool(snapshot["links"][0]["series"]))
    first = messages(shown, until="changes")
    assert [kind for _, kind, _ in first] == ["snapshot", "changes"]
    last = first[-1]
    resumed = messages(shown, last[0], until="changes")
    assert resumed[0][1] == "changes", "nothing is sent twice after a short absence"
    assert resumed[0][2]["number"] > last[2]["number"]
    stranger = messages(shown, "00000000-1", until="snapshot")
    assert stranger[0][1] == "snapshot", "numbers of another start mean nothing"


def test_no_key_reaches_the_browser(shown: Any) -> None:
    snapshot = shown.wait_for(lambda found: bool(found["links"][0]["funnel"]))
    text = json.dumps(snapshot)
    assert '"key"' not in text
    assert shown.token not in text
    assert max(len(word) for word in text.replace('"', " ").split()) < 200, "nothing long and random"


def test_a_private_window_shows_nothing_without_the_token(shown: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    private = Window(
        shown.window._board,
        shown.window._served.control,
        "secret",
        public=False,
        hosts=frozenset({f"127.0.0.1:{port}"}),
    )

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, shown.loop).result(30)

    server = run(PlainServer.start(private.application(), "127.0.0.1", port, what="a private window"))
    try:
        door = replace(shown, port=port, token="secret")
        assert door.ask("GET", "/")[0] == 200
        assert door.ask("GET", "/api/snapshot")[0] == 401
        assert door.ask("GET", "/api/stream")[0] == 401
        assert door.ask("POST", "/api/link", {"link": "ada-ben", "changes": {}})[0] == 401
        assert door.ask("GET", "/api/snapshot", cookie=door.enter())[0] == 200
    finally:
        run(server.stop())


def test_closing_ends_the_streams_in_silence(small_scenario: Path) -> None:
    """Ctrl-C with a browser open: no traceback, and no waiting for it."""
    scenario = load_scenario(small_scenario)
    board = Board(scenario, {link.name: plan_link(link) for link in scenario.links}, [])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def main() -> float:
        window = Window(board, None, "t", public=True, hosts=frozenset({f"127.0.0.1:{port}"}))  # type: ignore[arg-type]
        server = await PlainServer.start(window.application(), "127.0.0.1", port, what="a window")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        await reader.readuntil(b"event: snapshot")
        started = time.monotonic()
        window.stop()
        await server.stop()
        while await reader.read(1 << 16):
            pass
        writer.close()
        return time.monotonic() - started

    assert asyncio.run(main()) < 0.9, "uvicorn cuts what is open after a second, with a traceback"


def test_the_operator_stops_a_link_and_starts_it_again(shown: Any) -> None:
    assert shown.ask("POST", "/api/links/ada-ben", {"running": False})[0] == 401
    cookie = shown.enter()
    for body in ({}, {"running": "no"}, []):
        assert shown.ask("POST", "/api/links/ada-ben", body, cookie=cookie)[0] == 400
    assert shown.ask("POST", "/api/links/nowhere", {"running": False}, cookie=cookie)[0] == 400
    state = shown.ask("POST", "/api/links/ada-ben", {"running": False}, cookie=cookie)[2]
    assert state["links"]["ada-ben"]["stopped"] is True
    shown.wait_for(lambda found: found["links"][0]["state"] == "stopped" or found["links"][0]["state"] == "ok")
    time.sleep(4)  # the block that was under way has ended
    quiet = shown.ask("GET", "/api/snapshot")[2]["links"][0]["series"]
    time.sleep(3)
    assert shown.ask("GET", "/api/snapshot")[2]["links"][0]["series"] == quiet, "no block is made"
    state = shown.ask("POST", "/api/links/ada-ben", {"running": True}, cookie=cookie)[2]
    assert state["links"]["ada-ben"]["stopped"] is False
    shown.wait_for(lambda found: len(found["links"][0]["series"]) > 0 and found["links"][0]["series"] != quiet)
