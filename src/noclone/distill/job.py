"""What both parties agree on before a block, and what each reports after it.

In: link, devices' public settings, epsilons, agreed length: `BlockJob`.  Out: `BlockResult`, or `BlockAborted`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from noclone.counts import Counts
from noclone.crypto.polynomial_hash import tag_bits_for
from noclone.distill.authentication import PAIR_BITS, Role
from noclone.errors import Aborted
from noclone.proofs.agreement import Agreement
from noclone.proofs.chsh import Chsh
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.gaussian_key import Figures
from noclone.proofs.keylength import KeyLength
from noclone.protocols import LinkProtocol
from noclone.records import MAX_SLOTS, Origin, SecretKey

BLOCK_MAX = 1 << 62  # the number of every block is smaller
Reconciliation = Literal["cascade", "ldpc"]
Amplification = Literal["reed-solomon-1", "binary-toeplitz"]
# Over Shannon's limit, what a length leaves room for: what is told on average, and bad luck.
EFFICIENCY: dict[Reconciliation, float] = {"cascade": 1.12, "ldpc": 1.3}


@dataclass(frozen=True, slots=True)
class RefillPolicy:
    """How much of each block's key goes back into the authentication pool.

    Args:
        target_bits: How full the pool should be kept: each failed block costs 512 bits, so this many bits outlast
            target_bits / 512 attacks in a row.
        share_max: No more than this share of a block's key is taken.
    """

    target_bits: int = 1 << 16
    share_max: float = 0.5

    def __post_init__(self) -> None:
        if self.target_bits < 0 or not 0 <= self.share_max < 1:
            raise ValueError("a refill needs a target of zero or more bits and a share of 0 up to, not including, 1")

    def refill_bits(self, key_bits: int, common_bits: int) -> int:
        """Return how many of `key_bits` go into a pool where the ends share `common_bits`: whole key pairs."""
        wanted = max(0, self.target_bits - common_bits)
        allowed = int(key_bits * self.share_max)
        return min(-(-wanted // PAIR_BITS), allowed // PAIR_BITS) * PAIR_BITS


@dataclass(frozen=True, slots=True)
class BlockJob:
    """What both parties must hold alike before a block; the first messages compare it word by word. All public.

    Args:
        agreement: The length and the leak that were agreed before the light was sent.
        bootstrap: What authenticated the link's first block, such as "pre-shared-key".
        reconciliation: "cascade", or "ldpc" where each round takes long: one message, and Cascade for what fails.
        amplification: Family of hashes: our own (`amplification`), or the one that others use (`binary_toeplitz`).
        detections_max: The most detections that Alice lets Bob announce: a bound for this end's memory, not part of
            what is agreed. None where nothing but the slots bounds them.
    """

    link: str
    alice: str
    bob: str
    block: int
    n_slots: int
    protocol: LinkProtocol
    clock_hz: float
    epsilons: Epsilons
    proof: str
    agreement: Agreement
    origin: Origin
    refill: RefillPolicy = field(default_factory=RefillPolicy)
    bootstrap: str = "pre-shared-key"
    reconciliation: Reconciliation = "cascade"
    amplification: Amplification = "reed-solomon-1"
    detections_max: int | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.block < BLOCK_MAX and 0 < self.n_slots <= MAX_SLOTS and self.clock_hz > 0):
            raise ValueError("a block needs a number from 0, slots, and a clock rate above zero")
        if self.detections_max is not None and self.detections_max < 0:
            raise ValueError(f"at most {self.detections_max} detections: that is no number of detections")
        if self.reconciliation not in get_args(Reconciliation):
            raise ValueError(f"'{self.reconciliation}' is no method of reconciliation")
        if self.amplification not in get_args(Amplification):
            raise ValueError(f"'{self.amplification}' is no family of hashes for privacy amplification")
        agreed = self.agreement
        if (agreed.n_slots, agreed.protocol, agreed.epsilons, agreed.proof) != (
            self.n_slots,
            self.protocol,
            self.epsilons,
            self.proof,
        ):
            raise ValueError("the agreed length is for another number of slots, protocol, epsilons or proof")

    def public(self) -> dict[str, Any]:
        """Return everything that must be the same at both ends, as plain JSON values.

        The origin's free text may differ (each end names its own device), and so may the bound of Alice's memory; both
        stay out.
        """
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del values["origin"]["detail"]
        del values["detections_max"]
        return values


@dataclass(slots=True)
class BlockStatistics:
    """What one party knows about a block, filled in as the block goes on; public, and the same at both ends.

    Args:
        stage: How far the block got.
        detections: Detections that Bob announced.
        counts: Known after parameter estimation; the key basis' errors after confirmation.
        chsh: Of an entangled link whose Bob has further bases.
        figures: Of continuous variables.
        leak_bits: Parities that Alice told, and Bob's reports on LDPC frames.
        leak_factor: leak_bits / (n h(qber of the key basis)): 1 is Shannon's limit. 0 while unknown.
        cascade_rounds: Queries that waited for an answer, those about LDPC frames included.
        rounds: How often this party waited for the other, in the whole block.
        authentication_bits: Pool bits that this block spent.
        epsilon: Secrecy + correctness + authentication of this block.
    """

    link: str
    block: int
    role: Role
    stage: str = "hello"
    detections: int = 0
    counts: Counts | None = None
    qber_estimate: float = 0.0
    leak_bits: int = 0
    confirmation_bits: int = 0
    leak_factor: float = 0.0
    cascade_rounds: int = 0
    corrected: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    rounds: int = 0
    authentication_bits: int = 0
    refill_bits: int = 0
    chsh: Chsh | None = None
    figures: Figures | None = None
    length: KeyLength | None = None
    epsilon: float = 0.0
    cumulative_epsilon: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What one party has when a block went well.

    Args:
        key: What is left after the refill. It may be used only once both ends' stores say that they hold the block:
            the last message can be lost, and then Bob has the key and Alice has not (docs/public-channel.md).
        peer_holds: Earlier blocks that the peer says it released, newest last; authenticated by this block.
    """

    key: SecretKey
    statistics: BlockStatistics
    peer_holds: tuple[int, ...] = ()


class BlockAborted(Aborted):
    """A block that gave no key, with what was learned until then.

    Args:
        peer_reason: When `reason` is "peer-aborted": the reason that the peer gave, or whoever spoke in its name.
        authenticated: Whether that message carried a valid tag. Without one nothing that it says may decide anything.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        hint: str = "",
        statistics: BlockStatistics | None = None,
        peer_reason: str = "",
        authenticated: bool = False,
    ) -> None:
        super().__init__(reason, message, hint=hint)
        self.statistics = statistics
        self.peer_reason = peer_reason
        self.authenticated = authenticated

    @property
    def verdict(self) -> str:
        """The reason itself, whichever end gave it; a peer's reason without a tag is nobody's, and does not count."""
        return self.peer_reason if self.peer_reason and self.authenticated else self.reason


def agreed_tag_bits(n_key: int, epsilons: Epsilons) -> int:
    """Return how long a confirmation tag to agree on, in whole bytes, for a block of about `n_key` sifted bits.

    Twice the bits are allowed for, so that a block with more luck than expected still fits.
    """
    return 8 * -(-tag_bits_for(2 * max(n_key, 1), epsilons.correctness) // 8)
