"""Settings of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from records import Record
from registry.configuration.declare import Duration, refuse
from registry.errors import RegistryConfigError


class WebSettings(Record):
    """The pages at ``/`` for people with browsers; clients use ``/v2/`` and never see them."""

    enabled: Annotated[bool, "Serve pages at / and below /web/"] = True
    session: Annotated[Duration, "How long a login in a browser lasts"] = 12 * 3600.0

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if self.session < 60:
            yield RegistryConfigError("a login must last a minute at least", where="session")
