"""What a KME lets an application ask for at a time, and how its request is held against that.

In: a `KeyRequest` (ETSI GS QKD 014, clause 6.2).  Out: the size of its keys, who gets them, or `Refused` with 400.
"""

from __future__ import annotations

from dataclasses import dataclass

from noclone.kms.keys import SIZE_BITS_MAX
from noclone.kms.requests import KeyRequest, bad_request

BATCH_KEYS_MAX = 1024  # keys in one message to another KME


@dataclass(frozen=True, slots=True)
class KmeSettings:
    """What a KME lets an application ask for."""

    max_key_size_bits: int = 65_536
    min_key_size_bits: int = 64
    max_keys_per_request: int = 128
    max_additional_saes: int = 16

    def __post_init__(self) -> None:
        if self.max_keys_per_request > BATCH_KEYS_MAX:
            raise ValueError(f"the keys of a request go to the other KME in one message: at most {BATCH_KEYS_MAX}")
        if self.max_key_size_bits > SIZE_BITS_MAX:
            raise ValueError(f"a key is at most {SIZE_BITS_MAX} bits")

    def slaves(self, slave: str, request: KeyRequest) -> tuple[str, ...]:
        """Return all for whom the keys of a request are.

        Raises:
            Refused: 400, they are too many, or one is named twice.
        """
        slaves = (slave, *request.additional_slaves)
        if len(slaves) - 1 > self.max_additional_saes:
            limit = self.max_additional_saes
            raise bad_request(f"at most {limit} additional_slave_SAE_IDs can be given", "too-many-saes")
        if len(set(slaves)) != len(slaves):
            raise bad_request("a slave SAE appears twice", "duplicate-slave")
        return slaves

    def size_bits(self, request: KeyRequest, unit_bits: int) -> int:
        """Return how long each key of a request is; `unit_bits` where it does not say.

        Raises:
            Refused: 400, that cannot be.
        """
        size_bits = request.size or unit_bits
        if size_bits % 8:
            raise bad_request("size shall be a multiple of 8", "bad-size")
        if not self.min_key_size_bits <= size_bits <= self.max_key_size_bits:
            text = f"size shall be {self.min_key_size_bits} to {self.max_key_size_bits}"
            raise bad_request(text, "bad-size")
        if request.number > self.max_keys_per_request:
            raise bad_request(f"number shall be at most {self.max_keys_per_request}", "bad-number")
        return size_bits
