#include "src/base/targets.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "hwy/highway.h"
#if HWY_ARCH_X86
#include "hwy/x86_cpuid.h"
#elif defined(__linux__) && HWY_HAVE_RUNTIME_DISPATCH
#include <sys/auxv.h>
#endif

// Highway's headers alone are used. Its library finds the instruction sets too, but it can be told
// to leave some out (hwy::DisableTargets), and a host that does so for its own code must not change
// what heed computes with.
namespace heed::inline v1 {
namespace {

// What follows names a target only where the CPU, and the system, can run all that Highway lets the
// compiler use for it.
#if HWY_ARCH_X86

class Features {
 public:
  Features() {
    uint32_t highest[4];
    hwy::x86::Cpuid(0, 0, highest);
    hwy::x86::Cpuid(1, 0, leaf1_);
    if (highest[0] >= 7) {
      hwy::x86::Cpuid(7, 0, leaf7_);
      if (leaf7_[0] >= 1) hwy::x86::Cpuid(7, 1, leaf7_1_);
    }
    if (highest[0] >= 0x24) hwy::x86::Cpuid(0x24, 0, leaf24_);
    hwy::x86::Cpuid(0x80000001u, 0, extended_);
  }

  bool sse2() const { return All(leaf1_[3], {25, 26}); }
  bool ssse3() const { return sse2() && All(leaf1_[2], {0, 9}); }
  // With AES and PCLMUL.
  bool sse4() const { return ssse3() && All(leaf1_[2], {1, 19, 20, 25}); }
  // With FMA, F16C, LZCNT, BMI and BMI2, and registers that the system saves.
  bool avx2() const {
    return sse4() && All(leaf1_[2], {12, 28, 29}) && All(extended_[2], {5}) &&
           All(leaf7_[1], {3, 5, 8}) && Saves({1, 2});
  }
  // F, DQ, CD, BW and VL.
  bool avx3() const { return avx2() && All(leaf7_[1], {16, 17, 28, 30, 31}) && Saves({5, 6, 7}); }
  // VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG and VPOPCNTDQ.
  bool avx3_dl() const { return avx3() && All(leaf7_[2], {1, 6, 8, 9, 10, 11, 12, 14}); }
  bool avx3_bf16() const { return avx3_dl() && All(leaf7_1_[0], {5}); }
  bool avx3_spr() const { return avx3_bf16() && All(leaf7_[3], {23}); }
  bool avx10_2() const {
    return avx3_spr() && All(leaf7_1_[3], {19, 21}) && (leaf24_[1] & 0xFF) >= 2 &&
           All(leaf24_[1], {18});
  }

 private:
  static bool All(uint32_t word, std::initializer_list<int> bits) {
    for (const int bit : bits) {
      if (!hwy::x86::IsBitSet(word, bit)) return false;
    }
    return true;
  }

  // Whether the system keeps these registers for each thread. (macOS shows those of AVX-512 only
  // to a thread that has used them: it gets AVX2.)
  bool Saves(std::initializer_list<int> registers) const {
    if (!All(leaf1_[2], {26, 27})) return false;
    uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return All(low, registers);
  }

