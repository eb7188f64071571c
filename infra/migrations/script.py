"""How a migration runs SQL that is more than one statement, which the driver does not prepare."""

from alembic import op


def execute(sql: str) -> None:
    """Run a script of statements on the migration's connection, within its transaction."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection
    connection.run_async(lambda driver: driver.execute(sql))
