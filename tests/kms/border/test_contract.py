"""Our words at a border against the contract: our OpenAPI document, and the standard's own where it is at hand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import HealthCheck, Phase, settings

from noclone.kms.border_messages import (
    KEYS_MAX,
    MESSAGE_MAX,
    Problem,
    ack_container,
    key_container,
    void_container,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis

frontier: Any = sys.modules["border_frontier"]
DOCUMENT = json.loads((Path(__file__).parents[3] / "docs" / "openapi-etsi020.json").read_text())
# ETSI's own, BSD-3-Clause: interop-kms_ExtraMarkup.yaml, tag v1.1.1 of rep/qkd/gs020-interop-kms at ETSI's forge.
OFFICIAL_SHA256 = "300ce31c46452acda4c17542c4e124ec023e975a74ac4f1ddd8cd9f4e71951c6"
OFFICIAL = os.environ.get("NOCLONE_ETSI020_OPENAPI", "")
IDS = ["550e8400-e29b-41d4-a716-446655440000", "373b0b2c-d841-4765-af6f-c6232cda6531"]
EXPECTED = {"unsupported_mandatory_extension", "no_route_multiple_targets", "key_id_conflict"}  # of 503
# How often each operation is answered so at least: good requests and bad ones are among those that are made up.
LEAST = {
    "GET /kmapi/versions": {200: 1},
    "POST /kmapi/v1/ext_keys": {400: 50},
    "POST /kmapi/v1/ext_keys/ack": {200: 1, 400: 50},
    "POST /kmapi/v1/ext_keys/void": {202: 5, 400: 50},
}
WORDS = {
    "ExtKeyContainer": key_container([(i, bytes(range(32))) for i in IDS], "sae-p", ("sae-a",), frontier.CALLBACK),
    "VoidContainer": void_container(IDS, "sae-p", ("sae-a", "sae-a2"), frontier.CALLBACK),
    "AckContainers": [ack_container(IDS, "failed to void", "sae-p", ("sae-a",))],
    "Versions": {"versions": ["v1"]},
    "Problem": Problem(503, "key-routing-error", "no_known_route", "there is none").to_json(),
}
THEIR_NAMES = {
    "ExtKeyContainer": "ext_key_container",
    "VoidContainer": "void_container",
    "AckContainers": "ack_containers",
    "Versions": "version_container",
    "Problem": "problem_details",
}

schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.generation.update(modes=list(schemathesis.GenerationMode))


def checker(document: dict[str, Any], name: str) -> Any:
    """Return what checks JSON against a schema of a document."""
    where = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(where, validate_formats=True)


@pytest.mark.parametrize("name", WORDS)
def test_what_we_say_is_what_the_contract_allows(name: str) -> None:
    checker(DOCUMENT, name).validate(WORDS[name])


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_one_that_the_document_allows(
    case: Any, make: Callable[[], Any], door: Any, answered: Counter[tuple[str, int]]
) -> None:
    body = case.body if isinstance(case.body, dict | list | str | int | float | bool | None) else b""
    if isinstance(body, dict) and len(str(body)) % 3:  # so that some requests are good
        body |= {"initiator_sae_id": "sae-p", "target_sae_ids": ["sae-a"], "ack_callback_url": frontier.CALLBACK}
        body.pop("extension_mandatory", None)
    status, answer = door(case.method, case.formatted_path, body)
    answered[case.operation.label, status] += 1
    assert status in (200, 202, 400, 401, 404, 405, 503)
    if status in (404, 405):
        return
    allowed = case.operation.definition.raw["responses"][str(status)]
    if "content" not in allowed:
        assert answer is None
        return
    name = allowed["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    checker(DOCUMENT, name).validate(answer)
    if status == 503:
        assert set(answer["details"]) <= EXPECTED


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, border_pki: Path) -> Any:
    """Return what makes requests at one door, which stays open for all of them."""
    loop = asyncio.new_event_loop()
    border = frontier.Frontier(tmp_path_factory.mktemp("door"), border_pki)
    loop.run_until_complete(border.__aenter__())
    yield lambda method, path, body: loop.run_until_complete(border.ask(method, path, body))
    loop.run_until_complete(border.__aexit__(None, None, None))
    loop.close()


@pytest.mark.skipif(not OFFICIAL, reason="NOCLONE_ETSI020_OPENAPI does not say where the standard's own document is")
def test_the_standards_own_document_allows_what_we_say() -> None:
    data = Path(OFFICIAL).read_bytes()
    assert hashlib.sha256(data).hexdigest() == OFFICIAL_SHA256, "this is another document than V1.1.1's"
    theirs = yaml.safe_load(data)
    assert set(theirs["paths"]) == set(DOCUMENT["paths"])
    for name, words in WORDS.items():
        checker(theirs, THEIR_NAMES[name]).validate(words)
    schemas = theirs["components"]["schemas"]
    assert schemas["ack_containers"]["maxItems"] == schemas["key_id_container"]["maxItems"] == KEYS_MAX
    assert schemas["ack_message"]["maxLength"] == MESSAGE_MAX
    ours = DOCUMENT["components"]["schemas"]["AckContainer"]["properties"]["ack_status"]["enum"]
    assert set(schemas["ack_status"]["enum"]) == set(ours)
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            assert set(operation["responses"]) <= set(theirs["paths"][path][method]["responses"])
