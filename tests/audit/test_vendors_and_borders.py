"""The audit, and the window's board, of networks with links whose key is on a vendor's word, and with borders."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from noclone.audit.audit import audit
from noclone.audit.report import render
from noclone.network.blocks import plan_link
from noclone.network.scenario import SHIPPED, Scenario
from noclone.web.board import Board

BORDER = {
    "domain": "south",
    "node": "harbour",
    "port": 21_000,
    "peer": "kme-s",
    "url": "https://127.0.0.1:21001",
    "peer_ca": "ca.pem",
    "saes": ["far-app"],
}


def door(sae: str) -> dict[str, str]:
    return {"url": "https://10.0.0.7:8443", "sae": sae, "certificate": "c.pem", "key": "k.pem", "ca": "ca.pem"}


def network(*, light: bool, vendor: bool = True, border: bool = False, **fields: Any) -> Scenario:
    """The shipped tokyo with one link's key from a vendor, and no other links where there is no light."""
    data: dict[str, Any] = tomllib.loads(SHIPPED.text("tokyo"))
    homes = {sae["node"] for sae in data["sae"]}
    links, _ = data.pop("link"), data.pop("policy", None)
    links.sort(key=lambda link: not {link["alice"], link["bob"]} <= homes)  # between two sites with applications
    if light:
        data["link"] = links[1:] if vendor else links
    if vendor:
        data["lab"] = False
        ends = {"name": "bought", "alice": links[0]["alice"], "bob": links[0]["bob"], "vendor": "Acme QKD", **fields}
        data["vendor_link"] = [{**ends, "at_alice": door("kms-a"), "at_bob": door("kms-b")}]
    if border:
        data["border"] = [BORDER | {"node": data["node"][0]["name"]}]
    return Scenario.model_validate(data)


def test_a_vendors_link_is_audited_as_one_on_its_word() -> None:
    found = audit(network(light=True))
    link = found.scene.links["bought"].to_json()
    assert (link["vendor"], link["statement"], link["origin"]) == ("Acme QKD", "no-proof", "hardware")
    assert link["secret_bps"] is link["qber_expected"] is link["length_km"] is None
    demand = next(one for one in found.scene.demands if set(one.sites) == set(link["between"]))
    assert "vendor:bought" in {str(atom) for atom in demand.atoms}
    assert demand.claim == "on the vendor's word, who states no epsilon: information-theoretic"
    (word,) = [one for one in found.findings if one.threat.name == "vendors-word"]
    assert (word.status, word.judgement.where) == ("assumed", ("bought",))
    assert any("bought gives key on the word of its vendor (Acme QKD)" in line for line in found.lines())
    json.dumps(found.to_json(), allow_nan=False)
    assert "the word of Acme QKD" in render(found)


def test_without_any_light_nothing_is_said_of_a_model_or_of_algorithms() -> None:
    found = audit(network(light=False, epsilon=1e-9))
    told = found.levels[0]
    assert told.answer == "conditional"
    assert not any("simulated" in condition for condition in told.conditions)
    assert any("a vendor's system are not known here" in condition for condition in told.conditions)
    texts = " ".join(reason.text for reason in told.reasons)
    assert "who states 1e-09 for a key" in texts
    assert "algorithms alone" not in texts
    assert next(one.status for one in found.findings if one.threat.name == "simulated-light") == "countered"
    json.dumps(found.to_json(), allow_nan=False)
    assert render(found)


@pytest.mark.parametrize(("light", "vendor"), [(True, True), (True, False), (False, True)])
def test_a_network_with_a_border_is_audited_and_shown(light: bool, vendor: bool) -> None:
    scenario = network(light=light, vendor=vendor, border=True)
    found = audit(scenario)
    assert found.lines()
    (beyond,) = [one for one in found.findings if one.threat.name == "another-domain"]
    assert (beyond.status, beyond.judgement.where) == ("assumed", (f"{scenario.nodes[0].name} (south)",))
    board = Board(scenario, {link.name: plan_link(link) for link in scenario.links}, [])
    assert len(board.snapshot()["links"]) == len(scenario.links) + len(scenario.vendor_links)
