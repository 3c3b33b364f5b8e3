"""Layers and files as rows of the report, each with the step that brought it."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from builder.progress.text import harmless
from lading.render.units import human_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.builds.history.contents import LayerContents

FILES: Final = 20
"""The largest files of all layers that have a table of their own."""


def layer_rows(layers: Sequence[LayerContents], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Bottom first; ``names`` are those of the steps by the digests of their layers.

    ``left`` and ``width`` are percent of all layers together.
    """
    total = sum(layer.size for layer in layers) or 1
    several = len({layer.platform for layer in layers}) > 1
    rows, left = [], 0.0
    for layer in layers:
        width = 100 * layer.size / total
        rows.append(
            {
                "step": _made_by(layer, names),
                "platform": layer.platform if several else "",
                "size": human_size(layer.size),
                "left": round(left, 3),
                "width": round(width, 3),
                "files": "" if layer.files is None else f"{layer.files:,}",
                "total": "" if layer.total is None else human_size(layer.total),
                "largest": [
                    {"path": harmless(file.path), "size": human_size(file.size)}
                    for file in layer.largest
                ],
            }
        )
        left += width
    return rows


def file_rows(layers: Sequence[LayerContents], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The largest files of all layers, with their share of all unpacked bytes in percent."""
    total = sum(layer.total or 0 for layer in layers) or 1
    pairs = [(file, layer) for layer in layers for file in layer.largest if file.size]
    return [
        {
            "path": harmless(file.path),
            "size": human_size(file.size),
            "share": round(100 * file.size / total, 1),
            "step": _made_by(layer, names),
        }
        for file, layer in heapq.nlargest(FILES, pairs, key=lambda pair: pair[0].size)
    ]


def _made_by(layer: LayerContents, names: Mapping[str, str]) -> str:
    """The step, with what it says in the image's history; for layers of a base only that."""
    step = names.get(layer.digest)
    line = harmless(" ".join(layer.created_by.split())).removesuffix("# buildkit").rstrip()
    if step:
        return f"{harmless(step)} {line}".strip()
    return line or f"base layer {layer.digest.partition(':')[2][:12]}"
