// The metadata of a golden case. Every key is read by name and every value checked; a key that
// nobody reads is an error, so a new option cannot pass unnoticed.
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <sstream>

#include "test/oracle.h"

namespace heed::oracle {
namespace {

constexpr StatusCode kBad = StatusCode::kInvalidArgument;

// Reads entries and keeps the first error.
class Metadata {
 public:
  explicit Metadata(const std::map<std::string, std::string>& entries) : entries_(entries) {}

  bool has(const std::string& key) const { return entries_.count(key) != 0; }

  std::string text(const std::string& key) {
    read_.insert(key);
    const auto entry = entries_.find(key);
    if (entry == entries_.end()) {
      fail("metadata '" + key + "' is missing");
      return "";
    }
    return entry->second;
  }

  std::string one_of(const std::string& key, std::initializer_list<const char*> words) {
    const std::string value = text(key);
    for (const char* word : words) {
      if (value == word) return value;
    }
    fail("metadata " + key + " is '" + value + "', which is unknown here");
    return value;
  }

  bool flag(const std::string& key) { return one_of(key, {"0", "1"}) == "1"; }

  size_t count(const std::string& key) { return to_count(key, text(key)); }

  std::vector<size_t> counts(const std::string& key) {  // "3,1,2"; "" is none
    std::vector<size_t> values;
    std::istringstream list(text(key));
    for (std::string item; std::getline(list, item, ',');) values.push_back(to_count(key, item));
    return values;
  }

  double number(const std::string& key) {
    const std::string value = text(key);
    char* end = nullptr;
    const double result = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0' || !std::isfinite(result)) {
      fail("metadata " + key + " is '" + value + "', not a finite number");
    }
    return result;
  }

  double tolerance(const std::string& key) {
    const double value = number(key);
    if (value < 0 || value > 1) fail("metadata " + key + " must be in [0, 1]");
    return value;
  }

  void ignore(std::initializer_list<const char*> keys) { read_.insert(keys.begin(), keys.end()); }

  void fail(const std::string& message) {
    if (status_.ok()) status_ = Status::Error(kBad, "%s", message.c_str());
  }

  const Status& finish() {
    for (const auto& [key, value] : entries_) {
      if (read_.count(key) == 0) fail("metadata '" + key + "' is unknown here");
    }
    return status_;
  }

 private:
  size_t to_count(const std::string& key, const std::string& value) {
    char* end = nullptr;
    errno = 0;
    const unsigned long long result = std::strtoull(value.c_str(), &end, 10);
    const bool digits = value.find_first_not_of("0123456789") == std::string::npos;
    if (value.empty() || !digits || errno != 0 || result > std::numeric_limits<int32_t>::max()) {
      fail("metadata " + key + " is '" + value + "', not a count");
      return 0;
    }
    return static_cast<size_t>(result);
  }

