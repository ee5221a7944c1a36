"""Every check of the project, each in an environment of its own.

`nox` runs what a change must pass; `browser` where there is one. By name: `coverage`, `bench`,
`simulate`, `chaos`, `phoenix`, and the tests on a Python between the lowest and the highest.
Pythons are the ones the core's classifiers name, as far as this machine has them;
none is ever downloaded.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CORE = nox.project.load_toml(ROOT / "core/pyproject.toml")
# The projects that become wheels; each may be absent while the workspace grows.
MEMBERS = [
    path.parent.relative_to(ROOT)
    for pattern in ("core", "plugins/*", "dashboard")
    for path in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))
]
TYPED_BY_MYPY = ("core/src", "plugins", "dashboard", "tests", "docs/examples", "noxfile.py")
TYPED_BY_PYRIGHT = ("tests/typing", "docs/examples")
# Every branch of these is taken by a test: they decide what is written and what is done again.
DECISIVE = ("_protocol", "_replay", "_runner", "_side_by_side", "_cancelling", "_codec")
# Twice as many as CI has processors: a test also waits for a disk, a server, a clock. No more than
# that: each collects all tests, and has servers of its own.
IN_PARALLEL = ("--numprocesses=4", "--dist=worksteal")
# The session `types` runs these.
TYPING = "--ignore=tests/typing"
# Schedules and mutants prove the protocol, which is the same on every Python: once is enough.
PROVEN_ONCE = ("--ignore=tests/simulation", "--ignore=tests/mutation")
# So are the pages, lists of hostile data, the kits' own tests, what our text looks like, and what
# kills and cuts and heals.
READ_ONCE = (
    TYPING,
    "--ignore=tests/acceptance",
    "--ignore=tests/docs",
    "--ignore=tests/hostile",
    "--ignore=tests/core/test_kit.py",
    "--ignore=tests/test_house.py",
    *(
        f"--ignore-glob=*/test_{name}.py"
        for name in (
            "chaos",
            "document",
            "engine*",
            "healing",
            "hostile*",
            "kill*",
            "properties",
            "proxy",
            "state_machine",
        )
    ),
)
# And the servers that storages and transports talk to; the oldest drivers ask them once more.
SERVERS = (
    "--ignore=tests/dashboard",
    "--ignore=tests/postgres",
    "--ignore=tests/s3",
    "--ignore=tests/sqs",
)
# With the oldest libraries: what asks them everything, not what asks the same a hundred times, asks
# the engine alone, or needs none of them. Of Postgres, the contract stands in test_schema, too.
ASKED_OFTEN = (
    *(
        f"--ignore-glob=tests/core/test_{name}.py"
        for name in ("abreast", "bad_input", "child*", "invoke", "parallel", "patterns", "strands")
    ),
    "--ignore=tests/postgres/test_contract.py",
    "--ignore=tests/s3/test_heads.py",
    "--ignore=tests/s3/test_rounds.py",
    "--ignore=tests/s3/test_storage.py",
    "--ignore=tests/s3/test_wakes.py",
    "--ignore=tests/sqs/test_template.py",
    "--ignore=tests/dashboard/test_projection.py",
    "--ignore=tests/dashboard/test_security.py",
    "--ignore=tests/dashboard/test_walks.py",
)
MKDOCS = "docs/.mkdocs/mkdocs.yml"
# What `bench` measures beside us. Installed by that session alone, and never in uv.lock.
PEERS = {
    "DBOS": ("dbos>=3.4,<4",),
    "LangGraph": (
        "langgraph>=1.2,<2",
        "langgraph-checkpoint-sqlite>=3.1,<4",
        "langgraph-checkpoint-postgres>=3.2,<4",
    ),
    "Absurd": ("absurd-sdk>=0.5,<0.6", "absurdctl>=0.5,<0.6"),
}

# Prints the packages outside the standard library that importing its argument brings in.
FOREIGN_IMPORTS = """
import importlib, sys
before = set(sys.modules)
importlib.import_module(sys.argv[1])
new = {name: sys.modules[name] for name in set(sys.modules) - before}
files = {name: getattr(module, "__file__", None) or "" for name, module in new.items()}
print(*sorted({name.split(".")[0] for name, file in files.items() if "site-packages" in file}))
"""

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
# Tests start hundreds of processes, and each would compile every library anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# uv would otherwise fetch an interpreter that is missing.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"


def candidates(version: str) -> Iterator[str]:
    """Name every place where an interpreter of *version* (`3.12`) may be, the likeliest first."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield sys.executable
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*"), reverse=True):
        yield str(folder / "bin/python")


def works(python: str, version: str) -> bool:
    """Run *python*: a version manager's shim may stand for an interpreter it refuses to start."""
    question = "import sqlite3, ssl, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [python, "-c", question], capture_output=True, check=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.stdout.strip() == version


