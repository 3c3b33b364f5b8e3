"""What a policy can ask of an image: accept, reject, or signatures of certain kinds.

Requirements are frozen values without behaviour beyond describing themselves; ``trust.verify``
judges by them. What containers/image can check and lading cannot is a value too, so that a file
that asks for it is understood, and satisfied by nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from records import Record

if TYPE_CHECKING:
    from trust.identity import SignedIdentity
    from trust.notation.policy import Statement


class SignatureFormat(StrEnum):
    """How a signature by a key is kept."""

    COSIGN = "cosign"
    """Under the ``.sig`` tag."""
    BUNDLE = "bundle"
    """A sigstore bundle, attached as a referrer."""


ANY_FORMAT: Final = frozenset(SignatureFormat)


class AcceptAnything(Record):
    """``insecureAcceptAnything``: signatures are not looked at."""

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return "anything is accepted, signed or not"


class Reject(Record):
    """``reject``: nothing is accepted."""

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return "everything is refused"


class SigstoreSigned(Record):
    """``sigstoreSigned``: signed by ``threshold`` different keys of those accepted.

    ``key_paths`` name PEM files, ``key_data`` hold PEM bytes; both together are the accepted keys.
    ``max_age`` is in seconds: how long ago the signer may have signed, by the signer's own word.
    """

    key_paths: tuple[str, ...]
    key_data: tuple[bytes, ...]
    identity: SignedIdentity
    threshold: int = 1
    formats: frozenset[SignatureFormat] = ANY_FORMAT
    max_age: float | None = None

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        inline = (f"{len(self.key_data)} key(s) in the policy",) if self.key_data else ()
        some = f"{self.threshold} of " if self.threshold > 1 else ""
        keys = (", " if some else " or ").join((*self.key_paths, *inline))
        extra = ""
        if self.formats != ANY_FORMAT:
            extra += f", as {' or '.join(sorted(self.formats))}"
        if self.max_age is not None:
            extra += f", at most {self.max_age / 86400:g} days ago"
        return f"signed by {some}{keys}, {self.identity.rule}{extra}"


class Unsupported(Record):
    """A requirement that containers/image can check and lading cannot; nothing satisfies it."""

    kind: str
    means: str

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return f"{self.kind} by {self.means}, which lading cannot check, so everything is refused"


class OpenPgpSigned(Record):
    """``signedBy`` with OpenPGP keys: any one of the keys in ``key_paths`` and ``key_data``."""

    key_paths: tuple[str, ...]
    key_data: tuple[bytes, ...]
    identity: SignedIdentity

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        inline = (f"{len(self.key_data)} key(s) in the policy",) if self.key_data else ()
        keys = " or ".join((*self.key_paths, *inline))
        return f"signed (OpenPGP) by {keys}, {self.identity.rule}"


class NotationSigned(Record):
    """Signed as a statement of notation's trust policy wants; ``config`` holds the trust stores."""

    statement: Statement
    config: str

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        return self.statement.sentence


class NotarySigned(Record):
    """The tag is released in the repository's trust data as docker uses it, with this digest.

    Each of ``signers`` must have signed it as well. ``server`` is an https address in place of the
    usual trust server, ``root`` the id or the file of the only root key that counts; both may be
    empty.
    """

    signers: tuple[str, ...] = ()
    server: str = ""
    root: str = ""

    @property
    def sentence(self) -> str:
        """The requirement in words."""
        extra = f" by {' and '.join(self.signers)}" if self.signers else ""
        if self.server:
            extra += f", at {self.server}"
        if self.root:
            extra += f", under the root {self.root}"
        return f"signed in Notary's trust data{extra}"


Requirement = (
    AcceptAnything
    | Reject
    | SigstoreSigned
    | OpenPgpSigned
    | NotationSigned
    | NotarySigned
    | Unsupported
)
