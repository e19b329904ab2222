"""What an image consists of, with licences: an SPDX document (2.3, JSON).

Debian's packages tell their licences in files of a form that programs read (DEP 5) or in prose, then it is `NOASSERTION`; the whole texts
are in the image, below /usr/share/doc. Packages of PyPI tell theirs in their metadata.

Source: https://spdx.github.io/spdx-spec/v2.3
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Any

from synfire.kubernetes.images.debian import SUITE, Package
from synfire.kubernetes.images.python import PLACE

Document = dict[str, Any]

_UNKNOWN = "NOASSERTION"
_LICENCE = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE)
_IDENTIFIER = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*|\(.*\)")
_MADE = "1970-01-01T00:00:00Z"


def document(name: str, packages: Sequence[Package], parts: Sequence[Path]) -> Document:
    """Of the image `name`: Debian's packages, and those of PyPI that lie below the folders `parts`, whose first is Debian's."""
    found = [_debian(each, parts[0]) for each in packages]
    found += [_pypi(each) for part in parts for each in _distributions(part)]
    described = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": each["SPDXID"]}
        for each in found
    ]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://synfire.dev/sbom/{name}",
        "creationInfo": {"created": _MADE, "creators": ["Tool: synfire"]},
        "packages": found,
        "relationships": described,
    }


def _debian(package: Package, root: Path) -> Document:
    text = root / "usr/share/doc" / package.name / "copyright"
    told = sorted(set(_LICENCE.findall(text.read_text(errors="replace")))) if text.is_file() else []
    address = f"pkg:deb/debian/{package.name}@{package.version}?distro={SUITE}"
    return _package("deb", package.name, package.version, address, "", "; ".join(told))


def _pypi(distribution: Distribution) -> Document:
    said = distribution.metadata.json
    name = str(said["name"])
    expression = str(said.get("license_expression", ""))
    classified = [each.rpartition(" :: ")[2] for each in said.get("classifier", []) if each.startswith("License ::")]
    comment = "; ".join(classified) or str(said.get("license", "")).strip().partition("\n")[0]
    address = f"pkg:pypi/{name.lower().replace('_', '-')}@{distribution.version}"
    return _package("pypi", name, distribution.version, address, expression, comment)


def _package(kind: str, name: str, version: str, address: str, licence: str, comment: str) -> Document:
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": address}
    found: Document = {
        "SPDXID": f"SPDXRef-{kind}-{re.sub('[^A-Za-z0-9.-]', '-', name)}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": licence if _IDENTIFIER.fullmatch(licence) else _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "externalRefs": [reference],
    }
    return found | ({"licenseComments": comment} if comment and not licence else {})


def _distributions(root: Path) -> Iterable[Distribution]:
    return [PathDistribution(each) for each in sorted((root / PLACE).glob("*.dist-info"))]
