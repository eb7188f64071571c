"""Settings: where they come from, which rule each must keep, and that no secret is ever shown."""

import os
from pathlib import Path

import pytest

from services import settings
from services.settings import BadSetting, NoServers, Settings, load, redacted, unknown_variables

ROOT = Path(__file__).parents[2]
PASSWORD = "canary/of@tests"
DATABASE = "postgresql://somebody:canary%2Fof%40tests@db.example.com:5432/claims"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's `.env` reaches a test."""
    monkeypatch.chdir(tmp_path)


def given(**variables: str) -> Settings:
    """Load the settings with these variables set, both addresses among them unless they say otherwise."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"KAFKA": "kafka.example.com:9092", "DATABASE_URL": DATABASE, **variables}.items():
            environment.setenv(f"CLAIMPATH_{name}", value)
        return load(no_stack)


def no_stack(_data: Path) -> None:
    """No local stack runs."""


def test_the_page_of_settings_is_not_stale() -> None:
    """The page says what the code reads; `python -m services.settings` writes it again."""
    assert (ROOT / "infra" / "SETTINGS.md").read_text(encoding="utf-8") == settings.page()


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults() -> None:
    """A variable that is set to nothing counts as not set."""
    Path(".env").write_text("CLAIMPATH_PARTITIONS=6\nCLAIMPATH_LANES=3\nOTHER=1\n", encoding="utf-8")
    found = given(LANES="4", REPLICATION="")
    assert (found.partitions, found.lanes, found.replication) == (6, 4, 1)


def test_without_addresses_the_local_stack_is_used() -> None:
    """Both addresses come from the servers that run in this user's data directory."""
    asked = []

    def running(data: Path) -> dict[str, str]:
        asked.append(data)
        return {"kafka": "127.0.0.1:1", "database_url": "postgresql://a@127.0.0.1:2/b"}

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_DATA_HOME", "/somewhere")
        found = load(running)
    assert found.kafka == "127.0.0.1:1"
    assert asked == [Path("/somewhere/claimpath")]


def test_without_any_servers_the_error_says_how_to_get_some() -> None:
    """The sentence names the command and both variables."""
    with pytest.raises(NoServers, match=r"claimpath stack up.*CLAIMPATH_KAFKA and CLAIMPATH_DATABASE_URL"):
        load(no_stack)


@pytest.mark.parametrize(("missing", "other"), [("KAFKA", "DATABASE_URL"), ("DATABASE_URL", "KAFKA")])
def test_one_address_alone_is_refused(missing: str, other: str) -> None:
    """A half-configured process would otherwise mix a stack of one's own with another's server."""
    with pytest.raises(BadSetting, match=f"CLAIMPATH_{missing} is not set, but CLAIMPATH_{other} is"):
        given(**{missing: ""})


