"""The folder: what is in it, that it is written whole, and that damage never goes unseen."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import UserError
from nas.recommender import ArtefactError, Recommender, recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.recommender import manifest_sha256
from nas.recommender.writer import check_replaceable, write_artefact

Make = Callable[..., ArtefactContents]
FILES = {
    "README.md",
    "items.json",
    "manifest.json",
    "recommender.py",
    "titles.json",
    "users.json",
    "weights.safetensors",
}


@pytest.fixture
def copy(artefact: Path, tmp_path: Path) -> Path:
    """An artefact to damage."""
    return Path(shutil.copytree(artefact, tmp_path / "copy"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def forge(folder: Path, change: Callable[[dict[str, Any]], object] = dict) -> None:
    """Change the manifest and sign everything anew, as whoever means harm would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with suppress(Exception):
        arrays = safetensors.numpy.load((folder / "weights.safetensors").read_bytes())
        manifest["arrays"] = {
            name: {"dtype": str(one.dtype), "shape": list(one.shape)} for name, one in arrays.items()
        }
    change(manifest)
    manifest["sha256"] = manifest_sha256(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ArtefactError, match=match) as caught:
        Recommender.load(folder)
    assert "\n" not in str(caught.value)


def test_the_folder_holds_what_the_contract_says(artefact: Path, make: Make) -> None:
    files = content(artefact)
    assert set(files) == FILES
    manifest = json.loads(files["manifest.json"])
    assert (manifest["project"], manifest["format_version"], manifest["score"]) == ("nas-recsys", 6, "dot")
    contents = make()
    assert manifest["data"] == {
        "name": "random data",
        "fingerprint": contents.fingerprint,
        "users": 12,
        "items": 20,
        "interactions": len(contents.seen_items),
        "held_out": "test",
    }
    assert manifest["metrics"] == {"test": {"recall@20": 0.25, "ndcg@20": 0.5}}
    assert manifest["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name != "manifest.json"
    }
    arrays = safetensors.numpy.load(files["weights.safetensors"])
    assert manifest["arrays"] == {
        name: {"dtype": str(one.dtype), "shape": list(one.shape)} for name, one in arrays.items()
    }
    assert {name: manifest["arrays"][name]["dtype"] for name in recommender.LAYOUT} == {
        name: dtype for name, (dtype, _) in recommender.LAYOUT.items()
    }
    np.testing.assert_array_equal(arrays["popularity"], np.bincount(contents.seen_items, minlength=20))
    assert files["recommender.py"] == Path(recommender.__file__).read_bytes()


def test_equal_contents_give_equal_bytes_and_their_size(artefact: Path, make: Make, tmp_path: Path) -> None:
    size = write_artefact(tmp_path / "again", make())
    assert content(tmp_path / "again") == content(artefact)
    assert size == sum(map(len, content(artefact).values()))


