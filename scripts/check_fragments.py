"""Check that each news fragment has a name that towncrier gathers, and something in it."""

import re
import sys
import tomllib
from pathlib import Path

BESIDE = {"README.rst", "template.rst.jinja"}


def complaints(folder: Path, types: list[str]) -> list[str]:
    name = re.compile(rf"\d+(\.[a-z0-9_-]+)?\.({'|'.join(types)})\.rst")
    found = []
    for path in sorted(folder.iterdir()):
        if path.name in BESIDE:
            continue
        if not name.fullmatch(path.name):
            found.append(f"{path}: must be <number>[.<topic>].<{'|'.join(types)}>.rst")
        elif not path.read_text(encoding="utf-8").strip():
            found.append(f"{path}: says nothing")
    return found


if __name__ == "__main__":
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]
    types = [kind["directory"] for kind in settings["towncrier"]["type"]]
    sys.exit("\n".join(complaints(Path(settings["towncrier"]["directory"]), types)) or 0)
