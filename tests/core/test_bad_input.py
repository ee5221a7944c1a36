"""Whatever is typed or stored wrongly: one readable line, the right exit code, nothing lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sequential._sqlite.connection import Connections
from tests.fix_cli import CommandLine

FLOWS = """
from sequential import Steps, flow, tool, tool_call, wait_for_signal

@tool("bad", "object")
def make_object() -> object:
    return object()

@tool("bad", "large")
def make_large() -> str:
    return "x" * (50 * 1024 * 1024 + 1)

@flow
def order(item: str, count: int = 1) -> Steps[str]:
    yield wait_for_signal("go")
    return item

@flow
def bad_result() -> Steps[object]:
    return object()
    yield

@flow
def large_result() -> Steps[str]:
    return "x" * (50 * 1024 * 1024 + 1)
    yield

@flow
def bad_step() -> Steps[None]:
    yield tool_call("bad", "object")

@flow
def large_step() -> Steps[None]:
    yield tool_call("bad", "large")

@flow
def no_step() -> Steps[None]:
    yield 42

number = 1
"""

TYPED = ("start", "flows.py:order", "--run-id", "new", "--input")

GOOD = '{"item": "a"}'


@pytest.fixture
def line(command_line: CommandLine) -> CommandLine:
    """The command line, with one run in the storage that must stay as it is."""
    command_line.write("flows.py", FLOWS)
    command_line.write("syntax.py", "x = 1\ndef broken(:\n")
    command_line.write("raises.py", "raise RuntimeError('at import')\n")
    command_line.ok("start", "flows.py:order", "--input", '{"item": "a"}', "--run-id", "kept")
    command_line.ok("execute", "kept")
    return command_line


def refused(line: CommandLine, code: int, said: str, *args: str) -> None:
    """Insist on the exit code and one line that says *said*, and that nothing was lost."""
    before = stored(line.database)
    result = line(*args)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1, result.stderr
    assert len(result.stderr) < 1500
    assert "Traceback" not in result.stderr
    assert said in result.stderr
    assert stored(line.database) == before


def stored(database: Path) -> list[tuple[object, ...]]:
    """Return every run and step of the file, as rows."""
    if not database.exists():
        return []
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT * FROM runs ORDER BY 1").fetchall()
        return [*rows, *connection.execute("SELECT * FROM steps ORDER BY 1, 2, 3").fetchall()]
    finally:
        connection.close()


# -- flows


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("unknown", "no flow named 'unknown' is registered"),
        ("", "no flow named ''"),
        ("nowhere:flow", "there is no module 'nowhere'"),
        ("missing.py:flow", "there is no file"),
        ("syntax.py:broken", "syntax.py:2 is not Python"),
        ("raises.py:flow", "RuntimeError: at import"),
        ("flows.py:absent", "has no 'absent'"),
        ("flows.py:number", "not a flow; decorate the function with @flow"),
        ("../../etc/passwd:flow", "there is no file"),
        ("os.system('x'):flow", "neither a module's name"),
        ("a\nb:flow", "neither a module's name"),
    ],
)
def test_a_flow_that_cannot_be_read(line: CommandLine, target: str, said: str) -> None:
    refused(line, 1, said, "run", target, "--run-id", "new")
    refused(line, 1, said, "start", target, "--run-id", "new")


# -- JSON

BAD_JSON = [
    ("", "it is not JSON"),
    ("{", "it is not JSON"),
    ("nope", "it is not JSON"),
    ('{"item": "a"} x', "it is not JSON"),
    ('{"item": "a", "item": "b"}', 'the key "item" stands twice'),
    ("[" * 100_000 + "]" * 100_000, "nested more than 64 levels"),
    ('{"item": ' + "[" * 65 + "]" * 65 + "}", "nested more than 64 levels"),
    ('{"item": ' + "9" * 5000 + "}", "more than 4,300 digits"),
    ('{"item": NaN}', "no NaN"),
    ('{"item": -Infinity}', "no -Infinity"),
    ('{"item": 1e999}', "too large"),
    ('{"item": "\\ud800"}', "half of a surrogate pair"),
    ("\ufeff{}", "byte order mark"),
    ("@missing.json", "cannot be read"),
    ("@latin.json", "not UTF-8"),
    ("@utf16.json", "not UTF-8"),
    ("@.", "cannot be read"),
]


@pytest.mark.parametrize(("text", "said"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_an_input_that_is_no_json_is_wrong_usage(line: CommandLine, text: str, said: str) -> None:
    (line.directory / "latin.json").write_bytes(b'{"item": "\xe9"}')
    (line.directory / "utf16.json").write_bytes('{"item": "a"}'.encode("utf-16"))
    refused(line, 2, said, *TYPED, text)
    refused(line, 2, said, "signal", "kept", "go", text)


def test_an_input_that_is_too_large_is_wrong_usage(line: CommandLine) -> None:
    with (line.directory / "huge.json").open("wb") as file:
        file.truncate(50 * 1024 * 1024 + 1)
    refused(line, 2, "52,428,800 is the most that is read", *TYPED, "@huge.json")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '"x"',
        "3",
        "{}",
        '{"item": 3}',
        '{"item": null}',
        '{"item": "a", "count": "many"}',
        '{"item": "a", "code": "import os"}',
        '{"item": "a", "state": {}, "result": 1}',
        '{"Item": "a"}',
    ],
)
def test_an_input_that_does_not_fit_the_flow_starts_nothing(line: CommandLine, text: str) -> None:
    refused(line, 1, "the input does not fit flow order", *TYPED, text)


# -- run ids

BAD_IDS = [
    "",
    "a" * 129,
    "a" * 100_000,
    ".",
    "..",
    "../x",
    "..%2f",
    "%2e%2e",
    "a/b",
    "a\\b",
    "/abs",
    "C:x",
    "a\0b",
    "a\n",
    "a\r\nX-H: 1",
    "a ",
    " a",
    "\uff41",
    "\u00e9",
    "e\u0301",
    "a\u202eb",
    "\U0001f600",
    "' OR 1=1--",
    '"; DROP',
    "$(id)",
    "{{7*7}}",
    "<script>",
    "=cmd|'/c'!A1",
    "%s%n",
    "_a",
    "~a",
]


@pytest.mark.parametrize("run_id", BAD_IDS, ids=range(len(BAD_IDS)))
def test_a_run_id_of_other_characters_is_refused(line: CommandLine, run_id: str) -> None:
    refused(line, 1, "cannot be a run id", *TYPED[:2], "--input", GOOD, "--run-id", run_id)
    refused(line, 1, "cannot be a run id", "show", "--", run_id)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "flows.py:order", "--input", '{"item": "a"}', "--run-id"),
        *((name, "--") for name in ("execute", "wait", "retry", "redrive", "terminate", "purge")),
        *((name, "--") for name in ("replay", "cancel")),
        ("fork", "--at", "0", "--"),
        ("fork", "kept", "--at", "0", "--run-id"),
        ("signal", "--signal-id", "s", "--"),
    ],
    ids=str,
)
def test_every_command_looks_at_the_run_id(line: CommandLine, arguments: tuple[str, ...]) -> None:
    for run_id in ("", "../x", "a\r\nX-H: 1"):
        more = ("go",) if arguments[0] == "signal" else ()
        said = "no step at" if arguments[:2] == ("fork", "kept") else "cannot be a run id"
        refused(line, 1, said, *arguments, run_id, *more)


@pytest.mark.parametrize("run_id", ["null", "0", "CON", "a.", "A", "9223372036854775808"])
def test_a_run_id_that_only_looks_odd_is_a_run_id(line: CommandLine, run_id: str) -> None:
    assert line.ok(*TYPED[:2], "--run-id", run_id, "--input", '{"item": "a"}') == f"{run_id}\n"
    assert line.json("show", run_id)["run_id"] == run_id


def test_the_case_of_a_run_id_counts(line: CommandLine) -> None:
    line.ok("start", "flows.py:order", "--run-id", "KEPT", "--input", '{"item": "b"}')
    assert line.json("show", "kept")["input"] == {"item": "a"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start", "flows.py:order", "--run-id", "kept", "--input", '{"item": "b"}'),
         "exists with another input"),
        (("start", "flows.py:bad_result", "--run-id", "kept"), "exists with flow 'order'"),
        (("run", "flows.py:order", "--run-id", "kept", "--input", '{"item": "b"}'),
         "exists with another input"),
        (("show", "nobody"), "there is no run 'nobody' in this storage; `sequential list`"),
        (("execute", "nobody"), "there is no run 'nobody'"),
        (("wait", "nobody"), "there is no run 'nobody'"),
        (("cancel", "nobody"), "there is no run 'nobody'"),
        (("signal", "nobody", "go"), "there is no run 'nobody'"),
        (("fork", "kept", "--at", "7"), "has no step at position '7'"),
        (("retry", "kept"), "retry is for a failed, cancelled or quarantined run"),
        (("redrive", "kept"), "redrive is for a quarantined or blocked run"),
        (("purge", "kept"), "purge is for a run that has ended"),
        (("list", "--after", "forged"), "forged"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_to_a_run_changes_nothing(
    line: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    refused(line, 1, said, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("signal", "kept", "$cancel"), "cannot be the name of a signal"),
        (("signal", "kept", ""), "cannot be the name of a signal"),
        ((*TYPED[:2], "--tag", "novalue"), "write key=value"),
        (("list", "--since", "yesterday"), "is no moment"),
        (("list", "--status", "asleep"), "asleep"),
        (("list", "--limit", "-1"), "-1"),
        (("wait", "kept", "--timeout", "-1s"), "-1s"),
        (("worker", "--concurrency", "0"), "0"),
    ],
)
def test_wrong_usage_changes_nothing(
    line: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    refused(line, 2, said, *arguments)


# -- results


@pytest.mark.parametrize(
    ("flow", "code", "said"),
    [
        ("bad_result", 4, "NotEncodable: cannot store $ of type object"),
        ("large_result", 4, "NotEncodable: cannot store $ of type str"),
        ("bad_step", 4, "ToolError"),
        ("large_step", 4, "ToolError"),
        ("no_step", 3, "yields or awaits int 42, which is not a step"),
    ],
)
def test_a_result_that_cannot_be_stored_ends_the_run_and_no_other(
    line: CommandLine, flow: str, code: int, said: str
) -> None:
    kept = line.json("show", "kept")
    result = line("run", f"flows.py:{flow}", "--run-id", "new")
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert line.json("show", "new")["shown"] == ("blocked" if code == 3 else "failed")
    assert line.json("show", "kept") == kept


# -- storages


def statement_first(monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Run *statement* on every connection as soon as it is open."""
    connect: Callable[[Connections], sqlite3.Connection] = Connections._connect

    def limited(self: Connections) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute(statement).fetchall()
        return connection

    monkeypatch.setattr(Connections, "_connect", limited)


