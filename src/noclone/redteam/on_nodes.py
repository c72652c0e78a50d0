"""The catalogue's attacks beyond the links: on nodes and people, on cryptography, on availability.

In: the attacks themselves.  Out: `NODES`, `CRYPTOGRAPHY` and `SERVICE`.
"""

from __future__ import annotations

from functools import partial

from noclone.redteam import (
    broken_kem,
    broken_signature,
    compromised_node,
    doors_trial,
    harvest_now,
    key_exhaustion,
    key_id_swap,
    operators,
    restored_backup,
    spoofed_sae,
    stolen_database,
    stolen_sae_certificate,
    weak_randomness,
)
from noclone.redteam.entry import Entry

_nodes = partial(Entry, layer="nodes and people")
_cryptography = partial(Entry, layer="cryptography")
_silence = partial(Entry, layer="availability")

NODES: tuple[Entry, ...] = (
    _nodes(
        "compromised-node",
        does="owns a node that keys are relayed over",
        hopes="every key that passes",
        caught_by="sums of shares over paths that share no node; the trust formula says which keys",
        source="Salvail et al., J. Comput. Secur. 18, 61 (2010), arXiv:0904.4072",
        threat="compromised-node",
        trial=compromised_node.trial,
        live="node",
    ),
    _nodes(
        "stolen-database",
        does="copies a key store",
        hopes="the keys in it",
        caught_by="a key-encryption key that is not in it",
        source="docs/key-store.md",
        threat="stolen-database",
        trial=stolen_database.trial,
    ),
    _nodes(
        "stolen-sae-certificate",
        does="asks for an application's keys with its certificate, stolen",
        hopes="the keys that were meant for it",
        caught_by="keys that are given once: the owner is refused",
        source="ETSI GS QKD 014 V1.1.1, clause 5",
        threat="stolen-sae-certificate",
        trial=stolen_sae_certificate.trial,
        live="application",
    ),
    _nodes(
        "spoofed-sae",
        does="asks in the name of another application",
        hopes="its keys",
        caught_by="a KME that believes the certificate alone",
        source="ETSI GS QKD 014 V1.1.1, clause 5",
        threat="stolen-sae-certificate",
        trial=spoofed_sae.trial,
    ),
    _nodes(
        "rogue-authority",
        does="comes with a certificate that another authority made, or the trusted one made by mistake",
        hopes="to be taken for an application",
        caught_by="authorities that a KME names; nothing, where the trusted one is fooled",
        source="RFC 5280; DigiNotar 2011",
        threat="rogue-authority",
        trial=doors_trial.rogue_authority,
    ),
    _nodes(
        "kme-impostor",
        does="answers in place of another KME, with the certificate of a third",
        hopes="promises and shares that are meant for it",
        caught_by="the name in the certificate",
        source="docs/relay.md",
        threat="rogue-authority",
        trial=doors_trial.kme_impostor,
    ),
    _nodes(
        "malicious-operator",
        does="operates a network, and looks for its keys",
        hopes="every key of a site",
        caught_by="a door that tells names and counts only; machines that somebody else runs",
        source="docs/attacks.md; NSA on QKD, point 3: insiders",
        threat="operator",
        trial=operators.malicious,
    ),
    _nodes(
        "careless-operator",
        does="reads a secret that its owner left open to others",
        hopes="what opens a key store",
        caught_by="nodes that do not start on secrets that others can read",
        source="docs/key-store.md",
        threat="operator",
        trial=operators.careless,
    ),
    _nodes(
        "restored-backup",
        does="puts both ends back to an older state",
        hopes="keys that are used a second time",
        caught_by="backups that hold no key",
        source="docs/key-store.md",
        threat="restored-backup",
        trial=restored_backup.trial,
    ),
    _nodes(
        "weak-randomness",
        does="guesses the seed of Alice's settings from what she announces",
        hopes="every bit",
        caught_by="seeds of 32 bytes from the operating system",
        source="NIST SP 800-90B; Heninger et al., USENIX Security 2012",
        threat="weak-randomness",
        trial=weak_randomness.trial,
    ),
    _nodes(
        "key-id-swap",
        does="puts the id of a key that she knows into somebody else's session",
        hopes="a session under her key, or two under one",
        caught_by="keys that are bound to whom they were promised, and given once",
        source="Hövelmanns, Planken, Schaffner, Verschoor, arXiv:2509.12478",
        threat="key-id-swap",
        trial=key_id_swap.trial,
    ),
)

CRYPTOGRAPHY: tuple[Entry, ...] = (
    _cryptography(
        "broken-kem",
        does="breaks the KEM of an exchange that she recorded",
        hopes="the key",
        caught_by="a QKD key in the combination",
        source="ETSI TS 103 744; Giacon, Heuer, Poettering, PKC 2018",
        threat="",
        trial=broken_kem.trial,
    ),
    _cryptography(
        "harvest-now-decrypt-later",
        does="writes down what crosses the wire until a KEM falls",
        hopes="keys of long ago",
        caught_by="a QKD key in the combination, which never crossed a wire",
        source="Mosca, IEEE Secur. Priv. 16, 38 (2018)",
        threat="",
        trial=harvest_now.trial,
    ),
    _cryptography(
        "broken-signature-before",
        does="forges the signatures of an algorithm that fell long ago, in the middle of an exchange",
        hopes="to be each KME's other end",
        caught_by="a second signature, of another kind, that counts as well",
        source="Shor, FOCS 1994; Bindel, Herath, McKague, Stebila, PQCrypto 2017",
        threat="",
        trial=broken_signature.before,
    ),
    _cryptography(
        "broken-signature-during",
        does="forges every signature while an exchange lasts",
        hopes="to be each KME's other end",
        caught_by="a QKD key in the combination, whose one-time tags she cannot make",
        source="Dowling, Hansen, Paterson, PQCrypto 2020 (Muckle); ETSI TS 103 744",
        threat="",
        trial=broken_signature.during,
    ),
    _cryptography(
        "broken-signature-after",
        does="breaks every signature of an exchange that is over, and has all that was said",
        hopes="the key",
        caught_by="nothing has to: signatures hide nothing",
        source="Mosca, Stebila, Ustaoğlu, PQCrypto 2013",
        threat="",
        trial=broken_signature.after,
    ),
)

SERVICE: tuple[Entry, ...] = (
    _silence(
        "key-exhaustion",
        does="takes all key that two sites have",
        hopes="none for others",
        caught_by="quotas of each pair",
        source="docs/relay.md",
        threat="request-flood",
        trial=key_exhaustion.trial,
        live="application",
    ),
    _silence(
        "request-flood",
        does="opens many connections that talk nonsense",
        hopes="a KME that is busy",
        caught_by="limits on each door",
        source="docs/etsi014.md",
        threat="request-flood",
        trial=doors_trial.request_flood,
        live="node",
    ),
    _silence(
        "slow-clients",
        does="opens many connections and says nothing",
        hopes="a KME that waits",
        caught_by="a deadline on each handshake",
        source="docs/etsi014.md",
        threat="request-flood",
        trial=doors_trial.slow_clients,
        live="node",
    ),
)
