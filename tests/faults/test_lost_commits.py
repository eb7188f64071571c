"""The tracker where the answer to a COMMIT is lost, or the COMMIT: nobody can tell which, and it does not matter."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from events import samples
from services import database, kafka
from services.settings import Settings
from tests.faults.proxy import Proxy, proxied
from tests.faults.wire import AFTER_COMMIT, AT_COMMIT, PostgreSQL
from tests.running import Outcomes, caught_up, nothing_differs, outcomes, publish, tracker, until

LIMIT_S = 10.0
TIMES = 5


async def test_a_reset_keeps_its_code(database_url: str) -> None:
    """A connection that is reset in a statement is an error of class 08, whatever the system called it below."""
    async with proxied(urlsplit(database_url).netloc.rpartition("@")[2], PostgreSQL) as proxy:
        connection = await asyncpg.connect(through(proxy, database_url), timeout=LIMIT_S, command_timeout=LIMIT_S)
        proxy.cut_at_commit()
        with pytest.raises(asyncpg.ConnectionDoesNotExistError) as lost:
            await connection.execute("COMMIT")
    assert isinstance(lost.value.__cause__, ConnectionResetError)
    assert database.sqlstate(lost.value) == "08003"
    assert database.describe_error(lost.value) == "ConnectionDoesNotExistError 08003"


@pytest.mark.parametrize("fault", [AT_COMMIT, AFTER_COMMIT])
async def test_no_record_is_condemned_for_a_lost_connection(settings: Settings, tmp_path: Path, fault: str) -> None:
    """Every record ends as what it is, one batch each, although connections are reset again and again at their COMMIT:
    none as a dead letter for what the network did.
    """
    await kafka.create_topics(settings)
    messages = [*samples.stream(30, 7, samples.Switches())]
    url, log = settings.database_url.get_secret_value(), tmp_path / "log"
    async with proxied(urlsplit(url).netloc.rpartition("@")[2], PostgreSQL) as proxy:
        cut = {AT_COMMIT: proxy.cut_at_commit, AFTER_COMMIT: proxy.cut_after_commit}[fault]
        own = settings.model_copy(update={"database_url": SecretStr(through(proxy, url))})
        async with tracker(own, log, batch_records=1) as running:
            await running.says("partitions assigned")
            cut()
            await publish(settings, messages)
            for number in range(1, TIMES):
                await until(lambda number=number: proxy.fired[fault] == number, LIMIT_S, "a commit to be lost", log)
                cut(3)
            await caught_up(settings, log=log)
            await running.stop()
        assert proxy.fired == {fault: TIMES}
    assert await outcomes(settings) == Outcomes(len(messages), 0, 0, 0)
    await nothing_differs(settings)


def through(proxy: Proxy, database_url: str) -> str:
    """Return the address of the same database by the proxy."""
    address = urlsplit(database_url)
    return urlunsplit(address._replace(netloc=f"{address.netloc.rpartition('@')[0]}@{proxy.address}"))
