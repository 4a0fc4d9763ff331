"""Write the oldest release of each direct dependency that pyproject.toml allows.

``python scripts/oldest_requirements.py OUTPUT [EXTRA ...]``
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def oldest(requirement: str) -> str:
    """Pin ``name[extra]>=bound`` to its bound; refuse a dependency that has none."""
    parsed = Requirement(requirement)
    bounds = [spec.version for spec in parsed.specifier if spec.operator == ">="]
    if len(bounds) != 1:
        raise SystemExit(f"pyproject.toml: {requirement!r} must have one lower bound (>=)")
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return f"{parsed.name}{extras}=={bounds[0]}"


def main(output: str, *extras: str) -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    Path(output).write_text("\n".join(map(oldest, wanted)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
