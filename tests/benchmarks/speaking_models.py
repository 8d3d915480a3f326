"""Language models after training: what each size reaches, what each part brings, and how fast.

Every run takes so many steps, whatever the seconds. What a run gave is kept in runs/bench/language
and not trained again: delete it to begin anew. Test tales are read once a run, at its end, by the
model that was best on dev. The model of `GRIMM` is saved with its card.
"""

import json
import statistics
import textwrap
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetuning import RUNS
from rows import Row, row
from seeing import Outcome, kept
from torch import Tensor, nn

import attnlab as al
from attnlab.datasets.tales import Tales
from attnlab.files import atomic_write
from attnlab.language import RECIPES, LanguageModel, to_transformers
from attnlab.language.measuring import token_bits

KEPT = RUNS / "language"
MODELS = Path("data/language-models")
GRIMM = ("longer", 0)  # recipe and seed of the model that comes along
SEEDS = (0, 1, 2)  # of the profile cpu and of its variants
VARIANTS: dict[str, dict[str, Any]] = {  # each changes one thing of the profile cpu
    "learned": {"positions": "learned"},
    "sinusoidal": {"positions": "sinusoidal"},
    "alibi": {"positions": "alibi"},
    "kv-heads-2": {"kv_heads": 2},
    "kv-heads-1": {"kv_heads": 1},
}
SAID = {
    "cpu": "plain: rotary, a head of keys for each",
    "learned": "learned positions",
    "sinusoidal": "sinusoidal positions",
    "alibi": "ALiBi",
    "kv-heads-2": "2 heads of keys",
    "kv-heads-1": "1 head of keys",
}
WINDOW = 64  # test tokens that are drawn together for an interval
ROUNDS, A_ROUND = 15, 6  # of steps, for speed
BITS = "bits per character of the test tales"


def measure() -> list[Row]:
    """All of it, with one thread: about an hour and a half."""
    torch.set_num_threads(1)
    grimm = al.datasets.load_tales("grimm")
    compared = variants(grimm)
    rows = [*profiles(grimm), *compared, *speed()]
    come_along(grimm)
    keep_variants(compared)
    return rows


# ── training ───────────────────────────────────────────────────────────────────────────────────


def outcome(tales: Tales, name: str, seed: int, folder: Path = KEPT) -> Outcome:
    """Train one model and read the test tales with it; unless that was done before.

    Parameters
    ----------
    name : a recipe of `RECIPES`, or a variant of "cpu"
    folder : where outcomes are kept
    """
    return kept(f"{name}.{seed}", lambda: _trained(tales, name, seed, folder), folder)


def recipe(name: str) -> dict[str, Any]:
    """What `al.train_language_model` is given for a recipe or a variant."""
    return RECIPES[name] if name in RECIPES else RECIPES["cpu"] | VARIANTS[name]


def _trained(tales: Tales, name: str, seed: int, folder: Path) -> Outcome:
    start = time.process_time()
    writer = al.train_language_model(tales, seed=seed, **recipe(name))
    seconds = time.process_time() - start
    if (name, seed) == GRIMM:
        writer.save(folder / "grimm")
    history = writer.history
    assert history is not None
    spent = token_bits(writer.model, writer.tokens, tales.test, writer.block_length)
    return {
        "bits": np.concatenate(spent),
        "tales": np.array([len(one) for one in spent]),
        "characters": np.array(sum(map(len, tales.test))),
        "andersen": np.array(writer.bits_per_character(_andersen())),
        "dev": np.array(history.best["dev_bits_per_character"]),
        "train_loss": np.array([one["train_loss"] for one in history.rows]),
        "dev_loss": np.array([one["dev_loss"] for one in history.rows]),
        "seconds": np.array(seconds),
        "parameters": np.array(sum(weight.numel() for weight in writer.model.parameters())),
    }


@cache
def _andersen() -> list[str]:
    return list(al.datasets.load_tales("andersen").test)


def bits(run: Outcome) -> float:
    """Bits per character of the test tales."""
    return float(run["bits"].sum() / run["characters"])


def in_windows(run: Outcome) -> np.ndarray:
    """The same, each window's share of it, so that the mean of all is `bits`: (W,)."""
    tales = np.split(run["bits"], np.cumsum(run["tales"])[:-1])
    sums = np.concatenate([np.add.reduceat(one, range(0, len(one), WINDOW)) for one in tales])
    return sums * len(sums) / float(run["characters"])


# ── rows ───────────────────────────────────────────────────────────────────────────────────────


