"""readme_test.py HEED: each line of the README that calls build/tools/heed works as it stands there,
and its pieces of C and C++ stand in the examples, which the tests build and run.

The lines run word by word in a folder that has what they name; the files that they say they write
are there afterwards. Between them they call each of heed's commands for more than its options.
"""
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WRITTEN = "--svg", "--output"


def lines_of(page):
    """Every indented line that calls heed, with the lines it goes on in and without its remark."""
    joined = re.sub(r" \\\n +", " ", page)
    found = re.findall(r"^    (build/tools/heed .*)$", joined, re.M)
    return [re.sub(r"  +# .*", "", line) for line in found]


def fault(line, folder):
    """What is wrong with a line; empty: nothing."""
    done = subprocess.run(["bash", "-c", line], cwd=folder, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        return f"it ends with {done.returncode}: {done.stderr.strip()}"
    if not done.stdout.strip():
        return "it prints nothing"
    words = shlex.split(line)
    missing = [name for option, name in zip(words, words[1:])
               if option in WRITTEN and not ((folder / name).is_file() and
                                             (folder / name).stat().st_size)]
    return f"it leaves no {missing[0]}" if missing else ""


def not_in_example(page, language, example):
    """What is wrong with the README's piece of code."""
    pieces = re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)
    if len(pieces) != 1:
        return f"there are {len(pieces)} pieces of {language}, there must be one"
    wanted = re.sub(r"^(?=.)", "  ", pieces[0], flags=re.M)
    if wanted not in (ROOT / "examples" / example).read_text(encoding="utf-8"):
        return f"its {language} is not in examples/{example}"
    return ""


def main():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = lines_of(page)
    commands = [line.split()[1:3] for line in lines]
    failed = [f"no line calls heed {name}" for name in ("info", "check", "run", "show")
              if not any(command[0] == name and command[1:] != ["--help"] for command in commands)]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "build/tools").mkdir(parents=True)
        (folder / "build/tools/heed").symlink_to(pathlib.Path(sys.argv[1]).resolve())
        for shown in "examples", "test":
            (folder / shown).symlink_to(ROOT / shown)
        failed += [f"{line}\n  {what}" for line in lines if (what := fault(line, folder))]
    pieces = ("cpp", "attention.cc"), ("c", "attention.c")
    failed += [what for piece in pieces if (what := not_in_example(page, *piece))]
    checks = len(lines) + len(pieces)
    for what in failed:
        print("FAILED:", what)
    print(f"{checks - min(len(failed), checks)} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
