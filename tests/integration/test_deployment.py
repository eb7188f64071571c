"""What is deployed, without a container engine: the Compose file and the image as written, and their very commands."""

import re
import stat
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import httpx
import pytest
import yaml

from infra.devstack import Stack
from services.settings import unknown_variables
from tests import image as dockerfile
from tests.composed import (
    COMPOSE,
    OURS,
    SERVICES,
    Composed,
    make_roles,
    make_secrets,
    port,
    seconds,
    secret_source,
    secret_target,
)
from tests.contract_example import PUBLISHED
from tests.image import ROOT, Image, wait_until

JOBS = {"migrate", "topics"}
# Who must be done or healthy before a service starts, directly or by way of another.
NEEDS = {
    "kafka": set[str](),
    "postgres": set[str](),
    "migrate": {"postgres"},
    "topics": {"kafka"},
    "tracker": {"kafka", "postgres", "migrate", "topics"},
    "api": {"postgres", "migrate"},
    "intake": {"kafka", "topics"},
    "prometheus": set[str](),
}
WRITES_ITS_ROOT = {"kafka"}
PINNED = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-\w+)*")


def test_every_service_is_pinned_and_without_privilege() -> None:
    """No image can change under its name, nothing runs as root or may become it, and roots are read-only."""
    for name, service in SERVICES.items():
        assert PINNED.fullmatch(service["image"]), name
        assert service["user"].split(":")[0] not in {"", "0", "root"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys(), name
        assert service.get("read_only", False) != (name in WRITES_ITS_ROOT), name
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    user = [step.rest for step in dockerfile.steps() if step.word == "USER"][-1]
    for service in OURS.values():
        assert service["image"] == f"claimpath:{version}"
        assert service["user"] == user
        assert ROOT / service["build"]["context"] / service["build"]["dockerfile"] == dockerfile.DOCKERFILE


def test_what_serves_is_watched_and_comes_back_and_jobs_end() -> None:
    """Every service has a health check that its own image can run; a job runs once and is waited for."""
    for name, service in SERVICES.items():
        if name in JOBS:
            assert service["restart"] == "no"
            assert any(name in other.get("depends_on", {}) for other in SERVICES.values())
            continue
        assert service["restart"] == "unless-stopped", name
        check = service["healthcheck"]
        assert check.keys() == {"test", "start_period", "interval", "timeout", "retries"}, name
        assert check["test"][0] == "CMD", "without a shell"
        assert not any("curl" in word for word in check["test"]), name
    assert {name for name in OURS if "stop_grace_period" in SERVICES[name]} == {"tracker", "intake"}
    assert seconds(SERVICES["tracker"]["stop_grace_period"]) == seconds(SERVICES["intake"]["stop_grace_period"]) == 20


def test_the_start_order_is_complete() -> None:
    """Each service waits, in no circle, for what it needs: for a job's success and for a server's health."""
    order = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    before: dict[str, set[str]] = {}
    for name in TopologicalSorter(order).static_order():
        before[name] = order[name].union(*(before[other] for other in order[name]))
    assert before == NEEDS
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert how == {"condition": wanted}


def test_only_this_machine_is_let_in() -> None:
    """Ports are published on loopback only, and Kafka and PostgreSQL are on a network without a way out."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"api", "intake", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["inside"] for name in SERVICES.keys() - published.keys())


def test_everything_mounted_exists(tmp_path: Path) -> None:
    """Volumes are declared and used, files are in the repository, and secrets are those that the script makes."""
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount for mount in mounts if mount[0].startswith(".")]
    assert all((ROOT / mount[0]).is_file() and mount[2] == "ro" for mount in files)
    assert {mount[0] for mount in mounts if mount not in files} == COMPOSE["volumes"].keys()
    assert ["postgres", "/var/lib/postgresql"] in mounts, "PostgreSQL 18 keeps its data below"

    used = {secret_source(secret) for service in SERVICES.values() for secret in service.get("secrets", [])}
    made = make_secrets(tmp_path)
    assert used == COMPOSE["secrets"].keys() == {path.name for path in made.iterdir()} - {".gitignore"}
    assert all(secret == {"file": f"./secrets/{name}"} for name, secret in COMPOSE["secrets"].items())
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    kept = (made / "api_token").read_text()
    assert kept != (made / "intake_token").read_text(), "who may publish may not read"
    assert make_secrets(tmp_path).joinpath("api_token").read_text() == kept, "a second run changes nothing"


def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service is given a variable that claimpath does not read, and each secret is where its variable says."""
    for name, service in OURS.items():
        mounted = {f"/run/secrets/{secret_target(secret)}" for secret in service["secrets"]}
        assert {value for key, value in service["environment"].items() if key.endswith("_FILE")} == mounted, name
        for variable, value in service["environment"].items():
            monkeypatch.setenv(variable, value)
    assert unknown_variables(tmp_path / ".env") == []


def test_prometheus_reads_what_runs() -> None:
    """Each target is a service of the same network at the port that it is told to listen on."""
    scraped = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in scraped for each in job.get("static_configs", []) for target in each["targets"]}
    found = [each for job in scraped for each in job.get("dns_sd_configs", [])]
    targets |= {f"{name}:{each['port']}" for each in found for name in each["names"]}
    own = SERVICES["prometheus"]["ports"][0].rpartition(":")[2]
    assert targets == {f"localhost:{own}", *(f"{name}:{port(name)}" for name in ("tracker", "api", "intake"))}
    assert set(SERVICES["prometheus"]["networks"]) >= {"inside"}
    files = {job["authorization"]["credentials_file"] for job in scraped if "authorization" in job}
    assert files == {f"/run/secrets/{secret_target(secret)}" for secret in SERVICES["prometheus"]["secrets"]}


