"""What an answer consists of, the same however its code is disguised."""

import ast
import builtins
from collections import Counter
from collections.abc import Iterator, Sequence

LONG = 4  # tokens in a piece

Pieces = Counter[tuple[str, ...]]


def pieces(code: str, given: str = "") -> Pieces:
    """What an answer consists of: runs of four tokens within a statement, counted.

    Parameters
    ----------
    code : a cell with an answer
    given : the cell as it was handed out; what stands there is left out

    Returns
    -------
    How often each run occurs; empty where the code cannot be parsed
    """
    found = _runs(code)
    found.subtract(_runs(given))
    return +found


def _runs(code: str) -> Pieces:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Counter()
    reader = _Reader(_bound(tree))
    runs: Pieces = Counter()
    for statement in reader.statements(tree.body):
        tokens = ["<", *statement, ">"]
        for start in range(max(1, len(tokens) - LONG + 1)):
            runs[tuple(tokens[start : start + LONG])] += 1
    return runs


def _bound(tree: ast.AST) -> set[str]:
    """The names that the code itself gives to something, in whatever scope."""
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            bound.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return bound


class _Reader:
    """Turns statements into tokens that stay the same when code is disguised."""

    def __init__(self, bound: set[str]):
        self._bound = bound

    def statements(self, body: Sequence[ast.stmt]) -> Iterator[list[str]]:
        """The tokens of each statement, those inside others as statements of their own."""
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
                continue
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring, or a text in place of a comment
            inner = [
                block
                for _, block in ast.iter_fields(statement)
                if isinstance(block, list) and block and isinstance(block[0], ast.stmt)
            ]
            handlers = [h.body for h in getattr(statement, "handlers", [])]
            yield self._head(statement)
            for block in [*inner, *handlers]:
                yield from self.statements(block)

    def _head(self, statement: ast.stmt) -> list[str]:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                given = statement.args
                return ["def", *["v" for _ in (*given.posonlyargs, *given.args, *given.kwonlyargs)]]
            case ast.ClassDef():
                return ["class"]
            case ast.AugAssign():
                value = ast.BinOp(statement.target, statement.op, statement.value)
                return ["=", *self._tokens(statement.target), *self._tokens(value)]
            case ast.Assign():
                targets = [token for target in statement.targets for token in self._tokens(target)]
                return ["=", *targets, *self._tokens(statement.value)]
            case ast.AnnAssign():
                value_ = self._tokens(statement.value) if statement.value else []
                return ["=", *self._tokens(statement.target), *value_]
        tokens = [type(statement).__name__]
        for _, value in ast.iter_fields(statement):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.expr | ast.withitem):
                    tokens += self._tokens(part)
        return tokens

    def _tokens(self, node: ast.AST) -> list[str]:
        match node:
            case ast.Name():
                return [self._name(node.id)]
            case ast.Constant():
                return ["text" if isinstance(node.value, str | bytes) else repr(node.value)]
            case ast.Attribute():
                owner = [] if self._is_library(node.value) else self._tokens(node.value)
                return [f".{self._name(node.attr)}", *owner]
            case ast.Call():
                # torch.exp(x) and x.exp() alike, and with or without the name of an argument
                return [
                    "call",
                    *self._tokens(node.func),
                    *(token for part in node.args for token in self._tokens(part)),
                    *(token for word in node.keywords for token in self._tokens(word.value)),
                ]
            case ast.BinOp():
                sides = [self._tokens(node.left), self._tokens(node.right)]
                if isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
                    sides.sort()
                return [type(node.op).__name__, *sides[0], *sides[1]]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=number)):
                return [f"-{number!r}"]
            case ast.Compare(ops=[ast.Gt() | ast.GtE()]):  # b > a as a < b
                word = "Lt" if isinstance(node.ops[0], ast.Gt) else "LtE"
                return [word, *self._tokens(node.comparators[0]), *self._tokens(node.left)]
            case ast.Compare():
                words = [type(op).__name__ for op in node.ops]
                parts = [node.left, *node.comparators]
                return [*words, *(token for part in parts for token in self._tokens(part))]
            case ast.Starred() | ast.FormattedValue():
                return self._tokens(node.value)
        tokens = [type(node).__name__]
        if isinstance(node, ast.BoolOp | ast.UnaryOp):
            tokens = [type(node.op).__name__]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.comprehension | ast.slice | ast.arguments):
                tokens += self._tokens(child)
        return tokens

    def _is_library(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id not in self._bound | _BUILT_IN

    def _name(self, name: str) -> str:
        return "v" if name in self._bound else name


_BUILT_IN = set(dir(builtins))