  uint32_t leaf1_[4] = {}, leaf7_[4] = {}, leaf7_1_[4] = {}, leaf24_[4] = {}, extended_[4] = {};
};

int64_t DetectTargets() {
  const Features cpu;
  int64_t targets = 0;
  if (cpu.sse2()) targets |= HWY_SSE2;
  if (cpu.ssse3()) targets |= HWY_SSSE3;
  if (cpu.sse4()) targets |= HWY_SSE4;
  if (cpu.avx2()) targets |= HWY_AVX2;
  if (cpu.avx3()) targets |= HWY_AVX3;
  if (cpu.avx3_dl()) targets |= HWY_AVX3_DL;
  if (cpu.avx3_bf16() && hwy::x86::IsAMD()) targets |= HWY_AVX3_ZEN4;
  if (cpu.avx3_spr()) targets |= HWY_AVX3_SPR;
  if (cpu.avx10_2()) targets |= HWY_AVX10_2;
  return targets;
}

#elif defined(__linux__) && HWY_HAVE_RUNTIME_DISPATCH

// The kernel's bits, by their numbers: not all C libraries name all of them.
bool Has(unsigned long kind, unsigned long bits) { return (getauxval(kind) & bits) == bits; }

#if HWY_ARCH_ARM_A64

// `cntb` gives the length of this CPU's vectors; as bytes, since not every compiler takes the
// instruction in code for all CPUs.
size_t SveBytes() {
  uint64_t bytes;
  asm volatile(".inst 0x0420e3e0\n\tmov %0, x0" : "=r"(bytes) : : "x0");
  return bytes;
}

int64_t DetectTargets() {
  int64_t targets = HWY_NEON_WITHOUT_AES;
  const bool aes = Has(AT_HWCAP, 1 << 3);
  if (aes) targets |= HWY_NEON;
  // fphp and asimdhp, asimddp; bf16
  if (aes && Has(AT_HWCAP, 1 << 10 | 1 << 20) && Has(AT_HWCAP2, 1 << 14)) {
    targets |= HWY_NEON_BF16;
  }
  if (!Has(AT_HWCAP, 1 << 22)) return targets;
  targets |= HWY_SVE;
  if (SveBytes() == 32) targets |= HWY_SVE_256;
  if (Has(AT_HWCAP2, 1 << 1 | 1 << 2)) {  // sve2, sveaes
    targets |= HWY_SVE2;
    if (SveBytes() == 16) targets |= HWY_SVE2_128;
  }
  return targets;
}

#elif HWY_ARCH_ARM

int64_t DetectTargets() {
  return Has(AT_HWCAP, 1 << 12 | 1 << 16) ? HWY_NEON_WITHOUT_AES : 0;  // neon, vfpv4
}

#elif HWY_ARCH_PPC

int64_t DetectTargets() {
  int64_t targets = 0;
  if (!Has(AT_HWCAP, 0x10000080)) return targets;   // altivec, vsx
  if (!Has(AT_HWCAP2, 0x82000000)) return targets;  // arch_2_07, vcrypto
  targets |= HWY_PPC8;
  if (Has(AT_HWCAP2, 0x00800000)) targets |= HWY_PPC9;   // arch_3_00
  if (Has(AT_HWCAP2, 0x00840000)) targets |= HWY_PPC10;  // and arch_3_1
  return targets;
}

#elif HWY_ARCH_S390X

int64_t DetectTargets() {
  int64_t targets = 0;
  if (Has(AT_HWCAP, 1 << 11 | 1 << 13)) targets |= HWY_Z14;            // vx, vxe
  if (Has(AT_HWCAP, 1 << 11 | 1 << 13 | 1 << 15)) targets |= HWY_Z15;  // and vxrs_ext2
  return targets;
}

#elif HWY_ARCH_RISCV

// Some processors have vectors of a draft, under the same bit. They don't know the tail and mask
// policies that this asks for, and answer with a negative vtype.
int64_t DetectTargets() {
  if (!Has(AT_HWCAP, 1 << ('V' - 'A'))) return 0;
  size_t bytes;
  intptr_t vtype;
  asm volatile(
      ".option push\n\t"
      ".option arch, +v\n\t"
      "vsetvli %0, zero, e8, m1, ta, ma\n\t"
      "csrr %1, vtype\n\t"
      ".option pop"
      : "=r"(bytes), "=r"(vtype));
  return vtype >= 0 && bytes >= 16 ? HWY_RVV : 0;
}

#elif HWY_ARCH_LOONGARCH

int64_t DetectTargets() {
  int64_t targets = 0;
  if (Has(AT_HWCAP, 1 << 4)) targets |= HWY_LSX;
  if (Has(AT_HWCAP, 1 << 5)) targets |= HWY_LASX;
  return targets;
}

#else
int64_t DetectTargets() { return 0; }
#endif

#else
int64_t DetectTargets() { return 0; }
#endif

}  // namespace

int64_t SupportedTargets() {
  // Virtual machines take microseconds to tell.
  static std::atomic<int64_t> known{0};
  int64_t targets = known.load(std::memory_order_relaxed);
  if (targets == 0) {
    // The compiler's own is what the program needs anyway.
    targets = (DetectTargets() & HWY_TARGETS) | HWY_STATIC_TARGET;
    known.store(targets, std::memory_order_relaxed);
  }
  return targets;
}

int64_t LowestTarget(int64_t targets) { return targets & -targets; }

int64_t BestTarget() { return LowestTarget(SupportedTargets()); }

int64_t TargetByName(const char* name) {
  for (int64_t targets = SupportedTargets(); targets != 0; targets &= targets - 1) {
    if (std::strcmp(TargetName(LowestTarget(targets)), name) == 0) return LowestTarget(targets);
  }
  return 0;
}

const char* TargetName(int64_t target) { return hwy::TargetName(target); }

}  // namespace heed::inline v1
