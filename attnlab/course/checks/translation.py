"""Checks of lesson 03, translation."""

import contextlib
import functools
import math
import numbers
from collections.abc import Callable, Generator, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.attention import MultiHeadAttention
from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_list,
    a_number,
    a_pair,
    a_tensor,
    compare,
    require,
    same,
    where,
)
from attnlab.errors import AttnlabError

Held = Generator[str, None, None]


# --- teacher_forcing -----------------------------------------------------------------------------


def teacher_forcing(answer: Answer, draw: Draw) -> Held:
    """``teacher_forcing(ids, start, end)``: what the decoder reads, and what it is to say."""
    start, end, *ids = _different(draw, 7)
    fed, labels = _forced(answer, ids, start, end)
    whole = [start, *ids, end]
    mistakes = {
        "What it reads and what it is to say are the same list, so copying is all that it learns.\n"
        "At each place, what comes next?": [
            (one, one) for one in (ids, whole[:-1], whole[1:], whole)
        ],
        "The decoder is asked for the token before the one it reads, which it has read already.\n"
        "Have the two lists changed places, or is the shift the other way?": [
            (whole[1:], whole[:-1]),
            (ids, whole[:-1]),
            (ids, [start, *ids[:-1]]),
        ],
        "Start and end have changed places: it begins with the end mark and is to say the start mark.\n"
        "Which of the two is the first thing it reads?": [([end, *ids], [*ids, start])],
        "The decoder is never asked for the end mark, so it will not learn to stop.\n"
        "What is it to say after the last token?": [
            (whole[:-1], ids),
            (whole[:-2], ids),
            (whole, [*ids, start]),
        ],
        "The labels hold the start mark. Nobody says it: it is there so that there is something to read first.\n"
        "What is the first token to say?": [
            (whole[:-1], whole),
            (whole, [*whole[1:], start]),
            (ids, whole),
        ],
        "The last token is lost: it is never to be said.\n"
        "Do you cut one off where nothing is too many?": [
            (whole[:-2], [*ids[:-1], end]),
            (whole[:-1], [*ids[:-1], end]),
            (whole[:-2], ids[:-1]),
            (whole[:-1], ids[:-1]),
        ],
        "The decoder reads the end mark, too, and nothing is left to say after it.\n"
        "What is the last thing it has to read?": [(whole, whole[1:])],
        "The decoder does not read the start mark: what has it read when it is to say the first token?": [
            (ids, whole[1:]),
            (ids, [*ids[1:], end]),
        ],
        "The labels are shifted twice: the decoder is to say the token after the next.\n"
        "After the start mark, what is to be said?": [
            (whole[:-1], [*ids[1:], end]),
            (whole[:-1], [*ids[1:], end, end]),
        ],
        "The labels are right, but the last token is missing in what the decoder reads.\n"
        "What does it read just before it is to say the end mark?": [(whole[:-2], whole[1:])],
    }
    for told, pairs in mistakes.items():
        require((fed, labels) not in pairs, told)
    right = whole[:-1], whole[1:]
    shown = f"With ids {ids}, start {start} and end {end}"
    require(
        fed == right[0],
        f"{shown} the decoder reads {fed}.\nBefore each of the tokens to say, which one has it just read?",
    )
    require(
        labels == right[1],
        f"{shown} the labels are {labels}.\nAfter each token it reads, which one comes?",
    )
    yield "labels are what is fed, one place ahead, with the end mark last"
    for ids in ([draw.whole(20, 30)], []):
        with where(f"Right for five tokens, wrong for {len(ids)}:"):
            fed, labels = _forced(answer, ids, start, end)
            require(
                (fed, labels) == ([start, *ids], [*ids, end]),
                f"The decoder reads {fed} and is to say {labels}.\n"
                "Even an empty sentence has an end to say: are the marks added whatever the length?",
            )
    yield "a sentence of one token, and an empty one"


def _forced(answer: Answer, ids: list[int], start: int, end: int) -> tuple[list[int], list[int]]:
    fed, labels = a_pair(answer(ids, start, end), "what is fed", "labels")
    return _ids(fed, "what is fed"), _ids(labels, "labels")


def _different(draw: Draw, count: int, most: int = 20) -> list[int]:
    """So many different ids below ``most``."""
    return torch.randperm(most, generator=draw.generator)[:count].tolist()


def _ids(result: object, what: str) -> list[int]:
    found = a_list(result, what)
    for one in found:
        whole = isinstance(one, numbers.Integral) or (
            isinstance(one, Tensor) and one.dim() == 0 and not one.is_floating_point()
        )
        if not whole or isinstance(one, bool):
            raise CheckFailed(
                f"{what[0].upper() + what[1:]}: there is a {type(one).__name__} among the ids; "
                "an id is a whole number.\nIs a list put into the list, where its tokens belong?"
            )
    return [int(one) for one in found]


# --- decoder_mask --------------------------------------------------------------------------------


def decoder_mask(answer: Answer, draw: Draw) -> Held:
    """``decoder_mask(target, padding)``: the past and the token itself, and never padding as a key."""
    tokens = draw.whole(4, 7)
    target = _sentences(draw, [tokens], padding=0)
    right = _may_look(target, 0)
    ones = torch.ones(1, tokens, tokens, dtype=torch.bool)
    compare(
        _seen(answer, target, 0),
        right,
        {
            "A token may not look at itself, so the first one sees nothing.\n"
            "What a decoder reads is one place behind its labels: does the diagonal give anything away?": (
                lambda: ones.tril(-1)
            ),
            "Every token looks one place ahead: there stands the very token it is to say.\n"
            "The shift is in the labels already: which diagonal is the last to be seen?": (
                lambda: ones.tril(1)
            ),
            "Every token looks at itself and the future.\n"
            "Rows are queries, columns are keys: which corner is the past?": lambda: ones.triu(),
            "The mask is turned round: True marks what is hidden.\n"
            "Here True means that looking is allowed: which `~` is missing, or too many?": (
                lambda: ones.triu(1)
            ),
            "Every token looks everywhere, so it can read off what it is to say.\n"
            "Where is the causal mask?": lambda: ones,
            "No token may look anywhere, though nothing is padding here.\n"
            "Which comparison says that a token is *not* padding?": lambda: ~ones,
        },
        "Without padding row i should be True in columns 0 to i, and False beyond.\nWhich place differs?",
    )
    yield "without padding: itself and the past, never the future"

    for padding in (0, draw.whole(3, 9)):
        target = _sentences(draw, [6, 4, 1, 5], padding)
        target[3] = target[3].roll(1)  # its padding stands in front
        _with_padding(answer, target, padding)
    yield "padding is never a key, whichever id it has and wherever it stands"


