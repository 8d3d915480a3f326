"""Why a model cannot be loaded: what other libraries raise or report, explained in one place."""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnlab.classification.naming import EXPORT_CARD, finetuning
from attnlab.errors import AttnlabError, AttnlabWarning, ModelError, worded
from attnlab.files import damage
from attnlab.heads import model_of

_READ = (
    *("config.json", "adapter_config.json", "attnlab.json", "model*.json", "tokenizer*.json"),
    "preprocessor_config.json",
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *("model*.safetensors", "adapter_model.safetensors"),
)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt*", "*.h5", "*.msgpack", "*.gguf", "*.onnx")
# layers for other tasks, which answer nothing here, and what a loss keeps
_OTHER_TASKS = re.compile(
    r"^(cls|lm_head|mlm|predictions|sop_classifier|discriminator_predictions|qa_outputs"
    r"|generator_predictions|generator_lm_head|vocab_transform|vocab_layer_norm|vocab_projector"
    r"|loss\w*|criterion)\.|\.?pooler\.|position_ids$|token_type_ids$"
)
_ADAPTER_PARTS = re.compile(r"lora_|\.base_layer\.|ia3_|modules_to_save|original_module|prompt_enc")


@contextlib.contextmanager
def explained(name: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a library raises while it loads a model into a ModelError that says why."""
    folder = Path(name)
    if folder.is_dir():
        refuse_damaged_files(folder)
    try:
        yield
    except (AttnlabError, MemoryError):
        raise
    except Exception as error:  # of safetensors, tokenizers, json, torch, the hub, ...
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        told = (lines or ["no reason is given"])[0].rstrip(".")
        if not isinstance(error, OSError | ValueError | RuntimeError):
            told = f"{type(error).__name__}: {told}"
        raise ModelError(
            f"Could not load {str(name)!r}: {told}. Give a folder with config.json, tokenizer "
            "files and model.safetensors (other weight formats are not read), or, with a network, "
            "a hub name."
        ) from error


def refuse_damaged_files(folder: Path) -> None:
    """Raise ModelError for a file that is not what its name says: empty, cut off, a pointer."""
    for pattern in _READ:
        for file in sorted(folder.glob(pattern)):
            if trouble := damage(file):
                raise ModelError(f"Could not load {str(folder)!r}: {file.name} {trouble}.")


def refuse_missing_files(folder: Path, weights: bool) -> None:
    """Raise ModelError for a folder that lacks the configuration or the weights of a model."""
    if not (folder / "config.json").exists():
        inner = sorted(file.parent.name for file in folder.glob("*/config.json"))
        found = f" There are models in its folders {', '.join(inner[:5])}." if inner else ""
        raise ModelError(
            f"Could not load {str(folder)!r}: it has no config.json.{found} In Transformers "
            "model.save_pretrained(folder) and tokenizer.save_pretrained(folder) write what is "
            "needed."
        )
    if weights and not any((folder / file).exists() for file in _WEIGHTS):
        if (folder / EXPORT_CARD).exists():
            raise no_weights(folder)
        others = sorted(file.name for pattern in _OTHER_WEIGHTS for file in folder.glob(pattern))
        found = f", only {', '.join(others[:3])}" if others else ""
        raise ModelError(
            f"Could not load {str(folder)!r}: it has no model.safetensors{found} (other weight "
            "formats are not read). In Transformers model.save_pretrained(folder) writes one."
        )


def no_weights(folder: Path) -> ModelError:
    """The error for asking an exported model for what needs weights; says which model has them."""
    try:
        source = json.loads((folder / EXPORT_CARD).read_text(encoding="utf-8"))["source"]
    except (OSError, ValueError, KeyError, TypeError):
        source = None
    loaded = worded(f"al.load_classifier({source!r})", f"{source!r}")
    return ModelError(
        f"The exported model in {folder} holds no PyTorch weights: it predicts, with head settings "
        "given to each call, and has no gradients, no hidden states and nothing to train or cut. "
        "Use the classifier that it was exported from"
        + (f": {loaded}." if source else ", from the folder that its save(folder) wrote.")
    )


@contextlib.contextmanager
def explained_tokenizer(name: str | os.PathLike[str]) -> Iterator[None]:
    """Say that it is the tokenizer that cannot be read, which its library does not say."""
    try:
        yield
    except ImportError as error:
        raise ModelError(
            f"The tokenizer of {str(name)!r} needs a package that is not installed: {error}"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"The tokenizer of {str(name)!r} cannot be read ({type(error).__name__}: {error}): its "
            "files are damaged, or of another version. Save it again beside the model: "
            "tokenizer.save_pretrained(folder)."
        ) from error


def refuse_without_tokenizer(name: str | os.PathLike[str], tokenizer: Any) -> None:
    """Raise ModelError for a tokenizer that was made of nothing, as Transformers does silently."""
    if not knows_words(tokenizer):
        raise ModelError(
            f"{str(name)!r} has no vocabulary: neither tokenizer.json nor vocab.txt, vocab.json or "
            "a SentencePiece file, so every word would be unknown. Save the tokenizer that the "
            "model was trained with beside it: tokenizer.save_pretrained(folder)."
        )


def knows_words(tokenizer: Any) -> bool:
    """Whether a vocabulary holds more than special tokens."""
    return bool(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))


def fresh_parameters(
    name: str | os.PathLike[str], model: Any, loading: dict[str, Any], finished: bool
) -> list[str]:
    """Read Transformers' report of a load: what is not in the file, if that may be.

    Parameters
    ----------
    name : of the model, for messages
    model, loading : of ``from_pretrained(..., output_loading_info=True)``
    finished : whether the layers above the encoder must be there, too

    Returns
    -------
    names of the parameters that are fresh, all of them above the encoder

    Raises
    ------
    ModelError : weights that the encoder lacks, or that have no place in it, or another shape
    """
    missing = set(loading["missing_keys"])
    resized = {str(key): (found, wanted) for key, found, wanted in loading["mismatched_keys"]}
    unexpected = {key for key in loading["unexpected_keys"] if not _OTHER_TASKS.search(key)}
    plain = model_of(model)
    inside = (plain.base_model_prefix, *dict(plain.base_model.named_children()))

    def of_encoder(keys: Any) -> list[str]:
        """Those that are part of the encoder; its pooler may be fresh."""
        return sorted(key for key in keys if key.startswith(inside) and "pooler" not in key)

    if adapter := sorted(key for key in unexpected if _ADAPTER_PARTS.search(key)):
        raise ModelError(
            f"The weights of {str(name)!r} hold an adapter within the model ({_some(adapter)}), "
            "which would be left out. Merge it first, in Python: al.load_classifier(...).save(...) "
            "or peft's merge_and_unload()."
        )
    if wrong := sorted(resized) if finished else of_encoder(resized):
        found, wanted = resized[wrong[0]]
        raise ModelError(
            f"The weights of {str(name)!r} do not fit its config.json: {wrong[0]} has shape "
            f"{tuple(found)}, and the configuration says {tuple(wanted)}. They belong to another "
            "model or were changed; put the right config.json beside them."
        )
    lacking = of_encoder(missing)
    extra = sorted(unexpected) if lacking else of_encoder(unexpected)
    if lacking or extra:
        parts = [f"lack {len(lacking)} that its config.json asks for ({_some(lacking)})"] * bool(
            lacking
        )
        parts += [f"hold {len(extra)} that have no place in it ({_some(extra)})"] * bool(extra)
        raise ModelError(
            f"The weights of {str(name)!r} {' and '.join(parts)}. They belong to another model, or "
            "the configuration was changed. Put weights and config.json of one model together."
        )
    if finished and missing:
        task = type(plain).__name__.rpartition("For")[2]
        what, cure = {
            "TokenClassification": (
                "tagger",
                f"Fine-tune it on texts of yours first: al.finetune_tagger({str(name)!r}, splits)",
            ),
            "ImageClassification": (
                "image classifier",
                "Give one that was trained to choose labels",
            ),
        }.get(task, ("classifier", f"Fine-tune it on texts of yours first: {finetuning(name)}"))
        raise ModelError(
            f"{str(name)!r} is no finished {what}: its weights lack {_some(sorted(missing))}. "
            f"{cure}."
        )
    if finished and unexpected:
        warnings.warn(
            f"The weights of {str(name)!r} hold some that the model does not use "
            f"({_some(sorted(unexpected))}).",
            AttnlabWarning,
            stacklevel=4,
        )
    return sorted({*missing, *resized})


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
