"""Translators: training, answers, maps and what silent heads cost."""

import json
import warnings

import numpy as np
import pytest
import torch
from each_step import EachStep
from safetensors.torch import save

import attnlab as al
from attnlab import translation
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.splits import Splits
from attnlab.errors import ModelError
from attnlab.files import read_tensors
from attnlab.training import checkpoint
from attnlab.translation.batches import PairBatches
from attnlab.translation.translator import Translator

SMALL = {"d_model": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "feed_forward": 64}


def numbers(n, seed):
    """Numbers with their digits apart, and the same together: an easy language."""
    drawn = np.random.default_rng(seed).integers(10, 99999, n)
    spans = [{"year": (0, 1), "month": (0, 1), "day": (0, 1)} for _ in drawn]
    return ParallelDataset(
        [" ".join(str(one)) for one in drawn], [str(one) for one in drawn], "numbers", spans
    )


@pytest.fixture(scope="module")
def splits():
    return Splits(numbers(800, 0), numbers(60, 1), numbers(60, 2))


@pytest.fixture(scope="module")
def translator(splits):
    return al.train_translator(
        splits, epochs=10, batch_size=32, learning_rate=5e-3, dropout=0.0, **SMALL
    )


@pytest.fixture(scope="module")
def dates():
    """A translator of dates that has hardly learned anything, with the data."""
    made = al.datasets.dates.make(120, locales=["de", "fr", "ja"])
    splits = Splits(
        made.select(range(80)), made.select(range(80, 100)), made.select(range(100, 120))
    )
    return al.train_translator(splits, epochs=1, **SMALL), splits


def test_a_translator_learns_what_is_to_be_learned(translator, splits):
    assert translation.exact_match(translator, splits.test).mean() > 0.9
    assert translator.history.best["dev_accuracy"] > 0.9
    assert translator.history.chosen_by == "dev_chrf"


def test_training_is_making_a_translator_and_fitting_it(dates):
    translator, splits = dates
    start = translation.untrained(splits, **SMALL)
    before = {name: weight.clone() for name, weight in start.model.state_dict().items()}
    fitted = translation.fit(start, splits, epochs=1)
    for name, weight in fitted.model.state_dict().items():
        assert torch.equal(weight, translator.model.state_dict()[name])
        assert torch.equal(start.model.state_dict()[name], before[name])
    assert start.history is None
    assert fitted.history.rows[0]["dev_loss"] == translator.history.rows[0]["dev_loss"]
    assert fitted.default_max_length == translator.default_max_length


class Charged(torch.nn.Module):
    """A model whose loss has a term more, with a weight of its own and with settings."""

    def __init__(self, model):
        super().__init__()
        self.model, self.own, self.seen = model, torch.nn.Parameter(torch.ones(())), []

    def forward(self, source, target, labels):
        output = self.model(source, target, labels)
        squares = sum(weight.square().sum() for weight in self.model.parameters())
        output.loss = output.loss + squares + self.own
        return output

    def settings(self):
        self.seen.append(self.training)
        settings = self.model.neutral_settings()
        settings.cross.scale[:] = 0
        return settings


def test_what_is_around_a_model_is_trained_in_its_place(dates):
    translator, splits = dates
    made, asked = [], {"epochs": 3, "learning_rate": 1e-2, "choose_by": "epoch"}

    def around(model):
        made.append(Charged(model))
        return made[0]

    charged = translation.fit(translator, splits, around=around, head_lr_multiplier=9, **asked)
    plain = translation.fit(translator, splits, **asked)

    def squares(one):
        return sum(weight.square().sum().item() for weight in one.model.parameters())

    assert made[0].model is charged.model and squares(charged) < 0.8 * squares(plain)
    moved = 1 - made[0].own.item()
    assert 6 * 0.01 * 9 / 2 < moved < 6 * 0.01 * 9  # Adam: by the rate, six times, as it falls to 0
    assert made[0].seen == [False] * 3
    without = translator.settings()
    without.cross.scale[:] = 0
    right = translation.exact_match(charged, splits.dev, without).mean()
    assert charged.history.rows[-1]["dev_accuracy"] == right
    assert charged.history.chosen_by == "epoch"


def test_the_answer_to_a_text_depends_on_no_other_text(dates):
    translator, splits = dates
    texts = splits.test.sources
    for num_beams in (1, 3):
        alone = [translator.translate([text], num_beams)[0] for text in texts]
        assert translator.translate(texts, num_beams) == alone
        assert translator.translate(texts[::-1], num_beams) == alone[::-1]


def test_more_texts_than_a_batch_come_back_in_their_order(translator):
    many = numbers(230, 5)
    found = translator.translate(many.sources)
    assert np.mean([a == b for a, b in zip(found, many.targets, strict=True)]) > 0.9


