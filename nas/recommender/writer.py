"""Writing an artefact: the folder that `recommender.py`, copied into it, answers from."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from nas.errors import UserError
from nas.recommender import recommender
from nas.recommender.addition import Addable
from nas.recommender.contents import ArtefactContents, json_text
from nas.recommender.precision import narrowed
from nas.recommender.readme import readme
from nas.recommender.recommender import FORMAT_VERSION, Recommender, manifest_sha256


def write_artefact(folder: Path, contents: ArtefactContents, additions: Sequence[Addable] = ()) -> int:
    """Write the artefact to `folder`, whole or not at all, and return its size in bytes.

    Equal contents give equal bytes. A folder that is there is replaced if it is empty or itself an artefact.

    Raises:
        UserError: `folder` is something else or cannot be made, or an addition cannot; nothing is written.
        ArtefactError: the contents are not what `ArtefactContents` says.
        ValueError: a metric is not finite.
    """
    folder = Path(folder).resolve()
    check_replaceable(folder)
    files = _files(contents, additions)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A sibling is on the same file system, so that it can be renamed.
        aside = Path(tempfile.mkdtemp(prefix=".artefact-", dir=folder.parent))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot make the artefact folder {folder}: {error.strerror}") from None
    try:
        new, old = aside / "new", aside / "old"
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(aside)
    return sum(map(len, files.values()))


def check_replaceable(folder: Path) -> None:
    """Raise UserError where `folder` cannot be replaced, or holds anything that is no part of an artefact."""
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UserError(f"{folder} is a file; the artefact needs a new or empty folder")
        names = {path.name for path in folder.iterdir()} - {"__pycache__"}
    except OSError as error:
        raise UserError(f"cannot use {folder} for the artefact: {error.strerror}") from None
    if os.path.ismount(os.path.realpath(folder)):  # which cannot be renamed
        raise UserError(f"{folder} is a mount point, which cannot be replaced; give a folder within it")
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes()) if names else None
        own = set(manifest["files"]) if manifest and manifest["project"] == "nas-recsys" else set()
    except (OSError, ValueError, KeyError, TypeError):
        own = set()
    if foreign := sorted(names - own - ({"manifest.json"} if own else set())):
        raise UserError(
            f"{folder} holds {foreign[0]!r}, which is no part of an artefact; give a new or empty folder"
        )


def assembled(contents: ArtefactContents) -> Recommender:
    """Return the recommender that an artefact of these contents is; ArtefactError if they are not what they should be."""
    return _model(contents)[0]


def _model(contents: ArtefactContents) -> tuple[Recommender, dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the model, its manifest but for the files, and its arrays."""
    users, items = list(contents.user_ids), list(contents.item_ids)
    arrays: dict[str, NDArray[Any]] = {
        "user_embeddings": contents.user_embeddings,
        "item_embeddings": contents.item_embeddings,
        "seen_indptr": contents.seen_indptr,
        "seen_items": contents.seen_items,
        "popularity": np.bincount(contents.seen_items, minlength=len(items)).astype(np.float32),
        "fold_in": contents.fold_in,
    }
    for branch, parts in contents.branches.items():
        arrays |= {f"{branch}_{key}": one for key, one in parts.items()}
    arrays = {name: np.ascontiguousarray(one) for name, one in narrowed(arrays, contents.precision).items()}
    manifest: dict[str, Any] = {
        "project": "nas-recsys",
        "format_version": FORMAT_VERSION,
        "score": "dot",
        "data": {
            "name": contents.data_name,
            "fingerprint": contents.fingerprint,
            "users": len(users),
            "items": len(items),
            "interactions": len(contents.seen_items),
            "held_out": "test" if contents.judged else None,
        },
        "architecture": dict(contents.architecture),
        "recipe": dict(contents.recipe),
        "metrics": dict(contents.metrics),
        "fusion": dict(contents.fusion),
        "precision": contents.precision,
        "arrays": {name: {"dtype": str(one.dtype), "shape": list(one.shape)} for name, one in arrays.items()},
    }
    return Recommender(manifest, users, items, _titles(contents), arrays), manifest, arrays


def _files(contents: ArtefactContents, additions: Sequence[Addable]) -> dict[str, bytes]:
    """Return name -> content of each file; the artefact is checked as its reader would check it."""
    model, manifest, arrays = _model(contents)
    added = [make(model, arrays) for make in additions]
    files = {
        # No metadata: the format keeps it in no fixed order.
        "weights.safetensors": safetensors.numpy.save(arrays),
        "users.json": _list(model.user_ids),
        "items.json": _list(model.item_ids),
        "recommender.py": Path(recommender.__file__).read_bytes(),
        "README.md": "".join([readme(model, contents), *(one.readme for one in added)]).encode(),
    }
    files |= {one.name: one.content for one in added}
    if (titles := _titles(contents)) is not None:
        files["titles.json"] = _list(titles)
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    # Numbers of numpy and the order of keys must make no difference to the reader's own sha256.
    manifest = json.loads(json_text(manifest))
    manifest["sha256"] = manifest_sha256(manifest)
    files["manifest.json"] = json_text(manifest).encode()
    return files


def _titles(contents: ArtefactContents) -> list[list[Any]] | None:
    if contents.titles is None and contents.genres is None:
        return None
    titles = contents.titles if contents.titles is not None else [""] * len(contents.item_ids)
    genres = contents.genres if contents.genres is not None else [()] * len(contents.item_ids)
    return [[title, list(kinds)] for title, kinds in zip(titles, genres, strict=True)]


def _list(values: Sequence[Any]) -> bytes:
    """One element a line, so that a difference between two artefacts can be read."""
    lines = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    return f"[\n{lines}\n]\n".encode()
