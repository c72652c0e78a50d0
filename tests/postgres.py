"""A PostgreSQL of the tests' own: on a unix socket in a temporary folder, with fsync on, stopped when they end.

Needs the server's programs (Debian's package `postgresql`). They refuse to run as root, so root runs them as `postgres`
or `nobody`. The data lies in memory where there is some: what these tests ask of the disk is order.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """Return the folder with initdb and postgres, the newest one."""
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb", path=str(Path(on_path).parent)):
        return Path(on_path).parent
    found = [path.parent for path in DEBIAN.glob("*/bin/postgres") if (path.parent / "initdb").exists()]
    return max(found, key=lambda path: int(path.parent.name), default=None)


class Server:
    """A running server. `url` returns a store's URL in a schema of its own, which begins empty."""

    def __init__(self, folder: Path, bin_: Path) -> None:
        self.folder = folder
        self._bin = bin_
        self._user = _unprivileged()
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", str(folder / "data"), "-U", "noclone", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "on",
            "max_connections": "60",
            "shared_buffers": "32MB",
            "deadlock_timeout": "200ms",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        for _ in range(300):
            try:
                self.query("SELECT 1")
            except Exception:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])

    def crash(self) -> None:
        """Kill the server and everything of it, as when the machine's processes die."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Stop it at once, in good order."""
        self._end(signal.SIGINT)

    def url(self) -> str:
        """Return the URL of an empty schema."""
        self._schemas += 1
        name = f"s{self._schemas}_{os.getpid()}"
        self.query(f"CREATE SCHEMA {name}")
        return f"postgresql+psycopg://noclone@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the administrator."""
        import psycopg

        with psycopg.connect(f"host={self.folder} user=noclone dbname=postgres", autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def _end(self, how: int) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments], capture_output=True, text=True, timeout=120, **self._as_user()
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])

    def _as_user(self) -> dict[str, object]:
        common: dict[str, object] = {"cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
        if self._user is None:
            return common
        return {**common, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("there is no user to run PostgreSQL as")


def start() -> Server | str:
    """Start a server, or say why there is none."""
    bin_ = programs()
    if bin_ is None:
        return "no PostgreSQL server here (Debian: apt install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "no psycopg here"
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="noclone-pg-", dir=memory if os.access(memory, os.W_OK) else None))
    folder.chmod(0o711)
    try:
        return Server(folder, bin_)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
