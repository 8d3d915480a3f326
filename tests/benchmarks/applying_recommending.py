"""Recommendation: one model under three protocols, beside popularity and neighbours."""

import time

import numpy as np
from rows import Row, row

from attnlab import applications, datasets
from attnlab.statistics import paired_bootstrap

SEEDS = range(3)
_OUT = 40  # people from whose histories items are taken out


def measure() -> list[Row]:
    """Rows of `make bench AREA=applications`; test is opened here, once for each seed."""
    films = datasets.load_histories("films")
    start = time.perf_counter()
    models = [applications.Recommender.train(films, seed=seed) for seed in SEEDS]
    seconds = (time.perf_counter() - start) / len(models)
    fixed = {
        "popularity": applications.by_popularity(films),
        "neighbours": applications.by_neighbours(films, recent=10),
    }
    rows = [row("applications.recommend.seconds", seconds, "s of training, one seed")]
    for protocol in ("full", "sampled", "shuffled"):
        ranks = {
            name: [applications.rank_targets(scorer, films, "test", protocol)]
            for name, scorer in fixed.items()
        }
        ranks["attention"] = [
            applications.rank_targets(model.scores, films, "test", protocol) for model in models
        ]
        for name, runs in ranks.items():
            rows += _quality(f"applications.recommend.{protocol}.{name}", runs)
        for name in fixed:
            more = _hits(ranks["attention"]) - _hits(ranks[name])
            rows.append(_mean(f"applications.recommend.{protocol}.attention_over_{name}", more))
    return [*rows, *_explained(models[0], films)]


def _hits(runs: list[np.ndarray]) -> np.ndarray:
    """For each person the share of runs in which the item is among the first ten."""
    return np.mean([applications.recommending.hits(ranks) for ranks in runs], axis=0)


def _quality(name: str, runs: list[np.ndarray]) -> list[Row]:
    ndcg = np.mean([applications.recommending.ndcg(ranks) for ranks in runs], axis=0)
    return [
        _mean(f"{name}.hit_rate", _hits(runs)),
        _mean(f"{name}.ndcg", ndcg, "NDCG at 10, mean over people"),
    ]


def _mean(
    name: str, values: np.ndarray, unit: str = "share of people, hit rate at 10, test"
) -> Row:
    low, high = paired_bootstrap(values)
    return row(name, float(values.mean()), unit, n=len(values), low=float(low), high=float(high))


def _explained(model: applications.Recommender, films: datasets.Histories) -> list[Row]:
    """Is the past item that is looked at most missed more than one drawn at random?"""
    rng = np.random.default_rng(0)
    more, agree = [], []
    for person in rng.permutation(len(films))[:_OUT]:
        past = [films.items[number] for number in films.before("test")[person]]
        told = model.explain(past, model.recommend(past, 1)[0])
        looked = told["missed"].to_numpy()[int(told["attention"].to_numpy().argmax())]
        more.append(looked - told["missed"].mean())
        agree.append(told[["attention", "missed"]].corr("spearman").iloc[0, 1])
    return [
        _mean(
            "applications.recommend.missed_over_random",
            np.array(more),
            "nats, log-probability lost without the item looked at most, above the mean of all",
        ),
        _mean(
            "applications.recommend.attention_and_missed",
            np.nan_to_num(np.array(agree)),
            "rank correlation over past items, mean of people",
        ),
    ]
