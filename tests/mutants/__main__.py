"""`python -m tests.mutants`: puts seeded faults into a copy of the project; each must turn its tests red."""

import argparse
import json
import sys
import time
from collections.abc import Mapping

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.trial import Verdict, check_imports, copy_of_the_tree, run_tests, try_mutant


def main() -> int:
    """Try the mutants that were asked for; return 1 unless each was caught, by tests that pass without it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which mutants to try (all)")
    parser.add_argument("--list", action="store_true", help="only tell what there is")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    if unknown := set(given.names) - MUTANTS.keys():
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = {name: MUTANTS[name] for name in given.names or MUTANTS}
    if given.list:
        for name, mutant in chosen.items():
            sys.stdout.write(f"{name}\n    {mutant.sentence}\n" + "".join(f"    {by}\n" for by in mutant.caught_by))
        return 0
    started = time.monotonic()
    verdicts = _try(chosen)
    if verdicts is None:
        return 1
    caught = sum(verdict.outcome == "caught" for verdict in verdicts)
    if given.json:
        told = [verdict._asdict() | chosen[verdict.name]._asdict() for verdict in verdicts]
        sys.stdout.write(json.dumps({"caught": caught, "mutants": told}, indent=2) + "\n")
    else:
        _print(chosen, verdicts)
        sys.stdout.write(f"{caught} of {len(verdicts)} caught in {time.monotonic() - started:.0f} s\n")
    return 0 if caught == len(verdicts) else 1


def _try(chosen: Mapping[str, Mutant]) -> list[Verdict] | None:
    """Return what became of each; None where a test fails without any fault."""
    nodes = sorted({node for mutant in chosen.values() for node in mutant.caught_by})
    with copy_of_the_tree() as tree:
        check_imports(tree)
        _say(f"{len(nodes)} tests without any fault ...")
        tests = run_tests(tree, "none", nodes)
        if tests.code:
            _say(f"{tests.output}\nNothing can be said: the tests must pass without any fault.")
            return None
        verdicts = []
        for name, mutant in chosen.items():
            verdicts.append(try_mutant(tree, name, mutant))
            _say(f"{verdicts[-1].outcome:>8} {verdicts[-1].seconds:6.1f} s  {name}")
        return verdicts


def _print(chosen: Mapping[str, Mutant], verdicts: list[Verdict]) -> None:
    for name, outcome, seconds, why in verdicts:
        sys.stdout.write(f"\n{name}: {outcome}, {seconds:.1f} s\n    {chosen[name].sentence}\n")
        sys.stdout.writelines(f"    {node}\n" for node in chosen[name].caught_by)
        sys.stdout.writelines(f"    | {line}\n" for line in why.splitlines())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
