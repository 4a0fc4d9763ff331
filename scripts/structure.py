"""Print the structure of the package: size, private share, longest signatures, import cycles.

    python scripts/structure.py

Code lines are lines that hold code: no docstrings, comments or blank lines. A module is private if
its name starts with an underscore. Cycles are counted between the parts of the package (its
modules and subpackages at the top level) and between all modules.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

import grimp
import networkx as nx

ROOT = Path(__file__).parents[1]
SKIPPED = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
           tokenize.ENCODING, tokenize.ENDMARKER)  # fmt: skip


def docstring_lines(tree):
    """Return the numbers of the lines that docstrings take."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            texts = body if not isinstance(node, kinds) else body[:1]
            for each in texts:
                constant = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
                if constant and isinstance(each.value.value, str):
                    lines |= set(range(each.lineno, each.end_lineno + 1))
    # a string after an attribute documents it
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def code_lines(text):
    """Return the number of lines that hold code."""
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED:
            held |= set(range(token.start[0], token.end[0] + 1))
    return len(held - docstring_lines(ast.parse(text)))


def signatures(module, tree):
    """Yield (number of arguments, function) of every function in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [a.arg for a in arguments if a.arg not in ("self", "cls")]
            compiled = any("compiled" in ast.unparse(d) for d in node.decorator_list)
            if not compiled:
                yield len(names), f"{module}.{node.name}"


def private_imports(paths):
    """Return, by file, how many names a file imports from private modules of stellarssl."""
    counts = Counter()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stellarssl"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names if a.name.startswith("stellarssl.")]
            counts[path] += sum("._" in name for name in names)
    return Counter({path: n for path, n in counts.items() if n})


def cycles():
    """Return the groups of parts, and of modules, that import each other in a circle."""
    graph = grimp.build_graph("stellarssl", include_external_packages=False)
    parts, modules = nx.DiGraph(), nx.DiGraph()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            if "stellarssl" in (importer, imported):  # resolved lazily by name
                continue
            modules.add_edge(importer, imported)
            a, b = (name.split(".")[1] for name in (importer, imported))
            if a != b:
                parts.add_edge(a, b)
    return [
        [sorted(c) for c in nx.strongly_connected_components(g) if len(c) > 1]
        for g in (parts, modules)
    ]


def main():
    """Print the numbers."""
    files = sorted((ROOT / "stellarssl").rglob("*.py"))
    texts = {path.relative_to(ROOT).with_suffix(""): path.read_text() for path in files}
    modules = {".".join(path.parts): text for path, text in texts.items()}
    private = [name for name in modules if name.split(".")[-1].startswith("_")
               and not name.endswith("__init__")]  # fmt: skip
    lines = {name: code_lines(text) for name, text in modules.items()}
    longest = sorted(
        (pair for name, text in modules.items() for pair in signatures(name, ast.parse(text))),
        reverse=True,
    )
    print(f"modules              {len(modules)}")
    print(f"code lines           {sum(lines.values())}")
    print(f"private modules      {len(private)} ({len(private) / len(modules):.0%})")
    print("longest signatures   " + "; ".join(f"{n} {name}" for n, name in longest[:5]))
    by_part = Counter()
    for name, n in lines.items():
        by_part[name.split(".")[1]] += n
    print("code lines by part   " + ", ".join(f"{part} {n}" for part, n in by_part.most_common()))
    for what, groups in zip(("parts", "modules"), cycles(), strict=True):
        print(f"cycles of {what:10s} {len(groups)}" + "".join(f"\n  {g}" for g in groups))
    tests = private_imports(sorted((ROOT / "tests").rglob("*.py")))
    print(f"tests                {tests.total()} private imports in {len(tests)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
