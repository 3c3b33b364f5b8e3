"""From a client certificate to an identity: its names, the rules that fit, the groups.

A certificate with two names that a rule fits is nobody's: which of them counts would be for whoever
asked for the certificate to choose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from registry.access.certificates.settings import VALUE, CertificateField, CertificateSettings
from registry.access.identity import Identity, Kind
from registry.access.jwt import TokenError
from registry.access.oidc.mapping import is_name

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_FIELD: Final = re.compile(r"\{([^{}]+)\}")


def identity_of(rules: Iterable[CertificateSettings], certificate: Certificate) -> Identity | None:
    """Whom the first rule that fits makes of a certificate; None when none fits.

    Raises:
        TokenError: it has several names that fit one rule, or one that cannot be a name.
    """
    for rule in rules:
        found = _fitting(rule, names_of(certificate, rule.field))
        if len(found) > 1:
            raise TokenError(f"it has more than one name for {rule.name}")
        if found:
            return _identity(rule, certificate, found[0])
    return None


def names_of(certificate: Certificate, field: CertificateField) -> list[str]:
    """The names of one kind, each once.

    Raises:
        TokenError: its names cannot be read.
    """
    from cryptography import x509

    if field is CertificateField.CN:
        return _of_subject(certificate, x509.NameOID.COMMON_NAME)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value
        if field is CertificateField.EMAIL:
            values = names.get_values_for_type(x509.RFC822Name)
        elif field is CertificateField.DNS:
            values = names.get_values_for_type(x509.DNSName)
        else:
            values = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:
        raise TokenError("its names cannot be read") from error
    return list(dict.fromkeys(values))


def _fitting(rule: CertificateSettings, names: Iterable[str]) -> list[dict[str, str]]:
    """The words that the names which fit have for a rule."""
    if rule.pattern is None:
        return [{VALUE: name} for name in names]
    test = _pattern(rule.pattern)
    return [{VALUE: name, **fit.groupdict()} for name in names if (fit := test.match(name))]


def _identity(
    rule: CertificateSettings, certificate: Certificate, words: Mapping[str, str]
) -> Identity:
    from cryptography.x509 import NameOID

    name = _filled(rule.user, words)
    if not is_name(name):
        raise TokenError("its name cannot be shown as it is")
    groups = {_filled(template, words) for template in rule.groups}
    if rule.unit_groups:
        groups.update(_of_subject(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME))
    named = sorted(f"{rule.name}/{group}" for group in groups if is_name(group))
    return Identity(Kind.OUTSIDE, f"{rule.name}/{name}", tuple(named))


def _of_subject(certificate: Certificate, oid: object) -> list[str]:
    from cryptography.x509 import ObjectIdentifier

    assert isinstance(oid, ObjectIdentifier)
    try:
        found = certificate.subject.get_attributes_for_oid(oid)
    except ValueError as error:
        raise TokenError("its subject cannot be read") from error
    return list(dict.fromkeys(str(attribute.value) for attribute in found))


def _filled(template: str, words: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: words[match[1]], template)


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    """Words in braces stand for text without a slash."""
    parts = _FIELD.split(text)
    made = (
        f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts)
    )
    return re.compile("".join(made) + r"\Z")