def _with_padding(answer: Answer, target: Tensor, padding: int) -> None:
    real = target != padding  # (B, T)
    past = torch.ones(1, target.shape[1], target.shape[1], dtype=torch.bool).tril()
    keys, queries = real[:, None, :], real[:, :, None]
    compare(
        _seen(answer, target, padding),
        past & keys,
        {
            "Right without padding, but padding is seen as any token.\n"
            "Which keys does `target` mark as padding?": lambda: past.expand(len(target), -1, -1),
            "Padding is hidden, but the future is seen where it is no padding.\n"
            "How do you join two masks so that both must allow it?": lambda: keys.expand(
                -1, target.shape[1], -1
            ),
            "Padding as a query is hidden, and as a key it is seen: the rows are masked, not the columns.\n"
            "Should it be (B, 1, T) or (B, T, 1)?": lambda: past & queries,
            "Padding is taken to stand behind the tokens; in one of the sentences it stands in front.\n"
            "Can you ask each token by itself whether it is padding?": lambda: (
                past & (torch.arange(target.shape[1]) < real.sum(-1)[:, None, None])
            ),
            "Padding is hidden as a key, as asked, but as a query too: its rows are empty, and in most libraries "
            "an empty row is NaN.\nWhich axis is it that holds the keys?": lambda: (
                past & keys & queries
            ),
            "Looking is allowed where one of the two masks allows it.\n"
            "Both must: which sign joins them, `|` or `&`?": lambda: past | keys,
            "Only padding is seen: that mask is turned round.\n"
            "Which comparison says that a token is *not* padding?": lambda: past & ~keys,
            "The id 0 is taken for padding, whatever `padding` says.\n"
            "Where do you use the second argument?": lambda: past & (target != 0)[:, None],
            "Where some sentences have padding, the mask is turned round: True marks what is hidden.\n"
            "Does the `~` reach both parts?": lambda: ~(past & keys),
        },
        f"With padding (here the id {padding}) the mask is wrong.\n"
        "Causal, and columns of padding False in each sentence: which of the two differs?",
    )


def _may_look(target: Tensor, padding: int) -> Tensor:
    """The mask, place by place."""
    texts = target.tolist()
    places = range(target.shape[1])
    return torch.tensor(
        [
            [[key <= query and text[key] != padding for key in places] for query in places]
            for text in texts
        ]
    )


def _sentences(draw: Draw, lengths: Sequence[int], padding: int, words: int = 10) -> Tensor:
    """Ids (B, T) with padding behind; any other id may be a token."""
    ids = torch.randint(words - 1, (len(lengths), max(lengths)), generator=draw.generator)
    ids = torch.where(ids >= padding, ids + 1, ids)
    if padding:  # in each sentence the id 0 is a token like any other
        ids[:, 0] = 0
    places = torch.arange(max(lengths))
    return ids.masked_fill(places >= torch.tensor(lengths)[:, None], padding)


def _seen(answer: Answer, target: Tensor, padding: int) -> Tensor:
    """The answer's mask (B, T, T)."""
    batch, tokens = target.shape
    result = answer(target, padding)
    shapes = {
        (tokens, tokens): "That is one mask for all sentences; their padding differs.\n"
        "Which axis comes first in (B, T, T)?",
        (batch, 1, tokens): "That is which keys are no padding, for all queries alike.\n"
        "Where is the causal mask?",
        (batch, tokens): "That is which tokens are no padding.\nWhere is the axis of the queries?",
        (batch, 1, tokens, tokens): "There is an axis of heads, too.\nWhich axes are asked for?",
    }
    if isinstance(result, Tensor) and tuple(result.shape) != (batch, tokens, tokens):
        told = shapes.get(tuple(result.shape))
        require(told is None, f"The mask has shape {tuple(result.shape)}. {told}")
    mask = a_tensor(result, (batch, tokens, tokens), "mask")
    require(
        mask.isfinite().all(),
        "The mask holds -inf, to be added to the scores.\n"
        "Here a mask is bool, True where looking is allowed: which comparison makes one?",
    )
    require(
        mask.dtype == torch.bool,
        f"The mask is of type {mask.dtype}; here a mask is bool, True where looking is allowed.\n"
        "A .bool() missing, or a * where & is meant?",
    )
    return mask


# --- embed ---------------------------------------------------------------------------------------


