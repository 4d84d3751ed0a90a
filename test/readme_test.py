"""readme_test.py HEED: each line of the README that calls build/tools/heed works as it stands there.

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


def main():
    lines = lines_of((ROOT / "README.md").read_text(encoding="utf-8"))
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
    for what in failed:
        print("FAILED:", what)
    print(f"{len(lines) - min(len(failed), len(lines))} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
