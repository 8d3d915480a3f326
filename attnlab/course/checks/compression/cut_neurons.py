"""Exercise ``cut_neurons``: feed-forward neurons cut out of both matrices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_pair,
    require,
    where,
)

PARTS = ("up.weight", "up.bias", "down.weight", "down.bias")
NUMBERS = (
    "The sizes are right, the numbers in {parts} are not.\n"
    "Does each part hold those of the neurons in `keep`, copied from the layer that was given?"
)
CHANGED = (
    "Afterwards the layers that you were given are not what they were.\n"
    "Do you assign to them, or to new layers? A second name is no second layer."
)
SHARED = (
    "The result is right, but the new {part} lies in the memory of the old one: whoever trains "
    "the small layers changes the large ones.\n"
    "Is there a clone() or copy_() missing?"
)
FROZEN = (
    "The result is right, but the new {part} does not require gradients: it could not be trained "
    "any more.\nIs the new weight an nn.Parameter as it comes?"
)
STALE = (
    "The weights are right, but a layer still says in_features={inside}, out_features={outside} "
    "where its weight is {shape}.\nDo you make a new nn.Linear of the smaller size?"
)


@dataclass(frozen=True)
class Run:
    """What a function returned for two layers, and whether these stayed as they were."""

    result: Any
    given: list[nn.Linear]
    changed: bool


class Cut(Call):
    """Two layers, and the neurons that stay."""

    def __init__(self, draw: Draw, sizes: tuple[int, int, int], keep: Sequence[int]):
        inside, neurons, outside = sizes
        self.parts = [
            draw.normal(neurons, inside),
            draw.normal(neurons),
            draw.normal(outside, neurons),
            draw.normal(outside),
        ]
        self.keep = list(keep)
        super().__init__(self.keep)

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function makes of two layers of its own."""
        up, down = _linear(*self.parts[:2]), _linear(*self.parts[2:])
        before = _state(up, down)
        result = function(up, down, list(self.keep))
        return Run(result, [up, down], before != _state(up, down))


def check(answer: Answer, draw: Draw) -> Held:
    """``cut_neurons(up, down, keep)``: two smaller layers without the other neurons."""
    compared = Comparison(answer, reference, MISTAKES, read=_parts)

    def drawn(sizes: tuple[int, int, int], count: int, ordered: bool = False) -> Cut:
        keep = torch.randperm(sizes[1] - 1, generator=draw.generator)[:count] + 1
        keep = keep.sort().values if ordered else keep
        if not ordered and count > 1 and keep.equal(keep.sort().values):
            keep = keep.flip(0)
        return Cut(draw, sizes, keep.tolist())

    compared.on(lambda: drawn((12, 9, 11), 3, ordered=True), NUMBERS, facts=_facts)
    yield "both matrices and the bias in between, without the other neurons"

    compared.on(lambda: drawn((6, 6, 6), 4), NUMBERS, facts=_facts)
    yield "in the order of keep, and where all sizes are equal"

    with where("With a single neuron left:"):
        compared.on(lambda: drawn((8, 7, 9), 1), NUMBERS, facts=_facts)
    run = drawn((4, 9, 5), 4).of(answer)
    require(not run.changed, CHANGED)
    yield "the layers that were given stay as they were"

    small = list(run.result)
    for layer in small:
        sizes = (layer.out_features, layer.in_features)
        stale = STALE.format(
            inside=layer.in_features, outside=layer.out_features, shape=tuple(layer.weight.shape)
        )
        require(sizes == tuple(layer.weight.shape), stale)
    pairs = zip(PARTS, _tensors(small), _tensors(run.given), strict=True)
    for part, new, old in pairs:
        memory = new.untyped_storage().data_ptr() == old.untyped_storage().data_ptr()
        require(not memory, SHARED.format(part=part))
        require(new.requires_grad and new.is_leaf, FROZEN.format(part=part))
    yield "real layers of their own, ready to be trained"


