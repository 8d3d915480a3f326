"""Whether to test at length, as before a release: `make test THOROUGH=1`."""

import os

THOROUGH = bool(os.environ.get("ATTNLAB_THOROUGH"))