def test_an_artefact_is_replaced(make: Make, copy: Path) -> None:
    (copy / "__pycache__").mkdir()
    write_artefact(copy, make(seed=1, titled=False))
    assert {path.name for path in copy.iterdir()} == FILES - {"titles.json"}
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_an_empty_folder_is_used_and_parents_are_made(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_artefact(tmp_path / "empty", make())
    write_artefact(tmp_path / "new" / "deep", make())
    assert Recommender.load(tmp_path / "new" / "deep").recommend("u1")


def test_the_readme_rounds_the_recipe_and_the_manifest_does_not(make: Make, tmp_path: Path) -> None:
    recipe = {"loss": "bpr", "temperature": 0.12000000000000001, "batches": 2}
    write_artefact(tmp_path / "out", replace(make(), recipe=recipe))
    assert '"temperature": 0.12\n' in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["recipe"] == recipe


def test_a_link_to_a_folder_stays_a_link(make: Make, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    write_artefact(tmp_path / "link", make(seed=1))
    assert (tmp_path / "link").is_symlink()
    assert Recommender.load(tmp_path / "link").recommend("u1")


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json"])
def test_a_folder_of_something_else_is_kept(make: Make, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("{}")
    with pytest.raises(UserError, match=f"holds '{name}', which is no part of an artefact"):
        write_artefact(tmp_path / "mine", make())
    assert content(tmp_path / "mine") == {name: b"{}"}


def test_an_artefact_with_a_stranger_in_it_is_kept(make: Make, copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes.txt'"):
        write_artefact(copy, make())
    assert set(content(copy)) == FILES | {"notes.txt"}


def test_a_file_in_the_way_is_kept(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError):
            write_artefact(folder, make())
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failure_leaves_the_old_artefact(make: Make, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rename = content(copy), Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("no space left")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no space left"):
        write_artefact(copy, make(seed=1))
    assert content(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


@pytest.mark.parametrize("name", ["mounted", "link"])
def test_a_mount_point_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "link").symlink_to(mounted)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == mounted)
    with pytest.raises(UserError, match=f"{name} is a mount point.*; give a folder within it"):
        check_replaceable(tmp_path / name)
    write_artefact(tmp_path / name / "within", make())


def test_a_name_that_is_too_long_is_told(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="File name too long"):
        check_replaceable(tmp_path / ("x" * 300))
    write_artefact(tmp_path / ("x" * 255), make())
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 255]


def test_wrong_contents_are_not_written(make: Make, tmp_path: Path) -> None:
    good = make()
    bad = [
        (replace(good, user_embeddings=np.full_like(good.user_embeddings, np.nan)), ArtefactError),
        (replace(good, item_embeddings=good.item_embeddings.astype(np.float64)), ArtefactError),
        (replace(good, item_ids=["i1"] * 20), ArtefactError),
        (replace(good, seen_items=good.seen_items[::-1].copy()), ArtefactError),
        (replace(good, metrics={"test": {"ndcg@20": float("nan")}}), ValueError),
    ]
    for contents, error in bad:
        with pytest.raises(error):
            write_artefact(tmp_path / "out", contents)
    assert not list(tmp_path.iterdir())


@settings(max_examples=200)
@given(name=st.sampled_from(sorted(FILES)), place=st.integers(0, 10**9), flip=st.integers(1, 255))
def test_a_changed_byte_is_seen(
    artefact: Path, tmp_path_factory: pytest.TempPathFactory, name: str, place: int, flip: int
) -> None:
    damaged = Path(shutil.copytree(artefact, tmp_path_factory.mktemp("flip") / "copy"))
    data = bytearray((artefact / name).read_bytes())
    data[place % len(data)] ^= flip
    (damaged / name).write_bytes(data)
    try:
        Recommender.load(damaged)
    except ArtefactError:
        return
    # White space between the parts of the manifest says nothing, so it may change.
    assert name == "manifest.json"
    assert json.loads(data) == json.loads((artefact / name).read_bytes())


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_seen(copy: Path, name: str, kept: float) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: int(len(data) * kept)])
    refused(copy, f"cannot use '{name}'")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    refused(copy, f"cannot use '{name}': it is missing")


def test_no_folder_at_all(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "manifest.json")
    refused(tmp_path, "manifest.json")


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/hostname", "..", ".", "", "a/b", "a\\b", "C:x", "..\\outside", "a\0b", "a\nb", "é"],
)
def test_a_name_that_leads_elsewhere_is_refused(copy: Path, name: str) -> None:
    (copy.parent / "outside").write_bytes(b"secret")
    entry = {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    forge(copy, lambda manifest: manifest["files"].update({name: entry}))
    refused(copy, "not a plain file in the folder")


def replaced_at(monkeypatch: pytest.MonkeyPatch, name: str, replacements: list[Callable[[], object]]) -> None:
    """Before a file of that name is read, and each time again, make the next replacement."""
    read = recommender._read

    def reading(folder: Path, file: str, stated: object = None) -> Any:
        if file == name and replacements:
            replacements.pop(0)()
        return read(folder, file, stated)

    monkeypatch.setattr(recommender, "_read", reading)


@pytest.mark.parametrize("times", [1, 3, 4])
def test_an_artefact_that_is_replaced_meanwhile_is_read_anew(
    copy: Path, make: Make, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    replacements = [partial(write_artefact, copy, make(seed=seed)) for seed in range(1, times + 1)]
    replaced_at(monkeypatch, "weights.safetensors", list(replacements))
    if times > 3:
        refused(copy, r"cannot use 'weights.safetensors'")
        return
    model = Recommender.load(copy)
    monkeypatch.undo()
    assert model.recommend("u1") == Recommender.load(copy).recommend("u1")


def test_an_artefact_that_is_missing_for_a_moment_is_read(
    copy: Path, artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between the two renames of a replacement."""
    stamp, away = recommender._stamp, copy.with_name("away")
    stamps = iter([lambda: copy.rename(away), lambda: away.rename(copy)])

    def moved(path: Path) -> Any:
        next(stamps, lambda: None)()
        return stamp(path)

    monkeypatch.setattr(recommender, "_stamp", moved)
    assert Recommender.load(copy).recommend("u1") == Recommender.load(artefact).recommend("u1")


def test_what_is_damaged_is_read_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "weights.safetensors").write_bytes(b"")
    looked = list[int]()
    replaced_at(monkeypatch, "manifest.json", [lambda: looked.append(1)] * 9)
    refused(copy, r"cannot use 'weights.safetensors'")
    assert looked == [1]


def test_names_of_a_folder_do_nothing_to_a_terminal(copy: Path) -> None:
    arrays = safetensors.numpy.load((copy / "weights.safetensors").read_bytes())
    arrays["a\nb\x1b[31m"] = arrays.pop("fold_in")
    (copy / "weights.safetensors").write_bytes(safetensors.numpy.save(arrays))
    forge(copy)
    with pytest.raises(ArtefactError, match=r"but hold .*a b\\x1b\[31m") as caught:
        Recommender.load(copy)
    assert str(caught.value).isprintable()


def test_a_link_is_refused(copy: Path) -> None:
    (copy / "users.json").rename(copy.parent / "users.json")
    (copy / "users.json").symlink_to(copy.parent / "users.json")
    refused(copy, r"'users.json': it is missing, or not a plain file")


def test_a_pipe_does_not_hang(copy: Path) -> None:
    (copy / "users.json").unlink()
    os.mkfifo(copy / "users.json")
    refused(copy, r"'users.json': it is missing, or not a plain file")


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (lambda m: m.update(format_version=1), "format_version must be 6, but is 1"),
    "project": (lambda m: m.update(project="other"), "project must be 'nas-recsys'"),
    "score": (lambda m: m.update(score="cosine"), "score must be 'dot'"),
    "files is a list": (lambda m: m.update(files=[]), 'object "files"'),
    "no weights": (lambda m: m["files"].pop("weights.safetensors"), r"lists no weights.safetensors"),
    "entry is null": (lambda m: m["files"].update({"users.json": None}), r"cannot use 'users.json'"),
    "an array that is not there": (
        lambda m: m["arrays"].update(more={"dtype": "int8", "shape": [1]}),
        "not those in manifest.json",
    ),
    "an array of another shape": (
        lambda m: m["arrays"]["fold_in"].update(shape=[10**12, 10**12]),
        "not those in manifest.json",
    ),
    "wrong size": (lambda m: m["files"]["users.json"].update(bytes=1), r"cannot use 'users.json'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_hostile_manifest_is_refused(copy: Path, name: str) -> None:
    change, match = CHANGES[name]
    forge(copy, change)
    refused(copy, match)


def test_a_manifest_that_was_edited_is_refused(copy: Path) -> None:
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace('"recall@20": 0.25', '"recall@20": 0.95'))
    refused(copy, "manifest.json was changed")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"a": 1}', "[" * 100_000, '{"a":' * 20_000, "1" * 10_000, "\x00"]
)
def test_a_manifest_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    refused(copy, r"manifest.json")


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("users.json", {}, "users must be a list of ids"),
        ("users.json", [], "users must be a list of ids"),
        ("users.json", [1] * 12, "users must be a list of ids"),
        ("users.json", ["u"] * 12, "users hold the id 'u' twice"),
        ("users.json", ["u1"], r"user_embeddings must be float32 \(1, 4\), but is float32 \(12, 4\)"),
        ("items.json", [f"i{i}" for i in range(21)], "titles must be 21 pairs"),
        ("titles.json", [], "titles must be 20 pairs"),
        ("titles.json", [1] * 20, "titles must be 20 pairs"),
        ("titles.json", [["a", None]] * 20, "titles must be 20 pairs"),
    ],
)
def test_wrong_lists_are_refused(copy: Path, name: str, value: object, match: str) -> None:
    (copy / name).write_text(json.dumps(value))
    forge(copy)
    refused(copy, match)


def with_first(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array = array.copy()
        array.flat[0] = value
        return array

    return change


WRONG_ARRAYS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("user_embeddings", lambda a: a[:-1], "user_embeddings must be float32"),
    ("user_embeddings", lambda a: a[:, :-1], "user_embeddings must be float32"),
    ("item_embeddings", lambda a: a.astype(np.float64), "item_embeddings must be float32"),
    ("item_embeddings", lambda a: a[None], "item_embeddings must be float32"),
    ("fold_in", lambda a: a[:0, :0], "must be float32"),
    ("fold_in", lambda a: a[0, 0].reshape(()), "must be float32"),
    ("popularity", lambda a: a[1:], "popularity must be float32"),
    ("seen_indptr", lambda a: a.astype(np.int32), "seen_indptr must be int64"),
    ("seen_indptr", lambda a: a[:-1], "seen_indptr must be int64"),
    ("seen_items", lambda a: a[:-1], "seen_indptr must rise"),
    ("seen_items", lambda a: a[:0], "seen_indptr must rise"),
    ("seen_items", lambda a: a[::-1].copy(), "seen_items must lie"),
    ("seen_items", with_first(-1), "seen_items must lie"),
    ("seen_items", with_first(20), "seen_items must lie"),
    ("seen_indptr", with_first(1), "seen_indptr must rise"),
    ("seen_indptr", lambda a: np.r_[a[:3], np.iinfo(np.int64).min, a[4:]], "seen_indptr must rise"),
    ("seen_indptr", lambda a: np.r_[a[:3], np.iinfo(np.int64).max, a[4:]], "seen_indptr must rise"),
    ("user_embeddings", with_first(np.nan), "user_embeddings holds values that are not finite"),
    ("item_embeddings", with_first(-np.inf), "item_embeddings holds values that are not finite"),
    ("popularity", with_first(np.nan), "popularity holds values that are not finite"),
    ("fold_in", with_first(3e38), "fold_in holds values that are not finite or beyond 1e"),
]


@pytest.mark.parametrize("case", range(len(WRONG_ARRAYS)))
def test_wrong_arrays_are_refused(copy: Path, case: int) -> None:
    name, change, match = WRONG_ARRAYS[case]
    arrays = safetensors.numpy.load((copy / "weights.safetensors").read_bytes())
    arrays[name] = np.array(change(arrays[name]), order="C")
    (copy / "weights.safetensors").write_bytes(safetensors.numpy.save(arrays))
    forge(copy)
    refused(copy, match)


@pytest.mark.parametrize("name", recommender.LAYOUT)
def test_a_missing_array_is_seen(copy: Path, name: str) -> None:
    arrays = safetensors.numpy.load((copy / "weights.safetensors").read_bytes())
    del arrays[name]
    (copy / "weights.safetensors").write_bytes(safetensors.numpy.save(arrays))
    forge(copy)
    refused(copy, "weights must hold user_embeddings")


@given(data=st.binary(max_size=200))
def test_weights_of_random_bytes_are_refused(
    artefact: Path, tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    damaged = Path(shutil.copytree(artefact, tmp_path_factory.mktemp("bytes") / "copy"))
    (damaged / "weights.safetensors").write_bytes(data)
    forge(damaged)
    refused(damaged, "artefact")


def test_the_readme_draws_the_architecture(make: Make, tmp_path: Path) -> None:
    write_artefact(tmp_path / "out", replace(make(), picture="┌──┐\n│ 2│\n└──┘"))
    assert "```\n┌──┐\n│ 2│\n└──┘\n```" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    "ids", [["a,b", "[c", "-d", "e'f", 'g"h', "i\nj"], ["née", "日本", "🎬", "\u2028", " ", ""]]
)
def test_ids_of_any_text_survive(make: Make, tmp_path: Path, ids: list[str]) -> None:
    contents = make(users=6, items=6)
    write_artefact(tmp_path / "out", replace(contents, user_ids=ids, item_ids=ids))
    model = Recommender.load(tmp_path / "out")
    assert model.user_ids == model.item_ids == ids


def test_the_readme_runs(copy: Path) -> None:
    """Every example of README.md, as its receiver would type it."""
    artefact = copy
    text = (artefact / "README.md").read_text()
    assert "| test ndcg@20 | 0.5000 |" in text
    shell, python = (text.split(f"```{name}\n")[1].split("```")[0] for name in ("sh", "python"))
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    lines = shell.strip().splitlines()
    assert len(lines) == 9
    answered = list[list[str]]()
    for line in lines:
        command = line.replace("python ", f"{sys.executable} ", 1)
        done = subprocess.run(
            command, shell=True, cwd=artefact, env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        answered.append(done.stdout.splitlines())
    assert [len(one) for one in answered] == [3, 3, 10, 1, 3, 3, 3, 3, 4]
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=artefact, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.removeprefix("# ") for line in python.splitlines() if line.startswith("# '")]
    assert done.stdout.splitlines() == shown
    # The shell's first answer is the same.
    told = [json.loads(line) for line in answered[0]]
    assert [f"{one['item']!r}: {one['score']:.4f}" for one in told] == shown
    assert len(shown) == 3


def readme_of(folder: Path, contents: ArtefactContents) -> str:
    write_artefact(folder, contents)
    return " ".join((folder / "README.md").read_text(encoding="utf-8").split())


def test_the_readme_tells_a_network_from_none(make: Make, tmp_path: Path) -> None:
    plain = make()
    item = {"dense": np.eye(20, dtype=np.float32)}
    fused = replace(plain, fusion={"graph": 1.0, "item": 0.5}, branches={"item": item})
    closed = replace(plain, fusion={"item": 1.0}, branches={"item": item})
    units = "it is in units of about the standard deviation of that user's scores."
    product = "it is the product of an embedding of the user and one of the item."
    for n, (contents, unit, network) in enumerate(
        [(plain, product, True), (fused, units, True), (closed, units, False)]
    ):
        told = readme_of(tmp_path / str(n), contents)
        assert (units in told, product in told) == (unit == units, unit == product)
        assert ("by what the network itself computes" in told) == network
        assert ("had the network not heard of it" in told) == network
        assert ("where the network is not linear" in told) == network


def test_the_readme_explains_the_rows_that_are_there(make: Make, tmp_path: Path) -> None:
    plain = make()
    validation = {"validation": {"ndcg@20": 0.4}}
    bare = readme_of(tmp_path / "bare", replace(plain, metrics=validation))
    assert "a model that had not seen it. Larger is better" in bare
    for word in ("`test`", "`new users`", "`precision`"):
        assert word not in bare
    new = {"new users": {"validation ndcg@20": 0.3}}
    told = readme_of(tmp_path / "new", replace(plain, metrics=validation | plain.metrics | new))
    assert (
        "not what is found in `test`, which is of this very model, fitted on both. `new users`: users" in told
    )
    whole = replace(plain, metrics=validation | plain.metrics, judged=False)
    assert "in `test`, which is of the same settings fitted on both; this model" in readme_of(
        tmp_path / "whole", whole
    )
    rounded = {"precision": {"ndcg@20": {"float32": 0.5, "int8": 0.4, "lost": 0.2}}}
    told = readme_of(tmp_path / "int8", replace(plain, metrics=validation | rounded, precision="int8"))
    assert "| precision ndcg@20 lost | 0.2000 |" in told
    assert "`precision`: by items that this fit has seen" in told
    assert "compares precisions and says nothing of quality" in told
