// Walks through the chapter on attention of "Build a Large Language Model (From Scratch)" and
// prints every number beside its section, computed by heed.
#include <cstdio>
#include <stdexcept>

#include "examples/chapter3/lab.h"

namespace {

using chapter3::Array;

void print(const Array& a) {
  if (a.shape.empty()) {
    std::printf("    %.*f\n", a.values[0] >= 1e4f ? 0 : 4, static_cast<double>(a.values[0]));
    return;
  }
  const size_t columns = a.shape.back();
  for (size_t i = 0; i < a.values.size(); ++i) {
    std::printf("%s%8.4f", i % columns == 0 ? "    " : " ", static_cast<double>(a.values[i]));
    if ((i + 1) % columns != 0) continue;
    std::printf("\n");
    // An empty line between matrices.
    const size_t rows = a.shape.size() > 1 ? a.shape[a.shape.size() - 2] : 1;
    if ((i + 1) % (rows * columns) == 0 && i + 1 < a.values.size()) std::printf("\n");
  }
}

std::string shape_text(const Array& a) {
  std::string text;
  for (size_t n : a.shape) text += (text.empty() ? "" : " x ") + std::to_string(n);
  return text.empty() ? "" : " (" + text + ")";
}

}  // namespace

int main() {
  const auto book = heed::tools::Safetensors::load(CHAPTER3_DATA);
  if (!book.ok()) {
    std::fprintf(stderr, "chapter3: %s\n", book.status().message());
    return 2;
  }
  heed::Context context;
  chapter3::Lab lab(*book, context);
  try {
    chapter3::one_head(lab);
    chapter3::many_heads(lab);
  } catch (const std::runtime_error& error) {
    std::fprintf(stderr, "chapter3: %s\n", error.what());
    return 2;
  }
  for (const chapter3::Section& section : lab.sections()) {
    std::printf("\n== %s\n", section.title.c_str());
    for (const chapter3::Entry& entry : section.entries) {
      std::printf("\n  %s%s\n", entry.what.c_str(), shape_text(entry.value).c_str());
      print(entry.value);
    }
  }
  return 0;
}
