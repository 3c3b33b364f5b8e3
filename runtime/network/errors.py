"""What can go wrong with a container's network.

Codes: ``netlink`` (the kernel refused a request), ``address-pool`` (no subnet or address left, or
the one asked for is taken), ``port-taken`` (a host port is in use), and ``network`` for the rest.
"""

from __future__ import annotations

import errno as errno_names
import os

from runtime.errors import RuntimeFault


class NetworkFault(RuntimeFault):
    """Base of this package's errors; the attributes are those of ``RuntimeFault``."""

    default_code = "network"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        code: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix, code=code or self.default_code, errno=errno)


class NetlinkError(NetworkFault):
    """The kernel refused a netlink request; ``what`` holds its extended-ack text where it sent
    one.
    """

    default_code = "netlink"

    @classmethod
    def from_ack(cls, number: int, text: str, where: str) -> NetlinkError:
        """Build the error of one negative acknowledgement (``number`` is the positive errno)."""
        what = os.strerror(number)
        if text:
            what = f"{text} ({errno_names.errorcode.get(number, number)})"
        fix = "networks need CAP_NET_ADMIN: run as root" if number == errno_names.EPERM else None
        return cls(what, where=where, fix=fix, errno=number)


class AddressPoolError(NetworkFault):
    """No subnet or no address is left, or the one asked for is taken."""

    default_code = "address-pool"


class PortTakenError(NetworkFault):
    """A host port that was asked for is in use."""

    default_code = "port-taken"
