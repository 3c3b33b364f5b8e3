"""Declared licences as SPDX expressions.

SPDX 2.3, annex D. Distributions write licences in their own ways, and many are none of SPDX's list.
What is understood without guessing becomes an expression of listed identifiers; everything else is
kept word for word behind a ``LicenseRef-``, which the document explains by that text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LISTED_WORDS: Final = """
    0BSD AFL-2.1 AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 APSL-2.0
    Artistic-1.0 Artistic-1.0-Perl Artistic-2.0 Beerware BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause
    BSD-2-Clause-Patent BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSL-1.0 bzip2-1.0.6 CC-BY-3.0
    CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 CPL-1.0 curl EPL-1.0 EPL-2.0
    EUPL-1.1 EUPL-1.2 FSFAP FSFUL FSFULLR FTL GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later
    GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later
    GPL-3.0-only GPL-3.0-or-later HPND ICU IJG ISC JSON LGPL-2.0-only LGPL-2.0-or-later
    LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng libtiff LPPL-1.3c
    MIT MIT-0 MIT-CMU MPL-1.1 MPL-2.0 MS-PL MS-RL NCSA NTP OFL-1.0 OFL-1.1 OLDAP-2.8 OpenSSL
    PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 Python-2.0.1 Ruby Sleepycat SMLNJ TCL Unicode-3.0
    Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11 XFree86-1.1 Zlib zlib-acknowledgement
    ZPL-2.1"""
LISTED: Final = frozenset(_LISTED_WORDS.split())
"""Identifiers that packages really use; https://spdx.org/licenses/ has several hundred more."""

_EXCEPTION_WORDS: Final = """
    Autoconf-exception-2.0 Autoconf-exception-3.0 Bison-exception-2.2 Classpath-exception-2.0
    Font-exception-2.0 GCC-exception-2.0 GCC-exception-3.1 Linux-syscall-note LLVM-exception
    OpenSSL-exception openvpn-openssl-exception"""
EXCEPTIONS: Final = frozenset(_EXCEPTION_WORDS.split())

_ALIASES: Final = {
    "apache-2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "bsl-1": "BSL-1.0",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mplv2.0": "MPL-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_GNU: Final = re.compile(r"(a|l)?gpl(?:-|v)([123](?:\.[01])?)(\+|-only|-or-later)?\Z")
"""Debian's ``GPL-2+``, Fedora's ``LGPLv2+``, SPDX's own deprecated ``GPL-2.0+``."""
_WORD: Final = re.compile(r"[()]|[^\s()]+")
_BY_LOWER: Final = {name.lower(): name for name in LISTED}
_EXCEPTIONS_BY_LOWER: Final = {name.lower(): name for name in EXCEPTIONS}
_OPERATORS: Final = frozenset({"and", "or"})
_LONGEST: Final = 200
"""Words of an expression."""


@dataclass(frozen=True, slots=True)
class Declared:
    """``expression`` is empty where nothing is declared; ``texts`` explains its own identifiers."""

    expression: str
    texts: dict[str, str]


def declared(licenses: Iterable[str]) -> Declared:
    """One expression of all that a package declares; several licences apply together."""
    texts: dict[str, str] = {}
    parts: list[str] = []
    for text in licenses:
        known = understood(text)
        if known is None:
            known = _reference(text)
            texts[known] = text
        parts.append(known)
    unique = list(dict.fromkeys(parts))
    if len(unique) > 1:
        unique = [f"({part})" if " " in part else part for part in unique]
    return Declared(" AND ".join(unique), texts)


def understood(text: str) -> str | None:
    """The text as an expression of listed identifiers; None where that would be a guess."""
    whole = _identifier(text.strip())
    if whole is not None:
        return whole
    words = _WORD.findall(text)
    if not words or len(words) > _LONGEST:
        return None
    return _Expression(words).parse()


class _Expression:
    """Recursive descent over words: ``term ((AND|OR) term)*``, a term perhaps WITH an exception.

    AND and OR are not mixed without parentheses: SPDX has a precedence, distributions do not agree.
    """

    def __init__(self, words: list[str]) -> None:
        self._words = words[::-1]

    def parse(self) -> str | None:
        found = self._any()
        return found if not self._words else None

    def _any(self) -> str | None:
        parts, operators = [self._term()], set[str]()
        while self._words and self._words[-1].lower() in _OPERATORS:
            operators.add(self._words.pop().upper())
            parts.append(self._term())
        if len(operators) > 1 or any(part is None for part in parts):
            return None
        return f" {next(iter(operators), '')} ".join(part for part in parts if part is not None)

    def _term(self) -> str | None:
        if not self._words:
            return None
        word = self._words.pop()
        if word == "(":
            inner = self._any()
            closed = bool(self._words) and self._words.pop() == ")"
            if inner is None or not closed:
                return None
            return f"({inner})" if " " in inner else inner
        name = _identifier(word)
        if name is not None and self._words and self._words[-1].lower() == "with":
            self._words.pop()
            exception = self._words.pop().lower() if self._words else ""
            if exception not in _EXCEPTIONS_BY_LOWER:
                return None
            return f"{name} WITH {_EXCEPTIONS_BY_LOWER[exception]}"
        return name


def _identifier(word: str) -> str | None:
    lower = word.lower()
    listed = _BY_LOWER.get(lower) or _ALIASES.get(lower)
    if listed is not None:
        return listed
    gnu = _GNU.match(lower)
    if gnu is None:
        return None
    family = f"{(gnu[1] or '').upper()}GPL"
    version = gnu[2] if "." in gnu[2] else f"{gnu[2]}.0"
    later = "or-later" if gnu[3] in ("+", "-or-later") else "only"
    name = f"{family}-{version}-{later}"
    return name if name in LISTED else None


def _reference(text: str) -> str:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:48].strip("-.")
    short = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"LicenseRef-{words or 'text'}-{short}"
