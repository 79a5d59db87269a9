"""The copied file as a program: its lines, its exit codes, and that it stands alone."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.recommender import Recommender, recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.writer import write_artefact

Make = Callable[..., ArtefactContents]
BARE = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error"}


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the copied program away from this project."""
    command = [sys.executable, folder / "recommender.py", *words]
    return subprocess.run(command, cwd=folder.parent, env=BARE | environment, capture_output=True, timeout=60)


@pytest.fixture
def ask(artefact: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """Ask in this process, which is faster; the answers must be good."""

    def asking(*words: str) -> list[dict[str, Any]]:
        assert recommender.main([*words, "--folder", str(artefact)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [json.loads(line) for line in out.splitlines()]

    return asking


@pytest.fixture
def refuse(artefact: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Ask in this process and expect exit code 2, one line on standard error and no answer."""

    def refusing(*words: str) -> str:
        assert recommender.main(["--folder", str(artefact), *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("recommender: ")
        assert len(err.splitlines()) == 1
        return err

    return refusing


def test_recommend_prints_the_ranking(artefact: Path, ask: Callable[..., list[dict[str, Any]]]) -> None:
    expected = Recommender.load(artefact).recommend("u1", 3)
    lines = ask("recommend", "--user", "u1", "-k", "3")
    assert [(line["item"], line["title"]) for line in lines] == [(one.item, one.title) for one in expected]
    assert [line["score"] for line in lines] == pytest.approx([one.score for one in expected], rel=1e-6)
    assert {line.get("fallback") for line in lines} == {None}
    assert {line["fallback"] for line in ask("recommend", "--user", "u0")} == {"popularity"}


def test_similar_prints_neighbours(artefact: Path, ask: Callable[..., list[dict[str, Any]]]) -> None:
    model = Recommender.load(artefact)
    items = ask("similar-items", "--item", "i3", "-k", "4")
    assert [line["item"] for line in items] == [one.item for one in model.similar_items("i3", 4)]
    users = ask("similar-users", "--user", "u2")
    assert [line["user"] for line in users] == [one.user for one in model.similar_users("u2")]


@pytest.mark.parametrize(
    "words",
    [["--history", "i1,i2,i3"], ["--history", " i1, i2,,i3,i1"], ["--history", "i1", "--history", "i2,i3"],
     ["--history", '["i1", "i2"]', "--history", "i3"]],
)  # fmt: skip
def test_fold_in_reads_each_form_of_history(
    artefact: Path, ask: Callable[..., list[dict[str, Any]]], words: list[str]
) -> None:
    expected = Recommender.load(artefact).fold_in(["i1", "i2", "i3"], 5)
    assert [line["item"] for line in ask("fold-in", *words, "-k", "5")] == [one.item for one in expected]


@pytest.mark.parametrize("words", [["--new", "i1,i2"], ["--new", "i2", "--new", '["i1"]']])
def test_recommend_takes_new_events(
    artefact: Path, ask: Callable[..., list[dict[str, Any]]], words: list[str]
) -> None:
    expected = Recommender.load(artefact).recommend("u1", 5, new=["i1", "i2"])
    assert [line["item"] for line in ask("recommend", "--user", "u1", *words, "-k", "5")] == [
        one.item for one in expected
    ]
    # A user without a history has one from now on.
    assert {line.get("fallback") for line in ask("recommend", "--user", "u0", *words)} == {None}


def test_an_empty_history_falls_back(ask: Callable[..., list[dict[str, Any]]]) -> None:
    assert {line["fallback"] for line in ask("fold-in", "--history", "")} == {"popularity"}


def test_explain_adds_up(ask: Callable[..., list[dict[str, Any]]]) -> None:
    head, *parts = ask("explain", "--user", "u1", "--item", "i4", "-k", "1000")
    assert head["contributions"] == len(parts)
    assert sum(part["contribution"] for part in parts) + head["personal"] == pytest.approx(
        head["score"], abs=1e-5
    )
    assert all(part["title"].startswith("Title") for part in parts)
    assert len(ask("explain", "--user", "u1", "--item", "i4", "-k", "1")) == 2


def test_wrong_input_is_one_line(refuse: Callable[..., str]) -> None:
    assert "unknown user: 'u111'; close ids: 'u11'" in refuse("recommend", "--user", "u111")
    assert "unknown user: 'a\\nb'" in refuse("recommend", "--user", "a\nb")
    assert "unknown item: 'x', 'y'" in refuse("fold-in", "--history", "x,i1,y")
    assert "unknown item: '{'" in refuse("fold-in", "--history", '["{"]')
    assert "is not a JSON list" in refuse("fold-in", "--history", "[i1")
    assert "unknown item: 'x'" in refuse("recommend", "--user", "u1", "--new", "i1,x")
    assert "unrecognized arguments" in refuse("similar-users", "--user", "u1", "--new", "i1")
    for command in ("recommend", "similar-users"):
        assert "k must be a whole number, at least 1, but got 0" in refuse(command, "--user", "u1", "-k", "0")
    assert "k must be a whole number, at least 1, but got -1" in refuse(
        "explain", "--user", "u1", "--item", "i1", "-k", "-1"
    )
    assert "invalid int value" in refuse("recommend", "--user", "u1", "-k", "ten")
    assert "--user" in refuse("recommend")
    assert "required" in refuse()
    assert "invalid choice" in refuse("destroy")
    assert "unrecognized arguments" in refuse("recommend", "--user", "u1", "stray\nword")
    # Though `--user` is missing for that reason.
    assert "unrecognized arguments: --usr" in refuse("recommend", "--usr", "u1")
    assert "unrecognized arguments: --itm=i1" in refuse("explain", "--user", "u1", "--itm=i1")


def test_the_last_folder_counts(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        recommender.main(["--folder", "nowhere", "recommend", "--user", "u1", "--folder", str(artefact)]) == 0
    )
    assert recommender.main(["recommend", "--user", "u1", "--folder", "nowhere"]) == 2
    assert "artefact 'nowhere': cannot use 'manifest.json'" in capsys.readouterr().err


def test_the_copied_program_answers_and_refuses(artefact: Path) -> None:
    done = run(artefact, "recommend", "--user", "u1", "-k", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 2
    done = run(artefact, "recommend", "--user", "no such user")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"recommender: unknown user: 'no such user'; someone new: fold in a history\n"
    assert run(artefact, "--help").returncode == 0


def test_a_damaged_artefact_is_one_line(artefact: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(artefact, tmp_path / "copy"))
    (copy / "weights.safetensors").write_bytes(b"\xff" * 100)
    done = run(copy, "recommend", "--user", "u1")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cannot use 'weights.safetensors'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_imports_nothing_of_the_project(artefact: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(artefact)!r})
import recommender
assert recommender.main(["explain", "--user", "u1", "--item", "i1"]) == 0
strangers = {{name.partition(".")[0] for name in sys.modules}} - sys.stdlib_module_names
print(sorted(strangers), file=sys.stderr)
"""
    # Isolated: neither the current folder nor PYTHONPATH; what the environment preloads is taken off. No bytecode: other
    # tests read what the folder holds.
    before = "import sys; print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    preloaded, found = (
        subprocess.run(
            [sys.executable, "-IB", "-c", text], cwd=artefact.parent, capture_output=True, text=True
        )
        for text in (before, program)
    )
    assert found.returncode == 0
    assert set(json.loads(found.stderr.replace("'", '"'))) - set(json.loads(preloaded.stdout.replace("'", '"'))) == {
        "numpy", "recommender", "safetensors"
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1251"])
def test_lines_are_json_in_every_encoding(make: Make, tmp_path: Path, encoding: str) -> None:
    titles = ["Amélie", "Сталкер", "千と千尋", "🎬", "two\u2028lines", "next\x85line"]
    contents = replace(make(users=3, items=6), titles=titles)
    write_artefact(tmp_path / "out", contents)
    done = run(tmp_path / "out", "fold-in", "--history", "", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode(encoding).splitlines()
    assert sorted(json.loads(line)["title"] for line in lines) == sorted(titles)
    readable = {"utf-8": "Amélie", "latin-1": "Amélie", "cp1251": "Сталкер", "ascii": "Am\\u00e9lie"}[
        encoding
    ]
    assert readable in done.stdout.decode(encoding)


def test_ids_with_commas_dashes_and_brackets(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["a,b", "[c", "-d", "a", "é"]
    contents = replace(make(users=5, items=5), item_ids=ids, user_ids=ids)
    write_artefact(tmp_path / "out", contents)
    model = Recommender.load(tmp_path / "out")
    for words, history in (
        (["--history", "a,b"], ["a,b"]),
        (["--history", '["a,b", "[c"]'], ["a,b", "[c"]),
        (["--history", "[c", "--history", "a,b"], ["[c", "a,b"]),
        (["--history=-d,a"], ["-d", "a"]),
    ):
        assert recommender.main(["fold-in", *words, "--folder", str(tmp_path / "out")]) == 0
        found = [json.loads(line)["item"] for line in capsys.readouterr().out.splitlines()]
        assert found == [one.item for one in model.fold_in(history)]


def test_a_reader_who_leaves_early_sees_no_traceback(make: Make, tmp_path: Path) -> None:
    write_artefact(tmp_path / "out", make(users=3, items=5000, density=0.01))
    command = [sys.executable, tmp_path / "out" / "recommender.py", "recommend", "--user", "u1", "-k", "5000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BARE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(artefact: Path) -> None:
    command = [sys.executable, artefact / "recommender.py", "recommend", "--user", "u1"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=BARE, timeout=60)
    assert done.returncode == 1
    assert done.stderr == b"recommender: cannot write: No space left on device\n"


def test_a_list_that_is_empty_is_told(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    had = [one.item for one in Recommender.load(artefact).explain("u1", "i0").contributions]
    assert had
    words = ["recommend", "--user", "u1", "--only", json.dumps(had), "--folder", str(artefact)]
    assert recommender.main(words) == 0
    told = "recommender: nothing is left that may be in the list"
    assert capsys.readouterr() == ("", f"{told}; items of the history are left out, see --with-seen\n")
    assert recommender.main([*words, "--with-seen"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(had)
    assert err == ""
    assert recommender.main([*words, "--with-seen", "--without", json.dumps(had)]) == 0
    assert capsys.readouterr() == ("", f"{told}\n")
    fold_in = ["fold-in", "--history", json.dumps(had), "--only", json.dumps(had), "--folder", str(artefact)]
    assert recommender.main(fold_in) == 0
    assert capsys.readouterr() == ("", f"{told}; items of the history are left out, see --with-seen\n")
    # Where the history is not what is in the way, nothing is said of it.
    assert recommender.main([*words, "--without", json.dumps(had)]) == 0
    assert capsys.readouterr() == ("", f"{told}\n")


def test_one_question_at_a_time(refuse: Callable[..., str]) -> None:
    assert "--user is given 2 times" in refuse("recommend", "--user", "u1", "--user", "u2")
    assert "--item is given 3 times" in refuse("similar-items", *["--item", "i1"] * 3)


def test_a_closed_output_is_one_line(artefact: Path) -> None:
    words = f"'{sys.executable}' '{artefact / 'recommender.py'}' recommend --user u1 >&-"
    done = subprocess.run(["sh", "-c", words], stderr=subprocess.PIPE, env=BARE, timeout=60)
    assert done.returncode == 1
    assert done.stderr == b"recommender: standard output is closed\n"


def test_ctrl_c_is_one_line(
    artefact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Recommender, "load", interrupt)
    assert recommender.main(["recommend", "--user", "u1", "--folder", str(artefact)]) == 130
    assert capsys.readouterr() == ("", "recommender: interrupted\n")


def test_without_numpy_one_line_says_what_to_install(artefact: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    done = run(artefact, "recommend", "--user", "u1", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.decode() == "recommender: no numpy here; pip install numpy safetensors\n"


def test_ctrl_c_while_numpy_is_imported_is_one_line(artefact: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    done = run(artefact, "recommend", "--user", "u1", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr == b"recommender: interrupted\n"


def test_an_older_python_is_told_what_is_needed(artefact: Path) -> None:
    program = artefact / "recommender.py"
    ast.parse(program.read_text(encoding="utf-8"), feature_version=(3, 10))
    older = f"import runpy, typing; del typing.Unpack; runpy.run_path({str(program)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", older], capture_output=True, env=BARE, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"recommender: needs Python 3.11 or newer\n"


def test_with_standard_error_closed_nothing_goes_to_standard_output(artefact: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    for words, environment in (
        ("recommend --user nobody", BARE),
        ("recommend --user u1 --only ''", BARE),
        ("recommend --user u1", BARE | {"PYTHONPATH": str(tmp_path)}),
    ):
        command = f"'{sys.executable}' '{artefact / 'recommender.py'}' {words} 2>&-"
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, env=environment, timeout=60)
        assert done.stdout == b""
        assert done.returncode == (0 if "--only" in words else 2)


def test_whoever_ends_the_process_finds_the_old_file_alone(make: Make, tmp_path: Path) -> None:
    write_artefact(tmp_path / "a", make(users=4000, items=2000, density=0.002, titled=False))
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "all.csv").write_text("old")
    command = [sys.executable, tmp_path / "a" / "recommender.py", "recommend-all", "-k", "2000"]
    with subprocess.Popen(
        [*command, "--out", folder / "all.csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BARE
    ) as process:
        while process.poll() is None and len(list(folder.iterdir())) == 1:
            time.sleep(0.01)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"recommender: interrupted\n")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("all.csv", "old")]


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (options, _) in recommender.COMMANDS.items():
        with pytest.raises(SystemExit):
            recommender.main([name, "--help"])
        told = " ".join(capsys.readouterr().out.partition("options:")[2].split())
        for option in options:
            explained = told.split(f" --{option} ")[1].split(" --")[0]
            assert re.sub(r"^(ID|FILE|ID,ID,...|DIVERSITY) ", "", explained), option
            many = recommender.OPTIONS[option].get("metavar") == "ID,ID,..."
            assert ("; or a JSON list; may be repeated" in explained) == many
        each = " for each user" if name == "recommend-all" else ""
        default = "all" if name == "rerank" else "10"
        assert f"-k K at most so many{each} (default {default})" in told


def test_unknown_items_are_skipped_and_counted(
    artefact: Path, capsys: pytest.CaptureFixture[str], refuse: Callable[..., str]
) -> None:
    model = Recommender.load(artefact)

    def asked(*words: str) -> tuple[list[str], str]:
        assert recommender.main([*words, "--skip-unknown", "--folder", str(artefact)]) == 0
        out, err = capsys.readouterr()
        return [json.loads(line)["item"] for line in out.splitlines()], err

    told = "recommender: unknown items skipped: {}\n"
    user = ["recommend", "--user", "u1"]
    kept = [one.item for one in model.recommend("u1", only=["i4", "i6"])]
    assert kept
    assert asked(*user, "--only", "i4,x,i6,x") == (kept, told.format(1))
    assert asked(*user, "--only", "i4,i6") == (kept, "")
    found, err = asked(*user, "--only", "x,y", "--without", "z", "--new", "i4,v")
    assert (found, err.splitlines(True)[0]) == ([], told.format(4))
    assert "nothing is left" in err
    items = [one.item for one in model.rerank("u1", ["i4", "i6"])]
    assert asked("rerank", "--user", "u1", "--items", "i4,x,i6") == (items, told.format(1))
    folded = [one.item for one in model.fold_in(["i1"])]
    assert asked("fold-in", "--history", "x,i1") == (folded, told.format(1))
    assert "unknown item: 'x', 'y'" in refuse("fold-in", "--history", "x,y", "--skip-unknown")
    assert "unknown user: 'nobody'" in refuse("recommend", "--user", "nobody", "--skip-unknown")
    assert "unrecognized arguments" in refuse("similar-items", "--item", "x", "--skip-unknown")