def embed(answer: Answer, draw: Draw) -> Held:
    """``embed(ids, table, positions)``: embeddings times the root of their width, plus positions."""
    words, width, longest, batch, tokens = 13, 8, 9, 3, 5
    ids = torch.randint(words, (batch, tokens), generator=draw.generator)
    table = draw.normal(words, width)
    nothing = torch.zeros(longest, width)
    shape = (batch, tokens, width)
    found = torch.stack([torch.stack([table[one] for one in row]) for row in ids.tolist()])
    root = math.sqrt(width)
    compare(
        answer.tensor(ids, table, nothing, shape=shape, what="result"),
        found * root,
        {
            "The embeddings are not scaled. They are small, and positions would drown them.\n"
            "By the root of what are they multiplied?": lambda: found,
            "The embeddings are divided by the root of the width, as scores are.\n"
            "These are to become larger: is it * for /?": lambda: found / root,
            "The embeddings are multiplied by the width.\nDid you forget the square root?": (
                lambda: found * width
            ),
            "The embeddings are divided by the width.\nTimes its square root: what is missing?": (
                lambda: found / width
            ),
            "The embeddings are multiplied by the root of the size of the vocabulary.\n"
            "The table is (V, E): which axis is the width?": lambda: found * math.sqrt(words),
            "The embeddings are multiplied by the root of the number of tokens.\n"
            "Should what a token is depend on how many there are? Which axis is the width?": (
                lambda: found * math.sqrt(tokens)
            ),
            "Where the positions are 0, all is 0: embeddings are multiplied with them.\n"
            "Is there a * for a +?": lambda: 0 * found,
        },
        "With positions that are all 0 the result is wrong.\n"
        "A row of the table for each id, times the square root of the width: which step differs?",
    )
    yield "embeddings, times the root of their width"

    positions = draw.normal(longest, width)
    there = positions[:tokens]
    compare(
        answer.tensor(ids, table, positions, shape=shape, what="result"),
        found * root + there,
        {
            "Positions are added twice.\nIs there a `+=`, or a second `+`?": lambda: (
                found * root + 2 * there
            ),
            "The positions are multiplied as well.\n"
            "Only embeddings are scaled: where does the bracket close?": lambda: (
                (found + there) * root
            ),
            "The positions are missing: all orders of the words look alike.\n"
            "What do you do with `positions`?": lambda: found * root,
            "Each *sentence* has a position of its own, and all tokens of it the same.\n"
            "Which axis counts the tokens: the first or the second of (B, T, E)?": lambda: (
                found * root + positions[:batch, None]
            ),
            "The first token has position 1.\nAt which number do rows of a tensor begin?": lambda: (
                found * root + positions[1 : tokens + 1]
            ),
            "Each token has the position that its id names: the same word has the same one everywhere.\n"
            "What should a position depend on?": lambda: found * root + positions[ids % longest],
            "The positions are the last rows of `positions`, not the first.\n"
            "Which row belongs to the first token?": lambda: found * root + positions[-tokens:],
            "All tokens have position 0.\nWhich rows of `positions` are needed for T tokens?": lambda: (
                found * root + positions[0]
            ),
            "The positions are subtracted.\nIs there a - for a +?": lambda: found * root - there,
            "The positions come in reverse order.\nWhich row belongs to the first token?": lambda: (
                found * root + there.flip(0)
            ),
        },
        "The embeddings are right, but with positions the result is wrong.\n"
        "Is it row t of `positions` that is added to token t, once?",
    )
    yield "plus positions 0 to T - 1, once"

    for batch, tokens, width in ((1, 1, 6), (5, 5, 4), (2, 9, 16)):
        ids = torch.randint(words, (batch, tokens), generator=draw.generator)
        table, positions = draw.normal(words, width), draw.normal(longest, width)
        with where(f"With ids of shape {(batch, tokens)} and the width {width}:"):
            compare(
                answer.tensor(ids, table, positions, shape=(batch, tokens, width), what="result"),
                F.embedding(ids, table) * width**0.5 + positions[:tokens],
                {},
                "The result is wrong.\nIs a size written as a number, that should come from a shape?",
            )
    answer.gradients(
        lambda ids, table, positions: (
            F.embedding(ids, table) * width**0.5 + positions[: ids.shape[1]]
        ),
        ids,
        table,
        positions,
    )
    yield "any sizes, and it can be trained"


# --- decoder_layer -------------------------------------------------------------------------------


def decoder_layer(answer: Answer, draw: Draw) -> Held:
    """``decoder_layer(x, memory, layer, target_mask, source_mask)``: one layer of the decoder, pre-norm."""
    batch, tokens, width = 2, 5, 8
    layer = _Layer(width)
    x, memory = draw.normal(batch, tokens, width), draw.normal(batch, tokens, width)
    anywhere = torch.ones(batch, tokens, tokens, dtype=torch.bool)
    all_of_it = torch.ones(batch, 1, tokens, dtype=torch.bool)

    everything = x, memory, layer, anywhere, all_of_it
    with _silent(layer.attention, layer.cross_attention):
        quiet = answer(*everything), _decoded(*everything)
    _same_layer(
        answer,
        quiet,
        everything,
        "With both attentions silenced (they say 0) the result is wrong.\n"
        "Should it not be x + feed_forward(norm(x)), with the third norm?",
    )
    yield "x + feed_forward(norm(x)), while both attentions are silent"
    with _silent(layer.cross_attention):
        quiet = answer(*everything), _decoded(*everything)
    _same_layer(
        answer,
        quiet,
        everything,
        "With cross-attention silenced (it says 0) the result is wrong.\n"
        "What does self-attention get as queries, keys and values, and what is its result added to?",
    )
    yield "x + attention(norm(x)) before it, while cross-attention is silent"
    _same_layer(
        answer,
        None,
        everything,
        "The rest is right, but with cross-attention the result is wrong.\n"
        "Where do its queries come from, where its keys and values?",
    )
    yield "x + cross_attention(norm(x), memory) between them"

    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril().repeat(batch, 1, 1)
    causal[1, :, tokens - 2 :] = False  # padding of the second sentence
    lengths = torch.tensor([[[tokens - 1]], [[tokens - 3]]])
    _same_layer(
        answer,
        None,
        (x, memory, layer, causal, torch.arange(tokens) < lengths),
        "Right where all may be seen, wrong with masks.\n"
        "Which attention takes `target_mask`, which `source_mask`, as mask=...?",
    )
    yield "each attention with its own mask"

    longer = draw.normal(batch, tokens + 2, width)
    _same_layer(
        answer,
        None,
        (x, longer, layer, causal, torch.arange(tokens + 2) < lengths + 2),
        "Right with as many source as target tokens, wrong with more source tokens.\n"
        "Where is the length of one taken for that of the other?",
    )
    yield "whatever the lengths"


