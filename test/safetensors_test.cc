// Reading safetensors files that nobody vouches for, and writing them whole or not at all.
#include "tools/checkpoint/safetensors.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "test/support/model_files.h"
#include "tools/text.h"

namespace heed::test {
namespace {

using tools::Safetensors;

// A file of a header and `data_bytes` bytes 0, 1, 2 ... `length`: what the file says of its
// header's length.
std::vector<unsigned char> File(const std::string& header, size_t data_bytes, uint64_t length) {
  std::vector<unsigned char> file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<unsigned char>(length >> (8 * i)));
  file.insert(file.end(), header.begin(), header.end());
  for (size_t i = 0; i < data_bytes; ++i) file.push_back(static_cast<unsigned char>(i));
  return file;
}
std::vector<unsigned char> File(const std::string& header, size_t data_bytes) {
  return File(header, data_bytes, header.size());
}

Safetensors Parsed(std::vector<unsigned char> file) {
  Result<Safetensors> result = Safetensors::parse(std::move(file), "test");
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  return std::move(*result);
}

// One tensor "t".
std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

TEST_CASE("a hostile safetensors file is refused in one sentence that says what is wrong") {
  const std::string good = Entry("F32", "[2]", "[0,8]");
  const std::string two = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":)";
  struct Case {
    std::vector<unsigned char> file;
    const char* sentence;
  };
  const Case cases[] = {
      {{}, "it has 0 bytes"},
      {{1, 2, 3}, "it has 3 bytes"},
      {File("", 0), "not valid JSON"},
      {File(good, 8, uint64_t{1} << 63), "should have 9223372036854775808 bytes"},
      {File(good, 8, UINT64_MAX), "should have 18446744073709551615 bytes"},
      {File(good, 0, good.size() + 1), "cut off"},
      {File(std::string(10, ' '), 0), "not valid JSON"},
      {File("[1, 2]", 0), "not an object"},
      {File("7", 0), "not an object"},
      {File(" " + good, 8), "not an object"},  // the format wants '{' first
      {File(good + "x", 8), "not valid JSON"},
      {File(good.substr(0, 20), 8), "not valid JSON"},
      {File("{\"\xff\xfe\":1}", 0), "not valid JSON"},
      {File(R"({"a":1,"a":2})", 0), "the key 'a' twice"},
      {File(R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
       "the key 'dtype' twice"},
      {File("{\"a\":" + std::string(100000, '['), 0), "nested deeper than 32"},
      {File(R"({"t":3})", 0), "tensor 't' is not described by an object"},
      {File(R"({"t":{}})", 0), "has no dtype"},
      {File(R"({"t":{"dtype":4}})", 0), "has no dtype"},
      {File(R"({"t":{"dtype":"F32"}})", 0), "has no shape"},
      {File(R"({"t":{"dtype":"F32","shape":[]}})", 0), "has no pair of data_offsets"},
      {File(Entry("F32", "[2]", "[0]"), 8), "has no pair of data_offsets"},
      {File(Entry("F32", "[2]", "[0,-8]"), 8), "has no pair of data_offsets"},
      {File(Entry("F32", "[-2]", "[0,8]"), 8), "not a whole number"},
      {File(Entry("F32", "[2.0]", "[0,8]"), 8), "not a whole number"},
      {File(Entry("F32", "[99999999999999999999]", "[0,8]"), 8), "not a whole number"},
      {File(Entry("F32", "[4294967296,4294967296]", "[0,8]"), 8), "product overflows"},
      {File(Entry("F32", "[4611686018427387906]", "[0,8]"), 8), "product overflows"},  // in bytes
      // A size of 0 hides nothing: views have strides.
      {File(Entry("F32", "[0,9223372036854775808]", "[0,0]"), 0), "product overflows"},
      {File(Entry("F32", "[9223372036854775808,0]", "[0,0]"), 0), "product overflows"},
      {File(Entry("F32", "[4294967296,0,4294967296]", "[0,0]"), 0), "product overflows"},
      {File(Entry("F33", "[4294967296,4294967296]", "[0,8]"), 8), "product overflows"},
      {File(Entry("F32", "[3]", "[0,8]"), 8), "has 8 bytes, but its shape needs 12"},
      {File(Entry("F16", "[2]", "[0,8]"), 8), "has 8 bytes, but its shape needs 4"},
      {File(Entry("F32", "[2]", "[8,0]"), 8), "lies at bytes 8 to 0"},
      {File(Entry("F32", "[2]", "[0,8]"), 7), "lies at bytes 0 to 8, but the data has 7"},
      {File(Entry("F32", "[2]", "[18446744073709551608,18446744073709551615]"), 8),
       "lies at bytes 18446744073709551608"},
      {File(Entry("F32", "[2]", "[4,12]"), 12), "leaves a gap"},
      {File(Entry("F32", "[2]", "[0,8]"), 9), "end at byte 8 of the data, but it has 9"},
      {File("{}", 1), "end at byte 0 of the data, but it has 1"},
      {File(two + R"({"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6), "overlaps"},
      {File(two + R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4), "overlaps"},
      {File(two + R"({"dtype":"U8","shape":[4],"data_offsets":[5,9]}})", 9), "leaves a gap"},
      {File(R"({"__metadata__":[]})", 0), "__metadata__ is not an object"},
      {File(R"({"__metadata__":{"a":1}})", 0), "__metadata__ 'a' is not a string"},
      {File("{\"" + std::string(500, 'x') + "\\u0007\":3}", 0), "xxx...' is not described"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.sentence);
    const Result<Safetensors> result = Safetensors::parse(c.file, "test");
    REQUIRE_FALSE(result.ok());
    CHECK(result.status().code() == StatusCode::kInvalidArgument);
    CHECK(std::string(result.status().message()).find(c.sentence) != std::string::npos);
    CHECK(std::string(result.status().message()).rfind("test", 0) == 0);
  }
}

TEST_CASE("files of other formats are named") {
  struct Case {
    std::string text;
    const char* name;
  };
  const Case files[] = {
      {"GGUF" + std::string("\x03\0\0\0", 4) + std::string(40, '\0'), "a GGUF file"},
      {"GGUF", "a GGUF file"},
      {"PK\x03\x04" + std::string(40, '\0'), "a ZIP archive, as PyTorch"},
      {"\x80\x02}q" + std::string(40, 'x'), "a pickle, as PyTorch"},
      {"\x80\x04\x95" + std::string(40, 'x'), "a pickle, as PyTorch"},
      {"\x89HDF\r\n\x1a\n" + std::string(40, 'x'), "an HDF5 file"},
      {"<!DOCTYPE html><html>", "an HTML page"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer"},
  };
  for (const Case& c : files) {
    const std::string& text = c.text;
    CAPTURE(c.name);
    const Result<Safetensors> file = Safetensors::parse({text.begin(), text.end()}, "test");
    REQUIRE_FALSE(file.ok());
    CHECK(Contains(file.status().message(), std::string("test: this is ") + c.name));
    CHECK(Contains(file.status().message(), "it must be safetensors"));
    const Result<json> object = tools::parse_json(text, "test");
    REQUIRE_FALSE(object.ok());
    CHECK(Contains(object.status().message(), std::string("test: this is ") + c.name));
  }
  // A header of 640 bytes begins as a pickle does.
  std::string header = Entry("F32", "[2]", "[0,8]");
  header.resize(0x0280, ' ');
  CHECK(Safetensors::parse(File(header, 8), "test").ok());
}

TEST_CASE("every cut of a good file is refused") {
  const std::vector<unsigned char> whole = File(Entry("F32", "[2]", "[0,8]"), 8);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<unsigned char> cut(whole.begin(),
                                         whole.begin() + static_cast<ptrdiff_t>(size));
    CHECK_FALSE(Safetensors::parse(cut, "test").ok());
  }
  CHECK(Safetensors::parse(whole, "test").ok());
}

TEST_CASE("types, sizes and missing tensors are named when they cannot be read") {
  const Safetensors file =
      Parsed(File(R"({"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
                  R"("l":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},)"
                  R"("q":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[16,20]},)"
                  R"("r":{"dtype":"F32","shape":[1,1,1,1,1,1],"data_offsets":[20,24]},)"
                  R"("n":{"dtype":"F33\n","shape":[3],"data_offsets":[24,29]}})",
                  29));
  const auto says = [](const Status& status, const char* text) {
    return std::string(status.message()).find(text) != std::string::npos;
  };
  CHECK(says(file.read_f32("none").status(), "there is no tensor 'none'"));
  CHECK(says(file.read_f32("d").status(), "tensor 'd' is F64, and must be F32, F16 or BF16"));
  CHECK(says(file.read_i32("r").status(), "tensor 'r' is F32, and must be I32, I64, U8 or BOOL"));
  CHECK(says(file.read_i32("l").status(), "does not fit 32 bits"));
  CHECK(says(file.view("q").status(), "tensor 'q' is F8_E4M3"));
  CHECK(says(file.view("r").status(), "rank 6"));
  CHECK(says(file.view("n").status(), "tensor 'n' is of the unknown dtype 'F33?', and must be"));
  CHECK(says(file.read_f32("n").status(), "of the unknown dtype"));
  CHECK(file.view("d").status().code() == StatusCode::kUnsupported);
  CHECK(file.read_f32("r")->size() == 1);
  CHECK(file.find("none") == nullptr);
}

TEST_CASE("tensors are read exactly, also those that lie at odd places") {
  // One byte first, so that nothing after it is aligned.
  std::vector<unsigned char> file =
      File(R"({"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
           R"("f":{"dtype":"F32","shape":[],"data_offsets":[1,5]},)"
           R"("h":{"dtype":"F16","shape":[2],"data_offsets":[5,9]},)"
           R"("b":{"dtype":"BF16","shape":[1,1],"data_offsets":[9,11]},)"
           R"("i":{"dtype":"I64","shape":[1],"data_offsets":[11,19]},)"
           R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[19,19]},"__metadata__":{"k":"v"}})",
           0);
  const unsigned char data[] = {9,    0,    0,    0xc0, 0x3f, 0x00, 0x3c, 0x01, 0x80, 0x40,
                                0xc0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  file.insert(file.end(), std::begin(data), std::end(data));
  const Safetensors parsed = Parsed(std::move(file));
  CHECK(*parsed.read_i32("u") == std::vector<int32_t>{9});
  CHECK(*parsed.read_f32("f") == std::vector<float>{1.5f});
  CHECK(*parsed.read_f32("h") == std::vector<float>{1.0f, -std::ldexp(1.0f, -24)});
  CHECK(*parsed.read_f32("b") == std::vector<float>{-3.0f});
  CHECK(*parsed.read_i32("i") == std::vector<int32_t>{-2});
  CHECK(parsed.read_f32("e")->empty());
  CHECK(parsed.metadata().at("k") == "v");
  const Result<TensorView> view = parsed.view("h");
  REQUIRE(view.ok());
  CHECK(view->dtype == DType::kF16);
  CHECK(view->rank == 1);
  CHECK(view->shape[0] == 2);
  CHECK(reinterpret_cast<uintptr_t>(view->data) % alignof(f16) == 0);
}

