// One call of attention and nothing else: how much of heed a program carries (script/footprint).
#include <heed/heed.hpp>

static float memory[4096];

int main(int argc, char**) {
  const auto len = static_cast<size_t>(argc);
  heed::Context context;
  return heed::attention({memory, {len, 1, 64}}, {memory, {16, 1, 64}}, {memory, {16, 1, 64}},
                         {memory + 2048, {len, 1, 64}}, {}, context)
                 .ok()
             ? 0
             : 1;
}
