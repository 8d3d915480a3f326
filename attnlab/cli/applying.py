"""The commands of the small applications: ``attnlab apps``, each on a user's own file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli.data import OwnFile, reads_file
from attnlab.cli.options import Seed
from attnlab.cli.output import print_frame, say

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["appliances", "feedback", "news", "recommend"]

_LEARNED = 1000  # labelled texts that topics are learned from
_SHOWN = 6  # topics whose shares are printed
_PANEL = "A file of your own"

Encoding = Annotated[str, typer.Option(help="How your file is encoded.", rich_help_panel=_PANEL)]
Delimiter = Annotated[
    str | None,
    typer.Option(
        help="What separates the cells; default: it is recognised.", rich_help_panel=_PANEL
    ),
]


def appliances(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Series with labels: CSV with label, series and value, or label and one row for "
            "each series; or appliances.",
        ),
    ],
    explain: Annotated[
        int, typer.Option(min=0, help="Test series to explain, the first ones.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Of training.")] = 400,
    seed: Seed = 0,
    label: Annotated[str, typer.Option(help="Column of labels.", rich_help_panel=_PANEL)] = "label",
    series: Annotated[
        str, typer.Option(help="Column that names the series.", rich_help_panel=_PANEL)
    ] = "series",
    value: Annotated[str, typer.Option(help="Column of values.", rich_help_panel=_PANEL)] = "value",
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
) -> None:
    """Say which kind of device, or other label, a series belongs to.

    Prints how often that is right on a fifth of the series that is held out, beside the nearest
    known series and a forest on four numbers: use what is best there. With --explain it says for
    some of these series which moments the answer needed. Do not use it for bills, nor to conclude
    what people do at home: many answers are wrong, and more in a house that it does not know.

    Example: [bold]attnlab apps appliances currents.csv --explain 3[/]
    """
    from attnlab.applications import SeriesClassifier, by_forest, by_nearest, series_table
    from attnlab.datasets import load_series
    from attnlab.training.callbacks import ProgressBar

    splits = load_series(source, label, series, value, encoding=encoding, delimiter=delimiter)
    classifier = SeriesClassifier.train(splits, steps=steps, seed=seed, callbacks=[ProgressBar()])
    ways = {
        "forest": by_forest(splits.train, seed=seed),
        "nearest": by_nearest(splits.train),
        "attention": classifier.predict,
    }
    print_frame(series_table(ways, splits.test).round(3))
    for values in splits.test.series[:explain]:
        say("")
        say(classifier.label_names[classifier.predict([values])[0]])
        print_frame(classifier.explain(values).nlargest(5, "missed").round(3))


def recommend(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Who had what, and when: CSV with user, item and time; or films."
        ),
    ],
    past: Annotated[
        list[str] | None,
        typer.Option(help="An item that was had, oldest first; may be given several times."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many items to name.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Of training.")] = 1600,
    fewest: Annotated[
        int, typer.Option(min=1, help="People with fewer items, or items with fewer people, go.")
    ] = 5,
    seed: Seed = 0,
    user: Annotated[str, typer.Option(help="Column of people.", rich_help_panel=_PANEL)] = "user",
    item: Annotated[str, typer.Option(help="Column of items.", rich_help_panel=_PANEL)] = "item",
    time: Annotated[str, typer.Option(help="Column of times.", rich_help_panel=_PANEL)] = "time",
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
) -> None:
    """Say what a person may want next, from the order of what they had.

    Prints first how well that works for these people, beside popularity and neighbours, each
    person's last item being asked for, and then the items that follow those of --past.

    Example: [bold]attnlab apps recommend purchases.csv --past lamp --past bulb[/]
    """
    from attnlab.applications import Recommender, by_neighbours, by_popularity, ranking_table
    from attnlab.datasets import load_histories
    from attnlab.datasets.histories import item_numbers
    from attnlab.training.callbacks import ProgressBar

    histories = load_histories(
        source, user, item, time, fewest=fewest, seed=seed, encoding=encoding, delimiter=delimiter
    )
    item_numbers(histories.items, past or [])  # before minutes of training, not after
    recommender = Recommender.train(histories, steps=steps, seed=seed, callbacks=[ProgressBar()])
    ways = {
        "popularity": by_popularity(histories),
        "neighbours": by_neighbours(histories, recent=10),
        "attention": recommender.scores,
    }
    print_frame(ranking_table(ways, histories, protocols=("full",)).round(3))
    if past:
        say("")
        for name in recommender.recommend(past, count):
            say(name)


def feedback(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A table with a column of messages, see --text.")
    ],
    text: Annotated[str, typer.Option(help="Your file's column of messages.")] = "text",
    book: Annotated[
        Path | None,
        typer.Option(
            help="Your answer book: a table with topic, question and answer. Default: ours."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Earlier messages, likewise: has their kind changed since?"),
    ] = None,
    coverage: Annotated[
        float,
        typer.Option(min=0.05, max=1.0, help="Share of product reviews that is sure enough."),
    ] = 0.8,
    count: Annotated[int, typer.Option(min=1, help="How many messages to print.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write the whole queue to this CSV file.")
    ] = None,
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
) -> None:
    """Sort messages of customers: complaints first, each with its topic and the nearest answer.

    Sentiment is learned from product reviews, which are fetched the first time. Where it is not
    sure, a person decides. Our answer book and its topics are an example; bring your own.

    Example: [bold]attnlab apps feedback messages.csv --book answers.csv[/]
    """
    from attnlab import datasets
    from attnlab.applications import Triage
    from attnlab.files import atomic_write

    written: dict[str, Any] = {"encoding": encoding, "delimiter": delimiter}
    messages = datasets.texts_from_file(source, text, **written)
    examples = None if book else datasets.messages.messages(240)
    answers = datasets.messages.answer_book() if book is None else _answer_book(book, written)
    before = datasets.texts_from_file(reference, text, **written) if reference else None
    reviews = datasets.split(datasets.load("product-sentiment").test, 500, 1400)
    triage = Triage.train(reviews, answers, examples, coverage=coverage)
    queue = triage.sort(messages)
    print_frame(queue.head(count).round(2))
    unsure = int((queue["sentiment"] == "a person decides").sum())
    say(f"{unsure} of {len(queue)} messages are for a person to decide.")
    if before is not None:
        from attnlab.statistics import p_text

        p_value = triage.unlike(before, messages)
        verdict = "Their kind has changed" if p_value <= 0.05 else "No change of kind is seen"
        say(f"{verdict} since {reference}: {p_text(p_value)}.")
    if out is not None:
        atomic_write(out, queue.to_csv(index=False).encode())


@reads_file
def news(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A table with a column of texts, oldest first.")
    ],
    topics: Annotated[
        str,
        typer.Option(help="What topics are learned from: labelled texts of yours, or a data set."),
    ] = "reuters-r52",
    reference: Annotated[
        int, typer.Option(min=20, help="The first texts, which stand for what is usual.")
    ] = 500,
    window: Annotated[int, typer.Option(min=1, help="Texts of which shares are printed.")] = 100,
    words: Annotated[int, typer.Option(min=1, help="First words of a text that are read.")] = 12,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Chance that an alarm is ever false.")
    ] = 0.05,
    tone: Annotated[
        bool,
        typer.Option("--tone", help="Watch also what share the movie classifier calls negative."),
    ] = False,
    *,
    own: OwnFile,
) -> None:
    """Watch what a stream of texts is about, and name topics whose share has changed.

    If nothing changes, no alarm is raised but for a chance of --alpha, over all topics together and
    however long the file is. The rows are taken in the order of the file.

    Example: [bold]attnlab apps news headlines.csv --topics labelled.csv[/]
    """
    import pandas as pd

    from attnlab import datasets
    from attnlab.applications import NewsMonitor, first_words, topic_shares, watch
    from attnlab.classification import load_classifier
    from attnlab.errors import DataError, option

    written: dict[str, Any] = {"encoding": own.encoding, "delimiter": own.delimiter}
    texts = datasets.texts_from_file(source, own.text, **written)
    if len(texts) < reference + window:
        raise DataError(
            f"{source} has {len(texts)} texts; {reference} to know what is usual and a window of "
            f"{window} are needed. Set {option('reference')} and {option('window')} lower."
        )
    train = own.training(topics).sample(_LEARNED)
    found = NewsMonitor.train(train, words=words).topics(texts)
    alpha = alpha / 2 if tone else alpha
    table = watch(found[:reference], found[reference:], alpha=alpha)
    names = table.sort_values("usual", ascending=False)["topic"].tolist()
    names = [name for name in names if name in found][:_SHOWN]  # without the others together
    shares = topic_shares(found, names, window)
    if tone:
        told = load_classifier("movie-sentiment").predict(first_words(texts, words)).labels
        shares["negative"] = topic_shares(told, ["negative"], window)["negative"]
        moods = watch(told[:reference], told[reference:], ["negative"], alpha)
        table = pd.concat([table, moods], ignore_index=True)
    print_frame(shares.round(2))
    say("")
    print_frame(table.round(3))
    for row in table[table["alarm_at"] > 0].itertuples():
        say(f"Alarm: {row.topic}, at text {reference + row.alarm_at} of the file.")


def _answer_book(path: Path, written: dict[str, Any]) -> "pd.DataFrame":
    import pandas as pd

    from attnlab.datasets import texts_from_file

    columns = ("topic", "question", "answer")
    return pd.DataFrame({column: texts_from_file(path, column, **written) for column in columns})


def __dir__() -> list[str]:
    return sorted(__all__)
