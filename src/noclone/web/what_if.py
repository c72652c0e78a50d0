"""What-if questions of the window, answered by the functions that everything else uses: `plan_link` and the audit."""

from __future__ import annotations

from typing import Any

from noclone.audit.audit import Audit
from noclone.errors import InputError, ScenarioError
from noclone.network.blocks import error_rate, plan_link
from noclone.network.link_sections import LinkSection
from noclone.network.scenario import Scenario
from noclone.spelling import choices

MORE_LOSS = "more_loss_db"  # on top of what the link has
CHANGES = {
    "length_km": ("fibre", 0.0, 1000.0),
    "extra_loss_db": ("fibre", 0.0, 60.0),
    MORE_LOSS: ("fibre", 0.0, 60.0),
    "efficiency": ("receiver", 0.01, 1.0),
    "dark_count_hz": ("receiver", 0.0, 100_000.0),
    "misalignment": ("receiver", 0.0, 0.2),
}
STATEMENTS_MAX = 16
LISTED = 50
TEXT_MAX = 200


def changed_link(scenario: Scenario, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return what a link would give with other devices: rate, error rate, threshold, or why there is no key.

    Raises:
        InputError: There is no such link, or a change is none.
        ScenarioError: The same of the link.
    """
    section = scenario.link(name)
    data = section.model_dump(mode="json")
    for field, value in changes.items():
        if field not in CHANGES:
            raise InputError(f"'{field[:40]}' cannot be changed here", hint=choices(field, CHANGES, "these can"))
        part, low, high = CHANGES[field]
        if type(value) not in (int, float) or not low <= value <= high:
            raise InputError(f"{field} lies between {low:g} and {high:g}")
        if data[part] is None:
            raise InputError(f"link '{name}' has no [link.{part}] to change")
        if field == MORE_LOSS:
            data[part]["extra_loss_db"] += value
        else:
            data[part][field] = value
    try:
        plan = plan_link(LinkSection.model_validate(data))
    except ScenarioError as error:
        return {"secret_bps": 0.0, "qber": None, "qber_max": None, "why": error.message, "seconds_per_block": None}
    return {
        "secret_bps": plan.secret_bps,
        "qber": error_rate(plan.expected),
        "qber_max": plan.agreement.qber_max,
        "why": plan.agreement.reason,
        "seconds_per_block": plan.seconds_per_block,
    }


def judged_link(scenario: Scenario, audit: Audit | None, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return what `changed_link` does, and a verdict: whether the link gives key, and if not, who would be without.

    Args:
        audit: Of the scenario; None while it is being made.

    Raises:
        InputError: There is no such link, or a change is none.
    """
    found = changed_link(scenario, name, changes)
    if found["secret_bps"] > 0:
        return {**found, "verdict": "Keys flow on this link.", "without_key": []}
    told = f"No key on this link: {found['why']}."
    if audit is None:
        return {**found, "verdict": told, "without_key": []}
    (cut,) = audit.what_if([f"link:{name} cut"])
    without = [list(demand.saes) for demand in cut.isolated]
    more = f" Of {_pairs(cut.demands)} of applications, {len(without)} would be without key."
    return {**found, "verdict": told + (more if cut.demands else ""), "without_key": without[:LISTED]}


def supposed(audit: Audit, statements: list[Any]) -> dict[str, Any]:
    """Return what would leak and who would be cut off, if all of some statements held.

    Raises:
        InputError: A statement cannot be read, or names what is not there.
    """
    good = all(isinstance(text, str) and len(text) <= TEXT_MAX and "*" not in text for text in statements)
    if not good or not 0 < len(statements) <= STATEMENTS_MAX:
        raise InputError(f"suppose one to {STATEMENTS_MAX} things, such as 'node:b compromised'")
    (found,) = audit.what_if(statements)
    told = found.to_json()
    for part in ("leaking", "without_key"):
        told[f"{part}_in_all"] = len(told[part])
        told[part] = told[part][:LISTED]
    return {**told, "verdict": _spoken(len(found.leaking), len(found.isolated), found.demands)}


def _spoken(leaking: int, isolated: int, demands: int) -> str:
    """Say what a supposition does to the trust in keys."""
    if not demands:
        return "No two applications want keys: nothing can leak."
    if leaking == demands:
        told = "No: the keys of every pair of applications would leak."
    elif leaking:
        told = f"In part: the keys of {leaking} of {_pairs(demands)} would leak, those of the others would not."
    else:
        told = "Yes: no pair's keys would leak by this alone."
    return told + (f" {isolated} of {_pairs(demands)} would be without key." if isolated else "")


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
