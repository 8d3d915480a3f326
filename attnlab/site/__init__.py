"""What is handed out as a folder of files, for people who have no Python.

`build_desk` writes the mixing desk for a browser: model, sentences and page in one folder that any
web server hands out. `build_book` writes the course as a book of pages. `serving` hands either to a
room.
"""

from attnlab.site.book import Book, build_book
from attnlab.site.building import Built, build_desk

__all__ = ["Book", "Built", "build_book", "build_desk"]


def __dir__() -> list[str]:
    return sorted(__all__)