def profiles(tales: Tales, folder: Path = KEPT) -> list[Row]:
    """What the other recipes reach with one seed; "cpu" stands among the variants."""
    rows = []
    for name in RECIPES:
        if name != "cpu":
            rows += _reached(f"language.{name}", [outcome(tales, name, 0, folder)])
    return rows


def variants(tales: Tales, folder: Path = KEPT) -> list[Row]:
    """Recipe "cpu", and each variant after the same steps beside it, on the same windows."""
    plain = [outcome(tales, "cpu", seed, folder) for seed in SEEDS]
    rows = _reached("language.cpu", plain)
    found = {}
    for name in VARIANTS:
        found[name] = [outcome(tales, name, seed, folder) for seed in SEEDS]
        rows += _reached(f"language.{name}", found[name])
        rows.append(_difference(f"language.{name}.minus_cpu", found[name], plain))
    rows += [_cache_bytes(name, tales) for name in ("cpu", *VARIANTS)]
    between = (found["learned"], found["sinusoidal"])
    return [*rows, _difference("language.learned.minus_sinusoidal", *between)]


def keep_variants(rows: Sequence[Row], models: Path = MODELS) -> None:
    """Write what `al.language.variants` shows."""
    by_name = {str(one["name"]).removeprefix("language."): one for one in rows}
    table = []
    for name in ("cpu", *VARIANTS):
        change = by_name.get(f"{name}.minus_cpu", {"value": 0.0, "low": 0.0, "high": 0.0})
        table.append(
            {
                "variant": SAID[name],
                "bits": by_name[f"{name}.test_bits"]["value"],
                "difference": change["value"],
                "low": change["low"],
                "high": change["high"],
                "cache_bytes": by_name[f"{name}.cache_bytes"]["value"],
            }
        )
    atomic_write(models / "variants.json", (json.dumps(table, indent=1) + "\n").encode())


def _reached(name: str, runs: Sequence[Outcome]) -> list[Row]:
    """Bits on test, of another author, on dev; nats a token in training; seconds."""
    by_seed = [bits(run) for run in runs]
    shares = np.array([in_windows(run) for run in runs])
    low, high = _interval(shares)
    seconds = [float(run["seconds"]) for run in runs]
    said = {"by_seed": by_seed, "parameters": int(runs[0]["parameters"])}
    return [
        row(
            f"{name}.test_bits",
            statistics.mean(by_seed),
            BITS,
            low=low,
            high=high,
            n=shares.shape[1],
            cpu_seconds=round(statistics.mean(seconds), 1),
            **said,
        ),
        row(
            f"{name}.andersen_bits",
            statistics.mean(float(run["andersen"]) for run in runs),
            "bits per character of tales by another author; low and high are of seeds",
            [float(run["andersen"]) for run in runs],
        ),
        row(
            f"{name}.dev_bits",
            statistics.mean(float(run["dev"]) for run in runs),
            "bits per character of the dev tales, by which the best was chosen; likewise",
            [float(run["dev"]) for run in runs],
        ),
        row(
            f"{name}.last_train_loss",
            statistics.mean(float(run["train_loss"][-1]) for run in runs),
            "nats a token, with dropout, over the last steps; likewise",
            [float(run["train_loss"][-1]) for run in runs],
        ),
    ]


def _difference(name: str, after: Sequence[Outcome], before: Sequence[Outcome]) -> Row:
    """How many bits more the first runs need than the second ones, seed by seed."""
    changes = np.array(
        [in_windows(one) - in_windows(other) for one, other in zip(after, before, strict=True)]
    )
    low, high = _interval(changes)
    return row(
        name,
        float(changes.mean()),
        f"{BITS}, difference; windows and seeds are drawn again for the interval",
        low=low,
        high=high,
        n=changes.shape[1],
        by_seed=changes.mean(1).tolist(),
    )


