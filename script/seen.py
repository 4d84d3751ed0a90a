"""What heed-bits printed on an instruction set, judged and kept. tools/conformance/targets.txt is the record of it."""
import dataclasses
import hashlib
import re

import tally
from targets import ROOT

RECORD = ROOT / "tools" / "conformance" / "targets.txt"
GROUP = re.compile(r"^  (\S.*?) +([0-9a-f]{16})(  FAILED.*)?$", re.M)
HEADING = "# Written by script/test-target NAME --record; only what passed is here.\n"


@dataclasses.dataclass
class Result:
    target: str  # of script/test-target
    instruction_set: str
    bits: int = 0  # of a vector
    family: str = ""
    digest: str = ""  # of all groups
    passed: int = 0
    failed: int = 0
    differs: str = ""  # groups that differed and had to
    cpu: str = ""  # the emulated one
    compiler: str = ""
    runner: str = ""
    corpus: str = ""  # what the digests were compared with


def corpus():
    """A few digits for all digests in tools/conformance/record.h: older results say nothing about others."""
    digests = re.findall(r"0x\w+", (ROOT / "tools" / "conformance" / "record.h").read_text())
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:8]


def judge(output, differs, **known):
    """The result of one run of heed-bits on one instruction set, all of its output given."""
    result = Result(**known, corpus=corpus())
    heading = re.search(r"^(\w+), family (\S+), vectors of (\d+) bits$", output, re.M)
    totals = tally.of_line((output.splitlines() or [""])[-1])
    if not heading or heading[1] != result.instruction_set or totals is None:
        result.failed = 1  # it refused, or did not come to its end
        return result
    result.family, result.bits = heading[2], int(heading[3])
    different = []
    for name, digest, failure in GROUP.findall(output):
        if name == "all":
            result.digest = digest
        elif name in differs:
            different.append(name)
            result.failed += not failure
        elif failure:
            result.failed += 1
        else:
            result.passed += 1
    result.differs = ", ".join(different)
    # Nothing was overlooked: it counts the same itself.
    if result.passed + result.failed + len(different) != totals.passed + totals.failed:
        result.failed += 1
    return result


def line(result):
    differs = f", {result.differs} must differ" if result.differs else ""
    return (f"{result.target:<14} {result.instruction_set:<16} {result.bits:>4} bits  {result.family:<12} "
            f"{result.digest:<16}  {result.passed} passed, {result.failed} failed{differs}")


def write(path, results):
    path.write_text("".join("\t".join(str(value) for value in dataclasses.astuple(result)) + "\n"
                            for result in results))


def read(path):
    if not path.exists():
        return []
    rows = [row.split("\t") for row in path.read_text().splitlines() if not row.startswith("#")]
    types = [field.type for field in dataclasses.fields(Result)]
    return [Result(*(kind(value) for kind, value in zip(types, row))) for row in rows]


def record(target, results):
    """Replaces the target's part of the record: what failed is then no longer in it."""
    passed = [result for result in results if result.failed == 0]
    kept = [result for result in read(RECORD) if result.target != target]
    write(RECORD, sorted(kept + passed, key=lambda result: result.target))
    RECORD.write_text(HEADING + RECORD.read_text())