class _Layer(nn.Module):
    """The parts of a decoder layer, with norms that differ."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = MultiHeadAttention(width, heads=2)
        self.cross_attention = MultiHeadAttention(width, heads=2)
        self.feed_forward = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, width))
        for one in self.parameters():
            nn.init.normal_(one, std=0.7)
        self.eval().requires_grad_(False)


@contextlib.contextmanager
def _silent(*attentions: MultiHeadAttention) -> Iterator[None]:
    """Inside the block these attentions say 0."""
    parameters = [one for attention in attentions for one in attention.output.parameters()]
    before = [one.clone() for one in parameters]
    for one in parameters:
        one.zero_()
    try:
        yield
    finally:
        for one, as_it_was in zip(parameters, before, strict=True):
            one.copy_(as_it_was)


def _decoded(
    x: Tensor,
    memory: Tensor,
    layer: _Layer,
    target_mask: Tensor | None,
    source_mask: Tensor | None,
    order: str = "scf",
    norms: tuple[int, int, int] = (0, 1, 2),
    around: str = "pre",
    across: str = "ymm",
    of_memory: bool = False,
) -> Tensor:
    """A decoder layer, right by default, or with one mistake.

    ``order``: self-attention, cross-attention, feed-forward. ``across``: what is query, key and value of
    cross-attention, y of the target or the memory.
    """
    given = x
    norm = {name: layer.norms[place] for name, place in zip("scf", norms, strict=True)}
    source = norm["c"](memory) if of_memory else memory

    def cross(y: Tensor) -> Tensor:
        query, key, value = ({"y": y, "m": source}[one] for one in across)
        return layer.cross_attention(query, key, value, mask=source_mask)

    part = {
        "s": lambda y: layer.attention(y, y, y, mask=target_mask),
        "c": cross,
        "f": layer.feed_forward,
    }
    for one in order:
        if around == "pre":
            x = x + part[one](norm[one](x))
        elif around == "post":
            x = norm[one](x + part[one](x))
        elif around == "last":  # pre-norm as well as post-norm
            x = norm[one](x + part[one](norm[one](x)))
        elif around == "no residual":
            x = part[one](norm[one](x))
        elif around == "no norm":
            x = x + part[one](x)
        elif around == "from the norm":
            y = norm[one](x)
            x = y + part[one](y)
        elif around == "from the start":
            x = given + part[one](norm[one](x))
        else:  # side by side
            x = x + part[one](norm[one](given))
    return x


def _mistaken(*inputs: object, **wrong: object) -> Tensor:
    """`_decoded`; a mistake that the sizes forbid is a RuntimeError, as `compare` expects it."""
    try:
        return _decoded(*inputs, **wrong)
    except AttnlabError as error:
        raise RuntimeError(str(error)) from error


_WITH_ONE_MISTAKE = {
    "The residuals are missing: what a part says takes the place of x.\n"
    "What is it to be added to?": {"around": "no residual"},
    "It is post-norm, as in the paper: the norm comes after the sum.\n"
    "Here each part reads norm(x), and its result is added to x as it was: where does each norm stand?": {
        "around": "post"
    },
    "There is a norm before each part, as asked, and another one after the sum.\n"
    "Does anything touch x on its way through, besides sums?": {"around": "last"},
    "There is no norm.\nWhat does each part read: x, or norm(x)?": {"around": "no norm"},
    "What a part says is added to norm(x), so x itself is lost.\n"
    "Which of the two goes through the layer unchanged?": {"around": "from the norm"},
    "The parts do not build on each other: each adds its result to the x that the layer was given, and the one "
    "before is lost.\nWhich x is the second sum to begin with?": {"around": "from the start"},
    "All parts read the x that the layer was given, side by side.\n"
    "Should the second not read what the first has made of it?": {"around": "side by side"},
    "The feed-forward network is missing.\nWhat comes after the two attentions?": {"order": "sc"},
    "Self-attention is missing.\nHow should the target tokens know of each other?": {"order": "cf"},
    "Cross-attention is missing: the source is never read.\nWhere does `memory` go?": {
        "order": "sf"
    },
    "Cross-attention comes before self-attention.\nWhich of the two is first?": {"order": "csf"},
    "The feed-forward network comes first.\nIn which order do the three parts stand?": {
        "order": "fsc"
    },
    "The feed-forward network comes between the two attentions.\n"
    "In which order do the three parts stand?": {"order": "sfc"},
    "Source and target have changed places in cross-attention: the source asks, the target answers.\n"
    "Who has a question here: where do the queries come from?": {"across": "myy"},
    "The values of cross-attention come from the target: it looks at the source and takes from itself.\n"
    "What is mixed, once the weights are known?": {"across": "ymy"},
    "The keys of cross-attention come from the target: it looks at itself and takes from the source.\n"
    "With what are the queries compared?": {"across": "yym"},
    "Cross-attention gets the target as keys and values, too: that is self-attention again.\n"
    "Where does `memory` go?": {"across": "yyy"},
    "Cross-attention gets the memory as queries, too: the target is never asked about.\n"
    "Where do the queries come from?": {"across": "mmm"},
    "The memory is normalised, too. The encoder has done so at its end.\n"
    "Which of the inputs of cross-attention is normalised here?": {"of_memory": True},
    "The same norm is used three times.\nWhich of `layer.norms` belongs to which part?": {
        "norms": (0, 0, 0)
    },
    "The norms come in reverse order.\nWhich of `layer.norms` belongs to which part?": {
        "norms": (2, 1, 0)
    },
    "The norms of the two attentions have changed places.\n"
    "Which of `layer.norms` belongs to which part?": {"norms": (1, 0, 2)},
    "The norms of cross-attention and feed-forward network have changed places.\n"
    "Which of `layer.norms` belongs to which part?": {"norms": (0, 2, 1)},
    "Cross-attention shares its norm with self-attention.\n"
    "Which of `layer.norms` belongs to which part?": {"norms": (0, 0, 2)},
}


def _same_layer(
    answer: Answer,
    quiet: tuple[object, Tensor] | None,
    inputs: tuple[Tensor, Tensor, _Layer, Tensor, Tensor],
    otherwise: str,
) -> None:
    """Fail unless the answer says what a decoder layer says.

    ``quiet``: what it said and should have said while a part was silent. If that differs, the mistake is looked
    for with all parts speaking, where no two mistakes look alike.
    """
    shape = tuple(inputs[0].shape)
    if quiet and same(a_tensor(quiet[0], shape), quiet[1], 1e-4):
        return
    x, memory, layer, target_mask, source_mask = inputs
    mistakes: dict[str, Callable[[], Tensor]] = {
        told: functools.partial(_mistaken, *inputs, **wrong)
        for told, wrong in _WITH_ONE_MISTAKE.items()
    }
    masked = functools.partial(_mistaken, x, memory, layer)
    mistakes |= {
        "No mask is used: tokens see the future, and padding.\n"
        "Which attention takes which mask, as mask=...?": lambda: masked(None, None),
        "Self-attention has no mask: tokens see the future.\nWhich mask hides it?": lambda: masked(
            None, source_mask
        ),
        "Cross-attention has no mask: padding of the source is seen.\n"
        "Which mask hides it?": lambda: masked(target_mask, None),
        "The masks have changed places.\nWhich attention looks at the source?": lambda: masked(
            source_mask, target_mask
        ),
        "`target_mask` is used in both attentions.\n"
        "May a target token look at the whole source?": lambda: masked(target_mask, target_mask),
        "`source_mask` is used in both attentions.\n"
        "What may a target token see of its own sentence?": lambda: masked(
            source_mask, source_mask
        ),
        "The masks are turned round.\nTrue means that looking is allowed: is there a ~ too many?": (
            lambda: masked(~target_mask, ~source_mask)
        ),
    }
    result = answer(x, memory, layer, target_mask, source_mask)
    if memory.shape != x.shape and isinstance(result, Tensor) and result.shape == memory.shape:
        raise CheckFailed(
            "With more source than target tokens the result is as long as the source.\n"
            "Who asks in cross-attention, and is so the one to get an answer?"
        )
    compare(a_tensor(result, shape), _decoded(*inputs), mistakes, otherwise, tolerance=1e-4)
    require(not quiet, otherwise)


# --- sequence_loss -------------------------------------------------------------------------------


def sequence_loss(answer: Answer, draw: Draw) -> Held:
    """``sequence_loss(logits, labels, padding=0)``: mean cross-entropy in nats over what is no padding."""
    batch, tokens, words = 4, 6, 7
    logits, labels, mistakes = _telling(draw, [tokens] * batch, words, 0, _without_padding)
    compare(
        _loss(answer, logits, labels),
        _surprise(logits, labels).mean(),
        mistakes,
        "Without padding the result is wrong.\n"
        "The log-probability of each label, minus their mean over all tokens: which step differs?",
        tolerance=1e-4,
    )
    yield "without padding: minus the mean log-probability of the labels"

    for padding in (0, words - 1):
        logits, labels, mistakes = _telling(draw, [6, 2, 5, 1], words, padding, _over_padding)
        compare(
            _loss(answer, logits, labels, padding),
            _mean_over_real(logits, labels, padding),
            mistakes,
            f"Right without padding, wrong with it (here the id {padding}).\n"
            "Whose numbers are in the sum, and by how many is it divided?",
            tolerance=1e-4,
        )
    yield "padding does not count, whichever id it has"

    logits = 200 * draw.normal(batch, tokens, words)
    result = _loss(answer, logits, labels, padding, may_be_nan=True)
    require(
        result.isfinite().all(),
        f"With large logits (here up to {logits.max():.0f}) the loss is {result.item():g}: exp of such a number "
        "overflows, or a softmax gives 0 and its logarithm -inf.\n"
        "Which function gives log-probabilities in one step?",
    )
    compare(
        result,
        _mean_over_real(logits, labels, padding),
        {},
        "With large logits the loss is wrong.\nIs something added inside a logarithm, to save it?",
        tolerance=1e-3,
    )
    answer.gradients(
        lambda logits, labels, padding: _mean_over_real(logits, labels, padding),
        2 * draw.normal(batch, tokens, words),
        labels,
        padding,
    )
    yield "however large the logits, and it can be trained"


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-probability of each label, in nats, shape of the labels."""
    return logits.logsumexp(-1) - logits.gather(-1, labels[..., None])[..., 0]