def test_a_secret_may_come_from_a_file() -> None:
    """The line break at the file's end is not part of the secret, and two sources at once are refused."""
    Path("url").write_text(f"{DATABASE}\n", encoding="utf-8")
    assert given(DATABASE_URL="", DATABASE_URL_FILE="url").database_url.get_secret_value() == DATABASE
    with pytest.raises(BadSetting, match="are both set"):
        given(DATABASE_URL_FILE="url")
    with pytest.raises(BadSetting, match="CLAIMPATH_API_TOKEN_FILE cannot be read"):
        given(API_TOKEN_FILE="missing")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("KAFKA", "kafka.example.com", "host:port"),
        ("KAFKA", "kafka:9092,other:0", "from 1 to 65535"),
        ("KAFKA_SECURITY", "canary", "'SASL_SSL'"),
        ("KAFKA_SECURITY", "SASL_SSL", "CLAIMPATH_KAFKA_USERNAME and CLAIMPATH_KAFKA_PASSWORD"),
        ("KAFKA_CA_FILE", "ca.pem", "SSL or SASL_SSL"),
        ("DATABASE_URL", "mysql://somebody:canary@db/claims", "postgresql://user:password@host:port/database"),
        ("DATABASE_URL", "postgresql://somebody:can/ary@db/claims", "%-codes"),
        ("DATABASE_URL", f"{DATABASE}?sslmode=disable", "TLS has settings of its own"),
        ("DATABASE_URL", "postgresql://db.example.com", "postgresql://user:password@host:port/database"),
        ("DATABASE_CA_FILE", "missing.pem", "CLAIMPATH_DATABASE_CA_FILE names no file"),
        ("DATABASE_TLS", "prefer", "'verify-full'"),
        ("TOPIC_PREFIX", "a/b", "as Kafka allows"),
        ("PARTITIONS", "0", "greater than or equal to 1"),
        ("LANES", "canary", "a valid integer"),
        ("API_LISTEN", "8080", "host:port"),
        ("API_TOKEN", "canary", "at least 16 characters"),
        ("INTAKE_LISTEN", "canary", "host:port"),
        ("INTAKE_TOKEN", "canary", "at least 16 characters"),
    ],
)
def test_a_broken_rule_is_told_by_variable_and_rule(name: str, value: str, rule: str) -> None:
    """The sentence says what to write, and never what was written."""
    with pytest.raises(BadSetting) as told:
        given(**{name: value})
    assert f"CLAIMPATH_{name}" in str(told.value)
    assert rule in str(told.value)
    assert "canary" not in str(told.value)
    assert "can/ary" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("postgresql:///claims?host=/run/postgresql", "disable"),
        ("postgresql://somebody@127.0.0.1:5432/claims", "disable"),
        ("postgresql://somebody@[::1]:5432/claims", "disable"),
        ("postgresql://somebody@localhost/claims", "disable"),
        ("postgresql://somebody@10.0.0.1/claims", "verify-full"),
        ("postgresql://somebody@localhost.example.com/claims", "verify-full"),
    ],
)
def test_words_leave_this_machine_only_under_tls(url: str, tls: str) -> None:
    """Unless the operator says otherwise, the server must prove who it is."""
    assert given(DATABASE_URL=url).tls_of_database() == tls
    assert given(DATABASE_URL=url, DATABASE_TLS="require").tls_of_database() == "require"


def test_no_secret_is_shown() -> None:
    """Neither `doctor`'s table nor the settings' own words hold a password, a user or a token."""
    found = given(
        KAFKA_SECURITY="SASL_SSL",
        KAFKA_USERNAME="us",
        KAFKA_PASSWORD=PASSWORD,
        API_TOKEN=f"{PASSWORD}{PASSWORD}",
        INTAKE_TOKEN=PASSWORD * 2,
    )
    shown = redacted(found)
    assert {shown[f"CLAIMPATH_{name}"] for name in ("KAFKA_PASSWORD", "API_TOKEN", "INTAKE_TOKEN")} == {"(set)"}
    assert shown["CLAIMPATH_DATABASE_URL"] == "postgresql://db.example.com:5432/claims"
    assert shown.keys() == {settings.variable(name) for name in Settings.model_fields}
    for words in (str(shown), repr(found), str(found)):
        assert "canary" not in words
        assert "somebody" not in words


def test_a_misspelt_variable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no error, as orchestrators set variables of their own with a service's name in front."""
    for name in ("KAKFA", "API_TOKEN_FILE", "LANES", "CACHE"):
        monkeypatch.setenv(f"CLAIMPATH_{name}", "1")
    assert "CLAIMPATH_KAKFA" in unknown_variables()
    assert {"CLAIMPATH_API_TOKEN_FILE", "CLAIMPATH_LANES", "CLAIMPATH_CACHE"}.isdisjoint(unknown_variables())


def test_settings_made_in_code_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo and the tests use servers of their own, whatever the environment says."""
    monkeypatch.setenv("CLAIMPATH_LANES", "7")
    monkeypatch.setenv("CLAIMPATH_KAFKA", "kafka.example.com:9092")
    made = Settings.model_validate({"kafka": "127.0.0.1:1", "database_url": "postgresql://a@127.0.0.1:2/b"})
    assert (made.kafka, made.lanes) == ("127.0.0.1:1", 2)
    assert os.environ["CLAIMPATH_LANES"] == "7"
