"""What runs as ``python -m eplb_numba``?"""

import sys

from .cli import main

sys.exit(main())
