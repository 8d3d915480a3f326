"""`attnlab budget`: what `al.economics.search` finds, told, saved and gone on with."""

import functools
import os
import re
import signal

import numpy as np
import pytest
import torch
from tiny_classifiers import answering

import attnlab as al
from attnlab import compression, datasets, economics
from attnlab.cli import main, output
from attnlab.economics import searching

pytestmark = pytest.mark.filterwarnings("ignore:.*this machine is doing something else")
SEARCH = "sub-networks"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a classifier, and a file of texts that it answers rightly."""
    folder = tmp_path_factory.mktemp("budget")
    clf, data = answering("bert", 300)
    data.to_frame().to_csv(folder / "mine.csv", index=False)
    clf.save(folder / "whole")
    return folder


@pytest.fixture
def budget(place, tmp_path, monkeypatch, capsys):
    """Type the command where model and texts are; what it prints, and its errors."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(output.OUT, "width", 200)  # where no table wraps
    quick = functools.partial(economics.latency, rounds=3, seconds=0.1)
    monkeypatch.setattr(economics, "latency", quick)  # times are not looked at
    real = economics.search

    def typed(*options, out=tmp_path / "out", model="whole", data="mine.csv", code=0, most=20):
        monkeypatch.setattr(economics, "search", functools.partial(real, most=most, steps=4))
        with pytest.raises(SystemExit) as end:
            main(["budget", str(model), "--data", str(data), "--out", str(out), *options])
        said = capsys.readouterr()
        assert (end.value.code or 0) == code, said.err
        return said.out if code == 0 else said.err

    return typed


@pytest.fixture(scope="module")
def whole(place):
    return al.load_classifier(place / "whole")


@pytest.fixture(scope="module")
def splits(place):
    return datasets.split(datasets.from_csv(place / "mine.csv"))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def costs(clf):
    return economics.costs_of(economics.shape_of(clf))


def same(one, other, texts):
    ours, theirs = (clf.predict(texts).probabilities for clf in (one, other))
    return np.allclose(ours, theirs, atol=1e-6)


def row_of(name, said):
    (row,) = [line for line in said.splitlines() if line.startswith(f"{name} ")]
    return row


# --- what it finds -------------------------------------------------------------------------------


def test_the_result_is_that_of_the_search_and_is_told(budget, whole, splits, tmp_path):
    said = budget("--flops", "60%")
    limit = 0.6 * costs(whole)["flops"]
    allowed = economics.Budget(flops=limit)
    found = searching.search(whole, splits, allowed, most=20, steps=4)
    small = al.load_classifier(tmp_path / "out")
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert same(small, found.best, splits.dev.texts)
    assert costs(small)["flops"] <= limit
    assert compression.steps(small)[-1] == {
        "step": "search",
        "flops": limit,
        "tokens": 32,
        "batch": 1,
    }
    assert f"whole model: {whole.parameters():,} parameters" in said
    drawn = found.table.query("origin == 'random' and inside")
    for name, row in (("whole", 0), ("chosen", found.chosen), ("best random", None)):
        told = found.table.loc[drawn["accuracy"].idxmax() if row is None else row]
        line = row_of(name, said.partition("budget:")[2])
        low, high = 100 * told["ci_low"], 100 * told["ci_high"]
        assert f"{told['accuracy']:.1%} ({low:.1f} to {high:.1f})" in line
        assert f"{told['parameters']:,.0f}" in line
    frontier = said.partition("Frontier of accuracy and GFLOPs")[2]
    for row in found.frontier().itertuples():
        assert f"{row.flops / 1e9:.3g} " in frontier
    price = found.prices().iloc[0]["price"] * 1e9 * 100
    assert f" {price:+,.1f} (".replace("-", "−") in frontier
    delta = 100 * found.on_test().delta
    assert f"test, opened once: chosen minus whole {delta:+.1f}".replace("-", "−") in said
    assert f"model.safetensors, {size / 1e6:.4g} MB" in said
    assert left_in(tmp_path) == ["out"]


def test_test_is_opened_for_the_chosen_one_alone(budget, splits, monkeypatch):
    scored = []
    real = al.Evaluator.score
    monkeypatch.setattr(
        al.Evaluator, "score", lambda self: scored.append(tuple(self.dataset.texts)) or real(self)
    )
    budget("--flops", "60%", most=4)
    assert scored.count(tuple(splits.test.texts)) == 2  # the whole, and the chosen one


