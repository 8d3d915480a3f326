"""Measure what data/results.json holds: ``python tests/benchmarks/bench.py [AREA...]``.

Areas: import, view, engine, desk, accuracy, finetune, balance, tuner, translation, language, phone,
gpu; and, only when named, hub (some minutes, 20 GB of memory), dates (a quarter of an hour),
economics and vision-models (half an hour), adaptive, compression and vision (an hour each),
language-models and scores (two). Ratios compare both sides in the same run. Rows are merged into
data/results.json by name, and the cards of our adapters are written anew.
"""

import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import adapting
import applying_appliances
import applying_feedback
import applying_news
import applying_reading
import applying_recommending
import balancing
import compressing
import crowding
import disturbing
import economising
import economising_dates
import engine
import finetuning
import generating
import looking
import narrowing
import numpy as np
import phoning
import psutil
import recovery
import seeing
import seeing_icons
import seeing_models
import seeing_scenes
import serving
import speaking
import speaking_models
import spreading
import torch
import translating
import translators
from rich.console import Console
from rich.table import Table
from rows import Row, accuracy, row

import attnlab as al
from attnlab.device import cpu
from attnlab.files import atomic_write

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results.json"
sys.path.insert(0, str(ROOT / "tests" / "browser"))


def measure_import() -> list[Row]:
    """What importing attnlab adds to importing torch, each time in a process of its own."""
    code = (
        "import time, torch; start = time.perf_counter(); import attnlab; "
        "print(time.perf_counter() - start)"
    )
    runs = [
        1000
        * float(
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
        )
        for _ in range(7)
    ]
    return [row("import.ms", statistics.median(runs), "ms over torch alone", runs)]


def measure_view() -> list[Row]:
    """Bytes of a head view of one layer at 64 tokens, twin picture included, ours and bertviz's."""
    from bertviz import head_view

    clf = al.load_classifier("movie-sentiment")
    words = [
        "it",
        "was",
        "a",
        "good",
        "film",
        "and",
        "then",
        "it",
        "was",
        "not",
        "so",
        "good",
        "any",
        "more",
        "but",
        "the",
        "end",
        "made",
        "up",
        "for",
        "it",
        "all",
    ]
    maps = clf.attend(" ".join((words * 4)[:62]))
    assert len(maps.tokens) == 64
    ours = len(al.attention_view(maps, layers=[3])._repr_html_().encode())
    theirs = head_view(
        list(maps.weights[:, None]), maps.tokens, include_layers=[3], html_action="return"
    )
    everything = head_view(list(maps.weights[:, None]), maps.tokens, html_action="return")
    return [
        row("view.bytes_64_tokens", ours, "bytes, one layer, with libraries and still picture"),
        row(
            "view.bertviz_bytes_64_tokens",
            len(theirs.data.encode()),
            "bytes, one layer, libraries from the network",
        ),
        row(
            "view.bertviz_bytes_64_tokens_all_layers",
            len(everything.data.encode()),
            "bytes, six layers, likewise",
        ),
    ]


_WATCH = """(selector) => { window.seen = {}; const root = document.querySelector('.attnlab-desk');
new MutationObserver(() => { const at = n => document.querySelector(`.desk-${n}`).dataset;
  for (const [name, ok] of [['answer', at('answer').stamp === root.dataset.stamp],
      ['first', at('accuracy').stamp === root.dataset.stamp],
      ['measured', at('accuracy').stamp === root.dataset.stamp
        && at('accuracy').state === 'measured']])
    if (ok && window.pressed && !(name in window.seen)) {
      const { seen, pressed } = window;
      seen[name] = null; // until it is painted
      requestAnimationFrame(() => setTimeout(() => { seen[name] = performance.now() - pressed; }));
    }
}).observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
document.querySelector(selector).addEventListener('keydown', e => {
  if (e.key.startsWith('Arrow')) { window.seen = {}; window.pressed = performance.now(); }
}, true); }"""


