"""Planted faults: each is the mistake it is named after, in one layer, and only for a while."""

import pytest
import torch
from tiny_classifiers import tiny_classifier

import attnlab as al
from attnlab.errors import SettingsError
from attnlab.heads import FAULTS, planted

FAMILIES = ["bert", "roberta", "distilbert", "electra"]
LONG, SHORT = "what an ending the film is worth it", "dull"


@pytest.fixture(scope="module", params=FAMILIES)
def clf(request):
    return tiny_classifier(request.param)


def hidden(clf, fault=None, layer=0, texts=(LONG, SHORT)):
    """The vectors before the first layer and after each, (L + 1) tensors (B, T, E)."""
    inputs = clf.encode(list(texts)).batch(range(len(texts)))
    with planted(clf, fault, layer), torch.no_grad():
        return clf.model.eval()(**inputs, output_hidden_states=True).hidden_states


def attention_of(clf, texts, fault, layer):
    """What attention of a layer is given, (B, T, E), and its projected output, (B, T, E)."""
    site, noted = al.heads.sites(clf.model)[layer], {}
    with planted(clf, fault, layer):
        first = getattr(site.module, site.query)
        hooks = [
            first.register_forward_hook(lambda _, given, made: noted.update(x=given[0])),
            site.output.register_forward_hook(lambda _, given, made: noted.update(y=made)),
        ]
        with torch.no_grad():
            clf.model.eval()(**clf.encode(list(texts)).batch(range(len(texts))))
    for hook in hooks:
        hook.remove()
    return noted["x"], noted["y"]


def by_hand(clf, layer, x, cut, join, root):
    """Attention without a mask from the layer's matrices, cut into heads and joined as told."""
    site = al.heads.sites(clf.model)[layer]
    names = (site.query, site.key, site.value)
    q, k, v = (cut(torch.nn.functional.linear(x, *pair(site.module, name))) for name in names)
    context = (q @ k.mT / root).softmax(-1) @ v
    return torch.nn.functional.linear(join(context), site.output.weight, site.output.bias)


def pair(module, name):
    made = getattr(module, name)
    return made.weight, made.bias


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_its_layer_and_none_before_it(clf, fault):
    with torch.no_grad():  # biases of tiny models start at 0
        for one in al.heads.feed_forwards(clf.model):
            one.down.bias.fill_(0.1).mul_(torch.arange(len(one.down.bias)) % 3)
    right, wrong = hidden(clf), hidden(clf, fault, 1)
    changed = [not torch.equal(a, b) for a, b in zip(right, wrong, strict=True)]
    assert changed[:3] == [False, False, True]  # embeddings, layer 0, layer 1
    assert all(torch.equal(a, b) for a, b in zip(right, hidden(clf), strict=True))


def test_the_reshape_is_a_reshape_to_heads_and_back(clf):
    x, y = attention_of(clf, [LONG], "reshape", 1)
    heads = clf.heads
    shape = (1, heads, x.shape[1], x.shape[2] // heads)
    wanted = by_hand(
        clf, 1, x, lambda y: y.reshape(shape), lambda y: y.reshape(x.shape), shape[-1] ** 0.5
    )
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-5)


def test_the_divisor_is_the_root_of_the_whole_width(clf):
    x, y = attention_of(clf, [LONG], "divisor", 1)
    cut, join = (lambda y: al.attention.split_heads(y, clf.heads)), al.attention.merge_heads
    wanted = by_hand(clf, 1, x, cut, join, x.shape[2] ** 0.5)
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-5)


def test_without_a_mask_padding_is_looked_at(clf):
    x, y = attention_of(clf, [LONG, SHORT], "padding", 0)
    cut, join = (lambda y: al.attention.split_heads(y, clf.heads)), al.attention.merge_heads
    wanted = by_hand(clf, 0, x, cut, join, (x.shape[2] // clf.heads) ** 0.5)
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-5)
    long = attention_of(clf, [LONG, SHORT], None, 0)[1][0]
    torch.testing.assert_close(y[0], long, rtol=1e-4, atol=1e-5)  # a text without padding


def test_no_hook_stays_behind_when_the_block_fails(clf):
    right = hidden(clf)
    with pytest.raises(KeyError), planted(clf, "reshape", 0):
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(right, hidden(clf), strict=True))


@pytest.mark.parametrize(("fault", "layer"), [("reshap", 0), ("reshape", 9), ("bias", -1)])
def test_what_there_is_not_is_refused(clf, fault, layer):
    named = "reshape" if fault == "reshap" else f"no layer {layer}"
    with pytest.raises(SettingsError, match=named), planted(clf, fault, layer):
        pass
