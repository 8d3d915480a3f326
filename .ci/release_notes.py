"""Print what CHANGELOG.md says of a release: ``python .ci/release_notes.py v0.2.0``.

Ends with exit code 1 where the tag is not the version of the package, or the changelog has no dated
section for it. Needs nothing but Python.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(tag: str, root: Path = ROOT) -> str:
    """Return the changelog's section of a release, without its heading."""
    package = (root / "attnlab" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "([^"]+)"', package, re.M)
    if tag != f"v{version}":
        sys.exit(f"The tag is {tag}, and attnlab/__init__.py says {version}: expected v{version}.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(
        rf"^## \[{re.escape(version)}\] - (\S+)\n(.*?)(?=^## |\Z)", changelog, re.M | re.S
    )
    if not found or not re.fullmatch(r"\d{4}-\d\d-\d\d", found[1]):
        sys.exit(f'CHANGELOG.md needs a line "## [{version}] - YYYY-MM-DD" with the day.')
    return found[2].strip()


if __name__ == "__main__":
    print(notes(sys.argv[1]))