def _mean_over_real(logits: Tensor, labels: Tensor, padding: int) -> Tensor:
    return _surprise(logits, labels)[labels != padding].mean()


Mistakes = dict[str, Callable[[], Tensor]]


def _telling(
    draw: Draw,
    lengths: Sequence[int],
    words: int,
    padding: int,
    mistakes: Callable[[Tensor, Tensor, int], Mistakes],
) -> tuple[Tensor, Tensor, Mistakes]:
    """Logits (B, T, V), labels (B, T) and mistakes, of which no two give the same loss by chance."""
    while True:
        labels = _sentences(draw, lengths, padding, words)
        logits = 2 * draw.normal(*labels.shape, words)
        possible = mistakes(logits, labels, padding)
        found = [one() for one in possible.values()] + [_mean_over_real(logits, labels, padding)]
        if torch.stack(found).sort().values.diff().min() > 0.005:
            return logits, labels, possible


def _without_padding(logits: Tensor, labels: Tensor, padding: int) -> Mistakes:
    nats = _surprise(logits, labels)  # (B, T)
    batch, tokens, words = logits.shape
    return {
        "The tokens are added up: a large batch would count for more than a small one.\n"
        "A mean over tokens: by what must the sum be divided?": lambda: nats.sum(),
        "The tokens of a sentence are added up, and the mean is over sentences.\n"
        "A mean over tokens: by what must the sum be divided?": lambda: nats.sum() / batch,
        "The sentences are added up.\nA mean over all tokens: by what must the sum be divided?": (
            lambda: nats.sum() / tokens
        ),
        "It is in bits.\nWhich logarithm gives nats?": lambda: nats.mean() / math.log(2),
        "The softmax is taken twice: cross_entropy takes logits and does it itself.\n"
        "What do you give it?": lambda: _surprise(logits.softmax(-1), labels).mean(),
        "The logarithm is missing: that is the mean of minus the probability.\n"
        "What is the surprise at something that has probability p?": lambda: (
            -nats.neg().exp().mean()
        ),
        "It is negative: the log of a probability is below 0.\nWhere does the minus sign go?": (
            lambda: -nats.mean()
        ),
        "The softmax is missing: that is the mean of minus the logits.\n"
        "What turns logits into log-probabilities?": lambda: (
            -logits.gather(-1, labels[..., None]).mean()
        ),
        "The softmax runs over the tokens.\n"
        "Probabilities of which things sum to 1? Which axis holds them?": lambda: (
            -logits.log_softmax(1).gather(-1, labels[..., None]).mean()
        ),
        "The logits are reshaped to (B, V, T), which tears the rows apart.\n"
        "To let axes change places, what do you use instead of reshape or view?": lambda: (
            F.cross_entropy(logits.reshape(batch, words, tokens), labels)
        ),
        "It is the perplexity, exp(loss).\nWhat is it before the exponential?": lambda: (
            nats.mean().exp()
        ),
        "The sum is divided by tokens times words.\n"
        "Each token has one label: how many numbers are there in the mean?": lambda: (
            nats.mean() / words
        ),
        "It is the mean over all words of minus the log-probability, right ones and wrong ones.\n"
        "Which one of each row is asked for?": lambda: -logits.log_softmax(-1).mean(),
        "The softmax runs over the sentences.\nWhich axis holds the words?": lambda: (
            -logits.log_softmax(0).gather(-1, labels[..., None]).mean()
        ),
        "Logits and labels are flattened in different orders.\n"
        "Did one of them change axes before?": lambda: _surprise(
            logits.transpose(0, 1).reshape(-1, words), labels.flatten()
        ).mean(),
        "Only the first sentence counts.\nIs there an index [0] too many?": lambda: nats[0].mean(),
        "The word with the id of padding is taken out of the softmax.\n"
        "Is it words that are to be left out, or tokens? Where?": lambda: _surprise(
            logits.masked_fill(torch.arange(words) == padding, -1e9), labels
        ).mean(),
    }


