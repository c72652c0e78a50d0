"""Who the user is when he acts as an application (SAE), and where its KME is.

With a scenario on this machine: `metro --as sae-koganei`. With any KME: `--kme URL --certificate --key --ca`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from noclone.cli.setup import pki_folder
from noclone.errors import InputError

if TYPE_CHECKING:
    from noclone.client import Etsi014Client

Cipher = Literal["one-time-pad", "aes-256-gcm"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Application:
    """An application and its KME.

    Args:
        scenario: A scenario file, or the name of a shipped one; says where the KME is.
        sae: Who you are: the id of an application.
        pki: Folder that `noclone pki` made, or the application's part of it; `<scenario>.pki` if none is given.
        kme: Address of the KME, instead of a scenario.
        certificate: The application's certificate, with --kme.
        key: Its private key, with --kme.
        ca: The authority that signs KMEs, with --kme.
    """

    scenario: Annotated[str | None, Parameter(name="--scenario")] = None
    sae: Annotated[str | None, Parameter(name="--as")] = None
    pki: Path | None = None
    kme: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def name(self) -> str:
        """Return the application's id."""
        if self.sae is None:
            raise InputError("which application are you?", hint="add --as SAE_ID")
        return self.sae

    def client(self) -> Etsi014Client:
        """Return a client for the application's KME."""
        from noclone.client import Etsi014Client

        if self.kme is not None:
            missing = [name for name in ("certificate", "key", "ca") if getattr(self, name) is None]
            if missing or self.certificate is None or self.key is None or self.ca is None:
                raise InputError(f"with --kme, give also: {', '.join('--' + name for name in missing)}")
            return Etsi014Client(self.kme, certificate=self.certificate, key=self.key, ca=self.ca)
        if self.scenario is None:
            raise InputError("where is the KME?", hint="add --scenario SCENARIO, or --kme URL with its certificates")
        from noclone.network.identities import load_sae
        from noclone.network.scenario import load_scenario

        network = load_scenario(self.scenario)
        section = network.sae(self.name())
        identity = load_sae(pki_folder(self.scenario, self.pki), section.id)
        host, port = network.etsi014_address(section.node)
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        pq = identity.pq
        if pq is not None:
            return Etsi014Client(url, certificate=pq.certificate, key=pq.key, ca=pq.kme_ca, tls="post-quantum")
        return Etsi014Client(url, certificate=identity.certificate, key=identity.key, ca=identity.kme_ca)

    def folder(self) -> Path:
        """Return the application's own folder, where it may keep what nobody else should see."""
        if self.kme is not None and self.key is not None:
            return self.key.absolute().parent
        if self.scenario is None:
            raise InputError("where is the KME?", hint="add --scenario SCENARIO, or --kme URL with its certificates")
        from noclone.network.identities import load_sae

        return load_sae(pki_folder(self.scenario, self.pki), self.name()).key.absolute().parent
