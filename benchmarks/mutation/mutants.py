"""One small mistake at a time: a comparison, an operator, a sign or a number of a module is another one.

Annotations, docstrings and what is raised are left alone: they are words.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}

NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "maximum": "minimum", "minimum": "maximum"}


@dataclass(frozen=True)
class Mutant:
    """A module with one mistake.

    Parameters
    ----------
    line : int
        Where it is.
    words : str
        The expression as it was and as it is.
    source : str
        The whole module.
    """

    line: int
    words: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """All of a module, in the order of its lines."""
    tree = ast.parse(source)
    sites = sorted(_sites(tree), key=lambda node: (node.lineno, node.col_offset))
    for number, site in enumerate(sites):
        site.site = number  # type: ignore[attr-defined]
    for number, site in enumerate(sites):
        for which in range(len(_changed(site))):
            twin = copy.deepcopy(tree)
            node = next(node for node in ast.walk(twin) if getattr(node, "site", None) == number)
            before = ast.unparse(node)
            changed = _changed(node)[which]
            node.__dict__.update(changed.__dict__)
            node.__class__ = changed.__class__  # type: ignore[assignment]
            yield Mutant(site.lineno, f"{before}  →  {ast.unparse(node)}", ast.unparse(twin))


def _sites(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions that can be changed."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.Raise, ast.JoinedStr)):
                continue
            if isinstance(child, (ast.expr, ast.AugAssign)) and _changed(child):
                yield child  # type: ignore[misc]
            yield from _sites(child)


def _changed(node: ast.AST) -> list[ast.AST]:
    """What could stand in its place."""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        return [_with(node, op=OPERATORS[type(node.op)]()) for _ in range(type(node.op) in OPERATORS)]
    if isinstance(node, ast.Compare):
        return [
            _with(node, ops=[*node.ops[:i], OPERATORS[type(op)](), *node.ops[i + 1 :]]) for i, op in enumerate(node.ops)
        ]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [_with(node, value=not node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return [_with(node, value=node.value + 1)]
    if isinstance(node, ast.Name) and node.id in NAMES:
        return [_with(node, id=NAMES[node.id])]
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        return [_with(node, attr=NAMES[node.attr])]
    return []


def _with(node: ast.AST, **fields: object) -> ast.AST:
    twin = copy.copy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin
