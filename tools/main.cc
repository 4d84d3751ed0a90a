// The heed command. Exit codes: 0 done, 1 a check failed, 2 refused with one sentence on standard
// error.
#include <cstdio>
#include <exception>

#include "tools/command.h"

int main(int argc, char** argv) {
  try {
    return heed::tools::run_command({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::exception& error) {  // memory, most likely
    std::fprintf(stderr, "heed: %s\n", error.what());
    return heed::tools::kRefused;
  }
}
