"""The mixing desk as a folder of files for browsers: model, sentences, page."""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnlab import __version__, datasets, heads
from attnlab.classification.belonging import labels_of
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded
from attnlab.classification.graphs import KNOBS
from attnlab.classification.loading import load_classifier
from attnlab.classification.naming import GRAPH
from attnlab.classification.onnx_graph import OnnxGraph
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError, needs
from attnlab.files import PACKAGE
from attnlab.show.widgets.assets import script, style
from attnlab.site.contents import estimates, groups, notices
from attnlab.site.finer import in_two_parts
from attnlab.site.runtime import SCRIPT, WASM, runtime_files
from attnlab.site.vocabulary import browser_tokenizer, needed_pieces, with_pieces

__all__ = ["Built", "build_desk", "graph_of", "probabilities"]

STATIC = PACKAGE / "site" / "static"
CARD = "desk-card.json"  # by which a folder of ours is known again
MOST_TOKENS = 128  # of a sentence
PIECES = 19_500  # of words: what 20 MB have room for
_CALIBRATION = 500  # training texts
_PLAIN = ("index.html", "desk.css", "desk.js", "engine.js", "icon.svg", "manifest.webmanifest")
_PACKED = ("desk.json.gz", "slopes.f32.gz", "model.onnx.gz", "ort.wasm.gz")


@dataclass(frozen=True)
class Built:
    """A desk that was written.

    Attributes
    ----------
    folder : Path
    bytes_to_load : of all files that a browser fetches, as any web server sends them
    bytes_unpacked : of the same once they are unpacked
    pieces, pieces_before : word pieces that the model knows, and knew
    sentences : held-out ones that it carries
    same_answers : share of these that the browser's model answers as the classifier does
    accuracy, accuracy_before : on these, of the browser's model and of the classifier
    """

    folder: Path
    bytes_to_load: int
    bytes_unpacked: int
    pieces: int
    pieces_before: int
    sentences: int
    same_answers: float
    accuracy: float
    accuracy_before: float


def build_desk(
    out: str | os.PathLike[str],
    clf: str | os.PathLike[str] | Classifier = "movie-sentiment",
    sentences: int = 150,
    runtime: str | os.PathLike[str] | None = None,
    data: str = "movie-sentiment",
) -> Built:
    """Write the mixing desk as a folder that any web server can hand out.

    The classifier runs in the visitor's own browser: with weights in int8, scale and temperature of
    every head as inputs, and attention weights as an output. Nothing is sent anywhere.

    Parameters
    ----------
    out : folder; a desk that is there is replaced
    clf : name or folder of a classifier of BERT's family, or the classifier
    sentences : held-out ones of the data set's dev part that accuracy is measured on
    runtime : folder with the two files of ONNX Runtime for browsers, got by hand; default: npm
        fetches them
    data : name of the data set, whose licence lets sentences be handed out

    Raises
    ------
    AttnlabError : ``out`` holds other files
    DataError : no npm and no files, no network at the first use, more sentences than there are
    ModelError : a tokenizer that a page cannot have, or a model that cannot be exported
    """
    target = _target(out)
    files = runtime_files(None if runtime is None else Path(runtime))  # before what takes long
    splits = datasets.load(data)
    if not 0 < sentences <= len(splits.dev):
        raise DataError(
            f"The desk is to carry {sentences!r} held-out sentences, and {data} has "
            f"{len(splits.dev):,}. Give a number from 1 to that; 100 to 200 are quickly measured."
        )
    given = clf if isinstance(clf, Classifier) else load_classifier(clf, device="cpu")
    held_out = splits.dev.sample(sentences)
    pieces = needed_pieces(given.tokenizer, splits.train.texts, PIECES)
    small = with_pieces(given, pieces, MOST_TOKENS)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        graph = graph_of(small, partial / "export", splits.train)
        built = _write(partial / "desk", target, given, (small, graph), held_out, files)
        shutil.rmtree(target, ignore_errors=True)
        (partial / "desk").replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return built


