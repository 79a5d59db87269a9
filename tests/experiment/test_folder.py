from pathlib import Path

import pytest

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.folder import RunFolder

PLANTED = {"data": {"source": "planted"}, "search_space": "graph"}


def test_what_fails_half_way_leaves_the_old_and_no_draft(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("result.json", {"a": 1})

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        folder.write("result.json", fail)
    assert folder.read_json("result.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_draft_of_a_killed_process_does_not_hurt(tmp_path: Path) -> None:
    (tmp_path / ".result.json.draft").write_text("killed here")
    folder = RunFolder(tmp_path)
    assert folder.read_json("result.json") is None
    folder.write_json("result.json", [1])
    assert folder.read_json("result.json") == [1]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for names in (("a", "b"), ("c",)):

        def fill(path: Path, names: tuple[str, ...] = names) -> None:
            path.mkdir()
            for name in names:
                (path / name).touch()

        folder.write("deep/result", fill)
    assert [path.name for path in (tmp_path / "deep" / "result").iterdir()] == ["c"]


def test_json_takes_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunFolder(tmp_path).write_json("result.json", {"ndcg": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_claiming(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    experiment = Experiment.parse(PLANTED, "here", Path())
    folder.claim(experiment)
    folder.claim(experiment)
    assert folder.experiment() == experiment
    other = Experiment.parse(PLANTED | {"split": {"seed": 3}}, "here", Path())
    with pytest.raises(UserError, match=r"split\.seed is 0 there, 3 here"):
        folder.claim(other)
    more = Experiment.parse(PLANTED | {"threads": 2}, "here", Path())
    with pytest.raises(UserError, match="threads is set only here"):
        folder.claim(more)


def test_another_experiment_is_told_by_its_name_and_data_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(Experiment.parse(PLANTED, "here", Path()))
    other = {
        "name": "other",
        "data": {"source": "planted", "planted": {"users": 77}},
        "baselines": {"recipes": 1},
        "search": {"trials": 5, "seed": 1},
    }
    told = r"\(name is 'experiment' there, 'other' here; data\.planted.*; baselines\.recipes is 8 there, 1 here; and 2 more\)"
    with pytest.raises(UserError, match=told):
        folder.claim(Experiment.parse(PLANTED | other, "here", Path()))


def test_all_files_have_the_mode_of_new_files(tmp_path: Path) -> None:
    def fill(draft: Path) -> None:
        draft.mkdir()
        (draft / "inner").write_text("x")
        (draft / "inner").chmod(0o600)

    def fill_one(draft: Path) -> None:
        draft.write_text("x")
        draft.chmod(0o600)

    folder, plain = RunFolder(tmp_path), tmp_path / "plain"
    plain.write_text("x")
    folder.write("one", fill_one)
    folder.write("many", fill)
    modes = {path.stat().st_mode for path in (plain, tmp_path / "one", tmp_path / "many" / "inner")}
    assert len(modes) == 1
