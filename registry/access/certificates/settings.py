"""The settings of client certificates: which of their names make whom."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Annotated, Final

from records import Record
from registry.access.oidc.settings import SOURCE_NAME, fields_of
from registry.configuration.declare import refuse
from registry.errors import RegistryConfigError

VALUE: Final = "value"
"""What templates call the whole name."""

_WORD: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


class CertificateField(enum.Enum):
    """Where in a certificate a name is taken from (RFC 5280, sections 4.1.2.6 and 4.2.1.6)."""

    CN = "cn"
    EMAIL = "email"
    DNS = "dns"
    URI = "uri"


class CertificateSettings(Record):
    """Whom a client certificate names; the first entry that fits counts."""

    name: Annotated[str, "What rules call them: NAME/..., and their groups NAME/..."]
    field: Annotated[
        CertificateField, "Which of its names counts: cn of the subject; email, dns or uri of SAN"
    ]
    pattern: Annotated[
        str | None,
        "What the name looks like; words in braces stand for text without slash:"
        " spiffe://example.org/ns/{ns}/sa/{sa}",
    ] = None
    user: Annotated[str, "The name for rules: {value}, the whole one, or words of the pattern"] = (
        "{value}"
    )
    groups: Annotated[tuple[str, ...], "Groups made of words of the pattern: ns-{ns}"] = ()
    unit_groups: Annotated[
        bool, "Whether each organizational unit (OU) of the subject is a group"
    ] = False

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not SOURCE_NAME.match(self.name):
            yield RegistryConfigError(
                f"{self.name!r} cannot stand before a slash",
                where="name",
                fix="take up to 32 of a-z, 0-9, '.', '_' and '-'",
            )
        words = fields_of(self.pattern or "")
        if self.pattern == "" or len(set(words)) != len(words) or VALUE in words:
            yield RegistryConfigError("no name looks like this", where="pattern")
        for word in words:
            if not _WORD.match(word):
                yield RegistryConfigError(
                    f"{{{word}}} is no word", where="pattern", fix="write a-z, 0-9 and _ in braces"
                )
        for number, template in enumerate((self.user, *self.groups)):
            where = "user" if number == 0 else f"groups[{number - 1}]"
            named = fields_of(template)
            if not named:
                yield RegistryConfigError("everybody would be the same", where=where)
            for word in named:
                if word not in (*words, VALUE):
                    yield RegistryConfigError(f"the pattern has no {{{word}}}", where=where)
