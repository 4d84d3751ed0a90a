#include "heed/context.hpp"

#include "src/base/context.h"
#include "src/c/call.h"
#include "src/c/options.h"

using namespace heed;  // NOLINT: the functions below are C's

heed_status heed_context_create(const heed_context_options* options, heed_context** context,
                                heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("context", context));
    ContextOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    Context made(read);
    HEED_RETURN_IF_ERROR(made.status());
    return Keep(Result<Context>(std::move(made)), context);
  });
}

void heed_context_destroy(heed_context* context) { Drop(Of(context)); }

size_t heed_context_memory_bytes(size_t workspace_bytes) {
  return Context::memory_bytes(workspace_bytes);
}

size_t heed_context_num_threads(const heed_context* context) {
  return context == nullptr ? 0 : Of(context)->num_threads();
}

const char* heed_context_target(const heed_context* context) {
  return context == nullptr ? nullptr : Of(context)->target();
}

size_t heed_context_workspace_bytes(const heed_context* context) {
  return context == nullptr ? 0 : Of(context)->workspace_bytes();
}
