"""Exercise ``patch_head``: activation patching of one head between two sentences."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    require,
)

Hook = Callable[[int, Tensor], Tensor | None]  # of a layer and its contexts (T, H, D)
Run = Callable[..., float]  # of a sentence, and perhaps a hook: the margin
Kept = dict[int, Tensor]  # of each layer

LAYERS, HEADS, TOKENS, WIDTH = 3, 4, 5, 3
NO_HOOK = (
    "run(sentence, hook) was given something else than a function as its hook.\n"
    "Is it hook itself, or what hook returned?"
)
WRONG_SHAPE = (
    "The hook returned something else than contexts of shape (T, H, D), as it was given.\n"
    "It is the whole tensor that run puts in: does yours hold all heads?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``patch_head(run, first, second, layer, head, tokens)``: what one head brings back."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-4)
    everywhere = list(range(TOKENS))

    def some() -> list[int]:
        first = draw.whole(0, TOKENS - 3)
        return [first, draw.whole(first + 2, TOKENS - 1)]  # there is another one between them

    compared.on(
        lambda: _call(draw, everywhere),
        "With one head copied at all tokens the share is wrong.\n"
        "Which run is recorded, which is patched, and what is compared with what?",
    )
    yield "one head, copied at all tokens: the share of the margin that comes back"
    compared.on(
        lambda: _call(draw, some()),
        "Right at all tokens, wrong if only some are copied.\n"
        "Does every other token keep what it has in the second run?",
    )
    yield "at the given tokens only"
    compared.on(
        lambda: _call(draw, some(), least=-2.0, most=-0.05),
        "Wrong where a head makes things worse, so that the share is below 0.\n"
        "Should anything be cut off, or lose its sign?",
    )
    yield "below 0 where it makes things worse"
    compared.on(
        lambda: _call(draw, [0], LAYERS - 1),
        "Wrong for the last layer with one token copied.\nIs there a place that it depends on?",
    )
    yield "the last layer, at a single token"


def reference(
    run: Run, first: Tensor, second: Tensor, layer: int, head: int, tokens: Sequence[int]
) -> float:
    """The formula, number by number."""
    kept: Kept = {}
    start = run(first, lambda index, contexts: kept.__setitem__(index, contexts.clone()))
    end = run(second, None)

    def put(index: int, contexts: Tensor) -> Tensor:
        rows = contexts.tolist()
        if index == layer:
            for token in tokens:
                rows[token][head] = kept[layer][token][head].tolist()
        return torch.tensor(rows)

    return (run(second, put) - end) / (start - end)


def _call(
    draw: Draw,
    tokens: list[int],
    layer: int | None = None,
    least: float = 0.05,
    most: float = 2.0,
) -> Call:
    """A small model, two sentences that differ in one token, and a head that brings back some."""
    while True:
        run = _model(draw)
        first = draw.normal(TOKENS, HEADS * WIDTH)
        second = first.clone()
        second[draw.whole(1, TOKENS - 1)] = draw.normal(HEADS * WIDTH)
        # a layer that has others before and behind it; and a head that is neither it nor the first
        chosen = 1 if layer is None else layer
        head = draw.whole(2, HEADS - 1) if chosen == 1 else 1
        if abs(run(first) - run(second)) < 0.5:
            continue
        share = reference(run, first, second, chosen, head, tokens)
        if least < share < most and abs(share - 1) > 0.05:
            return Call(run, first, second, chosen, head, tokens)


def _model(draw: Draw) -> Run:
    """``run(sentence, hook)`` of a random model, (T, E) to a margin that is read at token 0."""
    width = HEADS * WIDTH
    weights = draw.weights(LAYERS, HEADS, TOKENS, TOKENS)
    values = draw.normal(LAYERS, HEADS, width, WIDTH) / 2
    output = draw.normal(LAYERS, width, width) / 2
    readout = draw.normal(width)

    def run(sentence: Tensor, hook: Hook | None = None) -> float:
        require(hook is None or callable(hook), NO_HOOK)
        states = sentence
        for layer in range(LAYERS):
            mixed = torch.einsum("hts,se,hed->thd", weights[layer], states.tanh(), values[layer])
            new = None if hook is None else hook(layer, mixed.clone())
            fits = isinstance(new, Tensor) and new.shape == mixed.shape
            require(new is None or fits, WRONG_SHAPE)
            contexts = mixed if new is None else new
            states = states + contexts.flatten(1) @ output[layer]
        return float(states[0] @ readout)

    return run


def _read(result: Any, right: Any) -> float:
    return a_number(result, "the share")


# --- What learners write instead -----------------------------------------------------------------

Put = Callable[[Tensor, Kept, int, int, Sequence[int]], Tensor | None]  # layer, head, tokens


def _into(contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]) -> Tensor:
    """The right contexts of a layer."""
    contexts = contexts.clone()
    contexts[tokens, head] = kept[layer][tokens, head]
    return contexts


def _patching(
    put: Put = _into,
    where: Callable[[int, int], bool] = lambda index, layer: index == layer,
    share: Callable[[float, float, float], float] = lambda start, end, patched: (
        (patched - end) / (start - end)
    ),
    noising: bool = False,
) -> Callable[..., float]:
    """A right answer, of which mistakes change a part.

    ``where`` says whether a layer, of this index, is patched; ``noising`` patches the first run.
    """

    def answer(
        run: Run, first: Tensor, second: Tensor, layer: int, head: int, tokens: Sequence[int]
    ) -> float:
        kept: Kept = {}
        source, target = (second, first) if noising else (first, second)
        run(source, lambda index, contexts: kept.__setitem__(index, contexts))

        def replaced(index: int, contexts: Tensor) -> Tensor | None:
            return put(contexts, kept, index, head, tokens) if where(index, layer) else None

        return share(run(first), run(second), run(target, replaced))

    return answer


def _all_heads(
    contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]
) -> Tensor:
    contexts = contexts.clone()
    contexts[tokens] = kept[layer][tokens]
    return contexts


def _only_this_head(
    contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]
) -> Tensor:
    return _into(torch.zeros_like(contexts), kept, layer, head, tokens)


def _of_last_layer(
    contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]
) -> Tensor:
    return _into(contexts, {layer: kept[LAYERS - 1]}, layer, head, tokens)


def _added(contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]) -> Tensor:
    contexts = contexts.clone()
    contexts[tokens, head] += kept[layer][tokens, head]
    return contexts


def _silent(contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]) -> Tensor:
    return _into(contexts, {layer: torch.zeros_like(contexts)}, layer, head, tokens)


def _token_for_head(
    contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]
) -> Tensor:
    contexts = contexts.clone()
    contexts[head] = kept[layer][head]
    return contexts


def _never_returned(
    contexts: Tensor, kept: Kept, layer: int, head: int, tokens: Sequence[int]
) -> None:
    _into(contexts, kept, layer, head, tokens)


FIRST_IS_1 = "The formula is 0 for the second sentence's margin and 1 for the first's."
COUNTS_HEADS = "Which axis of (T, H, D) counts the heads?"

MISTAKES = [
    Mistake(
        _patching(_never_returned),
        "Nothing comes back: the share is 0.\nDoes your hook return the new contexts, and do they "
        "hold what was recorded with the *first* sentence?",
    ),
    Mistake(
        _patching(noising=True),
        "The first run is patched with what the head has in the second.\n"
        "Which of the two runs is to be mended?",
    ),
    Mistake(
        _patching(
            noising=True, share=lambda start, end, patched: (start - patched) / (start - end)
        ),
        "The first run is patched with what the head has in the second, and it is the share lost "
        "that is measured. That is a good question, but another one.\n"
        "Which of the two runs is to be mended?",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: patched),
        f"It is the patched margin itself that comes back, in logits.\n{FIRST_IS_1}",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: patched - end),
        "It is the change of the margin, in logits.\nOf which difference is it a share?",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: (start - patched) / (start - end)),
        f"It is the share that is still missing.\n{FIRST_IS_1}",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: (patched - end) / (end - start)),
        f"The sign is turned.\n{FIRST_IS_1}",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: (patched - end) / start),
        "The change is divided by the first margin alone.\nHow much is there to bring back?",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: patched / start),
        "The patched margin is divided by the first, and the second is left out.\n"
        "How much is there to bring back?",
    ),
    Mistake(
        _patching(_all_heads),
        f"All heads of the layer are copied.\n{COUNTS_HEADS}",
    ),
    Mistake(
        _patching(where=lambda index, layer: True),
        "The head of this number is copied in every layer.\nWhat does the hook's first argument "
        "say?",
    ),
    Mistake(
        _patching(_all_heads, where=lambda index, layer: True),
        "All heads of all layers are copied.\nWhich layer and which head are asked for?",
    ),
    Mistake(
        _patching(_of_last_layer),
        "What is put in comes from the last layer: it was recorded over what came before.\n"
        "For which layer does your first hook keep the contexts?",
    ),
    Mistake(
        _patching(where=lambda index, layer: index == layer - 1),
        "The layer below is patched.\nAre layers counted from 0 or from 1?",
    ),
    Mistake(
        _patching(
            lambda contexts, kept, layer, head, tokens: _into(
                contexts, kept, layer, head - 1, tokens
            )
        ),
        "The head before it is copied.\nAre heads counted from 0 or from 1?",
    ),
    Mistake(
        _patching(_only_this_head),
        "This head is copied, and all others are silent.\nWhat should they bring?",
    ),
    Mistake(
        _patching(_added),
        "The head brings both, its own contexts and the copied ones.\nIs there a += too many?",
    ),
    Mistake(
        _patching(_silent),
        "The head is silent in the second run: that is ablation.\nWhat should take its place?",
    ),
    Mistake(
        _patching(_token_for_head),
        f"All heads of one token are copied, that of the head's number.\n{COUNTS_HEADS}",
    ),
    Mistake(
        _patching(
            lambda contexts, kept, layer, head, tokens: _into(
                contexts, kept, layer, head, range(TOKENS)
            )
        ),
        "The head is copied at all tokens, not at the given ones only.\n"
        "Where does your function look at `tokens`?",
    ),
    Mistake(
        _patching(
            lambda contexts, kept, layer, head, tokens: _into(
                contexts, kept, layer, head, range(min(tokens), max(tokens) + 1)
            )
        ),
        "The head is copied at all tokens from the first to the last of the given ones.\n"
        "Which tokens keep what they have in the second run?",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: abs((patched - end) / (start - end))),
        "The share is never below 0.\nHow would one see that a head makes things worse?",
    ),
    Mistake(
        _patching(share=lambda start, end, patched: max(0.0, (patched - end) / (start - end))),
        "What is below 0 is cut off.\nHow would one see that a head makes things worse?",
    ),
    Mistake(
        _patching(lambda contexts, kept, layer, head, tokens: kept[layer][:, head]),
        WRONG_SHAPE,
        compared=False,
    ),
    Mistake(
        lambda run, first, second, layer, head, tokens: run(first, layer) - run(second, head),
        NO_HOOK,
        compared=False,
    ),
]

EXERCISE = Exercise("patch_head", "head_mixing", 3, check, mistakes=MISTAKES, ours=_patching())
