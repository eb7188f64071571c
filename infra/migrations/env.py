"""How alembic runs the migrations: on the connection, and within the transaction, of the program that asks."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
