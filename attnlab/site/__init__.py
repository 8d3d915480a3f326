"""What is handed out as a folder of files, for people who have no Python.

`build_desk` writes the mixing desk for a browser: model, sentences and page in one folder that any
web server hands out. `serving` hands it to a room.
"""

from attnlab.site.building import Built, build_desk

__all__ = ["Built", "build_desk"]


def __dir__() -> list[str]:
    return sorted(__all__)
