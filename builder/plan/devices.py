"""``RUN --device``: a device by its CDI name or class, and whether the step can do without."""

from __future__ import annotations

import csv

from builder.errors import PlanError, Source
from records import Record

_TRUE = ("", "1", "t", "true")
_FALSE = ("0", "f", "false")


class DeviceSpec(Record):
    """``vendor.com/class=name``, ``vendor.com/class`` (the first), ``...=*`` (all) or a class."""

    name: str
    required: bool = False

    @property
    def entitlement(self) -> str:
        """What ``--allow`` says for this device alone."""
        return f"device={self.name}"


def parse_device(text: str, source: Source | None = None) -> DeviceSpec:
    """Read ``NAME[,required]`` as BuildKit does; ``source`` is to blame.

    Raises:
        PlanError: no name, or something else beside it.
    """
    fields = next(csv.reader([text]), [])
    name, required = "", False
    for field in fields:
        key, _, value = field.partition("=")
        if key.lower() == "required":
            if value.lower() not in (*_TRUE, *_FALSE):
                raise PlanError(
                    f"--device: required={value} is neither true nor false", source=source
                )
            required = value.lower() in _TRUE
        elif not name:
            name = value if key.lower() == "name" else field
        else:
            raise PlanError(
                f"--device={text}: unexpected {field}", source=source, fix="write NAME,required"
            )
    if not name:
        raise PlanError(f"--device={text} names no device", source=source)
    return DeviceSpec(name, required)
