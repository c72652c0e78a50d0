"""The window in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web import measure

chromium = shutil.which("chromium")
pytestmark = pytest.mark.skipif(chromium is None, reason="chromium is not installed (Debian: apt-get install chromium)")
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


class Visit:
    """A page, with what it logged and asked for."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console", lambda line: self.problems.append(line.text) if line.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    def become_operator(self, token: str) -> None:
        self.page.get_by_role("button", name="act as the operator").click()
        self.page.get_by_label("operator's token").fill(token)
        self.page.get_by_role("button", name="enter").click()
        self.page.get_by_role("button", name="leave").wait_for()


@pytest.fixture
def visit(browser: Any, shown: Any) -> Iterator[Visit]:
    shown.wait_for(lambda found: found["links"][0]["state"] == "ok" and bool(found["verdict"]["levels"]))
    opened = Visit(browser, shown.url)
    yield opened
    opened.context.close()


def test_it_lives_and_asks_nobody_else(visit: Visit, shown: Any) -> None:
    page = visit.page
    page.get_by_text("Keys flow.").wait_for()
    page.get_by_role("button", name="link ada-ben: gives key").wait_for()
    before = page.locator("ol li").first.inner_text()
    page.wait_for_function("old => document.querySelector('ol li').innerText !== old", arg=before)
    assert visit.problems == []
    assert all(url.startswith(shown.url) for url in visit.asked)


def test_attack_verdict_and_recovery(visit: Visit, shown: Any) -> None:
    page = visit.page
    visit.become_operator(shown.token)
    page.get_by_role("button", name="eve", exact=True).click()
    page.get_by_role("button", name="intercept-resend").click()
    page.get_by_text("Under attack.").wait_for()
    page.get_by_text("she does it now").wait_for()
    page.get_by_text("in transit: no").wait_for()
    page.get_by_text("her record is worth").wait_for()
    assert "from secure-in-model to under-attack" in page.locator(".side").inner_text()
    page.locator(".side").get_by_role("button", name="NO KEY").first.click()
    page.locator("ol li.wanted:focus").filter(
        has_text="NO KEY"
    ).wait_for()  # the evidence, on the timeline, for the keyboard too
    page.get_by_role("button", name="take Eve off the link").click()
    page.get_by_text("Keys flow.").wait_for()
    page.get_by_role("button", name="now", exact=True).click()
    page.locator(".side").get_by_text("recovered").wait_for()
    page.get_by_label("only what is out of the ordinary").check()
    text = page.locator("ol").inner_text()
    assert "Eve" in text
    assert "from secure-in-model to under-attack" in text
    assert visit.problems == []


def test_the_operator_stops_and_starts_a_link(visit: Visit, shown: Any) -> None:
    page = visit.page
    visit.become_operator(shown.token)
    page.get_by_role("button", name="stop the link").click()
    page.locator(".side").get_by_text("stopped by the operator").first.wait_for()
    page.get_by_role("button", name="start the link").click()
    page.get_by_role("button", name="stop the link").wait_for()
    assert visit.problems == []


def test_the_operator_drains_a_node_and_changes_its_secrets(visit: Visit, shown: Any) -> None:
    page = visit.page
    visit.become_operator(shown.token)
    page.get_by_role("button", name="node ben").focus()
    page.keyboard.press("Enter")
    side = page.locator(".side")
    page.get_by_role("button", name="new key-encryption key").click()
    side.get_by_text("Done: its key store is sealed under key-encryption key").wait_for()
    page.get_by_role("button", name="new certificates").click()
    side.get_by_text("new files; it takes its certificates up").wait_for()
    page.get_by_role("button", name="drain", exact=True).click()
    side.get_by_text("drained: it can be taken down").wait_for()
    side.get_by_text("stopped as ben is drained").wait_for()
    page.get_by_role("button", name="node ben, drained").wait_for()
    page.get_by_role("button", name="let it go on").click()
    page.get_by_role("button", name="drain", exact=True).wait_for()
    page.get_by_label("only what is out of the ordinary").check()
    assert "sealed under key-encryption key" in page.locator("ol").inner_text()
    assert visit.problems == []


def test_what_if_answers_at_once(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="what if").click()
    page.get_by_label("length").fill("120")
    page.get_by_text("Keys flow on this link.").wait_for()
    page.get_by_label("length").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("121 km").wait_for()
    for name in ("detectors' efficiency", "dark counts"):
        before = page.locator(".side dl dd").first.inner_text()
        page.get_by_label(name).focus()
        page.keyboard.press("End" if name == "dark counts" else "PageDown")
        page.wait_for_function("old => document.querySelector('.side dl dd').innerText !== old", arg=before)
    page.get_by_label("misaligned light").fill("0.15")
    page.get_by_text("No key on this link").wait_for()
    page.get_by_text("2 would be without key").wait_for()
    page.get_by_role("button", name="as it is").click()
    page.get_by_text("Move a slider").wait_for()
    page.get_by_label("ada compromised").focus()
    page.keyboard.press("Space")
    page.get_by_text("These leak: sae-ada and sae-ben").wait_for()
    page.get_by_label("ML-KEM-768 broken").check()
    page.get_by_label("ada compromised").uncheck()
    page.get_by_text("no pair's keys would leak").wait_for()
    assert visit.problems == []


