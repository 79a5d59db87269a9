"""Tables of results that grow by data set."""

import json
from pathlib import Path
from typing import Any


def replace_rows(out: Path, made: list[dict[str, Any]]) -> None:
    """Write rows to a JSON file in the place of those of the same `data`; rows of other data are kept."""
    names = {row["data"] for row in made}
    held = [row for row in json.loads(out.read_text()) if row["data"] not in names] if out.exists() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([*held, *made], indent=1) + "\n")
