// heed-bits: the corpus alone, for machines and emulators where the tests are too heavy.
#include "tools/conformance/command.h"

int main(int argc, char** argv) {
  return heed::bits::RunCommand({argv + (argc > 0 ? 1 : 0), argv + argc});
}
