"""What is wrong with a folder of pages: dead links, things from the network, silent pictures."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["faults"]

_LOADED = {  # attributes that make a browser load something
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
_NAMED = ("canonical", "license", "author", "prev", "next", "search", "index", "alternate")
_IN_A_SHEET = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class _Page(HTMLParser):
    """What a page names: places in itself, links, what it loads, pictures without a text."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.silent: list[str] = []
        self._in_a_sheet = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        self.places.update(about[name] for name in ("id", "name") if about.get(name))
        self._in_a_sheet = tag == "style"
        if tag == "a" and "href" in about:
            self.links.append(about["href"])
        if tag == "link" and about.get("rel") in _NAMED:
            return
        for name in _LOADED.get(tag, ()):
            if name in about:
                self.loaded.append(about[name].split()[0] if about[name].split() else "")
        self.loaded += _sheet(about.get("style", ""))
        if tag == "img" and not about.get("alt", "").strip():
            self.silent.append(about.get("src", "")[:60])
        if tag == "iframe" and not about.get("title", "").strip():
            self.silent.append(about.get("src", "")[:60])

    def handle_endtag(self, tag: str) -> None:
        self._in_a_sheet = False

    def handle_data(self, data: str) -> None:
        if self._in_a_sheet:
            self.loaded += _sheet(data)


def faults(folder: Path) -> list[str]:
    """Return a line for each fault of the pages in a folder, none if all is well.

    Checked are links and fragments inside the folder, that nothing is loaded from elsewhere, and
    that pictures and frames have a text. Links to other sites are not followed, and what a theme
    keeps in ``_static`` is no page.
    """
    files = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: _read(path) for path in files}
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder)
        found += [f"{where}: a picture without a text ({source})" for source in page.silent]
        found += [f"{where}: {why}" for why in _loads(path, folder, page.loaded)]
        for link in page.links:
            target = _local(path, link)
            if target is None:
                continue
            if not target.is_file() or not target.is_relative_to(folder.resolve()):
                found.append(f"{where}: {link} leads nowhere")
                continue
            place, there = unquote(urlsplit(link).fragment), target.relative_to(folder.resolve())
            if place and target.suffix == ".html" and place not in pages[folder / there].places:
                found.append(f"{where}: {link} leads to no place on that page")
    for path in sorted(folder.rglob("*.css")):
        sheet = _sheet(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {why}" for why in _loads(path, folder, sheet)]
    return list(dict.fromkeys(found))


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def _loads(path: Path, folder: Path, loaded: list[str]) -> Iterator[str]:
    """What is loaded from elsewhere, or is not there."""
    for address in loaded:
        if address.startswith(("data:", "#", "about:", "blob:")):
            continue
        if urlsplit(address).scheme or address.startswith("//"):
            yield f"{address} is loaded from the network"
        elif not (path.parent / unquote(urlsplit(address).path)).resolve().is_file():
            yield f"{address} is not there"


def _local(path: Path, link: str) -> Path | None:
    """The file that a link leads to; None if it leads out of the folder's site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()


def _sheet(text: str) -> list[str]:
    """The addresses that a style sheet loads."""
    return [one or other for one, other in _IN_A_SHEET.findall(text)]


def __dir__() -> list[str]:
    return sorted(__all__)
