"""The one error of this package: what happened, where, how to fix it, and a stable code.

Codes: ``command-not-found`` (a shell would say 127), ``command-not-executable`` (126),
``user-unknown``, ``mount-refused``, ``request-invalid``, ``hook-failed``, ``busy``, and
``runtime`` for everything that is the machine's or our own fault.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RuntimeFault(Exception):
    """A container could not be created, started or reached.

    ``what`` is one lower-case sentence without a full stop, ``where`` names the container or path,
    ``fix`` tells the reader what to do, ``code`` is stable, ``errno`` is the kernel's number or
    None.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        code: str = "runtime",
        errno: int | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        self.code = code
        self.errno = errno
        super().__init__(what)

    def __str__(self) -> str:
        return self.what if self.where is None else f"{self.where}: {self.what}"

    @property
    def exit_code(self) -> int:
        """What ``docker run`` exits with: 127 not found, 126 not executable, else 125."""
        return {"command-not-found": 127, "command-not-executable": 126}.get(self.code, 125)

    def to_json(self) -> dict[str, Any]:
        """The attributes, for the wire between shim and client."""
        return {
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "code": self.code,
            "errno": self.errno,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RuntimeFault:
        """The reverse of ``to_json``."""
        return cls(
            value["what"],
            where=value.get("where"),
            fix=value.get("fix"),
            code=value.get("code", "runtime"),
            errno=value.get("errno"),
        )


def from_oserror(error: OSError, doing: str, *, where: str | None = None) -> RuntimeFault:
    """A kernel refusal as a fault: ``doing`` says what was attempted, in the infinitive."""
    reason = (error.strerror or str(error)).lower()
    place = f" ({error.filename})" if error.filename is not None and where is None else ""
    return RuntimeFault(f"cannot {doing}: {reason}{place}", where=where, errno=error.errno)