def _over_padding(logits: Tensor, labels: Tensor, padding: int) -> Mistakes:
    nats, real = _surprise(logits, labels), labels != padding  # (B, T)
    silenced = logits * real[..., None]
    zero = {
        "The id 0 is taken for padding, whatever `padding` says.\n"
        "Where do you use the third argument?": lambda: _mean_over_real(logits, labels, 0)
    }
    return (zero if padding else {}) | {
        "Padding counts like any token: a model that writes padding well gets a low loss.\n"
        "Which labels are to be left out?": lambda: nats.mean(),
        "The real tokens are added up and divided by the number of all, padding and all.\n"
        "How many numbers are in the sum?": lambda: (nats * real).sum() / real.numel(),
        "It is the mean of the means of the sentences: a word of a short sentence weighs more.\n"
        "If every token counts the same, how many means are there?": lambda: (
            (nats * real).sum(-1) / real.sum(-1)
        ).mean(),
        "The logits of padding are set to 0; that is a guess among all words, which has a loss, too.\n"
        "How do you leave a token out, instead of changing it?": lambda: _surprise(
            silenced, labels
        ).mean(),
        "It is padding that counts, and nothing else.\nWhich comparison marks real tokens?": lambda: (
            nats[~real].mean()
        ),
        "The sum over all tokens, padding and all, is divided by the number of real ones.\n"
        "Which numbers belong in the sum?": lambda: nats.sum() / real.sum(),
    }


def _loss(
    answer: Answer, logits: Tensor, labels: Tensor, padding: int = 0, may_be_nan: bool = False
) -> Tensor:
    """The answer's loss, a tensor of no axes; without ``padding`` where it is the default."""
    result = answer(logits, labels, padding) if padding else answer(logits, labels)
    if isinstance(result, Tensor) and result.shape in (labels.shape, labels.flatten().shape):
        raise CheckFailed(
            f"The result has shape {tuple(result.shape)}: a number for each token.\n"
            "One is asked for: what is to be done with those of real tokens?"
        )
    if isinstance(result, float):
        raise CheckFailed(
            "As loss came a plain number: nothing can be trained on it.\nIs there an .item() too many?"
        )
    return a_tensor(result, (), "loss", may_be_nan)


# --- beam_search ---------------------------------------------------------------------------------


def beam_search(answer: Answer, draw: Draw) -> Held:
    """``beam_search(next_log_probabilities, start, end, width, longest)``: the best sequence that is found."""
    for end_first in (False, True):
        _one_token(answer, _Language(draw).of_one_token(end_first))
    yield "one token: the likeliest, or nothing where the end mark is"

    _same_search(
        answer,
        draw,
        1,
        {
            "Only the last step's log-probability is kept.\n"
            "Of two numbers that multiply, what do the logarithms do?": {"total": "last"},
            "The log-probabilities are multiplied.\n"
            "Of two probabilities that multiply, what do the logarithms do?": {"total": "product"},
            "The log-probability is divided by the length.\nIs that asked for here?": {
                "figure": "per token"
            },
            "The least likely token is taken at each step.\nWhich end of the order do you keep?": {
                "worst": "always"
            },
        },
        "With width 1 the result is wrong.\n"
        "The likeliest token at each step, until the end mark: what is kept, and what is added up?",
    )
    yield "width 1: the likeliest token at each step, log-probabilities added up"

    width = 3
    _same_search(
        answer,
        draw,
        width,
        {
            "It is greedy: only one beginning is followed, or all beams hold the same.\n"
            f"How do you keep the {width} best at each step?": {"greedy": True},
            "With several beams only the last step's log-probability decides.\n"
            "What has a beginning cost so far?": {"total": "last"},
            "With several beams the log-probabilities are multiplied.\n"
            "Of two probabilities that multiply, what do the logarithms do?": {"total": "product"},
            "A sequence that has ended is thrown away.\n"
            "Should it not stay in the race with the log-probability it has?": {
                "finished": "dropped"
            },
            "The search stops as soon as one sequence has ended, though a better one is still being written.\n"
            "When can nothing that goes on overtake it any more?": {"finished": "first"},
            "The search stops as soon as one sequence has ended, and returns the best of those kept, which may "
            "only have begun.\nWhen can nothing that goes on change the result?": {
                "finished": "stop"
            },
            "The last of those kept is returned, not the best.\nWhich end of the order is it?": {
                "worst": "in the end"
            },
            "The least likely ones are kept.\nWhich end of the order do you keep?": {
                "worst": "always"
            },
            "Each beam keeps one way to go on, so each stays a greedy search by itself.\n"
            f"Among what should the {width} best be chosen: those of a beam, or all?": {
                "rivals": "each its own"
            },
            "Beginnings are compared by log-probability per token, not by their whole log-probability.\n"
            "Is that asked for here?": {"rank": "always"},
            "In the end sequences are compared by log-probability per token, not by their whole log-probability.\n"
            "Is that asked for here?": {"rank": "in the end"},
            "What has not ended after `longest` tokens is left out.\nDoes it not count as it is?": {
                "unfinished": "left out"
            },
        },
        f"With width 1 it is right, with width {width} it is not.\n"
        "Extend all that go on; of these and those that have ended keep the best: which step differs?",
    )
    yield f"width {width}: the best of all ways to go on, and of those that have ended"

    while True:
        language = _Language(draw)
        everything = language.words**language.longest
        right = _search(language, everything)
        if not _agree(right, _search(language, width)):
            break
    with where(f"With width {everything}, which holds every sequence there is:"):
        found = _found(answer, language, everything)
        require(
            _agree(found, right),
            f"{_shown(found)} came; the best of all is {_shown(right)}.\nIs anything thrown away?",
        )
    yield "wide enough, it finds the best of all"


