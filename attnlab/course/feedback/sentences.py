"""What is said of a word, and of a sentence that is to fool the model."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from attnlab.classification.classifier import Classifier
from attnlab.course.feedback.printed import printed
from attnlab.errors import AttnlabError, suggest
from attnlab.languages import tr
from attnlab.show.wording import number, percent


@printed
def word(said: str, words: Sequence[str], changes: Sequence[float] | np.ndarray) -> Iterator[str]:
    """Compare the word that was said to matter most with the largest change.

    Parameters
    ----------
    said : one of ``words``, in lower or upper case; empty if nothing is said yet
    words : of the sentence
    changes : of the answer without each word, in percentage points
    """
    sizes = np.abs(np.asarray(changes, dtype=float))
    if not isinstance(said, str):
        raise AttnlabError(
            tr("Write one word in quotation marks, such as {word!r}.", word=words[0])
        )
    if not said.strip():
        yield tr(
            "You have not said which word yet. Write it above, and run that cell and this one."
        )
        return
    folded = [name.casefold() for name in words]
    if said.strip().casefold() not in folded:
        near = suggest(said, words)
        raise AttnlabError(tr("{said!r} is no word of this sentence. {near}", said=said, near=near))
    same = [at for at, name in enumerate(folded) if name == said.strip().casefold()]
    mine, largest = max(same, key=lambda at: sizes[at]), int(sizes.argmax())
    yield tr(
        "You said “{word}”: {change} points, number {rank} of {count} by size.",
        word=words[mine],
        change=number(float(changes[mine]), 0, signed=True),
        rank=1 + int((sizes > sizes[mine]).sum()),
        count=len(words),
    )
    yield tr(
        "The largest change is that without “{word}”: {change} points.",
        word=words[largest],
        change=number(float(changes[largest]), 0, signed=True),
    )


@printed
def designed(clf: Classifier, text: str, meant: str, said: str) -> Iterator[str]:
    """Say whether the model is fooled by a sentence, and on which word its answer hangs.

    Parameters
    ----------
    clf : the model to fool
    text : a sentence
    meant : its right label
    said : the label that the model is expected to give; empty if nothing is said yet
    """
    if not isinstance(text, str) or not text.strip():
        yield tr("Write a sentence of your own above, and run this cell again.")
        return
    if said == "":
        yield tr(
            "Say first what the model will answer: {labels}.",
            labels=", ".join(repr(label) for label in clf.label_names),
        )
        return
    for label in (meant, said):
        if label not in clf.label_names:
            near = suggest(str(label), clf.label_names)
            raise AttnlabError(tr("There is no label {label!r}. {near}", label=label, near=near))
    answer = clf.predict([text])
    given, index = answer.labels[0], int(answer.probabilities[0].argmax())
    share = float(answer.probabilities[0, index])
    line = tr("The model answers “{label}” ({share}).", label=given, share=percent(share))
    as_said = tr("As you said.") if given == said else tr("You said “{said}”.", said=said)
    yield f"{line} {as_said}"
    if given == meant:
        yield tr("That is what you mean. So it is not fooled: change the sentence.")
        return
    yield tr("You mean “{meant}”: it is fooled.", meant=meant)
    words = re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", text)
    known = [at for at, word in enumerate(words) if word[0].isalnum()]
    if len(known) < 2:
        return
    shorter = [" ".join(words[:at] + words[at + 1 :]) for at in known]
    found = clf.predict(shorter)
    turning = [words[at] for at, now in zip(known, found.labels, strict=True) if now != given]
    if turning:
        names = ", ".join(f"“{word}”" for word in turning)
        yield tr("Leave out one of these words, and its answer turns: {names}.", names=names)
        return
    change = 100 * (found.probabilities[:, index] - share)
    yield tr(
        "No single word turns its answer. Without “{word}” it changes most, by {change} points.",
        word=words[known[int(change.argmin())]],
        change=number(float(change.min()), 0, signed=True),
    )
