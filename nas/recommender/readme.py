"""The README of an artefact, written for whoever receives it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.recommender.contents import ArtefactContents, first_with_history, json_text
from nas.recommender.recommender import Recommender


def readme(model: Recommender, contents: ArtefactContents) -> str:
    """Return what it learned from, what it is worth, how to ask it, and what lies in the folder."""
    user = first_with_history(contents.seen_indptr)
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
where nothing is left that may be in it, standard error says so. A score compares items for one user, not
users: it is {_unit(contents)}. A user without
history gets the most popular items, marked `"fallback": "popularity"`.

Exit code 0: done. 2: the input is wrong; one line on standard error names the id that is unknown, the option that does not
exist, the file that is damaged or cannot be written. 1: standard output cannot be written. 130: interrupted.

Someone who is not among the users is served by `fold-in`, from the items they had. `--new` (of `recommend` and `rerank`)
names items that a user has had since the training; those that are in the history already change nothing. Both count at
once{_by_network(contents)}, without training anew{_order(contents)}. An id
that is unknown is an error, but with `--skip-unknown` (in Python `unknown="skip"`) unknown items of a list,
such as those that are newer than this folder, are left out of it.

`explain` says what each item of a user's history adds to a score, most first and perhaps less than
nothing{_explained(contents)}.
`seen`: the item is in the history itself. `explain -k 1000` lists the whole history.

What may be in a list of `recommend`, `recommend-all` and `fold-in`:

| option | what it does |
|---|---|
| `--only IDS` | none but these items, such as what is in stock |
| `--without IDS` | not these items |
| `--with-seen` | items of the history too, which are left out otherwise |
| `--diversity 0.3` | gives up some score for items whose embeddings are unlike each other, chosen among ten times as many (maximal marginal relevance, Carbonell and Goldstein 1998); 0, the default, is off, 1 looks at nothing else; of `rerank`, too |

`IDS` is `a,b,c`, or `'["a,b", "c"]'` where ids hold commas; these options may be repeated. An id that begins with a dash is
given as `--user=-1`. `rerank` sorts the items that you give, each once, whether the user had them or not. With
`--diversity`, lists are no longer in the order of the scores. Scores of `similar-items` and `similar-users` are cosines of embeddings.
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
{json_text(dict(contents.architecture)).strip()}
```

trained by

```json
{json_text(_rounded(contents.recipe)).strip()}
```

## All that was measured

`validation`: what choices were made on, a part held out of the training, by a model that had not seen
it{_test(contents)}.
{_further(contents)}Larger is better but for `gini`, how unequally
items are recommended (0 to 1); `novelty` is in bits, 1 more where items are half as popular; `diversity` how unlike the
items of a list are in who had them (0 to 1); the others are shares, @k of lists of k items.

| metric | value |
|---|---|
{metrics}

## This folder

It holds the history of every user that it learned from: whoever may read it may read those. {_held_out(contents)} The fingerprint of the data, all parts together, is
`{contents.fingerprint}`.
The sha256 of every file is in `manifest.json`, and `load` checks it against accidents, not against an attacker: where a
file was edited, this one too, or its line ends were converted, the folder is refused; get a fresh copy, or run `nas export`
again. The arrays and what they mean are described at the head of `recommender.py`.
"""


def _unit(contents: ArtefactContents) -> str:
    if [*contents.fusion] == ["graph"]:
        return "the product of an embedding of the user and one of the item"
    return "in units of about the standard deviation of that user's scores"


def _by_network(contents: ArtefactContents) -> str:
    return ", by what the network itself computes" if "graph" in contents.fusion else ""


def _explained(contents: ArtefactContents) -> str:
    if "graph" not in contents.fusion:
        return ". `personal` is the rest of the score"
    return (
        ": how much lower the score would be had the network not heard of it, all else as it is.\n"
        "`personal` is the rest of the score: what is known of the user beyond these items and, where the\n"
        "network is not linear, what the items do together"
    )


def _test(contents: ArtefactContents) -> str:
    if "test" not in contents.metrics:
        return ""
    alone = "; this model learned from all that\nthere was, and nothing is left to judge it by"
    fitted = (
        "this very model, fitted on both" if contents.judged else f"the same settings fitted on both{alone}"
    )
    return f"; what is found there is not what is found in `test`,\nwhich is of {fitted}"


def _further(contents: ArtefactContents) -> str:
    """Return what the rows say that not every export has."""
    told = {
        "new users": "users of the training asked for as if they were new, beside the same users as trained",
        "precision": "by items that this fit has seen, before rounding and after, and the share that is\n"
        "lost; it compares precisions and says nothing of quality",
    }
    return "".join(f"`{name}`: {one}.\n" for name, one in told.items() if name in contents.metrics)


def _held_out(contents: ArtefactContents) -> str:
    return "What was held out for the\ntest is not here." if contents.judged else "Nothing was\nheld out."


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


def _rounded(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe with as many digits as anybody would type; the manifest has them all."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in recipe.items()
    }


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float | np.floating) else str(value)
