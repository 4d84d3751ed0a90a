// What the figures ask of results.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "bench/html_report_figures.h"
#include "bench/plot.h"
#include "bench/results_text.h"

namespace heed::bench {
namespace {

void AddOnce(const std::string& text, std::vector<std::string>* texts) {
  if (std::find(texts->begin(), texts->end(), text) == texts->end()) texts->push_back(text);
}

}  // namespace

Palette::Palette(const Results& results) {
  std::vector<std::string> libraries;
  for (const Entry& entry : results.entries) AddOnce(entry.library, &libraries);
  const auto rank = [](const std::string& name) {
    return name == "heed" ? 0 : name == "unfused" ? 1 : 2;
  };
  std::stable_sort(libraries.begin(), libraries.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  size_t next = kPlainStyle + 1;
  for (const std::string& library : libraries) {
    const size_t style = rank(library) == 2 ? next++ : static_cast<size_t>(rank(library));
    styles_[library] = style < kStyles ? style : 2 + (style - 2) % (kStyles - 2);
    keys_.push_back({library, styles_[library]});
  }
}

std::vector<std::string> operations_of(const Results& results) {
  std::vector<std::string> operations;
  for (const Entry& entry : results.entries) AddOnce(entry.operation, &operations);
  return operations;
}

std::vector<std::string> shapes_of(const Results& results, const std::string& operation) {
  std::vector<std::string> shapes;
  for (const Entry& entry : results.entries) {
    if (entry.operation == operation) AddOnce(entry.shape, &shapes);
  }
  return shapes;
}

std::vector<size_t> threads_of(const Results& results) {
  std::set<size_t> threads;
  for (const Entry& entry : results.entries) threads.insert(entry.threads);
  return {threads.begin(), threads.end()};
}

std::vector<size_t> shown_threads(const Results& results) {
  std::vector<size_t> threads = threads_of(results);
  if (threads.size() > 2) threads = {threads.front(), threads.back()};
  return threads;
}

const Entry* find_entry(const Results& results, const std::string& operation,
                        const std::string& shape, size_t threads, const std::string& library) {
  for (const Entry& entry : results.entries) {
    if (entry.threads == threads && entry.library == library && entry.shape == shape &&
        entry.operation == operation) {
      return &entry;
    }
  }
  return nullptr;
}

bool has_time(const Entry& entry) { return entry.error.empty() && best_seconds(entry) > 0; }

std::string tooltip_of(const Entry& entry) {
  const std::string name = entry.library + ", " + entry.operation + ", " + readable(entry.shape) +
                           ", " + threads_text(entry.threads);
  if (!has_time(entry)) return name + ": " + (entry.error.empty() ? "not timed" : entry.error);
  const std::string rate = rate_text(entry);
  return name + ": " + duration_text(best_seconds(entry)) + (rate.empty() ? "" : ", " + rate);
}

double number_in(const std::string& shape, const std::string& key) {
  const std::string part = "/" + key + ":";
  const size_t at = ("/" + shape).find(part);
  return at == std::string::npos ? 0 : std::atof(("/" + shape).c_str() + at + part.size());
}

Length length_of(const std::string& shape) {
  const double len = number_in(shape, "len");
  if (!(len > 0)) return {};
  std::string padded = "/" + shape;
  const size_t at = padded.find("/len:");
  padded.erase(at, padded.find('/', at + 1) - at);
  return {len, padded.empty() ? padded : padded.substr(1)};
}

}  // namespace heed::bench
