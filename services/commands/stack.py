"""`claimpath stack`: Kafka and PostgreSQL of one's own."""

import shlex

import typer

from services import terminal
from services.commands.running import GROUP, Json, local_stack
from services.settings import ADDRESSES, variable

app = typer.Typer(help="Kafka and PostgreSQL of your own, embedded; their data is kept.", **GROUP)


@app.command()
def up(json: Json = False) -> None:
    """Start the servers and leave them running; every command then finds them by itself."""
    servers = local_stack()
    servers.start()
    addresses = dict(zip(ADDRESSES, (servers.kafka, servers.database_url), strict=True))
    if json:
        terminal.show_json(addresses)
        return
    for name, address in addresses.items():
        terminal.show(f"export {variable(name)}={shlex.quote(address)}")


@app.command()
def down() -> None:
    """Stop the servers; their data stays for the next start."""
    local_stack().stop()


@app.command()
def status(json: Json = False) -> None:
    """Say whether the servers run; exit code 1 unless both do."""
    servers = local_stack().status()
    if json:
        addresses = {name: server.address for name, server in zip(ADDRESSES, servers, strict=True)}
        running = {server.name: {"pid": server.pid, "log": str(server.log)} for server in servers}
        terminal.show_json({**addresses, "servers": running})
    else:
        rows = [(each.name, f"runs as {each.pid}" if each.pid else "does not run", each.log) for each in servers]
        terminal.show_table(("server", "state", "log"), rows)
    raise typer.Exit(terminal.DONE if all(server.pid for server in servers) else terminal.NO)
