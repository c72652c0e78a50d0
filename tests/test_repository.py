"""The repository itself: no hosts, no secrets, true documents, a whole wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked() -> list[Path]:
    """Files that git knows, or that it would take."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def text_files() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path.relative_to(ROOT), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_names_a_package_index() -> None:
    hosts = re.compile("|".join(["py" + "pi.org", "python" + "hosted", "registry." + "npmjs", "--index" + "-url http"]))
    named = [str(path) for path, text in text_files() if hosts.search(text)]
    assert named == []


def test_locks_pin_every_package_by_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-peers.lock", "requirements-uv.lock"):
        text = (ROOT / name).read_text()
        packages = re.findall(r"^[a-z0-9][\w.\-\[\]]*==", text, re.MULTILINE | re.IGNORECASE)
        entries = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(entries) == len(packages) > 0, name
        assert all("--hash=sha256:" in entry for entry in entries), name


def test_the_locks_agree() -> None:
    def versions(name: str) -> dict[str, str]:
        found = re.findall(r"^([\w.\-]+)==([^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE)
        return dict(found)

    user, dev = versions("requirements.lock"), versions("requirements-dev.lock")
    assert {name: dev.get(name) for name in user} == user


def test_no_secret_and_no_private_path_is_in_the_tree() -> None:
    begin = "-----BEGIN " + "(EC |RSA |ENCRYPTED |)PRIVATE KEY"
    paths = "/(root|home|tmp)/[a-z]|/work" + "/"
    for path, text in text_files():
        assert not re.search(begin, text), path
        if path.suffix in (".py", ".toml", ".md", ".lock", ""):
            assert not re.search(paths, text), path


def anchors(text: str) -> set[str]:
    """Return what headings are called in links, as GitHub and the documentation's builder call them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = [
        re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", one) for one in re.findall(r"^#+ +(.+)$", prose, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", one.strip().lower()).replace(" ", "-") for one in headings}


def test_tables_in_the_documents_are_whole() -> None:
    """An empty line ends a table: what follows is shown as it is typed."""
    for path, text in text_files():
        if path.suffix == ".md":
            torn = re.findall(r"^\|.*\n\n(\|(?!.*\n\|[ :-]*-).*)$", text, re.MULTILINE)
            assert torn == [], path


def test_links_in_the_documents_lead_somewhere() -> None:
    for path, text in text_files():
        if path.suffix != ".md":
            continue
        for target, _, place in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", text)):
            if "://" not in target:
                there = ROOT / path.parent / target if target else ROOT / path
                assert there.exists(), f"{path} links to {target}"
                if place and there.suffix == ".md":
                    assert place in anchors(there.read_text(encoding="utf-8")), f"{path} links to {target}#{place}"


def test_rates_have_one_notation() -> None:
    """The changelog may speak of the other one."""
    other = re.compile(r"\b[kMG]?bits?" + "/s")
    found = [str(path) for path, text in text_files() if path.name != "CHANGELOG.md" and other.search(text)]
    assert found == []


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:3] for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))


def test_modules_stay_small_and_say_what_they_are() -> None:
    for path, text in text_files():
        if path.parts[:1] == ("src",) and path.suffix == ".py":
            assert text.startswith('"""'), f"{path} does not say what it is"
            assert text.count("\n") <= 450, f"{path} has {text.count(chr(10))} lines: split it"


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"pyopenssl": "OpenSSL", "httptools": "uvicorn.protocols.http.httptools_impl"}
    source = "\n".join(text for path, text in text_files() if path.parts[:1] == ("src",))
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=~\[]", requirement)[0]
        module = modules.get(name, name.replace("-", "_"))
        assert re.search(rf"^\s*(import|from) {module}\b", source, re.MULTILINE), f"{name} is not used"


def test_the_readme_names_commands_that_exist() -> None:
    from noclone.cli.main import COMMANDS

    known = {name for _, _, name, _ in COMMANDS}
    named = set(re.findall(r"`noclone ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named <= known
    assert len(named) >= 8


def test_the_documents_name_every_shipped_scenario() -> None:
    shipped = {path.stem for path in (ROOT / "src" / "noclone" / "network" / "scenarios").glob("*.toml")}
    for name in ("commands.md", "scenarios.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert {one for one in shipped if f"`{one}`" not in text} == set(), name


def test_everything_that_runs_is_in_the_wheel(tmp_path: Path) -> None:
    code = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    if "No module named 'hatchling'" in done.stderr:
        pytest.skip("hatchling is not installed")
    assert done.returncode == 0, done.stderr
    import zipfile

    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = [p for p in tracked() if p.is_relative_to(ROOT / "src")]
    missing = [str(p) for p in packaged if str(p.relative_to(ROOT / "src")) not in names]
    assert missing == []
