"""From a scenario to the certificates and secrets that it needs: `noclone pki`."""

from __future__ import annotations

from pathlib import Path

from noclone.network.pki import PkiReport, create_pki
from noclone.network.scenario import Scenario


def create_pki_for(scenario: Scenario, folder: Path, *, overwrite: bool = False) -> PkiReport:
    """Make what a scenario needs, or add what is missing.

    Raises:
        PkiError: The folder cannot be written, or holds something that does not fit.
    """
    return create_pki(
        folder,
        kmes={node.name: (node.host,) for node in scenario.nodes},
        saes=[sae.id for sae in scenario.saes],
        links={link.name: (link.alice, link.bob) for link in scenario.links if link.bootstrap == "pre-shared-key"},
        lights={link.name: (scenario.node(link.bob).host,) for link in scenario.links},
        borders=[border.node for border in scenario.borders],
        operator=True,
        overwrite=overwrite,
    )
