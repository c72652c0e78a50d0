"""Requests by the hundred, made from our OpenAPI document and against it: always an answer that the document allows."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi-etsi014.json"

# How often each operation is answered so at least: good requests and bad ones are among those that are made up.
LEAST = {
    "GET /api/v1/keys/{slave_SAE_ID}/status": {400: 20},
    "GET /api/v1/keys/{slave_SAE_ID}/enc_keys": {400: 20},
    "POST /api/v1/keys/{slave_SAE_ID}/enc_keys": {200: 10, 400: 20},
    "GET /api/v1/keys/{master_SAE_ID}/dec_keys": {400: 20},
    "POST /api/v1/keys/{master_SAE_ID}/dec_keys": {400: 20},
}

schema = schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text()))
schema.config.generation.update(modes=list(schemathesis.GenerationMode))


@pytest.fixture(scope="module")
def session(live: Any) -> Any:
    files = live.sae("sae-a")
    with requests.Session() as session:
        session.trust_env = False
        session.cert = (str(files["certificate"]), str(files["key"]))
        session.verify = str(files["ca"])
        yield session


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_one_that_the_document_allows(
    case: Any, live: Any, session: requests.Session, answered: Counter[tuple[str, int]]
) -> None:
    if case.path_parameters and len(str(case.body)) % 3:
        case.path_parameters = dict.fromkeys(case.path_parameters, "sae-b")  # so that some requests are good
    response = case.call(base_url=live.url("sae-a"), session=session, verify=session.verify, cert=session.cert)
    assert response.status_code in (200, 400, 401, 404, 405, 503)
    answered[case.operation.label, response.status_code] += 1
    if response.status_code in (404, 405):  # a path or method that is none of the document's, such as an empty SAE id
        assert response.json()["message"]
        return
    case.validate_response(response, checks=[content_type_conformance, response_schema_conformance])
    if response.status_code == 503:
        assert response.json()["details"][0]["noclone_reason"] == "keys-exhausted"


def test_the_document_says_what_the_status_says(live: Any, session: requests.Session) -> None:
    status = session.get(f"{live.url('sae-a')}/api/v1/keys/sae-b/status", timeout=120).json()
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    assert schemas["Size"]["minimum"] == status["min_key_size"]
    assert schemas["Size"]["maximum"] == status["max_key_size"]
    assert schemas["Size"]["default"] == status["key_size"]
    assert schemas["Number"]["maximum"] == status["max_key_per_request"]
    assert schemas["KeyRequest"]["properties"]["additional_slave_SAE_IDs"]["maxItems"] == status["max_SAE_ID_count"]
    assert set(schemas["Status"]["required"]) == set(status)
