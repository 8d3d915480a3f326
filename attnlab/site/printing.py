"""Pages as PDF files, printed by a Chromium without a window."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from attnlab.errors import AttnlabError

__all__ = ["find_chromium", "print_pages"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES = (  # where people's systems put it, and not into the path
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
_FLAGS = (
    "--headless",
    "--no-sandbox",  # the pages are our own files
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
    "--virtual-time-budget=60000",  # formulas are set first
)
_SECONDS = 180  # for a page


def find_chromium() -> str:
    """Return the Chromium or Chrome of this machine.

    Raises
    ------
    AttnlabError : there is none
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    found = found or next((place for place in _PLACES if Path(place).is_file()), None)
    if found is None:
        raise AttnlabError(
            "PDF files are printed by Chromium, and this machine has none in its path. Install "
            "Chromium or Chrome (`apt-get install chromium`), or leave the PDF files out."
        )
    return found


def print_pages(
    chromium: str,
    pages: Sequence[Path],
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Print pages to files of the same name; what is folded is open in them.

    Raises
    ------
    AttnlabError : Chromium fails, or prints nothing
    """
    folder.mkdir(exist_ok=True)
    made = []
    for page in pages:
        target = folder / f"{page.stem}.pdf"
        progress(f"printing {target.name}")
        with tempfile.TemporaryDirectory() as profile:
            command = [chromium, *_FLAGS, f"--user-data-dir={profile}", f"--print-to-pdf={target}"]
            try:
                run = subprocess.run(
                    [*command, page.resolve().as_uri()],
                    capture_output=True,
                    text=True,
                    timeout=_SECONDS,
                )
                said = run.stderr.strip().splitlines()[-1:] or ["no message"]
            except subprocess.TimeoutExpired:
                said = [f"no answer in {_SECONDS} seconds"]
        if not target.is_file() or not target.read_bytes().startswith(b"%PDF"):
            raise AttnlabError(
                f"{chromium} did not print {page.name} ({said[0]}). Leave the PDF files out, or "
                "print the page from a browser."
            )
        made.append(target)
    return made


def __dir__() -> list[str]:
    return sorted(__all__)