@pytest.mark.parametrize(
    ("texts", "words"), [("1 2", r"\[text\]"), (["1", " "], "Text 1 is empty"), ([3], "is a int")]
)
def test_what_is_no_text_is_refused_with_the_cure(translator, texts, words):
    with pytest.raises(al.AttnlabError, match=words):
        translator.translate(texts)


def test_a_text_that_is_too_long_is_cut_and_said_so(splits):
    model = {"max_length": 12}
    translator = al.train_translator(splits, epochs=1, model=model, **SMALL)
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 11 tokens"):
        found = translator.translate(["1 2 3 4 5 6 7 8 9 1 2 3 4 5", "1 2"])
    assert len(found) == 2


def test_the_decoder_is_fed_the_answer_one_place_late(translator, splits):
    batch = PairBatches(translator, splits.dev).batch([0, 1, 2])
    words = translator.target_words
    assert (batch["target"][:, 0] == words.start).all()
    for fed, labels, text in zip(
        batch["target"], batch["labels"], splits.dev.targets, strict=False
    ):
        ids = words.encode(text)
        assert fed[: len(ids) + 1].tolist() == [words.start, *ids]
        assert labels[: len(ids) + 1].tolist() == [*ids, words.end]
        assert not labels[len(ids) + 1 :].any()


# ── maps ───────────────────────────────────────────────────────────────────────────────────────


def test_maps_show_how_the_translation_came_about(dates):
    translator, splits = dates
    source = splits.test.sources[0]
    maps = translator.attend(source)
    assert torch.allclose(maps.probabilities.sum(-1), torch.ones(()))
    said = translator.target_words.encode(translator.translate([source])[0])
    assert maps.cross.target == translator.target_words.tokens([*said, translator.target_words.end])
    likeliest = [best[0][0] for best in maps.top(1)]
    assert likeliest[: len(said)] == maps.cross.target[: len(said)]
    for one in (maps.encoder, maps.decoder, maps.cross):
        assert torch.allclose(one.weights.sum(-1), torch.ones(()), atol=1e-5)
    assert not maps.decoder.weights.triu(1).any()
    assert maps.decoder.tokens[1:] == maps.cross.target[:-1]
    assert maps.encoder.special.tolist() == [False] * (len(maps.encoder.tokens) - 1) + [True]


def test_contributions_are_what_each_token_adds_to_the_output_of_its_head(dates):
    translator, splits = dates
    model, asked = translator.model, translator.settings()
    asked.cross.scale[1] = torch.tensor([0.5, 2.0])
    seen = {}
    module = model.decoder[1].cross_attention
    hook = module.output.register_forward_pre_hook(lambda _, args: seen.update(context=args[0]))
    maps = translator.attend(splits.test.sources[0], "2021-03-03", asked)
    hook.remove()
    with torch.no_grad():
        memory = model.encode(torch.tensor(translator.encode(splits.test.sources[:1])), asked)
    values = memory.keys_values[1][1][0]  # (H, S, D)
    width = values.shape[-1]
    for head, scale in enumerate((0.5, 2.0)):
        columns = module.output.weight.detach()[:, head * width : (head + 1) * width]
        added = maps.cross.weights[1, head][:, :, None] * scale * (values[head] @ columns.T)
        assert torch.allclose(maps.cross.contributions[1, head], added.norm(dim=-1), atol=1e-5)
        context = seen["context"][0, :, head * width : (head + 1) * width] @ columns.T
        assert torch.allclose(context, added.sum(1), atol=1e-5)


def test_maps_with_settings_carry_the_neutral_ones_of_the_same_pair(dates):
    translator, splits = dates
    plain = translator.attend(splits.test.sources[0], "2021-03-03")
    settings = translator.settings()
    settings.encoder.temperature[0, 0] = 5.0
    maps = translator.attend(splits.test.sources[0], "2021-03-03", settings)
    assert plain.cross.neutral is None
    for kind in al.heads.settings.KINDS:
        before, now = getattr(plain, kind), getattr(maps, kind)
        assert torch.equal(now.neutral.weights, before.weights)
        assert not torch.equal(now.weights, before.weights)


# ── keeping ────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_translator_comes_back_the_same(translator, splits, tmp_path):
    path = translator.save(tmp_path / "mine.safetensors")
    again = al.load_translator(path)
    assert again.translate(splits.test.sources) == translator.translate(splits.test.sources)
    assert again.history == translator.history
    assert (again.name, again.model.size) == (translator.name, translator.model.size)


def test_the_translator_that_comes_along_translates_dates_of_many_languages():
    ready = al.load_translator("dates")
    texts = [
        "de: 24. Dezember 1987",
        "ja: 1987年12月24日",
        "en-US: 12/24/1987",
        "en-GB: 24/12/1987",
    ]
    assert ready.translate(texts) == ["1987-12-24"] * 4


