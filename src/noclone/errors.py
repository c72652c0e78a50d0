"""Every error that noclone raises on purpose.

    NocloneError
    ├── InputError                the user gave something that cannot be used (exit code 2)
    │   ├── ScenarioError         ... in a scenario file
    │   ├── RecordingError        ... in a recording of detections
    │   └── CountsError           ... in a table of counts
    ├── Aborted                   the protocol's own verdict: this block gives no key
    ├── ChannelError              the public channel broke, stalled, or carried nonsense
    ├── AuthenticationError       a tag, a certificate or an identity did not verify
    ├── KeysExhausted             not enough key, pad or authentication key left
    ├── StoreError                the key store cannot do what it must (disk full, wrong key-encryption key)
    ├── PkiError                  certificates or secrets are missing, expired or unsafe
    ├── TunnelError               a VPN's daemon refused, or a key did not come into effect
    └── KmeError                  a key-management entity refused or could not be reached

`assert` is for our own bugs; these are for the world. Each carries a message that says what happened and where, and a
hint that says what to do next. Neither ever holds key bytes.
"""

from __future__ import annotations


class NocloneError(Exception):
    """Something that the user should read, with what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(NocloneError):
    """What the user gave cannot be used."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario file is wrong; the message names file, place and field."""


class RecordingError(InputError):
    """A recording of detections is malformed, truncated or inconsistent."""


class CountsError(InputError):
    """A table of counts cannot be turned into a key length."""


class Aborted(NocloneError):
    """The protocol gave its verdict: no key from this block.

    Args:
        reason: One of the stable words in `REASONS`, for programs.
        message: The same for people, with the numbers.
    """

    REASONS = frozenset(
        {
            "too-few-detections",
            "qber-too-high",
            "no-secret-key",
            "below-agreed-length",
            "leak-above-agreed",
            "reconciliation-failed",
            "confirmation-failed",
            "authentication-failed",
            "authentication-key-exhausted",
            "peer-aborted",
            "peer-misbehaved",
            "alarm",
        }
    )

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        assert reason in self.REASONS, reason
        super().__init__(message, hint=hint)
        self.reason = reason


class ChannelError(NocloneError):
    """The public channel broke, stalled, or carried something that is no message."""


class AuthenticationError(NocloneError):
    """A tag, a certificate or an identity did not verify."""


class KeysExhausted(NocloneError):
    """There is not enough key, pad or authentication key left."""


class StoreError(NocloneError):
    """The key store cannot do what it must."""


class PkiError(NocloneError):
    """Certificates or secrets are missing, expired, or readable by others."""


class TunnelError(NocloneError):
    """A VPN's daemon refused, or a key did not come into effect in time."""


class KmeError(NocloneError):
    """A key-management entity refused, or could not be reached."""
