"""The command `claimpath`: every command by its name, and those that run or check a whole installation."""

import sys
from typing import Annotated

import typer
from msgspec import to_builtins

from services import terminal
from services.commands import claims, dead_letters, events, intake, stack
from services.commands.running import GROUP, Json, run, serve, settings
from services.settings import redacted

app = typer.Typer(help="Follow every therapy claim from the recorded session to the payer's money.", **GROUP)
app.add_typer(stack.app, name="stack")
app.add_typer(events.app, name="events")
app.command()(events.publish)
app.add_typer(intake.app, name="intake")
app.add_typer(claims.claim, name="claim")
app.add_typer(claims.claims, name="claims")
app.add_typer(dead_letters.app, name="dead-letters")


def main() -> None:
    """Run the command of this process's arguments; `terminal.end` gives an error its sentence and exit code."""
    sys.excepthook = terminal.end
    typer.main.get_command(app)(prog_name="claimpath")


@app.command()
def tracker() -> None:
    """Keep claims up to date with Kafka until told to stop."""
    from services.tracker import run as track

    given = settings()
    serve(track(given), given)


@app.command()
def api() -> None:
    """Serve claims, business metrics and health over HTTP until told to stop."""
    from services.api import run as answer

    given = settings()
    serve(answer(given), given)


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Run to the end, verify, and stop.")] = False,
    claims: Annotated[int, typer.Option(min=1, help="How many claims; live: with each seed.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Equal seeds tell equal claims.")] = 7,
    json: Json = False,
) -> None:
    """Run everything on servers of its own and show claims live; Ctrl-C stops all of it."""
    from services import demo as demonstration
    from services import logs

    logs.silence()
    if not once and not json:
        demonstration.live(claims, seed, terminal.say)
        return
    summary = demonstration.once(claims, seed, terminal.say)
    if json:
        terminal.show_json(summary)
    else:
        terminal.show_table(
            ("", ""), [(name, value) for name, value in to_builtins(summary).items() if name != "timing"]
        )
    raise typer.Exit(terminal.DONE if summary.holds else terminal.NO)


@app.command()
def migrate(json: Json = False) -> None:
    """Bring the database's schema to this release."""
    from services import database

    before, after = run(database.migrate(settings()))
    if json:
        terminal.show_json({"before": before, "after": after})
    else:
        moved = "already" if before == after else f"now, from {before or 'none'}"
        terminal.show(f"The schema is at revision {after} {moved}.")


@app.command()
def topics(json: Json = False) -> None:
    """Make the three topics where they do not exist, and judge all three; exit code 1 when one cannot serve."""
    from services import kafka

    given = settings()

    async def work() -> tuple[list[str], list[kafka.Topic]]:
        created = await kafka.create_topics(given)
        async with kafka.administration(given, application="claimpath-topics") as client:
            return created, await kafka.topics(given, client)

    created, found = run(work())
    faults = kafka.faults(given, found)
    if json:
        terminal.show_json({"created": created, "topics": found, "faults": faults})
    else:
        rows = [(each.name, each.partitions, each.replication, "yes" if each.name in created else "") for each in found]
        terminal.show_table(("topic", "partitions", "replicas", "new"), rows)
        for fault in faults:
            terminal.say(fault)
    raise typer.Exit(terminal.NO if faults else terminal.DONE)


@app.command()
def doctor(json: Json = False) -> None:
    """Check settings, servers, topics and schema; exit code 1 when something is wrong, 3 when a server is away."""
    from services.doctor import examine

    given = settings()
    checks, shown = run(examine(given)), redacted(given)
    if json:
        terminal.show_json({"checks": checks, "settings": shown})
    else:
        terminal.show_table(("check", "status", ""), [(check.name, check.status, check.told) for check in checks])
        terminal.show_table(("setting", "value"), shown.items())
    states = {check.status for check in checks}
    code = terminal.UNREACHABLE if "unreachable" in states else terminal.NO if "failed" in states else terminal.DONE
    raise typer.Exit(code)


@app.command()
def verify(json: Json = False) -> None:
    """Work out all claims and rollups a second time, in another way, and compare; exit code 1 where they differ."""
    from services.verify import verify as compare

    given = settings()
    with terminal.progress("verifying events") as bar:
        report = run(compare(given, bar))
    if json:
        terminal.show_json(report)
    else:
        terminal.show(
            f"{report.claims} claims, {report.events} events, {report.rollups} rollups, {report.positions} positions: "
            f"{report.difference_count} differences."
        )
        if report.differences:
            rows = [(each.what, each.where, each.path, each.stored, each.expected) for each in report.differences]
            terminal.show_table(("what", "where", "path", "stored", "expected"), rows)
    raise typer.Exit(terminal.NO if report.difference_count else terminal.DONE)


@app.command()
def rebuild(json: Json = False) -> None:
    """Make claims and rollups again from the event log, as after a change of the rules; first stop every tracker."""
    from services.rebuild import rebuild as make_again

    given = settings()
    with terminal.progress("reading events") as bar:
        made = run(make_again(given, bar))
    if json:
        terminal.show_json(made)
    else:
        counts = f"{made.claims} claims from {made.events} events: {made.changed} changed, {made.removed} removed."
        terminal.show(counts)
