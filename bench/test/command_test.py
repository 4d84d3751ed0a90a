"""Flags, exit codes and files of heed-bench: command_test.py PATH_OF_HEED_BENCH."""
import json
import os
import subprocess
import sys
import tempfile

BENCH = sys.argv[1]


def run(*flags):
    return subprocess.run([BENCH, *flags], capture_output=True, text=True, timeout=120)


def check_refused(*flags):
    done = run(*flags)
    assert done.returncode == 2, (flags, done)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1, (flags, done)


check_refused("--unknown")
check_refused("--filter", "(")
check_refused("--filter", "no such case")
check_refused("--target", "no such target")
for threads in ("0", "two", "1,x", "4097"):
    check_refused("--threads", threads)
for flag in ("--json", "--html"):
    check_refused(flag, "/no/such/folder/file")
check_refused("compare", "/no/such/file.json")

assert run("--help").returncode == 0
assert run("--version").stdout.startswith("heed-bench ")
default, everything = run("--list"), run("--list", "--filter", ".")
assert default.returncode == 0 and "prefill/heads:12/len:1024/dim:64/threads:1/heed" in default.stdout
assert "feature/" in everything.stdout and "feature/" not in default.stdout
assert set(run("--list", "--quick").stdout.split()) < set(default.stdout.split())

with tempfile.TemporaryDirectory() as folder:
    path, page = os.path.join(folder, "a.json"), os.path.join(folder, "a.html")
    case = "prefill/heads:4/len:64/dim:32/threads:1/"
    done = run("--quick", "--threads", "1", "--filter", "^" + case + "(heed|unfused)$",
               "--json", path, "--html", page)
    assert done.returncode == 0, done
    with open(path) as file:
        results = json.load(file)
    names = {entry["name"] for entry in results["benchmarks"]}
    assert names == {case + "heed", case + "unfused"}, names
    assert all(entry["seconds"] > 0 for entry in results["benchmarks"])
    assert sorted(os.listdir(folder)) == ["a.html", "a.json"]
    assert run("compare", path, path).returncode == 0
