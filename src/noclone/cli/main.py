"""The `noclone` command: which commands there are, and how every one of them ends.

Commands are imported when they are called, so that `noclone --help` stays quick. A command prints its result to stdout
(one JSON document with `--json`) and everything else to stderr. Exit codes: 0 done; 1 refused, failed or interrupted;
2 the input cannot be used.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cyclopts import App, Group

import noclone

JOURNEY = Group("See it run", sort_key=1)
DETECTIONS = Group("Detections and proofs", sort_key=2)
KEYS = Group("Keys and applications", sort_key=3)
LAB = Group("Lab", sort_key=4)
SETUP = Group("Setting up and measuring", sort_key=5)

COMMANDS = (
    (JOURNEY, "demo", "demo", "A whole quantum-safe link in a minute, with a file sent and Eve caught."),
    (JOURNEY, "run", "run", "Run a scenario for some blocks and write a run folder."),
    (JOURNEY, "serve", "serve", "Run a scenario live: light, distillation, KMEs on ETSI GS QKD 014."),
    (JOURNEY, "serve", "node", "Run one node of a scenario: its KME and its ends of links."),
    (JOURNEY, "serve", "fibre", "Run the light of one simulated link, for nodes in other processes."),
    (DETECTIONS, "detections", "record", "Write simulated detections to an HDF5 recording."),
    (DETECTIONS, "detections", "distill", "Turn a recording of detections into secret key."),
    (DETECTIONS, "detections", "keylength", "Say how long a key a table of counts allows, by each proof."),
    (KEYS, "key", "key", "Fetch keys from a KME, as an application does."),
    (KEYS, "protect", "message", "Send or receive a short text under a one-time pad."),
    (KEYS, "protect", "file", "Send or receive a file under a one-time pad."),
    (KEYS, "kms", "kms", "Keep a key store: another key-encryption key, backups, the audit log."),
    (LAB, "attack", "attack", "Attack a link of a served network, where the scenario is a lab."),
    (SETUP, "setup", "pki", "Make the certificates and secrets that a scenario needs."),
    (SETUP, "setup", "schema", "Print the JSON Schema of scenario files."),
    (SETUP, "bench", "bench", "Measure this machine, stage by stage."),
)

app = App(
    name="noclone",
    help="A quantum-safe network in software: plan, run, attack and audit it, photons to packets.",
    version=noclone.__version__,
    help_format="plaintext",  # Markdown would cost a tenth of a second at every start
    version_flags=["--version"],
    help_flags=["--help", "-h"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run_command` says how it ends
)
for _group, _module, _name, _help in COMMANDS:
    app.command(f"noclone.cli.{_module}:{_name}", name=_name, group=_group, help=_help)


def main() -> None:
    """Run the command line and leave with its exit code."""
    _keep_keys_out_of_core_dumps()
    _place_kernel_cache()
    sys.exit(run_command())


def run_command(tokens: list[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes a message on stderr."""
    from noclone.errors import NocloneError

    try:
        code = app(tokens)
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
            complain(f"{error.filename or 'the system'}: {error.strerror or error}", "is there space, and permission?")
    return 1


def _keep_keys_out_of_core_dumps() -> None:
    try:
        import resource
    except ImportError:  # not on this platform
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _place_kernel_cache() -> None:
    """Send compiled kernels to the user's cache where the package cannot be written to."""
    if not os.access(Path(noclone.__file__).parent, os.W_OK):
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "noclone"
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))
