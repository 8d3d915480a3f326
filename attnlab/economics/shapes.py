"""The numbers that decide what a classifier costs, with no model behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnlab import heads
from attnlab.classification.structure import LowRankLinear, matrices
from attnlab.errors import AttnlabError, ModelError
from attnlab.transformer import parameters_of

__all__ = [
    "PARTS",
    "Shape",
    "Sizes",
    "encoder_decoder_size",
    "megabytes",
    "parameters",
    "parameters_by_part",
    "shape_of",
]

PARTS = (
    "embedding",
    "attention projections",
    "attention scores",
    "feed-forward",
    "classifier",
)
ATTENTION = ("query", "key", "value", "output")
FEED_FORWARD = ("up", "down")
_KINDS = ("embedding", "attention", "feed-forward")  # in names of parts of an encoder-decoder
_COUNTS = ("width", "head_width", "vocabulary", "positions", "classes")


@dataclass(frozen=True)
class Shape:
    """The sizes of a classifier of the BERT family: all that its cost depends on.

    Attributes
    ----------
    layers : for each layer, (heads, neurons); a layer may have no head, and has at least one neuron
    width : of what flows from layer to layer
    head_width : of a head's query, key and value
    vocabulary, positions, types : rows of the three embeddings; types 0 where there are none
    classes : of the answer
    family : as Transformers calls it, such as "bert" or "albert"
    embedding : width of the embeddings, which a projection carries to ``width``; None: ``width``
    sharing : for each layer the first one with the same weights; empty: each has its own
    ranks : ("3.up", R) for each matrix that is a product of two thin ones, see `factorize`

    Raises
    ------
    AttnlabError : a size that is no whole number of the right size, layers that share weights and
        differ

    Examples
    --------
    >>> shape = Shape.of(layers=6, heads=12, neurons=1536, width=384)
    >>> parameters(shape)
    22713986
    """

    layers: tuple[tuple[int, int], ...]
    width: int
    head_width: int
    vocabulary: int
    positions: int
    types: int
    classes: int
    family: str
    embedding: int | None = None
    sharing: tuple[int, ...] = ()
    ranks: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _check(name, getattr(self, name), 1)
        _check("types", self.types, 0)
        if self.embedding is not None:
            _check("embedding", self.embedding, 1)
        if not self.layers:
            raise AttnlabError("This shape has no layers; expected one (heads, neurons) or more.")
        for layer, pair in enumerate(self.layers):
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise AttnlabError(f"Layer {layer} is {pair!r}; expected (heads, neurons).")
            _check(f"heads of layer {layer}", pair[0], 0)
            _check(f"neurons of layer {layer}", pair[1], 1)
        if self.sharing:
            _check_sharing(self.layers, self.sharing)
        if self.embedding == self.width:  # one way to write each shape
            object.__setattr__(self, "embedding", None)
        if self.sharing == tuple(range(len(self.layers))):
            object.__setattr__(self, "sharing", ())

    @classmethod
    def of(
        cls,
        layers: int,
        heads: int,
        neurons: int,
        width: int,
        *,
        head_width: int | None = None,
        vocabulary: int = 30_522,
        positions: int = 512,
        types: int = 2,
        classes: int = 2,
        family: str = "bert",
        embedding: int | None = None,
    ) -> "Shape":
        """Return a shape whose layers are alike; a head is ``width`` / ``heads`` wide.

        Raises
        ------
        AttnlabError : as for the class, and heads that do not divide the width
        """
        for name, value in (("layers", layers), ("heads", heads), ("width", width)):
            _check(name, value, 1)
        if head_width is None:
            if width % heads:
                raise AttnlabError(
                    f"{heads} heads do not divide a width of {width}: say head_width=."
                )
            head_width = width // heads
        return cls(
            ((heads, neurons),) * layers,
            width,
            head_width,
            vocabulary,
            positions,
            types,
            classes,
            family,
            embedding,
        )

    @property
    def embedding_width(self) -> int:
        """The width of the embeddings."""
        return self.width if self.embedding is None else self.embedding

    @property
    def has_projection(self) -> bool:
        """Whether a matrix carries the embeddings to the width of the layers; ALBERT always has."""
        return self.embedding_width != self.width or self.family == "albert"

    def owner(self, layer: int) -> int:
        """The first layer with the same weights as this one."""
        return self.sharing[layer] if self.sharing else layer

    def weights(self, layer: int, matrix: str) -> int:
        """Weights of a matrix of a layer, without bias: "query" to "output", "up", "down"."""
        count, neurons = self.layers[layer]
        inside = count * self.head_width if matrix in ATTENTION else neurons
        if not inside:
            return 0
        rank = dict(self.ranks).get(f"{self.owner(layer)}.{matrix}") if self.ranks else None
        return self.width * inside if rank is None else rank * (self.width + inside)


def shape_of(clf: Any) -> Shape:
    """Return the shape of a classifier as it is now, pruned or not.

    Parameters
    ----------
    clf : Classifier, or Transformers model that classifies whole texts

    Raises
    ------
    ModelError : a family whose layers we do not know, a decoder, a model with a prefix, or one with
        parameters that the shape does not explain, such as those of an adapter
    """
    heads.refuse_prefix(clf, "Counting what a model costs")
    heads.refuse_decoder(clf, "Counting what a model costs")
    heads.refuse_narrowing(clf, "Counting what a model costs")
    model: Any = heads.model_of(clf)
    sites, blocks = heads.sites(model), heads.feed_forwards(model)
    embeddings, words = model.base_model.embeddings, model.get_input_embeddings()
    types = getattr(embeddings, "token_type_embeddings", None)
    owners = tuple(heads.sharing_layers(model, layer)[0] for layer in range(len(sites)))
    products = {
        name: place.module.down.out_features
        for name, place in matrices(model).items()
        if isinstance(place.module, LowRankLinear)
    }
    shape = Shape(
        layers=tuple(
            (len(heads.active_heads(model, layer)), _outputs(block.up))
            for layer, block in enumerate(blocks)
        ),
        width=model.config.hidden_size,
        head_width=sites[0].head_width,
        vocabulary=words.weight.shape[0],
        positions=embeddings.position_embeddings.weight.shape[0],
        types=0 if types is None else types.weight.shape[0],
        classes=model.config.num_labels,
        family=model.config.model_type,
        embedding=words.weight.shape[1],
        sharing=owners,
        ranks=tuple(products.items()),
    )
    found, expected = sum(one.numel() for one in model.parameters()), parameters(shape)
    if found != expected:
        raise ModelError(
            f"This {type(model).__name__} has {found:,} parameters; a classifier of its sizes has "
            f"{expected:,}. Merge adapters first, and count classifiers of whole texts whose "
            "matrices are plain."
        )
    return shape


Sizes = Shape | Mapping[str, Any]  # of a classifier, or ``model.size`` of a Seq2SeqTransformer


def parameters(shape: Sizes) -> int:
    """Count the parameters of a model of this shape, biases and norms included.

    Parameters
    ----------
    shape : Shape, or ``model.size`` of a `Seq2SeqTransformer`
    """
    return sum(parameters_by_part(shape).values())


def parameters_by_part(shape: Sizes) -> dict[str, int]:
    """Count parameters by part, one of `PARTS` each; a norm counts with what it normalises.

    "classifier" is the pooler, too; of an encoder-decoder it is the output matrix, unless it is
    tied to the embedding, and the last norms.
    """
    if not isinstance(shape, Shape):
        return _of_encoder_decoder(encoder_decoder_size(shape))
    width, narrow = shape.width, shape.embedding_width
    norm = 2 * width
    embedding = (shape.vocabulary + shape.positions + shape.types + 2) * narrow
    if shape.has_projection:
        embedding += narrow * width + width
    attention = feed_forward = 0
    for layer, (count, neurons) in enumerate(shape.layers):
        if shape.owner(layer) == layer:
            biases = 3 * count * shape.head_width + width
            attention += sum(shape.weights(layer, name) for name in ATTENTION) + biases + norm
            weights = sum(shape.weights(layer, name) for name in FEED_FORWARD)
            feed_forward += weights + neurons + width + norm
    classifier = width * width + width + width * shape.classes + shape.classes
    return dict(zip(PARTS, (embedding, attention, 0, feed_forward, classifier), strict=True))


def megabytes(shape: Sizes, number_format: str = "float32") -> float:
    """Return the size of the weights, in 10^6 bytes.

    Parameters
    ----------
    shape : as for `parameters`
    number_format : "float32", or "int8" of a classifier: matrices in bytes as `Classifier.export`
        writes them, with a factor and a zero point (5 bytes) for each output of a matrix and for
        each embedding; biases and norms stay in float32. The graph around them comes on top: in
        the file of MiniLM with six layers about half a megabyte.

    Raises
    ------
    AttnlabError : another number format; int8 of an encoder-decoder, which has no such export
    """
    if number_format == "float32":
        return 4 * parameters(shape) / 1e6
    if number_format != "int8":
        raise AttnlabError(f"{number_format=} is not known; expected 'float32' or 'int8'.")
    if not isinstance(shape, Shape):
        raise AttnlabError(
            "Only classifiers are exported in int8, and this is the size of an encoder-decoder. "
            "Ask for float32."
        )
    weights, outputs = _weights_and_outputs(shape)
    embeddings = 2 + (shape.types > 0)
    return (weights + 4 * (parameters(shape) - weights) + 5 * (outputs + embeddings)) / 1e6


def _weights_and_outputs(shape: Shape) -> tuple[int, int]:
    """Weights of all matrices, embeddings included, and outputs of all matrices but those."""
    width, narrow = shape.width, shape.embedding_width
    weights = (shape.vocabulary + shape.positions + shape.types) * narrow
    weights += width * width + width * shape.classes + shape.has_projection * narrow * width
    outputs = width + shape.classes + shape.has_projection * width
    ranks = dict(shape.ranks)
    for layer, (count, neurons) in enumerate(shape.layers):
        if shape.owner(layer) != layer:
            continue
        inside = dict.fromkeys(ATTENTION, count * shape.head_width)
        inside |= dict.fromkeys(FEED_FORWARD, neurons)
        for matrix, size in inside.items():
            weights += shape.weights(layer, matrix)
            if size:
                outputs += width if matrix in ("output", "down") else size
                outputs += ranks.get(f"{layer}.{matrix}", 0)
    return weights, outputs


def encoder_decoder_size(size: Any) -> dict[str, Any]:
    """The size of an encoder-decoder as a dict; AttnlabError for anything else."""
    needed = {"encoder_layers", "decoder_layers", "d_model"}
    if not isinstance(size, Mapping) or not needed <= size.keys():
        raise AttnlabError(
            f"Expected a Shape or the size of a Seq2SeqTransformer, got a {type(size).__name__}. "
            "shape_of(clf) tells the shape of a classifier, model.size that of an encoder-decoder."
        )
    return dict(size)


def _of_encoder_decoder(size: dict[str, Any]) -> dict[str, int]:
    counted = dict(parameters_of(size).itertuples(index=False))
    sums = {kind: sum(n for part, n in counted.items() if kind in part) for kind in _KINDS}
    attentions = size["encoder_layers"] + 2 * size["decoder_layers"]
    networks = size["encoder_layers"] + size["decoder_layers"]
    norms = {
        "attention": 2 * size["d_model"] * attentions,
        "feed-forward": 2 * size["d_model"] * networks,
    }
    counts = (
        sums["embedding"],
        sums["attention"] + norms["attention"],
        0,
        sums["feed-forward"] + norms["feed-forward"],
        counted["output"] + counted["norms"] - sum(norms.values()),
    )
    return dict(zip(PARTS, counts, strict=True))


def _outputs(linear: Any) -> int:
    if isinstance(linear, LowRankLinear):
        linear = linear.up
    if not hasattr(linear, "out_features"):
        raise ModelError(
            f"The neurons of a {type(linear).__name__} cannot be told. Count before another "
            "library changes the matrices."
        )
    return linear.out_features


def _check(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise AttnlabError(f"{name} is {value!r}; expected a whole number of at least {least}.")


def _check_sharing(layers: Sequence[tuple[int, int]], sharing: Sequence[int]) -> None:
    fine = len(sharing) == len(layers) and all(
        0 <= owner <= layer and sharing[owner] == owner for layer, owner in enumerate(sharing)
    )
    if not fine:
        raise AttnlabError(
            f"sharing is {sharing!r}; expected for each of {len(layers)} layers the first one with "
            "the same weights, such as (0, 0, 2)."
        )
    for layer, owner in enumerate(sharing):
        if layers[layer] != layers[owner]:
            raise AttnlabError(
                f"Layers {owner} and {layer} share their weights, and are to have {layers[owner]} "
                f"and {layers[layer]} (heads, neurons). Give both the same."
            )


def __dir__() -> list[str]:
    return sorted(__all__)
