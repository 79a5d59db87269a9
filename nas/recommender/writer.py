"""Writing an artefact: the folder that `recommender.py`, copied into it, answers from."""

import hashlib
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from nas.errors import UserError
from nas.recommender import recommender
from nas.recommender.addition import Addable
from nas.recommender.recommender import FORMAT_VERSION, Recommender, manifest_sha256

FloatArray = NDArray[np.float32]
PRECISIONS = ("float32", "float16", "int8")
# Small, and either counts, or of a range that float16 has not, or what every state goes through.
_KEPT = re.compile(r"popularity|fold_in|.*_shares|.*_fade|graph_(?!initial$|\d+_items$).*")


@dataclass(frozen=True, slots=True, eq=False)
class ArtefactContents:
    """All that an artefact says, for U users, I items, D columns and N interactions.

    Attributes:
        data_name: name of the data, for the reader of README.md.
        fingerprint: that of the interactions.
        interactions: how many the histories below hold.
        architecture: as JSON values.
        recipe: as JSON values.
        metrics: as JSON values, finite numbers; may nest, as in {"test": {"ndcg@20": 0.25}}.
        user_ids: the user of each index, distinct.
        item_ids: the item of each index, distinct.
        user_embeddings: (U, D) float32, final: for cosine models already of length 1.
        item_embeddings: (I, D) float32, likewise; the dot product is the score.
        seen_indptr: (U + 1,) int64, where each user's history starts and ends.
        seen_items: (N,) int32, increasing within each user. Popularity is counted from it.
        fold_in: (D, d) float32, see `fold_in_maps`; d is the hidden size of the graph branch, D where there is none.
        fusion: the weight of each branch; without "graph", the embeddings serve similarity alone.
        branches: the arrays of each branch: of BRANCH_LAYOUT, or for "graph" of the recommender's `_graph_layout`.
        titles: one an item, "" where unknown; or None.
        genres: a sequence of texts an item; or None.
        picture: the architecture as a drawing in characters, for README.md.
        precision: one of PRECISIONS, see `narrowed`.
        evidence: what it is worth, in sentences, for README.md.
    """

    data_name: str
    fingerprint: str
    interactions: int
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    user_embeddings: FloatArray
    item_embeddings: FloatArray
    seen_indptr: NDArray[np.int64]
    seen_items: NDArray[np.int32]
    fold_in: FloatArray
    fusion: Mapping[str, float] = field(default_factory=lambda: {"graph": 1.0})
    branches: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    titles: Sequence[str] | None = None
    genres: Sequence[Sequence[str]] | None = None
    picture: str = ""
    precision: str = "float32"
    evidence: str = ""


def narrowed(arrays: Mapping[str, NDArray[Any]], precision: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of an artefact with fewer bits.

    "float16" rounds embeddings, what items send into each layer, the weights of the other branches and counts. "int8"
    rounds rows of the first three to multiples of 1/127 of their largest magnitude, which is kept as NAME_scale, and
    counts to float16. Both keep places of items, and ages, as uint16 where that is enough. "float32" changes nothing.

    Raises:
        UserError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    found = dict(arrays)
    if precision == "float32":
        return found
    for name, one in arrays.items():
        if one.dtype == np.int32 and one.max(initial=0) < 2**16:
            found[name] = one.astype(np.uint16)
        elif one.dtype != np.float32 or _KEPT.fullmatch(name):
            continue
        elif precision == "int8" and (one.ndim == 2 or name.endswith("_weights")):
            sizes = None if one.ndim == 2 else np.diff(arrays[f"{name.removesuffix('weights')}indptr"])
            found[name], found[f"{name}_scale"] = _as_int8(one, sizes)
        elif np.abs(one).max(initial=0) < np.finfo(np.float16).max:
            found[name] = one.astype(np.float16)
    return found


def _as_int8(numbers: FloatArray, sizes: NDArray[np.int64] | None) -> tuple[NDArray[np.int8], FloatArray]:
    """Return rows, of two dimensions or of such sizes end to end, as int8 and a scale each."""
    magnitude = np.abs(numbers)
    if sizes is None:
        scale = magnitude.max(axis=1, initial=0) / np.float32(127)
        each = scale[:, None]
    else:
        scale = np.zeros(len(sizes), dtype=np.float32)
        # Between the begins of rows that hold anything lie exactly those rows.
        held = np.flatnonzero(sizes)
        if len(held):
            scale[held] = np.maximum.reduceat(magnitude, (np.cumsum(sizes) - sizes)[held]) / np.float32(127)
        each = np.repeat(scale, sizes)
    return np.rint(numbers / np.where(each > 0, each, 1)).astype(np.int8), scale


def write_artefact(folder: Path, contents: ArtefactContents, additions: Sequence[Addable] = ()) -> int:
    """Write the artefact to `folder`, whole or not at all, and return its size in bytes.

    Equal contents give equal bytes. A folder that is there is replaced if it is empty or itself an artefact.

    Raises:
        UserError: `folder` is something else or cannot be made, or an addition cannot; nothing is written.
        ArtefactError: the contents are not what `ArtefactContents` says.
        ValueError: a metric is not finite.
    """
    folder = Path(folder).resolve()
    _check_replaceable(folder)
    files = _files(contents, additions)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A sibling is on the same file system, so that it can be renamed.
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
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


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; the artefact needs a new or empty folder")
    names = {path.name for path in folder.iterdir()} - {"__pycache__"}
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
            "interactions": contents.interactions,
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
        "README.md": "".join([_readme(model, contents), *(one.readme for one in added)]).encode(),
    }
    files |= {one.name: one.content for one in added}
    if (titles := _titles(contents)) is not None:
        files["titles.json"] = _list(titles)
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    # Numbers of numpy and the order of keys must make no difference to the reader's own sha256.
    manifest = json.loads(_json(manifest))
    manifest["sha256"] = manifest_sha256(manifest)
    files["manifest.json"] = _json(manifest).encode()
    return files


