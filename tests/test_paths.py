from pathlib import Path

import pytest

from nas.errors import UserError
from nas.paths import expanded


def test_a_home_folder_takes_the_place_of_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x.csv") == tmp_path / "x.csv"
    assert expanded(Path("folder/~x.csv")) == Path("folder/~x.csv")


def test_a_home_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match=r"^~nosuch/x\.csv: no home folder of that name; expected ~/"):
        expanded("~nosuch/x.csv")
