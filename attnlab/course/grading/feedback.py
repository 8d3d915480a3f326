"""A page for each submission that its author may read: points, and what the checks said."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from attnlab.files import atomic_write

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em; }}
section {{ border-top: 1px solid #767676; padding: .5em 0; }}
h2 {{ font-size: 1.1em; margin: .3em 0; }}
pre {{ white-space: pre-wrap; margin: .3em 0; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #eee; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{sum:g} of {of:g} points</p>
{sections}
</body>
</html>
"""
_SECTION = """\
<section>
<h2>{sign} {exercise}: {points:g} of {of:g}</h2>
{said}</section>
"""
_SEED = re.compile(r"^.*\bal\.checks\.\w+\(\w+, seed=\d+\).*\n?", re.M)  # of hidden tests


def write_feedback(
    course: Path, rows: Sequence[Mapping[str, object]], said: Mapping[str, str]
) -> Path:
    """Write ``feedback/STUDENT/LESSON/LESSON.html``, from where nbgrader can release it.

    Parameters
    ----------
    course : folder of the course
    rows : of one submission, as `grade` returns them
    said : all that a check said, by exercise; where it is missing the row's note stands
    """
    lesson, student = str(rows[0]["lesson"]), str(rows[0]["student"])
    sections = []
    for row in rows:
        note = str(row["note"])
        told = _SEED.sub("", said.get(str(row["exercise"]), "")) if note else ""
        told = textwrap.dedent(told.removeprefix(f"{row['exercise']}\n")).strip()  # the heading
        text = escape(told or note)
        sections.append(
            _SECTION.format(
                sign="✓" if float(str(row["points"])) >= float(str(row["of"])) else "·",
                exercise=escape(str(row["exercise"])),
                points=row["points"],
                of=row["of"],
                said=f"<pre>{text}</pre>\n" if text else "",
            )
        )
    page = _PAGE.format(
        title=escape(lesson.replace("_", " ")),
        sum=sum(float(str(row["points"])) for row in rows),
        of=sum(float(str(row["of"])) for row in rows),
        sections="".join(sections),
    )
    folder = course / "feedback" / student / lesson
    folder.mkdir(parents=True, exist_ok=True)
    return atomic_write(folder / f"{lesson}.html", page.encode())
