"""What can go wrong with a container. ``exit_status`` is what `run` exits with (Docker's
numbers).
"""

from __future__ import annotations

from images.errors import EnvironmentFault, ImagesError, InputError
from runtime.errors import RuntimeFault


class ContainerError(ImagesError):
    """A container cannot be made, started or followed."""

    code = "container"
    exit_status = 125


class ContainerRefusedError(ContainerError):
    """Something below us failed before the container could start; the code is its own."""

    def __init__(self, cause: ImagesError) -> None:
        super().__init__(cause.what, where=cause.where, fix=cause.fix)
        self.code = cause.code


class ContainerConflictError(ContainerError, InputError):
    """The name is taken by another container."""

    code = "container-conflict"


class ContainerUnknownError(ContainerError, InputError):
    """No container has this name or id."""

    code = "container-unknown"


class ContainerStartError(ContainerError, EnvironmentFault):
    """The runtime refused to start it; the code and exit status are the runtime's."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        code: str = "runtime",
        exit_status: int = 125,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.code = code
        self.exit_status = exit_status

    @classmethod
    def of(cls, fault: RuntimeFault) -> ContainerStartError:
        """The same fault for whoever reads our errors: 127 not found, 126 not executable, else
        125.
        """
        return cls(
            fault.what,
            where=fault.where,
            fix=fault.fix,
            code=fault.code,
            exit_status=fault.exit_code,
        )
