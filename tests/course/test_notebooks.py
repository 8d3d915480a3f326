"""Notebooks are built from their source, all cells run, and nothing of a learner's is lost."""

import json
import operator
import re
import textwrap
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from lesson_runs import answers_alone, run_one_after_another, run_side_by_side

import attnlab as al
from attnlab.course import notebooks
from attnlab.errors import AttnlabError
from attnlab.show import plots

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted((FOLDER / "src").glob("*.py"))
LESSONS = [path for path in SOURCES if 'exercise="' in path.read_text()]
name_of = {"ids": lambda path: path.stem}
sources = pytest.mark.parametrize("source", SOURCES, **name_of)
lessons = pytest.mark.parametrize("source", LESSONS, **name_of)
FORMS = (notebooks.student, notebooks.solution)

TINY = '''# %% [markdown]
# # Title

# %% exercise="entropy" points=1
def entropy(weights):
    """Spread."""
    ### BEGIN SOLUTION
    kept = weights.clamp_min(1e-12)
    return -(weights * kept.log()).sum(-1)
    ### END SOLUTION

# %% check="entropy"
import attnlab as al

al.checks.entropy(entropy)

# %% [markdown] hints="entropy"
# A sum.
#
# ---
# With a minus.
'''


def cells(source, form=notebooks.student):
    return form(notebooks.read(source.read_text())).cells


def outputs(notebook, kind):
    return [
        out for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == kind
    ]


def said(notebook):
    return "".join(out.text for out in outputs(notebook, "stream"))


# --- Building ------------------------------------------------------------------------------------


def test_notebooks_and_solutions_match_their_source():
    assert notebooks.build(FOLDER, check=True) == []


def test_a_changed_source_is_noticed_and_built(tmp_path):
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "01_a.py"
    source.write_text(TINY)
    both = [tmp_path / "01_a.ipynb", tmp_path / "solutions" / "01_a.ipynb"]
    assert notebooks.build(tmp_path, check=True) == both
    assert not any(path.exists() for path in both)
    told = []
    assert notebooks.build(tmp_path, progress=told.append) == both
    assert told == ["executing 01_a.ipynb"]
    assert notebooks.build(tmp_path, check=True) == []

    first = both[0].read_bytes()
    both[0].unlink()
    assert notebooks.build(tmp_path) == both[:1]
    assert both[0].read_bytes() == first, "a student notebook is the same byte for byte"

    solved = nbformat.read(both[1], as_version=4)
    assert "entropy: right" in said(solved)
    assert "SOLUTION" not in both[1].read_text() + first.decode()

    source.write_text(TINY + "\n# %%\nprint(1 / 0)\n")
    with pytest.raises(AttnlabError, match=r"01_a.py does not run: ZeroDivisionError"):
        notebooks.build(tmp_path)
    assert notebooks.build(tmp_path, check=True) == both[1:], "a solution that fails is not kept"


def test_outputs_stay_where_only_prose_has_changed(tmp_path):
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "01_a.py"
    source.write_text(TINY)
    _, solved = notebooks.build(tmp_path)
    first = nbformat.read(solved, as_version=4)
    source.write_text(TINY + "\n# %% [markdown]\n# One more word.\n")
    told = []
    notebooks.build(tmp_path, progress=told.append)
    assert told == [], "nothing was executed"
    assert notebooks.build(tmp_path, check=True) == []
    second = nbformat.read(solved, as_version=4)
    assert second.cells[-1].source == "One more word."
    assert said(second) == said(first) != ""
    assert second.metadata.keys() == first.metadata.keys()
    notebooks.build(tmp_path, names=["01"], progress=told.append)
    assert told == ["executing 01_a.ipynb"], "a lesson that is named is executed again"
    told.clear()
    source.write_text(TINY + "\n# %%\n1 + 1\n")
    notebooks.build(tmp_path, progress=told.append)
    assert told == ["executing 01_a.ipynb"]


