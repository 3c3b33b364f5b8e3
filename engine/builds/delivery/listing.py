"""The result of a build as others list it: an entry of an OCI layout, a descriptor in a file.

BuildKit's form: what is one image has its platform there, and everything the date when it was made
(OCI image specification, annotations.md). That date is the image's own, the latest of several, so
equal builds are listed in equal bytes.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from images.mediatype import is_index
from records import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from images.config import ImageConfig
    from images.descriptor import Descriptor

CREATED: Final = "org.opencontainers.image.created"


def listed(
    root: Descriptor, configs: Sequence[ImageConfig], annotations: Mapping[str, str] | None = None
) -> Descriptor:
    """``root`` with what a list says of it; ``configs`` are those of its images.

    ``annotations`` are the user's, and go before a date that is found here.
    """
    date = _latest(config.created or "" for config in configs)
    found = {CREATED: date} if date else {}
    platform = None if is_index(root.media_type) else configs[0].platform
    return replace(root, annotations=found | dict(annotations or {}), platform=platform)


def _latest(texts: Iterable[str]) -> str:
    """The last of some dates of RFC 3339 in UTC and whole seconds; empty where there is none."""
    dates = []
    for text in texts:
        # What a base's config says is anybody's text.
        with suppress(ValueError, OverflowError):
            dates.append(datetime.fromisoformat(text).astimezone(UTC))
    return max(dates).strftime("%Y-%m-%dT%H:%M:%SZ") if dates else ""
