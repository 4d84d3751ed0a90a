"""ffi_test.py LIBRARY HEADERS: calls heed through ctypes, by nothing but what heed.h declares.

Any language that calls C has to write the structs and functions down as this script does, from the
text of the headers: fixed types, no macros, no bit fields, nothing passed by value but numbers and
pointers."""
import ctypes
import pathlib
import re
import struct
import sys

NUMBERS = {"size_t": ctypes.c_size_t, "ptrdiff_t": ctypes.c_ssize_t, "int32_t": ctypes.c_int32,
           "uint64_t": ctypes.c_uint64, "float": ctypes.c_float, "double": ctypes.c_double,
           "bool": ctypes.c_bool, "char": ctypes.c_char}


class Headers:
    """The types, constants and functions of heed.h and what it includes."""

    def __init__(self, folder):
        self.types, self.constants, self.functions, self.read = dict(NUMBERS), {}, {}, set()
        self.folder = folder
        self.include("heed/heed.h")

    def include(self, name):
        if name in self.read or name == "heed/export.h":
            return
        self.read.add(name)
        text = (self.folder / name).read_text()
        for inner in re.findall(r'^#include "(heed/.*?)"', text, re.M):
            self.include(inner)
        text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.S)
        text = re.sub(r"//.*|^#.*", "", text, flags=re.M)
        self.declare(text)

    def declare(self, text):
        for statement in re.findall(r"\s*((?:[^;{]|\{[^}]*\})+);", text):
            words = " ".join(statement.split())
            if found := re.fullmatch(r"enum \{(.*)\}", words):
                for name, value in re.findall(r"(\w+) = (\d+)", found[1]):
                    self.constants[name] = int(value)
            elif found := re.fullmatch(r"typedef struct (\w+) \{(.*)\} \1", words):
                fields = [self.field(f) for f in found[2].split(";") if f.strip()]
                self.types[found[1]] = type(found[1], (ctypes.Structure,), {"_fields_": fields})
            elif found := re.fullmatch(r"typedef struct (\w+) \1", words):
                self.types[found[1]] = type(found[1], (ctypes.Structure,), {})  # a handle
            elif found := re.fullmatch(r"typedef (\w+) (\w+)", words):
                self.types[found[2]] = self.types[found[1]]
            elif found := re.fullmatch(r"HEED_API (.*?)(\w+)\((.*)\)", words):
                arguments = [] if found[3] == "void" else found[3].split(",")
                self.functions[found[2]] = (
                    self.type(found[1]), [self.type(re.sub(r"\w+$", "", a)) for a in arguments])
            elif words:
                raise ValueError(f"not understood: {words}")

    def type(self, words):
        name, stars = re.fullmatch(r"(?:const )?(\w+)\s*([* ]*)", words.strip()).groups()
        depth = stars.count("*")
        if name in ("void", "char") and depth > 0:
            result = ctypes.c_void_p if name == "void" else ctypes.c_char_p
            depth -= 1
        else:
            result = None if name == "void" else self.types[name]
        for _ in range(depth):
            result = ctypes.POINTER(result)
        return result

    def field(self, words):
        if found := re.search(r"\(\*(\w+)\)", words):
            return found[1], ctypes.c_void_p  # a function
        kind, name, length = re.fullmatch(r"(.*?)(\w+)(?:\[(\d+)\])?", words.strip()).groups()
        result = self.type(kind)
        return name, result * int(length) if length else result


class Heed:
    def __init__(self, library, headers):
        self.headers = headers
        self.types, self.constants = headers.types, headers.constants
        loaded = ctypes.CDLL(library)
        for name, (result, arguments) in headers.functions.items():
            function = getattr(loaded, name)  # fails where the library lacks one
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def tensor(self, array, *sizes):
        made = self.types["heed_tensor"]()
        self.heed_tensor_contiguous(ctypes.byref(made), ctypes.cast(array, ctypes.c_void_p),
                                    self.constants["HEED_DTYPE_F32"], len(sizes),
                                    (ctypes.c_size_t * len(sizes))(*sizes))
        return made


