"""version_test.py ROOT: the version has one value, wherever builds and packages write it down."""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])


def found(path, pattern):
    match = re.search(pattern, (ROOT / path).read_text(), re.M)
    assert match, f"{path}: no version"
    return match[1]


header = ".".join(found("include/heed/version.h", rf"^#define HEED_VERSION_{part} (\d+)$")
                  for part in ("MAJOR", "MINOR", "PATCH"))
series = header.rsplit(".", 1)[0] if header.startswith("0.") else header.split(".")[0]
written = {
    "meson.build": found("meson.build", r"^project\('heed', .*version: '([\d.]+)'"),
    # These read it in meson.build, by these expressions.
    "CMakeLists.txt": found("meson.build", found("CMakeLists.txt", r'REGEX MATCH "(version: .*?)"')),
    "packaging/conan/conanfile.py": found("meson.build", found("packaging/conan/conanfile.py", r'r"(version: .*?)"')),
    "packaging/vcpkg/heed/vcpkg.json": json.loads((ROOT / "packaging/vcpkg/heed/vcpkg.json").read_text())["version"],
    "debian/changelog": found("debian/changelog", r"^heed \(([\d.]+)(?:-\d+)?\)"),
}
wrong = {path: version for path, version in written.items() if version != header}
assert not wrong, f"include/heed/version.h has {header}, but {wrong}"
# What names the series: the soname is Meson's and CMake's own, these are not.
for path, pattern in (("debian/control", r"^Package: libheed([\d.]+)$"),
                      ("docs/building.md", r"find_package\(heed ([\d.]+) REQUIRED\)"),
                      ("README.md", r"find_package\(heed ([\d.]+) REQUIRED\)")):
    assert found(path, pattern) == series, f"{path}: has {found(path, pattern)}, the series is {series}"
print("3 passed, 0 failed, 0 skipped")
