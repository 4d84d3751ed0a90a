#include "src/base/float_environment.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#elif defined(__powerpc__)
#include <bit>
#endif

// <cfenv> would do for some of this, but it lies in libm, knows nothing of flushing, and on x86
// pays for the x87 unit too. A register is written only where it changes: that costs more than to
// read it.
namespace heed::inline v1 {
namespace {

// For each target: what reads and writes the register, and the bits that settings have in it. All
// settings are 0 by default but for x86's masks of traps. The asm clobbers memory so that no load
// or store passes it.
#if defined(__SSE__)
constexpr uint64_t kSettings = 0xFFC0, kDefault = 0x1F80;  // MXCSR: FZ, RC, masks, DAZ
uint64_t Read() { return _mm_getcsr(); }
void Write(uint64_t value) { _mm_setcsr(static_cast<uint32_t>(value)); }

#elif defined(__aarch64__)
constexpr uint64_t kSettings = ~uint64_t{0}, kDefault = 0;  // FPCR
uint64_t Read() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value)::"memory");
  return value;
}
void Write(uint64_t value) { asm volatile("msr fpcr, %0" ::"r"(value) : "memory"); }

#elif defined(__arm__) && defined(__ARM_FP)
constexpr uint64_t kSettings = 0x07FF9F00, kDefault = 0;  // FPSCR without conditions and flags
uint64_t Read() {
  uint32_t value;
  asm volatile("vmrs %0, fpscr" : "=r"(value)::"memory");
  return value;
}
void Write(uint64_t value) {
  asm volatile("vmsr fpscr, %0" ::"r"(static_cast<uint32_t>(value)) : "memory");
}

#elif defined(__riscv_flen)
constexpr uint64_t kSettings = 0xE0, kDefault = 0;  // fcsr: the rounding mode; there are no traps
uint64_t Read() {
  unsigned long value;
  asm volatile("frcsr %0" : "=r"(value)::"memory");
  return value;
}
void Write(uint64_t value) {
  asm volatile("fscsr %0" ::"r"(static_cast<unsigned long>(value)) : "memory");
}

#elif defined(__powerpc__)
constexpr uint64_t kSettings = 0xFF, kDefault = 0;  // FPSCR: enabled traps, NI, RN
uint64_t Read() {
  double value;
  asm volatile("mffs %0" : "=d"(value)::"memory");
  return std::bit_cast<uint64_t>(value);
}
void Write(uint64_t value) {
  asm volatile("mtfsf 255, %0" ::"d"(std::bit_cast<double>(value)) : "memory");
}

#elif defined(__s390x__)
constexpr uint64_t kSettings = 0xF8000077, kDefault = 0;  // FPC: enabled traps, both roundings
uint64_t Read() {
  uint32_t value;
  asm volatile("efpc %0" : "=d"(value)::"memory");
  return value;
}
void Write(uint64_t value) {
  asm volatile("sfpc %0" ::"d"(static_cast<uint32_t>(value)) : "memory");
}

#else  // WebAssembly has no settings
constexpr uint64_t kSettings = 0, kDefault = 0;
uint64_t Read() { return 0; }
void Write(uint64_t) {}
#endif

// Of flags that lie in a register of their own.
#if defined(__aarch64__)
uint64_t ReadFlags() {
  uint64_t value;
  asm volatile("mrs %0, fpsr" : "=r"(value)::"memory");
  return value;
}
void WriteFlags(uint64_t value) { asm volatile("msr fpsr, %0" ::"r"(value) : "memory"); }
#else
uint64_t ReadFlags() { return 0; }
void WriteFlags(uint64_t) {}
#endif

}  // namespace

// Not inline, even when the whole program is optimized as one: no computation moves across a call.
[[gnu::noinline]] FloatEnvironment::FloatEnvironment() : control_(Read()), flags_(ReadFlags()) {
  const uint64_t wanted = (control_ & ~kSettings) | kDefault;
  if (control_ != wanted) Write(wanted);
}

[[gnu::noinline]] FloatEnvironment::~FloatEnvironment() {
  if (Read() != control_) Write(control_);
  if (ReadFlags() != flags_) WriteFlags(flags_);
}

}  // namespace heed::inline v1