Result = tuple[list[int], float]


class _Language:
    """A tiny language model: what comes next depends on the whole beginning; it has no word for the start mark."""

    def __init__(self, draw: Draw, words: int = 5, longest: int = 4):
        self.words, self.longest = words, longest
        self.start, self.end = words, draw.whole(0, words - 1)
        logits = [draw.normal(words**length, words).double() for length in range(longest)]
        self.logs = [one.log_softmax(-1) for one in logits]

    def of_one_token(self, end_first: bool) -> "_Language":
        """The same where one token is written, and the end mark is the likeliest or not."""
        first = self.logs[0].clone()
        first[0, self.end] = first.max() + 1 if end_first else first.median()
        self.logs, self.longest = [first.log_softmax(-1)], 1
        return self

    def row(self, prefix: Sequence[int]) -> list[float]:
        """The log-probabilities of what comes after a beginning without its start mark, (V,)."""
        place = functools.reduce(lambda sum_, token: sum_ * self.words + token, prefix, 0)
        return self.logs[len(prefix)][place].tolist()


class _Asked:
    """A language as the learner's function gets it, and what it must not be asked."""

    def __init__(self, language: _Language, width: int):
        self.language, self.width = language, width
        self.known: dict[int, set[tuple[int, ...]]] = {}
        self.problem: CheckFailed | None = None

    def __call__(self, prefixes: object) -> Tensor:
        try:
            rows = [self._row(one) for one in self._listed(prefixes)]
        except CheckFailed as problem:
            self.problem = self.problem or problem
            raise
        return torch.tensor(rows, dtype=torch.float32)

    def _listed(self, prefixes: object) -> list[list[int]]:
        asked = "next_log_probabilities takes a list of beginnings, each a list of ids"
        if isinstance(prefixes, Tensor) and prefixes.dim() == 2:
            prefixes = prefixes.tolist()
        if not isinstance(prefixes, list | tuple):
            raise CheckFailed(
                f"{asked}; it got a {type(prefixes).__name__}.\nA pair of [] missing?"
            )
        require(
            len(prefixes), f"{asked}; it got an empty one.\nIs there nothing left to go on with?"
        )
        for one in prefixes:
            if not isinstance(one, list | tuple | Tensor):
                raise CheckFailed(
                    f"{asked}; what it got has {type(one).__name__} where a list should be.\n"
                    "Is one beginning given, where a list of them is asked for?"
                )
        return [_ids(one, "the beginning") for one in prefixes]

    def _row(self, prefix: list[int]) -> list[float]:
        language = self.language
        require(
            prefix[:1] == [language.start],
            f"next_log_probabilities was asked what comes after {prefix}, without the start mark "
            f"{language.start}.\nWhat does a decoder read first?",
        )
        rest = prefix[1:]
        require(
            language.end not in rest,
            "A sequence that has ended is extended: next_log_probabilities was asked what comes after the end "
            "mark.\nWhich of those kept still go on?",
        )
        require(
            len(rest) < language.longest,
            f"`longest` is {language.longest}, and a sequence that long is extended.\n"
            "When must the search end, even if no end mark comes?",
        )
        require(
            all(0 <= token < language.words for token in rest),
            f"There are {language.words} words; the beginning {prefix} holds another id.\n"
            "Is it an index into all candidates, from which row and word are still to be found?",
        )
        known = self.known.setdefault(len(rest), set())
        known.add(tuple(rest))
        require(
            len(known) <= self.width,
            f"With width {self.width}, {len(known)} different beginnings of {len(rest)} tokens are extended.\n"
            "Does each beam keep `width` of its own? How many are to be left of all together?",
        )
        return language.row(rest)


def _found(answer: Answer, language: _Language, width: int) -> Result:
    """The answer's sequence and log-probability."""
    asked = _Asked(language, width)
    result = answer(asked, language.start, language.end, width, language.longest)
    if asked.problem:  # the answer may have caught it
        raise asked.problem
    ids, total = a_pair(result, "the sequence", "its log-probability")
    if isinstance(ids, float) or (isinstance(ids, Tensor) and ids.is_floating_point()):
        raise CheckFailed(
            "The log-probability comes first and the sequence second.\nWhich order does the docstring name?"
        )
    found = _ids(ids, "the sequence")
    require(
        language.start not in found,
        "The sequence holds the start mark.\nHow many places at the front are to be cut off?",
    )
    require(
        language.end not in found,
        "The sequence holds the end mark.\nIs it part of what is said? Not every sequence has one.",
    )
    return found, a_number(total, "log-probability")


