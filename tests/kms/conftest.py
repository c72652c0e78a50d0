"""Two KMEs, alder and birch, with a store, certificates and applications each; straight or over real TLS."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.events import EventLog
from noclone.kms.keys import Assignment
from noclone.kms.kme import Kme
from noclone.kms.limits import KmeSettings
from noclone.kms.pools import BlockName
from noclone.kms.reservations import Refusal
from noclone.kms.service import KmeService
from noclone.kms.store import Store, StoreSettings
from noclone.network.identities import load_kme
from noclone.network.pki import create_pki
from noclone.records import BlockProvenance, Origin, SecretKey

LINK = "alder-birch"
SAES = {"sae-a": "alder", "sae-a2": "alder", "sae-b": "birch", "sae-b2": "birch", "sae-b3": "birch"}


def secret_key(number: int, n_bytes: int = 4096, *, link: str = LINK, seeded: bool = False) -> SecretKey:
    origin = BlockProvenance(
        link, "alder", "birch", number, "decoy-bb84", Origin("simulated", seeded), "lim2014", "fixed-length",
        1e-10, 1e-10 * (number + 1), "pre-shared-key", 1.7e9,
    )  # fmt: skip
    return SecretKey(words_from_bytes(os.urandom(n_bytes)), 8 * n_bytes, origin)


@pytest.fixture
def answered(request: pytest.FixtureRequest) -> Iterator[Counter[tuple[str, int]]]:
    """Count the answers to one operation, whose requests are one test; afterwards there are as many as `LEAST` says."""
    counts: Counter[tuple[str, int]] = Counter()
    yield counts
    least = request.module.LEAST
    for label in {label for label, _ in counts}:
        assert all(counts[label, status] >= few for status, few in least[label].items()), counts


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what these tests ask of the disk is order, which memory keeps as well."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as name:
        yield Path(name)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def version_2() -> ModuleType:
    """What makes stores of version 2, from the file beside this one."""
    return load(Path(__file__).with_name("version_2.py"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of the tests' own."""
    server = load(Path(__file__).parents[1] / "postgres.py").start()
    if isinstance(server, str):
        pytest.skip(server)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path | str]:
    """Where the store of a name is, on each back end: what is asked with this is asked of every one of them."""
    if request.param == "sqlite":
        return lambda name: tmp_path / f"{name}.db"
    server = request.getfixturevalue("postgres")
    urls: dict[str, str] = {}
    return lambda name: urls.setdefault(name, "") or urls.__setitem__(name, server.url()) or urls[name]


@pytest.fixture
def make_key() -> Callable[..., SecretKey]:
    return secret_key


@dataclass
class StraightPeer:
    """Calls another KME in the same process, with faults on demand."""

    name: str
    own: str
    other: Kme
    connected: bool = True
    faults: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.connected

    async def reserve(self, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "lost-request":
            raise ConnectionResetError
        answer = await self.other.on_reserve(self.own, [Assignment.from_json(a.to_json()) for a in assignments])
        if fault == "lost-answer":
            raise ConnectionResetError
        return answer

    async def void(self, key_ids: Sequence[str]) -> None:
        await self.other.on_void(self.own, key_ids)

    async def blocks(self, blocks: Sequence[BlockName]) -> list[BlockName]:
        return await self.other.on_blocks(self.own, blocks)


@dataclass
class Pair:
    """Two KMEs that call each other straight."""

    folder: Path
    clock: ManualClock
    keks: dict[str, bytes]
    kmes: dict[str, Kme] = field(default_factory=dict)
    peers: dict[str, StraightPeer] = field(default_factory=dict)
    blocks: int = 0

    @property
    def a(self) -> Kme:
        return self.kmes["alder"]

    @property
    def b(self) -> Kme:
        return self.kmes["birch"]

    def open(self, settings: StoreSettings | None = None) -> None:
        for name in ("alder", "birch"):
            store = Store.open(
                self.folder / f"{name}.db", name=name, kek=self.keks[name], clock=self.clock, settings=settings
            )
            self.kmes[name] = Kme(store, SAES, settings=KmeSettings())
        for name, other in (("alder", "birch"), ("birch", "alder")):
            self.peers[name] = StraightPeer(other, name, self.kmes[other])
            self.kmes[name].add_peer(self.peers[name])

    def close(self) -> None:
        for kme in self.kmes.values():
            kme.store.close()

    async def deposit(self, n_bytes: int = 4096) -> SecretKey:
        key = secret_key(self.blocks, n_bytes)
        self.blocks += 1
        await self.a.deposit(key, "birch")
        assert await self.b.deposit(key, "alder")
        return key


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, ManualClock(), {"alder": os.urandom(32), "birch": os.urandom(32)})
    pair.open()
    yield pair
    pair.close()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    create_pki(
        folder,
        kmes={"alder": ["127.0.0.1"], "birch": ["127.0.0.1"]},
        saes=list(SAES),
        links={LINK: ("alder", "birch")},
    )
    return folder


@dataclass
class Network:
    """Two KMEs that are served over TLS."""

    alder: KmeService
    birch: KmeService
    pki: Path
    stores: dict[str, Store]
    events: dict[str, EventLog]
    run: Callable[[Any], Any] = field(default=lambda coroutine: coroutine)

    def sae(self, identifier: str) -> dict[str, Any]:
        place = self.pki / "saes" / identifier
        return {"certificate": place / "sae.crt", "key": place / "sae.key", "ca": place / "kme-ca.crt"}

    def url(self, identifier: str) -> str:
        return (self.alder if SAES[identifier] == "alder" else self.birch).url

    async def deposit(self, number: int, n_bytes: int = 8192) -> None:
        key = secret_key(number, n_bytes)
        await self.alder.kme.deposit(key, "birch")
        assert await self.birch.kme.deposit(key, "alder")


@asynccontextmanager
async def network(pki: Path, folder: Path, **options: Any) -> AsyncIterator[Network]:
    """Serve two KMEs, connected, with one block between them; options are for `KmeService`."""
    services, stores, logs = {}, {}, {}
    for name, peer in (("alder", "birch"), ("birch", "alder")):
        identity = load_kme(pki, name)
        stores[name] = Store.open(folder / f"{name}.db", name=name, kek=os.urandom(32))
        logs[name] = EventLog()
        files = identity.files()
        services[name] = KmeService(
            stores[name], SAES, files, peers=(peer,), events=logs[name], sharing=(peer,), **options
        )
        await services[name].start()
    services["alder"].connect("birch", ("127.0.0.1", services["birch"].kme_port))
    services["birch"].connect("alder", ("127.0.0.1", services["alder"].kme_port))
    try:
        assert await services["alder"].connected("birch")
        assert await services["birch"].connected("alder")
        out = Network(services["alder"], services["birch"], pki, stores, logs)
        await out.deposit(0)
        yield out
    finally:
        for service in services.values():
            await service.stop()
        for store in stores.values():
            store.close()


@pytest.fixture
def serve(pki: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a context manager that serves two KMEs, for tests that live in an event loop."""
    return lambda **options: network(pki, tmp_path, **options)


@pytest.fixture(scope="module")
def live(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two KMEs that are served by another thread while the tests of a module talk to them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    context = network(pki, tmp_path_factory.mktemp("live"))
    served = run(context.__aenter__())
    served.run = run
    for number in range(1, 9):
        run(served.deposit(number, 65_536))
    try:
        yield served
    finally:
        run(context.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
