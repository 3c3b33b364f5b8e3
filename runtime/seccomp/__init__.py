"""Seccomp filters: Docker's default and OCI profiles, assembled to classic BPF.

``profile`` says what is allowed, ``numbers`` what the calls are numbered, ``compiler`` turns both
into the bytes that seccomp(2) loads.
"""

from __future__ import annotations

from runtime.seccomp.compiler import compile_filter
from runtime.seccomp.profile import Comparison, Profile, Rule, default_profile, oci_profile

__all__ = ["Comparison", "Profile", "Rule", "compile_filter", "default_profile", "oci_profile"]
