"""A classifier of series sees when something happens, and says which moments it used."""

import numpy as np
import pytest
import torch

from attnlab import applications, datasets
from attnlab.applications import appliances
from attnlab.cli import main
from attnlab.errors import DataError, ModelError

PATCH, PATCHES = 8, 6
SMALL = {"patch": PATCH, "patches": PATCHES, "d_model": 16, "heads": 2, "dropout": 0.0}


def ramps(count=160, seed=0):
    """A ramp up or down in one patch: the four numbers are the same, and no other patch tells."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for number in range(count):
        values = 0.05 * rng.normal(size=PATCH * PATCHES)
        place = PATCH * int(rng.integers(PATCHES))
        ramp = np.linspace(-3, 3, PATCH)
        values[place : place + PATCH] += ramp[::-1] if number % 2 else ramp
        series.append(values.astype(np.float32))
        labels.append(number % 2)
    return datasets.SeriesDataset(series, labels, ["up", "down"], "ramps")


def place_of_ramp(values):
    return int(np.abs(values).reshape(PATCHES, PATCH).sum(1).argmax())


def three_parts(data):
    count = len(data)
    return datasets.Splits(
        data.select(range(count // 2)),
        data.select(range(count // 2, 3 * count // 4)),
        data.select(range(3 * count // 4, count)),
    )


@pytest.fixture(scope="module")
def learned():
    splits = three_parts(ramps())
    classifier = applications.SeriesClassifier.train(
        splits, steps=60, batch_size=32, learning_rate=5e-3, model=SMALL
    )
    return splits, classifier


def test_it_tells_apart_what_four_numbers_cannot(learned):
    splits, classifier = learned
    table = applications.series_table(
        {"forest": applications.by_forest(splits.train, 50), "attention": classifier.predict},
        splits.test,
    ).set_index("way")
    assert table.loc["attention", "accuracy"] > 0.9
    assert table.loc["attention", "accuracy"] == pytest.approx(table.loc["attention", "balanced"])
    assert table.loc["forest", "accuracy"] < 0.85
    assert table.loc["attention", "more_low"] > 0
    assert table.loc["forest", ["more", "more_low", "more_high"]].tolist() == [0, 0, 0]


def test_the_moment_that_decides_is_found_by_hiding_it(learned):
    splits, classifier = learned
    at_ramp, elsewhere = [], []
    for values in splits.test.series:
        told, place = classifier.explain(values), place_of_ramp(values)
        assert told["start"].tolist() == [PATCH * number for number in range(PATCHES)]
        assert told["end"].iloc[-1] == PATCH * PATCHES
        assert told["attention"].between(0, 1).all() and told["attention"].sum() < 1 + 1e-5
        at_ramp.append(told["missed"][place])
        elsewhere.append(told["missed"].drop(place).abs().mean())
    assert np.mean(at_ramp) > np.mean(elsewhere) + 0.4  # a guess costs 0.69 nats


def test_patches_that_matter_change_more_than_random_ones_and_others_less(learned, monkeypatch):
    splits, classifier = learned
    places = np.array([place_of_ramp(values) for values in splits.test.series])
    at_ramp, beside = np.eye(PATCHES)[places], np.eye(PATCHES)[(places + 1) % PATCHES]
    found = []
    for pointed in (at_ramp, beside):
        monkeypatch.setattr(classifier, "attend", lambda series, pointed=pointed: pointed)
        found.append(applications.removal_table(classifier, splits.test, count=1))
    assert [len(table) for table in found] == [len(splits.test)] * 2
    np.testing.assert_allclose(found[0]["missed_random"], found[1]["missed_random"])
    matters, matters_not = (table["missed"] - table["missed_random"] for table in found)
    assert matters.mean() > 0.2 > 0 > matters_not.mean()
    assert found[0]["changed"].mean() > found[1]["changed"].mean()


def test_padding_and_hidden_patches_have_no_say(learned):
    splits, classifier = learned
    short = splits.test.series[0][: 3 * PATCH]
    assert (classifier.attend([short])[0, 3:] == 0).all() and len(classifier.explain(short)) == 3
    read = classifier._read([short])
    other = read["values"].clone()
    other[:, 3:] = 9
    same = [
        classifier.model.eval()(**(read | {"values": values})) for values in (read["values"], other)
    ]
    assert torch.equal(*same)
    together = classifier.log_probabilities([short, splits.test.series[1]])
    np.testing.assert_allclose(together[0], classifier.log_probabilities([short])[0], atol=1e-5)


def test_a_series_that_never_changes_and_a_very_long_one_have_an_answer(learned):
    _, classifier = learned
    found = classifier.log_probabilities([np.full(20, 3.0, np.float32), np.zeros(999, np.float32)])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found).sum(1), 1, atol=1e-5)


def test_each_part_can_be_left_out():
    numbers = torch.from_numpy(appliances.summary(ramps(8).series))
    for left_out, changed in (("use_summary", "numbers"), ("use_attention", "positions")):
        torch.manual_seed(0)
        model = appliances.PatchedSeries(2, numbers.sort(0).values, **SMALL, **{left_out: False})
        shape = (4, PATCHES)
        read = {
            "values": torch.randn(*shape, PATCH),
            "real": torch.ones(shape, dtype=torch.bool),
            "numbers": numbers[:4],
        }
        before = model.eval()(**read)
        if changed == "numbers":
            read["numbers"] = 9 * numbers[4:]
        else:  # the mean does not know where a patch stood
            read["values"] = read["values"].flip(1)
            with pytest.raises(ModelError, match="attends to none"):
                applications.SeriesClassifier(model, ["a", "b"]).attend(ramps(2).series)
        torch.testing.assert_close(model(**read), before)


def test_one_label_nothing_for_dev_and_other_data_are_refused():
    data = ramps(16)
    alone = data.select(range(0, 16, 2))
    refused = {
        "have the label 'up', so there is nothing to tell apart": three_parts(alone),
        "leaves nothing for dev": datasets.Splits(data, data.select([]), data),
        "holds no series": datasets.Splits([1], [1], [1]),
    }
    for told, splits in refused.items():
        with pytest.raises(DataError, match=told):
            applications.SeriesClassifier.train(splits)


def test_the_nearest_series_is_found_whatever_its_length():
    data = datasets.SeriesDataset(
        [np.arange(10.0), 9 - np.arange(10.0)], [0, 1], ["up", "down"], "lines"
    )
    nearest = applications.by_nearest(data)
    assert nearest([np.linspace(9, 0, 70), np.linspace(0, 9, 33)]).tolist() == [1, 0]


@pytest.mark.slow
def test_the_command_reads_your_own_file(tmp_path, capsys):
    data, path = ramps(60), tmp_path / "mine.csv"
    rows = [
        f"{data.label_names[label]},{','.join(f'{value:.4f}' for value in values)}"
        for values, label in zip(data.series, data.labels, strict=True)
    ]
    header = "label," + ",".join(f"v{number}" for number in range(PATCH * PATCHES))
    path.write_text("\n".join([header, *rows]))
    with pytest.raises(SystemExit) as ended:
        main(["apps", "appliances", str(path), "--steps", "3", "--explain", "1"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(way in told for way in ("forest", "nearest", "attention")) and "missed" in told


@pytest.mark.slow
def test_four_numbers_say_much_about_real_appliances():
    splits = datasets.load_series("appliances")
    table = applications.series_table(
        {
            "nearest": applications.by_nearest(splits.train),
            "forest": applications.by_forest(splits.train),
        },
        splits.test,
    ).set_index("way")
    assert 0.6 < table.loc["nearest", "accuracy"] < table.loc["forest", "accuracy"]
    assert table.loc["forest", "more_low"] > 0
