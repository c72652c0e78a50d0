"""What-if questions of the window, answered by the functions that everything else uses: `plan_link` and the audit."""

from __future__ import annotations

from typing import Any

from noclone.audit.audit import Audit
from noclone.errors import InputError, ScenarioError
from noclone.network.blocks import error_rate, plan_link
from noclone.network.link_sections import LinkSection
from noclone.network.scenario import Scenario

CHANGES = {
    "length_km": ("fibre", 0.0, 1000.0),
    "extra_loss_db": ("fibre", 0.0, 60.0),
    "efficiency": ("receiver", 0.01, 1.0),
    "dark_count_hz": ("receiver", 0.0, 100_000.0),
    "misalignment": ("receiver", 0.0, 0.2),
}
STATEMENTS_MAX = 16
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
            raise InputError(f"'{field[:40]}' cannot be changed here", hint=f"these can: {', '.join(CHANGES)}")
        part, low, high = CHANGES[field]
        if type(value) not in (int, float) or not low <= value <= high:
            raise InputError(f"{field} lies between {low:g} and {high:g}")
        if data[part] is None:
            raise InputError(f"link '{name}' has no [link.{part}] to change")
        data[part][field] = value
    try:
        plan = plan_link(LinkSection.model_validate(data))
    except ScenarioError as error:
        return {"secret_bps": 0.0, "qber": None, "why": error.message, "seconds_per_block": None}
    return {
        "secret_bps": plan.agreement.length_bits / plan.seconds_per_block,
        "qber": error_rate(plan.expected),
        "why": plan.agreement.reason,
        "seconds_per_block": plan.seconds_per_block,
    }


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
        told[part] = told[part][:50]
    return told
