"""A registry in a process of its own, to be killed: ``-m tests.registry.server_process ROOT``.

Prints the port it listens on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from registry.config import RegistryConfig
from registry.serve import serve
from registry.settings import LimitSettings


def main() -> None:
    config = RegistryConfig(root=Path(sys.argv[1]), port=0, limits=LimitSettings(drain_timeout=60))
    serve(config, ready=lambda bound: print(bound.port, flush=True))


if __name__ == "__main__":
    main()
