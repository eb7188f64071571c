"""Every setting: its variable, meaning, default and rule; read from the environment, `.env` and secret files."""

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

PREFIX: Final = "CLAIMPATH_"
MIN_SECRET_CHARACTERS: Final = 16
ADDRESSES: Final = ("kafka", "database_url")
_SECRETS: Final = ("kafka_password", "database_url", "api_token", "intake_token", "patient_key")
_UNREAD: Final = frozenset({"cache"})  # where the embedded servers keep their downloads; no business of the services
_PORTS: Final = range(1, 65_536)
T = TypeVar("T", bound=BaseModel)


class BadSetting(Exception):
    """A setting breaks its rule; the message names variable and rule and never a secret."""


class NoServers(Exception):
    """Start servers with `claimpath stack up`, or set CLAIMPATH_KAFKA and CLAIMPATH_DATABASE_URL."""


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port`, an IPv6 host in brackets; raises ValueError with the rule."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) in _PORTS) or "/" in host:
        raise ValueError("write host:port, with a port from 1 to 65535")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach the host; a name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bootstrap(addresses: str) -> str:
    for address in addresses.split(","):
        host_and_port(address.strip())
    return addresses


def _listen(address: str) -> str:
    host_and_port(address)
    return address


def _database(secret: SecretStr) -> SecretStr:
    """Hold a URL to what we pass on: libpq's other options would be ignored or misread, `sslmode` among them."""
    rule = "write postgresql://user:password@host:port/database, with %-codes for special characters in the password"
    try:
        url = urlsplit(secret.get_secret_value())
        options = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        _ = url.port
    except ValueError:
        raise ValueError(rule) from None  # the parser's own words quote the address
    if url.scheme not in ("postgresql", "postgres") or len(url.path) < len("/d") or url.fragment:
        raise ValueError(rule)
    if any(name != "host" or not value.startswith("/") for name, value in options):
        raise ValueError("the only option is ?host=/directory/of/socket; TLS has settings of its own")
    if not (url.hostname or options):
        raise ValueError(rule)
    return secret


def _secret(secret: SecretStr | None) -> SecretStr | None:
    if secret and len(secret.get_secret_value()) < MIN_SECRET_CHARACTERS:
        raise ValueError(f"at least {MIN_SECRET_CHARACTERS} characters")
    return secret


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("a name of the IANA time zone database, as America/New_York")
    return name


def _topic_words(text: str) -> str:
    if not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in text):
        raise ValueError("letters, digits, dot, underscore and hyphen only, as Kafka allows in a topic")
    return text


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "claimpath"


Listen = Annotated[str, AfterValidator(_listen)]


class Unconnected(BaseModel):
    """What a command is told that needs no server."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where `claimpath stack` keeps its servers' data, and `claimpath intake` which claims it read.",
    )
    intake_timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="The zone of the times of day in X12 files, as `America/New_York`: the files name none."
    )
    patient_key: Annotated[SecretStr | None, AfterValidator(_secret)] = Field(
        None,
        description="Key of the hash that stands for a patient's member number, at least 16 characters; "
        "unset, events from files name no patient.",
    )


class Settings(Unconnected):
    """What a process is told from outside. Making one reads nothing: `load` does."""

    kafka: Annotated[str, AfterValidator(_bootstrap)] = Field(
        description="Kafka's bootstrap servers, `host:port` with commas between."
    )
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to speak to Kafka."
    )
    kafka_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed Kafka's certificate; unset, those of the system."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How to log in where the security is SASL."
    )
    kafka_username: str | None = Field(None, description="Who logs in to Kafka.")
    kafka_password: SecretStr | None = Field(None, description="With which password.")
    database_url: Annotated[SecretStr, AfterValidator(_database)] = Field(
        description="PostgreSQL, `postgresql://user:password@host:port/database` or `postgresql:///database?host=/directory/of/socket`."
    )
    database_tls: Literal["disable", "require", "verify-full"] | None = Field(
        None,
        description="`require` encrypts, `verify-full` also checks who answers; "
        "unset, `disable` on a socket or this machine and `verify-full` elsewhere.",
    )
    database_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed PostgreSQL's certificate; unset, those of the system."
    )
    topic_prefix: Annotated[str, AfterValidator(_topic_words)] = Field(
        "", max_length=100, description="What stands before the three topics' names."
    )
    partitions: int = Field(
        12, ge=1, le=1_000, description="Partitions of each topic when `claimpath topics` makes it: the most trackers."
    )
    replication: int = Field(
        1, ge=1, le=9, description="Copies of each partition when `claimpath topics` makes it: 3 in production."
    )
    group: str = Field("claimpath", min_length=1, description="The trackers' consumer group.")
    group_instance_id: str | None = Field(
        None, description="A name that a tracker keeps over restarts, so that its partitions wait for it."
    )
    batch_records: int = Field(5_000, ge=1, le=50_000, description="The most records in one transaction.")
    lanes: int = Field(2, ge=1, le=16, description="Transactions a tracker has under way, each on its own partitions.")
    breaker: bool = Field(default=True, description="Whether a tracker that refuses nearly everything ends itself.")
    stall_limit_s: float = Field(
        60,
        ge=5,
        le=3_600,
        description="Seconds without progress, while there is lag, after which a tracker ends itself.",
    )
    tracker_listen: Listen = Field("127.0.0.1:9464", description="Where a tracker serves /metrics.")
    api_listen: Listen = Field(
        "127.0.0.1:8080", description="Where the API listens; without a token only on this machine."
    )
    api_token: Annotated[SecretStr | None, AfterValidator(_secret)] = Field(
        None, description="What callers of the API show as bearer token, at least 16 characters."
    )
    intake_listen: Listen = Field(
        "127.0.0.1:8081", description="Where the HTTP intake listens; without a token only on this machine."
    )
    intake_token: Annotated[SecretStr | None, AfterValidator(_secret)] = Field(
        None, description="What publishers show the HTTP intake as bearer token, at least 16 characters."
    )
    watch_listen: Listen = Field("127.0.0.1:9465", description="Where `claimpath intake watch` serves /metrics.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Form of the log on standard error; `auto`: text on a terminal, else JSON."
    )

    def tls_of_database(self) -> Literal["disable", "require", "verify-full"]:
        """Return how to speak to PostgreSQL: as set, else safely wherever the words leave this machine."""
        host = urlsplit(self.database_url.get_secret_value()).hostname
        return self.database_tls or ("disable" if host is None or is_loopback(host) else "verify-full")

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Hold the rules that two settings make together."""
        if self.kafka_security.startswith("SASL") and not (self.kafka_username and self.kafka_password):
            raise ValueError(f"{PREFIX}KAFKA_SECURITY: SASL needs {PREFIX}KAFKA_USERNAME and {PREFIX}KAFKA_PASSWORD")
        if self.kafka_ca_file and not self.kafka_security.endswith("SSL"):
            raise ValueError(f"{PREFIX}KAFKA_CA_FILE is read only where {PREFIX}KAFKA_SECURITY is SSL or SASL_SSL")
        if self.database_ca_file and self.tls_of_database() != "verify-full":
            raise ValueError(f"{PREFIX}DATABASE_CA_FILE is read only where {PREFIX}DATABASE_TLS is verify-full")
        for name in ("kafka_ca_file", "database_ca_file"):
            if (file := getattr(self, name)) and not file.is_file():
                raise ValueError(f"{variable(name)} names no file")
        return self


def load(local_stack: Callable[[Path], Mapping[str, str] | None], env_file: Path = Path(".env")) -> Settings:
    """Read the settings: the environment before `env_file` before the defaults.

    With neither address set they are those of the local stack, which `local_stack` returns by setting's name for a
    data directory while it runs. Raises BadSetting, or NoServers when there is no stack either.
    """
    given = _given(env_file)
    if not any(name in given for name in ADDRESSES):
        found = local_stack(data_dir(env_file))
        if found is None:
            raise NoServers(NoServers.__doc__)
        given.update(found)
    for name, other in (ADDRESSES, ADDRESSES[::-1]):
        if name not in given:
            raise BadSetting(f"{variable(name)} is not set, but {variable(other)} is: set both or neither.")
    return _valid(Settings, given)


def load_unconnected(env_file: Path = Path(".env")) -> Unconnected:
    """Read what needs no server; raises BadSetting."""
    return _valid(
        Unconnected, {name: value for name, value in _given(env_file).items() if name in Unconnected.model_fields}
    )


def data_dir(env_file: Path = Path(".env")) -> Path:
    """Return where data are kept; raises BadSetting."""
    return load_unconnected(env_file).data_dir


def _valid(model: type[T], given: Mapping[str, str]) -> T:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise BadSetting("; ".join(_sentences(error)) + ".") from None


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def unknown_variables(env_file: Path = Path(".env")) -> list[str]:
    """Return the variables with our prefix that are no setting: misspelt perhaps, or an orchestrator's own."""
    known = {*Settings.model_fields, *(f"{name}_file" for name in _SECRETS), *_UNREAD}
    return sorted(variable(name) for name in _variables(env_file) if name not in known)


