"""From a finished target to stored image documents: config and manifest, the same bytes every time.

Dates: a layer's history entry has the date of its layer, an empty one that of the layer before it,
so a rebuild answered from the cache gives the same image id. ``created`` is the date of the last
entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from builder.plan.config import HISTORY_COMMENT
from builder.plan.model import HistoryDraft, ImageDraft
from images.config import HistoryEntry, ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import as_oci
from records import Record, replace

if TYPE_CHECKING:
    from builder.solver.records import StoredLayer


class AssembledImage(Record):
    """The two documents of an image, not stored yet; its lowest ``base_layers`` are the base's."""

    manifest: Manifest
    config: ImageConfig
    base_layers: int = 0

    @property
    def image_id(self) -> Digest:
        """Docker's IMAGE ID."""
        return self.config.digest

    @property
    def descriptor(self) -> Descriptor:
        """Points to the manifest."""
        return self.manifest.descriptor


def assemble(
    draft: ImageDraft,
    layers: Sequence[StoredLayer],
    *,
    now: str,
    annotations: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> AssembledImage:
    """Write config and manifest. ``now`` dates what nothing else dates, ``extra`` are more fields
    of the config.
    """
    history = date_history(draft.history, layers, now=now)
    config = ImageConfig.build(
        draft.platform,
        [layer.diff_id for layer in layers],
        config=draft.config,
        history=history,
        created=history[-1].created if history and history[-1].created else now,
        author=draft.author,
        extra=extra,
    )
    # A base may have Docker's types; one manifest has those of one specification.
    typed = [
        replace(layer.descriptor, media_type=as_oci(layer.descriptor.media_type))
        for layer in layers
    ]
    manifest = Manifest.build(config.descriptor(), typed, annotations=annotations)
    return AssembledImage(manifest, config, len(layers) - len(_own_layers(draft.history)))


def date_history(
    drafts: Sequence[HistoryDraft], layers: Sequence[StoredLayer], *, now: str
) -> list[HistoryEntry]:
    """History entries with dates; the newest layers belong to the newest entries that have one."""
    own = len(_own_layers(drafts))
    dates = iter([layer.created for layer in layers[len(layers) - own :]])
    dated: list[HistoryEntry] = []
    last = _last_inherited(drafts)
    for draft in drafts:
        if draft.inherited is not None:
            dated.append(draft.inherited)
            continue
        if draft.step is not None:
            last = next(dates) or last
        created = draft.created or last or _first_layer_date(layers) or now
        dated.append(
            HistoryEntry(
                created=created,
                created_by=draft.created_by,
                comment=HISTORY_COMMENT,
                empty_layer=draft.step is None,
            )
        )
    return dated


def _own_layers(drafts: Sequence[HistoryDraft]) -> list[HistoryDraft]:
    return [draft for draft in drafts if draft.inherited is None and draft.step is not None]


def _last_inherited(drafts: Sequence[HistoryDraft]) -> str:
    dates = [draft.inherited.created for draft in drafts if draft.inherited is not None]
    return next((date for date in reversed(dates) if date), "")


def _first_layer_date(layers: Sequence[StoredLayer]) -> str:
    return next((layer.created for layer in layers if layer.created), "")
