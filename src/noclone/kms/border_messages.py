"""What KMEs of two operators say to each other at a border: the bodies of ETSI GS QKD 020 V1.1.1, checked first.

In: JSON text.  Out: frozen records, or `Problem` with the status and the words that the standard wants; and the JSON
that we send. Strict: true is not 1, a field twice is a mistake; unknown fields are ignored, as another version may have
more. Problems are RFC 9457 objects, with `details` as the standard's own examples have them.

Where the standard leaves a choice: only the asynchronous mode; whole bytes of key; targets at one of our sites.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from noclone.errors import KmeError

PREFIX = "/kmapi"
VERSIONS_PATH = f"{PREFIX}/versions"
KEYS_PATH = f"{PREFIX}/v1/ext_keys"
ACK_PATH = f"{KEYS_PATH}/ack"
VOID_PATH = f"{KEYS_PATH}/void"
PROBLEMS = "https://qkd.etsi.org/gs020-interop-kms"
KEYS_MAX = 1024  # of one request; the standard bounds acknowledgements so
KEY_BYTES_MAX = 8192
BODY_BYTES_MAX = 2 << 20
MESSAGE_MAX = 4096
OURS = re.compile(r"kme:")  # how KMEs of ours call themselves among themselves: no application has such a name
AckStatus = Literal["relayed", "failed", "voided", "failed to void", "key not present"]

Model = TypeVar("Model", bound=BaseModel)


class Problem(KmeError):
    """The answer is no, in the words of ETSI GS QKD 020.

    Args:
        status: 400, 401 or 503. Only the first two say that nothing of the request is kept.
        kind: The last part of the problem's type, such as "key-routing-error".
        name: Of the entry in `details`.
        text: What it says.
    """

    def __init__(self, status: int, kind: str, name: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.name = name

    def to_json(self) -> dict[str, Any]:
        """Return the problem details (RFC 9457)."""
        return {
            "type": f"{PROBLEMS}/{self.kind}",
            "status": self.status,
            "title": self.kind.replace("-", " "),
            "details": {self.name: self.message},
        }


def _sae(text: str) -> str:
    if OURS.match(text):
        raise ValueError("no application is called so")
    return text


def _uuid(text: str) -> str:
    if len(text) != 36 or str(uuid.UUID(text)) != text.lower():
        raise ValueError("a key_id is a UUID such as 550e8400-e29b-41d4-a716-446655440000")
    return text.lower()


SAE_CHARACTERS = r"^([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,64}$"  # RFC 3986
Sae = Annotated[str, Field(min_length=1, max_length=64, pattern=SAE_CHARACTERS), AfterValidator(_sae)]
KeyId = Annotated[str, AfterValidator(_uuid)]
Extension = Annotated[dict[str, Any], Field(min_length=1, max_length=1024)]
Callback = Annotated[str, Field(max_length=1024, pattern=r"^https://[!-~]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, populate_by_name=True)


class ExtKey(_Body):
    """A key on its way, its value in the clear."""

    key_id: KeyId
    value: str = Field(repr=False, max_length=2 * KEY_BYTES_MAX)
    extension: Extension | None = None

    def key(self) -> bytes:
        """Return the key.

        Raises:
            Problem: 400, it is no base64, or of no size that we take.
        """
        try:
            data = base64.b64decode(self.value, validate=True)
        except (binascii.Error, ValueError):
            raise malformed("value: it is no base64 (RFC 4648)") from None
        if not 1 <= len(data) <= KEY_BYTES_MAX:
            raise malformed(f"value: a key has 1 to {KEY_BYTES_MAX} bytes here")
        return data


class _Parties(_Body):
    initiator_sae_id: Sae
    target_sae_ids: list[Sae] = Field(min_length=1, max_length=64)


class ExtKeyContainer(_Parties):
    """Keys to be delivered to the targets."""

    keys: list[ExtKey] = Field(min_length=1, max_length=KEYS_MAX)
    ack_callback_url: Callback | None = None
    extension_mandatory: Extension | None = None
    extension_optional: Extension | None = None


class _KeyId(_Body):
    key_id: KeyId


class AckContainer(_Parties):
    """What became of keys."""

    key_id_container: list[_KeyId] = Field(min_length=1, max_length=KEYS_MAX)
    ack_status: AckStatus
    message: str = Field(default="", max_length=MESSAGE_MAX)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Of which keys."""
        return tuple(entry.key_id for entry in self.key_id_container)


