"""The verdict: what happened, what is secret, against whom, and on which assumptions.

In: the events of a run or of a served network.  Out: a `Verdict`, in a few sentences at three levels: in transit, end
to end, across the network. It never says more than the events show: simulated light makes simulated secrecy, a seeded
key is no secret, and a link that refuses its blocks has no key to speak of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

from noclone.events import Event
from noclone.records import COLLECTIVE, BlockProvenance
from noclone.relayed import relay_profile
from noclone.trust.formula import Formula, any_of
from noclone.trust.provenance import claim, explain, formula_of_key

SECURE, ATTACKED, NO_KEY, UNKNOWN = "secure-in-model", "under-attack", "no-key", "insufficient-evidence"
WORDS = {
    SECURE: "Keys were made, and nothing seen contradicts the model that they stand on.",
    ATTACKED: "A link behaves as if somebody listens. Its blocks are refused: no key comes out of them.",
    NO_KEY: "No key: a link's newest block was refused.",
    UNKNOWN: "Nothing can be said yet: no block has been finished.",
}
RECOVERED = "Keys flow again: what disturbed a link is over, and the blocks that it touched gave no key or paid for it."
# What an end itself found, or was told by a peer whose tag proves it. All else anybody on the public channel can bring
# about with a word: it costs a block its key, and shows nothing about the light.
EVE_REASONS = frozenset({"qber-too-high", "leak-above-agreed", "authentication-failed", "confirmation-failed", "alarm"})
UNPROVEN = "peer-aborted"
# Reasons that rest on what came over the public channel untagged, and whose message may quote it: the verdict has words
# of its own for them.
WITHOUT_WORDS = {
    UNPROVEN: "the other end gave the block up, without proof of who it is",
    "peer-misbehaved": "what came over the public channel was not what the other end sends",
}


@dataclass(slots=True)
class LinkEvidence:
    """What the events say about one link, by block number.

    Args:
        rates: Error rates of the blocks that gave key, where their bits have one.
        chsh: Of an entangled link: the newest block's CHSH value and what it means.
        quadratures: Of continuous variables: what the newest block's moments mean.
        refused: Reason and message of the blocks that gave none; reason "peer-aborted" where none is proven.
        truth: Blocks on which Eve was, by what the simulator alone knows: attack and strength.
    """

    link: str
    blocks: dict[int, BlockProvenance] = field(default_factory=dict)
    secret_bits: int = 0
    rates: list[float] = field(default_factory=list)
    assumptions: dict[str, None] = field(default_factory=dict)
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    chsh: dict[str, Any] | None = None
    quadratures: dict[str, Any] | None = None
    truth: dict[int, tuple[str, float]] = field(default_factory=dict)

    @property
    def made(self) -> list[BlockProvenance]:
        """Blocks that gave key."""
        return list(self.blocks.values())

    @property
    def refused_since(self) -> list[str]:
        """Reasons of the blocks refused since the newest that gave key, oldest first."""
        newest = max(self.blocks, default=0)
        return [reason for block, (reason, _) in sorted(self.refused.items()) if block >= newest]

    @property
    def code(self) -> str:
        """The link's own verdict."""
        if not self.blocks and not self.refused:
            return UNKNOWN
        since = self.refused_since
        if not since:
            return SECURE
        # A forged word after a finding must not make it forgotten: only new key does.
        return ATTACKED if EVE_REASONS.intersection(since) else NO_KEY


