"""The desk without Python in a Chromium on one core: waiting, bytes, and how far from Python.

`make bench AREA=phone`, two minutes.
"""

import contextlib
import gzip
import json
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Row, accuracy, not_measured, row

import attnlab as al
from attnlab.errors import DataError
from attnlab.site import Built, build_desk
from attnlab.site.building import MOST_TOKENS, PIECES, graph_of, probabilities
from attnlab.site.serving import serving
from attnlab.site.vocabulary import needed_pieces, with_pieces
from attnlab.statistics import paired_test

VISITS, MOVES, MEASUREMENTS = 7, 40, 7
SENTENCES = 100
WHERE = "headless Chromium on one core, 390 x 844"

# From a fader's move to the answer that belongs to it, and to the accuracy.
MOVE = """([layer, head]) => new Promise((done) => { const { model } = window.attnlab;
  const faders = structuredClone(model.get('faders'));
  faders.scale[layer][head] = faders.scale[layer][head] === 0 ? 1 : 0;
  const started = performance.now();
  const heard = () => { if (model.get('sentence').stamp !== model.get('faders').stamp) return;
    model.off('change:sentence', heard);
    requestAnimationFrame(() => done(performance.now() - started)); };
  model.on('change:sentence', heard);
  model.set('faders', { ...faders, gesture: Math.random() }); })"""
MEASURE = """(scale) => new Promise((done) => { const { model } = window.attnlab;
  const faders = structuredClone(model.get('faders'));
  faders.scale[0][0] = scale;
  const started = performance.now();
  const heard = () => { const now = model.get('accuracy');
    if (now.stamp !== model.get('faders').stamp || now.state !== 'measured') return;
    model.off('change:accuracy', heard);
    done((performance.now() - started) / 1000); };
  model.on('change:accuracy', heard);
  model.set('faders', { ...faders, gesture: Math.random() }); })"""
ANSWERED = ".desk-answer[data-text]"
MEASURED = ".desk-accuracy[data-state=measured]"


