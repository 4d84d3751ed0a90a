#include "test/support/measured_calls.h"

#include <doctest/doctest.h>

#include <optional>
#include <utility>

namespace heed::test {

MeasuredCalls::MeasuredCalls() {
  AddAttention();
  AddCaches();
  AddProducts();
  AddPacking();
  AddOthers();
  AddLayers();
  AddRegions();
}

void MeasuredCalls::AddAttention() {
  const auto add = [this](const char* name, size_t queries, auto fill) {
    all_.push_back({name, [this, queries, fill](Context& c, bool data) {
                      AttentionOptions options;
                      fill(options, data);
                      return attention(F32(data, {1, queries, 4, 24}),
                                       F32(data, {1, kKeys, 2, 24}, 1000),
                                       F32(data, {1, kKeys, 2, 40}, 200000),
                                       Out(data, {1, queries, 4, 40}), options, c);
                    }});
  };
  add("prefill", 300, [](AttentionOptions& o, bool) { o.causal = true; });
  add("few queries", 2, [](AttentionOptions&, bool) {});
  add("weights and key scores", 33, [this](AttentionOptions& o, bool data) {
    o.causal = true;
    o.weights_heads = TensorView(If(data, chosen_), {3});
    o.weights = Out(data, {1, 3, 33, kKeys}, 20000);
    o.key_scores = Out(data, {1, 4, kKeys}, 300000);
    o.lse = Out(data, {1, 4, 33}, 390000);
  });
  add("masks, slopes and dropout", 40, [this](AttentionOptions& o, bool data) {
    o.mask = F32(data, {1, 40, kKeys}, 300000);
    o.alibi_slopes = F32(data, {4});
    o.dropout.probability = 0.25f;
  });
  add("lengths of sequences", 10, [this](AttentionOptions& o, bool data) {
    o.kv_lens = TensorView(If(data, lengths_ + 1), {1});
  });
  all_.push_back({"16 bits and int8", [this](Context& c, bool data) {
                    const auto* codes = reinterpret_cast<const int8_t*>(halves_.data());
                    AttentionOptions options;
                    options.v_scales = F32(data, {1, 700, 2});
                    return attention(Narrow<f16>(data, {1, 5, 4, 24}),
                                     Narrow<f16>(data, {1, 700, 2, 24}),
                                     TensorView(If(data, codes), {1, 700, 2, 40}),
                                     Out(data, {1, 5, 4, 40}), options, c);
                  }});
  all_.push_back({"packed sequences", [this](Context& c, bool data) {
                    AttentionOptions options;
                    options.cu_seqlens_q = TensorView(offsets_q_, {4});
                    options.cu_seqlens_k = TensorView(offsets_k_, {4});
                    return attention(F32(data, {40, 4, 24}), F32(data, {300, 2, 24}, 1000),
                                     F32(data, {300, 2, 40}, 200000), Out(data, {40, 4, 40}),
                                     options, c);
                  }});
  all_.push_back({"pages", [this](Context& c, bool data) {
                    PagedKv kv;
                    kv.k = F32(data, {66, 32, 2, 24});
                    kv.v = F32(data, {66, 32, 2, 40}, 200000);
                    kv.block_table = TensorView(If(data, blocks_.data()), {2, 66});
                    kv.seq_lens = TensorView(If(data, full_), {2});
                    return attention(F32(data, {2, 3, 4, 24}), kv, Out(data, {2, 3, 4, 40}), {}, c);
                  }});
  const auto state = [this](bool data) {
    AttentionState of;
    of.max = Out(data, {3, 1, 4, 5}, 300000);
    of.sum = Out(data, {3, 1, 4, 5}, 301000);
    of.acc = Out(data, {3, 1, 5, 4, 40}, 302000);
    return of;
  };
  all_.push_back({"attention_partial", [this, state](Context& c, bool data) {
                    return attention_partial(
                        F32(data, {1, 5, 4, 24}), F32(data, {1, kKeys, 2, 24}, 1000),
                        F32(data, {1, kKeys, 2, 40}, 200000), 0, kKeys, state(data), {}, c);
                  }});
  all_.push_back({"merge_attention", [this](Context& c, bool data) {
                    AttentionState of;
                    float* numbers = data ? numbers_.data() : nullptr;
                    of.max = MutableTensorView(numbers, {3, 1, 4, 5});
                    of.sum = MutableTensorView(data ? numbers + 100 : nullptr, {3, 1, 4, 5});
                    of.acc = MutableTensorView(data ? numbers + 200 : nullptr, {3, 1, 5, 4, 40});
                    return merge_attention(&of, 1, {}, Out(data, {1, 5, 4, 40}), {}, c);
                  }});
  all_.push_back({"merge_attention of two", [this](Context& c, bool data) {
                    return merge_attention(F32(data, {1, 5, 4, 40}), F32(data, {1, 4, 5}, 5000),
                                           F32(data, {1, 5, 4, 40}, 9000),
                                           F32(data, {1, 4, 5}, 20000), Out(data, {1, 5, 4, 40}),
                                           {}, c);
                  }});
}

void MeasuredCalls::AddCaches() {
  Context context;
  const KvCacheConfig configs[] = {
      {.num_kv_heads = 2, .head_dim = 24, .v_head_dim = 40, .capacity = kKeys},
      {.num_kv_heads = 2,
       .head_dim = 24,
       .v_head_dim = 40,
       .capacity = kKeys,
       .k_dtype = DType::kInt8,
       .v_dtype = DType::kInt4},
      {.num_kv_heads = 2, .head_dim = 24, .v_head_dim = 40, .capacity = 300, .window = 200}};
  for (const KvCacheConfig& config : configs) {
    Result<KvCache> cache = KvCache::create(config);
    REQUIRE(cache.ok());
    for (size_t n = 0; n < kKeys - 100; n += 100) {
      REQUIRE(cache->append(F32(true, {100, 2, 24}), F32(true, {100, 2, 40}), context).ok());
    }
    caches_.push_back(std::move(*cache));
  }
  for (size_t i = 0; i < std::size(configs); ++i) {
    const bool codes = configs[i].k_dtype == DType::kInt8;
    for (const auto& [queries, compute] :
         {std::pair{size_t{1}, Compute::kF32}, std::pair{size_t{60}, Compute::kF32},
          std::pair{size_t{60}, codes ? Compute::kInt16 : Compute::kF32}}) {
      all_.push_back(
          {"a cache", [this, i, queries = queries, compute = compute](Context& c, bool data) {
             AttentionOptions options;
             options.compute = compute;
             options.causal = true;
             options.window = caches_[i].config().window;
             if (data) {
               return attention(F32(data, {1, queries, 4, 24}), caches_[i],
                                Out(data, {1, queries, 4, 40}), options, c);
             }
             const Result<KvCache> cache =
                 KvCache::without_data(caches_[i].config(), caches_[i].length());
             REQUIRE(cache.ok());
             return attention(F32(data, {1, queries, 4, 24}), *cache,
                              Out(data, {1, queries, 4, 40}), options, c);
           }});
    }
    all_.push_back({"tokens of 16 bits for a cache",
                    [this, i](Context& c, bool data) {
                      return caches_[i].append(Narrow<f16>(data, {60, 2, 24}),
                                               Narrow<f16>(data, {60, 2, 40}), c);
                    },
                    [this, i] { REQUIRE(caches_[i].truncate(kKeys - 100).ok()); }});
  }
  Result<PagedKvCache> paged = PagedKvCache::create({.num_blocks = 9,
                                                     .num_kv_heads = 2,
                                                     .head_dim = 24,
                                                     .k_dtype = DType::kInt8,
                                                     .max_sequences = 1});
  REQUIRE(paged.ok());
  const Result<PagedSequence> sequence = paged->add();
  REQUIRE(sequence.ok());
  paged_.push_back(std::move(*paged));
  sequences_.push_back(*sequence);
  all_.push_back({"tokens for pages",
                  [this](Context& c, bool data) {
                    return paged_[0].append(sequences_[0], F32(data, {60, 2, 24}),
                                            Narrow<bf16>(data, {60, 2, 24}), c);
                  },
                  [this] { REQUIRE(paged_[0].truncate(sequences_[0], 0).ok()); }});
}

void MeasuredCalls::AddProducts() {
  Context context;
  for (const PackOptions& options :
       {PackOptions{DType::kF32}, PackOptions{DType::kBF16}, PackOptions{DType::kInt8, 32}}) {
    Result<PackedMatrix> packed =
        PackedMatrix::pack(F32(true, {300, 200}), WeightLayout::kInOut, options, context);
    REQUIRE(packed.ok());
    packed_.push_back(std::move(*packed));
  }
  for (const size_t rows : {size_t{1}, size_t{5}, size_t{120}, size_t{500}}) {
    all_.push_back({"a product", [this, rows](Context& c, bool data) {
                      return matmul(F32(data, {rows, 300}), F32(data, {300, 200}, 100),
                                    Out(data, {rows, 200}), {.bias = F32(data, {200})}, c);
                    }});
    all_.push_back({"a product of 16 bits", [this, rows](Context& c, bool data) {
                      return matmul(Narrow<f16>(data, {rows, 300}), Narrow<bf16>(data, {300, 200}),
                                    Out(data, {rows, 200}), {.bias = Narrow<f16>(data, {200})}, c);
                    }});
    for (size_t i = 0; i < packed_.size(); ++i) {
      all_.push_back(
          {"a product with a packed matrix",
           [this, rows, i](Context& c, bool data) {
             return matmul(F32(data, {rows, 300}), packed_[i], Out(data, {rows, 200}), {}, c);
           },
           [] {}, rows != 1});
    }
    all_.push_back({"a product in int16", [this, rows](Context& c, bool data) {
                      return matmul(F32(data, {rows, 300}), packed_.back(), Out(data, {rows, 200}),
                                    {.compute = Compute::kInt16}, c);
                    }});
  }
}

Status MeasuredCalls::Save(const Result<PackedMatrix>& packed) {
  return packed.ok() ? packed->save(out_.data(), packed->saved_bytes()) : packed.status();
}

// [70, 768]. Every other byte is the high one of an f16 from 0.5 to 1, as all scales are.
GgufMatrix MeasuredCalls::Blocks(bool data, GgufType type) const {
  const size_t bytes = type == GgufType::kQ8_0   ? 34 * 8
                       : type == GgufType::kQ4_0 ? 18 * 8
                       : type == GgufType::kQ6_K ? 210
                                                 : 144;
  return {If(data, halves_.data()), 70 * 3 * bytes, type, 70, 768};
}

// [300, 200] in groups of 32.
QuantizedView MeasuredCalls::Quantized(bool data) const {
  return {TensorView(If(data, codes_.data()), {300, 200}), F32(data, {10, 200})};
}

void MeasuredCalls::AddPacking() {
  for (const PackOptions& options : {PackOptions{DType::kF16}, PackOptions{DType::kInt4, 32}}) {
    all_.push_back({"packing", [this, options](Context& c, bool data) {
                      const TensorView parts[] = {F32(data, {300, 200}), F32(data, {40, 200}, 77)};
                      return Save(PackedMatrix::pack(parts, 2, WeightLayout::kOutIn, options,
                                                     made_.memory(), c));
                    }});
  }
  const auto add = [this](const char* name, auto run) {
    all_.push_back({name, run, [] {}, /*takes_workspace=*/false});
  };
  add("packing codes", [this](Context& c, bool data) {
    const QuantizedView b = Quantized(data);
    return Save(PackedMatrix::pack_quantized(&b, 1, WeightLayout::kInOut, {DType::kInt8, 32},
                                             made_.memory(), c));
  });
  for (const GgufType type : {GgufType::kQ4_0, GgufType::kQ6_K, GgufType::kQ4_K}) {
    add("packing blocks of GGUF", [this, type](Context& c, bool data) {
      const GgufMatrix two[] = {Blocks(data, type), Blocks(data, type)};
      return Save(pack_gguf(two, 2, made_.memory(), c));
    });
  }
  add("reading blocks of GGUF", [this](Context& c, bool data) {
    return dequantize_gguf(Blocks(data, GgufType::kQ8_0), Out(data, {70, 768}), c);
  });
}

void MeasuredCalls::AddRegions() {
  const auto add = [this](const char* name, auto make) {
    all_.push_back({name, [make](Context& c, bool data) {
                      const Result<Region> region = make(c, data);
                      if (!region.ok()) return region.status();
                      for (size_t phase = 0; phase < region->phases(); ++phase) {
                        Status status = region->run(phase, 0, region->tasks(phase), 0);
                        if (!status.ok()) return status;
                      }
                      return Status();
                    }});
  };
  add("a region of attention", [this](Context& c, bool data) {
    return Region::attention(F32(data, {1, 3, 4, 24}), F32(data, {1, kKeys, 2, 24}, 1000),
                             F32(data, {1, kKeys, 2, 40}, 200000), Out(data, {1, 3, 4, 40}), {}, 2,
                             c);
  });
  add("a region of a product", [this](Context& c, bool data) {
    return Region::matmul(F32(data, {90, 300}), F32(data, {300, 200}, 100), Out(data, {90, 200}),
                          {}, 2, c);
  });
  add("a region of a product with a packed matrix", [this](Context& c, bool data) {
    return Region::matmul(F32(data, {90, 300}), packed_[1], Out(data, {90, 200}), {}, 2, c);
  });
  add("a region of a layer", [this](Context& c, bool data) {
    return Region::forward(layers_[0], F32(data, {70, 64}), Out(data, {70, 50}), {}, 2, c);
  });
}

void MeasuredCalls::AddOthers() {
  all_.push_back({"softmax of 16 bits", [this](Context& c, bool data) {
                    return softmax(Narrow<f16>(data, {300, 77}), Out(data, {300, 77}), {}, c);
                  }});
  all_.push_back({"softmax",
                  [this](Context& c, bool data) {
                    return softmax(F32(data, {300, 77}), Out(data, {300, 77}), {}, c);
                  },
                  [] {}, false});
  all_.push_back({"rope", [this](Context& c, bool data) {
                    return rope(F32(data, {1, 300, 4, 24}),
                                TensorView(If(data, positions_.data()), {300}),
                                Out(data, {1, 300, 4, 24}), {}, c);
                  }});
  all_.push_back({"hadamard", [this](Context& c, bool data) {
                    return hadamard(F32(data, {1200, 24}), Out(data, {1200, 24}), c);
                  }});
  all_.push_back({"quantize", [this](Context& c, bool data) {
                    auto* codes = data ? reinterpret_cast<int8_t*>(out_.data()) : nullptr;
                    return quantize(F32(data, {200, 96}), DType::kInt4, 32,
                                    MutableTensorView(codes, {200, 96}), Out(data, {200, 3}, 10000),
                                    {}, c)
                        .status();
                  }});
  all_.push_back({"dequantize",
                  [this](Context& c, bool data) {
                    const QuantizedView of = Quantized(data);
                    return dequantize(of.codes.transpose(0, 1), of.scales.transpose(0, 1), 32,
                                      Out(data, {200, 300}), c);
                  },
                  [] {}, false});
  all_.push_back({"convert",
                  [this](Context& c, bool data) {
                    return convert(Narrow<f16>(data, {300, 77}), Out(data, {300, 77}), c);
                  },
                  [] {}, false});
  all_.push_back({"storage_error", [this](Context& c, bool data) {
                    return storage_error(F32(data, {200, 96}), WeightLayout::kInOut, {DType::kInt8},
                                         {.rms = Out(data, {96})}, c)
                        .status();
                  }});
}

void MeasuredCalls::AddLayers() {
  Context context;
  MultiHeadAttentionConfig config;
  config.d_in = 64;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 24;
  config.v_head_dim = 40;
  config.rope = RopeOptions{};
  config.hadamard = true;
  const auto weights = [this](bool data) {
    MultiHeadAttentionWeights of;
    of.q.weight = F32(data, {96, 64});
    of.k.weight = F32(data, {48, 64}, 100);
    of.v.weight = F32(data, {80, 64}, 200);
    of.out.weight = F32(data, {50, 160}, 300);
    of.k.storage = {DType::kInt8, 32};
    of.k.compute = Compute::kInt16;
    of.q.bias = F32(data, {96});
    of.q_norm = F32(data, {24});
    return of;
  };
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights(true), context);
  REQUIRE(layer.ok());
  layers_.push_back(std::move(*layer));
  Result<KvCache> cache = layers_[0].create_cache(2, 500);
  REQUIRE(cache.ok());
  const size_t at = caches_.size();
  caches_.push_back(std::move(*cache));
  all_.push_back(
      {"making a layer", [this, config, weights](Context& c, bool data) {
         return MultiHeadAttention::create(config, weights(data), made_.memory(), c).status();
       }});
  for (const size_t past : {size_t{0}, size_t{400}}) {
    for (const size_t tokens : {size_t{1}, size_t{90}}) {
      all_.push_back({"a layer",
                      [this, at, past, tokens](Context& c, bool data) {
                        ForwardOptions options;
                        std::optional<Result<KvCache>> stand_in;
                        if (!data) {
                          stand_in = KvCache::without_data(caches_[at].config(), past);
                          REQUIRE(stand_in->ok());
                        }
                        options.cache = data ? &caches_[at] : &**stand_in;
                        options.lse = Out(data, {2, 4, tokens}, 300000);
                        return layers_[0].forward(F32(data, {2, tokens, 64}),
                                                  Out(data, {2, tokens, 50}), options, c);
                      },
                      [this, at, past] {
                        Context own;
                        REQUIRE(caches_[at].truncate(0).ok());
                        if (past == 0) return;
                        const TensorView k = F32(true, {2, past, 2, 24});
                        REQUIRE(caches_[at].append(k, F32(true, {2, past, 2, 40}), own).ok());
                      }});
    }
  }
  all_.push_back(
      {"a layer without a cache, of 16 bits", [this](Context& c, bool data) {
         ForwardOptions options;
         options.context = Out(data, {70, 160}, 50000);
         return layers_[0].forward(Narrow<f16>(data, {70, 64}), Out(data, {70, 50}), options, c);
       }});
}

}  // namespace heed::test
