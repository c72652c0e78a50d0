"""Attacks on applications and nodes of a network that is being served: begun, told of, stopped, refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from noclone.client import Etsi014Client
from noclone.errors import NocloneError
from noclone.network.identities import load_sae
from noclone.network.operator import ask
from noclone.network.scenario import load_scenario
from noclone.redteam.live import LIVE_ATTACKS


def tell(served: Any, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    return dict(ask(load_scenario(served.scenario), served.pki, method, path, body))


def begin(served: Any, name: str, on: str, strength: float = 1.0) -> dict[str, Any]:
    return tell(served, "POST", "/api/attacks", {"name": name, "on": on, "strength": strength})


def test_a_thief_gets_keys_with_a_stolen_certificate_until_she_is_stopped(served: Any) -> None:
    served.wait_for("block.distilled")
    before = served.log.since()[-1].number
    state = begin(served, "stolen-sae-certificate", "sae-ada", 0.5)
    assert [(one["name"], one["on"]) for one in state["attacks"]] == [("stolen-sae-certificate", "sae-ada")]
    got = served.wait_for("eve.got-key", after=before)
    assert got.subject == "sae:sae-ada"
    assert got.data["known_bits"] == got.data["key_bits"] > 0
    assert any(event.kind == "key.delivered" for event in served.log.since(before)), "the KME saw an application ask"
    assert tell(served, "DELETE", "/api/attacks/sae-ada")["attacks"] == []
    with pytest.raises(NocloneError):
        tell(served, "DELETE", "/api/attacks/sae-ada")


@pytest.mark.parametrize("name", ["request-flood", "slow-clients"])
def test_doors_are_flooded_and_the_honest_are_still_served(served: Any, name: str) -> None:
    before = served.log.since()[-1].number
    begin(served, name, "ben", 0.1)
    try:
        if name == "request-flood":
            assert served.wait_for("tls.refused", after=before).subject == "kme:ben"
        else:
            time.sleep(0.2)
        assert [one["name"] for one in tell(served, "GET", "/api/state")["attacks"]] == [name]
        scenario, honest = load_scenario(served.scenario), load_sae(served.pki, "sae-ben")
        host, port = scenario.etsi014_address("ben")
        files = {"certificate": honest.certificate, "key": honest.key, "ca": honest.kme_ca}
        with Etsi014Client(f"https://{host}:{port}", **files) as application:
            assert application.status("sae-ada").slave == "sae-ada"
    finally:
        tell(served, "DELETE", "/api/attacks/ben")
    served.wait_for("attack.stopped", after=before)


def test_what_is_not_there_is_not_attacked(served: Any) -> None:
    for name, on in (("compromised-node", "sae-ada"), ("key-exhaustion", "ben"), ("request-flood", "ada-ben")):
        with pytest.raises(NocloneError, match="there is no"):
            begin(served, name, on)
    with pytest.raises(NocloneError, match="strength"):
        begin(served, "slow-clients", "ben", 0.0)
    assert {attack.target for attack in LIVE_ATTACKS.values()} == {"node", "application"}
