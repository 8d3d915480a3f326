"""What happens to one text on its way through a classifier, read off a single forward pass.

In comments L is layers, H heads, T tokens, D head width, E the model's width, C labels, N numbers
of a vector that are drawn.
"""

import collections
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import shown
from attnlab.errors import ModelError
from attnlab.evaluation.layers import classification_head, embedded
from attnlab.inference import evaluating
from attnlab.show import plots

PARTS = ("query", "key", "value")
SHOWN = 32  # numbers of a token's vector that are drawn


@dataclass(frozen=True, eq=False)
class Flow:
    """A text on its way through a classifier whose heads are as they were trained.

    Attributes
    ----------
    text, tokens : the text, and its T tokens as people read them
    ids : their T numbers in the vocabulary, which has ``vocabulary`` of them
    looked_up : Tensor, shape (T, E'), the row of each of these numbers in the table of learned
        vectors, before anything says where in the text it stands
    positions : Tensor, shape (T, E'), what is added to say that. (Where a model has vectors for
        several texts in one, as BERT has, another is added, the same for all tokens.)
    hidden : Tensor, shape (L + 1, T, E): the embedding, and what each layer makes of it
    columns : for each layer the numbers (N) of the vectors entering it that are drawn, in equal
        steps, the largest of all among them
    query, key, value : Tensor, shape (L, H, T, D); zeros for heads removed for good
    matrices : Tensor, shape (3, L, H, N, D), the rows of W_Q, W_K and W_V for these numbers: what
        1 in this place of a vector adds to a query, key and value; zeros as above
    added : Tensor, shape (L, H, T, E), what each head adds to each token's vector: its mixture
        through the output projection, without that projection's bias
    offered : Tensor, shape (L, H, T), how long each token's value is after the output projection:
        what a head would add to a token that gave it all its weight
    attention : Tensor, shape (L, T, E), what all heads and the bias add together
    attended : Tensor, shape (L, T, E), vector and attention, rescaled by LayerNorm
    fed : Tensor, shape (L, T, E), what the feed-forward network adds to ``attended``
    neurons : Tensor, shape (L, T, F), the numbers inside that network, after its activation
    answers : Tensor, shape (L + 1, C), probabilities: the model's own classification head applied
        to the first token before the first layer and after each. It was trained for the last one
        only, so that all the others are approximations.
    label_names : of the C labels
    removed : list of [layer, head], those removed for good
    """

    text: str
    tokens: list[str]
    ids: list[int]
    vocabulary: int
    looked_up: Tensor
    positions: Tensor
    hidden: Tensor
    columns: list[list[int]]
    query: Tensor
    key: Tensor
    value: Tensor
    matrices: Tensor
    added: Tensor
    offered: Tensor
    attention: Tensor
    attended: Tensor
    fed: Tensor
    neurons: Tensor
    answers: Tensor
    label_names: list[str]
    removed: list[list[int]]


def read_flow(clf: Classifier, text: str) -> Flow:
    """Run a classifier on a text, and keep what each layer was given and what its heads made of it.

    Settings of an `applied` block around the call do not hold.

    Raises
    ------
    DataError : an empty text
    ModelError : a model with a prefix, a decoder, or one that normalises before attention
    """
    model = heads.model_of(clf)
    _refuse(clf, model)
    look_up: Any = model.get_input_embeddings()
    encoded = clf.encode([text])
    inputs = {name: tensor.to(clf.device) for name, tensor in encoded.batch([0]).items()}
    without_mask = {name: part for name, part in inputs.items() if name != "attention_mask"}
    with torch.inference_mode(), _noted(model) as noted:
        heads.run(clf, inputs, clf.settings())
        with evaluating(model):
            states = [embedded(model.base_model, without_mask), *noted["hidden"]]
            looked_up = look_up(inputs["input_ids"])[0]
            read_out = classification_head(model)
            answers = torch.cat([read_out(state[:, :1]).float().softmax(-1) for state in states])
    hidden, attended = (_stacked(parts) for parts in (states, noted["attended"]))
    columns = [every_so_many(entering) for entering in hidden[:-1]]
    with torch.inference_mode(), evaluating(model):
        added, offered = (_added(clf, noted[given]) for given in ("mixtures", "value"))
        matrices = torch.stack([_matrices(clf, part, states, columns) for part in PARTS])
    query, key, value = (_by_head(clf, noted[part]) for part in PARTS)
    ids = encoded.ids(0)
    return Flow(
        text,
        plots.readable(shown(clf.tokenizer, text, ids, clf.max_length)),
        [int(number) for number in ids],
        len(clf.tokenizer),
        looked_up.float().cpu(),
        (noted["embedding sum"][0][0] - looked_up - _of_the_text(model)).float().cpu(),
        hidden,
        columns,
        query,
        key,
        value,
        matrices,
        added,
        offered.norm(dim=-1),
        _stacked(noted["attention sum"]) - hidden[:-1],
        attended,
        _stacked(noted["feed-forward sum"]) - attended,
        _stacked(noted["neurons"]),
        answers.cpu(),
        list(clf.label_names),
        [list(place) for place in heads.removed(model)],
    )


