"""The flow desk: step by step from the tokens of your own sentence to the model's answer.

The view is in static/flow.js; what it draws is made in flow_report.py.
"""

import functools
from typing import Any

import traitlets
from matplotlib.colors import to_hex

from attnlab.classification.classifier import Classifier
from attnlab.errors import SettingsError
from attnlab.show import plots
from attnlab.show.plots.flow import flow_desk, strip_colours
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.flow_reading import Flow, read_flow
from attnlab.show.widgets.flow_report import (
    LINES,
    STEPS,
    check,
    first_head,
    flow_report,
    named,
    telling_token,
)
from attnlab.show.widgets.spoken import SpokenDesk

_REMEMBERED = 16  # texts, so that looking at another head reads nothing anew


class FlowDesk(SpokenDesk, ReportDesk):
    """A desk to step through what a classifier does with a sentence, with the real numbers.

    The whole model at a glance; then tokens, vectors, one head's queries, keys and values, its
    weights, the mixture of values, the sums that make the token's new vector, and the answer as it
    stands after each layer. The model itself stays as it is.

    Parameters
    ----------
    clf : Classifier of the BERT family
    text : at most `flow_report.MOST_TOKENS` tokens
    layer, head : looked into at first; default the last layer, and its first head that is there
    token : index of the one that looks at first; default the one that gives most of its weight to
        another word
    step : shown at first: "model", "tokens", "vectors", "projections", "weights", "mixture",
        "update" or "answer"
    lines : how wide those of the whole model are: "weights", or "carried", each weight times the
        length of its value
    questions : whether each step asks a question, and says what is found only when asked

    Attributes
    ----------
    settings : dict, what the controls say now: ``text``, ``layer``, ``head``, ``token`` (the one
        that looks, 0 is the first), ``step`` and ``lines``. `set` changes some of them, as in
        ``desk.set(step="weights", layer=2)``.
    report : dict, what is drawn: the `flow_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can
    code : str, the settings as Python code

    Raises
    ------
    SettingsError : something else than a Classifier, or a setting that makes no sense
    AttnlabError : a text that is empty or too long
    ModelError : a model whose layers are not like those of BERT
    """

    _esm = script("flow")
    _css = style("flow")

    size = traitlets.Dict().tag(sync=True)
    steps: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    lines: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    questions = traitlets.Bool().tag(sync=True)
    palette: traitlets.List[str] = traitlets.List().tag(sync=True)

    def __init__(
        self,
        clf: Classifier,
        text: str = "The plot is thin, but the acting is a joy.",
        layer: int | None = None,
        head: int | None = None,
        token: int | None = None,
        step: str = "model",
        lines: str = "weights",
        questions: bool = False,
    ):
        if not isinstance(clf, Classifier):
            raise SettingsError(
                f"The flow desk was given a {type(clf).__name__}; it needs a classifier of texts: "
                'FlowDesk(al.load_classifier("movie-sentiment"), "A warm film.").'
            )
        self._clf = clf
        self._flow = functools.lru_cache(maxsize=_REMEMBERED)(self._read)
        layer = clf.layers - 1 if layer is None else layer
        if head is None:
            head = first_head(self._flow(text), layer)
        first: dict[str, Any] = {
            "text": text,
            "layer": layer,
            "head": head,
            "token": 0 if token is None else token,
            "step": step,
            "lines": lines,
        }
        check(self._flow(text), first)
        if token is None:
            first["token"] = telling_token(self._flow(text), layer, head)
        super().__init__(
            self.compute(**first),
            size={"layers": clf.layers, "heads": clf.heads},
            steps=named(STEPS),
            lines=named(LINES),
            questions=questions,
            palette=[to_hex(colour) for colour in strip_colours()(range(129))],
        )

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `flow_report` of these settings."""
        return flow_report(self._flow(settings["text"]), settings)

    def set(self, **changes: Any) -> None:
        """Move some of the controls, as in ``desk.set(step="weights", token=3)``.

        In another text the first token looks.

        Raises
        ------
        AttnlabError : if there is no such control, or it cannot stand there; nothing moves then
        """
        fresh: dict[str, Any] = {"token": 0} if "text" in changes else {}
        super().set(**fresh | changes)

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return flow_desk(self._report_to_draw())

    def _say_again(self) -> None:
        self.steps, self.lines = named(STEPS), named(LINES)
        super()._say_again()

    def _read(self, text: str) -> Flow:
        return read_flow(self._clf, text)
