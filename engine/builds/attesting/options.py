"""``--attest``, ``--provenance`` and ``--sbom``, in buildx's words.

``--provenance`` and ``--sbom`` are short for ``--attest type=...``; the last word on a type counts.
Nothing is stated unless it is asked for.
"""

from __future__ import annotations

from images.errors import InputError
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

PROVENANCE: Final = "provenance"
SBOM: Final = "sbom"
MIN, MAX = "min", "max"
INDEX, REFERRERS = "index", "referrers"

_TRUE: Final = frozenset({"1", "t", "true"})
_FALSE: Final = frozenset({"0", "f", "false"})
_ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    PROVENANCE: frozenset(
        {"type", "disabled", "mode", "builder-id", "inline-only", "reproducible", "version"}
    ),
    SBOM: frozenset({"type", "disabled"}),
}


class AttestError(InputError):
    """A value of ``--attest``, ``--provenance`` or ``--sbom`` is malformed."""

    code = "attest"


class Provenance(Record):
    """``max`` tells build arguments, the Dockerfile, steps and layers; ``min`` does not."""

    mode: str = MIN
    builder_id: str = ""
    """Who built, as a URI; empty for lading itself."""
    reproducible: bool = False
    """The caller's claim; the statement has no dates of its own then, nor a number."""
    inline_only: bool = False
    """Only with an image, not beside files that are none."""


class Attesting(Record):
    """What is to be stated, and in which ``form`` it is attached: ``referrers`` or ``index``."""

    provenance: Provenance | None = None
    sbom: bool = False
    form: str = REFERRERS


def parse_attesting(
    attest: Iterable[str] = (),
    *,
    provenance: str | None = None,
    sbom: str | None = None,
    form: str = REFERRERS,
) -> Attesting | None:
    """What the flags ask for; None for nothing.

    Raises:
        AttestError: malformed, unknown or contradictory values.
    """
    wanted: dict[str, dict[str, str]] = {}
    for text in attest:
        attributes = _attributes(text, "--attest")
        kind = attributes.get("type", "")
        if kind not in _ATTRIBUTES:
            raise AttestError(
                f"unknown type of statement {kind!r}",
                where="--attest",
                fix="write type=provenance or type=sbom",
            )
        wanted[kind] = attributes
    for kind, short in ((PROVENANCE, provenance), (SBOM, sbom)):
        if short is not None:
            wanted[kind] = _short(short, f"--{kind}")
    for kind, attributes in wanted.items():
        _check(kind, attributes)
    asked = {
        kind: attributes
        for kind, attributes in wanted.items()
        if not _boolean(attributes, "disabled", default=False)
    }
    if not asked:
        return None
    return Attesting(
        provenance=_provenance(asked[PROVENANCE]) if PROVENANCE in asked else None,
        sbom=SBOM in asked,
        form=form,
    )


def _short(text: str, where: str) -> dict[str, str]:
    """``true``, ``false``, or attributes without a type."""
    if text.lower() in _TRUE:
        return {}
    if text.lower() in _FALSE:
        return {"disabled": "true"}
    return _attributes(text, where)


def _attributes(text: str, where: str) -> dict[str, str]:
    import csv

    try:
        [row] = csv.reader([text])
    except (csv.Error, ValueError) as error:
        raise AttestError(f"{text!r} is malformed", where=where) from error
    pairs = [field.partition("=") for field in row]
    if not all(key and equals for key, equals, _ in pairs):
        raise AttestError(
            f"{text!r} is not a list of KEY=VALUE", where=where, fix="write true, or mode=max"
        )
    return {key.strip().lower(): value for key, _, value in pairs}


def _check(kind: str, attributes: Mapping[str, str]) -> None:
    for name in attributes:
        if name not in _ATTRIBUTES[kind]:
            known = ", ".join(sorted(_ATTRIBUTES[kind] - {"type"}))
            raise AttestError(f"{kind} knows no {name}", where="--attest", fix=f"it knows {known}")


def _provenance(attributes: Mapping[str, str]) -> Provenance:
    mode = attributes.get("mode", MIN)
    if mode not in (MIN, MAX):
        raise AttestError(f"unknown mode {mode}", where="--provenance", fix="use min or max")
    version = attributes.get("version", "v1")
    if version != "v1":
        raise AttestError(
            f"provenance of version {version} is not written",
            where="--provenance",
            fix="leave version out; SLSA v1 is what there is",
        )
    return Provenance(
        mode,
        attributes.get("builder-id", ""),
        _boolean(attributes, "reproducible", default=False),
        _boolean(attributes, "inline-only", default=False),
    )


def _boolean(attributes: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = attributes.get(name)
    if text is None:
        return default
    if text.lower() not in _TRUE | _FALSE:
        raise AttestError(f"{name}={text} is neither true nor false", where="--attest")
    return text.lower() in _TRUE