@dataclass(slots=True)
class Relayed:
    """Relayed blocks of one virtual link and profile, and the nodes that handled them."""

    blocks: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an auditor may say.

    Args:
        code: "secure-in-model", "under-attack", "no-key" or "insufficient-evidence": the worst link's.
        sentence: The same for people.
        happened: What was seen, link by link.
        in_transit: Against whoever holds the fibres and the public channels.
        end_to_end: Who else has the keys.
        across: What the network adds.
        rests_on: The formula of when keys leak, its smallest causes, the proofs' assumptions.
        truth: What the simulator knows and no monitor could: printed apart.
    """

    code: str
    happened: tuple[str, ...]
    in_transit: tuple[str, ...]
    end_to_end: tuple[str, ...]
    across: tuple[str, ...]
    rests_on: tuple[str, ...]
    truth: tuple[str, ...]
    sentence: str
    formula: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = ("happened", "in_transit", "end_to_end", "across", "rests_on", "truth")
        return {
            "code": self.code,
            "sentence": self.sentence,
            **{row: list(getattr(self, row)) for row in rows},
            "formula": self.formula,
        }

    def lines(self) -> list[str]:
        """Return the verdict as text."""
        parts = (
            ("what happened", self.happened),
            ("in transit", self.in_transit),
            ("end to end", self.end_to_end),
            ("across the network", self.across),
            ("what the keys rest on", self.rests_on),
            ("what only the simulator knows", self.truth),
        )
        lines = [f"VERDICT  {self.code}: {self.sentence}"]
        for title, sentences in parts:
            if sentences:
                lines.extend([f"  {title}", *(f"    {sentence}" for sentence in sentences)])
        return lines


def judge(events: Iterable[Event]) -> Verdict:
    """Return the verdict on what the events say."""
    events = list(events)
    return judge_links(gather(events), gather_relays(events))


def judge_links(links: Mapping[str, LinkEvidence], relays: Mapping[tuple[str, str], Relayed] | None = None) -> Verdict:
    """Return the verdict on what is known of every link."""
    order = (UNKNOWN, SECURE, NO_KEY, ATTACKED)
    code = max((evidence.code for evidence in links.values()), key=order.index, default=UNKNOWN)
    blocks = [block for evidence in links.values() for block in evidence.made]
    disturbed = any(evidence.refused or evidence.alarms for evidence in links.values())
    formula = any_of(*(_formula(evidence) for evidence in links.values() if evidence.made)) if blocks else None
    return Verdict(
        code,
        happened=tuple(s for evidence in links.values() for s in _happened(evidence)),
        in_transit=tuple(s for evidence in links.values() if evidence.made for s in _in_transit(evidence)),
        end_to_end=_end_to_end(blocks),
        across=_across(links.values(), relays or {}),
        rests_on=_rests_on(links.values(), blocks),
        truth=tuple(s for evidence in links.values() for s in _truth(evidence)),
        sentence=(RECOVERED if code == SECURE and disturbed else WORDS[code]) + _caveats(blocks),
        formula=formula.to_json() if formula is not None else None,
    )


def _caveats(blocks: list[BlockProvenance]) -> str:
    """Return what the first sentence must not leave out."""
    if any(block.origin.seeded for block in blocks):
        return " The keys are SEEDED: no secret."
    if any(block.origin.kind == "simulated" for block in blocks):
        return " The light is SIMULATED: this speaks about the model."
    return ""


def gather(events: Iterable[Event]) -> dict[str, LinkEvidence]:
    """Sort events by link. Both ends of a served link report a block: it is counted once."""
    links: dict[str, LinkEvidence] = {}
    for event in events:
        kind, _, name = event.subject.partition(":")
        if kind == "link":
            take(links.setdefault(name, LinkEvidence(name)), event)
    return links


def take(evidence: LinkEvidence, event: Event) -> None:
    """Learn from one event of a link."""
    data = event.data
    match event.kind:
        case "block.distilled" if data["block"] not in evidence.blocks:
            evidence.blocks[data["block"]] = BlockProvenance.from_json(data["provenance"])
            evidence.secret_bits += data["secret_bits"]
            evidence.rates += [] if data["qber"] is None else [data["qber"]]
            evidence.assumptions.update(dict.fromkeys(data["assumptions"]))
            evidence.chsh = data.get("chsh") or evidence.chsh
            evidence.quadratures = data.get("quadratures") or evidence.quadratures
        case "block.aborted":
            _refuse(evidence, data)
            evidence.quadratures = data.get("quadratures") or evidence.quadratures
        case "alarm.raised":
            evidence.alarms.append(f"{data['monitor']}: {data['message']}")
        case "light.sent" if data["attack"]:
            evidence.truth[data["block"]] = (data["attack"], data["strength"])


def _of_values(found: dict[str, Any]) -> str:
    """Return what the moments of a block of continuous variables mean, and what no key was made by."""
    beta = found["efficiency"]
    reached = "" if beta is None else f"; reconciliation reached an efficiency of {beta:.3f}"
    return (
        f"transmittance {found['transmittance']:.3f}, excess noise {found['excess']:.4f} at the line's input, "
        f"{found['information']:.3f} bits a symbol shared, at most {found['holevo']:.3f} known to Eve{reached}. "
        f"An efficiency of {found['stated_efficiency']:g} would leave {found['stated_bits']:,} bits of the newest "
        f"block: {found['stated']}."
    )


def _refuse(evidence: LinkEvidence, data: dict[str, Any]) -> None:
    """Note why a block was refused. Both ends may tell: a finding outweighs a word, and numbers outweigh none."""
    block, reason, message = data["block"], data["reason"], data["message"]
    if data.get("authenticated") is False:
        reason = UNPROVEN
    found = reason not in WITHOUT_WORDS
    message = message if found else WITHOUT_WORDS[reason]
    known, _ = evidence.refused.get(block, (UNPROVEN, ""))
    if known in WITHOUT_WORDS or (found and data.get("qber") is not None):
        evidence.refused[block] = (reason, message)


def _happened(evidence: LinkEvidence) -> list[str]:
    sentences = []
    if evidence.made:
        rates = evidence.rates
        errors = f", at a mean error rate of {sum(rates) / len(rates):.2%}" if rates else ""
        sentences.append(
            f"{evidence.link}: {_blocks(evidence.made)} gave {evidence.secret_bits:,} secret bits{errors}."
        )
    if evidence.quadratures is not None:
        sentences.append(f"{evidence.link}: {_of_values(evidence.quadratures)}")
    if evidence.chsh is not None and evidence.chsh["value"] is not None:
        value, error = evidence.chsh["value"], evidence.chsh["standard_error"]
        sentences.append(f"{evidence.link}: CHSH value {value:.3f} +- {error:.3f}, {evidence.chsh['means']}.")
    if evidence.refused:
        numbers = sorted(evidence.refused)
        reason, message = evidence.refused[numbers[-1]]
        sentences.append(
            f"{evidence.link}: {_blocks(numbers)} refused ({_ranges(numbers)}), the newest because of "
            f"{reason}: {message}. A refused block gives no key."
        )
    if evidence.alarms:
        sentences.append(
            f"{evidence.link}: {_plural(len(evidence.alarms), 'alarm')}, the newest: {evidence.alarms[-1]}."
        )
    torn = sorted(set(evidence.blocks) & set(evidence.refused))
    if torn:
        sentences.append(
            f"{evidence.link}: one end alone released {_blocks(torn)} ({_ranges(torn)}); that key cannot be used, for "
            "the other end's store does not hold it."
        )
    if evidence.refused and not evidence.refused_since:
        sentences.append(f"{evidence.link}: it has recovered; its newest block gave key.")
    return sentences


def _in_transit(evidence: LinkEvidence) -> list[str]:
    newest = evidence.made[-1]
    epsilon = max(block.cumulative_epsilon for block in evidence.made)
    proofs = sorted({f"{block.proof}, {block.statement}" for block in evidence.made})
    simulated = any(block.origin.kind == "simulated" for block in evidence.made)
    limits = "collective Gaussian attacks of " if newest.protocol in COLLECTIVE else ""
    return [
        f"{evidence.link}: {'in the model of its simulated light, ' if simulated else ''}against {limits}anyone who "
        "holds the fibre and the public channel, with any computer, all of this link's key so far is secret and equal "
        f"but for a probability of {epsilon:.2g} ({'; '.join(proofs)}).",
        f"{evidence.link}: {claim(evidence.made)}; first authenticated by a {newest.bootstrap}.",
    ]


def _end_to_end(blocks: list[BlockProvenance]) -> tuple[str, ...]:
    sites = sorted({site for block in blocks for site in (block.alice, block.bob)})
    if not sites:
        return ()
    return (
        f"{' and '.join(sites)} hold the keys by design: whoever owns one of these sites (its KME, key-encryption key, "
        "or an application) reads its keys.",
    )


def gather_relays(events: Iterable[Event]) -> dict[tuple[str, str], Relayed]:
    """Count relayed blocks by virtual link and profile. Both ends report a block: it is counted once."""
    out: dict[tuple[str, str], Relayed] = {}
    for event in events:
        kind, _, name = event.subject.partition(":")
        if kind == "relay" and event.kind in ("relay.made", "relay.received"):
            relayed = out.setdefault((name, event.data["profile"]), Relayed())
            relayed.blocks.add(event.data["block"])
            relayed.nodes.update(event.data["nodes"])
    return out


def _across(links: Iterable[LinkEvidence], relays: Mapping[tuple[str, str], Relayed]) -> tuple[str, ...]:
    names = [evidence.link for evidence in links if evidence.made]
    if not names:
        return ()
    if not relays:
        return (f"{_plural(len(names), 'link')}, no key is relayed: no node in between learns one.",)
    sentences = []
    for (name, profile), relayed in sorted(relays.items()):
        nodes = ", ".join(sorted(relayed.nodes)) or "nobody"
        alone = profile == relay_profile(1, 1) or profile.startswith("shares-1-")
        who = (
            f"{'each of ' * (len(relayed.nodes) > 1)}{nodes} knows those that passed it"
            if alone
            else f"{nodes} handled shares, and none knows a key alone"
        )
        sentences.append(f"{name}: {_blocks(relayed.blocks)} relayed ({profile}): {who}.")
    return tuple(sentences)


def _rests_on(links: Iterable[LinkEvidence], blocks: list[BlockProvenance]) -> tuple[str, ...]:
    sentences: list[str] = []
    assumptions: dict[str, None] = {}
    for evidence in links:
        if not evidence.made:
            continue
        formula = _formula(evidence)
        sentences.append(f"a key of {evidence.link} leaks if: {formula}")
        sentences.extend(f"  {atom}: {explain(atom)}" for atom in sorted(formula.atoms(), key=str))
        assumptions.update(evidence.assumptions)
    sentences.extend(f"assumed: {assumption}" for assumption in assumptions)
    if any(block.origin.kind == "simulated" for block in blocks):
        sentences.append("SIMULATED light: every epsilon above speaks about the model, not about a fibre.")
    if any(block.origin.seeded for block in blocks):
        sentences.append("SEEDED: these keys can be made again from a number that is written down. They are no secret.")
    return tuple(sentences)


def _truth(evidence: LinkEvidence) -> list[str]:
    """Compare what the simulator knows with what the protocol decided."""
    if not evidence.truth:
        return []
    accepted = {block.block for block in evidence.made}
    touched = sorted(evidence.truth)
    names = sorted({f"{name} at strength {strength:g}" for name, strength in evidence.truth.values()})
    refused = [block for block in touched if block in evidence.refused]
    passed = [block for block in touched if block in accepted]
    sentence = f"{evidence.link}: Eve was on {_blocks(touched)}, {_ranges(touched)} ({'; '.join(names)})"
    unfinished = {*touched} - {*refused} - accepted  # light of a block that was begun when another gave no key
    sentence += f": {len(refused)} refused, " + (f"{len(unfinished)} not finished, " if unfinished else "")
    sentence += f"{len(passed)} accepted"
    if passed:
        sentence += f" ({_ranges(passed)}), whose length pays for what the proof says she can know"
    return [sentence + "."]


def _formula(evidence: LinkEvidence) -> Formula:
    newest = evidence.made[-1]
    return formula_of_key(evidence.made, master_site=newest.alice, slave_site=newest.bob)


def _blocks(blocks: Sized) -> str:
    return _plural(len(blocks), "block")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _ranges(numbers: list[int]) -> str:
    """Write rising numbers shortly: 1-3, 7."""
    parts: list[str] = []
    start = previous = numbers[0]
    for number in [*numbers[1:], None]:
        if number is not None and number == previous + 1:
            previous = number
            continue
        parts.append(str(start) if start == previous else f"{start}-{previous}")
        if number is not None:
            start = previous = number
    return ", ".join(parts)
