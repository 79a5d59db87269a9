"""Bad input at the command line: one line on standard error, exit code 2, no traceback, nothing written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from nas.cli import main

GOOD = "user,item,rating,timestamp\n" + "".join(
    f"u{u},i{(u * 3 + n) % 9},{n % 5 + 1},{100 + n}\n" for u in range(8) for n in range(6)
)
# Columns that nobody names are left out where they cannot be read.
NAMED = {"path": "events.csv", "rating": "rating", "timestamp": "timestamp"}
TINY_SPACE = {
    "name": "tiny",
    "branches": {"graph": {"layers": [0, 1], "hidden_size": 4, "aggregator": "lightgcn"}},
}

Case = Callable[[Path], list[str]]


def experiment(
    folder: Path, text: str | bytes = GOOD, name: str = "events.csv", **sections: object
) -> list[str]:
    """Write data and an experiment file that is good but for what a case changes; return the command line."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    value = {"data": {"path": name}, "search_space": TINY_SPACE} | sections
    (folder / "e.yaml").write_text(yaml.safe_dump({k: v for k, v in value.items() if v is not None}))
    return ["search", str(folder / "e.yaml")]


def with_yaml(folder: Path, text: str) -> list[str]:
    (folder / "e.yaml").write_text(text)
    return ["search", str(folder / "e.yaml")]


def with_set(folder: Path, *overrides: str) -> list[str]:
    return experiment(folder) + [word for override in overrides for word in ("--set", override)]


def with_space(folder: Path, **graph: object) -> list[str]:
    branch = {"layers": [0, 1], "hidden_size": [4], "aggregator": "lightgcn"} | graph
    return experiment(folder, search_space={"name": "s", "branches": {"graph": branch}})


def in_foreign_folder(folder: Path) -> list[str]:
    (folder / "taken").mkdir()
    (folder / "taken" / "holiday.jpg").write_text("no run")
    return [*experiment(folder), "--run", str(folder / "taken")]


def in_another_run(folder: Path) -> list[str]:
    command = experiment(folder)
    held = folder / "held"
    held.mkdir()
    assert run_quietly([*command, "--run", str(folder / "held2"), "--set", "search.trials=0"]) == 2
    (held / "experiment.yaml").write_text(
        yaml.safe_dump({"name": "other", "data": {"source": "planted"}, "search_space": TINY_SPACE})
    )
    return [*command, "--run", str(held)]


def for_an_idle_run(folder: Path) -> list[str]:
    experiment(folder)
    (folder / "held").mkdir()
    (folder / "e.yaml").rename(folder / "held" / "experiment.yaml")
    return ["worker", str(folder / "held")]


def for_two_exports(folder: Path) -> list[str]:
    _, held = for_an_idle_run(folder)
    return ["export", held, "--everything", "--data", "new.csv", "--out", str(folder / "out")]


def in_a_file(folder: Path) -> list[str]:
    (folder / "file").write_text("x")
    return [*experiment(folder), "--run", str(folder / "file")]


def in_a_damaged_run(folder: Path) -> list[str]:
    (folder / "held").mkdir()
    (folder / "held" / "experiment.yaml").write_text("name: [")
    return ["search", "--run", str(folder / "held")]


def split_of(folder: Path, strategy: str, header: str = "user,item") -> list[str]:
    rows = "".join(f"u{u},i{(u + n) % 7}\n" for u in range(6) for n in range(5))
    return experiment(folder, f"{header}\n{rows}", split={"strategy": strategy})


def fixed_with_k_core(folder: Path) -> list[str]:
    for part in ("train", "test"):
        (folder / f"{part}.txt").write_text("0 1 2 3\n1 2 3 4\n")
    data = {"train": "train.txt", "test": "test.txt", "format": "adjacency", "k_core": 2}
    return experiment(folder, data=data)


def rows(*lines: str) -> str:
    return "user,item,rating,timestamp\n" + "\n".join(lines) + "\n"


