#include "tools/onednn_operations.h"

#ifdef HEED_HAVE_ONEDNN

#include <oneapi/dnnl/dnnl.hpp>

namespace heed::tools {
namespace {

using Index = dnnl::memory::dim;

dnnl::softmax_forward::primitive_desc softmax_description(const dnnl::engine& engine,
                                                          const dnnl::memory::desc& shape) {
#if DNNL_VERSION_MAJOR >= 3
  return {
      engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::softmax_accurate, shape, shape,
      1};
#else
  return {dnnl::softmax_forward::desc(dnnl::prop_kind::forward_inference, shape, 1), engine};
#endif
}

}  // namespace

void onednn_gemm(bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float* a,
                 size_t lda, const float* b, size_t ldb, float* c, size_t ldc) {
  const auto index = [](size_t value) { return static_cast<Index>(value); };
  const dnnl::status s = dnnl::sgemm('N', transpose_b ? 'T' : 'N', index(m), index(n), index(k),
                                     alpha, a, index(lda), b, index(ldb), 0.0f, c, index(ldc));
  dnnl::error::wrap_c_api(static_cast<dnnl_status_t>(s), "sgemm was refused");
}

void onednn_softmax(size_t rows, size_t columns, float* x) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::memory::desc shape({static_cast<Index>(rows), static_cast<Index>(columns)},
                                 dnnl::memory::data_type::f32, dnnl::memory::format_tag::ab);
  const dnnl::memory memory(shape, engine, x);
  const dnnl::softmax_forward primitive(softmax_description(engine, shape));
  primitive.execute(stream, {{DNNL_ARG_SRC, memory}, {DNNL_ARG_DST, memory}});
  stream.wait();
}

}  // namespace heed::tools

#endif
