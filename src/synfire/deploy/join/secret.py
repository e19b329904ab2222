"""The token of a deployment that workers of other machines join: where it comes from, and the credential that follows from it.

Key and certificate follow from the token alone, and are the same wherever they are made. So whoever has the token trusts that one
certificate, and shows it: no authority is needed, the token never travels, and a deployment that is begun again with its token
is the one that its workers know.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from synfire.base.errors import UserError
from synfire.wire.links.tls import Credential

VARIABLE = "SYNFIRE_JOIN_TOKEN"

LEAST = 32
"""The shortest token, in characters: whoever sees the certificate that follows from it may try others at leisure."""

MAKE_ONE = "openssl rand -hex 32"

_ROUNDS = 1 << 14
"""What one try costs: 16 MiB, and some 40 ms."""

_BEGUN = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_OVER = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_hex(LEAST)


def given_token(token: str | None, file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """The token that the user has given, on the command line, in a file, or by `SYNFIRE_JOIN_TOKEN`; empty where none is.

    Raises `UserError` for two ways at a time, a file that cannot be read, and a token that is too short.
    """
    if token is not None and file is not None:
        raise UserError("the token is given on the command line and in a file; leave one out")
    found = _read(file) if file is not None else token if token is not None else environment.get(VARIABLE, "")
    found = found.strip()
    if found or token is not None or file is not None:
        check_token(found)
    return found


def check_token(token: str) -> None:
    """Raise `UserError` for a token that could be guessed."""
    if len(token) < LEAST:
        raise UserError(f"the token has {len(token)} characters, and takes {LEAST} or more; make one with: {MAKE_ONE}")


def credential_of(token: str) -> Credential:
    """Key and certificate of all who have the token. Raises as `check_token` does."""
    from cryptography import x509  # 50 ms, which a deployment without a door does without
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import NameOID

    check_token(token)
    seed = hashlib.scrypt(token.encode(), salt=b"synfire join 1", n=_ROUNDS, r=8, p=1, dklen=32)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "synfire")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, _BEGUN, _OVER)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credential(private + builder.sign(key, None).public_bytes(serialization.Encoding.PEM))


def write_credential(credential: Credential, folder: Path) -> Path:
    """Write it into a file of that folder that nobody else can read."""
    file = folder / "join.pem"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
        to.write(credential.pem)
    return file


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"the token file {file} cannot be read: {why}; make one with: {MAKE_ONE} > {file}") from error