# name: (what is wrong, words of the line that says so)
CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "no such experiment": (lambda f: ["search", str(f / "none.yaml")], ("none.yaml", "no such file")),
    "experiment of no name": (lambda _: ["search", ""], ("nas: '': no such file", "'ml-100k'")),
    "experiment of a long name": (lambda _: ["search", "e" * 300], ("e" * 300, "may have 255 bytes")),
    "run folder of a long name": (
        lambda f: [*experiment(f), "--run", "r" * 300],
        ("r" * 300, "may have 255 bytes"),
    ),
    "report of a long name": (lambda _: ["report", "r" * 300], ("r" * 300, "may have 255 bytes")),
    "home of nobody": (lambda _: ["search", "~nosuch/e.yaml"], ("~nosuch/e.yaml", "no home folder")),
    "not yaml": (lambda f: with_yaml(f, "data: [1, 2"), ("e.yaml", "line", "not valid YAML")),
    "yaml list": (lambda f: with_yaml(f, "- a\n- b\n"), ("e.yaml", "expected a mapping", "list")),
    "empty yaml": (lambda f: with_yaml(f, ""), ("e.yaml", "expected a mapping")),
    "key twice": (lambda f: with_yaml(f, "name: a\nname: b\n"), ("line 2", "'name'", "twice")),
    "binary yaml": (
        lambda f: (f / "e.yaml").write_bytes(b"\xff\xfe\x00") and ["search", str(f / "e.yaml")],
        ("UTF-8",),
    ),
    "misspelt section": (
        lambda f: experiment(f, serach={"trials": 5}),
        ("serach", "unknown key", "'search'"),
    ),
    "misspelt key": (lambda f: experiment(f, search={"trails": 5}), ("search.trails", "'trials'")),
    "no data": (lambda f: with_yaml(f, "search_space: graph\n"), ("data", "required")),
    "two sources": (
        lambda f: experiment(f, data={"path": "events.csv", "source": "ml-100k"}),
        ("exactly one of",),
    ),
    "unknown source": (lambda f: experiment(f, data={"source": "ml-100m"}), ("data.source", "ml-100k")),
    "zero trials": (
        lambda f: with_set(f, "search.trials=0"),
        ("search.trials", "greater than or equal to 1", "0"),
    ),
    "trials a word": (lambda f: with_set(f, "search.trials=many"), ("search.trials", "'many'")),
    "unknown sampler": (lambda f: with_set(f, "search.sampler=nsga4"), ("nsga4", "nsga2")),
    "unknown objective": (
        lambda f: with_set(f, "search.objectives=[ndgc@20, parameters]"),
        ("ndgc@20", "ndcg@K"),
    ),
    "one objective": (lambda f: with_set(f, "search.objectives=[ndcg@20]"), ("two or more",)),
    "cost first": (
        lambda f: with_set(f, "search.objectives=[parameters, ndcg@20]"),
        ("first objective", "quality"),
    ),
    "constraint upside down": (
        lambda f: with_set(f, "search.constraints=[refresh_macs >= 2e8]"),
        ("search.constraints.0", "refresh_macs takes <=", "but got 'refresh_macs >= 2e8'"),
    ),
    "constraint on nothing": (
        lambda f: with_set(f, "search.constraints=[macs <= 2e8]"),
        ("search.constraints.0", "'macs'", "refresh_macs"),
    ),
    "constraints no list": (
        lambda f: with_set(f, "search.constraints=refresh_macs <= 2e8"),
        ("search.constraints", "expected a list, such as [refresh_macs <= 2e8]"),
    ),
    "bounded twice": (
        lambda f: with_set(f, "search.constraints=[parameters <= 9, parameters <= 8]"),
        ("search.constraints", "parameters has more than one bound"),
    ),
    "constraint that nothing meets": (
        lambda f: with_set(f, "search.constraints=[parameters <= 9]"),
        ("search.constraints", "parameters <= 9", "the smallest parameters that can be reached is 68"),
    ),
    "no patience": (lambda f: with_set(f, "search.patience=0"), ("search.patience", "greater than")),
    "unknown baseline": (lambda f: with_set(f, "baselines.names=[svd++]"), ("svd++", "ease")),
    "bad name": (lambda f: with_set(f, "name=../elsewhere"), ("name", "../elsewhere")),
    "bad storage": (lambda f: with_set(f, "search.storage=nosuchdb://x"), ("search.storage", "nosuchdb")),
    "set without value": (
        lambda f: with_set(f, "search.trials"),
        ("--set search.trials", "section.key=value"),
    ),
    "set through a value": (lambda f: with_set(f, "data.path.x=1"), ("--set data.path.x=1", "'path'")),
    "no gpu": (lambda f: with_set(f, "device=tpu"), ("device", "tpu", "cuda")),
    "unknown option": (lambda f: [*experiment(f), "--trails", "5"], ("--trails",)),
    "unknown command": (lambda _: ["serach"], ("serach",)),
    "no such data": (lambda f: experiment(f, data={"path": "none.csv"}), ("none.csv",)),
    "data is a folder": (lambda f: experiment(f, data={"path": ".", "format": "csv"}), ("directory",)),
    "unknown format": (
        lambda f: experiment(f, name="events.xyz", data={"path": "events.xyz"}),
        ("format", "csv"),
    ),
    "empty file": (lambda f: experiment(f, ""), ("events.csv", "empty")),
    "header only": (lambda f: experiment(f, "user,item\n"), ("events.csv",)),
    "wrong delimiter": (lambda f: experiment(f, GOOD.replace(",", "|")), ("events.csv", "delimiter", "|")),
    "missing column": (lambda f: experiment(f, GOOD.replace("user", "usr")), ("'user'", "usr")),
    "nan user": (lambda f: experiment(f, rows("u1,i1,3,1", "NaN,i2,3,2")), ("events.csv", "line 3")),
    "empty item": (lambda f: experiment(f, rows("u1,i1,3,1", "u2,,3,2")), ("events.csv", "line 3")),
    "rating a word": (
        lambda f: experiment(f, rows("u1,i1,3,1", "u2,i2,good,2"), data=NAMED),
        ("line 3", "good", "rating"),
    ),
    "rating infinite": (
        lambda f: experiment(f, rows("u1,i1,3,1", "u2,i2,inf,2"), data=NAMED),
        ("line 3", "inf", "rating"),
    ),
    "time a word": (
        lambda f: experiment(f, rows("u1,i1,3,1", "u2,i2,3,noon"), data=NAMED),
        ("line 3", "noon", "timestamp"),
    ),
    "binary data": (lambda f: experiment(f, bytes(range(256)) * 9), ("events.csv",)),
    "truncated parquet": (
        lambda f: experiment(f, b"PAR1garbage", "events.parquet", data={"path": "events.parquet"}),
        ("events.parquet",),
    ),
    "one user": (lambda f: experiment(f, rows("u1,i1,3,1", "u1,i2,3,2", "u1,i3,3,2")), ("2", "user")),
    "nothing rated": (
        lambda f: experiment(f, data={"path": "events.csv", "min_rating": 9}),
        ("min_rating", "9"),
    ),
    "rating column unknown": (
        lambda f: experiment(f, data={"path": "events.csv", "rating": "stars"}),
        ("stars",),
    ),
    "k-core too high": (lambda f: experiment(f, data={"path": "events.csv", "k_core": 99}), ("k_core", "99")),
    "k-core of a fixed split": (fixed_with_k_core, ("k_core", "fixed")),
    "temporal without times": (lambda f: split_of(f, "temporal"), ("timestamp",)),
    "leave-last-out without times": (lambda f: split_of(f, "leave_last_out"), ("timestamp",)),
    "fixed without parts": (lambda f: split_of(f, "fixed"), ("fixed", "train")),
    "only newcomers held out": (
        lambda f: experiment(
            f,
            rows(*[f"u{n // 4},i{n % 4},3,{n}" for n in range(80)]),
            split={"strategy": "temporal"},
        ),
        ("split", "no user of the valid part", "split.strategy"),
    ),
    "unknown strategy": (lambda f: split_of(f, "randon"), ("split.strategy", "randon")),
    "too much held out": (lambda f: experiment(f, split={"valid": 0.6, "test": 0.6}), ("valid + test < 1",)),
    "unknown space": (lambda f: experiment(f, search_space="grpah"), ("grpah", "graph")),
    "unknown aggregator": (lambda f: with_space(f, aggregator="gta"), ("gta", "gat")),
    "heads do not divide": (lambda f: with_space(f, aggregator="gat", heads=[3]), ("heads must divide", "4")),
    "range upside down": (lambda f: with_space(f, layers={"min": 3, "max": 1}), ("min <= max", "3")),
    "no choices": (lambda f: with_space(f, hidden_size=[]), ("hidden_size", "at least one choice")),
    "columns by half": (lambda f: with_space(f, hidden_size=[0.5]), ("hidden_size", "whole numbers")),
    "unknown recipe setting": (
        lambda f: experiment(f, search_space=TINY_SPACE | {"recipe": {"learning_rat": 0.1}}),
        ("learning_rat",),
    ),
    "recipe out of range": (
        lambda f: experiment(f, search_space=TINY_SPACE | {"recipe": {"dropout": 1.5}}),
        ("dropout", "1.5"),
    ),
    "run folder is a file": (in_a_file, ("file", "--run")),
    "run folder of something else": (in_foreign_folder, ("taken", "--run")),
    "run folder of another experiment": (in_another_run, ("held", "another experiment", "--run")),
    "damaged run folder": (in_a_damaged_run, ("experiment.yaml", "not valid YAML")),
    "report of no run": (lambda f: ["report", str(f)], ("not a run folder",)),
    "export of no run": (lambda f: ["export", str(f), "--out", str(f / "out")], ("not a run folder",)),
    "export of all and of a file": (for_two_exports, ("--everything --data new.csv", "give one")),
    "worker of no run": (lambda f: ["worker", str(f)], ("not a run folder",)),
    "worker of an idle run": (for_an_idle_run, ("nobody works in it", "nas search --run")),
    "no workers": (lambda f: [*experiment(f), "--workers", "0"], ("--workers", "greater than or equal to 1")),
    "workers a word": (lambda f: [*experiment(f), "--workers", "all"], ("--workers", "integer")),
    "option misspelt": (lambda _: ["search", "--runn", "x"], ("--runn", "; try `nas search --help`")),
    "option misspelt of a group": (
        lambda _: ["spaces", "check", "graph", "--sed", "1"],
        ("--sed", "; try `nas spaces check --help`"),
    ),
    "command unknown": (lambda _: ["serch"], ("serch", "; try `nas --help`")),
    "space file missing": (lambda f: ["spaces", "check", str(f / "s.yaml")], ("s.yaml", "no such file")),
}