def test_a_key_is_explained_and_never_shown(visit: Visit, shown: Any) -> None:
    from noclone.client import Etsi014Client
    from noclone.network.identities import load_sae
    from noclone.network.scenario import load_scenario

    scenario = load_scenario(shown.scenario)
    host, port = scenario.etsi014_address("ada")
    own = load_sae(shown.pki, "sae-ada")
    with Etsi014Client(f"https://{host}:{port}", certificate=own.certificate, key=own.key, ca=own.kme_ca) as client:
        (key,) = client.enc_keys("sae-ben").keys
    page = visit.page
    visit.become_operator(shown.token)
    page.get_by_role("button", name="key", exact=True).click()
    page.get_by_label("key_ID").fill(key.key_id)
    page.get_by_role("button", name="look").click()
    page.get_by_text("smallest coalitions").wait_for()
    assert "link:ada-ben" in page.locator(".side").inner_text()
    import base64

    assert base64.b64encode(key.value).decode() not in page.content()
    page.get_by_label("key_ID").fill("nonsense")
    page.get_by_role("button", name="look").click()
    page.get_by_role("alert").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, shown: Any, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    shown.wait_for(lambda found: bool(found["links"][0]["series"]))
    opened = Visit(browser, shown.url, color_scheme=scheme, bypass_csp=True)  # axe is put in from outside
    page = opened.page
    page.get_by_role("button", name="act as the operator").wait_for()
    for name in ("now", "eve", "what if", "key"):
        page.get_by_role("button", name=name, exact=True).click()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    for name in ("schematic", "table"):
        page.get_by_role("button", name=name, exact=True).click()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    opened.context.close()


def test_it_fits_a_telephone_and_the_keyboard_works(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 800})
    page.get_by_text("Keys flow.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="node ada").focus()
    page.keyboard.press("Enter")
    page.get_by_text("a site with a key-management entity").wait_for()
    assert "at=node%3Aada" in page.url, "what is looked at stands in the address"
    page.reload()
    page.get_by_text("a site with a key-management entity").wait_for()


def test_a_lost_server_is_said_and_found_again(visit: Visit, shown: Any) -> None:
    page = visit.page
    page.get_by_text("Keys flow.").wait_for()
    visit.context.set_offline(True)
    page.evaluate("0")
    import asyncio

    asyncio.run_coroutine_threadsafe(_drop_viewers(shown), shown.loop).result(10)
    page.get_by_text("Disconnected: last seen").wait_for()
    visit.context.set_offline(False)
    page.get_by_text("Disconnected").wait_for(state="detached")


async def _drop_viewers(shown: Any) -> None:
    """Cut every connection, as a restart would."""
    for connection in list(shown.window._server._server.server_state.connections):
        connection.transport.abort()


def test_before_the_first_block_it_says_so(browser: Any, tmp_path: Path) -> None:
    """The page against a server that says nothing yet, and against none."""
    opened = Visit(browser, "about:blank")
    page = opened.page
    static = Path(__file__).parents[2] / "src" / "noclone" / "web" / "static"
    kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}

    def serve(route: Any) -> None:
        name = route.request.url.rpartition("/")[2] or "index.html"
        path = static / name
        if "/api/" in route.request.url or not path.is_file():
            route.abort()
        else:
            route.fulfill(body=path.read_bytes(), content_type=kinds[path.suffix])

    page.route("**/*", serve)
    page.goto("http://window.test/index.html")
    page.get_by_text("Looking for the network").wait_for()
    page.get_by_text("Connecting").wait_for()
    opened.context.close()


@pytest.mark.slow
def test_two_hundred_nodes_move_smoothly(browser: Any, tmp_path: Path) -> None:
    """200 nodes, 400 links, ten updates a second. The figures in docs/window.md are `measure`'s."""
    scenario = measure.large(tmp_path)
    assert (len(scenario.nodes), len(scenario.links)) == (200, 400)
    assert measure.frames(browser, scenario, 40) > 5, "30 is the goal; tests share their machine"
    assert measure.share_of_core(scenario, 40) < 0.5


def test_the_bundle_stays_small() -> None:
    assert sum(measure.bundle_bytes().values()) < 150_000
