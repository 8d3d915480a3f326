"""Your own pictures: a folder for each class, or a table that says what is where."""

import os
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attnlab.datasets.labels import numbered
from attnlab.datasets.picture_files import (
    Picture,
    Size,
    checked_background,
    checked_size,
    fitted,
    looks_like_picture,
)
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import picture_hash
from attnlab.errors import AttnlabWarning, DataError, option

# what systems put into folders; names with a dot in front are passed over too
_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")


def images_from_folder(
    folder: str | os.PathLike[str],
    size: Size = (28, 28),
    grey: bool = True,
    skip_broken: bool = False,
    name: str | None = None,
    *,
    background: int = 255,
) -> ImageDataset:
    """Read your own labelled pictures from a folder that has one folder for each class.

    Parameters
    ----------
    folder : holds folders whose names are the labels; PNG and JPEG files lie in these
    size : height and width in pixels. Pictures of other proportions are fitted into it, in the
        middle.
    grey : one number for each pixel, else three: red, green, blue
    skip_broken : leave out files that cannot be read, with a warning that names them
    name : of the data set; that of the folder if not given
    background : the grey, 0 (black) to 255 (white), that lies behind transparent parts and beside
        pictures of other proportions

    Returns
    -------
    ImageDataset, in the order of classes and file names, with ``files`` ("class/file")

    Raises
    ------
    DataError : no such folder, no classes, a class without pictures, pictures that belong to no
        class, folders inside a class, pictures that cannot be read

    Notes
    -----
    Hidden files are passed over. Files that are neither PNG nor JPEG are left out, with a warning.
    16 bits become 8, and a photograph is turned as its EXIF says. One of more than 50 million
    pixels is not unpacked.
    """
    size, background = checked_size(size), checked_background(background)
    folder = local_folder(folder)
    classes = _classes(folder)
    pictures, others = _files_of(folder, classes)
    if others:
        _warn_of_others(folder.name, others)
    paths = [(label, path) for label, found in pictures.items() for path in found]
    read = read_all([path for _, path in paths], size, grey, background, skip_broken, folder)
    kept = [(label, path) for label, path in paths if path in read]
    _refuse_empty(folder.name, classes, {label for label, _ in kept}, skip_broken)
    labels, label_names = numbered([label for label, _ in kept], name or folder.name, "pictures")
    data = ImageDataset(
        np.stack([read[path].pixels for _, path in kept]),
        labels,
        label_names,
        name or folder.name,
        files=[seen_from(folder, path) for _, path in kept],
    )
    _warn_of_two_labels(data)
    return data


def read_all(
    paths: Sequence[Path],
    size: tuple[int, int],
    grey: bool,
    background: int,
    skip_broken: bool,
    folder: Path,
) -> dict[Path, Picture]:
    """The pictures in these files; those that cannot be read are refused, or skipped on request."""
    read, broken = {}, []
    for path in paths:
        try:
            read[path] = fitted(path, size, grey, background, seen_from(folder, path))
        except DataError as error:
            broken.append(str(error))
    if broken:
        told = f"{len(broken)} of {len(paths)} pictures in {folder.name} cannot be read. "
        told += " ".join(broken[:5]) + (" ..." if len(broken) > 5 else "")
        if not skip_broken:
            raise DataError(f"{told} Or leave them out: {option('skip_broken', True)}.")
        warnings.warn(f"{told} They are left out.", AttnlabWarning, stacklevel=3)
    return read


def seen_from(folder: Path, path: Path) -> str:
    """The path of a file as it is seen from a folder."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def local_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the path of a folder that is there, without links; ``~`` is your home.

    Raises
    ------
    DataError : no such folder, a file
    """
    try:
        path = Path(os.fsdecode(folder)).expanduser()
        there, is_folder = path.exists(), path.is_dir()
    except (TypeError, ValueError, OSError) as error:
        raise DataError(f"{folder!r:.60} is no path of a folder ({error!s:.60}).") from error
    if not there:
        raise DataError(f"There is no folder {path}. Check the path; you are in {Path.cwd()}.")
    if not is_folder:
        raise DataError(
            f"{path} is a file. Give a folder that has a folder of pictures for each class; unpack "
            "an archive first."
        )
    return path.resolve()


def _shown(folder: Path) -> list[Path]:
    """What is in a folder, by name, without what is hidden or the system's."""
    return [
        path
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if not path.name.startswith(".") and path.name.lower() not in _SYSTEM
    ]


def _classes(folder: Path) -> list[Path]:
    """The folders of the classes."""
    inside = _shown(folder)
    classes = [path for path in inside if path.is_dir()]
    loose = [path.name for path in inside if not path.is_dir() and looks_like_picture(path)]
    if loose or not classes:
        what = f"pictures that belong to no class ({_few(loose)})" if loose else "no folders in it"
        raise DataError(
            f"{folder} has {what}. Expected a folder for each class with its pictures, such as "
            f"{folder.name}/cats/1.png and {folder.name}/dogs/1.png."
        )
    return classes


def _files_of(folder: Path, classes: list[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """The pictures of each class, and the names of other files."""
    pictures: dict[str, list[Path]] = {}
    others = []
    for label in classes:
        inside = _shown(label)
        nested = [path.name for path in inside if path.is_dir()]
        if nested:
            raise DataError(
                f"The class {label.name!r} of {folder.name} has folders in it ({_few(nested)}). "
                "Expected pictures. If its folders are the classes, give it: "
                f"{folder.name}/{label.name}."
            )
        found = pictures.setdefault(unicodedata.normalize("NFC", label.name), [])
        for path in inside:
            if looks_like_picture(path):
                found.append(path)
            else:
                others.append(f"{label.name}/{path.name}")
    return pictures, others


def _refuse_empty(name: str, classes: list[Path], known: set[str], skip_broken: bool) -> None:
    empty = [path.name for path in classes if unicodedata.normalize("NFC", path.name) not in known]
    if empty:
        left = " that can be read" if skip_broken else ""
        raise DataError(
            f"{name} has no PNG or JPEG{left} for {_few(list(map(repr, empty)))}. Put pictures "
            "into each folder, or take the empty ones away."
        )


def _warn_of_others(name: str, others: list[str]) -> None:
    warnings.warn(
        f"{len(others)} files of {name} are neither PNG nor JPEG and are left out: "
        f"{_few(others)}. Pictures of other kinds can be saved as one of these.",
        AttnlabWarning,
        stacklevel=3,
    )


def _warn_of_two_labels(data: ImageDataset) -> None:
    """Point at copies of one picture that lie in different classes."""
    seen: dict[str, int] = {}
    doubtful = []
    for index, image in enumerate(data.images):
        first = seen.setdefault(picture_hash(image), index)
        if data.labels[first] != data.labels[index]:
            doubtful.append((first, index))
    if doubtful and data.files is not None:
        one, other = (data.files[index] for index in doubtful[0])
        warnings.warn(
            f"{len(doubtful)} pictures of {data.name} lie in several classes, such as {one} and "
            f"{other}. Nothing can learn those.",
            AttnlabWarning,
            stacklevel=3,
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
