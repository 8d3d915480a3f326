"""The translator of dates inside limits: fewest parameters that keep 99 % exact, by three routes.

Heads that close behind L0 gates, heads removed by how much they are missed and then retrained, and
other sizes trained from nothing; beside them weight decay, which makes weights small and no cost.
Everything is chosen on dev; test is opened once, for what each route chose. Models are kept in
runs/bench/dates and not trained again: delete it to begin anew.
"""

from collections.abc import Callable, Iterator

from finetuning import RUNS
from rows import Row, accuracy, row

import attnlab as al
from attnlab import economics, translation
from attnlab.datasets.splits import Splits
from attnlab.translation.translator import Translator

KEPT = RUNS / "dates"
KEEP = 0.99  # exact match on dev
EPOCHS = 3  # of training with gates, of retraining without some heads, and of weight decay
PENALTIES = (0.01, 0.03, 0.06, 0.1)
COUNTS = (16, 12, 9, 6, 4)  # heads that stay, of 24
DECAYS = (0.01, 1.0, 10.0)
LIMITS = (60_000, 42_000, 32_000, 26_000)  # parameters
SEARCH = {"tries": 3, "short": 1, "epochs": 8, "learning_rate": 5e-3}
PAIRS = 100  # on which it is measured how much a head is missed
TOKENS = {"tokens": 15, "target_tokens": 11}  # of the mean date and of its translation


def measure() -> list[Row]:
    """All routes; some fourteen minutes on two cores."""
    return measured(al.load_translator("dates"), al.datasets.load("dates"))


def measured(whole: Translator, splits: Splits, **sizes: object) -> list[Row]:
    """The rows for a trained translator; ``sizes`` are what `train_within` may choose from."""
    routes = {
        "gates": _closed(whole, splits),
        "pruned": _pruned(whole, splits),
        "sizes": _sized(splits, **sizes),
    }
    rows = _of("whole", whole, splits)
    for route, found in routes.items():
        best = whole
        for name, translator in found:
            own = _of(f"{route}.{name}", translator, splits)
            rows += own
            enough = _exact(own) >= KEEP
            if enough and _parameters(translator) < _parameters(best):
                best = translator
            if not enough and route != "gates":
                break  # what is smaller still would not do either
        rows += _chosen(route, best, splits)
    return [*rows, *_decayed(whole, splits)]


# ── routes, the largest model first ────────────────────────────────────────────────────────────


def _closed(whole: Translator, splits: Splits) -> Iterator[tuple[str, Translator]]:
    """Weights and gates trained together, at several prices of a head."""
    for penalty in PENALTIES:
        yield (
            str(penalty),
            _kept(
                f"gates-{penalty}",
                lambda penalty=penalty: economics.close_heads(
                    whole, splits, penalty, epochs=EPOCHS
                ),
            ),
        )


def _pruned(whole: Translator, splits: Splits) -> Iterator[tuple[str, Translator]]:
    """The heads that are missed least are removed, and the others retrained."""
    some, cut = splits.train.sample(PAIRS), whole
    for count in COUNTS:
        name = f"pruned-{count}"
        cut = _kept(name, lambda cut=cut, count=count: economics.keep_heads(cut, some, count))
        yield (
            f"{count}",
            _kept(
                f"{name}-retrained",
                lambda cut=cut: translation.fit(cut, splits, epochs=EPOCHS, learning_rate=1e-3),
            ),
        )


def _sized(splits: Splits, **sizes: object) -> Iterator[tuple[str, Translator]]:
    """Other sizes, from nothing."""
    for limit in LIMITS:
        budget = economics.Budget(parameters=limit, tokens=TOKENS["tokens"])
        yield (
            str(limit),
            _kept(
                f"sizes-{limit}",
                lambda budget=budget: economics.train_within(splits, budget, **SEARCH | sizes).best,
            ),
        )


def _kept(name: str, make: Callable[[], Translator]) -> Translator:
    """The translator of this name, as it was saved; made and saved if there is none."""
    path = KEPT / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make().save(path)
    return al.load_translator(path)


# ── rows ───────────────────────────────────────────────────────────────────────────────────────


def _of(name: str, translator: Translator, splits: Splits) -> list[Row]:
    """What a translator costs, and its exact match on dev."""
    start, right = f"economics.dates.{name}", translation.exact_match(translator, splits.dev)
    return [
        accuracy(f"{start}.dev_exact_match", right),
        row(f"{start}.parameters", _parameters(translator), "parameters"),
        row(f"{start}.heads", _heads(translator), "heads"),
    ]


def _exact(rows: list[Row]) -> float:
    value = rows[0]["value"]
    assert isinstance(value, float)
    return value


def _chosen(route: str, translator: Translator, splits: Splits) -> list[Row]:
    """The fewest parameters of a route, and its exact match on test."""
    start, size = f"economics.dates.{route}.chosen", translator.model.size
    told = {name: size[name] for name in ("d_model", "heads", "feed_forward")}
    told |= {name: size[name] for name in ("encoder_layers", "decoder_layers")}
    return [
        row(f"{start}.parameters", _parameters(translator), "parameters", **told),
        row(f"{start}.heads", _heads(translator), "heads"),
        row(f"{start}.flops", economics.flops(size, **TOKENS), "FLOPs of a mean pair"),
        accuracy(f"{start}.exact_match", translation.exact_match(translator, splits.test)),
    ]


def _decayed(whole: Translator, splits: Splits) -> list[Row]:
    """How far weight decay shrinks the norm, and what that saves: nothing."""
    rows, norm = [], economics.cost(whole, measured=False).l2
    for decay in DECAYS:
        one = _kept(
            f"decay-{decay}",
            lambda decay=decay: translation.fit(
                whole, splits, epochs=EPOCHS, learning_rate=1e-3, weight_decay=decay
            ),
        )
        rows += _of(f"decay.{decay}", one, splits)
        share = economics.cost(one, measured=False).l2 / norm
        rows.append(row(f"economics.dates.decay.{decay}.l2", share, "of the whole's L2 norm"))
        operations = economics.flops(one.model.size, **TOKENS)
        rows.append(row(f"economics.dates.decay.{decay}.flops", operations, "FLOPs of a mean pair"))
    return rows


def _parameters(translator: Translator) -> int:
    return economics.parameters(translator.model.size)


def _heads(translator: Translator) -> int:
    return sum(len(own) for layers in translator.model.active.values() for own in layers)
