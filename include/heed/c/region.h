// Calls whose tasks the host runs itself, on threads of its own job system.
#pragma once

#include "heed/c/attention.h"
#include "heed/c/matmul.h"
#include "heed/c/multi_head_attention.h"

#ifdef __cplusplus
extern "C" {
#endif

// A call that is checked, planned, and cut into tasks, of which nothing has run. The host runs
// them; heed starts no thread, takes no lock, allocates nothing and never waits in there.
//
//   heed_region region;
//   heed_region_attention(&q, &k, &v, &out, NULL, 8, context, &region, &error);
//   for (size_t phase = 0; phase < heed_region_phases(&region); ++phase) {
//     // On any threads, in any pieces: heed_region_run(&region, phase, begin, end, worker, &error)
//     // until all of the heed_region_tasks(&region, phase) have run; then the next phase.
//   }
//
// The bits are those of the function itself, whoever runs what. A region lies in its context's
// workspace, and ends with the context's next call or end. It is a handle: copies are the same
// region. All that the call got must stay as it is until the last task has run: the tensors' data,
// and the layer, the cache, the packed matrix and what the tensors of `options` hold. (The structs
// that describe them may go.) Lengths and lists are read here.
typedef struct heed_region {
  const void* plan;  // null: no call
} heed_region;

// Of the functions of the same name, for at most `max_workers` threads at a time (1 to 4096),
// whatever num_threads the context has. Errors: as of these functions; the region then has no call.
HEED_API heed_status heed_region_attention(const heed_tensor* q, const heed_tensor* k,
                                           const heed_tensor* v, const heed_tensor* out,
                                           const heed_attention_options* options,
                                           size_t max_workers, heed_context* context,
                                           heed_region* region, heed_error* error);
HEED_API heed_status heed_region_attention_cache(const heed_tensor* q, const heed_kv_cache* cache,
                                                 const heed_tensor* out,
                                                 const heed_attention_options* options,
                                                 size_t max_workers, heed_context* context,
                                                 heed_region* region, heed_error* error);
HEED_API heed_status heed_region_attention_paged(const heed_tensor* q, const heed_paged_kv* kv,
                                                 const heed_tensor* out,
                                                 const heed_attention_options* options,
                                                 size_t max_workers, heed_context* context,
                                                 heed_region* region, heed_error* error);
HEED_API heed_status heed_region_matmul(const heed_tensor* a, const heed_tensor* b,
                                        const heed_tensor* c, const heed_matmul_options* options,
                                        size_t max_workers, heed_context* context,
                                        heed_region* region, heed_error* error);
HEED_API heed_status heed_region_matmul_packed(const heed_tensor* a, const heed_packed_matrix* b,
                                               const heed_tensor* c,
                                               const heed_matmul_options* options,
                                               size_t max_workers, heed_context* context,
                                               heed_region* region, heed_error* error);

// heed_multi_head_attention_forward(). One of the phases appends x's tokens to the cache: a region
// that ends before leaves the cache's length as it was, one that ends later has appended them.
HEED_API heed_status heed_region_forward(const heed_multi_head_attention* layer,
                                         const heed_tensor* x, const heed_tensor* y,
                                         const heed_forward_options* options, size_t max_workers,
                                         heed_context* context, heed_region* region,
                                         heed_error* error);

// All tasks of a phase must have run before one of the next begins, and each exactly once: with
// tasks run again, left out or in another order the results hold anything, and memory that is not
// the call's may be written. 0: there is nothing to do, or no call.
HEED_API size_t heed_region_phases(const heed_region* region);
HEED_API size_t heed_region_tasks(const heed_region* region, size_t phase);
// Workers that a phase has memory for, at most max_workers.
HEED_API size_t heed_region_workers(const heed_region* region, size_t phase);

// Runs tasks [begin, end) of a phase on the calling thread, with the memory of `worker`, which
// must be below heed_region_workers() and no other thread's until the call returns. Errors:
// HEED_INVALID_ARGUMENT (no call, or a phase, task or worker that does not exist); nothing has run.
HEED_API heed_status heed_region_run(const heed_region* region, size_t phase, size_t begin,
                                     size_t end, size_t worker, heed_error* error);

#ifdef __cplusplus
}
#endif
