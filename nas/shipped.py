"""The files that come with nas: search spaces and experiments."""

from pathlib import Path

from nas.errors import UserError
from nas.paths import expanded


def shipped(folder: str) -> Path:
    """Return `search_spaces` or `experiments`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def find(name: str, folder: str, beside: Path) -> Path:
    """Return the YAML file that `name` means: a path (relative to `beside`), or a shipped file's name.

    Raises:
        UserError: it is neither; the message lists the shipped names, or says that the file is of another kind.
    """
    path = beside / expanded(name)
    if path.suffix in (".yaml", ".yml") and path.exists():
        return path
    root = shipped(folder)
    candidate = root / f"{name.removesuffix('.yaml')}.yaml"
    if candidate.exists() and candidate.resolve().is_relative_to(root.resolve()):
        return candidate
    if path.is_file():
        table = ", which names a table of events under `data: path`" if folder == "experiments" else ""
        raise UserError(f"{name}: not a YAML file; expected one that ends in .yaml{table}")
    names = sorted(str(f.relative_to(root).with_suffix("")) for f in root.rglob("*.yaml"))
    raise UserError(
        f"{name or repr(name)}: no such file, and no name in {folder}; expected a YAML file or one of {names}"
    )
