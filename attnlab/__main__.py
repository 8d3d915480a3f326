"""``python -m attnlab`` is the same as ``attnlab``."""

from attnlab.cli import main

main()
