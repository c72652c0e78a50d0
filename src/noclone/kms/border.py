"""What every KME does for applications in other operators' domains, wherever the border is.

In: requests of our applications whose slaves are abroad; cargo of the KMEs at our borders.  Out: keys for our masters,
once the other domain has said that theirs are there; keys for our slaves, waiting by their ids. See docs/border.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from noclone.errors import KmeError, NocloneError, StoreError
from noclone.kms import border_in
from noclone.kms.border_carry import OPERATION, Sealed, receive, release, take_back
from noclone.kms.border_in import Incoming
from noclone.kms.border_out import Domain, Outgoing
from noclone.kms.containers import Delivered
from noclone.kms.demands import demands_of, unmet
from noclone.kms.keys import Refused
from noclone.kms.relay_calls import Calls
from noclone.kms.requests import KeyRequest, bad_request
from noclone.relayed import far_end

ORDER = "border-order"
PAUSE_S = 0.1
MARGIN_S = 10.0  # who ordered waits longer than the gate does, so that the gate's own reason comes back


class Border:
    """The borders of our domain, as one KME sees them.

    Args:
        calls: The KME, and how others are called.
        domains: All that ours meets, by name.
        gates: What this KME does at the borders that it stands at, by domain.
    """

    def __init__(
        self, calls: Calls, domains: Mapping[str, Domain], gates: Mapping[str, tuple[Outgoing, Incoming]]
    ) -> None:
        self._calls = calls
        self._domains = dict(domains)
        self._homes = {sae: domain.name for domain in domains.values() for sae in domain.saes}
        self._gates = dict(gates)
        calls.kme.abroad = self
        calls.kme.handlers.update({OPERATION: self._on_carry, border_in.TAKE_BACK: self._on_take_back})
        if gates:
            calls.kme.handlers[ORDER] = self._on_order

    # For applications

    def domain_of(self, sae: str) -> str | None:
        """Return in which other domain an application is; None: in none that we know."""
        return self._homes.get(sae)

    async def status(self, caller: str, slave: str) -> dict[str, Any]:
        """Answer what keys a master can have with a slave abroad: as much as can be carried to the border now."""
        kme, domain = self._calls.kme, self._domains[self._homes[slave]]
        kme.check_caller(caller)
        unit, capacity = kme.store.settings.unit_bits, kme.store.settings.capacity_bits
        bits = capacity
        if domain.gate != kme.name:
            bits = (await kme.store.pool(domain.gate)).ready_in_bits
        return {
            "source_KME_ID": kme.name,
            "target_KME_ID": domain.peer,
            "master_SAE_ID": caller,
            "slave_SAE_ID": slave,
            "key_size": unit,
            "stored_key_count": min(bits, capacity) // unit,
            "max_key_count": capacity // unit,
            "max_key_per_request": kme.settings.max_keys_per_request,
            "max_key_size": kme.settings.max_key_size_bits,
            "min_key_size": kme.settings.min_key_size_bits,
            "max_SAE_ID_count": kme.settings.max_additional_saes,
        }

    async def enc_keys(self, caller: str, slave: str, request: KeyRequest) -> Delivered:
        """Give a master new keys, once the other domain has acknowledged that its slaves can have them.

        Raises:
            Refused: 400 for what cannot be asked, 503 for what failed; then nobody here gets any of these keys.
        """
        kme, domain = self._calls.kme, self._domains[self._homes[slave]]
        kme.check_caller(caller)
        slaves = self._slaves(slave, domain, request)
        size_bits = kme.size_bits_of(request)
        name = str(uuid.uuid4())
        order = {
            "domain": domain.name,
            "request": name,
            "master": caller,
            "slaves": list(slaves),
            "number": request.number,
            "size_bits": size_bits,
        }
        kme.in_flight.add(name)
        try:
            async with asyncio.timeout(domain.timeout_s + MARGIN_S):
                key_ids = await self._order(domain, order)
            keys = await release(kme.store, name, caller, key_ids)
        except StoreError as error:
            await self._undo(domain, name)
            raise Refused(503, "key data access error", "store-failed", detail=error.message) from None
        except TimeoutError:
            await self._undo(domain, name)
            raise Refused(503, "the KME at the border did not answer in time", "border-timeout") from None
        except BaseException:
            await self._undo(domain, name)
            raise
        finally:
            kme.in_flight.discard(name)
        for key in keys:
            kme.say_delivered(key, caller, caller, slaves)
        return Delivered(tuple(keys), (kme.name, far_end(domain.name)))

    async def withdrawn(self, peer: str, key_ids: Sequence[str]) -> None:
        """Hear that a KME of ours will not give these keys to their master."""
        for outgoing, _ in self._gates.values():
            await outgoing.withdraw(key_ids, peer)

    # Inside

    def _slaves(self, slave: str, domain: Domain, request: KeyRequest) -> tuple[str, ...]:
        if demands_of(request):
            raise unmet("nobody can promise that for another operator's domain")
        slaves = (slave, *request.additional_slaves)
        limit = self._calls.kme.settings.max_additional_saes
        if len(slaves) - 1 > limit:
            raise bad_request(f"at most {limit} additional_slave_SAE_IDs can be given", "too-many-saes")
        if len(set(slaves)) != len(slaves):
            raise bad_request("a slave SAE appears twice", "duplicate-slave")
        if not set(slaves) <= domain.saes:
            raise bad_request("all slave SAEs shall be known and in the same domain", "unknown-slave")
        return slaves

    async def _order(self, domain: Domain, order: dict[str, Any]) -> list[str]:
        """Order keys at the border until it says what came of it.

        Raises:
            Refused: 503, nothing did.
        """
        while True:
            try:
                if domain.gate == self._calls.name:
                    answer = await self._on_order(self._calls.name, order)
                else:
                    answer = await self._calls.ask(domain.gate, ORDER, **order)
            except (KmeError, ValueError) as error:
                text = error.message if isinstance(error, KmeError) else str(error)
                raise Refused(503, "the KME at the border refused", "border-failed", detail=text) from None
            match answer:
                case {"state": "working"}:
                    await asyncio.sleep(PAUSE_S)
                case {"state": "relayed", "key_ids": [*ids]} if all(isinstance(i, str) for i in ids):
                    if len(ids) == order["number"]:
                        return list(ids)
                    raise Refused(503, "the KME at the border gave other keys than those ordered", "border-failed")
                case {"state": "failed", "reason": str(reason), "message": str(message), "detail": str(detail)}:
                    raise Refused(503, message[:200], reason[:40], detail=detail[:200])
                case _:
                    raise Refused(503, "the KME at the border answered what is no answer", "border-failed")

    async def _undo(self, domain: Domain, request: str) -> None:
        """Void what is here of a request, and have the gate void it as well."""
        kme = self._calls.kme
        if domain.gate != kme.name:
            kme.settle_soon(domain.gate, request)
            return
        kme.in_flight.discard(request)
        with contextlib.suppress(NocloneError):
            found = await kme.store.undelivered(kme.name)
            ids = [key_id for key_id, of in found if of == request]
            await kme.store.give_up(ids)
            await self.withdrawn(kme.name, ids)

    # For other KMEs of our domain

    async def _on_order(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        gate = self._gates.get(str(data.get("domain")))
        if gate is None:
            raise KmeError("this KME is at no such border", hint="give the same scenario file to all nodes")
        return await gate[0].on_order(peer, data)

    async def _on_carry(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Take keys in from the KME at a border.

        Raises:
            NocloneError, ValueError: They are refused.
        """
        message, kme = Sealed.from_json(data), self._calls.kme
        cargo = message.cargo
        domain = self._domains.get(cargo.domain)
        if (
            domain is None
            or (cargo.gate, cargo.site, cargo.peer) != (peer, kme.name, domain.peer)
            or peer != domain.gate
        ):
            raise KmeError("this cargo does not come from a border of ours")
        here = {cargo.master} if cargo.role == "master" else set(cargo.slaves)
        there = set(cargo.slaves) if cargo.role == "master" else {cargo.master}
        if any(kme.saes.get(sae) != kme.name for sae in here) or not there <= domain.saes:
            raise KmeError("this cargo is for applications that are not here, or not there")
        if cargo.role == "master" and cargo.request not in kme.in_flight:
            raise KmeError("nobody here waits for these keys")
        await receive(kme, peer, message)
        return {}

    async def _on_take_back(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        match data:
            case {"key_ids": [*ids]} if len(ids) <= 1024 and all(isinstance(i, str) and len(i) == 36 for i in ids):
                got = await take_back(self._calls.kme.store, peer, ids)
                return {"delivered": sorted(got)}
        raise ValueError("keys are taken back by their ids")