def run_quietly(command: list[str]) -> int:
    """Run the command line in this process and return its exit code."""
    before = sys.argv
    sys.argv = ["nas", *command]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_one_line_exit_2_nothing_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = CASES[name]
    monkeypatch.chdir(tmp_path)
    command = make(tmp_path)
    before = tree(tmp_path)
    capsys.readouterr()
    assert run_quietly(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("nas: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
    assert tree(tmp_path) == before


def test_settings_are_listed_for_people_and_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_quietly(["settings"]) == 0
    assert "search.trials" in capsys.readouterr().out
    assert run_quietly(["settings", "--json"]) == 0
    found = {one["key"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["search.trials"] == {
        "key": "search.trials",
        "default": "300",
        "meaning": "Trials that the study holds in the end.",
    }


@pytest.mark.parametrize("command", [[], ["spaces"]])
def test_without_a_command_there_is_help_alone(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_quietly(command) == 2
    out, err = capsys.readouterr()
    assert "Usage: nas" in out + err
    assert "nas: " not in err


@pytest.mark.parametrize(("space", "told"), [("presets/ease", True), ("presets/lightgcn", False)])
def test_a_space_that_cannot_be_searched_is_said_to_be_none(
    space: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_quietly(["spaces", "check", space]) == 0
    assert ("A search needs a graph branch, and this space has none" in capsys.readouterr().out) == told


def test_as_a_process(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [Path(sys.executable).parent / "nas", "search", "--set", "search.trails=5"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "did you mean 'trials'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{version('nas-recsys')}\n"
