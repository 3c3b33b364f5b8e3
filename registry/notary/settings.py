"""Settings of the trust service."""

from __future__ import annotations

from typing import Annotated

from records import Record


class TrustSettings(Record):
    """Whether docker's content trust is served; what is stored stays when it is switched off."""

    enabled: Annotated[bool, "Serve Notary trust data to docker and others"] = True