def test_what_does_not_belong_to_a_source_any_more_is_stale(tmp_path):
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "01_a.py"
    source.write_text(TINY)
    student, solved = notebooks.build(tmp_path)
    gone = tmp_path / "solutions" / "02_gone.ipynb"
    gone.write_text(solved.read_text())
    (tmp_path / "mine.ipynb").write_text("{}")  # nobody's but the learner's
    assert notebooks.build(tmp_path, check=True) == [gone]
    notebooks.build(tmp_path)
    assert not gone.exists()
    assert (tmp_path / "mine.ipynb").exists()
    good = solved.read_text()
    for text in (good.replace("entropy(entropy)", "entropy(1 / 0)"), "<<<<<<< ours", ""):
        solved.write_text(text)
        assert notebooks.build(tmp_path, check=True) == [solved]
    solved.write_text(good)
    student.write_bytes(b"\xff")
    assert notebooks.build(tmp_path) == [student]


def test_a_cell_without_outputs_is_kept_as_it_is():
    cell = nbformat.v4.new_code_cell("x = 1")
    notebook = notebooks.without_scripts(nbformat.v4.new_notebook(cells=[cell]))
    assert notebook.cells[0].outputs == []


def test_hints_for_nothing_are_refused():
    with pytest.raises(AttnlabError, match="'entropi', but no such exercise"):
        notebooks.student(notebooks.read(TINY.replace('hints="entropy"', 'hints="entropi"')))


def test_names_pick_lessons_and_a_wrong_one_is_suggested(tmp_path):
    assert [path.stem for path in notebooks.sources(FOLDER, ["01"])] == ["01_attention_maths"]
    with pytest.raises(AttnlabError, match="no lesson '77'"):
        notebooks.sources(FOLDER, ["77"])
    with pytest.raises(AttnlabError, match="no notebook sources"):
        notebooks.build(tmp_path)
    assert notebooks.folder() == FOLDER


def test_an_exercise_without_a_solution_is_refused():
    with pytest.raises(AttnlabError, match="'entropy' has no solution"):
        notebooks.read(TINY.replace("### BEGIN SOLUTION", "# begin"))


def test_the_student_gets_a_hole_hints_one_by_one_and_the_solution_last():
    notebook = notebooks.student(notebooks.read(TINY))
    code = notebook.cells[1].source
    assert code.endswith('raise NotImplementedError("your turn")')
    assert "log()" not in code
    assert notebook.cells[1].metadata["attnlab"] == {"exercise": "entropy", "points": 1}
    folded = re.findall(r"<summary>(.*?)</summary>", notebook.cells[3].source)
    assert folded == ["Hint 1", "Hint 2", "Solution"]
    assert "kept.log()" in notebook.cells[3].source
    exam = notebooks.student(notebooks.read(TINY), solutions=False)
    assert "kept.log()" not in notebooks.as_text(exam)
    assert "Hint 2" in notebooks.as_text(exam)


def test_code_that_need_not_be_read_is_folded_in_both_forms_and_an_exercise_never():
    read = notebooks.read("# %% folded=true\ndraw()\n\n# %%\n1 + 1")
    for form in (notebooks.student(read), notebooks.solution(read)):
        folded, plain = form.cells
        assert folded.metadata["jupyter"] == {"source_hidden": True}
        assert folded.metadata["tags"] == ["hide-input"] and folded.source == "draw()"
        assert not plain.metadata
    for kind in ('exercise="entropy"', 'check="entropy"'):
        with pytest.raises(AttnlabError, match="must be seen"):
            notebooks.read(TINY.replace(kind, f"{kind} folded=true"))


def test_text_under_a_fold_keeps_its_distance_and_folds_do_not(tmp_path):
    """JupyterLab closes a paragraph up to a fold above it."""
    fold = "# <details>\n# <summary>What we saw</summary>\n#\n# Four.\n#\n# </details>\n"
    source = f"# %% [markdown]\n{fold}#\n{fold}#\n# Text.\n\n# %% [markdown]\n{fold}"
    read = notebooks.read(source)
    for form in (notebooks.student(read), notebooks.solution(read)):
        lines = "\n".join(cell.source for cell in form.cells).splitlines()
        folds = [line for line in lines if line.startswith("<details")]
        assert ["margin-bottom" in line for line in folds] == [False, True, False]