def redacted(settings: Settings) -> dict[str, str]:
    """Return every setting by its variable, safe to show; of the database its place without user and password."""
    shown = {name: "" if value is None else str(value) for name, value in settings}
    for name in _SECRETS:
        shown[name] = "(set)" if getattr(settings, name) else ""
    shown["database_url"] = database_place(settings)
    return {variable(name): value for name, value in shown.items()}


def database_place(settings: Settings) -> str:
    """Return where the database is, without user and password."""
    url = urlsplit(settings.database_url.get_secret_value())
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}{'?' if url.query else ''}{url.query}"


def page() -> str:
    """Return the settings as a page of Markdown."""
    rows = [_row(name) for name in Settings.model_fields]
    return "\n".join([_INTRODUCTION, "| Variable | Type | Default | Meaning |", "|---|---|---|---|", *rows, ""])


_INTRODUCTION: Final = """\
# Settings

<!-- Written by `python -m services.settings`; change `services/settings.py` instead. -->

Read from the environment, then from `.env` in the working directory. A variable set to nothing counts as not set.
A *secret* is shown nowhere and may come from a file, whose name the same variable with `_FILE` at its end gives.
`CLAIMPATH_KAFKA` and `CLAIMPATH_DATABASE_URL` go together: with neither, the servers are those of `claimpath stack up`.
"""


