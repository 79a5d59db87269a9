"""`nas export --onnx --ann`, from the command line, on a run of the graph branch alone."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

import nas
from nas.cli import main


@pytest.fixture
def command(
    finished: nas.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["nas", "export", str(finished.path), "--out", str(tmp_path / "out")])
    caplog.set_level(logging.INFO, logger="nas")
    return sys.argv


def ended() -> int:
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_both_are_files_more(
    finished: nas.Run,
    command: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("usearch")
    command += ["--onnx", "--ann", "--json"]
    assert ended() == 0
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    printed = json.loads(capsys.readouterr().out)
    assert printed["bytes"] == sum(path.stat().st_size for path in files.values())
    assert "60 users have the same 20 best items up to ties" in caplog.text
    assert re.search(r"recall@10 \S+ against the exact lists of \d+ users; \S+ ms a user, exact", caplog.text)
    plain = {path.name: path.read_bytes() for path in (finished.path / "recommender").iterdir()}
    assert files.keys() == plain.keys() | {"items.usearch", "model.onnx"}
    changed = {name for name, content in plain.items() if files[name].read_bytes() != content}
    assert changed == {"manifest.json", "README.md"}
    again = finished.export(tmp_path / "again", onnx=True, ann=True)
    assert all((again / name).read_bytes() == path.read_bytes() for name, path in files.items())
    model, own = nas.Recommender.load(tmp_path / "out"), nas.Recommender.load(finished.path / "recommender")
    assert model.recommend_many(model.user_ids) == own.recommend_many(own.user_ids)


@pytest.mark.parametrize(
    ("option", "module", "packages"),
    [("--onnx", "onnx", "onnx onnxruntime"), ("--ann", "usearch.index", "usearch")],
)
def test_a_missing_library_is_named(
    option: str,
    module: str,
    packages: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    command.append(option)
    assert ended() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nas: {option} needs {module.partition('.')[0]} (")
    assert line.endswith(f"pip install {packages}")
    assert not any(tmp_path.iterdir())