def test_a_saved_table_keeps_its_styles_where_no_sheet_is_trusted():
    frame = pd.DataFrame({"text": ["one two", "three"], "n": [1, 2]}, index=["a row", "another"])
    page = plots.table(frame, marked=[True, False]).to_html()
    found = notebooks.with_styles_inside(page)
    cells = dict(re.findall(r'<td id="[^"]*_(row\d_col\d)"[^>]*?style="([^"]*)"', found))
    assert cells.keys() == {"row0_col0", "row0_col1", "row1_col0"}
    assert "text-align: left" in cells["row1_col0"] and "background" not in cells["row1_col0"]
    assert "background" in cells["row0_col1"] and "text-align" not in cells["row0_col1"]
    assert re.search(r'<th [^>]*row_heading[^>]*style="[^"]*text-align: left', found)
    assert re.sub(r' style="[^"]*"', "", found) == page
    assert notebooks.with_styles_inside(found) == found, "once is enough"
    sheet = "<style>#T_a th.data {color: red}</style>"
    cell = '<td id="T_a_row0_col0" class="data row0">1</td>'
    assert notebooks.with_styles_inside(sheet + cell) == sheet + cell, "of another tag"


def test_a_saved_table_keeps_the_colour_of_a_single_cell_and_gives_it_to_no_other():
    frame = pd.DataFrame({"text": ["one two", "three"], "n": [1, 2]}, index=["a row", "another"])
    marked = pd.DataFrame({"text": [True, False], "n": [False, False]}, index=frame.index)
    found = notebooks.with_styles_inside(plots.table(frame, marked=marked).to_html())
    styles = dict(re.findall(r'<td id="[^"]*_(row\d_col\d)"[^>]*?style="([^"]*)"', found))
    assert [name for name in styles if "background" in styles[name]] == ["row0_col0"]
    assert "font-weight: bold" in styles["row0_col0"]


def test_what_is_kept_of_an_executed_notebook_has_no_scripts_frames_or_widget_state():
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Desk()"}
    view = {
        "text/html": "<div><iframe srcdoc='<img src=x>'></iframe><img alt='still'></div>",
        "text/plain": "View",
    }
    script = {"text/html": "<script>1</script>", "text/plain": "Page"}
    table = {"text/html": "<table></table>", "text/plain": "Table"}
    made = [nbformat.v4.new_output("display_data", data) for data in (widget, view, script, table)]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1", outputs=made, metadata={"execution": {"t": "1"}})],
        metadata={"widgets": {"state": {}}},
    )
    kept = notebooks.without_scripts(notebook)
    shown = [out.data for out in kept.cells[0].outputs]
    assert shown[0]["text/markdown"] == notebooks.MOVABLE
    assert shown[1]["text/html"] == "<img alt='still'>"
    assert "Run this cell" in shown[2]["text/html"]
    assert shown[3] == table
    assert "widgets" not in kept.metadata
    assert kept.cells[0].metadata == {}


# --- Every lesson --------------------------------------------------------------------------------


