"""An attack by who holds the middle of a link, tried on a shipped scenario: `light_trial` for the other protocols.

In: an attack, defended or not, a strength, a seed.  Out: `LightOutcome`. Undefended, the two ends take errors for
noise: they correct those of the key basis and do not look at the test basis. Defended, the block is distilled as
`noclone run` does it.
"""

from __future__ import annotations

import math

from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BlockAborted
from noclone.distill.session import distill_block
from noclone.link.overheard import Overheard, overheard
from noclone.link.tap import NO_TAP
from noclone.network.blocks import LinkPlan, plan_link
from noclone.network.link_sections import LinkSection
from noclone.network.scenario import load_scenario
from noclone.network.simulate import block_of_light, block_seeds, origin_of
from noclone.proofs.entropy import error_entropy
from noclone.records import AliceRecord, Basis, Detections
from noclone.redteam.light_trial import EFFICIENCY, LightOutcome
from noclone.redteam.middle import MiddleAttack


def try_middle(attack: MiddleAttack, *, defended: bool, strength: float = 1.0, seed: bytes) -> LightOutcome:
    """Run one block with Eve in the middle."""
    plan = trial_plan(attack)
    eve = attack.eavesdropper(plan.light, strength)
    settings, detections = block_of_light(plan, seed, 0, seeded=True, eve=eve)
    alice_seed, physics_seed = block_seeds(plan, seed, 0)
    view = overheard(detections, eve.devices, NO_TAP, settings, alice_seed=alice_seed, physics_seed=physics_seed)
    learned = eve.learned(view)
    errors = error_rate(view, Basis.KEY)
    shared = learned.sifted_bits * (1 - error_entropy(errors))
    refused = ""
    if defended:
        key_bits, refused = _distilled(plan, settings, detections, seed)
    else:
        key_bits = math.floor(max(0.0, learned.sifted_bits * (1 - EFFICIENCY * error_entropy(errors))))
    return LightOutcome(
        strength=strength,
        sifted_bits=learned.sifted_bits,
        eve_bits=learned.per_sifted_bit,
        predicted=strength * attack.worth(plan.light),
        qber=error_rate(view, Basis.TEST),
        key_bits=key_bits,
        secret_bits=max(0.0, shared - learned.information_bits),
        refused=refused,
        alarms=(),
        detected_after=1 if refused else None,
    )


def trial_plan(attack: MiddleAttack) -> LinkPlan:
    """Return how the trial's link is run: a shipped one, with smaller blocks."""
    return plan_link(smaller(load_scenario(attack.trial).links[0], attack.key_bits))


def smaller(link: LinkSection, key_bits: int) -> LinkSection:
    """Return a link with blocks of so many key bits."""
    return link.model_copy(update={"distillation": link.distillation.model_copy(update={"block_key_bits": key_bits})})


def error_rate(view: Overheard, basis: Basis) -> float:
    """Return the share of wrong bits in a basis."""
    sifted = view.sifted(basis)
    wrong = sifted & (view.alice_values != view.detections.values)
    return int(wrong.sum()) / max(1, int(sifted.sum()))


def _distilled(plan: LinkPlan, settings: AliceRecord, detections: Detections, seed: bytes) -> tuple[int, str]:
    """Return the length of the key that the block gives, and why it gives none."""
    pools = (AuthenticationPool.from_secret("alice", seed * 8), AuthenticationPool.from_secret("bob", seed * 8))
    try:
        done = distill_block(
            settings, detections, plan.job(0, origin_of(seeded=True)), *pools, qber_expected=plan.qber_expected
        )
    except BlockAborted as abort:
        return 0, abort.verdict
    return done.alice.key.n_bits + done.alice.statistics.refill_bits, ""
