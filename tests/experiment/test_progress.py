"""What a stage says of its progress where there is no terminal."""

import re

import pytest

from nas.experiment.progress import stage


def test_a_stage_that_goes_on_says_where_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with stage("recipe", 20) as steps:
        steps.begin_at(9)
        for value in range(11):
            steps.advance(f"best {value}")
    begun, on, first, last = capsys.readouterr().err.splitlines()
    assert begun == "[recipe] 0/20, begins"
    assert on == "[recipe] 9/20, goes on"
    assert first.startswith("[recipe] 10/20, ")
    assert re.fullmatch(r"\[recipe\] done in \d+\.\d s, best 10", last)


def test_a_stage_without_notes_says_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with stage("report"):
        pass
    assert re.fullmatch(r"\[report\] begins\n\[report\] done in \d+\.\d s\n", capsys.readouterr().err)
