"""Control groups of both versions behind one shape; a hybrid host counts as v1.

A container has one directory ``<parent>/<id>`` in every hierarchy, made before its first process
and removed after its last. ``cgroups(7)``, kernel ``Documentation/admin-guide/cgroup-v{1,2}``.
"""

from __future__ import annotations

from runtime.cgroups.group import UNIFIED, Group, create
from runtime.cgroups.layout import Hierarchy, Layout, read_layout

__all__ = ["UNIFIED", "Group", "Hierarchy", "Layout", "create", "read_layout"]