def _target(out: str | os.PathLike[str]) -> Path:
    """The folder, if a desk may be written there."""
    target = Path(out).resolve()
    if target.exists() and not (target.is_dir() and _is_ours(target)):
        raise AttnlabError(
            f"{target} holds other files, and a desk takes a folder of its own. Name a new one."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AttnlabError(
            f"{target.parent} cannot be made: {error.strerror}. Choose another place."
        ) from error
    return target


def _is_ours(folder: Path) -> bool:
    return (folder / CARD).exists() or not any(folder.iterdir())


def graph_of(clf: Classifier, folder: Path, train: TextDataset) -> OnnxGraph:
    """Return a classifier as a browser gets it: with weights in int8.

    An answer depends neither on the texts beside it nor, but for the last digits, on the processor.

    Parameters
    ----------
    clf : of `with_pieces`
    folder : to write to, a new one
    train : texts that the ranges of activations are taken from
    """
    with needs("lab"):
        import onnx
    clf.export(folder, "int8", calibrate=train.sample(min(_CALIBRATION, len(train))).texts)
    path = folder / GRAPH
    graph = onnx.load(path)
    in_two_parts(graph)
    _without_defaults(graph)
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    path.write_bytes(content)
    return OnnxGraph(path, len(content), hashlib.sha256(content).hexdigest())


def _without_defaults(graph: Any) -> None:
    """Head settings must be given: a browser's ONNX Runtime takes no input that has a default."""
    kept = [weight for weight in graph.graph.initializer if weight.name not in KNOBS]
    copies = [type(weight).FromString(weight.SerializeToString()) for weight in kept]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(copies)


def probabilities(graph: OnnxGraph, encoded: Encoded) -> np.ndarray:
    """Return what a graph answers with heads neutral, (N, C)."""
    groups, neutral = list(encoded.batches()), heads.HeadSettings(*graph.size)
    logits = torch.cat(
        [graph.run(["logits"], encoded.batch(group), neutral)[0] for group in groups]
    )
    return logits[np.argsort(np.concatenate(groups))].softmax(-1).numpy()


def _write(
    folder: Path,
    target: Path,
    clf: Classifier,
    sent: tuple[Classifier, OnnxGraph],
    held_out: TextDataset,
    runtime: dict[str, Path],
) -> Built:
    """All files, in a folder that nobody sees yet; ``sent`` is what a browser gets of ``clf``."""
    small, graph = sent
    with needs("lab"):
        from attnlab.show.widgets.attention_report import palettes
    folder.mkdir()
    found = estimates(clf, held_out)
    labels = np.array(labels_of(clf.label_names, held_out))
    encoded = small.encode(held_out.texts)
    before = clf.predict(held_out.texts).probabilities
    after = probabilities(graph, encoded)
    desk = {
        "labels": clf.label_names,
        "size": {
            "layers": clf.layers,
            "heads": clf.heads,
            "removed": [list(place) for place in sorted(heads.removed(clf))],
        },
        "most_tokens": small.max_length,
        "tokenizer": browser_tokenizer(small.tokenizer),
        "sentences": {"texts": held_out.texts, "labels": labels.tolist(), "name": held_out.name},
        "groups": groups(encoded.lengths),
        "first_order": found.first_order,
        "palette": palettes(),
        "python": np.round(after, 6).tolist(),
    }
    model = graph.path.read_bytes()
    wasm = runtime[WASM.file].read_bytes()
    packed = {
        "desk.json": json.dumps(desk, ensure_ascii=False).encode(),
        "slopes.f32": found.slopes,
        "model.onnx": model,
        "ort.wasm": wasm,
    }
    for name, content in packed.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    shutil.copyfile(runtime[SCRIPT.file], folder / "ort.mjs")
    _write_page(folder)
    (folder / "NOTICE.txt").write_text(notices(held_out.name, len(held_out)), encoding="utf-8")
    _write_build(folder)
    plain = sum((folder / name).stat().st_size for name in ("service-worker.js", *_PLAIN))
    plain += (folder / "ort.mjs").stat().st_size
    built = Built(
        folder=target,
        bytes_to_load=plain + sum((folder / name).stat().st_size for name in _PACKED),
        bytes_unpacked=plain + sum(len(content) for content in packed.values()),
        pieces=len(desk["tokenizer"]["pieces"]),
        pieces_before=len(clf.tokenizer),
        sentences=len(held_out),
        same_answers=float((before.argmax(-1) == after.argmax(-1)).mean()),
        accuracy=float((after.argmax(-1) == labels).mean()),
        accuracy_before=float((before.argmax(-1) == labels).mean()),
    )
    card = {"attnlab": __version__, "classifier": clf.loaded_from, "data": held_out.name}
    numbers = {name: value for name, value in vars(built).items() if name != "folder"}
    (folder / CARD).write_text(json.dumps(card | numbers, indent=1) + "\n", encoding="utf-8")
    folder.chmod(0o755)
    return built


def _write_page(folder: Path) -> None:
    """The page: its own files, and the parts that it shares with the notebook's desk."""
    for name in ("icon.svg", "manifest.webmanifest"):
        shutil.copyfile(STATIC / name, folder / name)
    for made, source in (("desk.js", "page"), ("engine.js", "engine")):
        (folder / made).write_text(script(source, STATIC), encoding="utf-8")
    sheets = style("grids", "mixer", "page", folder=STATIC)
    (folder / "desk.css").write_text(sheets, encoding="utf-8")


def _write_build(folder: Path) -> None:
    """The two files that know all others: the page, with their sizes, and the service worker."""
    names = [*(name for name in _PLAIN if name != "index.html"), "ort.mjs", *_PACKED]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update((folder / name).read_bytes())
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    digest.update(page.encode())
    build: dict[str, Any] = {
        "version": digest.hexdigest()[:12],
        "bytes": {name: (folder / name).stat().st_size for name in _PACKED},
    }
    (folder / "index.html").write_text(page.replace("{BUILD}", json.dumps(build)), encoding="utf-8")
    build["files"] = ["./", "index.html", "NOTICE.txt", *names]
    worker = (STATIC / "service-worker.js").read_text(encoding="utf-8")
    (folder / "service-worker.js").write_text(
        f"self.built = {json.dumps(build)};\n{worker}", encoding="utf-8"
    )


def __dir__() -> list[str]:
    return sorted(__all__)
