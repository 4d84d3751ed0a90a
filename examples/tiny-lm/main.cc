// tiny-lm: writes text with a small trained language model, every attention by heed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <system_error>

#include "examples/tiny-lm/model.h"
#include "tools/attention_map.h"
#include "tools/file.h"
#include "tools/storage_options.h"

namespace tiny_lm {
namespace {

using heed::Result;
using heed::Status;

constexpr int kBadInput = 2;

struct Options {
  std::string prompt = "ROMEO:\nWhat light is this that ";
  size_t tokens = 240;
  float temperature = 0.8f;
  uint64_t seed = 1;
  bool greedy = false;
  size_t threads = 0;
  std::string map;
  std::optional<size_t> layer;  // of the map; unset: the last
  std::optional<size_t> head;
  size_t map_tokens = 96;
  std::string model = MODEL_DIR;
  heed::tools::StorageOptions storage;
  std::string perplexity;
};

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  double uniform() {  // in [0, 1)
    uint64_t z = (state_ += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// Chooses the next token from the scores of `size` tokens.
Result<int32_t> choose(const float* logits, size_t size, const Options& options, Random& random,
                       heed::Context& context) {
  if (options.greedy) {
    return static_cast<int32_t>(std::max_element(logits, logits + size) - logits);
  }
  std::vector<float> probability(size);
  Status status = heed::softmax(heed::TensorView(logits, {size}),
                                heed::MutableTensorView(probability.data(), {size}),
                                {.scale = 1 / options.temperature}, context);
  if (!status.ok()) return status;
  double rest = random.uniform();
  size_t token = 0;
  while (token + 1 < size && rest >= static_cast<double>(probability[token])) {
    rest -= static_cast<double>(probability[token++]);
  }
  return static_cast<int32_t>(token);
}

void print_rate(const char* what, size_t tokens, double seconds) {
  if (tokens == 0) return;
  std::printf("%s %zu tokens, %.0f tokens/s\n", what, tokens,
              static_cast<double>(tokens) / seconds);
}

// Writes the text to stdout as it comes and appends its tokens to `text`.
Status write_text(const Model& model, const Options& options, std::vector<int32_t>& text,
                  heed::Context& context) {
  auto session = model.start_session();
  if (!session.ok()) return session.status();
  std::vector<float> logits;
  // Once for nothing, so that the rates below do not count the start of threads and first use of
  // memory.
  if (Status s = model.forward(text, *session, logits, nullptr, context); !s.ok()) return s;
  for (heed::KvCache& cache : *session) {
    if (Status s = cache.truncate(0); !s.ok()) return s;
  }
  const Stopwatch prefill;
  if (Status s = model.forward(text, *session, logits, nullptr, context); !s.ok()) return s;
  const double prefill_seconds = prefill.seconds();
  const size_t prompt_tokens = text.size();
  std::printf("%s", options.prompt.c_str());

  const size_t vocab_size = model.config().vocab_size;
  const size_t longest = model.config().max_position_embeddings;
  Random random(options.seed);
  size_t decoded = 0;
  const Stopwatch decode;
  for (size_t i = 0; i < options.tokens && text.size() < longest; ++i) {
    if (i > 0) {
      if (Status s = model.forward({text.back()}, *session, logits, nullptr, context); !s.ok())
        return s;
      ++decoded;
    }
    auto token =
        choose(logits.data() + logits.size() - vocab_size, vocab_size, options, random, context);
    if (!token.ok()) return token.status();
    text.push_back(*token);
    std::printf("%s", model.vocabulary().character(*token).c_str());
    std::fflush(stdout);
  }
  const double decode_seconds = decode.seconds();
  std::printf("\n\n");
  if (text.size() - prompt_tokens < options.tokens) {
    std::printf("stopped at %zu tokens, the most that the model can take\n", longest);
  }
  print_rate("prefill", prompt_tokens, prefill_seconds);
  print_rate("decode ", decoded, decode_seconds);
  return {};
}

// Draws who looked at whom at the beginning of the finished text, in one head.
Status write_map(const Model& model, const Options& options, std::vector<int32_t> text,
                 heed::Context& context) {
  auto session = model.start_session();
  if (!session.ok()) return session.status();
  const size_t tokens = std::min(text.size(), options.map_tokens);
  text.resize(tokens);  // later tokens change nothing for earlier ones
  const size_t head = options.head.value_or(model.config().num_attention_heads - 1);
  std::vector<float> logits;
  Trace trace;
  trace.layer = options.layer.value_or(model.config().num_hidden_layers - 1);
  if (Status s = model.forward(text, *session, logits, &trace, context); !s.ok()) return s;

  std::vector<std::string> labels;
  for (int32_t token : text) labels.push_back(model.vocabulary().character(token));
  const std::string what = "attention of layer " + std::to_string(trace.layer) + ", head " +
                           std::to_string(head) + ", first " + std::to_string(tokens) +
                           " characters";
  const float* weights = trace.weights.data() + head * tokens * tokens;
  const std::string svg =
      heed::tools::attention_map_svg(weights, tokens, tokens, labels, labels, "tiny-lm: " + what);
  if (Status s = heed::tools::write_file(options.map, {svg}); !s.ok()) return s;
  std::printf("%s: %s\n", what.c_str(), options.map.c_str());
  return {};
}

std::string text_of(const heed::PackOptions& weights) {
  return heed::name_of(weights.dtype) +
         (weights.group == 0 ? std::string() : " in groups of " + std::to_string(weights.group));
}

struct Evaluation {
  Loss loss;
  size_t weight_bytes = 0, cache_bytes = 0;
};

Result<Evaluation> evaluate(const Model& model, const std::vector<int32_t>& tokens,
                            heed::Context& context) {
  const auto loss = loss_of(model, tokens, context);
  if (!loss.ok()) return loss.status();
  const auto session = model.start_session();
  if (!session.ok()) return session.status();
  Evaluation result = {*loss, model.weight_bytes()};
  for (const heed::KvCache& cache : *session) result.cache_bytes += cache.bytes();
  return result;
}

void print(const Evaluation& of, const Storage& storage) {
  std::printf("weights %s%s, %zu bytes; keys %s%s, values %s%s, %zu bytes\n",
              text_of(storage.weights).c_str(),
              storage.compute == heed::Compute::kInt16 ? ", products in int16" : "",
              of.weight_bytes, heed::name_of(storage.keys), storage.hadamard ? ", rotated" : "",
              heed::name_of(storage.values),
              storage.attention_compute == heed::Compute::kInt16 ? ", attention in int16" : "",
              of.cache_bytes);
  std::printf("  %.5f nats a character, perplexity %.5f", of.loss.nats, of.loss.perplexity());
}

// The loss on a text as the model is stored, beside that in f32.
Status print_perplexity(const Model& model, const Storage& storage, const Options& options,
                        heed::Context& context) {
  constexpr size_t kLargest = 1 << 24;
  const auto text = heed::tools::read_text(options.perplexity, kLargest);
  if (!text.ok()) return text.status();
  const auto tokens = model.vocabulary().encode(*text, options.perplexity);
  if (!tokens.ok()) return tokens.status();
  if (tokens->size() < 2) {
    return Status::Error(heed::StatusCode::kInvalidArgument,
                         "--perplexity: %s is too short, the loss needs 2 characters or more",
                         options.perplexity.c_str());
  }
  const auto stored = evaluate(model, *tokens, context);
  if (!stored.ok()) return stored.status();
  const auto f32_model = Model::load(options.model, {}, context);
  if (!f32_model.ok()) return f32_model.status();
  const auto f32 = evaluate(*f32_model, *tokens, context);
  if (!f32.ok()) return f32.status();

  std::printf("%s: %zu characters predicted\n", options.perplexity.c_str(),
              stored->loss.characters);
  print(*stored, storage);
  std::printf(", %+.3f %% of f32's\n",
              100 * (stored->loss.perplexity() / f32->loss.perplexity() - 1));
  print(*f32, {});
  std::printf("\n");
  return {};
}

Status run(const Options& options) {
  heed::Context context({.num_threads = options.threads});
  if (!context.status().ok()) return context.status();
  if (!options.map.empty()) {
    std::vector<std::string> read;
    for (const char* file : {"config.json", "model.safetensors", "vocab.json"}) {
      read.push_back(options.model + "/" + file);
    }
    if (Status s = heed::tools::check_output("--map", options.map, read); !s.ok()) return s;
  }
  const auto weights = options.storage.weights();
  if (!weights.ok()) return weights.status();
  const Storage storage = {*weights,
                           options.storage.keys(),
                           options.storage.values(),
                           options.storage.hadamard(),
                           options.storage.compute(),
                           options.storage.attention_compute()};
  auto model = Model::load(options.model, storage, context);
  if (!model.ok()) return model.status();
  if (!options.perplexity.empty()) return print_perplexity(*model, storage, options, context);
  auto text = model->vocabulary().encode(options.prompt);
  if (!text.ok()) return text.status();
  const Config& config = model->config();
  if (options.layer.value_or(0) >= config.num_hidden_layers ||
      options.head.value_or(0) >= config.num_attention_heads) {
    return Status::Error(heed::StatusCode::kInvalidArgument,
                         "--layer must be below %zu and --head below %zu", config.num_hidden_layers,
                         config.num_attention_heads);
  }
  if (text->empty()) {
    return Status::Error(heed::StatusCode::kInvalidArgument, "the prompt is empty");
  }
  if (Status s = write_text(*model, options, *text, context); !s.ok()) return s;
  return options.map.empty() ? Status() : write_map(*model, options, *text, context);
}

}  // namespace
}  // namespace tiny_lm

int main(int argc, char** argv) {
  CLI::App app("Writes text with a small language model; every attention in it is heed's.",
               "tiny-lm");
  tiny_lm::Options options;
  CLI::Option* prompt = app.add_option("PROMPT", options.prompt, "how the text begins");
  // CLI11 alone takes -1 and numbers of 30 digits for huge ones.
  const auto count = [](const std::string& text) {
    uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    return rest == end && error == std::errc()
               ? std::string()
               : "must be a whole number, 0 or more and below 2^64, not " + text;
  };
  app.add_option("--tokens", options.tokens, "characters to write")
      ->check(count)
      ->capture_default_str();
  auto* temperature =
      app.add_option("--temperature", options.temperature,
                     "how freely to choose: above 0; less stays closer to the likeliest text")
          ->capture_default_str();
  app.add_option("--seed", options.seed, "of the random choices")
      ->check(count)
      ->capture_default_str();
  app.add_flag("--greedy", options.greedy, "always the likeliest character")->excludes(temperature);
  app.add_option("--threads", options.threads, "0: as many as OpenMP would use")->check(count);
  CLI::Option* map =
      app.add_option("--map", options.map, "write a map of the attention weights to this SVG file");
  app.add_option("--map-tokens", options.map_tokens, "characters in the map, from the start")
      ->check(count)
      ->capture_default_str();
  app.add_option("--layer", options.layer, "layer of the map; default: the last")->check(count);
  app.add_option("--head", options.head, "head of the map; default: the last")->check(count);
  app.add_option("--model", options.model, "directory of the model");
  options.storage.add_to(&app);
  app.add_option("--perplexity", options.perplexity,
                 "instead: how well the model predicts the text of this file, beside f32")
      ->excludes(prompt)
      ->excludes(map);
  try {
    app.parse(argc, argv);
    if (!(options.temperature > 0) || !std::isfinite(1 / options.temperature)) {
      throw CLI::ValidationError("--temperature", "must be above 0 (or use --greedy)");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : tiny_lm::kBadInput;
  }
  if (const heed::Status status = tiny_lm::run(options); !status.ok()) {
    std::fprintf(stderr, "tiny-lm: %s\n", status.message());
    return tiny_lm::kBadInput;
  }
  return 0;
}
