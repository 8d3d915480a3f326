"""A writer: writes, streams, says what comes next, attends, and is saved with its tokens."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_tales import FAST, SIZE, tiny_tales

import attnlab as al
from attnlab.errors import AttnlabError, DataError, ModelError, SettingsError
from attnlab.language.generating import generate
from attnlab.language.loading import language_models, load_language_model
from attnlab.language.model import LanguageModel
from attnlab.language.training import train_language_model
from attnlab.language.vocabulary import BytePairs
from attnlab.language.writer import Writer

PROMPT = "The fox saw"


@pytest.fixture(scope="module")
def tales():
    return tiny_tales()


@pytest.fixture(scope="module")
def writer(tales):
    return train_language_model(tales, **SIZE | FAST | {"steps": 40, "measure_every": 20})


# --- writing -------------------------------------------------------------------------------------


def test_what_is_written_is_what_generate_draws(writer):
    ids = writer.encode(PROMPT)[0].tolist()
    drawn = generate(writer.model, [ids], 12, context=16, stop=[writer.tokens.start], seed=4)[0]
    assert writer.write(PROMPT, 12, seed=4) == PROMPT + writer.tokens.decode(drawn)


def test_a_stream_is_the_same_text_piece_by_piece(writer):
    pieces = list(writer.stream(PROMPT, 12, temperature=0))
    assert len(pieces) > 1
    assert PROMPT + "".join(pieces) == writer.write(PROMPT, 12, temperature=0)


def test_a_character_of_several_bytes_is_never_streamed_in_halves(tales):
    tokens = BytePairs.train(tales.train, 300, start=True)
    model = LanguageModel(len(tokens), 8, 2, 1)
    wanted = tokens.encode("a☃é")
    writer = Writer(model, tokens)
    assert len(wanted) > 3
    assert list(writer._decoded(iter(wanted))) == ["a", "☃", "é"]
    assert "".join(writer._decoded(iter(wanted[:2]))) == tokens.decode(wanted[:2])


def test_the_mark_of_a_start_ends_a_tale(writer, monkeypatch):
    tokens = writer.tokens
    with torch.no_grad():
        certain = LanguageModel(**writer.model.size)
        for weight in certain.parameters():
            weight.zero_()
        certain.norm.bias.fill_(1.0)
        certain.embedding.weight[tokens.start] = 5.0
    assert writer.with_model(certain).write(PROMPT, 9, temperature=0) == PROMPT


def test_a_tale_begins_from_nothing_where_tokens_have_a_mark(writer):
    assert isinstance(writer.write("", 5, temperature=0), str)
    without = BytePairs.train(["The fox and the geese"], 256)
    bare = Writer(LanguageModel(len(without), 8, 2, 1), without)
    with pytest.raises(DataError, match="at least one character"):
        bare.write("", 5)


def test_options_of_sampling_arrive(writer):
    assert writer.write(PROMPT, 9, seed=1) == writer.write(PROMPT, 9, seed=1)
    assert writer.write(PROMPT, 9, top_k=1, seed=1) == writer.write(PROMPT, 9, temperature=0)
    with pytest.raises(AttnlabError, match="temperature"):
        writer.write(PROMPT, 9, temperature=-1)


def test_errors_come_with_the_call_and_not_with_the_first_piece(writer):
    with pytest.raises(AttnlabError):
        writer.stream(PROMPT, 0)
    with pytest.raises(DataError, match="expected a str"):
        writer.stream(5)


# --- what comes next -----------------------------------------------------------------------------


def test_probabilities_sum_to_one_and_their_largest_is_written_greedily(writer):
    chances = writer.probabilities(PROMPT)
    assert chances.shape == (len(writer.tokens),)
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5)
    best = writer.tokens.decode([int(chances.argmax())])
    assert writer.write(PROMPT, 1, temperature=0) == PROMPT + best


def test_settings_act_whether_given_or_applied(writer, tales):
    settings = writer.settings()
    settings.scale[0] = 0
    settings.temperature[1] = 3
    given = writer.probabilities(PROMPT, settings)
    assert (given - writer.probabilities(PROMPT)).abs().max() > 1e-6
    bits = writer.bits_per_character(tales.test, settings)
    losses = writer.token_losses(PROMPT, settings)
    with al.heads.applied(writer, settings):
        torch.testing.assert_close(writer.probabilities(PROMPT), given)
        assert writer.bits_per_character(tales.test) == pytest.approx(bits, rel=1e-6)
        assert writer.token_losses(PROMPT).equals(losses)
        inside = writer.attend(PROMPT)
    torch.testing.assert_close(inside.weights, writer.attend(PROMPT, settings).weights)
    with pytest.raises(SettingsError):
        writer.probabilities(PROMPT, al.HeadSettings(1, 2))


def test_losses_of_tokens_add_up_to_bits_per_character(writer):
    text = "The king ran to the goose. The wolf saw the miller."
    table = writer.token_losses(text)
    assert list(table.columns) == ["token", "bits"]
    assert "".join(table["token"]).replace("▁", " ") == text
    assert table["bits"].sum() / len(text) == pytest.approx(writer.bits_per_character([text]))


def test_a_first_token_without_anything_before_it_has_no_loss(tales):
    tokens = BytePairs.train(tales.train, 280)
    table = Writer(LanguageModel(len(tokens), 8, 2, 1), tokens).token_losses("The fox")
    assert table["bits"].isna().tolist() == [True] + [False] * (len(table) - 1)


@pytest.mark.parametrize("texts", ["The fox", [], [""], [3]])
def test_texts_that_cannot_be_measured_are_refused(writer, texts):
    with pytest.raises(DataError):
        writer.bits_per_character(texts)


# --- attention -----------------------------------------------------------------------------------


def test_maps_look_back_only_and_their_rows_sum_to_one(writer):
    maps = writer.attend(PROMPT)
    count = len(writer.tokens.encode(PROMPT)) + 1
    assert maps.weights.shape == (2, 2, count, count)
    torch.testing.assert_close(maps.weights.sum(-1), torch.ones(2, 2, count))
    assert float(maps.weights.triu(1).abs().max()) == 0
    assert maps.special.tolist() == [True] + [False] * (count - 1)
    assert maps.neutral is None


def test_contributions_are_the_lengths_of_what_is_added(writer):
    settings = writer.settings()
    settings.scale[0, 1] = 0.5
    maps = writer.attend(PROMPT, settings)
    attention = writer.model.blocks[0].attention
    with torch.no_grad():
        x = writer.model.embedding(writer.encode(PROMPT))
        values = attention.value(writer.model.blocks[0].around_attention.norm(x))[0]
    width = 8
    for head in range(2):
        own = slice(head * width, (head + 1) * width)
        added = values[:, own] @ attention.output.weight[:, own].T
        expected = maps.weights[0, head] * added.norm(dim=-1) * settings.scale[0, head]
        torch.testing.assert_close(maps.contributions[0, head], expected, atol=1e-5, rtol=1e-4)
    assert maps.neutral is not None
    torch.testing.assert_close(maps.neutral.weights, writer.attend(PROMPT).weights)


def test_heads_that_were_removed_have_rows_of_zeros(writer, tmp_path):
    smaller = writer.with_model(writer.model.without_heads([(0, 1)]))
    assert float(smaller.attend(PROMPT).weights[0, 1].abs().max()) == 0
    settings = writer.settings()
    settings.scale[0, 1] = 0
    torch.testing.assert_close(
        smaller.probabilities(PROMPT), writer.probabilities(PROMPT, settings)
    )
    smaller.save(tmp_path)
    again = load_language_model(tmp_path)
    assert again.model.removed_heads == [(0, 1)]
    torch.testing.assert_close(again.probabilities(PROMPT), smaller.probabilities(PROMPT))


# --- storing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [{}, {"positions": "learned"}, {"tied": False, "kv_heads": 1}])
def test_a_writer_is_saved_and_read_again(writer, tmp_path, size):
    torch.manual_seed(0)
    own = writer.with_model(LanguageModel(**writer.model.size | size))
    path = own.save(tmp_path / "new" / "folder")
    for place in (path, path.parent):
        again = load_language_model(place)
        assert torch.equal(again.probabilities(PROMPT), own.probabilities(PROMPT))
        assert again.history == own.history
        assert (again.name, again.block_length) == (own.name, own.block_length)
        assert again.tokens.to_json() == own.tokens.to_json()
        assert not again.model.training


def test_tokens_that_are_not_the_models_are_refused(writer, tmp_path):
    other = BytePairs.train(["The fox"], 257)
    with pytest.raises(ModelError, match="do not belong together"):
        Writer(writer.model, other)
    path = writer.save(tmp_path)
    rewritten(path, lambda about: about.update(tokens=other.to_json()))
    with pytest.raises(ModelError, match="do not belong together"):
        load_language_model(path)


def rewritten(path, change):
    """Change what a file says of itself."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["language_model"])
    change(about)
    save_file(load_file(path), path, {"language_model": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about: about["size"].update(layers=3), "expected"),
        (lambda about: about["size"].update(d_model=20), "shape"),
        (lambda about: about.pop("tokens"), "cannot be read"),
        (lambda about: about.update(tokens="{}"), "to_json"),
        (lambda about: about["size"].update(colour="red"), "cannot be read"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(writer, tmp_path, change, words):
    path = writer.save(tmp_path)
    rewritten(path, change)
    with pytest.raises(ModelError, match=words):
        load_language_model(path)


def test_damaged_and_other_files_are_refused(writer, tmp_path):
    path = writer.save(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="holds"):
        load_language_model(tmp_path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="no language model of ours"):
        load_language_model(tmp_path)
    with pytest.raises(ModelError, match="train_language_model"):
        load_language_model(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        writer.save(tmp_path / "file")


def test_names_of_ours_are_suggested():
    if "grimm" in language_models():
        with pytest.raises(ModelError, match="Did you mean 'grimm'"):
            load_language_model("grim")
