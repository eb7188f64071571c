"""`claimpath intake` with real files, a real Kafka and a real tracker: from what clearinghouses deliver to claims."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from services import kafka
from services.api import create_app
from services.intake.files import KEPT_FILE
from services.settings import Settings
from tests.running import caught_up, environment, nothing_differs, outcomes, tracker
from tests.x12_files import acknowledged, batch, decided, file, interchange, remittance, sent, served, transaction

COMMAND = Path(sys.executable).with_name("claimpath")
LIMIT_S = 60.0
KEY = "a-key-of-the-tests-only"
OURS, THEIRS = {"sender": "CLINIC", "receiver": "HOUSE"}, {"sender": "HOUSE", "receiver": "CLINIC"}

LINES = (*served(1, "97124:GP", "90"), *served(2, "97140:GP:59", "40"))
SUBMITTED = file(
    *interchange(
        batch(*(sent(f"{claim}*130***11:B:1*Y*A*Y*Y", *LINES, member=f"M-{claim}") for claim in ("A-1", "A-2", "A-3"))),
        **OURS,
    )
)
TAKEN = file(
    *interchange(
        transaction("999", "AK1*HC*1*005010X222A1", "AK2*837*0001", "IK5*A", "AK9*A*1*1*1"), **THEIRS, clock="1300"
    )
)
JUDGED = file(
    *interchange(
        acknowledged(
            *("HL*2*1*21*1", "NM1*41*2*CLINIC*****46*SUBMITTER", "HL*3*2*19*1", "NM1*85*2*CLINIC*****XX*1234567893"),
            *("HL*4*3*PT", "NM1*QC*1*DOE*JANE****MI*M-A-1", "TRN*2*A-1", "STC*A2:20*20260603*WQ*130", "REF*1K*ICN-1"),
            *("HL*5*3*PT", "NM1*QC*1*DOE*JOHN****MI*M-A-2", "TRN*2*A-2", "STC*A2:20*20260603*WQ*130", "REF*1K*ICN-2"),
            *("HL*6*3*PT", "NM1*QC*1*ROE*RITA****MI*M-A-3", "TRN*2*A-3", "STC*A7:562:85*20260603*U*130"),
        ),
        **THEIRS,
    )
)
PAID = decided(
    "A-1*1*130*88*22*12*ICN-1*11*1",
    *("NM1*QC*1*DOE*JANE****MI*M-A-1", "SVC*HC:97124:GP*90*48**1", "CAS*CO*45*20", "CAS*PR*2*22"),
    "SVC*HC:97140:GP:59*40*40**1",
)
REFUSED = decided(
    "A-2*1*130*0*0*12*ICN-2*11*1",
    *("NM1*QC*1*DOE*JOHN****MI*M-A-2", "SVC*HC:97124:GP*90*0**1", "CAS*CO*50*90", "SVC*HC:97140:GP:59*40*0**1"),
    "CAS*CO*50*40",
)
REMITTED = file(*interchange(remittance(PAID, REFUSED, total="88", decided="20260620", paid_on="20260624"), **THEIRS))
STORY = {"1.837": SUBMITTED, "2.999": TAKEN, "3.277": JUDGED, "4.835": REMITTED}


@pytest.fixture
async def ours(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a clinic in New York, whose topics are there."""
    await kafka.create_topics(settings)
    return settings.model_copy(
        update={"data_dir": tmp_path / "data", "intake_timezone": "America/New_York", "patient_key": KEY}
    )


async def intake(settings: Settings, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `claimpath intake` as a person would."""

    def run() -> subprocess.CompletedProcess[str]:
        words = [str(COMMAND), "intake", *map(str, arguments)]
        return subprocess.run(
            words, env=environment(settings), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )

    ended = await asyncio.to_thread(run)
    assert "Traceback" not in ended.stderr
    return ended


async def claims(settings: Settings) -> dict[str, Any]:
    """Every claim as `claims export` writes it."""
    words = [str(COMMAND), "claims", "export"]
    told = await asyncio.to_thread(subprocess.check_output, words, env=environment(settings), timeout=LIMIT_S)
    return {claim["claim_id"]: claim for claim in map(json.loads, told.splitlines())}


async def metrics(settings: Settings) -> str:
    """What the API shows to Prometheus."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as c,
    ):
        return (await c.get("/metrics")).text


