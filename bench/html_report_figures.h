// The figures of a report, each kind from the entries that have something to show in it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bench/html_report_page.h"
#include "bench/results.h"

namespace heed::bench {

// One style per library, the same in all figures.
class Palette {
 public:
  explicit Palette(const Results& results);
  size_t style(const std::string& library) const { return styles_.at(library); }
  const std::vector<Key>& keys() const { return keys_; }  // heed first

 private:
  std::map<std::string, size_t> styles_;
  std::vector<Key> keys_;
};

// Distinct values in the order in which they first come.
std::vector<std::string> operations_of(const Results& results);
std::vector<std::string> shapes_of(const Results& results, const std::string& operation);
std::vector<size_t> threads_of(const Results& results);     // ascending
std::vector<size_t> shown_threads(const Results& results);  // fewest and most

// Null: not there. With an error, or without a time: there.
const Entry* find_entry(const Results& results, const std::string& operation,
                        const std::string& shape, size_t threads, const std::string& library);

bool has_time(const Entry& entry);  // and no error
std::string tooltip_of(const Entry& entry);

// A shape that has a "len:" part: its value, and the shape without it.
struct Length {
  double len = 0;  // 0: it has none
  std::string rest;
};
Length length_of(const std::string& shape);

// The number after "key:" in a shape; 0: none.
double number_in(const std::string& shape, const std::string& key);

std::vector<Figure> roofline_figures(const Results& results, const Palette& palette);
std::vector<Figure> share_figures(const Results& results, const Palette& palette);
std::vector<Figure> scaling_figures(const Results& results);

// Operations timed at three lengths or more: those bound by arithmetic, or those bound by memory.
std::vector<Figure> length_figures(const Results& results, const Palette& palette,
                                   bool memory_bound);

// Every entry, by operation.
std::string results_table(const Results& results);

}  // namespace heed::bench
