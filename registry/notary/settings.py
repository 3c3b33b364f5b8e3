"""Settings of the trust service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """Whether docker's content trust is served; what is stored stays when it is switched off."""

    enabled: Annotated[bool, "Serve Notary trust data to docker and others"] = True
