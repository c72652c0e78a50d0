"""Take the pictures in `docs/window/`: every designed state, of networks that really run, light, dark and 390 px wide.

python -m tests.web.pictures docs/window [STATE ...]
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noclone.client import Etsi014Client, Refusal
from noclone.network.identities import load_sae
from noclone.network.scenario import load_scenario
from tests.conftest import free_base_port
from tests.network.test_vendor_links import SCENARIO, vendor
from tests.web.showing import Shown, showing

DESKTOP = {"width": 1400, "height": 900}
TELEPHONE = {"width": 390, "height": 844}
LONG_MS = 90_000
NEAR = "koganei-2-otemachi-2"
STATIC = Path(__file__).parents[2] / "src" / "noclone" / "web" / "static"
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class Camera:
    """A page, of which each state is taken three times."""

    def __init__(self, browser: Any, folder: Path, wanted: set[str]) -> None:
        self.context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
        self.context.set_default_timeout(LONG_MS)
        self.page = self.context.new_page()
        self._folder, self._wanted = folder, wanted
        self.failed: list[str] = []

    def wants(self, *names: str) -> bool:
        return not self._wanted or bool(self._wanted & set(names))

    def take(self, name: str, narrow: str = "") -> None:
        """Take a state; `narrow` is a selector of what a telephone shall show."""
        if not self.wants(name):
            return
        for scheme, suffix in (("light", ""), ("dark", "-dark")):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=str(self._folder / f"{name}{suffix}.png"))
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        self.page.set_viewport_size(TELEPHONE)
        self.page.wait_for_timeout(300)
        if narrow:
            self.page.locator(narrow).first.evaluate("it => it.scrollIntoView({block: 'start'})")
        self.page.screenshot(path=str(self._folder / f"{name}-390.png"))
        self.page.set_viewport_size(DESKTOP)
        self.page.evaluate("scrollTo(0, 0)")
        sys.stderr.write(f"{name}\n")

    def attempt(self, scene: Callable[..., None], *arguments: Any) -> None:
        """Play a scene; where it does not come about, say so, and go on with the others."""
        try:
            scene(self, *arguments)
        except Exception as error:
            self.failed.append(scene.__name__)
            sys.stderr.write(f"{scene.__name__}: {error}\n")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def become_operator(self, token: str) -> None:
        self.press("act as the operator")
        self.page.get_by_label("operator's token").fill(token)
        self.press("enter")
        self.page.get_by_role("button", name="leave").wait_for()


@contextmanager
def cameras(folder: Path, wanted: set[str]) -> Iterator[Callable[[], Camera]]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            yield lambda: Camera(browser, folder, wanted)
        finally:
            browser.close()


def loading(camera: Camera) -> None:
    """The page before any server has answered."""

    def serve(route: Any) -> None:
        path = STATIC / (route.request.url.rpartition("/")[2] or "index.html")
        if "/api/" in route.request.url or not path.is_file():
            route.abort()
        else:
            route.fulfill(body=path.read_bytes(), content_type=KINDS[path.suffix])

    camera.page.route("**/*", serve)
    camera.page.goto("http://window.test/index.html")
    camera.page.get_by_text("Connecting").wait_for()
    camera.take("loading")


def tokyo(folder: Path) -> Path:
    """The shipped network of six sites, on ports of its own."""
    from importlib import resources

    text = (resources.files("noclone.network") / "scenarios" / "tokyo.toml").read_text()
    path = folder / "tokyo.toml"
    path.write_text(re.sub(r"^base_port = .*$", f"base_port = {free_base_port()}", text, count=1, flags=re.MULTILINE))
    return path


def empty(camera: Camera, folder: Path) -> None:
    """Before the first block: light at a thousandth of its speed."""
    with showing(tokyo(folder), folder, speed=0.001) as shown:
        camera.page.goto(f"{shown.url}#at=link:{NEAR}")
        camera.page.get_by_text("Too early to say.").wait_for()
        camera.page.get_by_text("across the network").wait_for()
        camera.take("empty", "main")


def client(shown: Shown, sae: str) -> Etsi014Client:
    scenario, own = load_scenario(shown.scenario), load_sae(shown.pki, sae)
    host, port = scenario.etsi014_address(scenario.sae(sae).node)
    return Etsi014Client(f"https://{host}:{port}", certificate=own.certificate, key=own.key, ca=own.kme_ca)


def use_up(shown: Shown, sae: str, peer: str) -> None:
    """Have an application take every key that there is."""
    number = 64
    with client(shown, sae) as one:
        while number:
            try:
                one.enc_keys(peer, number=number)
            except Refusal:
                number //= 2


def live(camera: Camera, folder: Path) -> None:
    """Everything that happens while a network runs."""
    page = camera.page
    with showing(tokyo(folder), folder, speed=2.0) as shown:
        link = load_scenario(shown.scenario).link(NEAR)
        page.goto(f"{shown.url}#at=link:{NEAR}")
        page.get_by_text("Keys flow.").wait_for()
        shown.wait_for(lambda found: all(len(one["series"]) > 4 for one in found["links"]), 300)
        page.locator(".network").get_by_text("stored").first.wait_for()  # where it is full, links say less
        camera.take("live")
        camera.press("table")
        camera.take("table")
        camera.press("schematic")
        camera.take("schematic")
        camera.press("map")
        camera.become_operator(shown.token)
        camera.attempt(_attack, shown)
        camera.attempt(_operate, link.alice)
        camera.attempt(_suppose)
        camera.attempt(_key, shown)
        camera.attempt(_lose, shown)


def _attack(camera: Camera, _shown: Shown) -> None:
    if not camera.wants("attacked", "aborted", "recovered"):
        return
    page = camera.page
    camera.press("eve")
    camera.press("intercept-resend")
    page.get_by_text("Under attack.").wait_for()
    page.get_by_text("her record is worth").wait_for()
    camera.take("attacked", ".side")
    camera.press("now")
    camera.take("aborted", ".side")
    camera.press("eve")
    camera.press("take Eve off the link")
    camera.press("now")
    page.locator(".side").get_by_text("recovered").wait_for()
    camera.take("recovered", ".side")


def _operate(camera: Camera, node: str) -> None:
    if not camera.wants("stopped", "drained", "rotated"):
        return
    page = camera.page
    camera.press("stop the link")
    page.locator(".side").get_by_text("stopped by the operator").first.wait_for()
    camera.take("stopped", ".side")
    camera.press("start the link")
    page.locator(".side").get_by_role("button", name=node).first.click()
    camera.press("new key-encryption key")
    page.get_by_text("is sealed under key-encryption key 2").first.wait_for()
    camera.take("rotated", ".side")
    camera.press("drain")
    page.locator(".side").get_by_text("it can be taken down").first.wait_for()
    camera.take("drained", ".side")
    camera.press("let it go on")
    page.get_by_role("button", name=f"link {NEAR}").focus()
    page.keyboard.press("Enter")


def _suppose(camera: Camera) -> None:
    if not camera.wants("what-if"):
        return
    page = camera.page
    camera.press("what if")
    page.get_by_label("length").fill("180")
    page.get_by_label("more loss").fill("12")
    page.get_by_text("No key on this link").wait_for()
    page.get_by_label("compromised").first.check()
    page.get_by_text("would leak").wait_for()
    camera.take("what-if", ".side")
    camera.press("now")


def _key(camera: Camera, shown: Shown) -> None:
    if not camera.wants("key"):
        return
    with client(shown, "sae-koganei-1") as one:
        key_id = one.enc_keys("sae-hongo").keys[0].key_id
    camera.press("key")
    camera.page.get_by_label("key_ID").fill(key_id)
    camera.press("look")
    camera.page.get_by_text("smallest coalitions").wait_for()
    camera.take("key", ".side")
    camera.press("now")


def _lose(camera: Camera, shown: Shown) -> None:
    if not camera.wants("disconnected"):
        return
    camera.context.set_offline(True)
    asyncio.run_coroutine_threadsafe(drop_viewers(shown), shown.loop).result(10)
    camera.page.get_by_text("Disconnected: last seen 12 s ago").wait_for()
    camera.take("disconnected")
    camera.context.set_offline(False)


async def drop_viewers(shown: Shown) -> None:
    """Cut every connection, as a restart would."""
    assert shown.window._server is not None
    for connection in list(shown.window._server._server.server_state.connections):
        connection.transport.abort()


def starved(camera: Camera, folder: Path) -> None:
    """The operator stops a link, and applications use up what is stored."""
    from tests.conftest import SMALL

    path = folder / "small.toml"
    path.write_text(SMALL.format(base_port=free_base_port()))
    with showing(path, folder, speed=0.25) as shown:
        camera.page.goto(shown.url)
        shown.wait_for(lambda found: len(found["links"][0]["series"]) > 4)
        camera.become_operator(shown.token)
        camera.press("stop the link")
        camera.page.locator(".side").get_by_text("stopped by the operator").first.wait_for()
        camera.page.wait_for_timeout(5000)  # the block that was under way
        use_up(shown, "sae-ada", "sae-ben")
        use_up(shown, "sae-ben", "sae-ada")
        camera.page.locator(".side").get_by_text("starved").first.wait_for()
        camera.take("starved", ".side")


FIBRE = """
[[link]]
name = "south-west"
alice = "south"
bob = "west"
[link.source]
clock_hz = 1e9
intensities = [0.40, 0.13]
probabilities = [0.4, 0.6]
p_key = 0.7
[link.fibre]
length_km = 25
[link.receiver]
p_key = 0.7
efficiency = 0.5
dark_count_hz = 10
misalignment = 0.01
[link.distillation]
block_key_bits = 200_000
[[border]]
domain = "east-net"
node = "north"
port = {port}
peer = "gate-east"
url = "https://127.0.0.1:{closed}"
peer_ca = "border-ca.crt"
saes = ["bank-east"]
"""


def beyond(camera: Camera, folder: Path) -> None:
    """A link from a vendor's equipment, and a border; two further KMEs play the vendor."""
    import threading

    base, up, done, found = free_base_port(), threading.Event(), threading.Event(), []

    async def sell() -> None:
        async with vendor(folder) as (urls, pki, make):
            await make(65_536)
            found.append((urls, pki))
            up.set()
            while not done.is_set():
                await asyncio.sleep(0.2)

    seller = threading.Thread(target=lambda: asyncio.run(sell()), daemon=True)
    seller.start()
    try:
        assert up.wait(60)
        urls, pki = found[0]
        text = SCENARIO.format(base_port=base, urls=urls, pki=pki, more="", saes=("kms-n", "kms-s"))
        text = text.replace('[[node]]\nname = "south"', '[[node]]\nname = "south"\n[[node]]\nname = "west"')
        path = folder / "customer.toml"
        path.write_text(text + FIBRE.format(port=base + 200, closed=base + 201))
        with showing(path, folder, speed=0.25) as shown:
            camera.page.goto(f"{shown.url}#at=link:north-south&look=schematic")
            camera.page.locator(".side").get_by_text("on its vendor's word").wait_for()
            shown.wait_for(lambda seen: all(one["series"] and one["stored_bits"] for one in seen["links"]))
            camera.take("vendor", ".side")
            camera.page.get_by_role("button", name="border with east-net").first.focus()
            camera.page.keyboard.press("Enter")
            camera.press("table")
            camera.take("border")
    finally:
        done.set()
        seller.join(30)


def main(folder: Path, wanted: set[str]) -> int:
    """Take them all, or those that are named; return how many scenes did not come about."""
    folder.mkdir(parents=True, exist_ok=True)
    groups: tuple[tuple[Any, set[str]], ...] = (
        (empty, {"empty"}),
        (live, {"live", "table", "schematic", "attacked", "aborted", "recovered", "stopped", "rotated", "drained"}),
        (live, {"what-if", "key", "disconnected"}),
        (starved, {"starved"}),
        (beyond, {"vendor", "border"}),
    )
    with cameras(folder, wanted) as new:
        camera = new()
        if camera.wants("loading"):
            camera.attempt(loading)
        failed, done = camera.failed, set()
        for scene, names in groups:
            if scene not in done and (not wanted or wanted & names):
                done.add(scene)
                with tempfile.TemporaryDirectory() as place:
                    camera = new()
                    camera.attempt(scene, Path(place))
                    camera.context.close()
                    failed += camera.failed
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), set(sys.argv[2:])), 1))