def _interval(values: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean of (seeds, windows): both are drawn again, with replacement."""
    generator = np.random.default_rng(0)
    seeds, windows = values.shape
    means = np.empty(draws)
    for draw in range(draws):
        rows = generator.integers(0, seeds, seeds)
        columns = generator.integers(0, windows, windows)
        means[draw] = values[rows].mean(0)[columns].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _cache_bytes(name: str, tales: Tales) -> Row:
    """What keys and values of one window of tokens take."""
    options = recipe(name)
    named = ("d_model", "layers", "kv_heads", "window")
    size = {key: options[key] for key in named if key in options}
    model = LanguageModel(options["vocabulary"], **size).eval()
    kept_keys = model.cache()
    with torch.inference_mode():
        model(torch.zeros(1, WINDOW, dtype=torch.long), cache=kept_keys)
    return row(f"language.{name}.cache_bytes", kept_keys.bytes, f"bytes at {WINDOW} tokens")


# ── speed ──────────────────────────────────────────────────────────────────────────────────────

GPT2 = {"positions": "learned", "feed_forward": "gelu_tanh", "max_length": 64}
LIKE = {  # models that Transformers has, too, as large as the profile cpu
    "gpt2": GPT2 | {"dropout": 0.0},
    "llama": {"norm": "rms", "feed_forward": "swiglu", "bias": False, "dropout": 0.0},
    "gpt2_dropout": GPT2,  # ours drops inside the feed-forward network, too; theirs does not
}


def speed(rounds: int = ROUNDS, a_round: int = A_ROUND) -> list[Row]:
    """Training steps of our model and of the same out of Transformers, in turn."""
    rows = []
    options = RECIPES["cpu"]
    size = {key: options[key] for key in ("d_model", "layers", "dropout") if key in options}
    batch, length = options.get("batch_size", 8), options.get("block_length", 64)
    ids = torch.randint(options["vocabulary"], (batch, length + 1))
    for kind, like in LIKE.items():
        torch.manual_seed(0)
        ours = LanguageModel(options["vocabulary"], **size | like).train()
        theirs = to_transformers(ours).train()
        sides = {
            "ours": _stepping(ours, ours, ids),
            "transformers": _stepping(theirs, lambda x, model=theirs: model(x).logits, ids),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for index in range(rounds + 2):
            for name in sorted(sides, reverse=index % 2 == 1):
                start = time.perf_counter()
                for _ in range(a_round):
                    sides[name]()
                if index > 1:  # the first rounds warm up
                    seconds = time.perf_counter() - start
                    rates[name].append(batch * length * a_round / seconds)
        medians = {name: statistics.median(own) for name, own in rates.items()}
        pairs = zip(rates["ours"], rates["transformers"], strict=True)
        ratios = [own / other for own, other in pairs]
        rows.append(
            row(
                f"language.training.speedup_{kind}",
                medians["ours"] / medians["transformers"],
                "x training tokens/s of the same model of Transformers, ratio of medians, "
                f"{torch.get_num_threads()} threads; low and high are quartiles of rounds",
                low=float(np.quantile(ratios, 0.25)),
                high=float(np.quantile(ratios, 0.75)),
                n=rounds,
            )
        )
        rows += [
            row(f"language.training.{kind}.{name}", medians[name], "training tokens/s", own)
            for name, own in rates.items()
        ]
    return rows


def _stepping(
    model: nn.Module, logits: Callable[[Tensor], Tensor], ids: Tensor
) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        found = logits(ids[:, :-1])
        nn.functional.cross_entropy(found.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()

    return step


# ── what comes along ───────────────────────────────────────────────────────────────────────────


def come_along(tales: Tales, folder: Path = KEPT, models: Path = MODELS) -> None:
    """Save the model of `GRIMM`, with its card."""
    name, seed = GRIMM
    run = outcome(tales, name, seed, folder)
    writer = al.load_language_model(folder / "grimm")
    writer.save(models / "grimm")
    options = ", ".join(f"{key}={value}" for key, value in recipe(name).items())
    called = textwrap.fill(f"seed={seed}, {options},", 88, subsequent_indent=" " * 8)
    history = writer.history
    assert history is not None
    card = f"""# grimm

{writer!r}, trained from nothing on {len(tales.train)} tales of the brothers Grimm in English,
`al.datasets.load_tales("grimm")`. Load it with `al.load_language_model("grimm")`.

Made with `make bench AREA=language-models`, which runs

    al.train_language_model(
        al.datasets.load_tales("grimm"),
        {called}
    ).save("data/language-models/grimm")

Dev was measured {len(history.rows)} times; number {history.best["epoch"]:.0f} was the best.

| whole tales | bits per character |
| --- | --- |
| dev ({len(tales.dev)} tales) | {float(run["dev"]):.3f} |
| test ({len(tales.test)} tales) | {bits(run):.3f} |
| three tales by Andersen | {float(run["andersen"]):.3f} |

It reads {writer.block_length} tokens at once. It knows the words of these tales and nothing of the
world: what it writes is no information.
"""
    atomic_write(models / "grimm" / "README.md", card.encode())
