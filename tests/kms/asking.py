"""What applications ask of a KME in tests, and what they see of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from noclone.kms.containers import Delivered
from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest


def wanted(**fields: Any) -> KeyRequest:
    return KeyRequest.model_validate(fields)


def ids(delivered: Delivered) -> list[str]:
    return [key.key_id for key in delivered.keys]


def values(delivered: Delivered) -> list[bytes]:
    return [key.value for key in delivered.keys]


async def refusal(call: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await call
    return refused.value
