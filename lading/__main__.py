"""``python -m lading``."""

import sys

from lading.main import main

sys.exit(main())