def written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files into a folder."""
    for name, text in files.items():
        (folder / name).write_bytes(text)
    return [folder / name for name in files]


async def test_claims_go_from_submitted_to_decided_by_files_alone(ours: Settings, tmp_path: Path) -> None:
    """An 837, its 999 and 277CA and the 835 take claims to approved, denied and back to draft, with the right times in
    /metrics; the same files again change nothing.
    """
    files = written(tmp_path, STORY)
    log = tmp_path / "tracker.log"
    async with tracker(ours, log) as running:
        done = await intake(ours, *files, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert told["published"] == 3 + 3 + 3 + 2
        assert told["tally"]["findings"] == {}
        await caught_up(ours, log=log)
        before, shown = await claims(ours), await metrics(ours)
        again = await intake(ours, *reversed(files), "--json")
        assert json.loads(again.stdout)["published"] == told["published"]
        await caught_up(ours, log=log)
        assert await claims(ours) == before
        await running.stop()
    found = await outcomes(ours)
    assert (found.accepted, found.duplicate, found.dead_letter) == (11, 11, 0)
    await nothing_differs(ours)

    assert {claim: told["state"] for claim, told in before.items()} == {
        "A-1": "approved",
        "A-2": "denied",
        "A-3": "draft",
    }
    assert before["A-1"]["money"] == {
        "billed": "130.00",
        "allowed": "110.00",
        "paid": "88.00",
        "adjusted": "20.00",
        "patient": "22.00",
        "open": "0.00",
    }
    assert before["A-2"]["denial_reasons"] == ["CO-50"]
    assert before["A-3"]["rejection_reasons"] == ["A7:562:85"]
    assert before["A-1"]["facets"]["acknowledgement"] == "accepted"
    # Sent on June 2 at 11:59 in New York, accepted on the 3rd at 9:30; decided on the 20th, paid on the 24th.
    assert before["A-1"]["durations_s"]["acknowledgement"] == 21 * 3600 + 31 * 60
    assert before["A-1"]["durations_s"]["decision"] == 18 * 86_400
    assert before["A-1"]["durations_s"]["reimbursement"] == 23 * 86_400
    for series in (
        'claimpath_claims{payer="87726",state="approved"} 1.0',
        'claimpath_claims{payer="87726",state="denied"} 1.0',
        'claimpath_duration_seconds_gsum{measure="reimbursement",payer="87726",window="all"} 1.9872e+06',
        'claimpath_denials{payer="87726",reason="CO-50"} 1.0',
    ):
        assert series in shown


async def test_a_rejected_set_brings_its_claims_back_whenever_its_answer_is_read(
    ours: Settings, tmp_path: Path
) -> None:
    """A 999 that refuses a transaction set is told to read the 837 first, then rejects each claim of it by name."""
    refusal = file(
        *interchange(transaction("999", "AK1*HC*1", "AK2*837*0001", "IK3*CLM*8**8", "IK5*R*5", "AK9*R*1*1*0"), **THEIRS)
    )
    submitted, refused = written(tmp_path, {"1.837": SUBMITTED, "2.999": refusal})
    early = await intake(ours, refused, "--json")
    assert early.returncode == 1
    assert "AK102" in early.stderr
    assert "read its 837 first" in early.stderr
    log = tmp_path / "tracker.log"
    async with tracker(ours, log) as running:
        assert (await intake(ours, submitted)).returncode == 0
        assert (await intake(ours, refused)).returncode == 0
        await caught_up(ours, log=log)
        found = await claims(ours)
        await running.stop()
    assert {(each["state"], *each["rejection_reasons"]) for each in found.values()} == {("draft", "999:5")}
    assert len(found) == 3
    assert (ours.data_dir / KEPT_FILE).stat().st_mode & 0o077 == 0, "nobody else reads what was sent"


async def test_a_dry_run_needs_no_server_and_leaves_no_trace(tmp_path: Path) -> None:
    """Without any server the table shows what would be published, `--json` exactly the events, and nothing is kept."""
    nowhere = Settings(kafka="127.0.0.1:1", database_url="postgresql://a:b@127.0.0.1:1/c", data_dir=tmp_path / "data")
    files = written(tmp_path, STORY)
    shown = await intake(nowhere, "--dry-run", *files)
    assert shown.returncode == 0
    assert "11 events would be published" in shown.stdout
    assert [line.split()[1:3] for line in shown.stdout.splitlines()[1:4]] == [[f"A-{n}", "original"] for n in (1, 2, 3)]
    told = await intake(nowhere, *files, "--dry-run", "--json")
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [line["subject"] for line in lines] == ["A-1", "A-2", "A-3"] * 3 + ["A-1", "A-2"]
    assert {line["specversion"] for line in lines} == {"1.0"}
    assert not (tmp_path / "data").exists()
    valid = subprocess.run(
        [str(COMMAND), "events", "validate", "-"], input=told.stdout, capture_output=True, text=True, check=False
    )
    assert (valid.returncode, valid.stdout) == (0, "11 valid, 0 refused\n")


async def test_a_broken_claim_takes_no_other_with_it(ours: Settings, tmp_path: Path) -> None:
    """What cannot be read is told with file, segment and rule and ends in exit code 1; all else is published."""
    broken = REMITTED.replace(b"CAS*CO*50*90", b"CAS*CO*50*9O")
    (path,) = written(tmp_path, {"4.835": broken})
    done = await intake(ours, path, "--json", "--report", tmp_path / "report")
    assert done.returncode == 1
    assert json.loads(done.stdout)["tally"]["events"] == {"approved": 1}
    assert done.stderr.startswith(f"{path}: segment ")
    assert "CAS03: money is digits" in done.stderr
    report = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert [line["what"] for line in report] == ["file", "refused", "remark", "remittance"]
    assert report[3]["balanced"] is False


async def test_what_a_payment_takes_back_is_kept_and_traced(ours: Settings, tmp_path: Path) -> None:
    """`claimpath intake remittances` has every payment that was read, once, and the claim of an earlier payment that a
    provider adjustment names by the payer's number; a dry run keeps none.
    """
    recovery = decided("A-9*1*100*100**12*ICN-9*11*1")
    plb = ("PLB*1234567893*20261231*WO:ICN-1*30*72:UNKNOWN*5",)
    later = file(*interchange(remittance(recovery, total="65", trace="EFT2", decided="20260701", plb=plb), **THEIRS))
    first, second = written(tmp_path, {"1.835": REMITTED, "2.835": later})
    assert (await intake(ours, "--dry-run", second)).returncode == 0
    assert json.loads((await intake(ours, "remittances", "--json")).stdout) == []
    for _ in range(2):
        assert (await intake(ours, first, second)).returncode == 0
    told = json.loads((await intake(ours, "remittances", "--json")).stdout)
    assert [(each["trace"], each["total"], each["balanced"]) for each in told] == [
        ("EFT1", 8800, True),
        ("EFT2", 6500, True),
    ]
    assert [(each["reason"], each["amount"], each["claim_id"]) for each in told[1]["provider_adjustments"]] == [
        ("WO", 3000, "A-1"),
        ("72", 500, None),
    ]
    assert "WO 30.00 A-1" in (await intake(ours, "remittances", "EFT2")).stdout


async def test_a_report_never_takes_the_place_of_a_file(ours: Settings, tmp_path: Path) -> None:
    """Naming a file as its own report is refused before anything is written."""
    (path,) = written(tmp_path, {"4.835": REMITTED})
    done = await intake(ours, "--dry-run", path, "--report", path)
    assert (done.returncode, done.stdout, path.read_bytes()) == (2, "", REMITTED)


@pytest.mark.parametrize("arguments", [["--dry-run", "missing.835"], ["missing.835"], ["--dry-run", "."]])
async def test_a_file_that_is_not_there_is_one_sentence(ours: Settings, arguments: list[str]) -> None:
    """A path that names no file ends with exit code 2 and says so."""
    done = await intake(ours, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


async def test_reasons_are_told_in_our_own_words(ours: Settings) -> None:
    """`claimpath intake reasons` says what an adjustment reason means, and that a code is none of the list."""
    done = await intake(ours, "reasons", "50", "--json")
    assert json.loads(done.stdout)[0]["family"] == "necessity"
    assert len(json.loads((await intake(ours, "reasons", "--json")).stdout)) > 300
    assert (await intake(ours, "reasons", "999")).returncode == 2
