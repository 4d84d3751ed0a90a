"""The processors that heed's promise of the same bits is tried on: what script/test-target builds for each,
and what it is run by."""
import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EMULATORS = ROOT / "build-emulators"


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def script(name, *arguments):
    """Runs one of our scripts; ends this one where that fails, after it has said why."""
    if subprocess.run([ROOT / "script" / name, *arguments], stdout=sys.stderr).returncode != 0:
        sys.exit(f"script/{name} failed")


class Native:
    def install(self):
        pass

    def command(self, program, cpu):
        return [program]

    def version(self):
        model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
        return model[1].strip() if model else "this CPU"


@dataclasses.dataclass
class Qemu:
    """QEMU's user mode: Debian 12's (7.2) aborts on RVV code and hides Z15."""
    machine: str

    def program(self):
        return EMULATORS / "qemu" / "usr" / "bin" / f"qemu-{self.machine}"

    def install(self):
        script("debian-fetch", "trixie", EMULATORS / "qemu", "qemu-user")

    def command(self, program, cpu):
        return [self.program(), "-cpu", cpu, program]

    def version(self):
        return "QEMU " + re.search(r"version ([\d.]+)", output_of(self.program(), "--version"))[1]


class Bochs:
    def install(self):
        script("bochs/run", "--install")

    def command(self, program, cpu):
        return [ROOT / "script" / "bochs" / "run", program]

    def version(self):
        fetched = (EMULATORS / "bochs" / "fetched").read_text()
        return "Bochs " + re.search(r"^bochs\t([\d.]+)", fetched, re.M)[1]


class Node:
    def install(self):
        # Any Node.js will do, and some are not a Debian package.
        if shutil.which("node") is None:
            script("install-packages", "nodejs")

    def command(self, program, cpu):
        return ["node", ROOT / "script" / "wasm" / "node.mjs", program]

    def version(self):
        return "Node.js " + output_of("node", "--version").strip().lstrip("v")


class Chromium:
    def install(self):
        script("install-packages", "chromium-headless-shell")

    def command(self, program, cpu):
        return [ROOT / "script" / "wasm" / "in-chromium", program]

    def version(self):
        printed = output_of("chromium-headless-shell", "--version")
        return "Chromium " + re.search(r"\d+(\.\d+)?", printed)[0]


@dataclasses.dataclass
class Run:
    """heed-bits on some instruction sets of one emulated processor."""
    cpu: str
    instruction_sets: tuple
    quick: tuple = ()  # those of them that --quick runs


@dataclasses.dataclass
class Tests:
    """All tests but heed-bits, with their short tables, on one emulated processor."""
    cpu: str
    quick: bool = False  # --quick runs them too
    sources: str = ""  # of heed-test: the cases of these files alone, in doctest's pattern; empty: all tests


@dataclasses.dataclass
class Target:
    title: str
    runner: object
    runs: tuple
    packages: tuple = ()  # compilers, of the machine's own release
    cross: str = ""  # the file in meson/cross, and the ending of the build folder; empty: build/
    options: tuple = ()  # for Meson
    tests: tuple = ()
    differs: tuple = ()  # groups that must differ, and docs/verification.md says why


AVX3 = ("AVX3_DL", "AVX3")
CLANG = ("clang-19", "lld-19")
# OpenMP's library comes with clang for the building machine alone.
WITHOUT_OPENMP = ("-Dopenmp=disabled",)
WASM = dict(
    cross="wasm", options=WITHOUT_OPENMP, runs=(Run("", ("WASM",), quick=("WASM",)),),
    packages=(*CLANG, "llvm-19", "wasi-libc", "libclang-rt-19-dev-wasm32", "libc++-19-dev-wasm32",
              "libc++abi-19-dev-wasm32"))


def sve(size, *more, quick=()):
    """SVE with vectors of `size` bytes."""
    return Run(f"max,sve-default-vector-length={size}", ("SVE2", "SVE", *more), quick)


def rvv(bits, quick=()):
    return Run(f"rv64,v=true,vext_spec=v1.0,elen=64,vlen={bits}", ("RVV",), quick)


TARGETS = {
    "native": Target("x86-64", Native(), ()),
    "avx512": Target(
        "x86-64 with AVX-512", Bochs(), cross="x86_64",
        runs=(Run("sapphire_rapids", AVX3, quick=AVX3),)),
    "x86-baseline": Target(
        "x86-64, older", Qemu("x86_64"), cross="x86_64",
        runs=(Run("qemu64", ("SSE2",)), Run("Westmere", ("SSE4",)), Run("Haswell", ("AVX2",)))),
    "aarch64": Target(
        "aarch64", Qemu("aarch64"), cross="aarch64", packages=("g++-aarch64-linux-gnu",),
        runs=(Run("max,sve=off", ("NEON_WITHOUT_AES",), quick=("NEON_WITHOUT_AES",)),
              sve(16, "SVE2_128", quick=("SVE2_128",)), sve(32, "SVE_256", quick=("SVE_256",)),
              sve(64, quick=("SVE2",)), sve(128), sve(256)),
        # QEMU computes SVE beyond 128 bits ten times slower: an hour for all tests.
        tests=(Tests("max,sve=off", quick=True), Tests(sve(16).cpu),
               Tests(sve(32).cpu, sources="*guard_page*"))),
    "aarch64-clang": Target(
        "aarch64, clang", Qemu("aarch64"), cross="aarch64-clang", options=WITHOUT_OPENMP,
        packages=(*CLANG, "g++-aarch64-linux-gnu"),
        runs=(Run("max,sve=off", ("NEON_WITHOUT_AES",)),)),
    "riscv64": Target(
        "RISC-V", Qemu("riscv64"), cross="riscv64", options=WITHOUT_OPENMP,
        packages=(*CLANG, "g++-riscv64-linux-gnu"),
        runs=(rvv(128, quick=("RVV",)), rvv(256), rvv(512, quick=("RVV",)), rvv(1024))),
    "ppc64le": Target(
        "POWER, little endian", Qemu("ppc64le"), cross="ppc64le", packages=("g++-powerpc64le-linux-gnu",),
        runs=(Run("power8", ("PPC8",)), Run("power9", ("PPC9",)), Run("power10", ("PPC10",)))),
    "s390x": Target(
        "IBM Z, big endian", Qemu("s390x"), cross="s390x", packages=("g++-s390x-linux-gnu",),
        runs=(Run("max", ("Z15", "Z14")),)),
    "armv7": Target(
        "32-bit Arm", Qemu("arm"), cross="armv7", packages=("g++-arm-linux-gnueabihf",),
        runs=(Run("max", ("NEON_WITHOUT_AES",)), Run("cortex-a15", ("NEON_WITHOUT_AES",))),
        differs=("subnormals",)),
    "wasm": Target("WebAssembly", Node(), **WASM),
    "wasm-browser": Target("WebAssembly in a browser", Chromium(), **WASM),
}


def build_folder(name):
    cross = TARGETS[name].cross
    return ROOT / (f"build-{cross}" if cross else "build")
