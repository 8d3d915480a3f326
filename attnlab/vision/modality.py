"""Which modality did an answer use? Give the model another example's picture, or question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attnlab.errors import DataError
from attnlab.statistics import paired_bootstrap, share_interval

__all__ = ["REPLACED", "ModalityUse", "modality_use"]

REPLACED = {"image": (True, False), "question": (False, True), "both": (True, True)}

Answer = Callable[[np.ndarray, Sequence[str]], Sequence[int] | np.ndarray]


@dataclass(frozen=True, eq=False)
class ModalityUse:
    """What replacing a modality did to the answers.

    Attributes
    ----------
    table : DataFrame, a row for each kind of question and what was replaced: ``kind``,
        ``replaced``, ``n``, ``accuracy`` as it was with its 95 % interval (``accuracy_low``,
        ``accuracy_high``), ``replaced_accuracy``, ``delta`` (its change) with its paired 95 %
        interval (``ci_low``, ``ci_high``), and ``changed``, the share of answers that became others
    changed : for each of "image", "question" and "both" a float array (N,): how often, of all
        draws, the answer to this example became another one. 0 is an answer that did not use it.
    """

    table: pd.DataFrame
    changed: dict[str, np.ndarray]


def modality_use(
    answer: Answer,
    images: np.ndarray,
    questions: Sequence[str],
    answers: Sequence[int] | np.ndarray,
    kinds: Sequence[str] | None = None,
    draws: int = 5,
    seed: int = 0,
) -> ModalityUse:
    """Measure which modality a model's answers use, by ablation.

    The picture, the question, or both are replaced by those of another example, drawn at random
    among those that differ from its own. So the model is given what it was trained on, only not
    what belongs together: attention weights say where it looks, not whether it matters.

    Parameters
    ----------
    answer : returns N answers, as indices, to N pictures and N questions, such as
        ``lambda images, questions: model.answer(images, questions).probabilities.argmax(-1)``
    images : array, shape (N, ...)
    questions : N questions
    answers : the right ones, N indices
    kinds : for each example the kind of its question; the table has rows for each, and for "all"
    draws : how many other examples each one is given, one after another
    seed : of the draws

    Raises
    ------
    DataError : parts of unequal length; all pictures, or all questions, alike

    Examples
    --------
    A "model" that counts the words of the question uses the question alone:

    >>> use = modality_use(
    ...     lambda images, questions: [len(q.split()) for q in questions],
    ...     np.arange(4), ["what", "is it", "how many", "is it so"], [1, 2, 2, 3],
    ... )
    >>> use.table.set_index("replaced").changed["image"].item()
    0.0
    """
    examples = _Examples(np.asarray(images), np.asarray(questions), np.asarray(answers))
    examples.check(kinds)
    plain = np.asarray(answer(examples.images, list(questions)))
    wrong_shape = plain.shape != examples.answers.shape
    if wrong_shape or draws < 1:
        raise DataError(
            f"Expected {len(examples.answers)} answers and at least 1 draw, got answers of shape "
            f"{plain.shape} and {draws} draws."
        )
    generator = np.random.default_rng(seed)
    groups = {"all": np.ones(len(plain), bool)}
    if kinds is not None:
        groups |= {kind: np.asarray(kinds) == kind for kind in sorted(set(kinds))}
    right, rows, changed = plain == examples.answers, [], {}
    for name, which in REPLACED.items():
        others = np.array(
            [answer(*examples.replaced(which, generator)) for _ in range(draws)]
        )  # (draws, N)
        changed[name] = (others != plain).mean(0)
        still_right = (others == examples.answers).mean(0)
        for kind, chosen in groups.items():
            rows.append(
                {"kind": kind, "replaced": name}
                | _compared(right[chosen], still_right[chosen])
                | {"changed": float(changed[name][chosen].mean())}
            )
    return ModalityUse(pd.DataFrame(rows), changed)


@dataclass
class _Examples:
    """Pictures, questions and right answers that belong together, row by row."""

    images: np.ndarray
    questions: np.ndarray
    answers: np.ndarray

    def check(self, kinds: Sequence[str] | None) -> None:
        """Raise DataError unless each example has all parts and another one differs from it."""
        counts = [len(self.images), len(self.questions), len(self.answers)]
        counts += [] if kinds is None else [len(kinds)]
        if len(set(counts)) > 1 or not counts[0]:
            raise DataError(
                f"Pictures, questions, answers{'' if kinds is None else ' and kinds'} must be as "
                f"many of each, at least one: got {', '.join(map(str, counts))}."
            )
        flat = self.images.reshape(counts[0], -1)
        self.keys = [
            np.unique(flat, axis=0, return_inverse=True)[1].ravel(),
            np.unique(self.questions, return_inverse=True)[1].ravel(),
        ]
        for name, keys in zip(("pictures", "questions"), self.keys, strict=True):
            if not keys.any():
                raise DataError(
                    f"All {name} are alike, so none can be replaced by another one. Measure on "
                    f"examples with different {name}."
                )

    def replaced(
        self, which: tuple[bool, bool], generator: np.random.Generator
    ) -> tuple[np.ndarray, list[str]]:
        """Pictures and questions, one or both of another example that differs."""
        own = np.arange(len(self.answers))
        image, question = (
            _others(keys, generator) if replace else own
            for keys, replace in zip(self.keys, which, strict=True)
        )
        return self.images[image], self.questions[question].tolist()


def _others(keys: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """For each row the index of a random one with another key."""
    others = generator.integers(0, len(keys), len(keys))
    while (same := keys[others] == keys).any():
        others[same] = generator.integers(0, len(keys), same.sum())
    return others


def _compared(right: np.ndarray, still_right: np.ndarray) -> dict[str, float]:
    """Accuracy before and after, and its change with the paired interval."""
    change = still_right - right
    low, high = paired_bootstrap(change)
    before = share_interval(int(right.sum()), len(right))
    return {
        "n": len(right),
        "accuracy": float(right.mean()),
        "accuracy_low": before[0],
        "accuracy_high": before[1],
        "replaced_accuracy": float(still_right.mean()),
        "delta": float(change.mean()),
        "ci_low": float(low),
        "ci_high": float(high),
    }


def __dir__() -> list[str]:
    return sorted(__all__)
