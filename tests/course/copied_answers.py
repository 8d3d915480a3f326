"""A class to compare answers in: right answers written independently, and disguised copies."""

import ast
import random
from pathlib import Path

HERE = Path(__file__).parent
KEPT_WORDS = {"self", "ctx", "cls"}


def authors(file: Path) -> dict[str, dict[str, str]]:
    """Right answers of a file ``answers_*.py`` by exercise and author.

    An answer comes with what it calls of the same file. Where two answers to an exercise share
    such a part, they are not independent, and only the first is taken.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    parts = {node.name: node for node in tree.body if isinstance(node, kinds)}
    assigned = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    right = assigned["RIGHT"]
    found: dict[str, dict[str, str]] = {}
    for key, names in zip(right.keys, right.values, strict=True):
        taken: set[str] = set()
        for name in (entry.id for entry in names.elts if isinstance(entry, ast.Name)):
            needed = _needed(name, parts)
            if name in parts and not needed & taken:
                taken |= needed
                code = "\n\n".join(
                    ast.unparse(parts[part]) for part in sorted(needed, key=name.__ne__)
                )
                found.setdefault(key.value, {})[name] = code
    return found


def _needed(name: str, parts: dict[str, ast.AST]) -> set[str]:
    """The parts of the file that one of them calls, itself included."""
    needed, waiting = set(), [name]
    while waiting:
        part = waiting.pop()
        if part in parts and part not in needed:
            needed.add(part)
            waiting += [n.id for n in ast.walk(parts[part]) if isinstance(n, ast.Name)]
    return needed


def disguised(code: str, seed: int) -> str:
    """The same code with other names and comments, independent neighbours in another order."""
    tree, draw = ast.parse(code), random.Random(seed)
    bound = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names = {name: f"my_{draw.randrange(10**6)}" for name in sorted(bound - KEPT_WORDS)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("__"):
            if not _is_method(node, tree):
                node.name = names[node.name]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
            node.left, node.right = node.right, node.left
        if hasattr(node, "body") and isinstance(node.body, list):
            node.body = _reordered(node.body)
    lines = []
    for line in ast.unparse(tree).splitlines():
        if line.strip() and draw.random() < 0.5:
            lines.append(f"{line[: len(line) - len(line.lstrip())]}# step {draw.randrange(100)}")
        lines.append(line)
    return "\n".join(lines).replace("):", " ) :")


def _is_method(node: ast.AST, tree: ast.AST) -> bool:
    return any(isinstance(one, ast.ClassDef) and node in one.body for one in ast.walk(tree))


def _reordered(body: list[ast.stmt]) -> list[ast.stmt]:
    """Exchange neighbours that are assignments and know nothing of each other."""
    body, place = list(body), 0
    while place + 1 < len(body):
        one, other = body[place : place + 2]
        if all(isinstance(statement, ast.Assign) for statement in (one, other)):
            stored, used = zip(*(_names(statement) for statement in (one, other)), strict=True)
            if not stored[0] & (stored[1] | used[1]) and not stored[1] & used[0]:
                body[place : place + 2] = other, one
                place += 1
        place += 1
    return body


def _names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return stored, {node.id for node in names} - stored


def inlined(code: str) -> str:
    """The same code, with what is named and used once in the next line put in its place there."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if hasattr(node, "body") and isinstance(node.body, list):
            node.body = _inlined(node.body, tree)
    return ast.unparse(tree)


def _inlined(body: list[ast.stmt], tree: ast.AST) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for statement in body:
        before = kept[-1] if kept else None
        if isinstance(before, ast.Assign) and isinstance(before.targets[0], ast.Name):
            name = before.targets[0].id
            uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name]
            here = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and n.id == name]
            simple = isinstance(statement, ast.Assign | ast.Return)
            if simple and len(uses) == 2 and len(here) == 1 and len(before.targets) == 1:
                kept[-1] = _Put(name, before.value).visit(statement)
                continue
        kept.append(statement)
    return kept


class _Put(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr):
        self.name, self.value = name, value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.value if node.id == self.name else node