def test_what_is_no_translator_is_refused(tmp_path):
    (tmp_path / "some.safetensors").write_bytes(b"nothing")
    with pytest.raises(al.AttnlabError, match="holds no translator"):
        al.load_translator(tmp_path / "some.safetensors")
    with pytest.raises(al.AttnlabError, match=r"There is no translator .*train_translator"):
        al.load_translator(tmp_path / "none.safetensors")


def test_parts_of_a_translator_that_do_not_belong_together_are_refused(tmp_path):
    dates = al.load_translator("dates")
    path = dates.save(tmp_path / "whole.safetensors")
    about, tensors = read_tensors(path)
    described = json.loads(about["translator"])

    def refused(words, tensors=tensors, **changes):
        text = json.dumps(described | changes)
        path.write_bytes(save(tensors, {"translator": text}))
        with pytest.raises(ModelError, match=words):
            al.load_translator(path)

    larger = described["size"] | {"source_vocabulary": len(dates.source_words) + 1}
    refused("has shape", size=larger)
    refused("source_words has .* tokens and the model", source_words=described["target_words"])
    refused("no sub-words", source_words="{}")
    refused("missing or unexpected", size=described["size"] | {"encoder_layers": 1})
    refused("missing or unexpected", tensors=dict(list(tensors.items())[1:]))
    path.write_bytes(save(tensors, {"translator": "{}"}))
    with pytest.raises(ModelError, match="holds no whole translator"):
        al.load_translator(path)
    path.write_bytes(save(tensors))
    with pytest.raises(ModelError, match=r"holds no translator\. Give a file"):
        al.load_translator(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n")
    with pytest.raises(ModelError, match="Git LFS pointer"):
        al.load_translator(path)
    with pytest.raises(ModelError, match="do not belong together"):
        Translator(dates.model, dates.target_words, dates.target_words)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    options = {"epochs": 2, "batch_size": 100, **SMALL}
    whole = al.train_translator(splits, **options)

    def stop(run):
        if run.step == 8:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        al.train_translator(splits, tmp_path / "run", callbacks=[EachStep(stop)], **options)
    resumed = al.train_translator(splits, tmp_path / "run", resume=True, **options)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    kept = al.load_translator(tmp_path / "run")
    with pytest.raises(ModelError, match=r"finished translator.*overwrite=True"):
        al.train_translator(splits, tmp_path / "run", **options)
    assert kept.translate(splits.test.sources) == whole.translate(splits.test.sources)


def test_labelled_texts_are_refused_with_the_cure():
    with pytest.raises(al.AttnlabError, match="pairs_from_file"):
        al.train_translator(al.datasets.load("movie-sentiment"))


# ── heads ──────────────────────────────────────────────────────────────────────────────────────


def test_ablating_each_head_equals_silencing_it_by_hand(translator, splits):
    few = splits.test.select(range(25))
    table = translation.ablate_heads(translator, few)
    assert len(table) == (1 + 2 + 2) * 2
    before = translation.exact_match(translator, few).mean()
    for row in table.itertuples():
        settings = translator.settings()
        getattr(settings, row.kind).scale[row.layer, row.head] = 0
        after = translation.exact_match(translator, few, settings).mean()
        assert row.exact == pytest.approx(after)
        assert row.delta == pytest.approx(after - before)
        assert row.ci_low <= row.delta <= row.ci_high
    assert table["delta"].min() < -0.2
    unchanged = translation.ablate_heads(translator, few, scale=1.0)
    assert not unchanged["delta"].any()


def test_alignment_accuracy_counts_what_the_maps_show(dates):
    translator, splits = dates
    table = translation.alignment_accuracy(translator, splits.test)
    hits = {}
    for source, target, spans in zip(
        splits.test.sources, splits.test.targets, splits.test.spans, strict=True
    ):
        maps = translator.attend(source, target).cross
        places = translator.source_words.spans(source)
        for layer, head in np.ndindex(maps.layers, maps.heads):
            for step, character in enumerate(target):
                if character == "-":
                    continue
                field = "year" if step < 4 else "month" if step < 7 else "day"
                at = int(maps.weights[layer, head, step].argmax())
                low, high = places[at] if at < len(places) else (10**6, 10**6)
                right = low < spans[field][1] and high > spans[field][0]
                hits.setdefault((layer, head, field), []).append(right)
    assert len(table) == len(hits) == 2 * 2 * 3
    for row in table.itertuples():
        seen = hits[row.layer, row.head, row.field]
        assert row.accuracy == pytest.approx(np.mean(seen))
        assert row.n == len(seen)
        assert 0 < row.chance < 1


def test_pairs_without_spans_have_no_alignment_to_compare_with(translator, splits):
    bare = ParallelDataset(splits.test.sources, splits.test.targets, "bare")
    with pytest.raises(al.AttnlabError, match="has no spans"):
        translation.alignment_accuracy(translator, bare)


def test_training_and_translating_say_nothing_on_the_side(splits, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        al.train_translator(splits, epochs=1, **SMALL).translate(["1 2"], num_beams=2)
    assert capsys.readouterr() == ("", "")
