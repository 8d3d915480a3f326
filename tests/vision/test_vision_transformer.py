"""Our vision Transformer against Transformers' and against the equations written out."""

import numpy as np
import pytest
import torch
from tiny_images import tiny_vit
from torch import nn
from torch.nn import functional as F

from attnlab import heads
from attnlab.attention import rotary_angles_2d, sinusoidal_positions_2d
from attnlab.errors import ModelError, TensorError
from attnlab.vision import VisionTransformer, from_transformers, to_transformers
from attnlab.vision.hub import _pairs

SIZE = {"image": (8, 12), "patch": 4, "d_model": 32, "heads": 4, "layers": 2, "classes": 3}


def made(**changes):
    torch.manual_seed(0)
    model = VisionTransformer(**SIZE | changes).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
            if "attention" in name and parameter.dim() > 1:
                parameter.mul_(3)
    return model


def pictures(model, count=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, model.size["channels"], *model.size["image"])
    return torch.randn(shape, generator=generator)


def with_gradients(model, images, labels):
    """Logits, gradients of the loss by every parameter, and by the pixels."""
    images = images.clone().requires_grad_()
    model.zero_grad()
    logits = model(images)
    logits = getattr(logits, "logits", logits)
    F.cross_entropy(logits, labels).backward()
    return logits.detach(), images.grad


def written_out(model, images):
    """A vision Transformer as torchvision writes it: torch's own layers, with copied weights."""
    size, width = model.size, model.size["d_model"]
    projection = nn.Conv2d(size["channels"], width, size["patch"], size["patch"])
    projection.weight = nn.Parameter(
        model.embedding.linear.weight.detach().view_as(projection.weight)
    )
    projection.bias = nn.Parameter(model.embedding.linear.bias.detach())
    x = projection(images).reshape(len(images), width, -1).permute(0, 2, 1)
    x = torch.cat([model.cls.expand(len(images), -1, -1), x], dim=1) + model.positions
    for layer in model.layers:
        attention = nn.MultiheadAttention(width, size["heads"], batch_first=True)
        own = layer.attention
        parts = (own.query, own.key, own.value)
        with torch.no_grad():
            attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            attention.out_proj.weight.copy_(own.output.weight)
            attention.out_proj.bias.copy_(own.output.bias)
        first, second = layer.around_attention.norm, layer.around_feed_forward.norm
        y = F.layer_norm(x, (width,), first.weight, first.bias, first.eps)
        x = x + attention(y, y, y, need_weights=False)[0]
        y = F.layer_norm(x, (width,), second.weight, second.bias, second.eps)
        up, down = layer.feed_forward[0], layer.feed_forward[3]
        x = x + F.linear(F.gelu(F.linear(y, up.weight, up.bias)), down.weight, down.bias)
    x = F.layer_norm(x, (width,), model.norm.weight, model.norm.bias, model.norm.eps)
    return F.linear(x[:, 0], model.classifier.weight, model.classifier.bias)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_vision_transformer_of_torchvision(channels):
    model = made(channels=channels)
    images = pictures(model).requires_grad_()
    wanted = written_out(model, images)
    assert wanted.std() > 0.1
    assert torch.allclose(model(images), wanted, atol=1e-5)
    slopes = [
        torch.autograd.grad(given.square().sum(), images)[0] for given in (model(images), wanted)
    ]
    assert torch.allclose(*slopes, atol=1e-5)


def test_transformers_vit_has_our_logits_and_our_gradients():
    ours = made(channels=3, dropout=0.1)
    theirs = to_transformers(ours, ["a", "b", "c"])
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"} and not theirs.training
    assert theirs.config.label2id == {"a": 0, "b": 1, "c": 2}
    images, labels = pictures(ours), torch.tensor([0, 2, 1])
    (mine, my_slopes), (other, other_slopes) = (
        with_gradients(model, images, labels) for model in (ours, theirs)
    )
    assert torch.allclose(mine, other, atol=1e-5)
    assert torch.allclose(my_slopes, other_slopes, atol=1e-5)
    pairs = list(_pairs(ours, theirs))
    assert len(pairs) == len(list(ours.parameters())) == len(list(theirs.parameters()))
    # biases of keys add the same to all scores of a query, so theirs are 0
    assert sum(bool(own.grad.abs().sum() > 1e-3) for own, _ in pairs) >= len(pairs) - 2
    for own, their in pairs:
        assert torch.allclose(own.grad, their.grad.view_as(own), atol=1e-5)


def test_our_vit_has_the_logits_of_transformers_and_goes_back_to_the_same_weights():
    theirs = tiny_vit(layer_norm_eps=1e-3, num_channels=3)
    ours = from_transformers(theirs)
    images, labels = pictures(ours), torch.tensor([0, 2, 1])
    (mine, my_slopes), (other, other_slopes) = (
        with_gradients(model, images, labels) for model in (ours, theirs)
    )
    assert torch.allclose(mine, other, atol=1e-5)
    assert torch.allclose(my_slopes, other_slopes, atol=1e-5)
    again = to_transformers(ours, ["a", "b", "c"])
    assert again.config.layer_norm_eps == 1e-3
    before = theirs.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize("positions", ["sinusoidal", "none"])
def test_positions_that_are_vectors_go_with_it_to_transformers(positions):
    ours = made(positions=positions)
    images = pictures(ours)
    theirs = to_transformers(ours, ["a", "b", "c"])
    assert torch.allclose(theirs(images).logits, ours(images), atol=1e-5)