@pytest.mark.parametrize(
    ("option", "typed", "limit"),
    [
        ("--parameters", "15k", 15_000),
        ("--parameters", "0.02M", 20_000),
        ("--flops", "1e6", 1e6),
        ("--flops", "0.001G", 1e6),
        ("--megabytes", "0.08", 0.08),
    ],
)
def test_amounts_may_be_typed_as_people_say_them(budget, tmp_path, option, typed, limit):
    budget(option, typed, most=2)
    small = al.load_classifier(tmp_path / "out")
    name = option.removeprefix("--")
    assert compression.steps(small)[-1][name] == pytest.approx(limit)
    assert costs(small)[name] <= limit


def test_several_limits_hold_together_and_each_has_its_frontier(budget, whole, tmp_path):
    said = budget("--flops", "70%", "--megabytes", "90%", "--tokens", "16", "--batch", "4", most=6)
    small = al.load_classifier(tmp_path / "out")
    before, after = (economics.costs_of(economics.shape_of(clf), 16, 4) for clf in (whole, small))
    assert after["flops"] <= 0.7 * before["flops"]
    assert after["megabytes"] <= 0.9 * before["megabytes"]
    assert "for 4 texts of 16 tokens" in said
    assert "Frontier of accuracy and GFLOPs" in said and "Frontier of accuracy and MB" in said


def test_milliseconds_go_by_a_table_that_is_measured_here_and_kept(budget, tmp_path, monkeypatch):
    monkeypatch.setattr(
        searching.LatencyTable,
        "measure",
        functools.partial(searching.LatencyTable.measure, rounds=3, seconds=0.1),
    )
    budget("--latency-ms", "80%", most=3)
    kept = economics.LatencyTable.load(tmp_path / "out" / SEARCH / "latency.json")
    small = al.load_classifier(tmp_path / "out")
    limit = compression.steps(small)[-1]["latency_ms"]
    assert limit == pytest.approx(0.8 * kept.predict(kept.shape))
    assert kept.predict(economics.shape_of(small)) <= limit
    budget("--latency-ms", "80%", "--resume", most=5)  # the same table, and so the same budget
    said = budget("--latency-ms", "80%", "--resume", "--tokens", "16", code=1)
    assert "another one: its milliseconds are of 1 texts of 32 tokens" in said


def test_what_only_int8_fits_is_written_for_onnx_runtime(budget, whole, splits, tmp_path):
    limit = 1.05 * economics.megabytes(economics.shape_of(whole), "int8")
    some = ["--megabytes", f"{limit:.6f}"]
    said = budget(*some, "--formats", "float32,int8", most=7)
    small = al.load_classifier(tmp_path / "out")
    assert small.dtype == torch.int8
    assert small.card["steps"][-1]["megabytes"] == pytest.approx(limit, rel=1e-4)
    accuracy = al.Evaluator(small, splits.dev).score().accuracy
    chosen = row_of("chosen", said)
    assert f"{accuracy:.1%} (" in chosen and " int8 " in chosen
    assert "formats was" in budget(*some, "--resume", code=1)
    budget(*some, "--overwrite", most=2)
    assert not hasattr(al.load_classifier(tmp_path / "out"), "card")


def test_a_model_that_fits_as_it_is_is_said_to(budget):
    assert "fits this budget as it is" in budget("--flops", "100%", most=2)


def test_without_test_texts_nothing_is_claimed(budget, monkeypatch, splits):
    bare = type(splits)(splits.train, splits.dev, splits.test.select([]))
    monkeypatch.setattr(datasets, "split", lambda data: bare)
    said = budget("--flops", "60%", most=2)
    assert "There are no test texts" in said and "opened once" not in said


# --- stopped, gone on with, begun anew ------------------------------------------------------------


@pytest.mark.thorough
def test_ctrl_c_writes_the_best_so_far_and_resume_goes_on(budget, tmp_path, monkeypatch, splits):
    measured, calls = searching._measured, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return measured(*given)

    monkeypatch.setattr(searching, "_measured", interrupted)
    said = budget("--flops", "60%")
    assert "Stopped after 4 sub-networks; the best so far is written" in said
    assert "--resume" in said
    assert al.load_classifier(tmp_path / "out").layers <= 3
    assert "There is a search in" in budget("--flops", "60%", code=1)
    calls.clear()
    monkeypatch.setattr(searching, "_measured", lambda *given: calls.append(1) or measured(*given))
    assert "test, opened again" in budget("--flops", "60%", "--resume")
    again = len(calls)
    budget("--flops", "60%", out=tmp_path / "other")
    assert again == len(calls) - again - 4  # what was measured before the stop was not again
    one, other = (al.load_classifier(tmp_path / name) for name in ("out", "other"))
    assert same(one, other, splits.dev.texts)
    assert compression.steps(one) == compression.steps(other)
    assert "budget was" in budget("--flops", "50%", "--resume", code=1)


