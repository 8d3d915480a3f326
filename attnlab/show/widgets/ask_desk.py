"""The ask desk: a question about a picture, which word looks where, and what changes the answer.

The view is in static/ask.js; what it draws is made in ask_report.py.
"""

from typing import TYPE_CHECKING, Any

import traitlets

from attnlab.datasets.grammar import QuestionDataset
from attnlab.errors import DataError
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots
from attnlab.show.plots.desks import ask_desk
from attnlab.show.widgets.ask_report import (
    EXAMPLES,
    ask_report,
    from_faders,
    most_focused,
    to_faders,
)
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.desk import ReportDesk

if TYPE_CHECKING:
    from attnlab.vision.asking import Answerer


class AskDesk(ReportDesk):
    """A desk for a model that answers questions about pictures.

    Type a question, point at a word to see which patches it looks at, turn heads down, sharpen or
    flatten them, and cover parts of the picture: the answer follows. Or take the picture or the
    question of other scenes instead, and see whether the answer needed it. The model itself stays
    as it is.

    Parameters
    ----------
    answerer : `vision.Answerer` whose words look at patches (fusion "cross-attention")
    data : QuestionDataset, whose pictures are shown
    index : the picture that is shown first

    Attributes
    ----------
    settings : dict of ``index``, ``question``, ``word``, ``layer``, ``head``, ``covers``,
        ``faders``, ``temperatures`` and ``replaced``, as in `ask_report`; `set` changes some of
        them, as in ``desk.set(question="how many 3s?", covers=[[0, 0, 28, 28]])``
    head_settings : HeadSettings that the faders say; assign to move them
    report : dict, what is drawn: the `ask_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can

    Raises
    ------
    DataError : no questions
    ModelError : a fusion without cross-attention
    """

    _esm = script("ask")
    _css = style("mixer", "ask")

    size = traitlets.Dict().tag(sync=True)
    examples: traitlets.List[str] = traitlets.List(EXAMPLES).tag(sync=True)
    palette: traitlets.List[str] = traitlets.List().tag(sync=True)

    def __init__(self, answerer: "Answerer", data: QuestionDataset, index: int = 0):
        if not isinstance(data, QuestionDataset) or not len(data):
            raise DataError(
                f"{data!r} has no pictures with questions. Use "
                "al.datasets.scenes.questions(digits).dev."
            )
        self._answerer, self._data = answerer, data
        layers, heads = answerer.settings().scale.shape
        self._shape = layers, heads
        first = {
            "index": index,
            "question": "",
            "word": 0,
            "layer": layers - 1,
            "head": None,
            "covers": [],
            "replaced": None,
            **to_faders(answerer.settings()),
        }
        if isinstance(index, int) and 0 <= index < len(data):  # else compute says what is wrong
            first["question"] = data.questions[index]
            maps = answerer.attend(data.images[index], data.questions[index])
            first |= most_focused(maps, data.images[index])
        else:
            first["question"] = EXAMPLES[0]
        super().__init__(
            self.compute(**first),
            size={"layers": layers, "heads": heads, "pictures": len(data)},
            palette=palettes()["plain"],
        )

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `ask_report` of these settings."""
        return ask_report(self._answerer, self._data, settings)

    @property
    def head_settings(self) -> HeadSettings:
        """What the faders say, a copy. Assign settings to move them."""
        settings = self.report["settings"]
        return from_faders(settings["faders"], settings["temperatures"], *self._shape)

    @head_settings.setter
    def head_settings(self, settings: HeadSettings) -> None:
        self.set(**to_faders(settings))

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return ask_desk(self.report)

    def __repr__(self) -> str:
        return f"AskDesk({self.report['settings']['question']!r}: {self.report['said']!r})"
