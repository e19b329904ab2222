"""An authority of one cluster's own, and what it signs: who serves, and who calls."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LASTING = datetime.timedelta(days=7)
"""Longer than any cluster of tests lives."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for one cluster, and keeps them in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("synfire-kubernetes")
        built = _builder(name, name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self._certificate = built.sign(self._key, hashes.SHA256())
        self.pair = self._kept("authority", self._certificate, self._key)

    def client(self, user: str, *groups: str) -> Pair:
        """For someone who calls the API server: Kubernetes takes the user and the groups from it."""
        return self._signed(user.rpartition(":")[2], _name(user, groups), (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def server(self, name: str, addresses: Sequence[str], names: Sequence[str] = ()) -> Pair:
        """For someone who is called at these addresses and names."""
        found: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        found += [x509.DNSName(each) for each in names]
        return self._signed(f"{name}-serving", _name(name), found, ExtendedKeyUsageOID.SERVER_AUTH)

    def signing(self, name: str) -> Pair:
        """A key alone, to sign tokens with, and its public part in the place of a certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return self._written(name, public, key)

    def _signed(
        self, file: str, name: x509.Name, places: Sequence[x509.GeneralName], use: x509.ObjectIdentifier
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(name, self._certificate.subject, key).add_extension(x509.ExtendedKeyUsage([use]), False)
        if places:
            built = built.add_extension(x509.SubjectAlternativeName(places), False)
        return self._kept(file, built.sign(self._key, hashes.SHA256()), key)

    def _kept(self, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
        return self._written(file, certificate.public_bytes(serialization.Encoding.PEM), key)

    def _written(self, file: str, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> Pair:
        pair = Pair(self._folder / f"{file}.crt", self._folder / f"{file}.key")
        pair.certificate.write_bytes(certificate)
        pair.key.touch(0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        return pair


def _name(user: str, groups: Sequence[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LASTING)
    )
