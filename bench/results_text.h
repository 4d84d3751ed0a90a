// Numbers of results as people read them, for tables and pictures alike.
#pragma once

#include <string>

#include "bench/results.h"

namespace heed::bench {

std::string short_number(double value);          // three digits: "98.2", "1.23e+07"
std::string duration_text(double seconds);       // "5.13 ms"
std::string flops_text(double flops);            // per second: "98.2 GFLOP/s"
std::string bandwidth_text(double bytes);        // per second: "24.9 GB/s"
std::string bytes_text(double bytes);            // "1.5 MiB"
std::string percent_text(double share);          // "83%"
std::string times_text(double factor);           // "0.85x"
std::string readable(const std::string& shape);  // "heads 12, len 1024": of "heads:12/len:1024"
std::string name_of(const Entry& entry);         // "prefill/len:8/threads:1/heed"
std::string threads_text(size_t threads);        // "1 thread"

std::string name_of(Bound bound);  // "the fma peak", "memory bandwidth"

// What the best repetition reached of what its limit counts: flops or bytes per second; 0: neither
// is counted.
double rate_of(const Entry& entry);
std::string rate_text(const Entry& entry);  // "98.2 GFLOP/s", "" when not counted

}  // namespace heed::bench
