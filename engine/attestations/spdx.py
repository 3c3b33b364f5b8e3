"""An inventory as an SPDX 2.3 document in JSON.

https://spdx.github.io/spdx-spec/v2.3/: the image is a package of its own that the document
describes, and contains the others. ``sourceInfo`` says where a package was found, which layer and
step brought it and what it weighs. Equal inventories under equal dates give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from engine.attestations.licenses import declared
from images.packages.inventory import Found, Inventory, LayerUse

if TYPE_CHECKING:
    from images.descriptor import Descriptor

PREDICATE_TYPE: Final = "https://spdx.dev/Document"
MEDIA_TYPE: Final = "application/spdx+json"
NOTHING_SAID: Final = "NOASSERTION"

_IMAGE: Final = "SPDXRef-Image"
_PERSON: Final = re.compile(r"([^<>]+?)\s*<([^<>\s]+)>\Z")
_URL: Final = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+\Z")
_STEP_WIDTH: Final = 200


def document(
    inventory: Inventory, subject: Descriptor, *, name: str, created: str, tool: str
) -> dict[str, Any]:
    """The document about the image whose manifest is ``subject``.

    ``name`` is what people call the image, ``created`` RFC 3339 text in UTC without fractions,
    ``tool`` such as ``lading-1.0``.
    """
    texts: dict[str, str] = {}
    packages = [_image(inventory, subject, name)]
    packages += [
        _package(found, inventory.layers[found.layer], texts) for found in inventory.packages
    ]
    body: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "creationInfo": {"created": created, "creators": [f"Tool: {tool}"]},
        "packages": packages,
        "relationships": _relationships(packages),
    }
    if texts:
        body["hasExtractedLicensingInfos"] = [
            {"licenseId": key, "extractedText": texts[key]} for key in sorted(texts)
        ]
    if inventory.problems:
        lines = [f"/{path}: {what}" for path, what in inventory.problems]
        body["comment"] = "Could not be read:\n" + "\n".join(lines)
    body["documentNamespace"] = _namespace(body)
    return body


def _namespace(body: dict[str, Any]) -> str:
    """Unique to the document, and the same for the same one."""
    content = json.dumps(body, sort_keys=True).encode()
    return uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(content).hexdigest()).urn


def _image(inventory: Inventory, subject: Descriptor, name: str) -> dict[str, Any]:
    short = name.rpartition("/")[2].partition("@")[0].partition(":")[0] or "image"
    item: dict[str, Any] = {
        "SPDXID": _IMAGE,
        "name": name,
        "versionInfo": str(subject.digest),
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [
            {
                "algorithm": subject.digest.algorithm.upper(),
                "checksumValue": subject.digest.hex,
            }
        ],
        "externalRefs": [_purl(f"pkg:oci/{quote(short.lower())}@{quote(str(subject.digest))}")],
    }
    if inventory.release.name:
        item["summary"] = f"An image on {inventory.release.name}"
    return item


def _package(found: Found, layer: LayerUse, texts: dict[str, str]) -> dict[str, Any]:
    package = found.package
    licenses = declared(package.licenses)
    texts.update(licenses.texts)
    item: dict[str, Any] = {
        "SPDXID": _identifier(found),
        "name": f"{package.namespace}/{package.name}" if package.namespace else package.name,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": licenses.expression or NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "supplier": _supplier(package.type, package.supplier),
        "sourceInfo": _source(found, layer),
        "externalRefs": [_purl(found.purl)],
    }
    if package.version:
        item["versionInfo"] = package.version
    if _URL.match(package.homepage):
        item["homepage"] = package.homepage
    return item


def _relationships(packages: list[dict[str, Any]]) -> list[dict[str, str]]:
    def line(source: str, kind: str, target: str) -> dict[str, str]:
        return {
            "spdxElementId": source,
            "relationshipType": kind,
            "relatedSpdxElement": target,
        }

    contained = [line(_IMAGE, "CONTAINS", item["SPDXID"]) for item in packages[1:]]
    return [line("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE), *contained]


def _identifier(found: Found) -> str:
    """Letters, digits, dots and hyphens; the same package in two places is two elements."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{found.package.type}-{found.package.name}").strip("-")
    content = f"{found.purl}\0{found.where}".encode("utf-8", "surrogateescape")
    return f"SPDXRef-Package-{words[:64]}-{hashlib.sha256(content).hexdigest()[:16]}"


def _purl(url: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": url,
    }


def _supplier(kind: str, text: str) -> str:
    """``Person: NAME (ADDRESS)``; of an rpm a vendor, which is an organisation."""
    matched = _PERSON.match(text)
    name, address = (matched[1], matched[2]) if matched else (text, "")
    # Parentheses enclose the address and nothing else.
    name = re.sub(r"[()\"]", " ", name).strip()
    if not name:
        return NOTHING_SAID
    actor = f"{'Organization' if kind == 'rpm' else 'Person'}: {' '.join(name.split())}"
    plain = "@" in address and not re.search(r"[()]", address)
    return f"{actor} ({address})" if plain else actor


def _source(found: Found, layer: LayerUse) -> str:
    where = found.where.encode("utf-8", "replace").decode()
    text = f"/{where}; layer {layer.diff_id}; {found.size} bytes"
    if layer.number:
        step = layer.created_by
        cut = f"{step[: _STEP_WIDTH - 1]}…" if len(step) > _STEP_WIDTH else step
        text += f"; step {layer.number}: {cut}"
    return text
