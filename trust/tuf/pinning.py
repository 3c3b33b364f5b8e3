"""Which first root of a repository is believed: trust on first use, or what was pinned before.

notary's ``trust_pinning``: ``certs`` maps a repository name (or ``prefix*``) to certificate ids,
``ca`` maps a prefix to a certificate authority. Where something is pinned, first use does not
count; where nothing is, ``first_use`` decides. A root that was pinned by its bytes (a cached root)
is not judged here: it is the trust anchor itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trust.errors import KeyFileError
from trust.tuf.keys import Key


@dataclass(frozen=True, slots=True)
class Pins:
    """What is known of roots before the first download; ids are Notary key ids or bare ones."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    first_use: bool = True

    def pinned(self, gun: str) -> tuple[str, ...] | None:
        """The ids pinned for ``gun``, by its name or else its longest prefix; None: nothing."""
        if gun in self.keys:
            return self.keys[gun]
        prefixes = [
            name for name in self.keys if name.endswith("*") and gun.startswith(name.rstrip("*"))
        ]
        return self.keys[max(prefixes, key=len)] if prefixes else None

    def accepts(self, gun: str, key: Key, *, first: bool) -> bool:
        """Whether a root key may stand for ``gun``; ``first`` when no root is trusted yet."""
        pinned = self.pinned(gun)
        if pinned is None:
            return self.first_use or not first
        try:
            return bool({key.id, key.bare().id} & set(pinned))
        except KeyFileError:
            return False
