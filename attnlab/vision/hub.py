"""From our vision Transformer to that of Transformers, and back: the same numbers, other names."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from attnlab import heads
from attnlab.errors import ModelError
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = ["from_transformers", "refuse_other_shapes", "to_transformers"]


def to_transformers(
    model: VisionTransformer, label_names: Sequence[str]
) -> ViTForImageClassification:
    """Return a ViT of Transformers that computes the same; the model given stays as it is.

    Parameters
    ----------
    model : VisionTransformer with pool "cls", positions that are vectors, and no stem
    label_names : of its classes, in order

    Raises
    ------
    ModelError : a model whose parts Transformers' ViT does not have; or other than one name for
        each class
    """
    refuse_other_shapes(model.size)
    size, names = model.size, list(label_names)
    if len(names) != size["classes"]:
        raise ModelError(
            f"There are {len(names)} names of labels ({', '.join(map(str, names[:5]))}) and the "
            f"model has {size['classes']} classes. Give one name for each."
        )
    config = ViTConfig(
        image_size=list(size["image"]),
        patch_size=size["patch"],
        num_channels=size["channels"],
        hidden_size=size["d_model"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=size["feed_forward"],
        hidden_dropout_prob=size["dropout"],
        attention_probs_dropout_prob=size["dropout"],
        layer_norm_eps=model.norm.eps,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    theirs: Any = ViTForImageClassification(config)
    with torch.no_grad():
        for ours, other in _pairs(model, theirs):
            other.copy_(ours.view_as(other))
    return theirs.to(model.classifier.weight.device).train(model.training)


def from_transformers(model: Any) -> VisionTransformer:
    """Return our vision Transformer with the weights of one of Transformers, which stays as it is.

    Parameters
    ----------
    model : ViTForImageClassification, with all of its heads

    Raises
    ------
    ModelError : another model; one with an activation other than the GELU, without biases of query,
        key and value, or with heads removed for good
    """
    config = getattr(model, "config", None)
    if not isinstance(model, ViTForImageClassification) or config is None:
        raise ModelError(
            f"Expected a ViTForImageClassification, got {type(model).__name__}. "
            "al.load_image_classifier(...).model is one."
        )
    trouble = {
        f"its activation is {config.hidden_act!r}, and ours the GELU": config.hidden_act != "gelu",
        "its queries, keys and values have no bias": not config.qkv_bias,
        "heads of it were removed for good": bool(heads.removed(model)),
        "its patches are not square": not isinstance(config.patch_size, int),
    }
    for what, so in trouble.items():
        if so:
            raise ModelError(
                f"This ViT cannot become a VisionTransformer: {what}. heads.applied, heads.record "
                "and ImageClassifier take it as it is."
            )
    side = config.image_size
    ours = VisionTransformer(
        side if isinstance(side, int) else tuple(side),
        config.patch_size,
        config.hidden_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        config.num_labels,
        channels=config.num_channels,
        feed_forward=config.intermediate_size,
        dropout=config.hidden_dropout_prob,
    )
    for module in ours.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = config.layer_norm_eps
    with torch.no_grad():
        for own, other in _pairs(ours, model):
            own.copy_(other.view_as(own))
    return ours.to(model.device).train(model.training)


def refuse_other_shapes(size: dict[str, Any]) -> None:
    """Raise ModelError for a size of `VisionTransformer` that Transformers' ViT does not have."""
    troubles = {
        f"pool={size['pool']!r} (theirs reads the answer from [CLS], pool='cls')": size["pool"]
        != "cls",
        "positions='rotary' (theirs adds a vector to each patch, positions='learned')": size[
            "positions"
        ]
        == "rotary",
        "stem=True (theirs cuts patches out of the pixels, stem=False)": size["stem"],
    }
    found = [what for what, so in troubles.items() if so]
    if found:
        raise ModelError(
            f"Transformers' ViT has no {', no '.join(found)}. Use the VisionTransformer itself, or "
            "train one with the parts named in brackets."
        )


def _pairs(ours: VisionTransformer, theirs: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Each tensor of ours beside theirs of the same numbers."""
    embeddings = theirs.vit.embeddings
    yield from _parameters(ours.embedding.linear, embeddings.patch_embeddings.projection)
    assert ours.cls is not None  # `refuse_other_shapes`
    yield ours.cls, embeddings.cls_token
    positions = embeddings.position_embeddings
    yield torch.zeros_like(positions) if ours.positions is None else ours.positions, positions
    layers = zip(ours.layers, heads.sites(theirs), heads.feed_forwards(theirs), strict=True)
    for layer, site, block in layers:
        attention: Any = layer.attention
        for own, name in (("query", site.query), ("key", site.key), ("value", site.value)):
            yield from _parameters(getattr(attention, own), getattr(site.module, name))
        yield from _parameters(attention.output, site.output)
        feed_forward: Any = layer.feed_forward
        yield from _parameters(feed_forward[0], block.up)
        yield from _parameters(feed_forward[-1], block.down)
        around: Any = layer
        yield from _parameters(around.around_attention.norm, block.norm)
        yield from _parameters(around.around_feed_forward.norm, block.attention_norm)
    yield from _parameters(ours.norm, theirs.vit.layernorm)
    yield from _parameters(ours.classifier, theirs.classifier)


def _parameters(ours: nn.Module, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of two modules; a convolution's weight has more axes, not other numbers."""
    for name in ("weight", "bias"):
        yield getattr(ours, name), getattr(theirs, name)


def __dir__() -> list[str]:
    return sorted(__all__)
