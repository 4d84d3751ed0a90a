"""Closing lines, `N passed, N failed, N skipped`: of a test program, of a script, or of all of them
together. tally.sh is the same for shell scripts."""
import dataclasses
import re
import subprocess

CLOSING = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")
# Programs that have doctest's own main. Its "skipped" are those that were not asked for.
DOCTEST = re.compile(r"\[doctest\] test cases: +\d+ \| +(\d+) passed \| +(\d+) failed")


@dataclasses.dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def exit_code(self):
        """Nothing that ran is no success."""
        return 0 if self.passed > 0 and self.failed == 0 else 1

    def ended(self, well):
        """The same, given how the program ended: badly without a failed test counts as one."""
        return self if well or self.failed > 0 else self + Tally(failed=1)


def of_line(line):
    """What a closing line says, or None if it isn't one."""
    found = CLOSING.fullmatch(line.rstrip("\n"))
    return Tally(*(int(number or 0) for number in found.groups())) if found else None


def of_output(output, well):
    """What a test program's output says; one that does not count counts as one."""
    closing = [tally for tally in map(of_line, output.splitlines()) if tally]
    closing = closing or [Tally(int(passed), int(failed)) for passed, failed in DOCTEST.findall(output)]
    return closing[-1].ended(well) if closing else Tally(passed=int(well), failed=int(not well))


def of_run(command, **options):
    """Runs a script, shows what it prints, and returns what its last line says."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, **options)
    last = ""
    for last in process.stdout:
        print(last, end="", flush=True)
    return (of_line(last) or Tally(failed=1)).ended(process.wait() == 0)