def present_pythons() -> dict[str, str]:
    """Map each supported version that this machine has to a working interpreter."""
    found = {}
    for version in nox.project.python_versions(CORE):
        python = next((path for path in candidates(version) if works(path, version)), None)
        if python is not None:
            found[version] = python
    return found


PYTHONS = present_pythons()
if not PYTHONS:
    raise SystemExit(f"no working Python {CORE['project']['requires-python']} on PATH or in pyenv")
LOWEST, HIGHEST = next(iter(PYTHONS)), next(reversed(PYTHONS))
# What lies between the lowest and the highest Python is tested by name.
TESTED = dict.fromkeys(f"tests-{version}" for version in (LOWEST, HIGHEST))
nox.options.sessions = ["lint", "types", *TESTED, "browser", "docs", "wheels", "minimums"]
# nox and uv look for `python3.12` on PATH; the interpreters that proved to work come before shims.
for python in PYTHONS.values():
    os.environ["PATH"] = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"


def sync(session: nox.Session, *groups: str) -> None:
    """Make the session's environment hold the workspace and *groups*, exactly as locked."""
    session.run_install(
        "uv",
        "sync",
        "--locked",
        "--no-default-groups",
        *(f"--group={group}" for group in groups),
        f"--python={session.virtualenv.location}",
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location},
        silent=True,
    )


def with_python(*paths: str) -> list[str]:
    """Keep the *paths* that hold Python files: the tree grows, the checks are already here."""
    return [path for path in paths if (ROOT / path).is_file() or any((ROOT / path).rglob("*.py"))]


