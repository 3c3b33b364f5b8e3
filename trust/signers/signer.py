"""What signing needs of a key: its public half, and signatures.

``trust.keys.PrivateKey`` is one; the others never show the secret to this process. Formats take any
``Signer`` and need not know where its key lies.
"""

from __future__ import annotations

from typing import Protocol

from trust.keys import PublicKey


class Signer(Protocol):
    """A key that signs."""

    @property
    def public(self) -> PublicKey:
        """The public key that verifies what ``sign`` returns."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``: DER for ECDSA, raw bytes otherwise, over SHA-256 except for Ed25519.

        Raises:
            TrustError: a subclass for the reason; see the implementation.
        """
        ...
