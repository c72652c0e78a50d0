"""The `noclone` command: which commands there are, and how every one of them ends.

Commands are imported when they are called, and the parser when a command is given, so that `noclone --help` is there at
once. A command prints its result to stdout (one JSON document with `--json`) and everything else to stderr. Exit codes:
0 done; 1 refused, failed, interrupted, or an answer that is not what was wanted (no key, a demand not met); 2 the input
cannot be used; 130 `run` or `bench` was interrupted and has shown a part. docs/commands.md lists them by command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import noclone

if TYPE_CHECKING:
    from cyclopts import App

ABOUT = "A quantum-safe network in software: plan, run, attack and audit it, photons to packets."
FLEETING = "noclone-kernels-"  # how the name of a folder begins that goes when we do
JOURNEY = "See it run"
DETECTIONS = "Detections and proofs"
KEYS = "Keys and applications"
LAB = "Attack and audit"
SETUP = "Setting up and measuring"

COMMANDS = (
    (JOURNEY, "demo", "demo", "A whole quantum-safe link in a minute, with a file sent and Eve caught."),
    (JOURNEY, "run", "run", "Run a scenario for some blocks and write a run folder."),
    (JOURNEY, "serve", "serve", "Run a scenario live: light, distillation, KMEs on ETSI GS QKD 014."),
    (JOURNEY, "serve", "node", "Run one node of a scenario: its KME and its ends of links."),
    (JOURNEY, "serve", "fibre", "Run the light of one simulated link, for nodes in other processes."),
    (JOURNEY, "link", "link", "Stop a link of a served network, start it again, or see who does what."),
    (JOURNEY, "site", "site", "Drain a node of a served network, give it another KEK or certificates."),
    (DETECTIONS, "detections", "record", "Write simulated detections to an HDF5 recording."),
    (DETECTIONS, "detections", "distill", "Turn a recording of detections into secret key."),
    (DETECTIONS, "detections", "keylength", "Say how long a key a table of counts allows, by each proof."),
    (DETECTIONS, "satellite", "satellite", "Say how much key one pass of a satellite gives."),
    (DETECTIONS, "repeater", "repeater", "Deliver entangled pairs, and key, over repeaters that nobody has to trust."),
    (KEYS, "key", "key", "Fetch keys from a KME, as an application does."),
    (KEYS, "protect", "message", "Send or receive a short text under a one-time pad."),
    (KEYS, "protect", "file", "Send or receive a file under a one-time pad."),
    (KEYS, "chat", "chat", "Write to another site, each line under a one-time pad, and see what it stands on."),
    (KEYS, "pad", "pad", "Keep a book of one-time pads with another application, filled ahead."),
    (KEYS, "vpn", "vpn", "Feed WireGuard, IPsec or stunnel with keys from KMEs, and change them in time."),
    (KEYS, "kms", "kms", "Keep a key store: another key-encryption key, backups, the audit log."),
    (LAB, "attack", "attack", "Attack a link of a served network, where the scenario is a lab."),
    (LAB, "redteam", "redteam", "Try every attack of the catalogue, undefended and defended."),
    (LAB, "audit", "audit", "Say what is secure, against whom, on which assumptions."),
    (LAB, "audit", "report", "Write the audit as one HTML file."),
    (LAB, "validate", "validate", "Redo published results, and say how well each is met."),
    (SETUP, "plan", "plan", "Plan the cheapest network for demands: links, devices, trusted nodes."),
    (SETUP, "topology", "import", "Turn a GraphML map of a network into a scenario."),
    (SETUP, "topology", "generate", "Make a scenario of randomly placed nodes."),
    (SETUP, "setup", "pki", "Make the certificates and secrets that a scenario needs; renew and revoke them."),
    (SETUP, "setup", "suites", "Say or change which post-quantum algorithms are in force, while the network runs."),
    (SETUP, "setup", "schema", "Print the JSON Schema of scenario files."),
    (SETUP, "bench", "bench", "Measure this machine, stage by stage, beside what others reach."),
    (SETUP, "warmup", "warmup", "Compile all kernels now, so that no later command waits for it."),
)


def application() -> App:
    """Return the parser of the command line."""
    from cyclopts import App

    app = App(
        name="noclone",
        help=ABOUT,
        version=noclone.__version__,
        help_format="plaintext",  # Markdown would cost a tenth of a second at every start
        version_flags=["--version"],
        help_flags=["--help", "-h"],
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # `run_command` says how it ends
    )
    for _, module, name, text in COMMANDS:
        function = "import_map" if name == "import" else name  # a word that Python keeps for itself
        app.command(f"noclone.cli.{module}:{function}", name=name, help=text)
    return app


def overview() -> str:
    """Return what `noclone --help` says: the parser would say the same, a quarter of a second later."""
    width = max(len(name) for _, _, name, _ in COMMANDS)
    lines = ["Usage: noclone COMMAND", "", ABOUT]
    for title, commands in groupby(COMMANDS, key=lambda command: command[0]):
        lines += ["", title, *(f"  {name:{width}}  {text}" for _, _, name, text in commands)]
    lines += ["", "  noclone COMMAND --help says more of a command; --version says which noclone this is."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the command line and leave with its exit code."""
    _keep_keys_out_of_core_dumps()
    _place_kernel_cache()
    sys.exit(run_command())


