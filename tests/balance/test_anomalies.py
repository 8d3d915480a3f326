"""Anomalies: unlike heads, kinds of heads, and planted stretches, found where they were planted."""

import numpy as np
import pandas as pd
import pytest
import torch
from each_step import EachStep
from scipy import stats

import attnlab as al
from attnlab import balance, heads
from attnlab.balance.anomalies import clusters, outliers
from attnlab.balance.control_chart import bands, episodes
from attnlab.balance.reading import Balance
from attnlab.balance.recorder import Recorder
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError

LAYERS, HEADS, STEPS, EVERY = 6, 12, 40, 5


def reading(layers=LAYERS, per_layer=HEADS, **measures):
    """A Balance with these values, each (L, H), over all tokens and by weights."""
    layer, head = (axis.ravel() for axis in np.indices((layers, per_layer)))
    rows = [
        pd.DataFrame({"layer": layer, "head": head, "measure": name, "mean": np.ravel(values)})
        for name, values in measures.items()
    ]
    table = pd.concat(rows).assign(
        tokens="all", by="weights", std=0.0, adjusted=0.0, slope=0.0, n=9
    )
    by = np.where(table["measure"] == "contribution", "contributions", "weights")
    return Balance(table.assign(by=by), 0.5, {}, layers, per_layer, 9, 99)


@pytest.fixture(scope="module")
def read(clf, some):
    return balance.measure(clf, some.texts)


# ── over heads ─────────────────────────────────────────────────────────────────────────────────


def test_heads_unlike_the_others_are_named_the_farthest_first():
    values = np.random.default_rng(0).normal(0.5, 0.01, (LAYERS, HEADS))
    values[2, 3], values[4, 7] = 0.9, 0.3
    silent = np.ones((LAYERS, HEADS))
    silent[1, 1] = 0
    found = outliers(reading(entropy=values, contribution=silent + values))
    assert found[["layer", "head", "measure"]].to_numpy().tolist()[:2] == [
        [1, 1, "contribution"],
        [2, 3, "entropy"],
    ]
    first = found[found["measure"] == "entropy"].iloc[0]
    x = np.arcsin(np.sqrt(values))
    above = np.sort((x - np.median(x))[x > np.median(x)])  # 36 heads, as 72 have no middle one
    unit = np.quantile(above, 0.75) / stats.norm.ppf(0.875)
    assert first["z"] == pytest.approx((x[2, 3] - np.median(x)) / unit, rel=1e-4)
    assert (first["value"], first["median"]) == pytest.approx((0.9, np.median(values)))
    assert found["z"].abs().is_monotonic_decreasing
    assert (4, 7) in {(one.layer, one.head) for one in found.itertuples()}
    assert len(outliers(reading(entropy=values), threshold=1e9)) == 0
    assert list(outliers(reading(entropy=values), threshold=1e9)) == list(found)


SMOOTH = {
    "normal": lambda generator, n: generator.normal(0.5, 0.1, n).clip(0, 1),
    "most near 0": lambda generator, n: generator.beta(0.5, 8, n),
    "fewer near 0": lambda generator, n: generator.beta(1, 10, n),
    "a long tail": lambda generator, n: generator.lognormal(-3, 1, n).clip(0, 0.99),
}


SHARES = ("entropy", "largest", "gini", "cls", "sep", "punctuation", "self", "previous")


@pytest.mark.parametrize("heads", [10, 72])
@pytest.mark.parametrize("name", SMOOTH)
def test_of_smooth_values_about_one_in_a_hundred_is_flagged_and_a_strange_one_found(name, heads):
    generator, rounds = np.random.default_rng(0), 5
    false = plain = found = 0
    for _ in range(rounds):
        values = {share: SMOOTH[name](generator, (1, heads)) for share in SHARES}
        false += len(outliers(reading(1, heads, **values)))
        far = [np.abs(one - np.median(one)) for one in values.values()]
        plain += sum((one > 3.5 * 1.4826 * np.median(one)).sum() for one in far)
        for one in values.values():
            one[0, 0] = 0.97
        found += (outliers(reading(1, heads, **values))["head"] == 0).sum()
    runs = rounds * len(SHARES)
    assert false <= 0.02 * runs * heads
    assert found >= 0.75 * runs
    if "0" in name or "tail" in name:  # what shares as they are and one ruler would flag
        assert plain > 2 * false


