"""What an application may ask of a KME, and what of its demands and a policy's is refused before a key is taken."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from noclone.kms.limits import KmeSettings
from noclone.kms.policies import Policies, Policy
from noclone.kms.requests import KeyRequest
from noclone.kms.store import Store, StoreSettings
from tests.kms.asking import refusal, wanted


@pytest.mark.parametrize(
    ("caller", "slave", "fields", "status", "reason"),
    [
        ("nobody", "sae-b", {}, 401, "unknown-sae"),
        ("sae-b", "sae-a", {}, 401, "unknown-sae"),  # a good SAE, at the wrong KME
        ("sae-a", "nobody", {}, 400, "unknown-slave"),
        ("sae-a", "sae-b", {"size": 7}, 400, "bad-size"),
        ("sae-a", "sae-b", {"size": 8}, 400, "bad-size"),
        ("sae-a", "sae-b", {"size": 65_544}, 400, "bad-size"),
        ("sae-a", "sae-b", {"number": 129}, 400, "bad-number"),
        ("sae-a", "sae-b", {"additional_slave_SAE_IDs": ["sae-b"]}, 400, "duplicate-slave"),
        ("sae-a", "sae-b", {"additional_slave_SAE_IDs": ["sae-b2", "sae-b2"]}, 400, "duplicate-slave"),
        ("sae-a", "sae-b", {"additional_slave_SAE_IDs": ["sae-a2"]}, 400, "unknown-slave"),
        ("sae-a", "sae-b", {"additional_slave_SAE_IDs": ["x"] * 17}, 400, "too-many-saes"),
        ("sae-a", "sae-b", {"extension_mandatory": [{"abc_route": "direct"}]}, 400, "unsupported-extension"),
        ("sae-a", "sae-b", {"extension_mandatory": [{"noclone_origin": "hardware"}]}, 400, "demand-unmet"),
        ("sae-a", "sae-b", {"extension_mandatory": [{"noclone_max_age_s": 1, "abc": 1}]}, 400, "unsupported-extension"),
        ("sae-a", "sae-b", {"extension_mandatory": [{"noclone_max_age_s": 0}]}, 400, "demand-unmet"),
        ("sae-a", "sae-b", {"extension_mandatory": [{"noclone_max_epsilon": 1e-30}]}, 400, "demand-unmet"),
        ("sae-a", "sae-a", {"extension_mandatory": [{"noclone_profile": "link"}]}, 400, "demand-unmet"),
        ("sae-a", "sae-a", {"additional_slave_SAE_IDs": ["sae-b"]}, 400, "unknown-slave"),
    ],
)
def test_what_cannot_be_asked(
    pair: Any, caller: str, slave: str, fields: dict[str, Any], status: int, reason: str
) -> None:
    async def story() -> None:
        await pair.deposit()
        before = pair.a.store.pool("birch").result()
        refused = await refusal(pair.a.enc_keys(caller, slave, wanted(**fields)))
        assert (refused.status, refused.reason) == (status, reason)
        assert pair.a.store.pool("birch").result() == before

    asyncio.run(story())


def test_extensions_that_are_optional_or_empty_are_no_obstacle(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        fields = {"extension_mandatory": [], "extension_optional": [{"abc_max_age": 30000}]}
        assert len((await pair.a.enc_keys("sae-a", "sae-b", wanted(**fields))).keys) == 1

    asyncio.run(story())


def test_an_unknown_peer_plane_request_is_refused(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        claimed = await pair.a.store.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256)
        promise = claimed[0].assignment
        assert [r.reason for r in (await pair.b.on_reserve("cedar", [promise])).values()] == ["malformed"]
        assert await pair.b.on_reserve("alder", [promise]) == {}

    asyncio.run(story())


def test_too_many_ids_are_refused(pair: Any) -> None:
    async def story() -> None:
        refused = await refusal(pair.b.dec_keys("sae-b", "sae-a", [str(uuid.uuid4()) for _ in range(129)]))
        assert (refused.status, refused.reason) == (400, "too-many-keys")

    asyncio.run(story())


def test_settings_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="whole bytes"):
        StoreSettings(unit_bits=12)
    with pytest.raises(ValueError, match="live"):
        StoreSettings(lifetime_s=0)
    assert KmeSettings().max_key_size_bits == 65_536
    assert Store.__doc__


def test_demands_of_a_request_are_met_or_refused_before_a_key_is_taken(pair: Any) -> None:
    def asking(**demands: Any) -> KeyRequest:
        return wanted(extension_mandatory=[{f"noclone_{name}": value} for name, value in demands.items()])

    async def story() -> None:
        await pair.deposit()
        pair.clock.advance(30.0)  # the blocks are of its beginning
        for demands in ({"profile": "link"}, {"max_nodes_knowing": 0}, {"max_age_s": 60}, {"max_epsilon": 1e-9}):
            assert len((await pair.a.enc_keys("sae-a", "sae-b", asking(**demands))).keys) == 1
        before = pair.a.store.pool("birch").result()
        for demands in ({"origin": "hardware"}, {"max_epsilon": 1e-11}, {"origin": "gold"}, {"profile": 1},
                        {"max_nodes_knowing": True}, {"max_age_s": float("nan")}):  # fmt: skip
            refused = await refusal(pair.a.enc_keys("sae-a", "sae-b", asking(**demands)))
            assert (refused.status, refused.reason, refused.message) == (
                400, "demand-unmet", "not all extension_mandatory request options could be met",
            )  # fmt: skip
        refused = await refusal(pair.a.enc_keys("sae-a", "sae-b", asking(profile="paths-2")))
        assert (refused.status, refused.reason) == (503, "keys-exhausted")  # there is none of that now
        refused = await refusal(pair.a.enc_keys("sae-a", "sae-b", asking(max_age_s=10)))
        assert (refused.status, refused.reason) == (503, "keys-exhausted")
        assert pair.a.store.pool("birch").result() == before  # none of it cost a key

    asyncio.run(story())


def test_a_policy_and_a_demand_that_contradict_each_other(pair: Any) -> None:
    pair.a.policies = Policies([Policy(("sae-a", "sae-b"), "link")])

    async def story() -> None:
        await pair.deposit()
        demand = [{"noclone_profile": "paths-2"}]
        refused = await refusal(pair.a.enc_keys("sae-a", "sae-b", wanted(extension_mandatory=demand)))
        assert (refused.status, refused.reason) == (400, "demand-unmet")
        assert (await pair.a.enc_keys("sae-a", "sae-b", wanted(extension_mandatory=[{"noclone_profile": "link"}]))).keys

    asyncio.run(story())
