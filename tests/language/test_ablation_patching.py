"""Ablation and activation patching of a language model, on models whose answer is known."""

import numpy as np
import pytest
import torch

from attnlab import heads
from attnlab.errors import DataError, TensorError
from attnlab.language import LanguageModel
from attnlab.language.ablation import ablate_language_model
from attnlab.language.patching import patch_activations
from attnlab.language.residual import token_losses

VOCABULARY = 30


def model_of(**size):
    torch.manual_seed(0)
    model = LanguageModel(VOCABULARY, **{"d_model": 16, "heads": 4, "layers": 2} | size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.3)
    return model.eval()


def ids_of(batch=6, tokens=9, seed=1):
    drawn = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (batch, tokens), generator=drawn)


def pairs():
    clean = ids_of()
    corrupted = clean.clone()
    corrupted[:, 3] = (clean[:, 3] + 1) % VOCABULARY
    return clean, corrupted, clean[:, 0], clean[:, 1]


# ── patching ───────────────────────────────────────────────────────────────────────────────────


def test_patching_a_head_replaces_its_output_and_nothing_else():
    model = model_of()
    clean, corrupted, answers, against = pairs()
    table = patch_activations(model, clean, corrupted, answers, against).set_index(
        ["layer", "head"]
    )
    row = torch.arange(len(clean))

    def difference(logits):
        return logits[row, -1, answers] - logits[row, -1, against]

    before, worse = difference(model(clean)), difference(model(corrupted))
    kept = []
    output = model.blocks[1].attention.output
    handle = output.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    model(clean)
    model(corrupted)
    handle.remove()
    mixed = kept[1].clone()
    mixed[..., 8:12] = kept[0][..., 8:12]  # head 2
    handle = output.register_forward_pre_hook(lambda module, inputs: (mixed,))
    patched = difference(model(corrupted))
    handle.remove()
    expected = float((patched - worse).mean() / (before - worse).mean())
    assert table.loc[(1, 2), "restored"] == pytest.approx(expected, abs=1e-4)
    assert table.attrs["clean"] == pytest.approx(float(before.mean()), abs=1e-4)
    assert not output._forward_pre_hooks


def test_all_heads_of_a_single_layer_with_one_head_restore_what_attention_carries():
    model = model_of(layers=1, heads=1, feed_forward="none")
    clean, corrupted, answers, against = pairs()
    table = patch_activations(model, clean, corrupted, answers, against)
    # the last token is the same in both, so that all of the difference comes through attention
    assert table["restored"].tolist() == pytest.approx([1.0], abs=1e-5)
    assert table["ci_low"].item() <= 1 <= table["ci_high"].item() + 1e-6


def test_patching_where_both_texts_are_alike_restores_nothing():
    model = model_of(layers=1)
    clean, corrupted, answers, against = pairs()
    before = patch_activations(model, clean, corrupted, answers, against, positions=[0, 1, 2])
    np.testing.assert_allclose(before["restored"], 0, atol=1e-5)
    last = patch_activations(model, clean, corrupted, answers, against, positions=[-1])
    every = patch_activations(model, clean, corrupted, answers, against)
    np.testing.assert_allclose(last["restored"], every["restored"], atol=1e-5)


def test_silent_and_removed_heads_restore_nothing():
    model = model_of()
    settings = model.neutral_settings()
    settings.scale[1, 2] = 0
    table = patch_activations(model, *pairs(), settings=settings).set_index(["layer", "head"])
    assert table.loc[(1, 2), "restored"] == pytest.approx(0, abs=1e-6)
    smaller = heads.prune(model, [(1, 2)])
    pruned = patch_activations(smaller, *pairs()).set_index(["layer", "head"])
    np.testing.assert_allclose(pruned["restored"], table["restored"], atol=1e-4)


def test_pairs_that_cannot_be_patched_are_refused():
    model = model_of()
    clean, corrupted, answers, against = pairs()
    with pytest.raises(DataError, match="nothing to restore"):
        patch_activations(model, clean, clean, answers, against)
    with pytest.raises(TensorError, match="one length"):
        patch_activations(model, clean, corrupted[:, 1:], answers, against)
    with pytest.raises(TensorError, match="one token for each"):
        patch_activations(model, clean, corrupted, answers[:2], against)
    with pytest.raises(TensorError, match="positions"):
        patch_activations(model, clean, corrupted, answers, against, positions=[9])


# ── ablation ───────────────────────────────────────────────────────────────────────────────────


def test_ablation_measures_the_change_of_bits_of_each_head():
    model, ids = model_of(), ids_of(5)
    table = ablate_language_model(model, ids)
    settings = model.neutral_settings()
    settings.scale[1, 3] = 0
    without = float(token_losses(model, ids, settings=settings).mean())
    row = table.iloc[7]
    assert (row["layer"], row["head"]) == (1, 3)
    assert row["bits"] == pytest.approx(without, abs=1e-5)
    assert table.attrs["bits"] == pytest.approx(float(token_losses(model, ids).mean()), abs=1e-5)
    assert row["delta"] == pytest.approx(without - table.attrs["bits"], abs=1e-5)
    assert row["ci_low"] <= row["delta"] <= row["ci_high"]
    assert table.attrs["unit"] == "bits per token" and table.attrs["rows"] == 5


def test_ablation_counts_only_what_is_marked_and_no_padding():
    model, ids = model_of(), ids_of(5)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, 5:] = False
    counted = torch.zeros(5, 8, dtype=torch.bool)
    counted[:, 5:] = True
    table = ablate_language_model(model, ids, mask=mask, counted=counted)
    expected = float(token_losses(model, ids[1:])[:, 5:].mean())
    assert table.attrs["bits"] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="No token counts"):
        ablate_language_model(model, ids, counted=torch.zeros(5, 8, dtype=torch.bool))


def test_a_head_that_is_not_there_changes_nothing():
    model = heads.prune(model_of(), [(0, 1)])
    table = ablate_language_model(model, ids_of()).set_index(["layer", "head"])
    assert table.loc[(0, 1), ["delta", "ci_low", "ci_high"]].tolist() == [0, 0, 0]


class Letters:
    """The interface of tokens, as far as it is used: letters, and "th" as one."""

    def encode(self, text):
        return [ord(letter) - 97 for letter in text.replace("th", "z")]

    def decode(self, ids):
        return "".join("th" if token == 25 else chr(97 + token) for token in ids)


class Writer:
    """A model with its tokens."""

    def __init__(self, model):
        self.model, self.tokens = model, Letters()


def test_texts_are_cut_into_rows_and_measured_per_character():
    writer = Writer(model_of())
    texts = ["thathathe" * 3, "abcab"]
    ids = torch.tensor([writer.tokens.encode(texts[0])[start : start + 6] for start in (0, 6, 12)])
    table = ablate_language_model(writer, texts, length=6)
    losses = token_losses(writer.model, ids)
    characters = sum(len(writer.tokens.decode(row[1:])) for row in ids.tolist())
    assert characters > losses.numel()
    assert table.attrs["bits"] == pytest.approx(float(losses.sum()) / characters, abs=1e-5)
    assert table.attrs["unit"] == "bits per character" and table.attrs["rows"] == 3
    with pytest.raises(DataError, match="100 tokens"):
        ablate_language_model(writer, texts, length=100)
    with pytest.raises(DataError, match="Writer"):
        ablate_language_model(writer.model, texts)
