from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nas.errors import UserError
from nas.yaml_file import parse_yaml, read_yaml, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epochs: int = Field(default=1, ge=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    supernet: Inner = Inner()
    other: Inner | None = None


def fault(text: str) -> str:
    with pytest.raises(UserError) as raised:
        validate(Outer, parse_yaml(text, "file.yaml"), "file.yaml")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_right_file_becomes_the_model(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("name: ü\nsupernet: {epochs: 3}\n", encoding="utf-8")
    assert validate(Outer, read_yaml(path), str(path)) == Outer(name="ü", supernet=Inner(epochs=3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "file.yaml: line 2: not valid YAML: the key 'name' stands twice; keep one"),
        (
            "name: a\nsupernet:\n  epochs: 1\n  epochs: 2\n",
            "file.yaml: line 4: not valid YAML: the key 'epochs'",
        ),
        ("name: a: b\n", "file.yaml: line 1: not valid YAML: mapping values are not allowed here"),
        (
            "name: !!python/object/apply:os.getcwd []\n",
            "file.yaml: line 1: not valid YAML: could not determine",
        ),
        ("[a]: 1\n", "file.yaml: line 1: not valid YAML: a key must be a word"),
        ("- a\n", "file.yaml: expected a mapping of keys to values, got list"),
        ("", "file.yaml: nothing is in it; expected a mapping of keys to values"),
        ("name: \x01\n", "file.yaml: not valid YAML: unacceptable character"),
    ],
)
def test_what_is_no_mapping_is_named_with_its_line(text: str, expected: str) -> None:
    assert fault(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The misspelt key is named, not the one that is missing because of it.
        ("nmae: a\n", "file.yaml: nmae: unknown key; did you mean 'name'?"),
        ("name: a\nsupernet: {epoch: 1}\n", "file.yaml: supernet.epoch: unknown key; did you mean 'epochs'?"),
        ("name: a\nother: {epoch: 1}\n", "file.yaml: other.epoch: unknown key; did you mean 'epochs'?"),
        ("name: a\nzzz: 1\n", "file.yaml: zzz: unknown key; expected one of ['name', 'other', 'supernet']"),
        ("supernet: {epochs: 1}\n", "file.yaml: name: this key is required"),
        (
            "name: a\nsupernet: {epochs: 0}\n",
            "file.yaml: supernet.epochs: expected greater than or equal to 1",
        ),
        (
            "name: a\nsupernet: 3\n",
            "file.yaml: supernet: expected keys with values, but got 3",
        ),
        ("name: [1]\n", "file.yaml: name: expected a valid string, but got [1]"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(text: str, expected: str) -> None:
    assert fault(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: many\n", "file.yaml: name: unknown name 'many'; expected one"),
        ("epochs: many\n", "file.yaml: epochs: expected a valid integer, but got 'many'"),
        ("name: ''\n", "file.yaml: name: give a name, but got ''"),
        ("word: a/b\n", "file.yaml: word: expected text that matches ^[a-z]*$, but got 'a/b'"),
    ],
)
def test_what_was_given_is_told_once(text: str, expected: str) -> None:
    class Named(BaseModel):
        name: str = "one"
        epochs: int = 1
        word: str = Field(default="", pattern="^[a-z]*$")

        @field_validator("name")
        @classmethod
        def _known(cls, name: str) -> str:
            if name != "one":
                raise ValueError(f"unknown name {name!r}; expected one" if name else "give a name")
            return name

    with pytest.raises(UserError) as raised:
        validate(Named, parse_yaml(text, "file.yaml"), "file.yaml")
    assert str(raised.value) == expected


def test_merged_keys_are_not_keys_that_stand_twice() -> None:
    text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  c: 3\n"
    assert parse_yaml(text, "file.yaml")["other"] == {"a": 1, "b": 2, "c": 3}


def test_files_that_cannot_be_read_are_the_user_s_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.yaml: no such file; expected a YAML file"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: ü\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_yaml(tmp_path / "latin.yaml")
