"""--attest, --provenance and --sbom in buildx's words."""

from __future__ import annotations

import pytest

from engine.builds.attesting.options import AttestError, Attesting, Provenance, parse_attesting


@pytest.mark.parametrize(
    ("attest", "provenance", "sbom", "wanted"),
    [
        ((), None, None, None),
        ((), "true", None, Attesting(Provenance())),
        ((), "mode=max", "true", Attesting(Provenance("max"), sbom=True)),
        ((), "false", "1", Attesting(sbom=True)),
        (("type=sbom",), None, None, Attesting(sbom=True)),
        (("type=sbom",), None, "false", None),
        (("type=provenance,disabled=true",), None, None, None),
        (
            ("type=provenance,mode=max,builder-id=https://ci.example/1,reproducible=true",),
            None,
            None,
            Attesting(Provenance("max", "https://ci.example/1", reproducible=True)),
        ),
        (("type=provenance,mode=max",), "mode=min,version=v1", None, Attesting(Provenance())),
        (
            ("type=provenance,inline-only=true",),
            None,
            None,
            Attesting(Provenance(inline_only=True)),
        ),
        ((), '"builder-id=a,b"', None, Attesting(Provenance(builder_id="a,b"))),
    ],
)
def test_flags(
    attest: tuple[str, ...], provenance: str | None, sbom: str | None, wanted: Attesting | None
) -> None:
    assert parse_attesting(attest, provenance=provenance, sbom=sbom) == wanted


@pytest.mark.parametrize(
    ("attest", "provenance", "sbom", "message"),
    [
        (("mode=max",), None, None, "unknown type of statement ''"),
        (("type=vex",), None, None, "unknown type of statement 'vex'"),
        (("type=sbom,generator=x",), None, None, "sbom knows no generator"),
        ((), "mode=medium", None, "unknown mode medium"),
        ((), "max", None, "is not a list of KEY=VALUE"),
        ((), "version=v0.2", None, "provenance of version v0.2 is not written"),
        ((), "reproducible=perhaps", None, "neither true nor false"),
        ((), "inline-only=perhaps", None, "neither true nor false"),
        ((), None, "yes", "is not a list of KEY=VALUE"),
        ((), "a\nb", None, "malformed"),
    ],
)
def test_mistakes_are_explained(
    attest: tuple[str, ...], provenance: str | None, sbom: str | None, message: str
) -> None:
    with pytest.raises(AttestError, match=message):
        parse_attesting(attest, provenance=provenance, sbom=sbom)
