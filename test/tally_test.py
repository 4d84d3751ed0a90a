"""tally_test.py HEED_TEST: what script/tally.py and tally.sh make of closing lines, and that a case which is
skipped is counted so all the way from heed-test."""
import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "script"
sys.path.insert(0, str(SCRIPT))
import tally
from tally import Tally

DOCTEST = "[doctest] test cases:  7 |  5 passed | 2 failed | 9 skipped\n"
OUTPUTS = [  # (output, whether the program ended well, its tally)
    ("3 passed, 0 failed\n", True, Tally(3)),
    ("3 passed, 0 failed, 2 skipped\n", True, Tally(3, 0, 2)),
    ("3 passed, 1 failed, 2 skipped\n", False, Tally(3, 1, 2)),
    ("3 passed, 0 failed, 2 skipped\nSegmentation fault\n", False, Tally(3, 1, 2)),
    ("1 passed, 0 failed\n2 passed, 0 failed\n", True, Tally(2)),
    (DOCTEST, False, Tally(5, 2)),
    (DOCTEST + "4 passed, 2 failed, 1 skipped\n", False, Tally(4, 2, 1)),
    ("it had 3 passed, 0 failed\n3 passed, 0 failed in all\n", True, Tally(1)),
    ("", True, Tally(1)),
    ("", False, Tally(0, 1)),
]
SHELL = f"""set -o pipefail
. {SCRIPT}/tally.sh
tally echo '3 passed, 0 failed'
tally echo '4 passed, 1 failed, 2 skipped'
tally sh -c "echo '0 passed, 0 failed, 5 skipped'; exit 3"
tally echo 'all went well'
conclude
"""


def check(got, want):
    """Whether these are equal; says so where they are not."""
    if got != want:
        print(f"FAILED: got {got}, want {want}")
    return got == want


def heed_test(program, case):
    """What heed-test says in the end, and its exit code, of one case with short tables."""
    run = subprocess.run([program, f"-tc={case}"], stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "HEED_TEST_QUICK": "1"})
    return run.stdout.splitlines()[-1], run.returncode


def main():
    results = [check(tally.of_output(output, well), want) for output, well, want in OUTPUTS]
    results.append(check((Tally(1, 0, 2) + Tally(3)).exit_code(), 0))
    results.append(check(Tally(0, 0, 2).exit_code(), 1))
    shell = subprocess.run(["bash", "-c", SHELL], stdout=subprocess.PIPE, text=True)
    results.append(check(shell.stdout.splitlines()[-1], "7 passed, 3 failed, 7 skipped"))
    results.append(check(shell.returncode, 1))
    results.append(check(heed_test(sys.argv[1], "recording anew*"), ("0 passed, 0 failed, 1 skipped", 0)))
    results.append(check(heed_test(sys.argv[1], "a refused problem fails its group"),
                         ("1 passed, 0 failed, 0 skipped", 0)))
    print(Tally(sum(results), len(results) - sum(results)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
