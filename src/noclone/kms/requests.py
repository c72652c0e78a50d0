"""What applications may ask for: the bodies and queries of ETSI GS QKD 014, checked before anything else happens.

In: JSON text or a query string.  Out: `KeyRequest` or `KeyIds`, or `Refused` with 400 and the place of the mistake.
Strict: true is not 1, null is not "not given", "3" is not 3, and a field twice is a mistake. Unknown fields are
ignored, as other versions of the standard may have more; it has `extension_mandatory` for what may not be.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from noclone.kms.keys import Refused

BODY_BYTES_MAX = 65_536
EXTENSIONS_UNSUPPORTED = "not all extension_mandatory parameters are supported"
NUMBER = re.compile(r"[0-9]{1,9}")

Model = TypeVar("Model", bound=BaseModel)


def _canonical_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else _not_a_uuid()
    except ValueError:
        return _not_a_uuid()


def _not_a_uuid() -> str:
    raise ValueError("a key_ID is a UUID such as 550e8400-e29b-41d4-a716-446655440000")


SaeId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]
KeyId = Annotated[str, AfterValidator(_canonical_uuid)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class KeyRequest(_Body):
    """What a master asks for (table 10). Fields that are not given take the KME's defaults."""

    number: int = Field(default=1, ge=1)
    size: int = Field(default=0, ge=0)
    additional_slaves: list[SaeId] = Field(default=[], max_length=1024, alias="additional_slave_SAE_IDs")
    extension_mandatory: list[dict[str, Any]] = Field(default=[], max_length=1024)
    extension_optional: list[dict[str, Any]] = Field(default=[], max_length=1024)


class _KeyId(_Body):
    key_id: KeyId = Field(alias="key_ID")


class KeyIds(_Body):
    """Which keys a slave asks for (table 12)."""

    entries: list[_KeyId] = Field(min_length=1, max_length=4096, alias="key_IDs")

    @property
    def ids(self) -> list[str]:
        """The ids in their canonical form."""
        return [entry.key_id for entry in self.entries]


def key_request_from_body(body: bytes) -> KeyRequest:
    """Read a key request; an empty body asks for the defaults."""
    return _key_request(_json(body) if body.strip() else {})


def _key_request(data: Any) -> KeyRequest:
    request = _validate(KeyRequest, data)
    if "size" in request.model_fields_set and request.size == 0:
        raise bad_request("size shall be above zero", "bad-size")
    return request


@lru_cache(maxsize=256)
def key_request_from_query(query: bytes) -> KeyRequest:
    """Read the GET form: `number` and `size` alone (clause 6.2). The same few queries come again and again."""
    return _key_request({name: _number(name, value) for name, value in _single(query, ("number", "size"))})


def key_ids_from_body(body: bytes) -> KeyIds:
    """Read the ids of keys; none twice."""
    ids = _validate(KeyIds, _json(body))
    if len(set(ids.ids)) != len(ids.ids):
        raise bad_request("a key_ID appears twice", "duplicate-key-id")
    return ids


def key_ids_from_query(query: bytes) -> KeyIds:
    """Read the GET form: exactly one `key_ID` (clause 6.4)."""
    found = dict(_single(query, ("key_ID",)))
    if not found:
        raise bad_request("key_ID is missing", "missing-key-id")
    return _validate(KeyIds, {"key_IDs": [{"key_ID": found["key_ID"]}]})


def bad_request(message: str, reason: str, *, detail: str = "") -> Refused:
    """Return the answer 400."""
    return Refused(400, message, reason, detail=detail)


def _single(query: bytes, allowed: Sequence[str]) -> list[tuple[str, str]]:
    found = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    names = [name for name, _ in found]
    if any(name not in allowed for name in names):
        raise bad_request(f"with GET only {' and '.join(allowed)} can be given; use POST", "bad-query")
    if len(set(names)) != len(names):
        raise bad_request("a parameter appears twice", "bad-query")
    return found


def _number(name: str, text: str) -> int:
    if not NUMBER.fullmatch(text):
        raise bad_request(f"{name} shall be an integer", f"bad-{name}")
    return int(text)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON (RFC 8259)", "bad-json") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _validate(model: type[Model], data: Any) -> Model:
    if not isinstance(data, dict):
        raise bad_request("the body shall be a JSON object", "bad-json")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise bad_request(f"{place}: {first['msg']}", "bad-request", detail=place) from None