def _variables(env_file: Path) -> dict[str, str]:
    """What is set under our prefix, by the name without it, the environment's over the file's."""
    file = DotEnvSettingsSource(BaseSettings, env_file=env_file, env_ignore_empty=True).env_vars
    environment = EnvSettingsSource(BaseSettings, env_ignore_empty=True).env_vars
    prefix = PREFIX.lower()
    together = {**file, **environment}
    return {name.removeprefix(prefix): value for name, value in together.items() if name.startswith(prefix) and value}


def _given(env_file: Path) -> dict[str, str]:
    """The settings among the variables, secrets read from their files."""
    variables = _variables(env_file)
    given = {name: value for name, value in variables.items() if name in Settings.model_fields}
    for name in _SECRETS:
        if (path := variables.get(f"{name}_file")) is None:
            continue
        if name in given:
            raise BadSetting(f"{variable(name)} and {variable(name)}_FILE are both set: set one.")
        try:
            given[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"{variable(name)}_FILE cannot be read ({type(error).__name__}).") from None
    return given


def _sentences(error: ValidationError) -> Iterator[str]:
    """Say each broken rule; pydantic's messages hold no value."""
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        rule = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        yield f"{variable(str(problem['loc'][0]))}: {rule}" if problem["loc"] else rule


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    secret = " *secret*" if name in _SECRETS else ""
    if field.default_factory is not None:
        default = "`$XDG_DATA_HOME/claimpath`"
    else:
        default = "" if field.is_required() or field.default in (None, "") else f"`{_spelled(field.default)}`"
    return f"| `{variable(name)}`{secret} | {_kind(field.annotation)} | {default} | {field.description} |"


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _kind(annotation: Any) -> str:  # noqa: ANN401  (a type expression)
    """Return a type in words; None says that the setting may be absent."""
    choices = [part for part in get_args(annotation) if part is not type(None)]
    if type(None) in get_args(annotation):
        return _kind(choices[0])
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    words = {int: "whole number", float: "number", bool: "`true`, `false`", Path: "path"}
    return words.get(annotation, "text")


if __name__ == "__main__":
    Path(__file__).parents[1].joinpath("infra", "SETTINGS.md").write_text(page(), encoding="utf-8")
