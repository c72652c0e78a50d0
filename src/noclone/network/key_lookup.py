"""Where the record of a key is found: at the operator's door of a served network, or in the stores of one that is not.

In: a scenario, a key's id.  Out: what is known of the key, without the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noclone.errors import InputError, NocloneError
from noclone.kms.key_records import find_key, signatures_of
from noclone.kms.relay_statements import Notary
from noclone.kms.sealing import load_kek
from noclone.kms.store import Store, StoreSettings
from noclone.network.identities import load_kme
from noclone.network.operator import ask
from noclone.network.scenario import Scenario


def look_up(scenario: Scenario, key_id: str, pki: Path, data: Path) -> dict[str, Any]:
    """Return the record of a key.

    Raises:
        NocloneError: Nobody knows it.
    """
    if not key_id.isprintable() or "/" in key_id or len(key_id) > 64:
        raise InputError(f"{key_id[:64]!r} is no key_ID")
    try:
        found: dict[str, Any] = ask(scenario, pki, "GET", f"/api/keys/{key_id}")
        return found
    except InputError:
        raise
    except NocloneError as nobody:
        stores = [node.name for node in scenario.nodes if (data / f"{node.name}.db").exists()]
        if not stores:
            raise nobody from None
    for name in stores:
        known = _in_store(scenario, name, key_id, pki, data)
        if known is not None:
            return known
    raise InputError(f"no key store in {data} knows a key '{key_id}'", hint="give the key_ID as an application got it")


def _in_store(scenario: Scenario, name: str, key_id: str, pki: Path, data: Path) -> dict[str, Any] | None:
    identity = load_kme(pki, name)
    settings = StoreSettings(unit_bits=scenario.keys.key_size_bits, lifetime_s=3600 * scenario.keys.lifetime_hours)
    with Store.open(data / f"{name}.db", name=name, kek=load_kek(identity.kek), settings=settings) as store:
        found = find_key(store, key_id).result()
    if found is None:
        return None
    notary = Notary.load(name, identity.certificate, identity.key, identity.kme_ca)
    return {**found, "signatures": signatures_of(found, notary)}