def test_ctrl_c_before_anything_was_found_writes_nothing(budget, tmp_path, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    measured = searching._measured
    monkeypatch.setattr(searching, "_measured", interrupted)
    said = budget("--flops", "60%", code=1)
    assert "nothing is written" in said and "--resume" in said
    assert left_in(tmp_path / "out") == [SEARCH]
    monkeypatch.setattr(searching, "_measured", measured)
    assert "test, opened once" in budget("--flops", "60%", "--resume", most=2)


def test_overwrite_begins_anew(budget, whole, tmp_path):
    budget("--flops", "60%", most=12)
    for flops in ("60%", "50%"):
        said = budget("--flops", flops, code=1)
        assert "--resume" in said and "--overwrite" in said
    said = budget("--flops", "50%", "--overwrite", most=2)
    step = compression.steps(al.load_classifier(tmp_path / "out"))[-1]
    assert step["flops"] == pytest.approx(0.5 * costs(whole)["flops"])
    assert "\n2 sub-networks" in said  # those of the search before are forgotten
    assert "Leave one of them out" in budget("--flops", "1e6", "--overwrite", "--resume", code=1)


def test_a_finished_model_in_the_folder_is_not_lost(budget, whole, tmp_path):
    whole.save(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert "--overwrite" in budget("--flops", "60%", code=1)
    assert "There is no search" in budget("--flops", "60%", "--resume", code=1)
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert after == before
    budget("--flops", "60%", "--overwrite", most=2)
    assert costs(al.load_classifier(tmp_path / "out"))["flops"] < costs(whole)["flops"]


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Say what may be spent: --parameters 20M, --flops 1e9, .*--latency-ms 5"),
        (["--flops", "many"], "--flops many is no amount: .* such as --flops 1e9.* --flops 50%"),
        (["--flops", "nan"], "--flops nan is no amount"),
        (["--flops", "inf"], "--flops inf is no amount"),
        (["--flops=-1e9"], "is no amount"),
        (["--flops", "0"], "--flops 0 is no amount"),
        (["--flops", "0%"], "is no amount"),
        (["--flops", "150%"], "up to 100%"),
        (["--flops", "1e999"], "is no amount"),
        (["--flops", "1.2.3"], "is no amount"),
        (["--flops", "1,5"], "is no amount"),
        (["--megabytes", "30M"], "--megabytes 30M is no amount: .* such as --megabytes 30"),
        (["--flops", "60%", "--formats", "int9"], "no number format 'int9'. Did you mean 'int8'"),
        (["--flops", "60%", "--formats", ""], "expected one number format or more"),
        (["--latency-ms", "5ms"], "--latency-ms 5ms is no amount"),
        (["--flops", "60%", "--resume"], "There is no search in .*Leave --resume out"),
    ],
)
def test_amounts_that_are_none_are_refused_in_words_that_can_be_typed(
    budget, tmp_path, options, words
):
    said = budget(*options, code=1)
    assert re.search(words, " ".join(said.split()))
    assert left_in(tmp_path) == []


def test_a_budget_that_nothing_fits_says_the_least_and_the_least_fits(budget, tmp_path):
    said = budget("--flops", "60%", "--parameters", "100", code=1)
    assert "Nothing fits this budget" in said and "attnlab compress --trim" in said
    (least,) = re.findall(r"Give at least --parameters (\S+)\.", said)
    budget("--parameters", least, "--overwrite", most=2)
    small = al.load_classifier(tmp_path / "out")
    assert small.parameters() <= float(least)


def test_models_and_texts_that_do_not_go_together_are_refused(budget, place, whole, tmp_path):
    some = ["--flops", "60%"]
    assert "no folder of that name" in budget(*some, model="runs/none", code=1)
    assert "'positive' is not among them" in budget(*some, data="movie-sentiment", code=1)
    assert "take the place of whole" in budget(*some, out="whole", code=1)
    (place / "one.csv").write_text("text,label\n" + "".join(f"film {n},bad\n" for n in range(60)))
    assert "have the label 'bad'" in budget(*some, data="one.csv", code=1)
    assert "positions for" in budget(*some, "--tokens", "600", code=1)
    exported = whole.export(tmp_path / "models" / "exported")
    assert "no PyTorch weights" in budget(*some, model=exported, code=1)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("mine")
    assert "holds other files" in budget(*some, out=tmp_path / "letters", code=1)
    assert left_in(tmp_path) == ["letters", "models"]
