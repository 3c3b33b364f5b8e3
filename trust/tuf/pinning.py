"""Which first root of a repository is believed: trust on first use, or what was pinned before.

notary's ``trust_pinning``: ``certs`` maps a repository name (or ``prefix*``) to certificate ids,
``ca`` maps a prefix to a certificate authority. Where something is pinned, first use does not
count, and a root from the cache must be the pinned one as well; where nothing is, ``first_use``
decides. Ids go before authorities, and longer names before shorter ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from trust.errors import KeyFileError
from trust.tuf.keys import Key, narrowed

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pins:
    """What is known of roots before the first download; ids are Notary key ids or bare ones.

    ``authorities`` are certificates in PEM; a prefix among their names needs no ``*``.
    """

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    first_use: bool = True
    authorities: Mapping[str, bytes] = field(default_factory=dict, hash=False)

    def pinned(self, gun: str) -> tuple[str, ...] | None:
        """The ids pinned for ``gun``, by its name or else its longest prefix; None: nothing."""
        if gun in self.keys:
            return self.keys[gun]
        return _longest({name: ids for name, ids in self.keys.items() if name.endswith("*")}, gun)

    def accepts(self, gun: str, key: Key, *, first: bool, now: datetime | None = None) -> bool:
        """Whether a root key may stand for ``gun``; ``first`` when no root is trusted yet.

        Without ``now`` the dates of an authority's certificates do not count.
        """
        pinned = self.pinned(gun)
        try:
            if pinned is not None:
                return bool({key.id, key.bare().id} & set(pinned))
            authority = _longest(self.authorities, gun)
            if authority is not None:
                return _issued(key, authority, now)
        except KeyFileError:
            return False
        return self.first_use or not first


def _longest(named: Mapping[str, _T], gun: str) -> _T | None:
    matching = [name for name in named if gun.startswith(name.rstrip("*"))]
    return named[max(matching, key=len)] if matching else None


def _issued(key: Key, authority: bytes, now: datetime | None) -> bool:
    """Whether the chain of a root key leads to one of the authority's certificates."""
    from cryptography import x509

    if not key.is_certificate:
        return False
    with narrowed("not a certificate authority that can be read", "the pinned authority"):
        anchors = x509.load_pem_x509_certificates(authority)
        chain = key.certificates()
        return any(_leads((*chain, anchor), now) for anchor in anchors)


def _leads(chain: Sequence[Certificate], now: datetime | None) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    for issued, issuer in itertools.pairwise(chain):
        if issued == issuer:
            continue
        try:
            basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        dated = now is None or issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc
        if not basic.ca or not dated:
            return False
    return True