@sources
def test_run_all_goes_through_before_anything_is_written_and_with_all_answers(source, monkeypatch):
    monkeypatch.setenv("ATTNLAB_PROFILE", "ci")
    text = source.read_text()
    student, solution = (form(notebooks.read(text)) for form in FORMS)
    if source not in LESSONS:
        run_one_after_another([solution], source.name)
        student = solution
    elif text.count("yours_or_ours(") >= text.count(' exercise="'):
        # cells use our function until there is an answer, so that all run before there is any
        solution = answers_alone(solution)
        run_one_after_another([student, solution], source.name)
    else:  # cells wait for an answer, and have to run with it
        run_side_by_side(student, solution, source.name)
    for notebook in (student, solution):
        assert [out.text for out in outputs(notebook, "stream") if out.name == "stderr"] == []
    for cell in student.cells:
        name = cell.metadata.get("attnlab", {}).get("check")
        if name:
            assert [out.text for out in cell.outputs] == [f"{name}: not written yet\n"]

    exercises = [
        cell.metadata["attnlab"]["exercise"]
        for cell in solution.cells
        if "exercise" in cell.metadata.get("attnlab", {})
    ]
    assert len(exercises) == text.count(' exercise="')
    for name in exercises:
        assert f"{name}: right" in said(solution)
    assert "not yet:" not in said(solution)  # what cells say that go on without an answer
    pages = [
        out.data.get("text/html", "")
        for notebook in (student, solution)
        for out in outputs(notebook, "execute_result")
    ]
    pictures = [page for page in pages if "<img" in page]
    assert pictures
    assert all(re.search(r'<img[^>]* alt="[^"]{20,}"', page) for page in pictures)


@lessons
def test_every_exercise_has_its_check_hints_and_solution(source):
    notebook = notebooks.read(source.read_text())
    order = [
        (kind, cell.metadata[kind])
        for cell in notebook.cells
        for kind in ("exercise", "check", "hints")
        if kind in cell.metadata
    ]
    names = [name for kind, name in order if kind == "exercise"]
    assert len(names) >= 5
    assert order == [(kind, name) for name in names for kind in ("exercise", "check", "hints")]
    topic = source.stem[3:]
    known = {one.name: one.points for one in al.checks.EXERCISES.values() if one.lesson == topic}
    assert set(names) == set(known)
    minutes = 0
    for index, cell in enumerate(notebook.cells):
        if "exercise" in cell.metadata:
            assert cell.metadata["points"] == known[cell.metadata["exercise"]]
            title = notebook.cells[index - 1].source
            assert re.search(r"### Exercise \d+: ", title)
            minutes += int(re.search(r"\*Difficulty [1-5] of 5, (\d+) minutes\.\*", title).group(1))
        if "hints" in cell.metadata:
            assert cell.source.count("\n---\n") >= 1, "hints come in steps"
        if "check" in cell.metadata:
            name = cell.metadata["check"]
            assert cell.source == f"al.checks.{name}({name})"
    assert 15 <= minutes <= 60
    assert f'al.checks.summary("{topic}")' in notebook.cells[-1].source


def test_the_first_lesson_says_how_long_the_others_take():
    table = re.findall(r"^# \| \[(\d\d) .*\| (\d+) \|$", SOURCES[0].read_text(), re.M)
    assert [number for number, _ in table] == [path.stem[:2] for path in SOURCES[1:]]
    told = {"about two hours": 120}
    for path, (number, minutes) in zip(SOURCES[1:-1], table[:-1], strict=True):
        (time,) = re.findall(
            r"^# Time: (about two hours|about \d+ minutes)", path.read_text(), re.M
        )
        assert (told.get(time) or int(time.split()[1])) == int(minutes), number


def read_as_items(text):
    """Lines that JupyterLab takes for items of a list, though they go on with a sentence."""
    found = []
    for block in re.split(r"\n\s*\n", re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)):
        before = set()
        for place, line in enumerate(block.splitlines()):
            if item := re.match(r"( *)(?:(\d+)[.)]|[-+*])\s", line):
                indent, number = len(item[1]), int(item[2] or 0)
                follows = (indent, number) in before or (indent, number - 1) in before
                nested = indent > 0 and number < 2
                if place and not (follows or nested):
                    found.append(line)
                before.add((indent, number))
    return found


def test_a_sentence_that_would_become_a_list_is_found():
    assert read_as_items("- as in section\n  2. It does not\n- more") == ["  2. It does not"]
    assert read_as_items("See Guo (in\n2017) and\n- so") == ["2017) and", "- so"]
    assert read_as_items("1. one\n   long\n2. two\n   - below\n3. three\n\n$$ a\n- b $$") == []


