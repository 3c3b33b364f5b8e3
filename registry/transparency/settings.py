"""Settings of the transparency log."""

from __future__ import annotations

import re
from typing import Annotated

from records import Record
from registry.errors import RegistryConfigError

_ORIGIN = re.compile(r"[^\s+]{1,255}\Z")


class TransparencySettings(Record):
    """An append-only log of every tag that moves, every signature and every deletion."""

    enabled: Annotated[bool, "Whether the log is kept"] = False
    origin: Annotated[str, "Name of the log for good; best the public host name"] = (
        "lading-registry/log"
    )

    def __post_init__(self) -> None:
        if not _ORIGIN.match(self.origin):
            raise RegistryConfigError(
                f"{self.origin!r} cannot name a log",
                where="origin",
                fix="use up to 255 characters without blanks and plus signs",
            )
