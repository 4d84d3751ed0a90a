// The heed command, called as its main does: exit codes, sentences, files; and its pictures.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/model_files.h"
#include "tools/attention_map.h"
#include "tools/conformance/command.h"
#include "tools/conformance/corpus.h"
#ifdef HEED_HAVE_COMMAND
#include "tools/command.h"
#include "tools/error_chart.h"
#include "tools/onednn_layer.h"
#endif

namespace heed::test {
namespace {

using Labels = std::vector<std::string>;

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_CASE("an SVG map has a cell for each weight, visible labels and no markup from them") {
  const std::vector<float> weights = {1.0f, 0.0f, 0.25f, NAN};
  const Labels labels = {"\n<b>&\"", "\xff "};
  const std::string svg =
      tools::attention_map_svg(weights.data(), 2, 2, labels, labels, "A <title> \x01");
  CHECK(Count(svg, "<title>") == 3);  // zero has no cell
  CHECK(Contains(svg, "query 1 \ufffd\u2423, key 0 \u21b5&lt;b&gt;&amp;&quot;: 0.25</title>"));
  CHECK(Contains(svg, "A &lt;title&gt; \ufffd"));
  CHECK(Contains(svg, "#ff00ff"));  // NaN is seen
  CHECK_FALSE(Contains(svg, "<b>"));
  CHECK_FALSE(Contains(svg, "\xff"));
  CHECK(Contains(tools::attention_map_svg(nullptr, 0, 0, {}, {}, ""), "</svg>"));
}

TEST_CASE("a text map is plain without colour, and its shade follows the weight") {
  const std::vector<float> weights = {1.0f, 0.0f, 0.5f, 0.01f};
  const std::string plain =
      tools::attention_map_text(weights.data(), 2, 2, {"a", "bc"}, {"\n", "d"}, "T", false);
  CHECK(Contains(plain, "T\n   \u21b5 d \n a \u2588\u2588  \nbc \u2593\u2593\u00b7\u00b7\n"));
  CHECK_FALSE(Contains(plain, "\x1b"));
  const std::string colour =
      tools::attention_map_text(weights.data(), 2, 2, {"a", "bc"}, {"\n", "d"}, "T", true);
  CHECK(Contains(colour, " a \x1b[48;5;226m  \x1b[0m  \n"));
}

#ifdef HEED_HAVE_COMMAND

struct Outcome {
  int code = -1;
  std::string out, err;
};

// A standard stream of this process that goes to a file while this lives.
class Redirected {
 public:
  Redirected(int fd, const std::string& path) : fd_(fd), saved_(::dup(fd)) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(file >= 0);
    ::dup2(file, fd_);
    ::close(file);
  }
  ~Redirected() {
    ::dup2(saved_, fd_);
    ::close(saved_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int fd_, saved_;
};

using Command = int (*)(const std::vector<std::string>& arguments);

Outcome Run(const Folder& folder, Command command, const std::vector<std::string>& arguments) {
  Outcome outcome;
  std::fflush(stdout);
  {
    const Redirected out(STDOUT_FILENO, folder / "stdout");
    const Redirected err(STDERR_FILENO, folder / "stderr");
    outcome.code = command(arguments);
    std::fflush(stdout);
  }
  outcome.out = Read(folder / "stdout");
  outcome.err = Read(folder / "stderr");
  return outcome;
}

Outcome Run(const Folder& folder, const std::vector<std::string>& arguments) {
  return Run(folder, tools::run_command, arguments);
}

// A model of one kind and an input of 5 tokens in a folder.
struct Model {
  explicit Model(const json& config, const std::vector<Array>& weights) {
    Write(folder / "config.json", config.dump());
    Save(folder / "model.safetensors", weights);
    Save(folder / "x.safetensors", {RandomArray("x", {5, 24})});
  }

  Outcome Layer(const std::string& command, const std::vector<std::string>& more) const {
    std::vector<std::string> all = {command, "--weights", folder.path.string(),    "--layer",
                                    "0",     "--input",   folder / "x.safetensors"};
    all.insert(all.end(), more.begin(), more.end());
    return Run(folder, all);
  }
  std::vector<float> Output() const {
    const auto file = tools::Safetensors::load(folder / "y.safetensors");
    REQUIRE_MESSAGE(file.ok(), file.status().message());
    const auto y = file->read_f32("out");
    REQUIRE(y.ok());
    return *y;
  }

  Folder folder;
};

Model Llama() { return Model(LlamaConfig(), LlamaArrays("model.layers.0.self_attn.")); }

// One sentence on standard error, nothing else anywhere.
void CheckRefused(const Outcome& outcome, const std::string& sentence) {
  CAPTURE(outcome.err);
  CHECK(outcome.code == 2);
  CHECK(outcome.out == "");
  CHECK(outcome.err.rfind("heed: ", 0) == 0);
  CHECK(Count(outcome.err, "\n") == 1);
  CHECK(Contains(outcome.err, sentence));
}

TEST_CASE("heed info names the machine, the targets and the numerics version") {
  const Folder folder;
  const Outcome outcome = Run(folder, {"info"});
  CHECK(outcome.code == 0);
  for (const char* line : {"numerics version", "family", "CPU", "caches", "targets compiled",
                           "targets supported", "target chosen", "threads", "bytes of a weight",
                           "  groups of 32      int8 1.125, int4 0.5625",
                           "  key or value      f32 4, bf16 2, f16 2, int8 1.031, int4 0.5625"}) {
    CHECK(Contains(outcome.out, std::string("\n") + line));
  }
}

TEST_CASE("heed check finds the bits on record on every target, and agrees with oneDNN") {
  const Folder folder;
  const Outcome outcome = Run(folder, {"check"});
  CHECK_MESSAGE(outcome.code == 0, outcome.out);
  for (const char* target : Targets()) CHECK(Contains(outcome.out, std::string("\n  ") + target));
  CHECK(Contains(outcome.out, " passed, 0 failed\n"));
  CHECK(Count(outcome.out, ": passed\n") == (tools::onednn_available() ? 3 : 0));

  const std::string last = Targets().back();
  const Outcome one = Run(folder, {"check", "--target", last});
  CHECK(one.code == 0);
  CHECK(Count(one.out, " as recorded ") == 1);
  CheckRefused(Run(folder, {"check", "--target", "ABACUS"}), "ABACUS");
}

TEST_CASE("heed check and heed-test --bits fail when one bit of the results differs") {
  const Folder folder;
  const std::string target = Targets().front();
  const Outcome check = Run(folder, {"check", "--target", target, "--flip-a-bit"});
  CHECK(check.code == 1);
  CHECK(Contains(check.out, "  0 of "));
  CHECK(Count(check.out, ", on record is ") >= bits::NumGroups());

  const Outcome command = Run(folder, bits::RunCommand, {"--target", target, "--flip-a-bit"});
  CHECK(command.code == 1);
  CHECK(Contains(command.out, "\n0 passed, "));
  CHECK(Count(command.out, "FAILED: on record is ") >= bits::NumGroups());
  CHECK(Run(folder, bits::RunCommand, {"--target", target}).code == 0);
  CHECK(Contains(Run(folder, bits::RunCommand, {"--list"}).out, target + "\n"));
  CHECK(Run(folder, bits::RunCommand, {"--target", "ABACUS"}).code == 2);
  CHECK(Run(folder, bits::RunCommand, {"--fly"}).code == 2);
}

TEST_CASE("heed run writes the same bits for any number of threads, and agrees with oneDNN") {
  const std::string prefix = "model.layers.0.self_attn.";
  const std::vector<Array> norms = NormArrays(prefix);
  const Model models[] = {
      Llama(),
      Model(With(LlamaConfig(), {{"partial_rotary_factor", 0.5}}),
            LlamaArrays("model.layers.0.self_attn.")),
      Model(Gpt2Config(), Gpt2Arrays("h.0.attn.")),
      Model(With(Gpt2Config(), {{"is_causal", false}}), Gpt2Arrays("h.0.attn.")),
      Model(FamilyConfig("mistral"), LlamaArrays(prefix)),
      Model(FamilyConfig("qwen3"), With(LlamaArrays(prefix), norms)),
      Model(GptOssConfig(), GptOssArrays(prefix)),
      Model(Gemma2Config(), LlamaArrays(prefix)),
      Model(Gemma3Config(), With(LlamaArrays(prefix), norms))};
  for (const Model& model : models) {
    const std::string y = model.folder / "y.safetensors";
    const Outcome one = model.Layer("run", {"--output", y, "--threads", "1"});
    REQUIRE_MESSAGE(one.code == 0, one.err);
    CHECK(Contains(one.out, "out [5, 24]"));
    const std::vector<float> want = model.Output();
    CHECK(model.Layer("run", {"--output", y, "--threads", "3"}).code == 0);
    CHECK(Difference(model.Output(), want) == "");
    const Outcome check = model.Layer("run", {"--output", y, "--check"});
    if (!tools::onednn_available()) {
      CheckRefused(check, "built without it");
      continue;
    }
    CHECK_MESSAGE(check.code == 0, check.out);
    CHECK(Contains(check.out, "passed"));
    CHECK(model.Layer("run", {"--output", y, "--backend=onednn"}).code == 0);
    CHECK(WorstError(model.Output(), {want.begin(), want.end()}) < 1e-5);
  }
}

TEST_CASE("a batch of sequences is each sequence alone") {
  const Model model = Llama();
  const std::string y = model.folder / "y.safetensors";
  REQUIRE(model.Layer("run", {"--output", y}).code == 0);
  const std::vector<float> alone = model.Output();
  Array batch = RandomArray("x", {5, 24});
  batch.shape = {2, 5, 24};
  batch.values.resize(240, 0.125f);
  Save(model.folder / "x.safetensors", {batch, RandomArray("other", {1})});
  CheckRefused(model.Layer("run", {"--output", y}), "it has 2 tensors of floats");
  REQUIRE(model.Layer("run", {"--output", y, "--tensor", "x"}).code == 0);
  const std::vector<float> both = model.Output();
  REQUIRE(both.size() == 240);
  CHECK(Difference({both.begin(), both.begin() + 120}, alone) == "");
}

TEST_CASE("heed refuses with one sentence and exit code 2, and leaves the output alone") {
  const Model model = Llama();
  const Folder& folder = model.folder;
  const std::string y = folder / "y.safetensors";
  Write(y, "precious");
  Save(folder / "wide.safetensors", {RandomArray("x", {5, 25})});
  Write(folder / "window.json", With(LlamaConfig(), {{"sliding_window", 4}}).dump());
  Write(folder / "cut.safetensors", Read(folder / "x.safetensors").substr(0, 100));
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--output", y});
    return model.Layer("run", more);
  };
  CheckRefused(run({"--layer", "1"}), "layer");
  CheckRefused(run({"--input", folder / "wide.safetensors"}), "input");
  CheckRefused(run({"--config", folder / "window.json"}), "sliding_window is 4");
  CheckRefused(run({"--config", folder / "none.json"}), "cannot open");
  CheckRefused(run({"--tensor", "z"}), "there is no tensor 'z'");
  CheckRefused(run({"--target", "ABACUS"}), "ABACUS");
  CheckRefused(run({"--threads", "0"}), "--threads");
  CheckRefused(run({"--threads", "many"}), "--threads");
  CheckRefused(run({"--layer", "-1"}), "--layer");
  CheckRefused(run({"--backend", "abacus"}), "--backend");
  CheckRefused(run({"--colour"}), "--colour");
  if (tools::onednn_available()) {
    CheckRefused(run({"--backend=onednn", "--target", "SSE2"}), "--target");
  }
  Write(folder / "x.safetensors", Read(folder / "cut.safetensors"));
  CheckRefused(run({}), "x.safetensors");
  CHECK(Read(y) == "precious");
  CheckRefused(Run(folder, {}), "subcommand");
  CheckRefused(Run(folder, {"fly"}), "(heed --help lists the options)");
  CheckRefused(Run(folder, {"run"}), "required (heed run --help lists the options)");
  CHECK(Run(folder, {"--help"}).code == 0);
  CHECK(Contains(Run(folder, {"--version"}).out, version()));
}

TEST_CASE("heed writes over nothing that it reads, however it is named") {
  const Model model = Llama();
  const Folder& folder = model.folder;
  Write(folder / "labels.json", R"(["a", "b", "c", "d", "e"])");
  std::vector<std::string> files;
  for (const char* name : {"model.safetensors", "config.json", "x.safetensors", "labels.json"}) {
    const std::string file = folder / name;
    const std::string soft = file + ".soft", hard = file + ".hard";
    fs::create_symlink(file, soft);
    fs::create_hard_link(file, hard);
    files.insert(files.end(), {file, soft, hard, (folder.path / "." / name).string()});
  }
  for (const std::string& file : files) {
    CAPTURE(file);
    const std::string before = Read(file);
    if (!Contains(file, "labels")) {
      CheckRefused(model.Layer("run", {"--output", file}), "--output: " + file + " is read too");
    }
    CheckRefused(
        model.Layer("show", {"--head", "0", "--labels", folder / "labels.json", "--svg", file}),
        "--svg: " + file + " is read too");
    CHECK(Read(file) == before);
  }
  CheckRefused(model.Layer("run", {"--output", folder.path.string()}), "not a regular file");
  CheckRefused(model.Layer("run", {"--output", folder / "none/y"}), "no such directory");

  fs::rename(folder / "model.safetensors", folder / "shard.safetensors");
  json map;
  for (const Array& array : LlamaArrays("model.layers.0.self_attn.")) {
    map[array.name] = "shard.safetensors";
  }
  map["other"] = "unused.safetensors";
  const std::string index = folder / "model.safetensors.index.json";
  Write(index, json{{"weight_map", map}}.dump());
  Write(folder / "unused.safetensors", "not opened");
  for (const std::string& file :
       {index, folder / "shard.safetensors", folder / "unused.safetensors"}) {
    CheckRefused(model.Layer("run", {"--output", file}), "is read too");
  }
  CHECK(Read(folder / "unused.safetensors") == "not opened");
  CHECK(model.Layer("run", {"--output", folder / "y.safetensors"}).code == 0);
  CHECK(model.Layer("run", {"--output", folder / "y.safetensors"}).code == 0);  // its own, again
}

TEST_CASE("heed run --check does not pass where results are NaN or infinite") {
  const Model model = Llama();
  const std::string y = model.folder / "y.safetensors";
  for (const float value : {NAN, INFINITY}) {
    Array x = RandomArray("x", {5, 24});
    x.values[50] = value;
    Save(model.folder / "x.safetensors", {x});
    CHECK(model.Layer("run", {"--output", y}).code == 0);
    fs::remove(y);
    const Outcome check = model.Layer("run", {"--output", y, "--check"});
    if (!tools::onednn_available()) {
      CheckRefused(check, "built without it");
      continue;
    }
    CHECK_MESSAGE(check.code == 1, check.out);
    CHECK(Contains(check.out, " of 120 results are NaN or infinite"));
    CHECK(Contains(check.out, "FAILED"));
    CHECK_FALSE(fs::exists(y));
  }
}

TEST_CASE("heed show draws the weights of a head with the tokens as labels") {
  const Model model = Llama();
  const std::string svg = model.folder / "map.svg";
  const Outcome outcome = model.Layer("show", {"--head", "3", "--text", "ab\nc ", "--svg", svg});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(Contains(outcome.out, "layer 0, head 3"));
  CHECK(Contains(outcome.out, "\n  a b \u21b5 c \u2423 \na \u2588\u2588"));
  CHECK_FALSE(Contains(outcome.out, "\x1b"));
  const std::string picture = Read(svg);
  CHECK(Count(picture, "<title>") == 15);  // no cell above the diagonal
  CHECK(Contains(picture, "query 0 a, key 0 a: 1</title>"));
  CHECK(model.Layer("show", {"--head", "0", "--text", "five words are five tokens"}).code == 0);

  CheckRefused(model.Layer("show", {"--head", "4", "--svg", svg}), "there is no head 4");
  CheckRefused(model.Layer("show", {"--head", "0", "--text", "abc", "--svg", svg}), "3 labels");
  Write(model.folder / "labels.json", R"(["a", "b", 3, "d", "e"])");
  CheckRefused(model.Layer("show", {"--head", "0", "--labels", model.folder / "labels.json"}),
               "array of strings");
  CHECK(Read(svg) == picture);
}

TEST_CASE("heed run stores weights, keys and values as asked, and each shows in the result") {
  const Model models[] = {Llama(), Model(Gpt2Config(), Gpt2Arrays("h.0.attn."))};
  for (const Model& model : models) {
    const std::string y = model.folder / "y.safetensors";
    const auto run = [&](std::vector<std::string> more) {
      more.insert(more.end(), {"--output", y});
      const Outcome outcome = model.Layer("run", more);
      CAPTURE(outcome.err);
      REQUIRE(outcome.code == 0);
      return model.Output();
    };
    const std::vector<float> f32 = run({});
    CHECK(Difference(run({"--weights-dtype", "f32", "--keys", "f32"}), f32) == "");
    std::vector<std::vector<float>> results = {f32};
    struct Way {
      std::vector<std::string> options;
      double most;  // error, a few times what is seen
    };
    const Way ways[] = {{{"--weights-dtype", "bf16"}, 0.015},
                        {{"--weights-dtype", "f16"}, 0.002},
                        {{"--weights-dtype", "int8"}, 0.05},
                        {{"--weights-dtype", "int8", "--weights-group", "16"}, 0.04},
                        {{"--weights-dtype", "int4"}, 0.7},
                        {{"--weights-dtype", "int4", "--weights-group", "16"}, 0.6},
                        {{"--keys", "bf16"}, 0.002},
                        {{"--keys", "int8"}, 0.006},
                        {{"--keys", "int8", "--hadamard"}, 0.006},
                        {{"--values", "f16"}, 0.0015},
                        {{"--values", "int4"}, 0.45},
                        {{"--keys", "bf16", "--values", "int8", "--weights-dtype", "int8"}, 0.08},
                        {{"--compute", "int16", "--weights-dtype", "int8"}, 0.05},
                        {{"--attention-compute", "int16", "--keys", "int8"}, 0.006}};
    for (const Way& way : ways) {
      results.push_back(run(way.options));
      INFO("with " << way.options[0] << " " << way.options[1]);
      CHECK(WorstError(results.back(), {f32.begin(), f32.end()}) < way.most);
      for (size_t i = 0; i + 1 < results.size(); ++i) {
        CHECK(Difference(results[i], results.back()) != "");
      }
    }
    CHECK(Difference(run({"--weights-dtype", "int4", "--weights-group", "32"}), results[5]) == "");
  }
}

TEST_CASE("heed run --check compares stored weights with oneDNN's product of the same numbers") {
  const Model models[] = {Llama(), Model(Gpt2Config(), Gpt2Arrays("h.0.attn."))};
  for (const Model& model : models) {
    const auto check = [&](std::vector<std::string> more) {
      more.insert(more.end(), {"--output", model.folder / "y.safetensors", "--check"});
      return model.Layer("run", more);
    };
    if (!tools::onednn_available()) {
      CheckRefused(check({"--weights-dtype", "int8"}), "built without it");
      continue;
    }
    for (const char* dtype : {"bf16", "f16", "int8", "int4"}) {
      const Outcome outcome = check({"--weights-dtype", dtype});
      CHECK_MESSAGE(outcome.code == 0, outcome.out);
    }
    CHECK(check({"--keys", "f32"}).code == 0);
    CheckRefused(check({"--keys", "bf16"}), "--keys is bf16 and --values is f32");
    CheckRefused(check({"--values", "int8", "--backend=onednn"}), "--values is int8");
    CheckRefused(check({"--compute", "int16", "--weights-dtype", "int8"}), "--compute is int16");
    CHECK(check({"--hadamard"}).code == 0);
    CheckRefused(check({"--hadamard", "--backend=onednn"}), "--hadamard");
  }
}

TEST_CASE("types and groups that there are not are refused by name") {
  const Model model = Llama();
  const auto refused = [&](std::vector<std::string> more, const char* sentence) {
    more.insert(more.end(), {"--output", model.folder / "y.safetensors"});
    CheckRefused(model.Layer("run", more), sentence);
  };
  refused({"--weights-dtype", "i8"}, "--weights-dtype: must be f32, bf16, f16, int8 or int4");
  refused({"--keys", "u8"}, "--keys: must be");
  refused({"--values", "f64"}, "--values: must be");
  refused({"--weights-dtype", "int8", "--weights-group", "33"}, "--weights-group: 33");
  refused({"--weights-group", "32"}, "--weights-group: is for int8 and int4, not for");
  refused({"--compute", "int16", "--weights-dtype", "bf16"},
          "--compute: int16 is for int8 and int4, not for");
  refused({"--compute", "int8", "--weights-dtype", "int8"}, "--compute");
  refused({"--attention-compute", "int16", "--keys", "f16"},
          "--attention-compute: int16 is for int8 and int4, not for --keys f16 and --values f32");
  refused({"--attention-compute", "int8", "--keys", "int8"}, "--attention-compute");
  CheckRefused(model.Layer("show", {"--head", "0", "--weights-dtype", "int"}), "--weights-dtype");
}

TEST_CASE("heed show draws the weights of attention against a stored cache") {
  const Model model = Llama();
  const Outcome f32 = model.Layer("show", {"--head", "1", "--svg", model.folder / "f32.svg"});
  const Outcome int4 =
      model.Layer("show", {"--head", "1", "--keys", "int4", "--svg", model.folder / "int4.svg"});
  REQUIRE_MESSAGE(int4.code == 0, int4.err);
  CHECK(Count(Read(model.folder / "int4.svg"), "<title>") == 15);
  CHECK(Read(model.folder / "int4.svg") != Read(model.folder / "f32.svg"));
}

TEST_CASE("heed show --errors tells what each type costs each projection") {
  const auto errors = [](const Model& model, std::vector<std::string> more) {
    more.insert(more.begin(),
                {"show", "--errors", "--weights", model.folder.path.string(), "--layer", "0"});
    return Run(model.folder, more);
  };
  const Model models[] = {Llama(), Model(Gpt2Config(), Gpt2Arrays("h.0.attn."))};
  for (const Model& model : models) {
    const std::string svg = model.folder / "errors.svg";
    const Outcome outcome = errors(model, {"--svg", svg});
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    const std::string picture = Read(svg);
    for (const char* projection : {"q", "k", "v", "out"}) {
      CHECK(Count(outcome.out, std::string("\n") + projection + " ") == 10);
      CHECK(Count(picture, std::string("<title>") + projection + ", ") == 9);
      CHECK(Contains(picture, std::string(projection) + ", int4, groups of 32: RMS error "));
    }
    CHECK(Count(outcome.out, " 0.0000 %") == 8);  // f32 loses nothing, all else something
    CHECK_FALSE(Contains(picture, "nan"));
    CheckRefused(errors(model, {"--svg", model.folder / "model.safetensors"}), "is read too");
    CheckRefused(errors(model, {"--head", "0"}), "--errors");
    CheckRefused(errors(model, {"--weights-dtype", "int8"}), "--errors");
    CheckRefused(errors(model, {"--hadamard"}), "--errors");
  }
  const Model& model = models[0];
  CheckRefused(Run(model.folder, {"show", "--weights", model.folder.path.string(), "--layer", "0"}),
               "--input is required");
  std::vector<Array> arrays = LlamaArrays("model.layers.0.self_attn.");
  for (Array& array : arrays) {
    if (Contains(array.name, "k_proj.weight")) array.values[3] = NAN;
  }
  CheckRefused(errors(Model(LlamaConfig(), arrays), {}), "k: the weight has elements that are NaN");
}

TEST_CASE("heed show --errors says which types a weight is too large for, and shows the others") {
  std::vector<Array> arrays = LlamaArrays("model.layers.0.self_attn.");
  for (Array& array : arrays) {
    if (Contains(array.name, "q_proj.weight")) array.values[3] = 1e5f;
    if (Contains(array.name, "k_proj.weight")) array.values[3] = -1e6f;  // for scales of f16 too
  }
  const Model model(LlamaConfig(), arrays);
  const std::string svg = model.folder / "errors.svg";
  const Outcome outcome = Run(
      model.folder,
      {"show", "--errors", "--weights", model.folder.path.string(), "--layer", "0", "--svg", svg});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string picture = Read(svg);
  CHECK(Count(outcome.out, "too large for f16\n") == 5);
  CHECK(Count(outcome.out, "k           int4") == 3);
  CHECK(Count(picture, ">too large for f16</text>") == 5);
  CHECK(Contains(picture, "<title>k, int4, groups of 32: too large for f16</title>"));
  CHECK(Count(picture, "<title>") == 4 * 9);
  CHECK(Count(picture, "<circle") <= 4 * 9 - 5);
  for (const char* text : {"nan", "inf"}) {
    CHECK_FALSE(Contains(outcome.out, text));
    CHECK_FALSE(Contains(picture, text));
  }
}

TEST_CASE("errors outside of a picture's scale have no mark in it") {
  const auto picture = [](double rms, double largest) {
    return tools::error_chart_svg({{"q", {DType::kF16}, 2, 0.5, rms, largest}}, "");
  };
  // The largest has a tick beside the line to it.
  const size_t grid = Count(picture(0, 0), "<line");
  CHECK(Count(picture(0.001, 0.01), "<circle") == 1);
  CHECK(Count(picture(0.001, 0.01), "<line") == grid + 2);
  CHECK(Count(picture(0.00001, 0.01), "<circle") == 0);
  CHECK(Count(picture(0.00001, 0.01), "<line") == grid + 2);
  CHECK(Count(picture(0.00001, 0.00002), "<line") == grid);
  CHECK(Count(picture(0.5, 3), "<line") == grid + 1);
}

#ifdef MODEL_DIR
TEST_CASE("heed run gives the golden attention of the tiny language model") {
  const std::string golden = MODEL_DIR "/../../test/data/tiny-lm/golden.safetensors";
  const Folder folder;
  const auto file = tools::Safetensors::load(golden);
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  for (const std::string layer : {"0", "2"}) {
    for (const std::string prompt : {"prompt0/l", "prompt1/l", "prompt2/l"}) {
      const std::string y = folder / "y.safetensors";
      const Outcome outcome =
          Run(folder, {"run", "--weights", MODEL_DIR, "--layer", layer, "--input", golden,
                       "--tensor", prompt + layer + ".attn_in", "--output", y});
      REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
      const auto want = file->read_f32(prompt + layer + ".attn_out");
      const auto written = tools::Safetensors::load(y);
      REQUIRE(written.ok());
      // Outputs reach 6; the golden ones are rounded float64.
      CHECK(WorstError(*written->read_f32("out"), {want->begin(), want->end()}) < 1e-5);
    }
  }
}
#endif

#endif

}  // namespace
}  // namespace heed::test
