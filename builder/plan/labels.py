"""What stands before a step's number: its platform where several are built, and its stage.

As BuildKit writes it: ``linux/arm64 build ``, and ``linux/amd64->arm64 build `` for a stage of one
platform that knows by its arguments that it compiles for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from builder.plan.options import PlanOptions
from images.errors import ImagesError
from images.platform import Platform


def step_label(
    stage: str, platform: Platform, options: PlanOptions, visible: Mapping[str, str]
) -> str:
    """The label of a step that sees the variables ``visible``; ``stage`` ends in a blank."""
    if not options.name_platform:
        return stage
    return f"{platform}{_target(platform, visible)} {stage}"


def _target(platform: Platform, visible: Mapping[str, str]) -> str:
    """``->arm64`` where the automatic arguments in sight name another platform than this one."""
    target = platform
    with suppress(ImagesError):
        if whole := visible.get("TARGETPLATFORM"):
            target = Platform.parse(whole)
        elif "TARGETARCH" in visible or "TARGETOS" in visible:
            target = Platform.normalised(
                visible.get("TARGETOS") or platform.os,
                visible.get("TARGETARCH") or platform.architecture,
                visible.get("TARGETVARIANT", ""),
            )
    same = (target.os, target.architecture, target.variant) == (
        platform.os,
        platform.architecture,
        platform.variant,
    )
    if same:
        return ""
    if target.os != platform.os:
        return f"->{target}"
    return "->" + "/".join(filter(None, (target.architecture, target.variant)))