def reference(up: nn.Linear, down: nn.Linear, keep: Sequence[int]) -> tuple[nn.Linear, nn.Linear]:
    """From lists, neuron by neuron."""
    rows, bias = up.weight.tolist(), up.bias.tolist()
    columns = down.weight.T.tolist()
    first = _linear(torch.tensor([rows[i] for i in keep]), torch.tensor([bias[i] for i in keep]))
    last = torch.tensor([columns[i] for i in keep]).T
    return first, _linear(last, down.bias.detach().clone())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer with these numbers."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _state(*layers: nn.Linear) -> list[Any]:
    """All that may not change in the layers that are given."""
    return [
        (layer.in_features, layer.out_features, parameter.requires_grad, parameter.tolist())
        for layer in layers
        for parameter in layer.parameters()
    ]


def _tensors(layers: Sequence[Any]) -> list[Tensor]:
    """Weights and biases; no numbers where there is no bias."""
    return [
        torch.zeros(0) if part is None else part
        for layer in layers
        for part in (layer.weight, layer.bias)
    ]


def _parts(run: Run, right: Run) -> list[Tensor]:
    """The four parts of two layers."""
    pair = a_pair(run.result, "up", "down")
    for name, layer in zip(("up", "down"), pair, strict=True):
        if not isinstance(layer, nn.Linear):
            raise CheckFailed(
                f"As {name} came a {type(layer).__name__}, not an nn.Linear.\n"
                "Does your function return the two new layers?"
            )
    if run is not right and run.changed and any(new in run.given for new in pair):
        raise CheckFailed(CHANGED)
    return [part.detach() for part in _tensors(pair)]


def _facts(call: Call, run: Run) -> dict[str, Any]:
    expected = _tensors(call.of(reference).result)
    found = _tensors(run.result) if isinstance(run, Run) else expected
    wrong = [
        part
        for part, mine, theirs in zip(PARTS, found, expected, strict=True)
        if mine.shape != theirs.shape or not torch.allclose(mine, theirs)
    ]
    return {"parts": " and ".join(wrong)}


# --- What learners write instead -----------------------------------------------------------------

Part = Callable[[Tensor, list[int]], Tensor]


def _rows(part: Tensor, keep: list[int]) -> Tensor:
    return part[keep]


def _columns(part: Tensor, keep: list[int]) -> Tensor:
    return part[:, keep]


def _whole(part: Tensor, keep: list[int]) -> Tensor:
    return part


