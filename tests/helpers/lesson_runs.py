"""Run a lesson as it is before anything is written and with all answers, each cell but once."""

import ast
import re

import nbformat

from attnlab.course import notebooks

_code_cell = nbformat.v4.new_code_cell


def run_one_after_another(books, name):
    """Run notebooks in one kernel, each in a namespace of its own; their imports take long."""
    chain = nbformat.v4.new_notebook(metadata=books[0].metadata)
    for book in books:
        chain.cells += [*book.cells, _code_cell("%reset -f")]
    done = iter(notebooks.execute(chain, name).cells)
    for book in books:
        book.cells = [next(done) for _ in book.cells]
        next(done)


def answers_alone(solution):
    """What a lesson's answers and their checks need: imports, each other, and their helpers."""
    kept = nbformat.v4.new_notebook(metadata=solution.metadata)
    answers = [cell for cell in _code(solution) if "exercise" in cell.metadata.get("attnlab", {})]
    words = set(re.findall(r"\w+", " ".join(cell.source for cell in answers)))

    def needed(line):
        if isinstance(line, ast.FunctionDef):
            return line.name in words
        imports = isinstance(line, ast.Import | ast.ImportFrom)
        return imports or (isinstance(line, ast.Assign) and "yours_or_ours(" in ast.unparse(line))

    for cell in _code(solution):
        if _is_answer_or_check(cell) or "al.checks.summary(" in cell.source:
            kept.cells.append(cell)
        elif lines := [ast.unparse(line) for line in ast.parse(cell.source).body if needed(line)]:
            # a helper that needs more than that, no answer needs
            may_fail = {"tags": ["raises-exception"]}
            kept.cells.append(_code_cell("\n\n".join(lines), metadata=may_fail))
    return kept


# --- Side by side --------------------------------------------------------------------------------

# Values that names have for the student only wait in `_apart` while the solution's cells run, and
# the solution's while the student's do.
APART = """
_apart = {}

def _swap(names):
    for name in names:
        here, there = globals().pop(name, _apart), _apart.pop(name, _apart)
        if there is not _apart:
            globals()[name] = there
        if here is not _apart:
            _apart[name] = here

def _share(names):
    for name in names:
        _apart.pop(name, None)
        if name in globals():
            _apart[name] = globals()[name]
"""


class Names(ast.NodeVisitor):
    """Global names that a cell reads before it gives them a value, and those it gives one."""

    def __init__(self, source="", known=()):
        self.reads, self.writes = set(), set(known)
        self.visit(ast.parse(source))

    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Load):
            self.writes.add(node.id)
        elif node.id not in self.writes:
            self.reads.add(node.id)

    def visit_alias(self, node):
        """A module is the same whoever imports it."""

    def visit_Assign(self, node):
        self._in_order(node.value, *node.targets)

    def visit_AnnAssign(self, node):
        self._in_order(node.value, node.target)

    def visit_NamedExpr(self, node):
        self._in_order(node.value, node.target)

    def visit_AugAssign(self, node):
        read = ast.parse(ast.unparse(node.target), mode="eval")
        self._in_order(read, node.value, node.target)

    def visit_For(self, node):
        self._in_order(node.iter, node.target, *node.body, *node.orelse)

    def visit_ListComp(self, node):
        self._inside(*node.generators, getattr(node, "elt", None))

    visit_SetComp = visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node):
        self._inside(*node.generators, node.key, node.value)

    def visit_comprehension(self, node):
        self._in_order(node.iter, node.target, *node.ifs)

    def visit_arg(self, node):
        self.writes.add(node.arg)

    def visit_Lambda(self, node):
        self._inside(node.args, node.body)

    def visit_FunctionDef(self, node):
        self._in_order(*node.decorator_list, *node.args.defaults, *node.args.kw_defaults)
        self._inside(node.args, *node.body)
        self.writes.add(node.name)

    visit_AsyncFor, visit_AsyncFunctionDef = visit_For, visit_FunctionDef

    def visit_ClassDef(self, node):
        self._in_order(*node.decorator_list, *node.bases)
        self._inside(*node.body)
        self.writes.add(node.name)

    def _in_order(self, *nodes):
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _inside(self, *nodes):
        """What is given a name here has none outside."""
        inner = Names(known=self.writes)
        inner._in_order(*nodes)
        self.reads |= inner.reads


def run_side_by_side(student, solution, name):
    """Run a solution, and beside it those cells of the student's that could go another way.

    These are exercises, checks, and all that reads a name which got its value in one of them. They
    see what they would in a run of their own; whatever is the same in both runs but once.
    """
    chain = nbformat.v4.new_notebook(metadata=solution.metadata)
    chain.cells.append(_code_cell(APART))
    pairs = list(zip(_code(solution), _code(student), strict=True))
    apart = set()
    for ours, theirs in pairs:
        names = Names(theirs.source)
        if _is_answer_or_check(theirs) or names.reads & apart:
            new = (names.writes | Names(ours.source).writes) - apart
            apart |= new
            swap = f"_swap({apart})"
            chain.cells += [_code_cell(f"_share({new})"), ours, _code_cell(swap), theirs]
            chain.cells.append(_code_cell(swap))
        else:
            apart -= names.writes
            chain.cells.append(ours)
    notebooks.execute(chain, name)  # which fills in the cells themselves
    for ours, theirs in pairs:
        if not any(theirs is cell for cell in chain.cells):
            theirs.outputs = ours.outputs


def _code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def _is_answer_or_check(cell):
    return bool(cell.metadata.get("attnlab", {}).keys() & {"exercise", "check"})
