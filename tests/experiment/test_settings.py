from pathlib import Path

import pytest

from nas.experiment.config import Experiment
from nas.experiment.settings import Setting, all_settings

SETTINGS = {one.key: one for one in all_settings()}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_each_setting_has_a_meaning(setting: Setting) -> None:
    assert setting.meaning.endswith(".")
    assert "\n" not in setting.meaning


@pytest.mark.parametrize(
    "setting",
    [one for one in SETTINGS.values() if one.default and "planted" not in one.key],
    ids=lambda one: one.key,
)
def test_a_default_that_is_set_changes_nothing(setting: Setting) -> None:
    given = {"data": {"source": "ml-100k"}}
    plain = Experiment.parse(given, "here", Path())
    assert Experiment.parse(given, "here", Path(), (f"{setting.key}={setting.default}",)) == plain


def test_every_value_of_an_experiment_has_its_setting() -> None:
    resolved = Experiment.parse({"data": {"source": "planted", "planted": {}}}, "here", Path()).resolved()
    del resolved["search_space"]

    def keys(values: dict[str, object], section: str = "") -> set[str]:
        found = set()
        for key, value in values.items():
            found |= keys(value, f"{section}{key}.") if isinstance(value, dict) else {section + key}
        return found

    assert keys(resolved) <= SETTINGS.keys()


def test_choices_and_shipped_defaults_are_told() -> None:
    assert SETTINGS["split.strategy"].meaning.endswith(
        "One of random, temporal, latest, leave_last_out, fixed."
    )
    assert SETTINGS["search_space"].default == "full"
    assert SETTINGS["search.objectives"].default == "[ndcg@20, refresh_macs]"
    assert SETTINGS["data.path"].default == ""
