"""What every command gets: where the state lives, and the services that open on first use."""

from __future__ import annotations

import os
from functools import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from engine.access import Access
    from images.store import ImageStore


class App:
    """One command's surroundings."""

    def __init__(self, state: str, runtime: str, *, debug: bool = False) -> None:
        self.state = state
        self.runtime = runtime
        self.debug = debug

    @property
    def root(self) -> Path:
        """The directory of all state."""
        from pathlib import Path

        return Path(self.state)

    @property
    def runtime_dir(self) -> Path:
        """The directory of sockets and locks."""
        from pathlib import Path

        return Path(self.runtime)

    @classmethod
    def create(cls, *, root: str | None, config: str | None, debug: bool) -> Self:
        """Read the environment where flags are silent.

        ``config`` overrides $DOCKER_CONFIG for this process, as ``docker --config`` does.
        """
        if config is not None:
            os.environ["DOCKER_CONFIG"] = config
        return cls(state_root(root), runtime_directory(), debug=debug)

    @cached_property
    def store(self) -> ImageStore:
        """The image store, opened (and created) on first use."""
        from images.store import ImageStore

        return ImageStore.open(self.state)

    def access(
        self,
        insecure_registry: tuple[str, ...] = (),
        *,
        policy: Path | None = None,
        verify_key: tuple[Path, ...] = (),
        disable_content_trust: str | None = None,
    ) -> Access:
        """How registries are reached, from the flags every command has that reaches one.

        ``disable_content_trust`` is "true" or "false" in place of what the environment says.
        """
        from engine.access import Access

        insecure = frozenset(insecure_registry)
        if disable_content_trust is None:
            return Access(self.state, insecure, policy, verify_key)
        from engine.content_trust.settings import ENABLED

        environ = {**os.environ, ENABLED: "0" if disable_content_trust == "true" else "1"}
        return Access(self.state, insecure, policy, verify_key, environ)


def default_platform() -> str | None:
    """$DOCKER_DEFAULT_PLATFORM, which docker takes where no --platform is given."""
    return os.environ.get("DOCKER_DEFAULT_PLATFORM") or None


def state_root(flag: str | None) -> str:
    """``--root``, $LADING_ROOT, else /var/lib/lading as root, $XDG_DATA_HOME/lading otherwise."""
    chosen = flag or os.environ.get("LADING_ROOT")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/lib/lading"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "lading")


def runtime_directory() -> str:
    """$LADING_RUNTIME_DIR, else /run/lading as root, $XDG_RUNTIME_DIR/lading otherwise."""
    chosen = os.environ.get("LADING_RUNTIME_DIR")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/run/lading"
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/lading-{os.geteuid()}"
    return os.path.join(base, "lading")
