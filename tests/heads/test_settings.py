import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attnlab as al
from attnlab.errors import SettingsError

sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))
numbers = st.floats(0, 4, width=32)


@st.composite
def some_settings(draw):
    layers, heads = draw(sizes)
    settings = al.HeadSettings(layers, heads)
    for layer in range(layers):
        for head in range(heads):
            settings.scale[layer, head] = draw(numbers)
            settings.temperature[layer, head] = draw(st.floats(0.0625, 8, width=32))
    return settings


@given(some_settings())
def test_json_brings_back_equal_settings(settings):
    assert al.HeadSettings.from_json(settings.to_json()) == settings


@given(some_settings())
def test_the_code_makes_the_same_settings(settings):
    names = {"al": al}
    exec(settings.to_code(), names)
    assert torch.allclose(names["settings"].scale, settings.scale, rtol=1e-3, atol=1e-4)
    assert torch.allclose(names["settings"].temperature, settings.temperature, rtol=1e-3)


@given(some_settings())
def test_reset_makes_neutral_and_a_copy_keeps_its_own_values(settings):
    copy = settings.copy()
    assert settings.reset().is_neutral()
    settings.scale[0, 0] = 3
    assert copy.scale is not settings.scale
    assert not settings.is_neutral()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scale", -0.5, "-0.5 at (1, 2); it must be 0"),
        ("temperature", 0.0, "must be above 0"),
        ("temperature", -1.0, "must be above 0"),
        ("scale", float("nan"), "not a finite number at (1, 2)"),
        ("temperature", float("inf"), "not a finite number"),
    ],
)
def test_a_value_without_meaning_is_refused_with_its_place(name, value, words):
    settings = al.HeadSettings(3, 4)
    getattr(settings, name)[1, 2] = value
    with pytest.raises(SettingsError, match=words.replace("(", r"\(").replace(")", r"\)")):
        settings.validate(3, 4)


def test_a_wrong_shape_names_both_shapes():
    with pytest.raises(SettingsError, match=r"\(3, 4\).*6 layers of 12 heads"):
        al.HeadSettings(3, 4).validate(6, 12)


def test_a_stack_must_have_a_setting_per_text():
    stack = al.HeadSettings.stack([al.HeadSettings(3, 4)] * 2)
    with pytest.raises(SettingsError, match="2 settings for a batch of 5"):
        stack.validate(3, 4, batch=5)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"scale": [[1]]}', '{"scale": "x", "temperature": 1}']
)
def test_what_is_no_settings_is_not_read(text):
    with pytest.raises(SettingsError, match="no head settings"):
        al.HeadSettings.from_json(text)


@pytest.mark.parametrize("make", [lambda: al.HeadSettings(0, 4), lambda: al.HeadSettings.stack([])])
def test_nothing_is_refused(make):
    with pytest.raises(SettingsError):
        make()


def test_settings_of_different_sizes_do_not_stack():
    with pytest.raises(SettingsError, match="different sizes"):
        al.HeadSettings.stack([al.HeadSettings(1, 2), al.HeadSettings(2, 2)])


def test_scale_and_temperature_must_have_the_same_shape():
    mixed = al.HeadSettings.of(torch.ones(3, 4), torch.ones(2, 3, 4))
    with pytest.raises(SettingsError, match=r"scale has shape \(3, 4\), temperature \(2, 3, 4\)"):
        mixed.validate(3, 4)


# --- Three kinds of heads ------------------------------------------------------------------------


@st.composite
def some_settings_of_three_kinds(draw):
    return al.Seq2SeqSettings(draw(some_settings()), draw(some_settings()), draw(some_settings()))


@given(some_settings_of_three_kinds())
def test_settings_of_three_kinds_survive_json_and_code(settings):
    assert al.Seq2SeqSettings.from_json(settings.to_json()) == settings
    names = {"al": al}
    exec(settings.to_code(), names)
    for one, other in zip(names["settings"], settings, strict=True):
        assert torch.allclose(one.scale, other.scale, rtol=1e-3, atol=1e-4)
        assert torch.allclose(one.temperature, other.temperature, rtol=1e-3)


@given(some_settings_of_three_kinds())
def test_a_copy_of_three_kinds_keeps_its_values_when_the_first_is_reset(settings):
    copy, changed = settings.copy(), settings.changed()
    assert settings.reset().is_neutral()
    assert copy.changed() == changed
    assert settings.changed() == []


def test_changes_name_their_kind_and_equality_sees_each_of_them():
    settings = al.Seq2SeqSettings.neutral(3, 2, 4)
    assert settings.encoder.scale.shape == (3, 4)
    assert settings.decoder.scale.shape == settings.cross.scale.shape == (2, 4)
    for kind in ("encoder", "decoder", "cross"):
        other = settings.copy()
        getattr(other, kind).temperature[1, 2] = 2
        assert other.changed() == [(kind, 1, 2)]
        assert other != settings
        assert not other.is_neutral()
        assert repr(other).count("1 changed") == 1
    assert settings == al.Seq2SeqSettings.neutral(3, 2, 4)


def test_a_stack_of_three_kinds_has_a_setting_per_row():
    one, other = (al.Seq2SeqSettings.neutral(3, 2, 4) for _ in range(2))
    other.decoder.scale[1, 3] = 0
    stack = al.Seq2SeqSettings.stack([one, other])
    assert stack.changed() == [("decoder", 1, 1, 3)]
    assert stack.validate(3, 2, 4, batch=2) is stack


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_a_kind_that_does_not_fit_is_named(kind):
    settings = al.Seq2SeqSettings.neutral(3, 2, 4)
    getattr(settings, kind).scale[0, 1] = -1
    with pytest.raises(SettingsError, match=rf"{kind}: scale is -1 at \(0, 1\)"):
        settings.validate(3, 2, 4)
    setattr(settings, kind, al.HeadSettings(5, 4))
    with pytest.raises(SettingsError, match=f"{kind}: scale has shape"):
        settings.validate(3, 2, 4)
    setattr(settings, kind, torch.ones(2, 4))
    with pytest.raises(SettingsError, match=f"{kind} is a Tensor"):
        settings.validate(3, 2, 4)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", al.HeadSettings(2, 4).to_json(), '{"encoder": 1, "decoder": 1, "cross": 1}'],
)
def test_what_is_no_settings_of_three_kinds_is_not_read(text):
    with pytest.raises(SettingsError, match=r"no settings of an encoder-decoder|no head settings"):
        al.Seq2SeqSettings.from_json(text)
