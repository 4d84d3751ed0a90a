// The small language model of examples/tiny-lm against results that were computed in float64 from
// the same weights: end to end, every attention by heed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "examples/tiny-lm/model.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "tools/file.h"

namespace heed::test {
namespace {

using tiny_lm::Model;
using tiny_lm::Session;

const std::string kData = MODEL_DIR "/../../test/data/tiny-lm";

// Logits reach 13 and attention outputs 5; the worst error measured is 1e-5 (a logit), and this is
// twice that.
constexpr double kTolerance = 2e-5;

const tools::Safetensors& Golden() {
  static const auto golden = tools::Safetensors::load(kData + "/golden.safetensors");
  REQUIRE_MESSAGE(golden.ok(), golden.status().message());
  return *golden;
}

const Model& TinyLm() {
  static Context context;
  static const auto model = Model::load(MODEL_DIR, {}, context);
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  return *model;
}

std::vector<float> Floats(const std::string& name) {
  auto values = Golden().read_f32(name);
  REQUIRE_MESSAGE(values.ok(), values.status().message());
  return *values;
}

std::vector<int32_t> Tokens(const std::string& name) {
  auto values = Golden().read_i32(name);
  REQUIRE_MESSAGE(values.ok(), values.status().message());
  return *values;
}

std::vector<int32_t> ValidationTokens() {
  const auto text = tools::read_text(kData + "/validation.txt", 4096);
  REQUIRE(text.ok());
  const auto tokens = TinyLm().vocabulary().encode(*text);
  REQUIRE(tokens.ok());
  return *tokens;
}

std::string Prompt(int number) { return "prompt" + std::to_string(number) + "/"; }

double WorstDifference(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

// Logits of `tokens`, given to the model in pieces of `chunk`.
std::vector<float> Logits(const std::vector<int32_t>& tokens, size_t chunk, Context& context,
                          tiny_lm::Trace* trace = nullptr) {
  auto session = TinyLm().start_session();
  REQUIRE(session.ok());
  std::vector<float> all, part;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t end = std::min(begin + chunk, tokens.size());
    const std::vector<int32_t> piece(tokens.begin() + static_cast<ptrdiff_t>(begin),
                                     tokens.begin() + static_cast<ptrdiff_t>(end));
    const Status status = TinyLm().forward(piece, *session, part, trace, context);
    REQUIRE_MESSAGE(status.ok(), status.message());
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace

TEST_CASE("tiny-lm: logits and attention layers agree with float64") {
  Context context;
  for (int number = 0; number < 3; ++number) {
    CAPTURE(number);
    const auto tokens = Tokens(Prompt(number) + "ids");
    const auto encoded =
        TinyLm().vocabulary().encode(Golden().metadata().at("prompt" + std::to_string(number)));
    REQUIRE(encoded.ok());
    CHECK(*encoded == tokens);
    for (size_t layer : {0u, 2u}) {
      CAPTURE(layer);
      tiny_lm::Trace trace;
      trace.layer = layer;
      const auto logits = Logits(tokens, tokens.size(), context, &trace);
      const std::string prefix = Prompt(number) + "l" + std::to_string(layer) + ".";
      CHECK(WorstDifference(trace.in, Floats(prefix + "attn_in")) <= kTolerance);
      CHECK(WorstDifference(trace.out, Floats(prefix + "attn_out")) <= kTolerance);
      CHECK(WorstDifference(logits, Floats(Prompt(number) + "logits")) <= kTolerance);
    }
  }
}

TEST_CASE("tiny-lm: greedy text is the expected one to the character") {
  Context context;
  const size_t vocab_size = TinyLm().config().vocab_size;
  for (int number = 0; number < 3; ++number) {
    CAPTURE(number);
    const auto expected = Tokens(Prompt(number) + "greedy_ids");
    auto text = Tokens(Prompt(number) + "ids");
    auto session = TinyLm().start_session();
    REQUIRE(session.ok());
    std::vector<float> logits;
    std::vector<int32_t> next = text;
    while (text.size() < expected.size()) {
      REQUIRE(TinyLm().forward(next, *session, logits, nullptr, context).ok());
      const auto best =
          std::max_element(logits.end() - static_cast<ptrdiff_t>(vocab_size), logits.end());
      next = {static_cast<int32_t>(best - (logits.end() - static_cast<ptrdiff_t>(vocab_size)))};
      text.push_back(next[0]);
    }
    CHECK(text == expected);
    std::string characters;
    for (int32_t token : text) characters += TinyLm().vocabulary().character(token);
    CHECK(characters == Golden().metadata().at("greedy" + std::to_string(number)));
  }
}

TEST_CASE("tiny-lm: loss on text it was not trained on") {
  Context context;
  const auto tokens = ValidationTokens();
  REQUIRE(tokens.size() == 4096);
  // The protocol of golden.safetensors, too.
  const auto loss = tiny_lm::loss_of(TinyLm(), tokens, context);
  REQUIRE(loss.ok());
  CHECK(loss->characters == 15 * 256);
  const double expected = std::stod(Golden().metadata().at("validation_nll_per_char"));
  // Errors of single logits mostly cancel in a mean over 3840 characters: 3e-8 was measured.
  CHECK(std::abs(loss->nats - expected) <= 1e-6);
  CHECK(loss->perplexity() == doctest::Approx(std::exp(expected)).epsilon(1e-6));

  const auto part = tiny_lm::loss_of(TinyLm(), {tokens.begin(), tokens.begin() + 41}, context);
  REQUIRE(part.ok());
  CHECK(part->characters == 40);
  CHECK(!tiny_lm::loss_of(TinyLm(), {1}, context).ok());
}

TEST_CASE("tiny-lm: perplexity with weights and caches in fewer bits") {
  constexpr DType kF32 = DType::kF32;
  const struct {
    tiny_lm::Storage storage;
    double most;  // change of the perplexity, as a share of f32's
  } cases[] = {
      {{{DType::kBF16}}, 2e-4},
      {{{DType::kF16}}, 2e-4},
      {{{}, DType::kBF16, DType::kBF16}, 2e-4},
      {{{}, DType::kF16, DType::kF16}, 2e-4},
      {{{DType::kInt8}}, 5e-3},
      {{{DType::kInt8, 32}}, 5e-3},
      {{{DType::kInt8, 64}}, 5e-3},
      {{{DType::kInt8, 128}}, 5e-3},
      {{{}, DType::kInt8, DType::kInt8}, 3e-3},
      {{{}, DType::kInt8, DType::kInt8, /*hadamard=*/true}, 3e-3},
      {{{}, DType::kBF16, DType::kInt8}, 3e-3},
      {{{DType::kInt4, 32}}, 4e-2},
      {{{DType::kInt4, 64}}, 4e-2},
      {{{DType::kInt4, 128}}, 4e-2},
  };
  Context context;
  const auto tokens = ValidationTokens();
  const double f32 = tiny_lm::loss_of(TinyLm(), tokens, context)->perplexity();
  for (const auto& c : cases) {
    const PackOptions& weights = c.storage.weights;
    INFO("weights " << name_of(weights.dtype) << "/" << weights.group << ", keys "
                    << name_of(c.storage.keys) << ", values " << name_of(c.storage.values));
    const auto model = Model::load(MODEL_DIR, c.storage, context);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    const auto loss = tiny_lm::loss_of(*model, tokens, context);
    REQUIRE_MESSAGE(loss.ok(), loss.status().message());
    CHECK(std::abs(loss->perplexity() / f32 - 1) <= c.most);
    // The checkpoint is bf16, so its weights lose nothing there; all else must change something.
    CHECK((loss->perplexity() == f32) == (weights.dtype == DType::kBF16));
    CHECK((model->weight_bytes() < TinyLm().weight_bytes()) == (weights.dtype != kF32));
  }
}

TEST_CASE("tiny-lm: products in int16 change the perplexity by less than 2e-5 of it") {
  Context context;
  const auto tokens = ValidationTokens();
  for (const PackOptions& weights : {PackOptions{DType::kInt8}, PackOptions{DType::kInt4, 32}}) {
    double perplexity[2] = {};
    for (const Compute compute : {Compute::kF32, Compute::kInt16}) {
      const auto model = Model::load(MODEL_DIR, {.weights = weights, .compute = compute}, context);
      REQUIRE_MESSAGE(model.ok(), model.status().message());
      const auto loss = tiny_lm::loss_of(*model, tokens, context);
      REQUIRE_MESSAGE(loss.ok(), loss.status().message());
      perplexity[compute == Compute::kInt16] = loss->perplexity();
    }
    CHECK(std::abs(perplexity[1] / perplexity[0] - 1) < 2e-5);
    CHECK(perplexity[1] != perplexity[0]);
  }
}

// What a layer's output changes by makes other codes of the next layer's keys and values here and
// there, and in int4 those are far apart: 1e-5 and 2e-4 were seen.
TEST_CASE("tiny-lm: attention in int16 changes the perplexity by less than 1e-3 of it") {
  Context context;
  const auto tokens = ValidationTokens();
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    double perplexity[2] = {};
    for (const Compute compute : {Compute::kF32, Compute::kInt16}) {
      const auto model = Model::load(
          MODEL_DIR, {.keys = dtype, .values = dtype, .attention_compute = compute}, context);
      REQUIRE_MESSAGE(model.ok(), model.status().message());
      const auto loss = tiny_lm::loss_of(*model, tokens, context);
      REQUIRE_MESSAGE(loss.ok(), loss.status().message());
      perplexity[compute == Compute::kInt16] = loss->perplexity();
    }
    CHECK(std::abs(perplexity[1] / perplexity[0] - 1) < (dtype == DType::kInt8 ? 1e-4 : 1e-3));
    CHECK(perplexity[1] != perplexity[0]);
  }
}

TEST_CASE("tiny-lm: the same bits for any threads and any way to cut the text") {
  const auto tokens = Tokens("prompt1/greedy_ids");
  Context one({.num_threads = 1});
  const auto logits = Logits(tokens, tokens.size(), one);
  for (size_t threads : {1u, 2u, 7u}) {
    Context context({.num_threads = threads});
    for (size_t chunk : {tokens.size(), size_t{1}, size_t{64}, size_t{19}}) {
      CAPTURE(threads);
      CAPTURE(chunk);
      CHECK(Difference(Logits(tokens, chunk, context), logits) == "");
    }
  }
}

TEST_CASE("tiny-lm: the same bits for every instruction set of a family") {
  const auto tokens = Tokens("prompt0/ids");
  const auto golden = Floats("prompt0/logits");
  const PerFamily<std::vector<float>> logits([&](Family wanted) {
    for (const char* target : Targets()) {
      if (family(target) != wanted) continue;
      Context context({.num_threads = 1, .target = target});
      return Logits(tokens, tokens.size(), context);
    }
    return std::vector<float>();
  });
  for (const char* target : Targets()) {
    CAPTURE(target);
    Context context({.num_threads = 2, .target = target});
    const auto got = Logits(tokens, 10, context);
    CHECK(Difference(got, logits[family(target)]) == "");
    CHECK(WorstDifference(got, golden) <= kTolerance);
  }
}

TEST_CASE("tiny-lm: what it cannot do is refused by name") {
  const auto unknown = TinyLm().vocabulary().encode("caf\u00e9");
  REQUIRE(!unknown.ok());
  CHECK(std::string(unknown.status().message()).find("'\u00e9'") != std::string::npos);
  CHECK(!TinyLm().vocabulary().encode("\t").ok());
  CHECK(!TinyLm().vocabulary().encode("\xC3").ok());  // half a character

  Context context;
  auto session = TinyLm().start_session();
  REQUIRE(session.ok());
  std::vector<float> logits;
  const size_t longest = TinyLm().config().max_position_embeddings;
  const std::vector<int32_t> too_long(longest + 1, 1);
  CHECK(TinyLm().forward(too_long, *session, logits, nullptr, context).code() ==
        StatusCode::kCapacityExceeded);
  CHECK(TinyLm().forward({65}, *session, logits, nullptr, context).code() ==
        StatusCode::kInvalidArgument);
  CHECK(TinyLm().forward({-1}, *session, logits, nullptr, context).code() ==
        StatusCode::kInvalidArgument);
  CHECK(session->front().length() == 0);
  CHECK(!Model::load(kData, {}, context).ok());  // no config.json there
}

}  // namespace heed::test