  const std::map<std::string, std::string>& entries_;
  std::set<std::string> read_;
  Status status_;
};

void parse_shape(Metadata& m, Case& c) {
  c.shape.batch = m.count("batch");
  c.shape.q_len = m.count("q_len");
  c.shape.kv_len = m.count("kv_len");
  c.shape.num_heads = m.count("heads");
  c.shape.num_kv_heads = m.count("kv_heads");
  c.shape.head_dim = m.count("head_dim");
  c.shape.v_head_dim = m.count("v_head_dim");
  if (!c.is_layer()) return;
  c.fused_qkv = m.one_of("qkv_layout", {"separate", "fused_blocks"}) == "fused_blocks";
  c.qkv_bias = m.flag("qkv_bias");
  c.out_bias = m.flag("out_bias");
  c.d_in = m.count("d_in");
  c.d_out = m.count("d_out");
}

void parse_scale(Metadata& m, Case& c) {
  const double scale = m.number("scale");
  if (m.one_of("scale_mode", {"default", "custom"}) == "custom") {
    c.scale = static_cast<float>(scale);
  } else if (c.op != "rope" &&
             std::abs(scale * std::sqrt(static_cast<double>(c.shape.head_dim)) - 1) > 1e-6) {
    m.fail("metadata scale is not 1 / sqrt(head_dim), though scale_mode is 'default'");
  }
}

void parse_rope(Metadata& m, Case& c) {
  const std::string kind = m.one_of("rope", {"none", "half", "interleaved"});
  const double theta = m.number("rope_theta");
  const size_t rope_dim = m.count("rope_dim");
  if (kind == "none") return;
  if (rope_dim == 0) m.fail("metadata rope_dim is 0, though rope is '" + kind + "'");
  c.rope = RopeOptions{.rope_dim = rope_dim, .theta = theta, .interleaved = kind == "interleaved"};
}

void parse_options(Metadata& m, Case& c) {
  c.window = m.count("window");
  c.soft_cap = static_cast<float>(m.number("softcap"));
  c.alibi = m.flag("alibi");
  c.sinks = m.flag("sink");
  const std::string bias = m.one_of("bias", {"none", "shared", "per_head"});
  if (bias != "none") c.mask = test::MaskType::kAdditive;
  c.mask_heads = bias == "per_head";
  c.mask_queries = true;
  c.key_mask = m.flag("key_mask");
  if (c.op == "attention_paged") {
    c.block_size = m.count("block_size");
    m.one_of("unused_fill", {"nan", "garbage"});
  }
  if (c.is_layer() && (c.alibi || c.sinks || c.key_mask || c.mask != test::MaskType::kNone)) {
    m.fail("metadata asks for alibi, sink, bias or key_mask in a layer, which is unknown here");
  }
}

void parse_tolerances(Metadata& m, Case& c) {
  c.atol = m.tolerance("atol");
  c.rtol = m.tolerance("rtol");
  if (c.op != "rope" || m.has("lse_atol")) {
    c.lse_atol = m.tolerance("lse_atol");
    c.lse_rtol = m.tolerance("lse_rtol");
  }
  // heed computes angles in double, so the tighter bound for such implementations is its own.
  if (m.has("atol_exact_angles")) c.atol = m.tolerance("atol_exact_angles");
  // Bounds for implementations that round to 16 bits on the way: heed does not.
  m.ignore({"atol_lowp", "rtol_lowp"});
}

}  // namespace

Result<Case> parse_case(const std::map<std::string, std::string>& metadata) {
  Metadata m(metadata);
  Case c;
  m.one_of("format", {"golden-attn-1"});
  c.op = m.one_of("op", {"attention", "attention_varlen", "attention_paged", "attention_layer",
                         "attention_decode", "layer_decode", "rope"});
  parse_shape(m, c);
  c.causal = m.flag("causal");
  parse_scale(m, c);
  parse_rope(m, c);
  parse_options(m, c);
  parse_tolerances(m, c);
  c.check_rows = m.flag("check");
  c.chunks = m.counts("chunks");
  // Inputs are stored as F32 whatever they were rounded to; heed is given them in that type.
  const std::string dtype = m.one_of("input_dtype", {"f32", "bf16", "f16"});
  c.input_dtype = dtype == "bf16" ? DType::kBF16 : dtype == "f16" ? DType::kF16 : DType::kF32;
  m.ignore({"suite", "case", "family", "description", "tolerance", "xcheck", "f32_err_naive",
            "f32_err_online", "f32_err_scalar"});

  const bool decode = c.op == "attention_decode" || c.op == "layer_decode";
  size_t total = 0;
  for (size_t chunk : c.chunks) total += chunk;
  if (decode ? total != c.shape.q_len || c.shape.kv_len != c.shape.q_len || !c.causal
             : total != 0) {
    m.fail("metadata chunks do not fit op '" + c.op + "' and its lengths");
  }
  if (c.op == "rope" && !c.rope) m.fail("metadata rope is 'none', though op is 'rope'");
  if (const Status& status = m.finish(); !status.ok()) return status;
  return c;
}

}  // namespace heed::oracle
