"""What can go wrong between a build's client and the machine that builds."""

from __future__ import annotations

from images.errors import InputError, RemoteError


class ChannelError(RemoteError):
    """The other end cannot be reached, went away, or is no builder of ours."""

    code = "builder-channel"


class PeerGoneError(ChannelError):
    """The connection ended; at the end that builds, nothing is wrong with that."""


class NodeError(InputError):
    """No such builder, no node for a platform, or something that cannot be built elsewhere."""

    code = "builder-node"


class ClientError(RemoteError):
    """Whoever ordered a build cannot do or allow what it needs, for the reason given there.

    ``code`` is that of the error there.
    """

    def __init__(self, what: str, *, where: str | None, fix: str | None, code: str) -> None:
        super().__init__(what, where=where, fix=fix)
        self.code = code


class RemoteBuildError(RemoteError):
    """A build failed at the other end, for the reason given there.

    ``code`` is that of the error there, ``shown`` the excerpt of the Dockerfile it came with.
    """

    def __init__(
        self, what: str, *, where: str | None, fix: str | None, code: str, shown: str, node: str
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.code = code
        self.add_note(f"on {node}")
        self._shown = shown

    def excerpt(self) -> str:
        """The lines of the Dockerfile to blame, or an empty text."""
        return self._shown