def measure_desk() -> list[Row]:
    """From the key press on a fader to numbers on the screen, in JupyterLab in a real browser."""
    import nbformat
    from jupyter_page import FLAGS, Notebook, chromium, jupyter
    from playwright.sync_api import sync_playwright

    code = (
        "import attnlab as al\nclf = al.load_classifier('movie-sentiment')\n"
        "al.HeadMixer(clf, al.datasets.load('movie-sentiment').dev)"
    )
    times: dict[str, list[float]] = {"answer": [], "first": [], "measured": []}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        }
        nbformat.write(notebook, folder / "desk.ipynb")
        with jupyter(folder, folder, {"ATTNLAB_PROFILE": "cpu"}) as lab:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            context = browser.new_context(viewport={"width": 1280, "height": 720})
            notebook = Notebook.open(context, lab.address("desk.ipynb"))
            notebook.run_all()
            page = notebook.page
            notebook.show(".attnlab-desk")
            measured = "() => document.querySelector('.desk-accuracy').dataset.state === 'measured'"
            page.wait_for_function(measured, timeout=120_000)
            page.wait_for_selector(".attnlab-desk[data-estimates=ready]", timeout=120_000)
            selector = "input[data-layer='5'][data-head='3']"
            page.evaluate(_WATCH, selector)
            page.locator(selector).focus()
            page.wait_for_timeout(1500)
            for press in range(20):  # from 0.95 to 0: never back to neutral, which is known already
                page.keyboard.press("ArrowLeft")
                last = "measured" if press % 4 == 0 else "first"
                page.wait_for_function(f"() => seen['{last}'] && seen.answer", timeout=60_000)
                for name, value in page.evaluate("() => window.seen").items():
                    if value is not None:
                        times[name].append(value)
                page.wait_for_timeout(400)
            browser.close()
    ninety_five = float(np.percentile(times["answer"], 95))
    return [
        row(
            "desk.first_number_ms",
            statistics.median(times["answer"]),
            "ms, key press to the sentence's new prediction",
            times["answer"],
        ),
        row(
            "desk.first_number_p95_ms",
            ninety_five,
            "ms, likewise, 95th percentile",
            times["answer"],
        ),
        row(
            "desk.estimate_ms",
            statistics.median(times["first"]),
            "ms, key press to the first-order estimate of accuracy",
            times["first"],
        ),
        row(
            "desk.measured_ms",
            statistics.median(times["measured"]),
            "ms, key press to accuracy on 1,000 sentences",
            times["measured"],
        ),
    ]


def measure_accuracy() -> list[Row]:
    """Accuracy of our adapter and of a bag of words, on the same sentences."""
    splits = al.datasets.load("movie-sentiment")
    clf = al.load_classifier("movie-sentiment")
    rows = []
    words = al.evaluation.bag_of_words(splits.train)
    for part in ("dev", "test"):
        data = getattr(splits, part)
        for name, answers in (
            ("adapter", al.Evaluator(clf, data).score().predictions),
            ("tfidf", words.predict(data.texts)),
        ):
            right = (np.array(answers) == np.array(data.labels)).astype(float)
            rows.append(accuracy(f"movie-sentiment.{name}.{part}_accuracy", right))
    return rows


AREAS = {
    "import": measure_import,
    "view": measure_view,
    "engine": engine.measure,
    "desk": measure_desk,
    "accuracy": measure_accuracy,
    "finetune": finetuning.measure_speed,
    "balance": balancing.measure,
    "tuner": recovery.measure,
    "compression": compressing.measure,
    "translation": lambda: [*translating.measure(), *translators.measure()],
    "language": lambda: [*speaking.measure(), *generating.measure(), *looking.measure()],
    "phone": phoning.measure,
    "hub": crowding.measure,
    "gpu": lambda: [
        *finetuning.measure_gpu(),
        *engine.measure_gpu(),
        *translators.measure_gpu(),
    ],
    "scores": finetuning.measure_scores,
    "economics": economising.measure,
    "dates": economising_dates.measure,
    "vision": lambda: [*seeing.measure(), *seeing_scenes.measure(), *seeing_icons.measure()],
    "vision-models": seeing_models.measure,
    "language-models": speaking_models.measure,
    "applications": lambda: [
        *applying_feedback.measure_feedback(),
        *applying_news.measure_news(),
        *applying_appliances.measure_appliances(),
        *applying_recommending.measure(),
        *applying_reading.measure(),
        *spreading.measure(),
    ],
    "adaptive": lambda: [
        *serving.measure(),
        *narrowing.measure(),
        *adapting.measure(),
        *disturbing.measure(),
    ],
}
LONG = (
    "hub",
    "scores",
    "compression",
    "economics",
    "dates",
    "vision",
    "vision-models",
    "adaptive",
    "applications",
    "language-models",
)


