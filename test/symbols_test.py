#!/usr/bin/env python3
"""symbols_test.py NM OBJDUMP ARCHIVE [SYMBOL_PREFIX]: what a host's linker meets in libheed.a.

Prints `N passed, N failed, N skipped`.
"""
import pathlib
import re
import subprocess
import sys

# What heed may ask of the system it runs on: the C library (memory, and Linux's files that say what the
# process may use) and the OpenMP runtime. snprintf, of which a compiler may make strcpy, writes messages
# into memory; it opens and prints nothing.
ALLOWED = r"""
  _GLOBAL_OFFSET_TABLE_ __tls_get_addr __stack_chk_fail __stack_chk_guard
  mem(cpy|move|set|cmp|chr) bcmp str(len|cpy|cmp|ncmp|chr|rchr|str|toull|toul) __isoc23_strtoull? v?snprintf __v?snprintf_chk
  malloc calloc realloc free posix_memalign aligned_alloc madvise
  getrlimit(64)? get(e)?uid sysconf sched_getaffinity getauxval __errno_location
  open(64)? close read opendir readdir(64)? closedir fork pthread_atfork __register_atfork __dso_handle
  omp_\w+ GOMP_\w+ __kmpc_\w+
  __(trunc|extend|fix|fixuns|float|floatun|mul|div|udiv|mod|umod|ashl|lshr|ashr|cmp|ucmp|clz|ctz|popcount|bswap)(hf|sf|df|tf|si|di|ti)\w*
  __aarch64_\w+
""".split()
# Nothing of these has a place in a library that lives in other people's programs.
FORBIDDEN = {
    "of the C++ runtime": r"_Z[nd][lwa].*|_ZS.*|_ZNS?K?[ts].*|__cxa_.*|__gxx_.*|_Unwind_.*|_ZT[ISV].*|__dynamic_cast",
    "that prints": r"(__)?(v?f?printf|puts|fputs|putc|putchar|fputc|fwrite|perror|write|stdout|stderr)(_chk)?|_ZSt4c(out|err)",
    "that ends the process": r"abort|_?exit|_Exit|raise|kill|__assert_fail|terminate",
}


def symbols(nm, archive, *options):
    lines = subprocess.run([nm, "--no-sort", *options, archive], check=True, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
    return [line.split() for line in lines if re.match(r"^[0-9a-f]* +[A-Za-z] ", line)]


def main():
    nm, objdump, archive = sys.argv[1:4]
    prefix = "".join(sys.argv[4:5])
    headers = pathlib.Path(__file__).resolve().parent.parent / "include" / "heed" / "c"
    renamed = set(re.findall(r"^#define (heed_\w+) HEED_C_NAME\(\1\)$", (headers / "names.h").read_text(), re.M))
    defined = {line[-1] for line in symbols(nm, archive, "--defined-only", "--extern-only")}
    undefined = {line[-1] for line in symbols(nm, archive, "--undefined-only")} - defined
    sections = subprocess.run([objdump, "-h", archive], check=True, stdout=subprocess.PIPE, text=True).stdout
    results = {}

    # Mangled: heed::v1::NAME, also as a template's argument of a function of heed's, or heed_NAME.
    ours = "_ZZ?N[KVRO]*4heed2v1|_ZT[VC]N4heed2v1|_ZGV?N4heed2v1|" + re.escape(prefix) + "heed_"
    foreign = {name for name in defined if not re.match(ours, name)}
    results["it defines nothing but heed_* and heed::v1"] = foreign if len(defined) > 50 else {"nothing is defined"}
    in_c = {name[len(prefix):] for name in defined if name.startswith(prefix + "heed_")}
    results["c/names.h renames every function of the C interface and no other"] = in_c ^ renamed
    for what, pattern in FORBIDDEN.items():
        results[f"it needs nothing {what}"] = {name for name in undefined if re.fullmatch(pattern, name)}
    known = "|".join(ALLOWED)
    results["it needs nothing else but what is known here"] = {
        name for name in undefined if not re.fullmatch(known, name)
        and not any(re.fullmatch(pattern, name) for pattern in FORBIDDEN.values())}
    results["nothing of it runs before main"] = set(re.findall(r"\.(?:init_array|ctors|preinit_array)\S*", sections))
    results["it has no tables for exceptions"] = set(re.findall(r"\.gcc_except_table\S*", sections))

    failed = 0
    for name, wrong in results.items():
        if wrong:
            failed += 1
            print(f"FAILED: {name}: {', '.join(sorted(wrong))}")
    print(f"{len(results) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
