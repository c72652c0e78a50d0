"""The operator's side of `control`: ask a served network on this machine for something."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from noclone.errors import InputError, NocloneError
from noclone.network.identities import load_operator_token
from noclone.network.scenario import Scenario

TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 64 << 20


def ask(scenario: Scenario, pki: Path, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send one request to the operator's door and return its answer.

    Raises:
        NocloneError: Nobody serves the scenario here, or the request was refused.
    """
    host, port = scenario.control_address()
    headers = {"Authorization": f"Bearer {load_operator_token(pki)}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        answer = json.loads(response.read(ANSWER_BYTES_MAX))
    except (OSError, http.client.HTTPException, ValueError):
        raise NocloneError(
            f"nobody serves the scenario '{scenario.name}' at {host}:{port}",
            hint="start it with `noclone serve`",
        ) from None
    finally:
        connection.close()
    if response.status == 200:
        return answer
    refusal = InputError if response.status == 400 else NocloneError
    raise refusal(str(answer.get("message", "refused")), hint=str(answer.get("hint", "")))
