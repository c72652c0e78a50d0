"""The PKI folder: private, complete, resumable, never overwritten by accident, and refused when it is unsafe."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from noclone.errors import PkiError
from noclone.kms.sealing import load_kek
from noclone.network.identities import load_kme, load_link_secret, load_sae
from noclone.network.pki import LINK_SECRET_BYTES, create_pki

NETWORK: dict[str, Any] = {
    "kmes": {"alder": ["10.0.0.1", "alder.example"], "birch": []},
    "saes": ["sae-a", "sae-b"],
    "links": {"alder-birch": ("alder", "birch")},
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_is_there_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    report = create_pki(folder, **NETWORK)
    assert sorted(report.created) == sorted(files(folder))
    assert len(report.created) == 13 + 2 * 12 + 2 * 9 + 2
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    alder, birch = load_kme(folder, "alder"), load_kme(folder, "birch")
    assert load_kek(alder.kek) != load_kek(birch.kek)
    secret = alder.link_secret("alder-birch")
    assert len(secret) == LINK_SECRET_BYTES
    assert secret == birch.link_secret("alder-birch") == load_link_secret(folder, "birch", "alder-birch")
    assert load_sae(folder, "sae-a").id == "sae-a"
    assert secret.hex()[:32] not in repr(alder)


def test_certificates_say_what_they_are_for(tmp_path: Path) -> None:
    create_pki(tmp_path, **NETWORK)

    def usages(path: Path) -> tuple[x509.Certificate, set[x509.ObjectIdentifier], list[str]]:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        eku = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return certificate, set(eku), san.get_values_for_type(x509.UniformResourceIdentifier)

    kme, kme_usages, kme_uris = usages(tmp_path / "kmes/alder/kme.crt")
    sae, sae_usages, sae_uris = usages(tmp_path / "saes/sae-a/sae.crt")
    assert kme_usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert sae_usages == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert (kme_uris, sae_uris) == (["spiffe://noclone/kme/alder"], ["spiffe://noclone/sae/sae-a"])
    names = kme.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"alder.example", "localhost"} == set(names.get_values_for_type(x509.DNSName))
    assert {"10.0.0.1", "127.0.0.1", "::1"} == {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    kme_ca = x509.load_pem_x509_certificate((tmp_path / "authority/kme-ca.crt").read_bytes())
    sae_ca = x509.load_pem_x509_certificate((tmp_path / "authority/sae-ca.crt").read_bytes())
    kme.verify_directly_issued_by(kme_ca)
    sae.verify_directly_issued_by(sae_ca)
    with pytest.raises(ValueError):
        sae.verify_directly_issued_by(kme_ca)
    for certificate in (kme, sae):
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_second_call_changes_nothing_and_adds_what_is_new(tmp_path: Path) -> None:
    create_pki(tmp_path, **NETWORK)
    before = files(tmp_path)
    report = create_pki(tmp_path, **NETWORK)
    assert report.created == ()
    assert sorted(report.kept) == sorted(before)
    assert files(tmp_path) == before
    links = {**NETWORK["links"], "birch-cedar": ("birch", "cedar")}
    more = create_pki(tmp_path, kmes={**NETWORK["kmes"], "cedar": []}, saes=["sae-c"], links=links)
    assert len(more.created) == 12 + 9 + 2
    assert {name: data for name, data in files(tmp_path).items() if name in before} == before
    load_sae(tmp_path, "sae-c")


def test_told_to_overwrite_it_makes_everything_anew(tmp_path: Path) -> None:
    create_pki(tmp_path, **NETWORK)
    before = files(tmp_path)
    create_pki(tmp_path, **NETWORK, overwrite=True)
    after = files(tmp_path)
    assert after.keys() == before.keys()
    assert not [name for name in after if after[name] == before[name]]
    load_kme(tmp_path, "alder")
    assert load_link_secret(tmp_path, "alder", "alder-birch") == load_link_secret(tmp_path, "birch", "alder-birch")


def test_whatever_a_crash_left_out_the_next_call_makes_fit(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    names = create_pki(folder, **NETWORK).created
    for n, name in enumerate(names):
        for missing in names[n:]:
            (folder / missing).unlink()
        (folder / name).with_name(f".{Path(name).name}.new").write_bytes(b"half a fi")
        create_pki(folder, **NETWORK)
        assert sorted(files(folder)) == sorted(names)
        load_kme(folder, "alder")
        load_sae(folder, "sae-b")
        assert load_link_secret(folder, "alder", "alder-birch") == load_link_secret(folder, "birch", "alder-birch")


def test_a_part_that_was_carried_away_works_alone(tmp_path: Path) -> None:
    create_pki(tmp_path, **NETWORK)
    assert load_kme(tmp_path / "kmes" / "alder", "alder").kek == tmp_path / "kmes" / "alder" / "kek"
    assert load_sae(tmp_path / "saes" / "sae-a", "sae-a").certificate == tmp_path / "saes" / "sae-a" / "sae.crt"


def test_what_is_unsafe_missing_or_somebody_elses_is_refused(tmp_path: Path) -> None:
    create_pki(tmp_path, **NETWORK)
    alder, sae = tmp_path / "kmes/alder", tmp_path / "saes/sae-a"
    with pytest.raises(PkiError, match="cannot be read") as missing:
        load_kme(tmp_path, "cedar")
    assert "noclone pki" in missing.value.hint
    for secret in (alder / "kme.key", alder / "kek"):
        secret.chmod(0o604)
        with pytest.raises(PkiError, match="others than its owner"):
            load_kme(tmp_path, "alder")
        secret.chmod(0o600)
    (alder / "links/alder-birch.secret").chmod(0o660)
    with pytest.raises(PkiError, match="alder-birch"):
        load_link_secret(tmp_path, "alder", "alder-birch")
    with pytest.raises(PkiError, match="cannot be read"):
        load_link_secret(tmp_path, "alder", "birch-cedar")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
    with pytest.raises(PkiError, match="holds from"):
        load_sae(tmp_path, "sae-a", now=later)
    with pytest.raises(PkiError, match="holds from"):
        load_kme(tmp_path, "alder", now=later - dt.timedelta(days=4000))
    (sae / "sae.crt").write_bytes((tmp_path / "saes/sae-b/sae.crt").read_bytes())
    with pytest.raises(PkiError, match="somebody else's"):
        load_sae(tmp_path, "sae-a")
    (alder / "kme.key").write_bytes((tmp_path / "kmes/birch/kme.key").read_bytes())
    with pytest.raises(PkiError, match="do not belong together"):
        load_kme(tmp_path, "alder")
    (alder / "kme.key").write_bytes(b"junk")
    with pytest.raises(PkiError, match="no private key"):
        load_kme(tmp_path, "alder")
    (alder / "kme.crt").write_bytes(b"junk")
    with pytest.raises(PkiError, match="no certificate"):
        load_kme(tmp_path, "alder")
    (alder / "kek").unlink()
    (alder / "kek").symlink_to("/dev/zero")
    with pytest.raises(PkiError):
        load_kme(alder, "alder")


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    create_pki(tmp_path / "one", **NETWORK)
    create_pki(tmp_path / "two", **NETWORK)
    ca = tmp_path / "two/kmes/alder/kme-ca.crt"
    (tmp_path / "one/kmes/alder/kme-ca.crt").write_bytes(ca.read_bytes())
    with pytest.raises(PkiError, match="not the authority that the root signed"):
        load_kme(tmp_path / "one", "alder")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "x" * 65, "é", "a\n"])
def test_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    for wrong in ({"kmes": {name: []}}, {"kmes": {}, "saes": [name]}):
        with pytest.raises(PkiError, match="cannot be a name"):
            create_pki(tmp_path, **wrong)  # type: ignore[arg-type]
    assert files(tmp_path) == {}


def test_links_that_end_nowhere(tmp_path: Path) -> None:
    for ends in (("alder", "cedar"), ("alder", "alder")):
        with pytest.raises(PkiError, match="does not join"):
            create_pki(tmp_path, kmes=NETWORK["kmes"], links={"x": ends})


def test_a_place_where_nothing_can_be_written() -> None:
    with pytest.raises(PkiError, match="cannot be made"):
        create_pki(Path("/proc/nowhere"), **NETWORK)