@nox.session(python=LOWEST)
def lint(session: nox.Session) -> None:
    """Style, formatting, import directions."""
    sync(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session(python=LOWEST)
def types(session: nox.Session) -> None:
    """Let mypy check everything, and pyright what users write."""
    sync(session, "types", "test", "bench", "browser")
    session.run("mypy", "--num-workers=2", *with_python(*TYPED_BY_MYPY))
    if paths := with_python(*TYPED_BY_PYRIGHT):
        session.run("pyright", *paths)
    session.run("pytest", "tests/typing", "--numprocesses=2", env={"CHECKERS": "required"})


@nox.session(python=list(PYTHONS))
def tests(session: nox.Session) -> None:
    """Run all tests on the lowest supported Python; on each other here, what Python may change."""
    sync(session, "test")
    once = (TYPING,) if session.python == LOWEST else (*PROVEN_ONCE, *READ_ONCE, *SERVERS)
    session.run("pytest", *(session.posargs or (*IN_PARALLEL, *once)))


@nox.session(python=LOWEST)
def browser(session: nox.Session) -> None:
    """Open the dashboard in a Chromium; with `--screenshots`, make the pictures of the pages."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None and may_install():
        # Debian's: Playwright would fetch one of its own from a server that CI may not reach.
        for command in ("update", "install -y --no-install-recommends chromium"):
            session.run_install(
                "apt-get", "-qq", "-o", "Acquire::http::Timeout=20", *command.split(),
                external=True, silent=True, success_codes=range(256),
            )  # fmt: skip
        chromium = shutil.which("chromium")
    if chromium is None:
        session.warn("NOT RUN: no chromium on PATH, and none can be installed without root and apt")
        return
    sync(session, "test", "browser")
    env = {"CHROMIUM": chromium}
    if "--screenshots" in session.posargs:
        session.run("python", "-m", "tests.browser.pictures", "docs/images", env=env)
    else:
        # What is measured, and what runs against a clock, has nothing beside it.
        alone = ("tests/browser/test_speed.py", "tests/browser/test_live.py")
        chosen = session.posargs or alone
        session.run("pytest", "-s", "-p", "no:xdist", "--timeout=300", *chosen, env=env)
        if session.posargs:
            return
        others = (*(f"--ignore={path}" for path in alone), "--numprocesses=2", "--dist=worksteal")
        session.run("pytest", "--timeout=300", *others, "tests/browser", env=env)


def may_install() -> bool:
    """Tell whether packages of Debian can be installed here."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


@nox.session(python=LOWEST, reuse_venv=False)
def minimums(session: nox.Session) -> None:
    """Run the tests with every direct dependency at its lowest allowed version."""
    session.install(
        "--resolution=lowest-direct",
        "--group=test",
        *(f"--editable=./{with_extras(member)}" for member in MEMBERS),
        silent=True,
    )
    left_out = (*PROVEN_ONCE, *READ_ONCE, *ASKED_OFTEN)
    session.run("pytest", *(session.posargs or (*IN_PARALLEL, *left_out)))


def with_extras(member: Path) -> str:
    """Add all extras that *member* has."""
    project = nox.project.load_toml(ROOT / member / "pyproject.toml")["project"]
    extras = ",".join(project.get("optional-dependencies", {}))
    return f"{member}[{extras}]" if extras else f"{member}"


@nox.session(python=LOWEST)
def coverage(session: nox.Session) -> None:
    """Run all tests once more; the modules that decide what is written must have no branch left."""
    sync(session, "test")
    session.run("pytest", "--cov", "--cov-report=term", *(session.posargs or IN_PARALLEL))
    decisive = (f"*/sequential/{name}.py" for name in DECISIVE)
    session.run("coverage", "report", "--fail-under=100", f"--include={','.join(decisive)}")


@nox.session(python=LOWEST)
def docs(session: nox.Session) -> None:
    """Build the pages; a broken link is an error."""
    sync(session, "docs")
    site = Path(session.create_tmp()).resolve() / "site"
    session.run("mkdocs", "build", "--strict", f"--config-file={MKDOCS}", f"--site-dir={site}")


@nox.session(python=LOWEST, reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """Build every wheel, install each alone, import it."""
    with tempfile.TemporaryDirectory() as folder:
        session.run("uv", "build", "--all-packages", "--quiet", f"--out-dir={folder}")
        built = sorted(Path(folder).glob("*.whl"))
        if len(built) != len(MEMBERS):
            session.error(f"{len(MEMBERS)} members, but {[wheel.name for wheel in built]}")
        for wheel in built:
            import_alone(session, wheel)


def import_alone(session: nox.Session, wheel: Path) -> None:
    """Install *wheel* into an empty environment and import what it brings.

    Importing a package of ours may load pluggy and the core; everything else waits for its use.
    """
    environment = wheel.parent / wheel.name.split("-")[0]
    python = str(environment / "bin/python")
    install = ("uv", "pip", "install", "--quiet", f"--find-links={wheel.parent}")
    session.run(
        "uv", "venv", "--quiet", f"--python={PYTHONS[str(session.python)]}", str(environment)
    )
    session.run(*install, f"--python={python}", str(wheel))
    for package in packages_in(wheel):
        printed = session.run(
            python, "-I", "-c", FOREIGN_IMPORTS, package, external=True, silent=True
        )
        foreign = set(str(printed).split()) - {package, "sequential", "pluggy"}
        if foreign:
            session.error(f"import {package} also imports {', '.join(sorted(foreign))}")


def packages_in(wheel: Path) -> list[str]:
    """List the import packages at the top of *wheel*; none is an empty wheel, and an error."""
    with zipfile.ZipFile(wheel) as archive:
        packages = {
            name.split("/")[0] for name in archive.namelist() if name.endswith("__init__.py")
        }
    if not packages:
        raise ValueError(f"no package in {wheel.name}; see packages under [tool.hatch.build]")
    return sorted(packages)


@nox.session(python=LOWEST)
def bench(session: nox.Session) -> None:
    """Measure, and compare with the goals."""
    sync(session, "test", "bench")
    for peer, requirements in PEERS.items():
        try:
            session.install(*requirements, silent=True)
        except nox.command.CommandFailed:
            session.warn(f"{peer} cannot be installed here: its row is left out")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session(python=LOWEST)
def simulate(session: nox.Session) -> None:
    """Play 200,000 seeded schedules, kill every mutant, play 20,000 random programs, and fuzz."""
    sync(session, "test")
    schedules = session.posargs or ("0", "200000")
    session.run("python", "-m", "tests.simulation", *schedules, "--jobs=2")
    session.run("python", "-m", "tests.mutation")
    session.run("python", "-m", "tests.core.random_programs", "20000", "--jobs=2")
    session.run(
        "pytest",
        "tests/core/test_properties.py",
        "tests/core/test_state_machine.py",
        "--timeout=3600",
        *IN_PARALLEL,
        env={"HYPOTHESIS_PROFILE": "simulate"},
    )
    session.run("python", "-m", "tests.hostile.fuzz", "60")


@nox.session(python=LOWEST)
def phoenix(session: nox.Session) -> None:
    """Export runs to Phoenix, a reader of OpenTelemetry that is not ours, and ask what it saw."""
    sync(session, "test")
    # In an environment of its own: it pins much of what we use.
    server = Path(session.create_tmp()).resolve() / "phoenix"
    python = f"--python={PYTHONS[str(session.python)]}"
    session.run("uv", "venv", "--quiet", "--clear", python, str(server))
    session.run("uv", "pip", "install", "--quiet", f"--python={server}", "arize-phoenix>=20,<21")
    session.run("python", "-m", "tests.consumers.phoenix", str(server / "bin/python"))


@nox.session(python=LOWEST)
def chaos(session: nox.Session) -> None:
    """Kill real processes, one test at a time, so that no test kills another's."""
    sync(session, "test")
    session.run("pytest", "-s", "-m", "chaos", "-p", "no:xdist", "tests", *session.posargs)
