// The constants of 2^x: part of the bit contract, shared with the specification in test/spec.
#pragma once

namespace heed::inline v1 {

// 2^(a x) of a x <= 0 is computed as (2 * 2^r) * 2^(n - 1) with n the integer nearest to a x and
// r = a x - n. From n = -126 down 2^(n - 1) is no normal number, and the result is 0: no subnormal
// is produced.
inline constexpr float kExp2Lowest = -126.0f;
// 1.5 * 2^23 rounds a sum to an integer; 126 makes that integer the exponent bits of 2^(n - 1).
inline constexpr float kExp2Round = 12582912.0f + 126.0f;
// 2 * 2^r = 2 + c1 r + ... + c5 r^5 on |r| <= 1/2: minimax by the relative error with the constant
// term fixed, then the floats nearby with the least error of the rounded chain.
inline constexpr float kExp2C1 = 0x1.62e42ap+0f;
inline constexpr float kExp2C2 = 0x1.ebf9d2p-2f;
inline constexpr float kExp2C3 = 0x1.c6b752p-4f;
inline constexpr float kExp2C4 = 0x1.3ce678p-6f;
inline constexpr float kExp2C5 = 0x1.5bba1cp-9f;

// e^x is 2^(x log2(e)).
inline constexpr double kLog2e = 0x1.71547652b82fep+0;
inline constexpr double kLn2 = 0x1.62e42fefa39efp-1;  // back to natural logarithms

// Scales from 1 / kMostUnit to kMostUnit are units of scores, see score_units.h.
inline constexpr double kMostUnit = 0x1p60;

// A natural logarithm in base 2, rounded once.
inline float ToBase2(float x) { return static_cast<float>(double{x} * kLog2e); }

}  // namespace heed::inline v1
