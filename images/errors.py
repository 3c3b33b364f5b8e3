"""What can go wrong with image content, in families by whose fault it is.

Every error says what happened, where, and how to fix it, and carries a stable code (design D11).
Nothing here prints or exits; the command line renders these attributes.
"""

from __future__ import annotations


class ImagesError(Exception):
    """Base of every error of this package and of those built on it.

    ``what`` is one lower-case sentence without a full stop, ``where`` names the place (file,
    reference, digest, URL), ``fix`` tells the reader what to do, ``code`` is stable and never
    translated.
    """

    code = "images"

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        return self.what if self.where is None else f"{self.where}: {self.what}"


class InputError(ImagesError):
    """The caller's input is bad: a malformed digest, reference, archive or manifest."""

    code = "input"


class EnvironmentFault(ImagesError):
    """This machine cannot do it: disk full, permission denied, a kernel feature missing."""

    code = "environment"


class RemoteError(ImagesError):
    """The other side failed or refused: a registry, a proxy, the network."""

    code = "remote"


class InternalError(ImagesError):
    """A promise of ours is broken: a damaged store or a bug."""

    code = "internal"


class InvalidDigestError(InputError):
    """The text is not ``algorithm:hex`` of a known algorithm."""

    code = "digest-invalid"


class InvalidReferenceError(InputError):
    """The text is not an image reference."""

    code = "reference-invalid"


class InvalidPlatformError(InputError):
    """The text is not ``os/arch[/variant]``."""

    code = "platform-invalid"


class InvalidManifestError(InputError):
    """The bytes are not a manifest, index or config that the OCI image specification allows."""

    code = "manifest-invalid"


class DigestMismatchError(RemoteError):
    """The content does not hash to the digest it was asked by."""

    code = "digest-mismatch"


class SizeLimitError(InputError):
    """The content is longer than the limit set for this read."""

    code = "size-limit"


class BlobUnknownError(InputError):
    """No blob of this digest is in the store."""

    code = "blob-unknown"


class ImageUnknownError(InputError):
    """No image of this name or id is in the store."""

    code = "image-unknown"


class PlatformUnknownError(InputError):
    """The image exists, but not for the platform asked for."""

    code = "platform-unknown"


class InvalidArchiveError(InputError):
    """The archive is malformed, uses a form we do not read, or tries to leave its root."""

    code = "archive-invalid"


class ImageInUseError(InputError):
    """The image cannot be removed without force: other names or a user of it remain."""

    code = "image-in-use"