def _titles(contents: ArtefactContents) -> list[list[Any]] | None:
    if contents.titles is None and contents.genres is None:
        return None
    titles = contents.titles if contents.titles is not None else [""] * len(contents.item_ids)
    genres = contents.genres if contents.genres is not None else [()] * len(contents.item_ids)
    return [[title, list(kinds)] for title, kinds in zip(titles, genres, strict=True)]


def _json(value: Any) -> str:
    return (
        json.dumps(
            value,
            indent=2,
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
            default=lambda number: number.item(),
        )
        + "\n"
    )


def _list(values: Sequence[Any]) -> bytes:
    """One element a line, so that a difference between two artefacts can be read."""
    lines = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    return f"[\n{lines}\n]\n".encode()


def _readme(model: Recommender, contents: ArtefactContents) -> str:
    counts = np.diff(contents.seen_indptr)
    user = int(np.argmax(counts > 0))
    history = contents.seen_items[contents.seen_indptr[user] : contents.seen_indptr[user + 1]]
    some = [model.item_ids[item] for item in history[:3]] or model.item_ids[:1]
    user_id, best = model.user_ids[user], model.recommend(model.user_ids[user], 3)
    item_id = best[0].item if best else some[0]
    shown = json.dumps(some, ensure_ascii=False)
    unseen = [one.item for one in best][:2] or some
    drawing = f"```\n{contents.picture}\n```\n\n" if contents.picture else ""
    commands = [
        ["recommend", *_option("--user", user_id), "-k", "3"],
        ["recommend", *_option("--user", user_id), *_option("--new", json.dumps([item_id])), "-k", "3"],
        [
            "recommend",
            *_option("--user", user_id),
            *_option("--without", json.dumps(unseen, ensure_ascii=False)),
            "--diversity",
            "0.3",
        ],
        ["recommend-all", "--out", "../lists.csv"],
        ["rerank", *_option("--user", user_id), *_option("--items", shown)],
        ["similar-items", *_option("--item", item_id), "-k", "3"],
        ["similar-users", *_option("--user", user_id), "-k", "3"],
        ["fold-in", *_option("--history", shown), "-k", "3"],
        ["explain", *_option("--user", user_id), *_option("--item", item_id), "-k", "3"],
    ]
    shell = "\n".join(shlex.join(["python", "recommender.py", *words]) for words in commands)
    answer = "\n".join(f"# {one.item!r}: {one.score:.4f}" for one in best)
    metrics = "\n".join(f"| {name} | {_number(value)} |" for name, value in _leaves(contents.metrics))
    titles = "" if contents.titles else " Items have no titles here, only the ids of the data."
    evidence = f"{contents.evidence}\n\n" if contents.evidence else ""
    return f"""# A recommender for {contents.data_name}

It learned from {len(contents.seen_items):,} interactions of {len(model.user_ids):,} users with {len(model.item_ids):,} items, and answers by itself:
this folder, Python 3.11 or newer, and `pip install numpy safetensors`.{titles}

{evidence}## From the shell

```sh
{shell}
```

Each prints JSON lines, best first, ten of them unless `-k` says how many; `rerank` prints all that it is given,
`recommend-all` the number of rows that it wrote, `explain` the score before what it is made of. A list may be empty:
where nothing is left that may be in it, standard error says so. A score compares items for one user, not users: it is in
units of about the standard deviation of that user's scores. A user without history gets the most popular items, marked
`"fallback": "popularity"`.

Exit code 0: done. 2: the input is wrong; one line on standard error names the id that is unknown, the option that does not
exist, the file that is damaged or cannot be written. 1: standard output cannot be written. 130: interrupted.

Someone who is not among the users is served by `fold-in`, from the items they had. `--new` (of `recommend` and `rerank`)
names items that a user has had since the training; those that are in the history already change nothing. Both count at
once, by what the network itself computes, without training anew{_order(contents)}. An id
that is unknown is an error: leave it out.

`explain` says what each item of a user's history adds to a score, most first and perhaps less than nothing: how much lower
the score would be had the network not heard of it, all else as it is. `personal` is the rest of the score: what is known of the user beyond these items and, where the network is
not linear, what the items do together. `seen`: the item is in the history itself. `explain -k 1000` lists the whole history.

What may be in a list of `recommend`, `recommend-all` and `fold-in`:

| option | what it does |
|---|---|
| `--only IDS` | none but these items, such as what is in stock |
| `--without IDS` | not these items |
| `--with-seen` | items of the history too, which are left out otherwise |
| `--diversity 0.3` | gives up some score for items whose embeddings are unlike each other, chosen among ten times as many (maximal marginal relevance, Carbonell and Goldstein 1998); 0, the default, is off, 1 looks at nothing else; of `rerank`, too |

`IDS` is `a,b,c`, or `'["a,b", "c"]'` where ids hold commas; these options may be repeated. An id that begins with a dash is
given as `--user=-1`. `rerank` sorts the items that you give, each once, whether the user had them or not. With
`--diversity`, lists are no longer in the order of the scores. Scores of `similar-items` and `similar-users` are cosines.
`--folder DIR` asks the recommender in another folder.

`recommend-all` writes `user,rank,item,score,fallback` for all users into a file ending in `.csv`, `.jsonl` or `.parquet`
(the latter with pyarrow or polars installed), whole or not at all, in place of a file that is there already; lines of a
csv end in CRLF (RFC 4180). It is faster where threadpoolctl is installed.

## From Python

```python
import sys

sys.path.insert(0, ".")  # this folder
from recommender import Recommender

model = Recommender.load(".")
for one in model.recommend({user_id!r}, k=3):
    print(f"{{one.item!r}}: {{one.score:.4f}}")  # one.title, one.genres
{answer}
model.recommend({user_id!r}, k=3, new=[{item_id!r}])
model.recommend_many({model.user_ids[:2]!r}, k=3)
model.recommend({user_id!r}, without={unseen!r}, exclude_seen=False, diversity=0.3)
model.rerank({user_id!r}, {some!r})
model.recommend_all("../lists.csv", k=3)
model.similar_items({item_id!r}, k=3)
model.similar_users({user_id!r}, k=3)
model.fold_in({some!r}, k=3)
model.explain({user_id!r}, {item_id!r})
```

`InputError`, `UnknownId` and `ArtefactError`, of the same module, say in one line what is wrong. `model.item_ids` and
`model.user_ids` list the ids; ids may be given as whole numbers. `--with-seen` is `exclude_seen=False` here.

## Architecture

Found by graph neural architecture search (nas-recsys).

{drawing}```json
{_json(dict(contents.architecture)).strip()}
```

trained by

```json
{_json(dict(contents.recipe)).strip()}
```

## All that was measured

`validation`: what choices were made on, a part held out of the training, by a model that had not seen it; what is found
there is not what is found in `test`, which is of this very model, fitted on both. `new users`: users of the training asked
for as if they were new, beside the same users as trained. Larger is better but for `gini`, how unequally
items are recommended (0 to 1); `novelty` is in bits, 1 more where items are half as popular; `diversity` how unlike the
items of a list are in who had them (0 to 1); the others are shares, @k of lists of k items.

| metric | value |
|---|---|
{metrics}

## This folder

It holds the history of every user that it learned from: whoever may read it may read those. What was held out for the
test is not here. The fingerprint of the data, all parts together, is
`{contents.fingerprint}`.
The sha256 of every file is in `manifest.json`, and `load` checks it against accidents, not against an attacker: where a
file was edited, this one too, or its line ends were converted, the folder is refused; get a fresh copy, or run `nas export`
again. The arrays and what they mean are described at the head of `recommender.py`.
"""


def _order(contents: ArtefactContents) -> str:
    aged = any("ages" in branch for branch in contents.branches.values())
    return (
        ".\nGive them in the order in which they were had, the latest last, each once, where it was latest: the later, the more\n"
        "they count, each one a step after the one before it"
        if aged
        else ""
    )


def _option(name: str, value: str) -> list[str]:
    # argparse would take a value that begins with a dash for another option.
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{name} ")
        else:
            found.append((prefix + name, value))
    return found


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float | np.floating) else str(value)