def measure() -> list[Row]:
    """All rows."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            built = build_desk(Path(folder) / "desk", sentences=SENTENCES)
        except DataError as error:  # ONNX Runtime for browsers cannot be had here
            return [not_measured("phone.load_mb", "10^6 bytes", str(error))]
        return [*sizes(built), *in_the_browser(built), *from_the_classifier()]


def sizes(built: Built) -> list[Row]:
    """Bytes of everything that a browser fetches."""
    return [
        row("phone.load_mb", built.bytes_to_load / 1e6, "10^6 bytes as sent, all files"),
        row("phone.unpacked_mb", built.bytes_unpacked / 1e6, "10^6 bytes once unpacked"),
    ]


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let this process and what it starts use one core only, where that can be asked for."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def in_the_browser(built: Built) -> list[Row]:
    """What a visitor waits for, and how far the numbers are from Python's."""
    try:
        import jupyter_page
        from playwright.sync_api import sync_playwright

        path = jupyter_page.chromium()
    except BaseException as error:  # pytest's own kinds of skipping
        return [not_measured("phone.first_answer_s", "s", f"no Chromium: {error}")]
    first: list[float] = []
    with serving(built.folder) as (server, (address,)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with one_core(), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=jupyter_page.FLAGS)
            for visit in range(VISITS):
                context = browser.new_context(viewport={"width": 390, "height": 844})
                page = context.new_page()
                page.goto(address)
                page.wait_for_selector(ANSWERED, timeout=120_000)
                first.append(page.evaluate("() => Number(document.body.dataset.answered)"))
                first[-1] -= page.evaluate("() => Number(document.body.dataset.loaded)")
                if visit < VISITS - 1:
                    context.close()
            page.wait_for_selector(MEASURED, timeout=120_000)
            moves = [page.evaluate(MOVE, [i % 6, i // 6]) for i in range(MOVES)]
            page.locator("[data-action=reset]").click()
            page.wait_for_timeout(3000)
            seconds = [page.evaluate(MEASURE, 0.3 + 0.1 * i) for i in range(MEASUREMENTS)]
            found = page.evaluate("() => window.attnlab.model.agreement()")
            apart = differences(page, built.folder)
            browser.close()
        server.shutdown()
    return [
        row(
            "phone.first_answer_s",
            statistics.median(first) / 1000,
            f"s from the last byte to the first answer, {WHERE}",
            [one / 1000 for one in first],
        ),
        row(
            "phone.fader_ms",
            statistics.median(moves),
            f"ms from a fader's move to its answer on the screen, accuracy under way, {WHERE}",
            moves,
        ),
        row(
            "phone.accuracy_s",
            statistics.median(seconds),
            f"s from a fader's move to the accuracy on {SENTENCES} sentences, {WHERE}",
            seconds,
        ),
        row(
            "phone.same_as_python",
            found["same"] / found["of"],
            "share of sentences, neutral, same answer as ONNX Runtime in Python",
            n=found["of"],
        ),
        row("phone.apart_neutral", found["apart"], "largest difference of a probability, neutral"),
        *apart,
    ]


def differences(page: Any, folder: Path) -> list[Row]:
    """How far probabilities are from Python's at settings drawn at random."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    graph = gzip.decompress((folder / "model.onnx.gz").read_bytes())
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    desk = json.loads(gzip.decompress((folder / "desk.json.gz").read_bytes()))
    number = {piece: id for id, piece in enumerate(desk["tokenizer"]["pieces"])}
    generator = np.random.default_rng(0)
    same, apart = [], []
    for text in desk["sentences"]["texts"]:
        scale = generator.uniform(0, 2, 72).astype(np.float32)
        temperature = (2 ** generator.uniform(-1, 1, 72)).astype(np.float32)
        found = page.evaluate(
            """async ([text, scale, temperature]) => { const found = await window.attnlab.ask(
            'answer', { text, faders: { scale, temperature } });
            return [found.tokens, found.probabilities]; }""",
            [text, scale.tolist(), temperature.tolist()],
        )
        ids = np.array([[number[token] for token in found[0]]])
        inputs = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
        knobs = {"scale": scale.reshape(1, 6, 12), "temperature": temperature.reshape(1, 6, 12)}
        logits = session.run(["logits"], inputs | knobs)[0][0]
        powers = np.exp(logits - logits.max())
        expected = powers / powers.sum()
        same.append(expected.argmax() == np.argmax(found[1]))
        apart.append(float(np.abs(expected - found[1]).max()))
    return [
        row(
            "phone.same_as_python.drawn",
            float(np.mean(same)),
            "share of sentences, settings drawn at random for each, same answer as in Python",
            n=len(same),
        ),
        row(
            "phone.apart_drawn",
            max(apart),
            "largest difference of a probability, settings drawn at random",
            n=len(apart),
        ),
    ]


def from_the_classifier() -> list[Row]:
    """What fewer pieces and int8 cost on all dev sentences."""
    clf = al.load_classifier("movie-sentiment", device="cpu")
    splits = al.datasets.load("movie-sentiment")
    labels = np.array(splits.dev.labels_in(clf.label_names))
    pieces = needed_pieces(clf.tokenizer, splits.train.texts, PIECES)
    small = with_pieces(clf, pieces, MOST_TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        graph = graph_of(small, Path(folder) / "export", splits.train)
        sent = probabilities(graph, small.encode(splits.dev.texts))
    whole, fewer = (one.predict(splits.dev.texts).probabilities for one in (clf, small))
    answers = {"whole": whole, "fewer_pieces": fewer, "sent": sent}
    right = {name: each.argmax(-1) == labels for name, each in answers.items()}
    test = paired_test(right["whole"], right["sent"])
    rows = [accuracy(f"phone.dev_accuracy.{name}", each) for name, each in right.items()]
    rows.append(
        row(
            "phone.dev_accuracy.change",
            test.delta,
            "share, sent minus whole, dev",
            n=test.n,
            low=test.low,
            high=test.high,
        )
    )
    for name in ("fewer_pieces", "sent"):
        same = answers[name].argmax(-1) == whole.argmax(-1)
        rows.append(accuracy(f"phone.agreement.{name}", same, of="the whole classifier, dev"))
    return rows