def test_where_most_heads_measure_the_same_the_odd_one_is_still_named():
    values = np.full((LAYERS, HEADS), 0.25)
    assert len(outliers(reading(entropy=values))) == 0
    values[0, 5] = 0.75
    found = outliers(reading(entropy=values))
    assert found[["layer", "head"]].to_numpy().tolist() == [[0, 5]]
    assert np.isfinite(found["z"]).all()


def test_removed_heads_are_no_outliers_and_belong_to_no_cluster(clf, some):
    gone = [(0, 3), (5, 1)]
    read = balance.measure(heads.prune(clf, gone), some.texts)
    found, kinds = outliers(read, 0.0), clusters(read)
    for table in (found, kinds.table):
        assert not set(gone) & set(zip(table["layer"], table["head"], strict=True))
    assert len(kinds.table) == 70
    assert np.isfinite(found["z"]).all()


def three_kinds(seed=0):
    """Heads on [CLS], on the token before, and evenly everywhere: which is which, and a reading."""
    generator = np.random.default_rng(seed)
    kind = generator.permutation(np.repeat([0, 1, 2], [40, 20, 12])).reshape(LAYERS, HEADS)
    levels = {"entropy": (0.3, 0.2, 0.9), "cls": (0.7, 0.1, 0.1), "previous": (0.1, 0.8, 0.1)}
    measures = {
        name: np.take(level, kind) + generator.normal(0, 0.02, kind.shape)
        for name, level in levels.items()
    }
    return kind.ravel(), reading(**measures)


def test_three_kinds_of_heads_are_told_apart():
    kind, read = three_kinds()
    found = clusters(read)
    assert found.k == 3
    assert found.table["cluster"].tolist() == kind.tolist()  # the largest first
    assert found.silhouettes[3] == max(found.silhouettes.values())
    assert list(found.silhouettes) == list(range(2, 9))
    assert all("cls" in one for one in found.names[:1])
    assert "high previous" in found.names[1]
    typical = found.table[found.table["typical"]]
    assert sorted(typical["cluster"]) == [0, 1, 2]
    for one in typical.itertuples():  # near the middle of its own on the map
        own = found.table[found.table["cluster"] == one.cluster][["x", "y"]]
        far = np.linalg.norm(own - own.mean(), axis=1)
        assert np.hypot(one.x - own["x"].mean(), one.y - own["y"].mean()) <= np.median(far)
    again = clusters(read)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert clusters(read, k=2).k == 2


def test_one_wild_head_does_not_hide_the_kinds_of_the_others():
    kind, read = three_kinds()
    table = read.table.copy()
    table.loc[7, "mean"] = 50.0
    found = clusters(Balance(table, 0.5, {}, LAYERS, HEADS, 9, 99)).table["cluster"].to_numpy()
    others = np.arange(72) != 7
    assert (found == kind)[others].all()


def test_real_heads_fall_into_kinds_with_a_typical_member_each(read):
    found = clusters(read)
    assert len(found.table) == 72
    assert found.table["typical"].sum() == found.k == len(found.names)
    assert found.table.groupby("cluster").size().is_monotonic_decreasing


def test_a_number_of_clusters_that_cannot_be_is_refused(read):
    for k in (1, 72, -3):
        with pytest.raises(AttnlabError, match="2 to 71"):
            clusters(read, k=k)
    with pytest.raises(AttnlabError, match="takes four"):
        clusters(reading(1, 3, entropy=np.arange(3.0), cls=np.arange(3.0) ** 2))


# ── over steps ─────────────────────────────────────────────────────────────────────────────────


def series(seed=0, measurements=STEPS):
    """Heads that learn: values (T, L, H) that drift with momentum, and gradients that are noise."""
    generator = np.random.default_rng(seed)
    shape = (measurements, LAYERS, HEADS)
    pace = generator.lognormal(-6, 0.5, (LAYERS, HEADS))
    kicks, drift = generator.normal(0, 1, shape) * pace, np.zeros(shape)
    for at in range(1, measurements):
        drift[at] = 0.9 * drift[at - 1] + kicks[at]
    start = generator.uniform(0.3, 0.7, (LAYERS, HEADS))
    walk = np.cumsum(drift, 0)
    gradient = 0.05 * np.exp(generator.normal(0, 0.4, shape))
    gradient[0] = np.nan
    entropy = (start + walk).clip(0, 1)
    return {
        "entropy": entropy,
        "largest": (1 - entropy + generator.normal(0, 0.002, shape)).clip(0, 1),
        "cls": (0.4 * (1 - entropy)).clip(0, 1),
        "contribution": 2 * np.exp(walk),
        "gradient": gradient,
    }


