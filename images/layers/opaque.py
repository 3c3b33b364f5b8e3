"""Opaque directories, as overlayfs marks them: what the layers below have there is hidden.

Kernel Documentation/filesystems/overlayfs.rst. Alone in here because every start of a container
asks, and needs nothing else of the layers' code.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OPAQUE_XATTRS: Final = ("trusted.overlay.opaque", "user.overlay.opaque")


def is_opaque(path: str) -> bool:
    """Whether overlayfs takes this directory for an opaque one."""
    for name in OPAQUE_XATTRS:
        try:
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT):
                raise
    return False
