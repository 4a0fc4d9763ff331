"""Validate the docstrings of the public names by numpydoc's rules, as pyproject.toml chooses them.

The source is read, not imported, so that this needs none of the package's dependencies.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from numpydoc.hooks.validate_docstrings import parse_config, process_file

PACKAGE = Path("stellarssl")


def public_names() -> set[str]:
    """Return what the ``__all__`` of the modules without an underscore say."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        if any(part.startswith("_") and part != "__init__.py" for part in parts):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names |= {word.value for word in ast.walk(node.value) if is_text(word)}
    return names


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def exempt(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what source alone misjudges: properties return, fields are parameters."""
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", []):
            word = ast.unparse(decorator)
            if word.endswith("property"):
                yield node.name, "RT01"
            if word.startswith("dataclass"):
                yield node.name, "PR02"
        # parameters of an inherited ``__init__``
        if isinstance(node, ast.ClassDef) and not has_init(node):
            yield node.name, "PR02"


def has_init(node: ast.ClassDef) -> bool:
    return any(getattr(each, "name", "") == "__init__" for each in node.body)


def main() -> int:
    config, public, found = parse_config(Path.cwd()), public_names(), 0
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.stem.startswith("_") and path.stem != "__init__":
            continue
        allowed = set(exempt(ast.parse(path.read_text(encoding="utf-8"))))
        for place, name, check, description in process_file(path, config):
            _, *owners = name.split(".")
            if (owners and owners[0] not in public) or (name.split(".")[-1], check) in allowed:
                continue
            sys.stderr.write(f"{place}: {name}: {check} {description}\n")
            found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())
