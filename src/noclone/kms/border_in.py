"""Keys on their way in: what a KME at the border does with what the other domain's KME passes on (ETSI GS QKD 020).

In: keys with their values, requests to void.  Out: the keys in the store of the KME that serves their targets, and
acknowledgements. What is answered with 202 is durable, and goes on after a crash: accepted keys are carried to their
site, then their sender is told `relayed`, again until it has heard. The same key twice is one key; another key under
a known id is refused, with a status that does not say that nothing is kept of that id.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from noclone.errors import KmeError, NocloneError
from noclone.io.https_client import address_of
from noclone.kms import border_store, failpoints
from noclone.kms.border_carry import Cargo, carry, take_back
from noclone.kms.border_messages import ExtKeyContainer, Problem, VoidContainer, ack_container
from noclone.kms.border_out import RETRY_S, Domain, Door
from noclone.kms.border_store import BorderKey
from noclone.kms.calls import PeerRefused
from noclone.kms.keys import Refused
from noclone.kms.relay_calls import UNHEARD, Calls

TAKE_BACK = "border-take-back"
LOOK_S = 1.0
WAITING_MAX = 16_384  # keys of the other domain that are not carried yet
SERVER_SIDE = "server-side-general-error"


class Incoming:
    """Everything about keys on their way in through one border."""

    def __init__(self, calls: Calls, domain: Domain, door: Door) -> None:
        self._calls = calls
        self._domain = domain
        self._door = door
        self._work = asyncio.Event()
        self._acks = asyncio.Event()
        self._since: dict[str, float] = {}

    # For the other domain's KME

    async def on_keys(self, container: ExtKeyContainer) -> None:
        """Take keys in; they are durable here, and will be dealt with, once this returns.

        Raises:
            Problem: They are refused.
        """
        targets = tuple(container.target_sae_ids)
        site = self._site(container.initiator_sae_id, targets)
        callback = self._callback(container.ack_callback_url)
        store = self._calls.kme.store
        keyring = store.session.keyring
        rows = []
        for one in container.keys:
            value = one.key()
            rows.append(
                BorderKey(
                    one.key_id, self._domain.name, site, keyring.fingerprint(value), container.initiator_sae_id,
                    targets, 8 * len(value), "accepted", None, callback, value,
                )
            )  # fmt: skip
        waiting = await border_store.waiting(store, "in", ("accepted",), self._domain.name)
        if len(waiting) + len(rows) > WAITING_MAX:
            raise Problem(503, SERVER_SIDE, "too_many_keys", "too many keys are on their way here")
        await self._enter(rows)
        failpoints.reach("keys from over the border are durable")
        self._work.set()

    async def on_void(self, container: VoidContainer) -> None:
        """Take in that keys are void; their sender is told what came of it.

        Raises:
            Problem: It is refused.
        """
        initiator, targets = container.initiator_sae_id, tuple(container.target_sae_ids)
        callback = self._callback(container.ack_callback_url)
        store, name = self._calls.kme.store, self._domain.name
        ids = list(dict.fromkeys(container.key_ids))
        if not ids:
            ids = [key.key_id for key in await border_store.between(store, name, initiator, targets)]
        absent = [BorderKey(i, name, "", "", initiator, targets, 0, "void", "key not present", callback) for i in ids]
        known = await border_store.enter(store, "in", absent)
        if any(self._differ(key, initiator, targets) for key in known):
            raise Problem(400, "void-request-not-understood", "key_voiding_error", "a key is not of these applications")
        await border_store.turn(store, "in", ids, ("accepted", "relayed"), "voiding")
        before = [key.key_id for key in known]
        await border_store.tell_again(store, before, {"void": "voided", "failed": "voided"})
        self._work.set()
        self._acks.set()

    # For ever

    async def run(self) -> None:
        """Carry what came, and tell what became of it, until cancelled."""
        await asyncio.gather(self._repeat(self._work, self._carry_some), self._repeat(self._acks, self._tell_some))

    async def _repeat(self, wake: asyncio.Event, work: Callable[[], Awaitable[bool]]) -> None:
        """Do something when there is reason to, and look now and then; ever less often where it does not go well."""
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await wake.wait()
            wake.clear()
            try:
                well = await work()
            except (*UNHEARD, NocloneError):
                well = False
            if well:
                failures = 0
            else:
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                wake.set()

    # Inside

    def _site(self, initiator: str, targets: Sequence[str]) -> str:
        """Return our KME that serves the targets.

        Raises:
            Problem: There is none, or not one for all.
        """
        wrong, saes = "key-routing-error", self._calls.kme.saes
        if initiator not in self._domain.saes:
            raise Problem(
                400, wrong, "initiator_sae_id_not_recognized", "the initiator is no application of your domain"
            )
        for target in targets:
            if target in self._domain.saes:
                text = "Routing this key to target SAE ID requires passing it back to the calling KME."
                raise Problem(400, wrong, "invalid_routing", text)
            if target not in saes:
                raise Problem(400, wrong, "target_sae_id_not_recognized", "a target is not known here")
        sites = {saes[target] for target in targets}
        if len(sites) != 1:
            raise Problem(503, wrong, "no_route_multiple_targets", "all targets of a key shall be at one site")
        return sites.pop()

    def _callback(self, url: str | None) -> str:
        """Return where acknowledgements go: nowhere but to the KME that we know, whatever it asks for.

        Raises:
            Problem: 400, it leads elsewhere.
        """
        try:
            there, known = address_of(str(url)), address_of(self._domain.url)
        except NocloneError:
            raise Problem(400, "malformed-request", "malformed_property", "ack_callback_url is no address") from None
        if there != known:
            text = "ack_callback_url leads elsewhere than to the KME that we know as yours"
            raise Problem(400, "malformed-request", "malformed_property", text)
        return str(url)

    async def _enter(self, rows: list[BorderKey]) -> None:
        """Make keys durable; tell again of those that came before.

        Raises:
            Problem: 503, other keys came under these ids.
        """
        store = self._calls.kme.store
        known = {key.key_id: key for key in await (
            border_store.find(store, "in", [row.key_id for row in rows]))}  # fmt: skip
        if not any(self._conflict(row, known.get(row.key_id)) for row in rows):
            known = {key.key_id: key for key in await border_store.enter(store, "in", rows)}
        if any(self._conflict(row, known.get(row.key_id)) for row in rows):
            text = "a key_id is known here already, for another key or for other applications"
            raise Problem(503, SERVER_SIDE, "key_id_conflict", text)
        if known:
            words = {"relayed": "relayed", "failed": "failed", "void": "failed"}
            await border_store.tell_again(store, list(known), words)
            self._acks.set()

    def _conflict(self, fresh: BorderKey, known: BorderKey | None) -> bool:
        """Say whether what is known under a key's id is another key. What was voided before it came is none."""
        if known is None or (known.state == "void" and not known.request):
            return False
        return self._differ(known, fresh.initiator, fresh.targets) or not hmac.compare_digest(
            known.request, fresh.request
        )

    def _differ(self, key: BorderKey, initiator: str, targets: Iterable[str]) -> bool:
        return (key.domain, key.initiator, set(key.targets)) != (self._domain.name, initiator, set(targets))

    async def _carry_some(self) -> bool:
        """Carry what was accepted, take back what is void; return whether all went well."""
        store, name = self._calls.kme.store, self._domain.name
        well = True
        voiding = await border_store.waiting(store, "in", ("voiding",), name)
        for keys in _groups(voiding):
            well &= await self._take_back(keys)
        accepted = await border_store.waiting(store, "in", ("accepted",), name)
        for keys in _groups(accepted):
            well &= await self._carry(keys)
        return well

    async def _carry(self, keys: list[BorderKey]) -> bool:
        store, domain, one = self._calls.kme.store, self._domain, keys[0]
        ids = tuple(key.key_id for key in keys)
        now_s = store.clock.now_s()
        cargo = Cargo(
            self._calls.name, one.site, domain.name, domain.peer, "slave", _request_of(ids), one.initiator, one.targets,
            one.size_bits, ids, now_s,
        )  # fmt: skip
        late = now_s > self._since.setdefault(ids[0], now_s) + domain.timeout_s
        problem, state = "", "relayed"
        try:
            await carry(self._calls, cargo, [key.value for key in keys])
        except PeerRefused as refused:
            problem, state, late = refused.message, "failed", True
        except Refused as refused:  # nothing was sent
            problem, state = refused.message, "failed"
        except (*UNHEARD, NocloneError) as error:  # the site may have them
            problem, state = getattr(error, "message", type(error).__name__), "voiding"
        if problem and not late:
            return False
        self._since.pop(ids[0], None)
        ack = "failed" if problem else "relayed"
        await border_store.turn(store, "in", ids, ("accepted",), state, ack)
        more: dict[str, Any] = {"reason": problem[:200]} if problem else {}
        kind = "border.lost" if problem else "border.in"
        self._calls.kme.events.add(kind, f"border:{domain.name}", at=self._calls.name, keys=len(ids), **more)
        self._acks.set()
        return True

    async def _take_back(self, keys: list[BorderKey]) -> bool:
        """Void keys at their site, and note what is to be said of it."""
        store, site = self._calls.kme.store, keys[0].site
        ids = [key.key_id for key in keys]
        if site == self._calls.name:
            got = await take_back(store, site, ids)
        else:
            try:
                answer = await self._calls.ask(site, TAKE_BACK, key_ids=ids)
            except (*UNHEARD, NocloneError):
                return False
            got = {key_id for key_id in answer.get("delivered", []) if key_id in set(ids)}
        gone = [key_id for key_id in ids if key_id not in got]
        await border_store.turn(store, "in", gone, ("voiding",), "void", "voided")
        await border_store.turn(store, "in", list(got), ("voiding",), "void", "failed to void")
        self._acks.set()
        return True

    async def _tell_some(self) -> bool:
        """Acknowledge; return whether all was heard."""
        found = await border_store.unacknowledged(self._calls.kme.store, self._domain.name)
        groups: dict[tuple[Any, ...], list[BorderKey]] = {}
        for key in found:
            groups.setdefault((key.initiator, key.targets, key.callback, key.ack), []).append(key)
        well = True
        for (initiator, targets, callback, ack), keys in groups.items():
            well &= await self._tell([key.key_id for key in keys], initiator, targets, callback, ack)
        return well

    async def _tell(self, ids: list[str], initiator: str, targets: tuple[str, ...], callback: str, ack: str) -> bool:
        store = self._calls.kme.store
        path = callback.split("/", 3)
        try:
            status, _ = await self._door.post(
                f"/{path[3]}" if len(path) == 4 else "/", [ack_container(ids, ack, initiator, targets)]
            )
        except KmeError:
            return False
        if status == 200:
            await border_store.acknowledged(store, ids, ack)
            failpoints.reach("an acknowledgement was heard")
            return True
        if status in (400, 401):  # it does not know them, or us: nobody there will use them
            await border_store.acknowledged(store, ids, ack)
            await border_store.turn(store, "in", ids, ("accepted", "relayed"), "voiding")
            self._calls.kme.events.add("border.unknown", f"border:{self._domain.name}", status=status, keys=len(ids))
            self._work.set()
            return True
        return False


def _groups(keys: Sequence[BorderKey]) -> list[list[BorderKey]]:
    """Put together what one cargo can carry."""
    groups: dict[tuple[Any, ...], list[BorderKey]] = {}
    for key in keys:
        groups.setdefault((key.parties, key.size_bits), []).append(key)
    out = []
    for group in groups.values():
        at_once = max(1, min(128, (1 << 23) // max(group[0].size_bits, 1)))
        out += [group[start : start + at_once] for start in range(0, len(group), at_once)]
    return out


def _request_of(ids: Sequence[str]) -> str:
    """Return the name of a cargo: the same for the same keys, so that it is known when it comes again."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(ids)))
