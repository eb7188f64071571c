"""The image without a container engine: what infra/Dockerfile says, and its steps carried out under a directory."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "infra" / "Dockerfile"
STEP_LIMIT_S = 180.0
"""For the slowest step, which installs the pinned packages."""

RUN_LIMIT_S = 60.0
"""For a command that ends by itself."""
WAIT_LIMIT_S = 30.0
"""For a service to be up, or to have done what was asked of it."""

_LOOK_S = 0.1
_NOT_OF_A_CHECKOUT = {".git", ".venv", "secrets"}
_SAID_TO_THE_ENGINE = {"USER", "EXPOSE"}
_ABSOLUTE = re.compile(r"(?<![\w./$}])/(?=\w)")


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile, its continuation lines joined."""

    word: str
    rest: str


def steps() -> list[Step]:
    """Every instruction in order."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [Step(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in whole)]


def copied(step: Step) -> list[str]:
    """What a COPY takes from the repository; nothing where it takes from another stage."""
    return [] if step.rest.startswith("--from=") else step.rest.split()[:-1]


def context() -> Iterator[Path]:
    """The files that .dockerignore lets through to the builder, relative to the repository."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _NOT_OF_A_CHECKOUT]
        for name in names:
            path = Path(folder, name).relative_to(ROOT)
            if not _ignored(path, rules):
                yield path


def _ignored(path: Path, rules: list[str]) -> bool:
    """Whether the last rule that speaks of a file, or of a folder it is in, leaves it out."""
    verdict = False
    steps_down = [*path.parents[:-1], path]
    for rule in rules:
        pattern = rule.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        if any(fnmatchcase(part.name if anywhere != pattern else str(part), anywhere) for part in steps_down):
            verdict = not rule.startswith("!")
    return verdict


class Image:
    """The environment that the Dockerfile makes, with the directory `place` as the root of its file system."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._context = place / "context"
        self._at = place
        self._build_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment: dict[str, str] = {}
        """What a process of the image finds set."""
        self.entry: list[str] = []
        self.command: list[str] = []

    def build(self) -> None:
        """Carry out every step; only `RUN python` and `RUN pip` are known, so that nothing touches this machine."""
        for path in context():
            target = self._context / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)
        self.environment = {"PATH": self._build_path}
        for step in steps():
            if step.word not in _SAID_TO_THE_ENGINE:
                getattr(self, f"_{step.word.lower()}")(step.rest)
        shutil.rmtree(self._context)
        (self._place / "tmp").mkdir()

    def here(self, text: str) -> str:
        """Replace the image's absolute paths by ours."""
        return _ABSOLUTE.sub(f"{self._place}/", text)

    def run(self, command: list[str], given: Mapping[str, str] | None = None, typed: str = "") -> str:
        """Run a command of the image with these variables too, and return what it prints; it must succeed."""
        ended = self._ended(command, given or {}, typed)
        assert ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        return ended.stdout

    def succeeds(self, command: list[str]) -> bool:
        """Whether a command of the image ends with exit code 0."""
        return self._ended(command, {}, "").returncode == 0

    def start(self, command: list[str], given: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a command of the image that runs until it is ended; it logs to where the test does."""
        return subprocess.Popen(self._found(command), cwd=self._place, env=self.environment | dict(given))

    def files(self) -> set[Path]:
        """Every file there is outside /tmp."""
        return {path for path in self._place.rglob("*") if not path.is_relative_to(self._place / "tmp")}

    def _ended(self, command: list[str], given: Mapping[str, str], typed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._found(command),
            cwd=self._place,
            env=self.environment | dict(given),
            input=typed,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )

    def _found(self, command: list[str]) -> list[str]:
        program = shutil.which(command[0], path=self.environment["PATH"].split(":", 1)[0])
        assert program, f"{command[0]} is not in the image"
        return [program, *command[1:]]

    def _from(self, _rest: str) -> None:
        # The last stage has its own settings; files stay where they were made, as a COPY between stages keeps the path.
        self.environment, self._at = {"PATH": self._build_path}, self._place

    def _workdir(self, rest: str) -> None:
        self._at = Path(self.here(rest))
        self._at.mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        for setting in rest.split():
            name, _, value = setting.partition("=")
            self.environment[name] = self.here(value).replace("$PATH", self.environment["PATH"])

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            assert sources[1:] == [target], "an environment works only where it was made"
            assert Path(self.here(target)).is_dir()
            return
        for source in sources:
            origin = self._context / source
            if origin.is_dir():
                shutil.copytree(origin, self._at / target, dirs_exist_ok=True)
            else:
                (self._at / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, self._at / target)

    def _run(self, rest: str) -> None:
        assert re.match(r"(python|pip) ", rest), rest
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMPATH_")}
        ended = subprocess.run(
            ["/bin/sh", "-c", self.here(rest)],
            cwd=self._at,
            env=environment | self.environment,
            capture_output=True,
            text=True,
            timeout=STEP_LIMIT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{rest}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"

    def _entrypoint(self, rest: str) -> None:
        self.entry = json.loads(rest)

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + WAIT_LIMIT_S
    while not done():
        assert time.monotonic() < deadline, f"waited {WAIT_LIMIT_S:.0f} s for {what}"
        time.sleep(_LOOK_S)