def _refuse(clf: Classifier, model: Any) -> None:
    """Raise ModelError for a model whose layers cannot be followed like those of BERT."""
    heads.refuse_prefix(clf, "Following a sentence through the layers")
    heads.refuse_decoder(clf, "Following a sentence through the layers")
    if any(block.pre_norm for block in heads.feed_forwards(model)):
        raise ModelError(
            f"The layers of a {model.config.model_type!r} model normalise before attention, not "
            "after it. What is followed here is BERT and its family."
        )


@contextlib.contextmanager
def _noted(model: Any) -> Iterator[dict[str, list[Tensor]]]:
    """Note what parts of the layers are given and return, layer by layer, in this thread only.

    Layers that share their modules (ALBERT's) come in their order, too.
    """
    mine = threading.get_ident()
    noted: dict[str, list[Tensor]] = collections.defaultdict(list)
    # module, and the names of what it is given and of what it returns
    places: list[tuple[Any, str, str]] = [
        (model.base_model.embeddings.LayerNorm, "embedding sum", "")
    ]
    for block in heads.feed_forwards(model):
        places += [
            (block.attention_norm, "attention sum", "attended"),
            (block.norm, "feed-forward sum", "hidden"),
            (block.down, "neurons", ""),
        ]
    for site in heads.sites(model):
        names = (site.query, site.key, site.value)
        places += [
            (getattr(site.module, name), "", part) for part, name in zip(PARTS, names, strict=True)
        ]
        places.append((site.output, "mixtures", ""))

    def noting(given_name: str, returned_name: str) -> Any:
        def hook(_module: Any, given: Any, output: Tensor) -> None:
            if threading.get_ident() == mine:
                noted[given_name].append(given[0])
                noted[returned_name].append(output)

        return hook

    modules = {id(module): (module, names) for module, *names in places}
    hooks = [module.register_forward_hook(noting(*names)) for module, names in modules.values()]
    try:
        yield noted
    finally:
        for one in hooks:
            one.remove()


def _of_the_text(model: Any) -> Tensor | float:
    """What tells the first of several texts from the others (E'), where a model has that."""
    kinds = getattr(model.base_model.embeddings, "token_type_embeddings", None)
    return 0.0 if kinds is None else kinds.weight[0].detach()


def _stacked(layers: list[Tensor]) -> Tensor:
    """What each layer makes, (1, T, E) or (T, E), as (L, T, E)."""
    return torch.cat([made.reshape(-1, *made.shape[-2:]) for made in layers]).float().cpu()


def _added(clf: Classifier, layers: list[Tensor]) -> Tensor:
    """What each head adds to each token (L, H, T, E), from its mixtures (1, T, h D) in each layer.

    Or what it makes of each value, from the values in their place.

    The projection itself is asked, with all other heads at 0, whatever kind of module it is.
    """
    model = heads.model_of(clf)
    made = []
    for layer, (site, mixtures) in enumerate(zip(heads.sites(model), layers, strict=True)):
        active = heads.active_heads(clf, layer)
        bias = site.output(torch.zeros_like(mixtures))  # (1, T, E)
        whole = bias.new_zeros(clf.heads, *bias.shape[1:])
        if active:
            apart = mixtures[0].unflatten(-1, (len(active), -1))  # (T, h, D)
            alone = torch.eye(len(active), dtype=apart.dtype, device=apart.device)
            only = alone[:, None, :, None] * apart  # (h, T, h, D)
            whole[active] = site.output(only.flatten(-2)) - bias
        made.append(whole)
    return torch.stack(made).float().cpu()


def every_so_many(vectors: Tensor, most: int = SHOWN) -> list[int]:
    """Numbers of vectors (..., E) in equal steps, the one furthest from 0 among them.

    So they stand for all: numbers that were picked by their size would make what is added to a
    vector look smaller than it is.
    """
    width = vectors.shape[-1]
    step = -(-width // most)
    largest = int(vectors.abs().flatten(0, -2).amax(0).argmax())
    return list(range(largest % step, width, step))


def _matrices(clf: Classifier, part: str, states: list[Tensor], columns: list[list[int]]) -> Tensor:
    """The rows of each head's W_Q, W_K or W_V for some numbers of a vector (L, H, N, D).

    The projection itself is asked, with a single 1 in each vector, whatever kind of module it is.
    """
    made = []
    for site, state, chosen in zip(heads.sites(heads.model_of(clf)), states, columns, strict=False):
        projection = getattr(site.module, getattr(site, part))
        ones = torch.eye(state.shape[-1], dtype=state.dtype, device=state.device)[None, chosen]
        made.append(projection(ones) - projection(torch.zeros_like(ones)))
    return _by_head(clf, made)


def _by_head(clf: Classifier, layers: list[Tensor]) -> Tensor:
    """Queries, keys or values (1, T, h D) of each layer as (L, H, T, D)."""
    width = heads.sites(heads.model_of(clf))[0].head_width
    made = []
    for layer, output in enumerate(layers):
        whole = output.new_zeros(clf.heads, output.shape[1], width)
        whole[heads.active_heads(clf, layer)] = output[0].unflatten(-1, (-1, width)).transpose(0, 1)
        made.append(whole)
    return torch.stack(made).float().cpu()