def attends(heed):
    """The example of the README, and its numbers."""
    error = heed.types["heed_error"]()
    context = ctypes.POINTER(heed.types["heed_context"])()
    assert heed.heed_context_create(None, ctypes.byref(context), ctypes.byref(error)) == 0
    q = (ctypes.c_float * 4)(1, 0, 0, 1)
    k = (ctypes.c_float * 6)(1, 0, 0, 1, 1, 1)
    v = (ctypes.c_float * 9)(1, 2, 3, 4, 5, 6, 7, 8, 9)
    out = (ctypes.c_float * 6)()
    options = heed.types["heed_attention_options"]()
    heed.heed_attention_options_init(ctypes.byref(options), ctypes.sizeof(options))
    options.causal = True
    tensors = [heed.tensor(q, 2, 1, 2), heed.tensor(k, 3, 1, 2), heed.tensor(v, 3, 1, 3),
               heed.tensor(out, 2, 1, 3)]
    status = heed.heed_attention(*tensors, options, context, error)
    assert status == 0, error.message
    assert [f"{x:.4f}" for x in out] == ["1.9907", "2.9907", "3.9907", "4.6100", "5.6100", "6.6100"]
    heed.heed_context_destroy(context)


def refuses(heed):
    error = heed.types["heed_error"]()
    status = heed.heed_convert(None, None, None, error)
    assert status == heed.constants["HEED_INVALID_ARGUMENT"]
    assert error.message == b"context: is null", error.message
    assert heed.heed_status_name(status) == b"invalid argument"


def has_c_sizes(heed):
    """The library reads structs as ctypes lays them out: set the last field, and read it back."""
    config = heed.types["heed_kv_cache_config"]()
    heed.heed_kv_cache_config_init(config, ctypes.sizeof(config))
    config.num_kv_heads, config.head_dim, config.capacity, config.v_head_dim = 1, 32, 8, 16
    config.values_in_keys = True
    cache = ctypes.POINTER(heed.types["heed_kv_cache"])()
    error = heed.types["heed_error"]()
    assert heed.heed_kv_cache_create(config, None, ctypes.byref(cache), error) == 0, error.message
    read = heed.types["heed_kv_cache_config"]()
    heed.heed_kv_cache_config_init(read, ctypes.sizeof(read))
    assert heed.heed_kv_cache_get_config(cache, read, error) == 0, error.message
    for name, _ in config._fields_:
        assert getattr(read, name) == getattr(config, name), name
    heed.heed_kv_cache_destroy(cache)


def structs_of_options_grow(heed):
    """All that have an init function begin with their size, in the caller's size of a pointer."""
    inits = [name[:-len("_init")] for name in heed.headers.functions if name.endswith("_init")]
    assert len(inits) >= 18, inits
    for name in inits:
        made = heed.types[name]()
        getattr(heed, name + "_init")(made, ctypes.sizeof(made))
        assert made._fields_[0][0] == "struct_size", name
        assert made.struct_size == ctypes.sizeof(made), name
        assert struct.unpack_from("N", bytes(made))[0] == ctypes.sizeof(made), name


def structs_grow_at_their_end(heed, record):
    """A field that was added since a release begins where the struct of then ended, or behind: in the padding at its
    end it would be read from what older programs leave there."""
    lines = [line.split() for line in record.read_text().splitlines() if not line.startswith("#")]
    recorded = {name for _, name, _, _ in lines}
    inits = {name[:-len("_init")] for name in heed.headers.functions if name.endswith("_init")}
    assert recorded == inits, recorded ^ inits
    for release, name, size, last in lines:
        kind = heed.types[name]
        fields = [field for field, _ in kind._fields_]
        assert last in fields, f"{name} of {release}: no {last} any more"
        end = getattr(kind, last).offset + getattr(kind, last).size
        assert end <= int(size) <= ctypes.sizeof(kind), f"{name} of {release}: {last} has moved"
        for field in fields[fields.index(last) + 1:]:
            assert getattr(kind, field).offset >= int(size), f"{name}: {field} lies in the padding of {release}"


def main():
    heed = Heed(sys.argv[1], Headers(pathlib.Path(sys.argv[2])))
    passed = failed = 0
    tests = [attends, refuses, has_c_sizes, structs_of_options_grow]
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        record = pathlib.Path(__file__).parent / "struct_sizes.txt"
        tests.append(lambda heed: structs_grow_at_their_end(heed, record))
    for test in tests:
        try:
            test(heed)
            passed += 1
        except AssertionError as error:
            print(f"{getattr(test, '__name__', test)}: {error!r}")
            failed += 1
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


sys.exit(main())