def _search(
    language: _Language,
    width: int,
    *,
    greedy: bool = False,
    total: str = "sum",
    finished: str = "stay",
    worst: str = "",
    rivals: str = "all",
    rank: str = "",
    figure: str = "",
    unfinished: str = "",
) -> Result:
    """Beam search, right by default, or with one mistake.

    With finished="aside" who has ended takes no place in the beam, which is right, too.
    """
    add = {
        "sum": lambda so_far, log: so_far + log,
        "last": lambda so_far, log: log,
        "product": lambda so_far, log: so_far * log,
    }[total]

    def whole(one: Result) -> float:
        return one[1]

    def per_token(one: Result) -> float:
        return one[1] / max(len(one[0]), 1)

    def ended(one: Result) -> bool:
        return one[0][-1:] == [language.end]

    order = per_token if rank == "always" else whole
    beams: list[Result] = [([], 1.0 if total == "product" else 0.0)]
    done: list[Result] = []
    for step in range(language.longest):
        ways = [
            [([*ids, token], add(so_far, log)) for token, log in enumerate(language.row(ids))]
            for ids, so_far in beams
            if not ended((ids, so_far))
        ]
        if not ways:
            break
        if rivals == "each its own" and step:
            ways = [[max(each, key=order)] for each in ways]
        rivalling = [one for one in beams if ended(one)] + [one for each in ways for one in each]
        rivalling.sort(key=order, reverse=worst != "always")
        if finished in ("aside", "dropped"):
            done += [one for one in rivalling[:width] if ended(one) and finished == "aside"]
            rivalling = [one for one in rivalling if not ended(one)]
        beams = rivalling[: 1 if greedy else width]
        some = [one for one in beams if ended(one)]
        if some and finished in ("first", "stop"):
            beams = some if finished == "first" else beams
            break
    last = beams + done
    if unfinished:
        last = [one for one in last if ended(one)] or last
    ids, sum_ = (min if worst else max)(last, key=per_token if rank else whole)
    if figure == "per token":
        sum_ /= len(ids)
    return [token for token in ids if token != language.end], sum_


def _agree(one: Result, other: Result) -> bool:
    return one[0] == other[0] and math.isclose(one[1], other[1], rel_tol=1e-4, abs_tol=1e-4)


def _shown(result: Result) -> str:
    return f"{result[0]} with {result[1]:.3f}"


def _one_token(answer: Answer, language: _Language) -> None:
    right, found = _search(language, 1), _found(answer, language, 1)
    end = language.row([])[language.end]
    require(
        found[1] != 0 or right[0],
        f"The empty sequence comes with log-probability 0; its end mark has {end:.3f}.\n"
        "Does a sentence end for nothing?",
    )
    require(
        found[1] != 0,
        "The log-probability is 0, which means certainty.\n"
        "From where do you begin, and is it added or multiplied?",
    )
    require(
        right[0] or found[0] == [],
        f"The end mark is the likeliest first token, with {end:.3f}, but {_shown(found)} came: a sequence that "
        "has ended is thrown away.\nShould it not stay in the race, even if it is empty?",
    )
    require(
        found[0] or right[0] == [],
        f"With longest=1 the likeliest is {_shown(right)}, which has not ended; {_shown(found)} came.\n"
        "Does what has not ended not count as it is?",
    )
    require(
        found[0] == right[0],
        f"With longest=1 {_shown(found)} came; {_shown(right)} has the largest log-probability.\n"
        "Which end of the order do you take?",
    )
    require(
        not math.isclose(found[1], math.exp(right[1]), rel_tol=1e-4),
        "It is the probability; asked for is its logarithm.\nIs there an exp too many?",
    )
    require(
        not math.isclose(found[1], -right[1], rel_tol=1e-4),
        "The log-probability has lost its minus sign.\nCan the log of a probability be above 0?",
    )
    require(
        _agree(found, right),
        f"With longest=1 the token is right; its log-probability is {right[1]:.3f}, and {found[1]:.3f} came.\n"
        "From where do you begin to add up, and what is done to the sum?",
    )


def _same_search(
    answer: Answer,
    draw: Draw,
    width: int,
    mistakes: dict[str, dict[str, object]],
    otherwise: str,
) -> None:
    """Compare over languages in which every mistake shows, and no two look alike."""
    languages, rights, outcomes = _discerning(draw, width, mistakes)
    found = [_found(answer, language, width) for language in languages]
    if all(map(_agree, found, rights)):
        return
    for told, mistaken in outcomes.items():
        if all(map(_agree, found, mistaken)):
            raise CheckFailed(told)
    if all(one[0] == right[0] for one, right in zip(found, rights, strict=True)):
        raise CheckFailed(
            "The sequences are right, but their log-probabilities are not.\nWhat is added up, from where to where?"
        )
    one, right = next(
        (one, right) for one, right in zip(found, rights, strict=True) if not _agree(one, right)
    )
    raise CheckFailed(f"{otherwise}\n{_shown(one)} came; {_shown(right)} is right.")


def _discerning(
    draw: Draw, width: int, mistakes: dict[str, dict[str, object]]
) -> tuple[list[_Language], list[Result], dict[str, list[Result]]]:
    """Languages, what is right in each of them, and what every mistake would give."""
    languages: list[_Language] = []
    outcomes: dict[str, list[Result]] = {told: [] for told in ("", *mistakes)}
    apart = 1
    while apart < len(outcomes):
        language = _Language(draw)
        right = _search(language, width)
        if not _agree(right, _search(language, width, finished="aside")):
            continue  # who has ended may take a place in the beam, or not
        new = {"": right} | {
            told: _search(language, width, **one) for told, one in mistakes.items()
        }
        together = {(*(_key(one) for one in outcomes[told]), _key(new[told])) for told in outcomes}
        if len(together) > apart:
            apart = len(together)
            languages.append(language)
            for told, results in outcomes.items():
                results.append(new[told])
    return languages, outcomes.pop(""), outcomes


def _key(result: Result) -> tuple[tuple[int, ...], float]:
    return tuple(result[0]), round(result[1], 2)


EXERCISES = [
    Exercise("teacher_forcing", "translation", 1, teacher_forcing),
    Exercise("decoder_mask", "translation", 2, decoder_mask),
    Exercise("embed", "translation", 1, embed),
    Exercise("decoder_layer", "translation", 3, decoder_layer),
    Exercise("sequence_loss", "translation", 2, sequence_loss),
    Exercise("beam_search", "translation", 4, beam_search),
]
