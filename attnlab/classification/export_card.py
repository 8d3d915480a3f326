"""The card of an exported classifier: what it is, what it answers, and which files belong to it."""

import hashlib
from pathlib import Path
from typing import Any

from attnlab.classification.naming import EXPORT_CARD, EXPORT_README, GRAPH
from attnlab.errors import ModelError, worded
from attnlab.files import read_json, understood

FORMAT = 1
_SHARED = (
    "ONNX Runtime 1.32 refuses that for layers that share their weights, unless attnlab loads the "
    "file. "
)


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported classifier, or what is left of one."""
    if (folder / EXPORT_CARD).exists():
        return True
    return (folder / GRAPH).exists() and not any(folder.glob("*.safetensors*"))


def files_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Name to bytes and sha256 of every file of a folder but the card and what people read."""
    return {
        file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)}
        for file in sorted(folder.iterdir())
        if file.name not in (EXPORT_CARD, EXPORT_README)
    }


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of an exported classifier whose files are all there, and as they were.

    Raises
    ------
    ModelError : no card, or a damaged one; a file that is missing, cut off or changed
    """
    cure = _cure(folder)
    if not (folder / EXPORT_CARD).exists():
        raise ModelError(
            f"{folder} holds {GRAPH} and no {EXPORT_CARD}, the card that says which files belong "
            f"to it, so it cannot be told whether they are whole. {cure}"
        )
    card = read_json(folder / EXPORT_CARD)
    with understood(folder / EXPORT_CARD, cure):
        if card["format"] != FORMAT:
            raise ModelError(
                f"{folder / EXPORT_CARD} has the format {card['format']}, and this version of "
                f"attnlab reads {FORMAT}. Update attnlab, or export again."
            )
        wanted = {name: (entry["bytes"], entry["sha256"]) for name, entry in card["files"].items()}
        for needed in (GRAPH, "config.json"):
            wanted[needed]
    for name, (size, sha256) in wanted.items():
        check_file(folder / name, size, sha256)
    return card


def check_file(file: Path, size: int, sha256: str) -> None:
    """Raise ModelError unless a file is the one that the card beside it names."""
    cure = _cure(file.parent)
    try:
        found = file.stat().st_size
        if found != size:
            how = "is cut off" if found < size else "was changed"
            raise ModelError(
                f"{file} {how}: it has {found:,} bytes, and {EXPORT_CARD} says {size:,}. {cure}"
            )
        if _sha256(file) != sha256:
            raise ModelError(
                f"{file} was changed since it was exported: its sha256 is not the one in "
                f"{EXPORT_CARD}. {cure}"
            )
    except FileNotFoundError as error:
        raise ModelError(f"{file} is missing. {cure}") from error
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}. {cure}") from error


def readme(card: dict[str, Any], fill: dict[str, Any]) -> str:
    """Return the text for those who meet the folder: what it is, and how to run it.

    Parameters
    ----------
    card : of the classifier
    fill : what pads its texts: "id", "token" and "type"; without "token" the tokenizer is one that
        only Transformers reads
    """
    lines = ["# An exported text classifier", "", _told(card), ""]
    if card["steps"]:
        lines += ["What was done to it, in order:", ""]
        lines += [f"{number}. {_step(step)}" for number, step in enumerate(card["steps"], 1)] + [""]
    lines += [
        "## Run it with ONNX Runtime",
        "",
        "```python",
        *_code(card, fill),
        "```",
        "",
        "With attnlab: `al.load_classifier(folder).predict(texts)`.",
        "",
        "`scale` and `temperature`, float32, shape "
        f"(1, {card['layers']}, {card['heads']}) or (texts, {card['layers']}, {card['heads']}), "
        "are optional inputs: they multiply a head's output and divide its scores, and 1 is "
        "neutral. `attentions` (texts, layers, heads, tokens, tokens) is an optional output: "
        'ask for it with `session.run(["logits", "attentions"], inputs)`.',
        "",
    ]
    if card["quantize"]:
        lines += [
            "Its weights are int8. On processors without VNNI set "
            "`options = onnxruntime.SessionOptions(); options.add_session_config_entry("
            '"session.x64quantprecision", "1")`, or products may overflow. '
            + (_SHARED if card["family"] == "albert" else "")
            + _rounded(card["calibrated_on"]),
            "",
        ]
    return "\n".join(lines)


def _told(card: dict[str, Any]) -> str:
    """What it is, how large, and how often it is right."""
    gone = len(card["removed_heads"])
    text = (
        f"Family {card['family']}, {card['layers']} layers of {card['heads']} heads"
        f"{f' ({gone} removed)' if gone else ''}, {card['parameters']:,} parameters, "
        f"{card['bytes']:,} bytes, weights in {card['quantize'] or 'float32'}. Labels: "
        f"{', '.join(card['labels'])}. Texts are cut at {card['max_length']} tokens."
    )
    if accuracy := card["accuracy"]:
        text += (
            f" Accuracy on {accuracy['n']:,} texts of {accuracy['data']}: "
            f"{accuracy['before']:.1%} before the export, {accuracy['after']:.1%} after."
        )
    return text


def _rounded(texts: int | None) -> str:
    """How activations become int8, fixed by so many texts or not."""
    if texts is None:
        return (
            "Activations are rounded to int8 by the range in their batch, so which texts are asked "
            "together moves the logits a little."
        )
    return (
        f"Activations are rounded to int8 by the ranges that they have in {texts:,} texts, and cut "
        "off beyond, so the logits of a text are the same whatever it is asked with."
    )


def _step(step: Any) -> str:
    """A step as one line."""
    if not isinstance(step, dict) or "step" not in step:
        return str(step)
    about = ", ".join(f"{name}={value!r}" for name, value in step.items() if name != "step")
    return f"{step['step']}({about})"


def _code(card: dict[str, Any], fill: dict[str, Any]) -> list[str]:
    """Python that answers texts without attnlab; the folder is the working folder."""
    if "token" in fill:
        first = ["import numpy as np", "import onnxruntime", "from tokenizers import Tokenizer"]
        cut = [
            'tokenizer = Tokenizer.from_file("tokenizer.json")',
            f"tokenizer.enable_truncation({card['max_length']})",
            f"tokenizer.enable_padding(pad_id={fill['id']}, pad_type_id={fill['type']}, "
            f"pad_token={fill['token']!r})",
            'texts = ["A warm and funny film.", "Dull."]',
            "cut = tokenizer.encode_batch(texts)",
            "columns = {",
            '    "input_ids": [text.ids for text in cut],',
            '    "token_type_ids": [text.type_ids for text in cut],',
            '    "attention_mask": [text.attention_mask for text in cut],',
            "}",
        ]
    else:
        first = [
            "import numpy as np",
            "import onnxruntime",
            "from transformers import AutoTokenizer",
        ]
        cut = [
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            'texts = ["A warm and funny film.", "Dull."]',
            "columns = tokenizer(texts, padding=True, truncation=True, "
            f"max_length={card['max_length']})",
        ]
    return [
        *first,
        "",
        f"labels = {card['labels']!r}",
        *cut,
        f"session = onnxruntime.InferenceSession({GRAPH!r})".replace("'", '"'),
        "names = [given.name for given in session.get_inputs()]",
        "inputs = {name: np.array(columns[name], dtype=np.int64) for name in names}",
        '(logits,) = session.run(["logits"], inputs)',
        "print([labels[label] for label in logits.argmax(-1)])",
    ]


def _cure(folder: Path) -> str:
    return worded(
        f"Copy it again from where it came, or export again: clf.export({str(folder)!r}, "
        "overwrite=True).",
        f"Copy it again from where it came, or type: attnlab export MODEL {folder} --overwrite",
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