WRITES = [
    (*TYPED, '{"item": "b"}'),
    ("signal", "kept", "go"),
    ("cancel", "kept"),
    ("terminate", "kept"),
    ("fork", "done", "--at", "0"),
    ("purge", "done"),
]


@pytest.mark.parametrize("arguments", WRITES, ids=lambda arguments: str(arguments[0]))
def test_a_read_only_database_is_left_as_it_is(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    line.ok("start", "shop.py:buy", "--input", '{"item": "b"}', "--run-id", "done")
    line.ok("execute", "done")
    line.ok("execute", "done")
    statement_first(monkeypatch, "PRAGMA query_only = ON")
    refused(line, 1, "read-only", *arguments)
    assert line.json("show", "kept")["shown"] == "waiting"


def test_a_full_disk_refuses_the_write_and_loses_nothing(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = '{"item": "' + "x" * 3_000_000 + '"}'
    line.write("large.json", given)
    with monkeypatch.context() as full:
        statement_first(full, "PRAGMA max_page_count = 1")
        refused(line, 1, "full", *TYPED, "@large.json")
    assert line.ok(*TYPED, "@large.json") == "new\n"


def test_a_full_disk_in_a_run_leaves_it_to_go_on_later(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.ok("signal", "kept", "go", '"' + "x" * 50_000 + '"')
    line.ok("start", "shop.py:buy", "--input", '{"item": "b"}', "--run-id", "new")
    with monkeypatch.context() as full:
        statement_first(full, "PRAGMA query_only = ON")
        refused(line, 1, "read-only", "execute", "new")
    line.ok("execute", "new")
    assert line.json("execute", "new")["result"] == {"item": "b", "cost": 2}


def foreign_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (id INTEGER)")
    connection.commit()
    connection.close()


def text_file(path: Path) -> None:
    path.write_text("Dear diary, today I was taken for a database. " * 50, encoding="utf-8")


def future_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {0x53514C31}")
    connection.execute("PRAGMA user_version = 99")
    connection.execute("CREATE TABLE runs (id INTEGER)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (foreign_file, "customers and not ours; name another place"),
        (text_file, "is not a Sequential storage"),
        (future_file, "has schema 99, this version knows up to"),
    ],
)
@pytest.mark.parametrize("command", ["list", "migrate", "doctor", "demo"])
def test_a_file_that_is_not_ours_is_not_touched(
    line: CommandLine, make: Callable[[Path], None], said: str, command: str
) -> None:
    path = line.directory / "other.db"
    make(path)
    before = path.read_bytes()
    refused(line, 1, said, command, "--storage", "sqlite:///other.db")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:s3cret@host/db", "pip install sequential-postgres"),
        ("s3://bucket?secret_key=s3cret", "pip install sequential-s3"),
        (
            "mongodb://ada:s3cret@host/db",
            "no storage opens mongodb:// (known: memory, projection, sqlite)",
        ),
        ("flows.db", "write a URL"),
        ("", "write a URL"),
        ("sqlite:flows.db", "write sqlite:///relative.db"),
        ("sqlite:///", "name a file"),
        ("sqlite:///x.db?color=red", "storage option color"),
        ("sqlite:///x.db?synchronous=off", "use full or normal"),
        ("sqlite:///x.db?timeout=soon", "use seconds"),
        ("sqlite:///no/such/place/x.db", "there is no directory"),
        ("sqlite:///flows.db/x.db", "there is no directory"),
        ("http://[::1", "it is no URL: Invalid IPv6 URL"),
    ],
)
def test_a_storage_that_cannot_be_opened_says_what_to_do(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setattr("sequential._plugins._installed", lambda _: ())
    refused(line, 1, said, "list", "--storage", url)
    assert "s3cret" not in line("list", "--storage", url).stderr
    monkeypatch.setenv("SEQUENTIAL_STORAGE", url)
    if url:
        refused(line, 1, said, "list")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqs://ada:s3cret@queue", "pip install sequential-sqs"),
        ("poll:?every=never", "every=0.5s"),
        ("poll:?sometimes=1", "no option of poll:"),
        ("pigeon:", "no transport opens pigeon:"),
    ],
)
def test_a_transport_that_cannot_be_opened_says_what_to_do(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setattr("sequential._plugins._installed", lambda _: ())
    refused(line, 1, said, "list", "--transport", url)
    assert "s3cret" not in line("list", "--transport", url).stderr


# -- settings


@pytest.mark.parametrize("pause", ["sometimes", "every", "budget:", "budget:x", "budget:-1s", ""])
def test_a_pause_policy_that_there_is_not_starts_nothing(line: CommandLine, pause: str) -> None:
    given = ("--run-id", "new", "--input", '{"item": "b"}', "--pause", pause)
    refused(line, 1, "pause", "run", "flows.py:order", *given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("storage = ", "it is not readable TOML"),
        ("\0", "it is not readable TOML"),
        ("storrage = 'memory:'", "known are check, lease"),
        ("storage = 3", "write a URL"),
        ("modules = 'x'\nmax_stalls = 'many'", "whole number from 1"),
        ("plugins = [1]", "write a list of texts"),
        ("payload = ['zstdd']", "installed payload codecs"),
    ],
)
def test_a_bad_configuration_file_is_named(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr("sequential._plugins._installed", lambda _: ())
    line.write("sequential.toml", text)
    refused(line, 1, said, "list")


@pytest.mark.parametrize("name", ["LEASE", "MAX_STALLS", "CHECK", "WARM", "PAUSE", "PAYLOAD"])
def test_a_bad_variable_is_named(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"SEQUENTIAL_{name}", "nonsense!")
    refused(line, 1, "nonsense!", "list")