def run_command(tokens: list[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes a message on stderr."""
    from noclone.errors import NocloneError

    given = sys.argv[1:] if tokens is None else tokens
    try:
        if given in ([], ["--help"], ["-h"]):
            sys.stdout.write(overview())
            sys.stdout.flush()
            return 0
        _refuse_an_unknown_command(given[0])
        _refuse_a_missing_card()
        code = application()(given)
    except (NocloneError, KeyboardInterrupt, OSError) as error:
        if os.environ.get("NOCLONE_DEBUG"):
            raise
        return _say_why(error)
    return code if isinstance(code, int) else 0


def _say_why(error: BaseException) -> int:
    """Turn what ended a command into a message and an exit code."""
    from noclone.cli.terminal import complain
    from noclone.errors import NocloneError

    match error:
        case NocloneError():
            complain(error.message, error.hint)
            return error.exit_code
        case KeyboardInterrupt():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # we are leaving; a second one changes nothing
            complain("interrupted")
        case BrokenPipeError():
            # Whoever read our output has left. Point stdout elsewhere, so that the interpreter's last flush is quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case OSError():
            gone = isinstance(error, FileNotFoundError)
            hint = "is the path right?" if gone else "is there space, and permission?"
            complain(f"{error.filename or 'the system'}: {error.strerror or error}", hint)
    return 1


def _refuse_an_unknown_command(word: str) -> None:
    """Say so with all that there are: the parser would name eight of them."""
    from noclone.errors import InputError
    from noclone.spelling import choices

    names = [name for _, _, name, _ in COMMANDS]
    if not word.startswith("-") and word not in names:
        hint = choices(word, names)
        raise InputError(f"there is no command '{word}'", hint=f"{hint}; `noclone --help` says what each does")


def _refuse_a_missing_card() -> None:
    """Say so now, not when a block is half done."""
    if os.environ.get("NOCLONE_DEVICE"):
        from noclone import gpu

        gpu.wanted()


def _keep_keys_out_of_core_dumps() -> None:
    try:
        import resource
    except ImportError:  # not on this platform
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _place_kernel_cache() -> None:
    """Send compiled kernels to the user's cache where the package cannot be written to, or where they go with us."""
    if os.access(Path(noclone.__file__).parent, os.W_OK):
        return
    told = os.environ.get("NUMBA_CACHE_DIR")
    cache = Path(told or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noclone")
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    if not os.access(cache, os.W_OK):
        import atexit
        import shutil
        import tempfile

        try:  # ours alone: what lies in such a folder is run
            cache = Path(tempfile.mkdtemp(prefix=FLEETING))
        except OSError:
            return
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
