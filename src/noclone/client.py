"""A client of ETSI GS QKD 014: how an application gets its keys from the KME beside it. Stands alone.

    client = Etsi014Client("https://127.0.0.1:9440", certificate="sae.crt", key="sae.key", ca="kme-ca.crt")
    container = client.enc_keys("sae-b", number=2)            the master; tells the ids to the slave
    same = other.dec_keys("sae-a", [k.key_id for k in container.keys])      the slave, at its own KME

Synchronous, over one kept-alive TLS connection; `noclone.async_client` is the same for asyncio. Works with any KME that
speaks V1.1.1 of the standard; one that has no TLS 1.3 needs `tls="1.2"`, the standard's least.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import select
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlsplit

from noclone.errors import InputError, KmeError

TIMEOUT_S = 10.0
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
Tls = Literal["1.2", "1.3", "post-quantum"]
ANSWER_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Status:
    """What a KME can do for a pair of applications (ETSI GS QKD 014, table 9)."""

    source_kme: str
    target_kme: str
    master: str
    slave: str
    key_size: int
    stored_key_count: int
    max_key_count: int
    max_key_per_request: int
    max_key_size: int
    min_key_size: int
    max_sae_id_count: int
    extension: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Its repr does not show the value."""

    key_id: str
    value: bytes = field(repr=False)
    extension: dict[str, Any] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """Whether the KME says that this key comes from simulated light."""
        return self.extension.get("noclone_origin") == "simulated"


@dataclass(frozen=True, slots=True)
class KeyContainer:
    """Keys, in the order that they were asked for."""

    keys: tuple[Key, ...]
    extension: dict[str, Any] = field(default_factory=dict)


class Refusal(KmeError):
    """The KME answered, and the answer was no.

    Args:
        status: The HTTP status: 400 (the request), 401 (who asks), 503 (try again later).
        details: What the KME said beside its message.
    """

    def __init__(self, status: int, message: str, details: list[Any], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.details = details

    @property
    def reason(self) -> str:
        """The KME's one-word reason, if it gives one as noclone does."""
        for detail in self.details:
            if isinstance(detail, dict) and isinstance(detail.get("noclone_reason"), str):
                return str(detail["noclone_reason"])
        return ""


class KeySource(Protocol):
    """What applications need of a client: this one, or one that a test writes."""

    def status(self, slave: str) -> Status: ...

    def enc_keys(
        self, slave: str, number: int = 1, size: int | None = None, additional: Sequence[str] = ()
    ) -> KeyContainer: ...

    def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer: ...


class Etsi014Client:
    """One application's door to its KME. Thread-safe; requests wait for each other.

    Args:
        url: Of the KME, such as "https://127.0.0.1:9440".
        certificate: The application's certificate (PEM), which says who it is.
        key: Its private key (PEM).
        ca: The authority that signs KMEs (PEM).
        timeout_s: For each request.
        tls: The least version that is spoken; "post-quantum": 1.3 with ML-KEM and ML-DSA-65 certificates, or nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        certificate: Path | str,
        key: Path | str,
        ca: Path | str,
        timeout_s: float = TIMEOUT_S,
        tls: Tls = "1.3",
    ) -> None:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        if parts.scheme != "https" or not parts.hostname:
            raise InputError(f"'{url}' is no address of a KME", hint="it looks like https://127.0.0.1:9440")
        self.url = f"https://{parts.netloc}"
        self._host, self._port = parts.hostname, parts.port or 443
        self._timeout_s = timeout_s
        self._connect_anew = _connector(Path(certificate), Path(key), Path(ca), tls)
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def status(self, slave: str) -> Status:
        """Ask what keys can be had to share with `slave`.

        Raises:
            KmeError: The KME cannot be reached, or refuses (`Refusal`).
        """
        data = self._ask("GET", slave, "status")
        try:
            return Status(
                str(data["source_KME_ID"]),
                str(data["target_KME_ID"]),
                str(data["master_SAE_ID"]),
                str(data["slave_SAE_ID"]),
                **{name.lower(): int(data[name]) for name in STATUS_NUMBERS},
                extension=_object(data.get("status_extension")),
            )
        except (KeyError, TypeError, ValueError):
            raise _nonsense("status") from None

    def enc_keys(
        self, slave: str, number: int = 1, size: int | None = None, additional: Sequence[str] = ()
    ) -> KeyContainer:
        """Get new keys, as their master.

        Args:
            slave: The application that will get the same keys by their ids.
            number: How many.
            size: Bits of each; None: the KME's default.
            additional: Further applications that may get them.

        Raises:
            KmeError: The KME cannot be reached, or refuses (`Refusal`).
        """
        body: dict[str, Any] = {"number": number}
        if size is not None:
            body["size"] = size
        if additional:
            body["additional_slave_SAE_IDs"] = list(additional)
        return _container(self._ask("POST", slave, "enc_keys", body), number)

    def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer:
        """Get the keys whose ids a master has told us. Each can be had once.

        Raises:
            KmeError: The KME cannot be reached, or refuses (`Refusal`).
        """
        body = {"key_IDs": [{"key_ID": key_id} for key_id in key_ids]}
        container = _container(self._ask("POST", master, "dec_keys", body), len(key_ids))
        by_id = {key.key_id: key for key in container.keys}
        if set(by_id) != set(key_ids):
            raise KmeError("the KME answered with other keys than those that were asked for")
        return KeyContainer(tuple(by_id[key_id] for key_id in key_ids), container.extension)

    def close(self) -> None:
        """Hang up; the next request connects again."""
        with self._lock:
            self._hang_up()

    def __enter__(self) -> Etsi014Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, sae: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        path = f"/api/v1/keys/{quote(sae, safe='')}/{what}"
        payload = None if body is None else json.dumps(body).encode()
        with self._lock:
            status, text = self._exchange(method, path, payload)
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if status != 200:
            raise self._refusal(status, data)
        if not isinstance(data, dict):
            raise _nonsense(what)
        return data

    def _exchange(self, method: str, path: str, payload: bytes | None) -> tuple[int, bytes]:
        headers = {"Accept": "application/json"}
        if payload is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection = self._connect()
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX + 1)
            if len(text) > ANSWER_BYTES_MAX:
                raise _nonsense("an answer without end")
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            if response.will_close:
                self._hang_up()
            return response.status, text
        except (OSError, http.client.HTTPException) as error:
            self._hang_up()
            raise self._unreachable(error) from None
        except BaseException:
            self._hang_up()
            raise

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            poll = select.poll()  # not select(), which knows no descriptor above 1023
            poll.register(self._connection.sock, select.POLLIN)
            if not poll.poll(0):
                return self._connection
            self._hang_up()  # the KME has closed it, or says something unasked
        self._connection = self._connect_anew(self._host, self._port, self._timeout_s)
        self._connection.connect()
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _refusal(self, status: int, data: Any) -> Refusal:
        message = data.get("message") if isinstance(data, dict) else None
        details = data.get("details") if isinstance(data, dict) else None
        text = f"the KME at {self.url} refused ({status}): {message or 'it gave no reason'}"
        return Refusal(status, text, details if isinstance(details, list) else [], hint=HINTS.get(status, ""))

    def _unreachable(self, error: Exception) -> KmeError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return KmeError(
                f"the KME at {self.url} is not the one that we trust: {error.verify_message}",
                hint="check the address, and that the authority file is the one of the KMEs",
            )
        if isinstance(error, ssl.SSLError) or type(error).__name__ == "TlsRefused":
            reason = getattr(error, "reason", None) or error
            return KmeError(
                f"the KME at {self.url} did not accept our certificate, or speaks other TLS than we do ({reason})",
                hint="check that the certificate is valid, unexpired, and from the authority of the SAEs",
            )
        if isinstance(error, TimeoutError):
            return KmeError(f"the KME at {self.url} did not answer within {self._timeout_s:g} s")
        if isinstance(error, ConnectionRefusedError):
            return KmeError(f"nobody listens at {self.url}", hint="is the KME running? check the port")
        return KmeError(f"the conversation with the KME at {self.url} broke ({type(error).__name__})")


STATUS_NUMBERS = (
    "key_size",
    "stored_key_count",
    "max_key_count",
    "max_key_per_request",
    "max_key_size",
    "min_key_size",
    "max_SAE_ID_count",
)

HINTS = {
    400: "",
    401: "only the applications that were named when a key was made may fetch it",
    503: "wait for the link to distil more key, or for the other KME to come back, and ask again",
}


Connector = Callable[[str, int, float], http.client.HTTPConnection]


def _connector(certificate: Path, key: Path, ca: Path, tls: Tls) -> Connector:
    """Return what connects to a host and port, with a timeout."""
    if tls == "post-quantum":
        from noclone.client_tls import PostQuantumConnection, post_quantum_context

        post = post_quantum_context(certificate, key, ca)
        return lambda host, port, timeout_s: PostQuantumConnection(host, port, timeout=timeout_s, context=post)
    context = _context(certificate, key, ca, TLS_VERSIONS[tls])
    return lambda host, port, timeout_s: http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _context(certificate: Path, key: Path, ca: Path, least: ssl.TLSVersion) -> ssl.SSLContext:
    for path in (certificate, key, ca):
        if not path.is_file():
            raise InputError(f"{path} does not exist", hint="`noclone pki` makes certificates and keys")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = least
    try:
        context.load_verify_locations(cafile=str(ca))
        context.load_cert_chain(str(certificate), str(key), password="")  # never ask at the terminal
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"the certificate, key or authority cannot be used ({error.strerror or error})") from None
    return context


def _container(data: dict[str, Any], number: int) -> KeyContainer:
    try:
        keys = tuple(
            Key(
                str(entry["key_ID"]), base64.b64decode(entry["key"], validate=True), _object(entry.get("key_extension"))
            )
            for entry in data["keys"]
        )
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise _nonsense("key container") from None
    if len(keys) != number:
        raise KmeError(f"the KME answered with {len(keys)} keys instead of {number}")
    return KeyContainer(keys, _object(data.get("key_container_extension")))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _nonsense(what: str) -> KmeError:
    return KmeError(f"the KME's answer does not follow ETSI GS QKD 014 ({what})")
