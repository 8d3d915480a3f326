"""Do two runs of the notebooks print the same numbers?

``python tests/benchmarks/same_numbers.py OLD NEW`` compares two folders of executed notebooks, such
as ``notebooks/solutions`` of two checkouts. Notebooks are matched by topic, so that a renumbered
lesson meets its former self. Every number of every text output is compared, in order; what differs
is printed with its line, times and memory apart, which differ from run to run. The exit status says
whether anything else differed.
"""

import difflib
import json
import re
import sys
from pathlib import Path

NUMBER = re.compile(r"(?<![\w.#])[-+−]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?(?![\w])")
# what a clock or a memory meter says, and not the model
MEASURED = re.compile(
    r"\b(seconds?|minutes?|ms|s|MB|GB|faster|slower|times|per second|took|tokens_per_second)\b"
)


def lines_of(path: Path) -> list[str]:
    """The lines of all text outputs of an executed notebook that hold a number."""
    lines: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain") or ""
            lines += "".join(text).splitlines()
    return [line for line in lines if NUMBER.search(line) and "<Figure" not in line]


def differences(old: Path, new: Path) -> tuple[int, list[str], list[str]]:
    """How many numbers agree, and the lines that differ: of measurements, and of all else."""
    before, after = lines_of(old), lines_of(new)
    numbers = [[" ".join(NUMBER.findall(line)) for line in lines] for lines in (before, after)]
    same, timed, other = 0, [], []
    matcher = difflib.SequenceMatcher(None, *numbers, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            same += sum(len(line.split()) for line in numbers[0][start:end])
            continue
        told = [f"  - {line}" for line in before[start:end]]
        told += [f"  + {line}" for line in after[other_start:other_end]]
        measured = all(MEASURED.search(line) for line in told)
        (timed if measured else other).extend(told)
    return same, timed, other


def main(old: Path, new: Path) -> int:
    """Compare every notebook of ``old`` with that of the same topic in ``new``."""
    topics = {path.stem.split("_", 1)[1]: path for path in sorted(new.glob("*.ipynb"))}
    differing = 0
    for path in sorted(old.glob("*.ipynb")):
        topic = path.stem.split("_", 1)[1]
        if topic not in topics:
            print(f"{topic}: not in {new}")
            differing += 1
            continue
        same, timed, other = differences(path, topics[topic])
        print(f"{topic}: {same} numbers equal, {len(timed)} lines of times, {len(other)} others")
        print("\n".join(other))
        differing += len(other)
    return differing


if __name__ == "__main__":
    sys.exit(min(main(*map(Path, sys.argv[1:3])), 1))