def _cutting(
    up_weight: Part = _rows,
    up_bias: Part = _rows,
    down_weight: Part = _columns,
    down_bias: Part = _whole,
    kept: Callable[[list[int], int], list[int]] = lambda keep, neurons: keep,
) -> Callable[..., tuple[nn.Linear, nn.Linear]]:
    """Cutting with a part exchanged."""

    def answer(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
        keep = kept(keep, up.out_features)
        return (
            _linear(up_weight(up.weight, keep), up_bias(up.bias, keep)),
            _linear(down_weight(down.weight, keep), down_bias(down.bias, keep)),
        )

    return answer


_right = _cutting()


def _silenced(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
    mask = torch.zeros(up.out_features)
    mask[keep] = 1
    return _linear(up.weight * mask[:, None], up.bias * mask), _linear(down.weight, down.bias)


def _masked_columns(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[Any, Any]:
    mask = torch.zeros(up.out_features)
    mask[keep] = 1
    return _linear(up.weight, up.bias), _linear(down.weight * mask, down.bias)


def _without_bias(which: int) -> Callable[..., Any]:
    def answer(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
        layers = _right(up, down, keep)
        layers[which].register_parameter("bias", None)
        return layers

    return answer


def _new_numbers(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
    return nn.Linear(up.in_features, len(keep)), nn.Linear(len(keep), down.out_features)


def _in_place(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
    up.weight.data, up.bias.data = up.weight.data[keep], up.bias.data[keep]
    down.weight.data = down.weight.data[:, keep]
    up.out_features = down.in_features = len(keep)
    return up, down


def _one_bias(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
    small = _right(up, down, keep)
    small[1].bias = down.bias
    return small


def _frozen(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
    small = _right(up, down, keep)
    for layer in small:
        layer.requires_grad_(False)
    return small


def _old_sizes(up: nn.Linear, down: nn.Linear, keep: list[int]) -> tuple[nn.Linear, nn.Linear]:
    small = _right(up, down, keep)
    small[0].out_features, small[1].in_features = up.out_features, down.in_features
    return small


AS_MANY = "How many numbers does a neuron have in each matrix?"
REAL = (
    "The other neurons are set to zero, and still there: nothing has become smaller or faster.\n"
    "Of what size should the new layers be?"
)
MISTAKES = [
    Mistake(_silenced, REAL),
    Mistake(_masked_columns, REAL),
    Mistake(
        _cutting(down_weight=_whole),
        f"`down` still expects all neurons, but `up` gives fewer.\n{AS_MANY}",
    ),
    Mistake(
        _cutting(up_weight=_whole, up_bias=_whole),
        f"`up` still has all neurons, but `down` expects fewer.\n{AS_MANY}",
    ),
    Mistake(
        _cutting(down_weight=_rows),
        "In `down` you keep rows. A row of its weight belongs to an output.\n"
        "The weight of nn.Linear is (out, in): on which axis are the neurons?",
    ),
    Mistake(
        _cutting(down_weight=_rows, down_bias=_rows),
        "In `down` you keep rows, and cut its bias with them: outputs are lost, not neurons.\n"
        "The weight of nn.Linear is (out, in): on which axis are the neurons?",
    ),
    Mistake(
        _cutting(up_weight=_columns),
        "In `up` you keep columns. A column of its weight belongs to an input.\n"
        "The weight of nn.Linear is (out, in): on which axis are the neurons?",
    ),
    Mistake(
        _cutting(up_bias=_whole),
        "The bias of `up` still has a number for every neuron.\nWhich of them go with the rows?",
    ),
    Mistake(
        _cutting(up_bias=lambda bias, keep: bias[: len(keep)]),
        "The bias of `up` is that of the first neurons, not of those in `keep`.\n"
        "Which of its numbers go with the rows?",
    ),
    Mistake(
        _cutting(down_bias=_rows),
        "The bias of `down` is cut, too. It belongs to the outputs, which all stay.\n"
        "Which of the four parts have a number for each neuron?",
    ),
    Mistake(
        _without_bias(1),
        "The bias of `down` is gone.\nDoes a neuron that is cut take it away?",
    ),
    Mistake(
        _without_bias(0),
        "The bias of `up` is gone. The neurons that stay need theirs.\n"
        "Does nn.Linear get a bias from you?",
    ),
    Mistake(
        _cutting(kept=lambda keep, neurons: [i for i in range(neurons) if i not in keep]),
        "You cut the neurons that should stay, and keep the others.\nWhat does `keep` list?",
    ),
    Mistake(
        _cutting(kept=lambda keep, neurons: sorted(keep)),
        "The neurons come in their old order, not in that of `keep`.\n"
        "Is `keep` sorted, or turned into a mask, on the way?",
    ),
    Mistake(
        _cutting(kept=lambda keep, neurons: list(range(len(keep)))),
        "The first neurons are left, not those in `keep`.\nWhat do you index with?",
    ),
    Mistake(
        _cutting(down_weight=lambda part, keep: part[:, keep] * part.shape[1] / len(keep)),
        "The weights of `down` have become larger, as in dropout.\n"
        "Should the answer be as if the others were silent, or is something to be made up for?",
    ),
    Mistake(
        _cutting(
            down_weight=lambda part, keep: part[:, sorted(keep)],
        ),
        "In `up` the neurons have the order of `keep`, in `down` another one: a neuron now writes "
        "with the weights of its neighbour.\nIs the same index used in both?",
    ),
    Mistake(_new_numbers, NUMBERS, compared=False),
    Mistake(_in_place, CHANGED, compared=False),
    Mistake(_one_bias, SHARED, compared=False),
    Mistake(_frozen, FROZEN, compared=False),
    Mistake(_old_sizes, STALE, compared=False),
]

EXERCISE = Exercise("cut_neurons", "compression", 2, check, mistakes=MISTAKES)
