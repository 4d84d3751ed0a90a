"""Flags, exit codes and files of heed-bench: command_test.py PATH_OF_HEED_BENCH."""
import json
import os
import subprocess
import sys
import tempfile

BENCH = sys.argv[1]
ENV = {name: value for name, value in os.environ.items() if not name.startswith("BENCHMARK_")}


def run(*flags, **env):
    return subprocess.run([BENCH, *flags], capture_output=True, text=True, timeout=120,
                          env={**ENV, **env})


def check_refused(*flags, lines=1):
    done = run(*flags)
    assert done.returncode == 2, (flags, done)
    assert done.stdout == "" and len(done.stderr.splitlines()) == lines, (flags, done)


check_refused("--unknown")
check_refused("--filter=decode")
check_refused("--benchmark_unknown=1")
check_refused("decode")
check_refused("--benchmark_filter=no such case")
check_refused("--target", "no such target")
for threads in ("0", "two", "1,x", "4097"):
    check_refused("--threads", threads)
for flag in ("--benchmark_out", "--html"):
    check_refused(flag + "=/no/such/folder/file")
for flag in ("--benchmark_format", "--benchmark_out_format"):
    check_refused(flag + "=xml")
for flag in ("--benchmark_filter=(", "--benchmark_repetitions=many"):
    assert run(flag).returncode != 0, flag
check_refused("compare", "/no/such/file.json", "/no/such/file.json")

usage = run("--help")
assert usage.returncode == 0
for flag in ("--threads", "--quick", "--html", "--benchmark_out", "--benchmark_repetitions"):
    assert flag in usage.stdout, flag
assert run("--version").stdout.startswith("heed-bench ")


def names(*flags):
    done = run("--benchmark_list_tests", *flags)
    assert done.returncode == 0, done
    return done.stdout.split()


default, everything, quick = names(), names("--benchmark_filter=all"), names("--quick")
case = "prefill/heads:4/len:64/dim:32/threads:1/"
assert case + "heed" in default and "feature/" not in " ".join(default)
assert set(quick) < set(default) < set(everything)
for name in ("cache:int4/decode/heads:12/len:4096/dim:64",
             "cache:bf16/values:int8/prefill/heads:32on8/len:1024/dim:128",
             "weights:int4/group:32/1x4096x4096"):
    for library in ("heed", "f32"):  # each beside f32
        assert "feature/" + name + "/threads:1/" + library in everything, name
only = "--benchmark_filter=^" + case + "(heed|unfused)$"
assert names(only) == [case + "heed", case + "unfused"]
# A filter lifts what --quick left out only where nothing quick matches.
decode = names("--quick", "--benchmark_filter=^decode/")
assert decode == [n for n in quick if n.startswith("decode/")] and decode, decode
assert set(decode) < set(names("--benchmark_filter=^decode/"))
for pattern in ("^prefill/heads:12/len:512/", "^feature/cache:int8/decode/"):
    assert names("--quick", "--benchmark_filter=" + pattern) == names(
        "--benchmark_filter=" + pattern), pattern
check_refused("--quick", "--benchmark_filter=no such case")
assert set(names("--benchmark_filter=-heed$")) == {n for n in everything if not n.endswith("heed")}

with tempfile.TemporaryDirectory() as folder:
    path, page = os.path.join(folder, "a.json"), os.path.join(folder, "a.html")
    flags = ["--quick", "--threads", "1", only]
    done = run(*flags, "--benchmark_repetitions=3", "--benchmark_out=" + path, "--html", page)
    assert done.returncode == 0, done
    assert case.split("/")[1] in done.stdout and "unfused" in done.stdout, done.stdout
    with open(path) as file:
        results = json.load(file)
    rows = [row for row in results["benchmarks"] if row["run_type"] == "iteration"]
    assert [row["run_name"].split("/")[-1] for row in rows] == (
        ["heed"] * 3 + ["unfused"] * 3 + ["limit"] * 3), rows
    for row in rows[:6]:
        label = json.loads(row["label"])
        assert label["operation"] == "prefill" and label["bound"] == "flops", label
        assert row["real_time"] > 0 and row["limit_per_second"] > 0
        assert (row["q_len"], row["kv_len"], row["num_heads"], row["head_dim"]) == (64, 64, 4, 32)
        assert row["num_threads"] == 1 and row["flops"] == 4 * 4 * 32 * 64 * 65 / 2
    aggregates = {row["aggregate_name"] for row in results["benchmarks"]
                  if row["run_type"] == "aggregate"}
    assert {"min", "median", "stddev"} <= aggregates, aggregates
    assert results["context"]["heed"] and json.loads(results["context"]["limits"])[0]["flops"] > 0
    with open(page) as file:
        assert case + "unfused" in file.read()
    assert sorted(os.listdir(folder)) == ["a.html", "a.json"]

    compared = run("compare", path, path, "--html", page)
    assert compared.returncode == 0 and "1.00x ~" in compared.stdout, compared
    check_refused("compare", path)
    check_refused("compare", path, page)
    check_refused("compare", path, path, "--benchmark_filter=no such case")
    check_refused("compare", path, path, "--benchmark_filter=(")

    other = os.path.join(folder, "b.csv")
    done = run(*flags, "--benchmark_format=json", "--benchmark_out_format=csv",
               BENCHMARK_OUT=other)
    assert done.returncode == 0, done
    assert {row["name"].split("/")[-1] for row in json.loads(done.stdout)["benchmarks"]
            if row["run_type"] == "iteration"} == {"heed", "unfused", "limit"}
    with open(other) as file:
        assert case + "heed" in file.read()