def test_the_image_is_made_of_what_the_repository_holds() -> None:
    """Its base is pinned, every file it copies is sent to the builder and no other, and its last stage only runs."""
    steps = dockerfile.steps()
    stages: list[str] = []
    for step in steps:
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            assert base in stages or PINNED.fullmatch(base)
            stages.append(name)
    sent = set(dockerfile.context())
    sources = [Path(source) for step in steps if step.word == "COPY" for source in dockerfile.copied(step)]
    assert all(any(path.is_relative_to(source) for path in sent) for source in sources)
    assert all(any(path.is_relative_to(source) for source in sources) for path in sent)
    assert not any({"__pycache__", "secrets", ".env"} & set(path.parts) for path in sent)

    last = steps[max(number for number, step in enumerate(steps) if step.word == "FROM") :]
    assert "RUN" not in [step.word for step in last]
    assert [step.rest for step in last if step.word == "ENTRYPOINT"] == ['["claimpath"]']
    exposed = {word for step in last if step.word == "EXPOSE" for word in step.rest.split()}
    assert exposed == {str(port(name)) for name in ("tracker", "api", "intake")}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The environment that the image's own steps make, from what its builder would be sent."""
    made = Image(tmp_path_factory.mktemp("image"))
    made.build()
    return made


@pytest.mark.timeout(240)
def test_the_image_holds_what_production_needs_and_no_more(image: Image) -> None:
    """Only the runtime's pins are installed, and every command of the Compose file is one that the image knows."""
    listed = image.run(["python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"])
    pins = (ROOT / "infra" / "requirements.txt").read_text()
    pinned = {name.replace("_", "-") for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)}
    installed = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    assert installed - pinned <= {"claimpath", "pip", "setuptools"}
    assert "claimpath" in installed
    assert "Usage: claimpath" in image.run([*image.entry, *image.command])
    for service in OURS.values():
        assert f"Usage: claimpath {service['command'][0]}" in image.run([*image.entry, *service["command"], "--help"])


@pytest.mark.timeout(240)
def test_the_services_start_work_and_stop_as_composed(image: Image, tmp_path: Path) -> None:
    """From a new server to a claim at the API: each service with its own login, and SIGTERM ends it in time.

    Nothing is written outside /tmp, so a read-only root is enough.
    """
    secrets = make_secrets(tmp_path)
    with Stack(tmp_path / "servers", quick_jit=True) as servers:
        make_roles(servers, secrets)
        files = image.files()
        composed = Composed(image, servers, secrets)
        for name in ("migrate", "topics"):
            composed.finish(name)
        with composed.serving("tracker"), composed.serving("api") as address, composed.serving("intake") as intake:
            *lines, last = PUBLISHED.strip().splitlines()
            composed.finish("topics", "publish", "-", given="\n".join(lines))
            shown = {"Authorization": f"Bearer {(secrets / 'intake_token').read_text()}"}
            with httpx.Client(base_url=f"http://{intake}", headers=shown) as publisher:
                taken = publisher.post(
                    "/events", content=last, headers={"Content-Type": "application/cloudevents+json"}
                )
                assert taken.json()["published"] == 1
                assert 'claimpath_intake_events_total{outcome="published"} 1.0' in publisher.get("/metrics").text
            shown = {"Authorization": f"Bearer {(secrets / 'api_token').read_text()}"}
            with httpx.Client(base_url=f"http://{address}", headers=shown) as caller:
                wait_until(lambda: '"state":"approved"' in caller.get("/claims/CLM-000123").text, "an approved claim")
                assert "claimpath_claims" in caller.get("/metrics").text
        assert image.files() == files
