from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sequential import Sequential
from sequential._config import Settings, load, shown_text, shown_url
from sequential.errors import ConfigError


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def test_without_any_source_there_are_the_defaults(tmp_path: Path) -> None:
    assert load({}, {}, tmp_path) == Settings()


def test_flags_count_more_than_variables_and_those_more_than_the_file(tmp_path: Path) -> None:
    write(
        tmp_path / "sequential.toml",
        'storage = "sqlite:///file.db"\npause = "when-waiting"\nwarm = 3\n',
    )
    environ = {"SEQUENTIAL_STORAGE": "sqlite:///variable.db", "SEQUENTIAL_PAUSE": "every-step"}
    found = load({"storage": "sqlite:///flag.db", "transport": None}, environ, tmp_path)
    assert (found.storage, found.pause, found.warm) == ("sqlite:///flag.db", "every-step", 3)
    assert found.transport == "poll:"


def test_the_project_file_is_read_where_there_is_no_file_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.sequential]\nstorage = "sqlite:///project.db"\n')
    assert load({}, {}, tmp_path).storage == "sqlite:///project.db"
    write(tmp_path / "sequential.toml", "warm = 1\n")
    found = load({}, {}, tmp_path)
    assert (found.storage, found.warm) == (Settings().storage, 1)


def test_a_file_further_up_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "sequential.toml", 'modules = ["planted"]\n')
    below = tmp_path / "below"
    below.mkdir()
    assert load({}, {}, below).modules == ()


def test_a_project_without_our_table_says_nothing(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.other]\nstorage = "x:"\n')
    assert load({}, {}, tmp_path) == Settings()


def test_lists_and_durations_are_read_from_texts(tmp_path: Path) -> None:
    environ = {
        "SEQUENTIAL_MODULES": "shop.flows, path/more.py",
        "SEQUENTIAL_PLUGINS": "s3",
        "SEQUENTIAL_PAYLOAD": "zstd,seal",
        "SEQUENTIAL_LEASE": "2m",
        "SEQUENTIAL_RETENTION": "30d",
        "SEQUENTIAL_STEP_TIMEOUT": "1.5h",
        "SEQUENTIAL_MAX_STALLS": "5",
        "SEQUENTIAL_WARM": "0",
        "SEQUENTIAL_CHECK": "names",
        "SEQUENTIAL_TRANSPORT": "",
    }
    found = load({}, environ, tmp_path)
    assert found.modules == ("shop.flows", "path/more.py")
    assert (found.plugins, found.payload, found.check) == (("s3",), ("zstd", "seal"), "names")
    assert (found.lease, found.retention, found.step_timeout) == (120.0, 2_592_000.0, 5400.0)
    assert (found.max_stalls, found.warm, found.transport) == (5, 0, "poll:")


def test_an_empty_list_of_plugins_is_not_the_same_as_none(tmp_path: Path) -> None:
    write(tmp_path / "sequential.toml", "plugins = []\n")
    assert load({}, {}, tmp_path).plugins == ()


def test_a_table_is_left_to_the_plugin_of_its_name(tmp_path: Path) -> None:
    write(tmp_path / "sequential.toml", '[http]\nflows = ["summary"]\n')
    assert load({}, {}, tmp_path).tables == {"http": {"flows": ["summary"]}}


def test_dashes_in_a_key_are_as_good_as_underscores(tmp_path: Path) -> None:
    write(tmp_path / "sequential.toml", 'max-stalls = 3\nstep-timeout = "20s"\n')
    found = load({}, {}, tmp_path)
    assert (found.max_stalls, found.step_timeout) == (3, 20.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('storrage = "memory:"', "storrage.*lease.*storage"),
        ('storage = "flows.db"', "storage.*write a URL"),
        ("storage = 3", "storage.*write a URL"),
        ('pause = "sometimes"', "pause.*every-step"),
        ('check = "all"', "check.*inputs"),
        ("modules = [1]", "modules.*list"),
        ('lease = "soon"', "lease.*90s"),
        ("lease = -1", "lease.*90s"),
        ("lease = true", "lease.*90s"),
        ("lease = nan", "lease.*90s"),
        ("max_stalls = 0", "max_stalls.*from 1"),
        ("max_stalls = 1.5", "max_stalls.*whole number"),
        ("warm = true", "warm.*whole number"),
        ("storage = ", "not readable TOML"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_file(
    tmp_path: Path, text: str, named: str
) -> None:
    write(tmp_path / "sequential.toml", text)
    with pytest.raises(ConfigError, match=f"(?s){named}") as caught:
        load({}, {}, tmp_path)
    assert "sequential.toml" in str(caught.value)


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SEQUENTIAL_LEASE"):
        load({}, {"SEQUENTIAL_LEASE": "never"}, tmp_path)


def test_an_unknown_argument_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"storag.*known are"):
        load({"storag": "memory:"}, {}, tmp_path)


def test_bytes_that_are_no_text_are_one_readable_error(tmp_path: Path) -> None:
    (tmp_path / "sequential.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not readable TOML"):
        load({}, {}, tmp_path)


def test_a_table_of_ours_that_is_no_table_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool]\nsequential = 3\n")
    with pytest.raises(ConfigError, match="make it a table"):
        load({}, {}, tmp_path)


def test_settings_make_an_application() -> None:
    arguments = Settings(storage="memory:", lease=7.0, max_stalls=2, pause="every-step")
    with Sequential(**{**arguments.arguments(), "plugins": ()}) as app:
        assert (app.engine.terms.lease, app.engine.terms.max_stalls) == (7.0, 2)
        assert app.engine.policy.every_step


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///flows.db", "sqlite:///flows.db"),
        ("sqlite:////abs/a@b.db?timeout=3", "sqlite:////abs/a@b.db?timeout=3"),
        ("memory:", "memory:"),
        ("poll:?every=0.5s", "poll:?every=0.5s"),
        ("postgresql://host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
        ("postgresql://ada:s3cret@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgresql://ada:s3/cr?et@host/db", "postgresql://***@host/db"),
        ("postgresql://h/db?password=s3cret&a=1", "postgresql://h/db?password=***&a=1"),
        ("https://h/run?token=s3cret#s3cret", "https://h/run?token=***"),
        ("s3://bucket?AWS_SECRET_ACCESS_KEY=s3cret", "s3://bucket?AWS_SECRET_ACCESS_KEY=***"),
        ("sqs:?x-signature=s3cret", "sqs:?x-signature=***"),
        ("http://ada:s3cret@[::1", "http://***@[::1"),
    ],
)
def test_secrets_in_a_url_are_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_secrets_are_not_shown_in_a_sentence_or_a_repr() -> None:
    url = "postgresql://ada:s3cret@host/db"
    assert "s3cret" not in shown_text(f"cannot reach {url}, or 'https://h?token=s3cret'")
    assert "host/db" in shown_text(f"cannot reach {url}")
    settings: Any = Settings(storage=url, tables={"http": {"secret": "s3cret"}})
    assert "s3cret" not in repr(settings)
