"""The shorter ways to run a lesson see what the long way sees."""

import pytest
from lesson_runs import Names, run_one_after_another, run_side_by_side

from attnlab.course import notebooks
from attnlab.errors import AttnlabError

LESSON = '''\
# %%
import math
amount = 3
kept = []

# %% exercise="entropy" points=1
def entropy(weights):
    """Spread."""
    ### BEGIN SOLUTION
    return sum(one * math.log(1 / one) for one in weights)
    ### END SOLUTION

# %% check="entropy"
try:
    entropy([1.0])
    print("entropy: right")
except NotImplementedError:
    print("entropy: not written yet")

# %%
def spread(number):
    return entropy([1 / number] * number)

# %%
amount += 1
try:
    found = {number: round(spread(number), 2) for number in range(1, amount)}
except NotImplementedError:
    amount, found = 0, "nothing"

# %%
print(amount)

# %%
kept.append("once")
print(kept)

# %%
number = 7
print(found, number)

# %%
amount = 8

# %%
print(amount)
'''


def forms(text):
    read = notebooks.read(text)
    return notebooks.student(read), notebooks.solution(read)


def printed(book):
    return [
        "".join(out.text for out in cell.outputs) for cell in book.cells if cell.cell_type == "code"
    ]


def test_side_by_side_every_cell_prints_what_it_prints_in_a_run_of_its_own():
    apart, together = forms(LESSON), forms(LESSON)
    run_one_after_another(apart, "apart")
    run_side_by_side(*together, "together")
    for alone, beside in zip(apart, together, strict=True):
        assert printed(beside) == printed(alone)
    assert "entropy: not written yet\n" in printed(together[0])
    assert printed(together[0])[-3:] == ["nothing 7\n", "", "8\n"]
    assert printed(together[1])[-3:] == ["{1: 0.0, 2: 0.69, 3: 1.1} 7\n", "", "8\n"]


@pytest.mark.parametrize(
    "cell", ["print(found)", "def show():\n    print(found)\n\n\nshow()", "found += 1"]
)
def test_side_by_side_a_value_that_only_an_answer_gives_is_missing_without_it(cell):
    lesson = LESSON.partition("# %%\namount += 1")[0]
    lesson += "# %%\ntry:\n    found = spread(2)\nexcept NotImplementedError:\n    pass\n\n"
    with pytest.raises(AttnlabError, match="NameError: name 'found' is not defined"):
        run_side_by_side(*forms(lesson + f"# %%\n{cell}\n"), "lesson")


@pytest.mark.parametrize(
    "code, reads, writes",
    [
        ("a = b", "b", "a"),
        ("a = a + 1", "a", "a"),
        ("a += b", "a b", "a"),
        ("a[b] += 1", "a b", ""),
        ("a = 1\nb = a", "", "a b"),
        ("for a in a: b = a", "a", "a b"),
        ("b = [a for a in c if a > d]", "c d", "b"),
        ("b = {a: e for a, e in c}", "c", "b"),
        ("def f(a, b=c):\n    d = a\n    return d + e", "c e", "f"),
        ("async def f(a):\n    b = a\n    async for c in b:\n        await d(c)", "d", "f"),
        ("f = lambda a: a + b", "b", "f"),
        ("class C(A):\n    b = c", "A c", "C"),
        ("with a as b:\n    b.c = d", "a d", "b"),
        ("try:\n    a = b\nexcept E as e:\n    print(e)", "E b e print", "a"),
        ("import a\nfrom b import c\na.d(c)", "a c", ""),
    ],
)
def test_names_that_a_cell_reads_and_writes(code, reads, writes):
    found = Names(code)
    assert found.reads == set(reads.split())
    assert found.writes == set(writes.split())
