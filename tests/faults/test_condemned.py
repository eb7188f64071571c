"""A record that is alone in its batch when PostgreSQL's connection is lost: nobody else shares the blame."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from services import kafka
from services.settings import Settings
from tests.faults.proxy import Proxy, proxied
from tests.faults.wire import PostgreSQL
from tests.running import Outcomes, caught_up, outcomes, publish, rows, tracker, until
from tests.stored import record
from tests.stories import session

LIMIT_S = 20
WAITING = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'claimpath-tracker' AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("lose", [Proxy.reset, Proxy.cut], ids=["reset", "closed"])
async def test_a_lost_connection_condemns_no_record(
    settings: Settings, tmp_path: Path, lose: Callable[[Proxy], None]
) -> None:
    """A record whose statement was under way when the connection was reset, or closed, is tried again and accepted."""
    await kafka.create_topics(settings)
    url = settings.database_url.get_secret_value()
    server = f"{urlsplit(url).hostname}:{urlsplit(url).port}"
    async with proxied(server, PostgreSQL) as proxy:
        told = settings.model_copy(update={"database_url": SecretStr(url.replace(server, proxy.address))})
        async with tracker(told, tmp_path / "log") as running:
            owner = await asyncpg.connect(url, timeout=LIMIT_S)
            async with owner.transaction():
                await owner.execute("LOCK TABLE claim IN ACCESS EXCLUSIVE MODE")
                await publish(settings, [record(session())])
                await until(lambda: rows(settings, WAITING), LIMIT_S, "the tracker to be in a statement", running.log)
                lose(proxy)
            await owner.close()
            await caught_up(settings, LIMIT_S, running.log)
    assert await rows(settings, "SELECT reason, rule FROM dead_letter") == []
    assert await outcomes(settings) == Outcomes(1, 0, 0, 0)
