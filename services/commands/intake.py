"""`claimpath intake`: what others send becomes events."""

import typer

from services.commands.running import GROUP, settings
from services.commands.running import serve as run_server

app = typer.Typer(help="What others send becomes events.", **GROUP)


@app.callback()
def _intake() -> None:
    """Keep `serve` a command of its own: alone in its group it would become the group."""


@app.command()
def serve() -> None:
    """Take CloudEvents over HTTP and publish them, until told to stop."""
    from services.intake.http import run

    given = settings()
    run_server(run(given), given)
