"""The benchmark of trained language models, at a size that takes seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tales import tiny_tales

import attnlab as al
from attnlab.language import load_language_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "vocabulary": 280, "d_model": 16, "heads": 4, "layers": 2, "steps": 6, "measure_every": 3,
    "block_length": 16, "batch_size": 4,
}  # fmt: skip


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The module, with tiny recipes and without anybody else's data."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import speaking_models

    monkeypatch.setattr(
        speaking_models, "RECIPES", {name: dict(TINY) for name in ("ci", "cpu", "longer")}
    )
    monkeypatch.setattr(speaking_models, "WINDOW", 8)
    monkeypatch.setattr(speaking_models, "_andersen", lambda: ["A tale by another."])
    return speaking_models


@pytest.mark.slow
def test_every_row_is_there_and_the_model_that_comes_along_is_saved_with_its_card(bench, tmp_path):
    tales = tiny_tales()
    folder = tmp_path / "kept"
    compared = bench.variants(tales, folder)
    rows = [*bench.profiles(tales, folder), *compared]
    rows += bench.speed(rounds=2, a_round=1)
    found = {row["name"]: row for row in rows}
    assert len(found) == len(rows)
    for name in ("ci", "cpu", "longer", *bench.VARIANTS):
        row = found[f"language.{name}.test_bits"]
        assert row["low"] <= row["value"] <= row["high"]
        assert 1 < row["value"] < 16
    for name in bench.VARIANTS:
        assert len(found[f"language.{name}.minus_cpu"]["by_seed"]) == 3
    grouped, shared = (found[f"language.kv-heads-{n}.cache_bytes"]["value"] for n in (2, 1))
    assert found["language.cpu.cache_bytes"]["value"] == 2 * grouped == 4 * shared
    for kind in ("gpt2", "llama"):
        assert found[f"language.training.speedup_{kind}"]["value"] > 0
    json.dumps(rows)

    bench.keep_variants(compared, tmp_path)
    kept = {one["variant"]: one for one in json.loads((tmp_path / "variants.json").read_text())}
    assert list(kept) == list(bench.SAID.values())
    learned = found["language.learned.minus_cpu"]
    assert kept["learned positions"]["difference"] == learned["value"]

    bench.come_along(tales, folder, tmp_path / "models")
    writer = load_language_model(tmp_path / "models" / "grimm")
    card = (tmp_path / "models" / "grimm" / "README.md").read_text()
    run = bench.outcome(tales, *bench.GRIMM, folder)
    assert f"| test (4 tales) | {bench.bits(run):.3f} |" in card
    assert writer.bits_per_character(tales.test) == pytest.approx(bench.bits(run), rel=1e-6)


def test_windows_share_out_the_bits_of_all_tales(bench):
    draw = np.random.default_rng(0)
    run = {
        "bits": draw.random(53), "tales": np.array([20, 33]), "characters": np.array(150)
    }  # fmt: skip
    shares = bench.in_windows(run)
    assert len(shares) == 3 + 5
    assert shares.mean() == pytest.approx(bench.bits(run))


def test_an_interval_of_several_seeds_is_wider_where_seeds_differ(bench):
    windows = np.random.default_rng(0).normal(size=40)
    alike = np.array([windows, windows, windows])
    differing = alike + np.array([[-1.0], [0.0], [1.0]])
    widths = [high - low for low, high in (bench._interval(alike), bench._interval(differing))]
    assert widths[1] > 1.5 * widths[0]


# --- what comes along ----------------------------------------------------------------------------


def test_the_tale_teller_that_comes_along_is_what_its_card_says():
    folders = al.language.language_models()
    writer = load_language_model("grimm")
    card = (folders["grimm"] / "README.md").read_text()
    assert repr(writer) in card
    dev = writer.history.best["dev_bits_per_character"]
    assert f"| dev (3 tales) | {dev:.3f} |" in card
    written = writer.write("Once upon a time", 40)
    assert written.startswith("Once upon a time")
    assert writer.bits_per_character(["Once upon a time there was a king who had a daughter."]) < 2
    assert all(weight.dtype == torch.float32 for weight in writer.model.parameters())


def test_the_variants_that_come_along_can_be_shown():
    table = al.language.variants()
    assert table["difference"].iloc[0] == 0  # the plain model beside itself
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()
    shared = table.loc[["2 heads of keys", "1 head of keys"], "cache_bytes"]
    assert (shared / table["cache_bytes"].iloc[0]).tolist() == [1 / 2, 1 / 4]
