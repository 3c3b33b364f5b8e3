"""Control groups of both versions behind one shape; hybrid hosts count as v1 plus a unified tree.

A container has one directory ``<parent>/<id>`` in every hierarchy, made before its first process
and removed after its last. ``cgroups(7)``, kernel ``Documentation/admin-guide/cgroup-v{1,2}``.
"""

from __future__ import annotations

from runtime.cgroups.group import Group, create
from runtime.cgroups.layout import Hierarchy, Layout, read_layout

__all__ = ["Group", "Hierarchy", "Layout", "create", "read_layout"]
