"""What do all tests share?  A compile cache that follows the sources, and how hard Hypothesis tries."""

import hashlib
import os
import tempfile
from pathlib import Path

# Numba's cache does not notice an edit in a file that the cached function calls into, so each state of the sources has a
# cache of its own.  This must be settled before Numba is imported.
SOURCES = Path(__file__).parent.parent / "eplb_numba"
digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.rglob("*.py")))).hexdigest()[:16]
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"eplb_numba_tests_{os.getuid()}" / digest)

from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "here",
    deadline=None,  # the first example compiles
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("here")
