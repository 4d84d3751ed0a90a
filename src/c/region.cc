#include "heed/region.hpp"

#include "src/c/call.h"
#include "src/c/options.h"
#include "src/c/region.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

// Null: no call.
const Region* RegionOf(const heed_region* region) {
  if (region == nullptr || region->plan == nullptr) return nullptr;
  return reinterpret_cast<const Region*>(region);
}

}  // namespace

heed_status heed_region_attention(const heed_tensor* q, const heed_tensor* k, const heed_tensor* v,
                                  const heed_tensor* out, const heed_attention_options* options,
                                  size_t max_workers, heed_context* context, heed_region* region,
                                  heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, region, &read));
    return Give(
        Region::attention(View(q), View(k), View(v), Output(out), read, max_workers, *Of(context)),
        region);
  });
}

heed_status heed_region_attention_cache(const heed_tensor* q, const heed_kv_cache* cache,
                                        const heed_tensor* out,
                                        const heed_attention_options* options, size_t max_workers,
                                        heed_context* context, heed_region* region,
                                        heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, region, &read));
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    return Give(
        Region::attention(View(q), *Of(cache), Output(out), read, max_workers, *Of(context)),
        region);
  });
}

heed_status heed_region_attention_paged(const heed_tensor* q, const heed_paged_kv* kv,
                                        const heed_tensor* out,
                                        const heed_attention_options* options, size_t max_workers,
                                        heed_context* context, heed_region* region,
                                        heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, region, &read));
    PagedKv pages;
    HEED_RETURN_IF_ERROR(Read(kv, &pages));
    return Give(Region::attention(View(q), pages, Output(out), read, max_workers, *Of(context)),
                region);
  });
}

heed_status heed_region_matmul(const heed_tensor* a, const heed_tensor* b, const heed_tensor* c,
                               const heed_matmul_options* options, size_t max_workers,
                               heed_context* context, heed_region* region, heed_error* error) {
  return Answer(error, [&]() -> Status {
    MatmulOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, region, &read));
    return Give(Region::matmul(View(a), View(b), Output(c), read, max_workers, *Of(context)),
                region);
  });
}

heed_status heed_region_matmul_packed(const heed_tensor* a, const heed_packed_matrix* b,
                                      const heed_tensor* c, const heed_matmul_options* options,
                                      size_t max_workers, heed_context* context,
                                      heed_region* region, heed_error* error) {
  return Answer(error, [&]() -> Status {
    MatmulOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, region, &read));
    HEED_RETURN_IF_ERROR(CheckPointer("b", b));
    return Give(Region::matmul(View(a), *Of(b), Output(c), read, max_workers, *Of(context)),
                region);
  });
}

size_t heed_region_phases(const heed_region* region) {
  return RegionOf(region) == nullptr ? 0 : RegionOf(region)->phases();
}

size_t heed_region_tasks(const heed_region* region, size_t phase) {
  return RegionOf(region) == nullptr ? 0 : RegionOf(region)->tasks(phase);
}

size_t heed_region_workers(const heed_region* region, size_t phase) {
  return RegionOf(region) == nullptr ? 0 : RegionOf(region)->workers(phase);
}

heed_status heed_region_run(const heed_region* region, size_t phase, size_t begin, size_t end,
                            size_t worker, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("region", region));
    HEED_RETURN_IF_ERROR(CheckPointer("region.plan", region->plan));
    return RegionOf(region)->run(phase, begin, end, worker);
  });
}
