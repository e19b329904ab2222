"""Signatures of bundles: Ed25519 (RFC 8032), with keys as OpenSSH keeps them (`ssh-keygen -t ed25519`) or in PEM."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from synfire.base.errors import UserError
from synfire.store.files import explained

_PURPOSE = b"synfire-bundle-v1\n"
"""What is signed begins with it, so that a signature made for something else is none of a bundle."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature and the public key it was made with, both in base64."""

    algorithm: str
    key: str
    signature: str

    @property
    def fingerprint(self) -> str:
        """How people compare keys: `SHA256:…`, as ssh-keygen -l writes it."""
        return fingerprint(base64.b64decode(self.key))


def sign(content: bytes, key: Path) -> bytes:
    """The signature of `content` by a private key. Raises `UserError` for a file that holds no such key."""
    private = _private(key)
    public = private.public_key().public_bytes_raw()
    made = Signature("ed25519", _text(public), _text(private.sign(_PURPOSE + content)))
    return msgspec.json.encode(made)


def check(content: bytes, signature: bytes, trusted: Path | None) -> Signature:
    """Check a signature of `content`, and that its key is the `trusted` one, where one is named.

    Raises `UserError` where it is none, is of other bytes, or by another key.
    """
    try:
        found = msgspec.json.decode(signature, type=Signature)
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(found.key, validate=True))
        public.verify(base64.b64decode(found.signature, validate=True), _PURPOSE + content)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"the bundle's signature is damaged ({error}); copy the bundle again") from error
    except InvalidSignature as error:
        raise UserError(
            "the bundle is not what was signed: the signature is of other contents; get it from its maker again"
        ) from error
    if trusted is not None and _public(trusted).public_bytes_raw() != public.public_bytes_raw():
        raise UserError(
            f"the bundle is signed by the key {found.fingerprint}, and not by that in {trusted}, "
            f"{fingerprint(_public(trusted).public_bytes_raw())}; ask its maker which one is right"
        )
    return found


def fingerprint(public: bytes) -> str:
    """A public key's fingerprint."""
    name = b"ssh-ed25519"
    blob = len(name).to_bytes(4, "big") + name + len(public).to_bytes(4, "big") + public
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _private(file: Path) -> Ed25519PrivateKey:
    content = _read(file)
    load: Any = serialization.load_ssh_private_key if b"OPENSSH" in content else serialization.load_pem_private_key
    try:
        found = load(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"{file} holds no private key that can be read ({error}); {_MAKE}") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise UserError(f"{file} holds a key of another kind than Ed25519; {_MAKE}")
    return found


def _public(file: Path) -> Ed25519PublicKey:
    content = _read(file)
    load: Any = serialization.load_ssh_public_key if content.startswith(b"ssh-") else serialization.load_pem_public_key
    try:
        found = load(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"{file} holds no public key that can be read ({error}); {_MAKE}") from error
    if not isinstance(found, Ed25519PublicKey):
        raise UserError(f"{file} holds a key of another kind than Ed25519; {_MAKE}")
    return found


def _read(file: Path) -> bytes:
    with explained(file, "read"):
        return file.read_bytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


_MAKE = "make a pair of keys, without a passphrase, with: ssh-keygen -t ed25519 -N '' -f bundle-key"