@sources
def test_the_style_of_a_lesson(source):
    student = cells(source)
    words = [cell.source for cell in student if cell.cell_type == "markdown"]
    assert sum(bool(re.match(r"# ", text)) for text in words) == 1
    assert [line for text in words for line in read_as_items(text)] == []
    for cell in cells(source, notebooks.solution):
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("attnlab", {}):
            assert len(cell.source.splitlines()) <= 15, cell.source
    for line in source.read_text().splitlines():
        assert len(line) <= 88, line
    for link in re.findall(r"\]\(([^)#\s]+)\)", "\n".join(words)):
        assert link.startswith("http") or (FOLDER / link).exists(), link


@sources
def test_answers_that_stand_in_the_text_are_python(source):
    for code in re.findall(
        r"```python\n(.*?)```", "\n".join(c.source for c in cells(source)), re.S
    ):
        inside = "def answer():\n" + textwrap.indent(code, "    ")
        compile(inside if re.search(r"^return\b", code, re.M) else code, source.name, "exec")


@sources
def test_a_lesson_names_only_lessons_that_there_are(source):
    there = {path.stem[:2] for path in SOURCES}
    named = re.findall(r"\blessons?\s(?:#\s)?(\d\d)", source.read_text(), re.IGNORECASE)
    assert set(named) <= there


@sources
def test_every_name_of_the_package_in_the_text_of_a_lesson_exists(source):
    for cell in cells(source):
        if cell.cell_type == "markdown":
            for name in re.findall(r"`al\.([\w.]+)", cell.source):
                operator.attrgetter(name.strip("."))(al)


@sources
def test_committed_solutions_hold_pictures_and_text_and_no_passages_of_the_data(source, movies):
    text = (FOLDER / "solutions" / f"{source.stem}.ipynb").read_text()
    notebook = json.loads(text)
    assert len(text) < 3_000_000
    assert "widgets" not in notebook["metadata"]
    assert "<iframe" not in text
    assert "<script" not in text
    readable = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=\\n]+", "", text)
    longer = [
        one
        for part in (movies.train, movies.dev, movies.test)
        for one in part.texts
        if len(one) > 40
    ]
    assert [one for one in longer if one in readable] == []
    errors = [
        out
        for cell in notebook["cells"]
        for out in cell.get("outputs", [])
        if out["output_type"] == "error"
    ]
    assert errors == []


@sources
def test_committed_solutions_hold_no_warnings_and_no_paths_of_the_machine(source):
    notebook = nbformat.read(FOLDER / "solutions" / f"{source.stem}.ipynb", as_version=4)
    streams = outputs(notebook, "stream")
    assert [out.text for out in streams if out.name == "stderr"] == []
    shown = [str(out.data) for out in outputs(notebook, "execute_result")]
    shown += [str(out.data) for out in outputs(notebook, "display_data")]
    said = "\n".join([*(out.text for out in streams), *shown])
    path = r"(?<![\w.:/])/(home|root|tmp|work|usr|opt|Users)/\w|site-packages|[A-Z]:\\\\\w"
    assert re.findall(path, re.sub(r"base64,[A-Za-z0-9+/=]+", "", said)) == []
    assert "not yet:" not in said


# --- A folder of one's own -----------------------------------------------------------------------


def test_start_copies_the_notebooks_and_never_overwrites_work(tmp_path):
    own = tmp_path / "new" / "course"
    added, kept = notebooks.start(own)
    assert {path.name for path in added} == {f"{path.stem}.ipynb" for path in SOURCES}
    assert kept == []
    mine = own / "01_attention_maths.ipynb"
    mine.write_text("my work")
    (own / "02_attention_from_scratch.ipynb").unlink()
    added, kept = notebooks.start(own)
    assert [path.name for path in added] == ["02_attention_from_scratch.ipynb"]
    assert mine in kept
    assert mine.read_text() == "my work"
    with pytest.raises(AttnlabError, match="is a file"):
        notebooks.start(mine)
    with pytest.raises(AttnlabError, match="cannot be made"):
        notebooks.start(mine / "below")
