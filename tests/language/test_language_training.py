"""Training a language model: its windows, its loss, runs that are stopped, and what is refused."""

import math
import random
import signal

import numpy as np
import pytest
import torch
from each_step import EachStep
from tiny_tales import FAST, SIZE, texts, tiny_tales

import attnlab as al
from attnlab.datasets.own_tales import load_tales
from attnlab.errors import AttnlabError, DataError, ModelError
from attnlab.language import training
from attnlab.language.measuring import token_bits
from attnlab.language.model import LanguageModel
from attnlab.language.training import fit, recipe, train_language_model, untrained
from attnlab.language.vocabulary import BytePairs, Characters
from attnlab.training import CHECKPOINT, Interrupted, TensorBoard
from attnlab.training.history import History


@pytest.fixture(scope="module")
def tales():
    return tiny_tales()


def train(tales, out=None, **options):
    return train_language_model(tales, out, **SIZE | FAST | options)


def same(one, other):
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# --- learning ------------------------------------------------------------------------------------


def test_it_learns_and_tells_what_it_saw(tales):
    before = untrained(tales, **SIZE).bits_per_character(tales.dev)
    writer = train(tales, steps=60, measure_every=20)
    history = writer.history
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert writer.bits_per_character(tales.dev) < 0.6 * before
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    lowest = min(row["dev_bits_per_character"] for row in history.rows)
    assert history.best["dev_bits_per_character"] == lowest
    assert writer.bits_per_character(tales.dev) == pytest.approx(lowest, abs=1e-6)
    assert math.isfinite(history.steps[-1]["tokens_per_second"])


def test_the_best_on_dev_is_kept_and_not_the_last():
    draw = random.Random(0)
    noise = ["".join(draw.choices("abcdefgh", k=60)) for _ in range(8)]
    tales = load_tales(noise, dev=2, test=1)  # can only be learned by heart
    writer = train(tales, tokens="characters", steps=200, measure_every=20, dropout=0)
    rows = [row["dev_bits_per_character"] for row in writer.history.rows]
    assert min(rows) < rows[-1]
    assert writer.bits_per_character(tales.dev) == pytest.approx(min(rows), abs=1e-5)


def test_dev_loss_is_in_nats_a_token(tales):
    writer = train(tales)
    bits = np.concatenate(token_bits(writer.model, writer.tokens, tales.dev, 16))
    assert writer.history.best["dev_loss"] == pytest.approx(bits.mean() * math.log(2), rel=1e-5)


def test_no_window_reaches_into_dev_or_test(monkeypatch):
    train_texts = ["abab" * 20, "baab" * 20]
    own = al.datasets.load_tales(texts(6))
    own = type(own)(
        train_texts, ["cc" * 30], ["dd" * 30], titles={part: [] for part in own.titles}, name="own"
    )
    tokens = Characters.train(["abcd"], start=True)
    seen, forward = set(), LanguageModel.forward

    def watched(model, ids, *more, **named):
        if model.training:
            seen.update(ids.flatten().tolist())
        return forward(model, ids, *more, **named)

    monkeypatch.setattr(LanguageModel, "forward", watched)
    train(own, tokens=tokens, steps=40)
    assert seen == {tokens.start, *tokens.encode("ab")}


def test_every_training_window_is_read_from_the_stream_and_predicts_the_next_token(monkeypatch):
    tales = load_tales(texts(12))
    writer = untrained(tales, **SIZE)
    stream = [
        id for text in tales.train for id in [writer.tokens.start, *writer.tokens.encode(text)]
    ]
    windows = {tuple(stream[start : start + 17]) for start in range(len(stream) - 16)}
    caught = []
    plain = training.nn.functional.cross_entropy

    def watched(logits, targets, **named):
        again = caught and targets is caught[-1]  # as where float32 products are oneDNN's
        if logits.requires_grad and not again:
            caught.append(targets)
        return plain(logits, targets, **named)

    inputs, forward = [], LanguageModel.forward

    def reading(model, ids, *more, **named):
        if model.training:
            inputs.append(ids)
        return forward(model, ids, *more, **named)

    monkeypatch.setattr(LanguageModel, "forward", reading)
    monkeypatch.setattr(training.nn.functional, "cross_entropy", watched)
    fit(writer, tales, **FAST)
    assert len(inputs) == len(caught) == FAST["steps"]
    for ids, targets in zip(inputs, caught, strict=True):
        targets = targets.view_as(ids)
        assert ids.shape == (8, 16)
        for row, target in zip(ids.tolist(), targets.tolist(), strict=True):
            assert (*row, target[-1]) in windows
            assert row[1:] == target[:-1]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tales):
    assert same(train(tales, seed=1), train(tales, seed=1))
    assert not same(train(tales, seed=1), train(tales, seed=2))


@pytest.mark.parametrize("stop_after", [3, 5, 11])
def test_a_run_that_is_stopped_ends_in_the_same_bits_as_one_that_was_not(
    tales, tmp_path, stop_after
):
    def stop(run):
        if run.step == stop_after:
            signal.raise_signal(signal.SIGINT)

    options = {"sample_every": 4, "dropout": 0.2}
    whole = train(tales, tmp_path / "whole", **options)
    with pytest.raises(Interrupted, match="resume"):
        train(tales, tmp_path / "cut", callbacks=[EachStep(stop)], **options)
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    again = train(tales, tmp_path / "cut", resume=True, **options)
    assert same(whole, again)
    assert again.history.samples == whole.history.samples
    figures = [
        [(row["train_loss"], row["dev_loss"]) for row in writer.history.rows]
        for writer in (whole, again)
    ]
    assert figures[0] == figures[1]
    assert not (tmp_path / "cut" / CHECKPOINT).exists()
    assert same(whole, al.load_language_model(tmp_path / "cut"))