def tidy(values):
    rows = []
    for name, one in values.items():
        at, layer, head = (axis.ravel() for axis in np.indices(one.shape))
        rows.append(
            pd.DataFrame(
                {
                    "step": at * EVERY,
                    "layer": layer,
                    "head": head,
                    "measure": name,
                    "value": one.ravel(),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


PLANTED = {  # head: kind, measure, first and end (numbers of measurements), values
    (0, 2): ("collapse", "entropy", 12, 20, {"entropy": 0.01, "largest": 0.99, "cls": 0.95}),
    (1, 5): ("spread", "entropy", 15, 22, {"entropy": 1.0, "largest": 0.05, "cls": 0.05}),
    (3, 7): ("dead gradient", "gradient", 18, 30, {"gradient": 1e-9}),
    (4, 0): ("jump", "cls", 20, 33, {"cls": 0.02}),
    (5, 11): ("collapse", "entropy", 30, None, {"entropy": 0.02, "largest": 0.97}),
    (2, 2): ("dead gradient", "contribution", 25, 31, {"gradient": 0.0, "contribution": 1e-6}),
}


def tampered(seed=0):
    values = series(seed)
    for (layer, head), (_, _, first, end, levels) in PLANTED.items():
        for name, level in levels.items():
            values[name][first:end, layer, head] = level
    return values


@pytest.mark.parametrize("seed", range(5))
def test_planted_stretches_are_found_with_kind_start_and_end(seed):
    found = episodes(tidy(tampered(seed))).set_index(["layer", "head"])
    assert found.index.is_unique, "one row for a stretch, in however many measures it shows"
    for place, (kind, _, first, end, _) in PLANTED.items():
        row = found.loc[place]
        assert row["kind"] == kind
        assert row["start"] == first * EVERY
        assert row["end"] == end * EVERY if end else np.isnan(row["end"])
    assert len(found) <= len(PLANTED) + 1


@pytest.mark.parametrize("seed", range(5))
def test_heads_that_learn_are_not_out_of_line(seed):
    found = episodes(tidy(series(seed)))
    assert len(found[["layer", "head"]].drop_duplicates()) <= 0.05 * LAYERS * HEADS


def test_a_head_that_gives_in_slowly_is_followed_and_one_that_breaks_is_not():
    values = series()
    ramp = np.linspace(0.2, 0.8, STEPS)
    values["entropy"][:, 1, 1], values["entropy"][:, 1, 2] = ramp, ramp
    values["entropy"][20:, 1, 2] += 0.2
    found = episodes(tidy({"entropy": values["entropy"]}))
    assert found[["layer", "head", "start"]].to_numpy().tolist() == [[1, 2, 100]]


def test_a_head_that_begins_to_move_as_the_others_do_is_in_line():
    generator = np.random.default_rng(0)
    values = 0.5 + generator.normal(0, 0.02, (STEPS, LAYERS, HEADS))
    values[:20, 2, 4] = 0.5
    assert len(episodes(tidy({"cls": values}))) == 0


def test_what_moves_a_whole_layer_is_not_put_down_to_each_of_its_heads():
    """A lower head tampered with does so; heads that collapse or lose their gradient are named."""
    values, generator = series(), np.random.default_rng(3)
    values["entropy"][20:30, 0, 5] -= 0.25  # the cause
    for layer in (1, 2, 3):
        values["cls"][20:30, layer] += generator.uniform(0.05, 0.12, HEADS)
    values["entropy"][20:30, 2, 4], values["largest"][20:30, 2, 4] = 0.02, 0.98
    values["gradient"][20:30, 3, 6] = 0
    found = episodes(tidy(values)).query("start == 100")
    assert found[["layer", "head", "kind"]].to_numpy().tolist() == [
        [0, 5, "jump"],
        [2, 4, "collapse"],
        [3, 6, "dead gradient"],
    ]
    assert (found["end"] == 150).all()


def test_training_that_breaks_down_is_caught_in_all_layers_at_once():
    values, generator = series(), np.random.default_rng(4)
    collapsed = generator.random((LAYERS, HEADS)) < 0.3
    values["entropy"][25:][:, collapsed], values["largest"][25:][:, collapsed] = 0.01, 0.99
    values["entropy"][25:][:, ~collapsed], values["largest"][25:][:, ~collapsed] = 0.99, 0.05
    values["gradient"][25:] *= 1e-3
    found = episodes(tidy(values)).sort_values(["layer", "head"])
    assert len(found) == LAYERS * HEADS
    assert (found["kind"] == "collapse").to_numpy().tolist() == collapsed.ravel().tolist()


def test_the_row_names_the_measure_that_is_farthest_and_how_far():
    values = tampered()
    table = tidy(values)
    row = episodes(table).set_index(["layer", "head"]).loc[(4, 0)]
    assert row["measure"] == "cls"
    band = bands(table, 4, 0, "cls").set_index("step").loc[100:160]
    half = (band["high"] - band["low"]) / 2
    far = (band["value"] - band["low"] - half).abs() / half
    assert row["strength"] == pytest.approx(far.max())


def test_bands_show_what_was_judged_and_the_value_lies_outside_in_the_stretch_alone():
    table = tidy(tampered())
    for (layer, head), (_, measure, first, end, _) in PLANTED.items():
        band = bands(table, layer, head, measure)
        assert band["step"].tolist() == list(range(0, STEPS * EVERY, EVERY))
        outside = (band["value"] < band["low"]) | (band["value"] > band["high"])
        span = np.zeros(STEPS, bool)
        span[first:end] = True
        assert outside[span].all()
        assert outside[~span].sum() <= 1  # what is back may still be a little outside
        assert band["low"].isna().to_numpy()[:6].all()
        assert band.loc[8:, ["low", "high"]].notna().all(axis=None)
    with pytest.raises(AttnlabError, match=r"no 'entropie'.*entropy"):
        bands(table, 0, 0, "entropie")
    with pytest.raises(AttnlabError, match=r"head \(9, 0\)"):
        bands(table, 9, 0, "entropy")


def test_a_band_is_where_the_head_would_be_if_it_went_on_and_for_gradients_the_median():
    values = series()
    table, at = tidy(values), 25
    for name, slack in (("entropy", np.positive), ("contribution", np.log)):
        line = slack(values[name][: at + 1, 1, 7])
        band = bands(table, 1, 7, name).iloc[at]
        centre = (slack(band["low"]) + slack(band["high"])) / 2
        assert centre == pytest.approx(line[at - 1] + np.median(np.diff(line[at - 4 : at])))
    band = bands(table, 1, 7, "gradient").iloc[at]
    usual = np.median(values["gradient"][at - 5 : at, 1, 7])
    assert (band["low"], band["high"]) == pytest.approx((usual / 50, usual * 50))


def test_the_band_of_a_share_stays_between_0_and_1():
    values = series()
    noise = np.random.default_rng(3).normal(0, 0.02, values["largest"][:, 1, 3].shape)
    values["largest"][:, 1, 3] = (0.97 + noise).clip(0, 1)
    values["cls"][:, 1, 3] = (0.03 + noise).clip(0, 1)
    for name in ("largest", "cls"):
        band = bands(tidy(values), 1, 3, name).dropna()
        assert len(band)
        assert band[["low", "high"]].stack().between(0, 1).all()


def test_a_gradient_is_dead_only_beside_those_of_its_layer_too():
    values = series()
    values["gradient"][:, 2, 2] *= 500
    for head in (2, 3):
        values["gradient"][20:26, 2, head] /= 100
    found = episodes(tidy(values)).set_index(["layer", "head"])
    assert found.loc[(2, 2), "kind"] == "jump"  # it is still larger than the others
    assert found.loc[(2, 3), "kind"] == "dead gradient"


def test_a_head_that_always_was_even_has_not_spread_when_it_jumps():
    values = series()
    values["entropy"][:, 1, 3] = 0.985
    values["cls"][20:25, 1, 3] += 0.3
    row = episodes(tidy(values)).set_index(["layer", "head"]).loc[(1, 3)]
    assert row[["kind", "measure", "start", "end"]].tolist() == ["jump", "cls", 100, 125]


def test_from_one_end_to_the_other_a_head_has_not_come_back():
    values = series()
    usual = values["entropy"][:, 4, 4].copy()
    values["entropy"][15:20, 4, 4], values["entropy"][20:25, 4, 4] = (
        usual[15] - 0.2,
        usual[15] + 0.4,
    )
    row = episodes(tidy(values)).set_index(["layer", "head"]).loc[(4, 4)]
    assert row[["start", "end"]].tolist() == [75, 125]


def test_what_was_found_while_it_ran_still_holds_afterwards():
    table = tidy(tampered())
    whole = episodes(table)
    for until in range(10, STEPS, 3):
        so_far = episodes(table[table["step"] <= until * EVERY])
        over = whole[whole["end"] <= until * EVERY].reset_index(drop=True)
        pd.testing.assert_frame_equal(so_far.dropna().reset_index(drop=True), over)
        begun = whole[whole["start"] <= until * EVERY]
        assert so_far["start"].tolist() == begun["start"].tolist()


def test_few_measurements_are_judged_by_nothing_and_that_is_no_error():
    table = tidy(tampered())
    columns = ["layer", "head", "kind", "start", "end", "strength", "measure"]
    for count in range(8):
        found = episodes(table[table["step"] < count * EVERY])
        assert len(found) == 0
        assert list(found) == columns
        if count:
            band = bands(table[table["step"] < count * EVERY], 0, 0, "entropy")
            assert len(band) == count


def test_what_was_not_measured_is_not_judged():
    values = tampered()
    values["gradient"][:] = np.nan  # LoRA
    for one in values.values():
        one[:, 5, 3] = np.nan  # a head removed for good
    for at in (14, 17):  # just before a stretch, and in the middle of two
        for one in values.values():
            one[at] = np.nan
    found = episodes(tidy(values)).set_index(["layer", "head"])
    assert "dead gradient" not in set(found["kind"])
    assert (5, 3) not in found.index
    assert found.loc[(0, 2), ["kind", "start", "end"]].tolist() == ["collapse", 60, 100]
    assert found.loc[(1, 5), ["kind", "start", "end"]].tolist() == ["spread", 75, 110]


def test_heads_that_hardly_change_are_in_line():
    still = np.random.default_rng(0).uniform(0.1, 0.9, (1, LAYERS, HEADS)).repeat(STEPS, 0)
    still += np.random.default_rng(1).normal(0, 1e-7, still.shape)
    still[20:, 3, 3] += 0.015  # which nobody would see
    assert (
        len(episodes(tidy({"entropy": still, "contribution": still, "gradient": 0 * still}))) == 0
    )


def test_gradients_that_fall_together_and_slowly_have_not_died():
    fading = series()["gradient"] * np.exp(-0.25 * np.arange(STEPS))[:, None, None]
    assert len(episodes(tidy({"gradient": fading}))) == 0


def test_the_order_of_the_rows_does_not_matter_and_a_narrower_band_finds_more():
    table = tidy(tampered())
    found = episodes(table)
    pd.testing.assert_frame_equal(episodes(table.sample(frac=1, random_state=0)), found)
    more = episodes(table, z=1.5)
    places = [set(zip(one["layer"], one["head"], strict=True)) for one in (found, more)]
    assert places[0] < places[1]


def test_a_table_of_another_kind_is_refused():
    table = tidy(series())
    with pytest.raises(AttnlabError, match="no step, value"):
        episodes(table.drop(columns=["step", "value"]))
    with pytest.raises(AttnlabError, match="two values"):
        episodes(pd.concat([table, table.head(3)]))
    with pytest.raises(AttnlabError, match=r"recorder\.table"):
        episodes(Recorder(["a film"]))


def test_a_head_that_fades_away_slowly_has_no_effect_and_one_that_fades_less_is_in_line():
    values, share = series(), np.exp(-0.15 * np.arange(STEPS))
    values["contribution"][:, 1, 1], values["contribution"][:, 1, 2] = 3 * share, 3 * share**0.6
    (row,) = episodes(tidy(values)).query("kind == 'no effect'").itertuples()
    first = np.median(share[:6])
    assert (row.layer, row.head, row.measure) == (1, 1, "contribution")
    assert row.start == EVERY * int(np.argmax(share < first / 50))
    assert np.isnan(row.end)
    assert row.strength == pytest.approx(np.log(first / share[-1]) / np.log(50))


def test_heads_that_fade_away_all_at_once_and_slowly_are_all_named_while_it_lasts():
    values = series()
    values["contribution"][10:30] *= 1e-6
    found = episodes(tidy({"contribution": values["contribution"]}))
    assert set(found["kind"]) == {"no effect"}
    assert len(found) == LAYERS * HEADS
    assert set(zip(found["start"], found["end"], strict=True)) == {(10 * EVERY, 30 * EVERY)}


def test_a_head_that_never_had_an_effect_has_not_lost_it():
    values = series()
    values["contribution"][:, 2, 3] = 0
    assert "no effect" not in set(episodes(tidy(values))["kind"])


def test_attention_that_slowly_becomes_constant_is_named_and_what_always_was_is_not():
    values, time = series(), np.arange(STEPS)
    values["js_uniform"] = np.full_like(values["entropy"], 0.2)
    values["js_uniform"][:, 0, 1] = 0.2 * np.exp(-0.2 * time)
    values["sep"] = np.full_like(values["entropy"], 0.3)
    values["sep"][:, 3, 4] = (0.5 + 0.02 * time).clip(0, 0.995)
    values["sep"][:, 3, 5] = 0.995
    found = episodes(tidy(values)).set_index(["layer", "head"])
    assert found.loc[(0, 1), ["kind", "measure"]].tolist() == ["spread", "js_uniform"]
    assert found.loc[(3, 4), ["kind", "measure", "start"]].tolist() == ["collapse", "sep", 125]
    assert (3, 5) not in found.index


# ── in a real training ─────────────────────────────────────────────────────────────────────────


def test_heads_tampered_with_in_a_real_training_are_caught(movies):
    """One head's query is made large, another's 0, for a few steps; see benchmarks/planted.py."""
    short = sorted(movies.dev.texts[:300], key=len)[40:52]
    recorder, was = Recorder(short, 2), {}
    tampering = {(1, 4): 40.0, (3, 8): 0.0}

    def tamper(run):
        clf, step = run.learner, run.step
        for (layer, head), factor in tampering.items():
            query = heads.sites(clf.model)[layer].module.query
            rows = slice(head * 32, (head + 1) * 32)
            with torch.no_grad():
                for one in (query.weight, query.bias):
                    if step == 22:
                        was[layer, one is query.bias] = one[rows].clone()
                        one[rows] *= factor
                    elif step == 30:
                        one[rows] = was[layer, one is query.bias]

    data = Splits(movies.train.sample(144), movies.dev.sample(8), movies.test.sample(8))
    both = [EachStep(tamper), recorder]
    al.finetune("minilm", data, "frozen-embeddings", epochs=1, batch_size=4, callbacks=both)
    found = episodes(recorder.table).set_index(["layer", "head"])
    assert found.loc[(1, 4), ["kind", "start", "end"]].tolist() == ["collapse", 22, 30]
    assert found.loc[(3, 8), ["kind", "start", "end"]].tolist() == ["spread", 22, 30]
    assert len(found.index.unique()) <= 2 + 0.05 * 72


def test_heads_that_die_in_a_short_training_are_reported(tiny_base, movies):
    """The value of one is made 0, that of another fades; a third one's queries become 0."""
    dead, fading, even = (0, 1), (1, 2), (2, 0)

    def kill(run):
        for layer, head in (dead, fading, even):
            module, rows = (
                heads.sites(run.learner.model)[layer].module,
                slice(8 * head, 8 * head + 8),
            )
            if (layer, head) == fading:
                module.value.weight.data[rows] *= 0.6
                module.value.bias.data[rows] *= 0.6
            elif run.step >= 8:
                linear = module.value if (layer, head) == dead else module.query
                linear.weight.data[rows] = 0
                linear.bias.data[rows] = 0

    recorder = Recorder(["A dull film.", "Fine and funny, all of it."], 1)
    short = [text for text in range(len(movies.train)) if len(movies.train.texts[text]) < 60]
    data = Splits(movies.train.select(short[:64]), movies.dev.sample(8), movies.test.sample(8))
    both = [EachStep(kill), recorder]
    al.finetune(tiny_base, data, "frozen-embeddings", epochs=2, batch_size=8, callbacks=both)
    found = episodes(recorder.table).set_index(["layer", "head"])
    assert found.loc[dead, ["kind", "start"]].tolist() == ["no effect", 8]
    assert found.loc[fading, "kind"] == "no effect"
    assert found.loc[even, ["kind", "start"]].tolist() == ["spread", 8]
    assert np.isnan(found.loc[[dead, fading, even], "end"]).all()
    assert len(found) == 3
