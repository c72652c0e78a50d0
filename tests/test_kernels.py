"""Kernels without a door from Python crash whoever calls them from there: nobody does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOORLESS = {"inner", "within"}
COMPILED = {"kernel", "njit", "overload", *DOORLESS}


def decorators(function: ast.FunctionDef) -> set[str]:
    """Return the names of a function's decorators."""
    called = [one.func if isinstance(one, ast.Call) else one for one in function.decorator_list]
    return {one.id for one in called if isinstance(one, ast.Name)}


def doorless(module: ast.Module) -> set[str]:
    """Return a module's kernels that only kernels may call."""
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef) and decorators(node) & DOORLESS}


def outside_kernels(node: ast.AST) -> Iterator[ast.AST]:
    """Go through all code but that of kernels."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.FunctionDef) and decorators(child) & COMPILED):
            yield child
            yield from outside_kernels(child)


def test_python_uses_no_kernel_without_a_door() -> None:
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("study/**/*.py")]
    parsed = {file: ast.parse(file.read_text()) for file in files}
    dotted = {file: ".".join(file.relative_to(ROOT).with_suffix("").parts).removeprefix("src.") for file in files}
    inside = {dotted[file]: names for file, module in parsed.items() if (names := doorless(module))}
    assert sum(map(len, inside.values())) > 30
    found = []
    for file, module in parsed.items():
        names = set(inside.get(dotted[file], ()))
        modules: dict[str, set[str]] = {}
        for node in ast.walk(module):
            for one in node.names if isinstance(node, ast.ImportFrom) else ():
                if one.name in inside.get(node.module or "", ()):
                    names.add(one.asname or one.name)
                modules[one.asname or one.name] = inside.get(f"{node.module}.{one.name}", set())
        for node in outside_kernels(module):
            bare = isinstance(node, ast.Name) and node.id in names
            dot = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if bare or (dot and node.attr in modules.get(node.value.id, ())):
                found.append(f"{dotted[file]}, line {node.lineno}")
    assert not found
