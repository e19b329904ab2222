"""A link between hosts that nobody else reads or speaks on: TLS 1.3 over TCP, with one certificate at both ends.

Whoever has the deployment's key has the certificate, too, and trusts no other one: there is no authority to ask, and nothing to
renew. Where they come from is told in `synfire.deploy.join.secret`.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from synfire.base.errors import TemporaryError, UserError
from synfire.wire.links.held import HeldBack
from synfire.wire.links.link import Limits
from synfire.wire.links.socket import SocketLink
from synfire.wire.stream import Buffer

_CHUNK_BYTES = 1 << 16
_CERTIFICATE = "-----BEGIN CERTIFICATE"


@dataclass(frozen=True)
class Credential:
    """What a process shows, and what it demands of whoever it is linked to: key and certificate in PEM."""

    pem: bytes

    @classmethod
    def read(cls, path: Path) -> Credential:
        """The one in a file. Raises `UserError` where it cannot be read."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"the credential {path} cannot be read: {error.strerror}; its deployment has ended, or is another user's"
            ) from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hexadecimal: two ends can compare it in their logs without telling the secret."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self._certificate)).hexdigest()

    @cached_property
    def accepts(self) -> ssl.SSLContext:
        """For the side that was called."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    @cached_property
    def calls(self) -> ssl.SSLContext:
        """For the side that calls."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    @property
    def _certificate(self) -> str:
        text = self.pem.decode()
        return text[text.index(_CERTIFICATE) :]

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # one certificate is trusted, wherever it is shown
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._certificate)
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # links last; and some of those who call only ever send
        with (
            tempfile.NamedTemporaryFile() as file
        ):  # readable by nobody else, and the only form that it can be loaded in
            file.write(self.pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


class TlsLink(SocketLink):
    """As a `SocketLink`, encrypted. What is sent before both sides know each other waits, and leaves as soon as they do.

    `calling` tells who has opened the connection. A peer that has not the same credential breaks the link with its first word.
    """

    def __init__(
        self,
        connection: socket.socket,
        peer: str,
        credential: Credential,
        calling: bool,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(connection, peer, limits)
        self._came, self._leaves = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = credential.calls if calling else credential.accepts
        self._tls = context.wrap_bio(self._came, self._leaves, server_side=not calling)
        self._known = False
        self._early: list[bytes] = []
        self._cipher = memoryview(b"")
        self._slow: HeldBack | None = None
        if calling:
            self._shake_hands()
            with contextlib.suppress(TemporaryError):  # whoever sends next is told
                self._push()

    @property
    def pending(self) -> bool:
        return bool(self._cipher) or self._leaves.pending > 0 or super().pending

    @property
    def full(self) -> bool:
        slow = self._slow.waiting_bytes if self._slow is not None else 0
        return slow > self._limits.queue_bytes or super().full

    def hold_back(self, delay_s: float, for_s: float) -> None:
        if self._slow is None or not self._slow.prolong(delay_s, for_s):
            self._slow = HeldBack(self._socket, delay_s, for_s)

    def flush(self) -> None:
        if self._push():
            super().flush()

    def _write(self, buffers: Sequence[Buffer]) -> int:
        if not self._push():
            return 0
        taken = 0
        for each in buffers:
            if self._known:
                self._encrypt(each)
            else:
                self._early.append(bytes(each))
            taken += len(each)
        self._push()
        return taken

    def _encrypt(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        while view:
            view = view[self._tls.write(view) :]  # a record at a time

    def _push(self) -> bool:
        """Send what is encrypted; whether all of it has left. Raises `TemporaryError` when the link is broken."""
        while self._cipher or self._leaves.pending:
            if not self._cipher:
                self._cipher = memoryview(self._leaves.read())
            if self._slow is not None and self._slow.put([self._cipher]):
                self._cipher = memoryview(b"")
                continue
            self._slow = None
            sent = super()._write([self._cipher])
            if not sent:
                return False
            self._cipher = self._cipher[sent:]
        return True

    def _read(self) -> bytes:
        """What has arrived in the clear. Raises `BlockingIOError` where that is nothing yet."""
        data = self._socket.recv(_CHUNK_BYTES)
        if not data:
            return b""
        self._came.write(data)
        if not self._known and not self._shake_hands():
            self._push()
            raise BlockingIOError
        clear = bytearray()
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self._decrypted():
                clear += piece
        if not clear:
            raise BlockingIOError
        return bytes(clear)

    def _decrypted(self) -> bytes:
        try:
            return self._tls.read(_CHUNK_BYTES)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            raise self._refused(error) from error

    def _shake_hands(self) -> bool:
        """Go on until it is the other side's turn; whether both know each other now, and what was sent early is on its way."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            with contextlib.suppress(TemporaryError):
                self._push()  # the alert: the peer shall know why
            raise self._refused(error) from error
        self._known = True
        for each in self._early:
            self._encrypt(each)
        self._early.clear()
        self._push()
        return True

    def _refused(self, error: ssl.SSLError) -> UserError:
        why = error.reason or str(error)
        return UserError(
            f"{self.peer} does not prove that it has this deployment's token ({why.lower().replace('_', ' ')}); give both sides the "
            "same token"
        )


_HELD: list[Credential] = []


def hold(credential: Credential) -> None:
    """This process's links to `tls:` addresses are made with it from now on."""
    _HELD[:] = [credential]


def held(address: str) -> Credential:
    """The credential of this process. Raises `UserError` where it has none."""
    if not _HELD:
        raise UserError(f"{address} takes the deployment's token, and this process has none; give it one")
    return _HELD[0]