def machine() -> Row:
    name, _ = cpu()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": name, "cores": psutil.cpu_count(logical=False) or os.cpu_count(), "gpu": gpu}


def merge(rows: list[Row], area: str) -> None:
    """Put these rows into results.json in place of older ones of the same name."""
    versions = {
        name: importlib.metadata.version(name).split("+")[0]
        for name in ("torch", "transformers", "attnlab")
    }
    facts = {
        "command": f"make bench AREA={area}",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions,
    }
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    # rows that this area no longer measures go too
    kept = [one for one in old if one["command"] != facts["command"]]
    names = {one["name"] for one in rows}
    kept = [one for one in kept if one["name"] not in names]
    merged = sorted(kept + [one | facts for one in rows], key=lambda one: str(one["name"]))
    atomic_write(RESULTS, (json.dumps(merged, indent=1) + "\n").encode())


def write_cards() -> None:
    """Write each adapter's card from its record and from results.json."""
    results = {one["name"]: one for one in json.loads(RESULTS.read_text())}
    for name, folder in al.classification.adapters().items():
        record = json.loads((folder / "attnlab.json").read_text())
        lines = [
            f"# {name}",
            "",
            f"A LoRA adapter of the bundled encoder `{record['base']}` (all-MiniLM-L6-v2) for the "
            f"labels {', '.join(record['label_names'])}; {record['trainable_parameters']:,} "
            f'trained parameters. Load it with `al.load_classifier("{name}")`.',
            "",
            "Made with",
            "",
            f"    {record['command']}",
            "",
            f"seed {record['seed']}, "
            + ", ".join(f"{key} {value}" for key, value in record["versions"].items())
            + ".",
            "",
            "| | dev | test |",
            "| --- | --- | --- |",
        ]
        for method, label in (
            ("adapter", "this adapter"),
            ("tfidf", "tf-idf + logistic regression"),
        ):
            cells = []
            for part in ("dev", "test"):
                one = results.get(f"{name}.{method}.{part}_accuracy")
                cells.append(
                    f"{one['value']:.1%} ± {one['stderr']:.1%} (n = {one['n']:,})"
                    if one
                    else "not measured"
                )
            lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
        lines += [
            "",
            "± is the standard error. The epoch kept is the best on dev.",
            "",
        ]
        rounded = " ".join(
            f"{row['epoch']:.0f}: {row['dev_accuracy']:.1%}" for row in record["history"]
        )
        lines += [f"Dev accuracy by epoch, as seen in training: {rounded}.", ""]
        lines += [record["remark"], ""] if record.get("remark") else []
        lines += ["Card written by `make bench AREA=accuracy`.", ""]
        atomic_write(folder / "README.md", "\n".join(lines).encode())


def main() -> None:
    areas = sys.argv[1:] or [name for name in AREAS if name not in LONG]
    unknown = set(areas) - set(AREAS)
    if unknown:
        sys.exit(f"There is no area {', '.join(unknown)}. Areas: {', '.join(AREAS)}")
    table = Table("figure", "value", "low", "high", "n", "unit", box=None)
    for area in areas:
        rows = AREAS[area]()
        merge(rows, area)
        for one in rows:
            keys = ("value", "low", "high")
            numbers = [f"{one[key]:.4g}" if one.get(key) is not None else "–" for key in keys]
            table.add_row(
                str(one["name"]), *numbers, str(one.get("n", one.get("why"))), str(one["unit"])
            )
    write_cards()
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