TEST_CASE("what is saved is what is loaded") {
  const Folder folder;
  const std::vector<float> values = {1.0f, -0.0f, 3e-45f, INFINITY, 5.0f, -6.5f};
  const std::string path = folder / "a.safetensors";
  const Status saved = tools::save_safetensors(
      path, {{"x\n\"", {2, 3}, values.data()}, {"none", {0}, nullptr}}, {{"note", "text"}});
  REQUIRE_MESSAGE(saved.ok(), saved.message());
  const Result<Safetensors> loaded = Safetensors::load(path);
  REQUIRE_MESSAGE(loaded.ok(), loaded.status().message());
  const Result<std::vector<float>> read = loaded->read_f32("x\n\"");
  REQUIRE(read.ok());
  CHECK(std::memcmp(read->data(), values.data(), values.size() * sizeof(float)) == 0);
  CHECK(loaded->find("x\n\"")->shape == std::vector<uint64_t>{2, 3});
  CHECK(loaded->find("none")->shape == std::vector<uint64_t>{0});
  CHECK(loaded->metadata().at("note") == "text");
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
}

TEST_CASE("what a killed program left beside a file does not stop the next") {
  const Folder folder;
  const float one = 1.0f;
  const std::string path = folder / "a.safetensors";
  for (const char* end : {"", "-0", "-1"}) {
    Write(path + ".part" + std::to_string(::getpid()) + end, "left over");
  }
  const Status saved = tools::save_safetensors(path, {{"x", {1}, &one}});
  CHECK_MESSAGE(saved.ok(), saved.message());
  CHECK(Safetensors::load(path).ok());
}

