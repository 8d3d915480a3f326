"""Folders of models: checked before the work, written whole or not at all."""

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import transformers

from attnlab.classification.naming import EXPORT_CARD, EXPORT_README, GRAPH, RECORD, SEARCH
from attnlab.errors import AttnlabError, ModelError, option, worded
from attnlab.training.checkpoint import CHECKPOINT, check_checkpoint

EXIT_HEADS, EXIT_RECORD = "early_exit.safetensors", "early_exit.json"
_MODEL_FILES = {  # what makes up a model or an adapter, and goes when another one takes its place
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    RECORD,
    CHECKPOINT,
    EXIT_HEADS,
    EXIT_RECORD,
    GRAPH,
    EXPORT_CARD,
    EXPORT_README,
}


def check_target(folder: str | os.PathLike[str]) -> Path:
    """Return the folder as an absolute path, if a model can be written there and belongs there.

    Raises
    ------
    ModelError : a file, a place where nothing can be written, or a folder of other files
    """
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file. Give the name of a folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise ModelError(f"Nothing can be written to {folder.parent}: {error}.") from error
    ours = ("config.json", "adapter_config.json", RECORD, CHECKPOINT, EXPORT_CARD, SEARCH)
    if (
        folder.exists()
        and any(folder.iterdir())
        and not any((folder / name).exists() for name in ours)
    ):
        raise ModelError(
            f"{folder} holds other files and no model. Give the name of a new folder, or of one "
            "that holds a model."
        )
    return folder


def check_out(
    out: str | os.PathLike[str] | None,
    resume: bool,
    overwrite: bool,
    loader: str = "al.load_classifier",
) -> None:
    """Raise AttnlabError unless a training may write its result to ``out``, or go on there."""
    if out is not None:
        check_target(out)
        refuse_finished(out, resume, overwrite, loader)
        check_checkpoint(out, resume)
    elif resume:
        raise ModelError(
            f"There is nothing to go on from: {option('resume', True)} needs the folder, "
            f"{option('out')}"
        )


def refuse_finished(
    folder: str | os.PathLike[str],
    resume: bool,
    overwrite: bool,
    loader: str = "al.load_classifier",
) -> None:
    """Raise ModelError if the result of a run is there, unless it is to be overwritten."""
    finished = holds_model(folder)
    unfinished = (Path(folder) / CHECKPOINT).exists()
    if resume and finished and not unfinished:
        raise ModelError(
            f"The run in {folder} is finished. "
            + worded(
                f"{loader}({str(folder)!r}) loads it.",
                "Add --overwrite to train anew, without --resume.",
            )
        )
    if finished and not resume and not overwrite:
        raise ModelError(
            f"{folder} holds a finished model, which would be lost. Add "
            f"{option('overwrite', True)} to put the new one in its place, or name another folder."
        )


def holds_model(folder: str | os.PathLike[str]) -> bool:
    """Whether the finished result of a run is in a folder."""
    return any((Path(folder) / name).exists() for name in (RECORD, EXPORT_CARD, "config.json"))


@contextlib.contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Write into a temporary folder beside ``folder``, and put it in place when all is written.

    An older model goes; other files that are in the folder stay.

    Raises
    ------
    ModelError : a folder that `check_target` refuses, or files that cannot be written, as on a full
        disk: then the folder is as it was
    """
    folder = check_target(folder)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with _explained(folder):
            yield partial
        partial.chmod(0o755)
        if folder.exists():
            old = partial.with_name(partial.name + "-old")
            folder.rename(old)
            partial.rename(folder)
            for file in old.iterdir():
                if file.name not in _MODEL_FILES and not (folder / file.name).exists():
                    file.rename(folder / file.name)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what fails while files are written into a ModelError that says why."""
    try:
        yield
    except AttnlabError:
        raise
    except Exception as error:
        # safetensors and tokenizers, written in Rust, raise nothing more special
        if not isinstance(error, OSError) and "os error" not in str(error):
            raise
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(
            f"The model cannot be written to {folder.parent}: {told}. What was there is as it was. "
            "Free some space, or choose another place."
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hold back Transformers' remarks while a model is loaded."""
    level = transformers.logging.get_verbosity()
    bar = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            # of AdaLoRA
            warnings.filterwarnings("ignore", "The following rank_pattern", RuntimeWarning)
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if bar:
            transformers.logging.enable_progress_bar()