def test_dropout_and_mode_go_there_and_back():
    theirs = to_transformers(made(dropout=0.25).train(), ["a", "b", "c"])
    assert theirs.training
    config = theirs.config
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.25
    again = from_transformers(theirs)
    assert again.training and again.size["dropout"] == 0.25
    assert not from_transformers(theirs.eval()).training


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"pool": "mean"}, r"no pool='mean' \(theirs reads"),
        ({"pool": "attention"}, "no pool='attention'"),
        ({"positions": "rotary"}, "no positions='rotary'"),
        ({"stem": True}, "no stem=True"),
    ],
)
def test_what_transformers_does_not_have_is_refused(changes, told):
    with pytest.raises(ModelError, match=told):
        to_transformers(made(**changes), ["a", "b", "c"])


def test_other_models_and_names_are_refused():
    with pytest.raises(ModelError, match="2 names of labels"):
        to_transformers(made(), ["a", "b"])
    with pytest.raises(ModelError, match="Expected a ViTForImageClassification"):
        from_transformers(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="its activation is 'relu'"):
        from_transformers(tiny_vit(hidden_act="relu"))
    with pytest.raises(ModelError, match="have no bias"):
        from_transformers(tiny_vit(qkv_bias=False))
    with pytest.raises(ModelError, match="heads of it were removed"):
        from_transformers(heads.prune(tiny_vit(), [(0, 1)]))


# ── kinds ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pool", ["cls", "mean", "attention"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
@pytest.mark.parametrize("stem", [False, True])
def test_every_kind_answers_and_learns_in_all_of_its_parts(pool, positions, stem):
    model = made(pool=pool, positions=positions, stem=stem)
    images = pictures(model)
    assert model.encode(images).shape == (3, 6 + (pool == "cls"), 32)
    assert model(images).shape == (3, 3)
    F.cross_entropy(model(images), torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("key.bias"):  # it adds the same to all scores of a query
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
def test_without_positions_the_order_of_the_patches_makes_no_difference(positions):
    model = made(positions=positions, layers=3)
    images = pictures(model)
    columns = torch.tensor([8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7])  # whole patches moved
    moved = images[..., columns]
    same = torch.allclose(model(images), model(moved), atol=1e-5)
    assert same == (positions == "none")


def test_cls_stands_nowhere_and_each_patch_in_its_cell():
    table = sinusoidal_positions_2d(2, 3, 32)
    positions = made(positions="sinusoidal").positions[0]
    assert torch.equal(positions[1:], table) and not positions[0].any()
    assert torch.equal(made(positions="sinusoidal", pool="mean").positions[0], table)
    angles = made(positions="rotary").angles
    assert torch.equal(angles[1:], rotary_angles_2d(2, 3, 8)) and not angles[0].any()


def test_answers_are_read_from_what_pool_names():
    tokens = torch.randn(3, 6, 32)
    assert torch.equal(made().pool(tokens), tokens[:, 0])
    assert torch.allclose(made(pool="mean").pool(tokens), tokens.sum(1) / 6, atol=1e-6)
    model = made(pool="attention")
    width, own = 32, model.pooling
    attention = nn.MultiheadAttention(width, 4, batch_first=True)
    parts = (own.query, own.key, own.value)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        attention.out_proj.load_state_dict(own.output.state_dict())
    wanted = attention(model.query.expand(3, -1, -1), tokens, tokens)[0][:, 0]
    assert torch.allclose(model.pool(tokens), wanted, atol=1e-5)


def test_what_heads_looked_at_can_be_seen():
    model = made()
    images, seen = pictures(model), []
    assert torch.allclose(model.encode(images, seen), model.encode(images), atol=1e-5)
    assert [weights.shape for weights, _ in seen] == [(3, 4, 7, 7)] * 2
    assert torch.allclose(seen[0][0].sum(-1), torch.ones(3, 4, 7), atol=1e-5)
    theirs = to_transformers(model, ["a", "b", "c"])
    theirs.set_attn_implementation("eager")
    wanted = theirs(images, output_attentions=True).attentions
    for (weights, _), other in zip(seen, wanted, strict=True):
        assert torch.allclose(weights, other, atol=1e-5)


def test_one_number_is_a_square():
    model = VisionTransformer(28, 7, 16, 2, 1, 10)
    assert (model.grid, model.size["image"], model.size["feed_forward"]) == ((4, 4), (28, 28), 64)


@pytest.mark.parametrize(
    "changes, error, told",
    [
        ({"patch": 5}, TensorError, "must divide both"),
        ({"pool": "max"}, ModelError, "There is no pool 'max'"),
        ({"positions": "2d"}, ModelError, "There is no positions '2d'"),
        ({"heads": 5}, TensorError, "multiple of their number"),
        ({"layers": 0}, TensorError, "layers is 0"),
        ({"dropout": 1.5}, ModelError, "dropout is 1.5"),
        ({"positions": "rotary", "heads": 16}, TensorError, "width"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, error, told):
    with pytest.raises(error, match=told):
        made(**changes)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(TensorError, match="reads pictures of 8 x 12"):
        made()(torch.randn(1, 1, 12, 8))
    with pytest.raises(TensorError, match="reads 1 channels"):
        made()(torch.randn(1, 3, 8, 12))
    with pytest.raises(TensorError, match="floating-point"):
        made()(torch.from_numpy(np.zeros((1, 1, 8, 12), np.uint8)))