TEST_CASE("a refused save leaves the old file and nothing else") {
  const Folder folder;
  const float one = 1.0f;
  const std::string path = folder / "a.safetensors";
  REQUIRE(tools::save_safetensors(path, {{"x", {1}, &one}}).ok());
  const std::string before = Read(path);
  CHECK_FALSE(tools::save_safetensors(path, {{"x", {1}, &one}, {"x", {1}, &one}}).ok());
  CHECK_FALSE(tools::save_safetensors(path, {{"__metadata__", {1}, &one}}).ok());
  CHECK_FALSE(tools::save_safetensors(path, {{"x", {1}, nullptr}}).ok());
  CHECK_FALSE(tools::save_safetensors(path, {{"x", {UINT64_MAX, 2}, &one}}).ok());
  CHECK_FALSE(tools::save_safetensors(path, {{"x", {0, uint64_t{1} << 63}, nullptr}}).ok());
  CHECK(Read(path) == before);
  CHECK_FALSE(tools::save_safetensors(folder / "none/a.safetensors", {{"x", {1}, &one}}).ok());
  CHECK_FALSE(tools::save_safetensors(folder.path.string(), {{"x", {1}, &one}}).ok());
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_FALSE(tools::save_safetensors(folder / "pipe", {{"x", {1}, &one}}).ok());
  CHECK_FALSE(Safetensors::load(folder / "pipe").ok());
  CHECK_FALSE(Safetensors::load(folder / "missing").ok());
  CHECK_FALSE(Safetensors::load(folder.path.string()).ok());
  CHECK_FALSE(Safetensors::load("/dev/zero").ok());
}

}  // namespace
}  // namespace heed::test