class VoidContainer(_Parties):
    """Keys that nobody shall get."""

    key_ids: list[KeyId] = Field(max_length=KEYS_MAX)
    ack_callback_url: Callback | None = None
    all_confirmation: bool = False


def key_container_from_body(body: bytes) -> ExtKeyContainer:
    """Read a request to pass keys on.

    Raises:
        Problem: 400 for what is no such request; 503 for what it demands and we do not know, as the standard says.
    """
    container = _validate(ExtKeyContainer, _json(body), "malformed-request", "malformed_property")
    ids = [key.key_id for key in container.keys]
    if len(set(ids)) != len(ids) or len(set(container.target_sae_ids)) != len(container.target_sae_ids):
        raise malformed("a key_id or a target appears twice")
    if container.ack_callback_url is None:
        text = "ack_callback_url is missing: this KME has no synchronous mode, as its capabilities say"
        raise Problem(400, "missing-parameters", "missing_parameters", text)
    if container.extension_mandatory:
        names = " and ".join(list(container.extension_mandatory)[:8])[:512]
        text = f"Mandatory extensions {names} cannot be supported for this request."
        raise Problem(503, "unsupported-mandatory-extension", "unsupported_mandatory_extension", text)
    return container


def acks_from_body(body: bytes) -> list[AckContainer]:
    """Read acknowledgements: an array, as the standard has it.

    Raises:
        Problem: 400, it is none.
    """
    data = _json(body)
    if not isinstance(data, list) or not len(data) <= KEYS_MAX:
        raise Problem(400, "ack-not-understood", "ack_not_understood", "acknowledgements are an array of 1024 at most")
    return [_validate(AckContainer, entry, "ack-not-understood", "ack_not_understood") for entry in data]


def void_from_body(body: bytes) -> VoidContainer:
    """Read a request to void keys.

    Raises:
        Problem: 400, it is none, or voids everything without saying that it means to.
    """
    container = _validate(VoidContainer, _json(body), "void-request-not-understood", "key_voiding_error")
    if not container.key_ids and not container.all_confirmation:
        text = "key_ids is empty and all_confirmation is not true: nothing was voided"
        raise Problem(400, "no-key-ids-or-confirmation", "no_all_confirmation", text)
    if container.ack_callback_url is None:
        text = "ack_callback_url is missing: this KME has no synchronous mode, as its capabilities say"
        raise Problem(400, "missing-parameters", "missing_parameters", text)
    return container


def key_container(
    keys: list[tuple[str, bytes]], initiator: str, targets: tuple[str, ...], callback: str
) -> dict[str, Any]:
    """Return a request to pass keys on. It holds key in the clear; do not log it."""
    return {
        "keys": [{"key_id": key_id, "value": base64.b64encode(value).decode("ascii")} for key_id, value in keys],
        "initiator_sae_id": initiator,
        "target_sae_ids": list(targets),
        "ack_callback_url": callback,
    }


def void_container(key_ids: list[str], initiator: str, targets: tuple[str, ...], callback: str) -> dict[str, Any]:
    """Return a request to void keys."""
    return {
        "key_ids": key_ids,
        "initiator_sae_id": initiator,
        "target_sae_ids": list(targets),
        "ack_callback_url": callback,
    }


def ack_container(key_ids: list[str], status: str, initiator: str, targets: tuple[str, ...]) -> dict[str, Any]:
    """Return word of what became of keys."""
    return {
        "key_id_container": [{"key_id": key_id} for key_id in key_ids],
        "ack_status": status,
        "initiator_sae_id": initiator,
        "target_sae_ids": list(targets),
    }


def malformed(text: str) -> Problem:
    """Return the answer to what does not follow the standard."""
    return Problem(400, "malformed-request", "malformed_property", text)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise malformed("the body is no JSON (RFC 8259)") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)


def _validate(model: type[Model], data: Any, kind: str, name: str) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Problem(400, kind, name, f"{place}: {first['msg']}"[:MESSAGE_MAX]) from None