def test_samples_are_written_while_it_trains_and_change_nothing(tales):
    plain = train(tales, seed=3)
    writer = train(tales, seed=3, sample_every=5, prompt="The fox")
    assert [sample["step"] for sample in writer.history.samples] == [0, 5, 10, 12]
    assert all(sample["text"].startswith("The fox") for sample in writer.history.samples)
    assert same(plain, writer)
    assert not plain.history.samples


def test_a_history_with_samples_is_saved_and_read_again(tales, tmp_path):
    history = train(tales, sample_every=6).history
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history


def test_callbacks_are_shown_the_writer_and_tensorboard_takes_its_figures(tales, tmp_path):
    pytest.importorskip("tensorboard")
    learners = []
    watch = EachStep(lambda run: learners.append(run.learner))
    writer = train(tales, sample_every=6, callbacks=[watch, TensorBoard(tmp_path)])
    assert all(learner is writer for learner in learners)


def test_characters_and_tokens_of_ones_own_are_learned_too(tales):
    assert isinstance(train(tales, tokens="characters").tokens, Characters)
    own = BytePairs.train(tales.train, 280)
    writer = train(tales, tokens=own)
    assert writer.tokens is own
    assert writer.tokens.start is None
    assert writer.bits_per_character(tales.test) > 0


def test_a_list_of_texts_is_held_apart_by_itself():
    writer = train(texts(), steps=2)
    assert writer.history.rows[0]["dev_bits_per_character"] > 0


@pytest.mark.parametrize("positions", ["rope", "learned", "sinusoidal", "alibi"])
def test_every_kind_of_positions_trains(tales, positions):
    writer = train(tales, positions=positions, kv_heads=1, window=6, model={"sinks": 2})
    assert writer.model.size["positions"] == positions
    assert writer.model.size["kv_heads"] == 1
    assert len(writer.write("The fox", max_new_tokens=30)) > len("The fox")


def test_fit_goes_on_with_a_writer_on_other_tales(tales):
    writer = train(tales)
    other = load_tales(texts(seed=9))
    before = writer.bits_per_character(other.dev)
    fit(writer, other, **FAST | {"steps": 40})
    assert writer.bits_per_character(other.dev) < before


# --- number format -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "asked", "expected"),
    [
        (96, None, torch.float32),
        (128, None, torch.bfloat16),
        (96, "bfloat16", torch.bfloat16),
        (128, "float32", torch.float32),
    ],
)
def test_the_number_format_follows_the_processor_and_the_width(
    tales, monkeypatch, width, asked, expected
):
    monkeypatch.setattr("attnlab.device.number_format", lambda kind: torch.bfloat16)
    writer = untrained(tales, **SIZE | {"d_model": width})
    writer.model.cpu()
    assert training._format(writer, asked) == expected


# --- recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "width"), [("ci", 64), ("cpu", 96), ("gpu", 128)])
def test_each_profile_has_its_recipe(monkeypatch, profile, width):
    monkeypatch.setenv("ATTNLAB_PROFILE", profile)
    assert recipe()["d_model"] == width
    with pytest.raises(DataError, match="Did you mean 'longer'"):
        recipe("long")


# --- what is refused -----------------------------------------------------------------------------


def test_a_finished_result_is_not_lost_and_not_gone_on_with(tales, tmp_path):
    train(tales, tmp_path)
    with pytest.raises(ModelError, match="overwrite=True"):
        train(tales, tmp_path)
    with pytest.raises(ModelError, match=r"al\.load_language_model"):
        train(tales, tmp_path, resume=True)
    train(tales, tmp_path, overwrite=True)
    with pytest.raises(ModelError, match="needs the folder"):
        train(tales, resume=True)


def test_another_run_is_not_taken_for_this_one(tales, tmp_path):
    def stop(run):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(tales, tmp_path, callbacks=[EachStep(stop)])
    for other in ({"learning_rate": 1e-3}, {"block_length": 8}, {"sample_every": 5}):
        with pytest.raises(AttnlabError, match="another one"):
            train(tales, tmp_path, resume=True, **other)
    with pytest.raises(AttnlabError, match="another one"):
        train(load_tales(texts(seed=1)), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens": "letters"}, "pieces"),
        ({"tokens": 7}, "pieces"),
        ({"block_length": 4000}, "smaller block_length"),
        ({"block_length": 1}, "at least 2"),
        ({"sample_every": 0}, "sample_every is 0"),
        ({"measure_every": 0}, "measure_every is 0"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"heads": 3}, "heads"),
        ({"sample_every": 2, "prompt": ""}, "prompt"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(tales, options, words):
    if options.get("prompt") == "":  # a tale may begin at its mark, where there is one
        options = options | {"tokens": BytePairs.train(tales.train, 280)}
        words = "empty"
    with pytest.raises(AttnlabError, match=words):
        train(tales, **options)


def test_other_data_and_empty_parts_are_refused(tales):
    with pytest.raises(DataError, match="load_tales"):
        train(
            al.datasets.split(
                al.datasets.TextDataset(list("abcd"), [0, 1, 0, 1], ["a", "b"], "four")
            )
        )
    andersen = type(tales)([], [], ["A tale."], titles=tales.titles, name="andersen")
    with pytest.raises(DataError, match="nothing for train"):
        train(andersen)
