// The constants of exp: part of the bit contract, shared with the specification in test/spec.
#pragma once

namespace heed {

inline constexpr float kExpLowest = -87.3365f;  // exp below this would be subnormal: it is 0
inline constexpr float kExpLog2e = 0x1.715476p+0f;
// 1.5 * 2^23 rounds a sum to an integer; 127 makes that integer the exponent bits of 2^n.
inline constexpr float kExpRound = 12582912.0f + 127.0f;
// ln 2 in two parts; the first has 9 bits, so that its product with n is exact without fma too.
inline constexpr float kExpLn2Hi = 0x1.63p-1f;
inline constexpr float kExpLn2Lo = -0x1.bd0106p-13f;
// exp(r) = 1 + r + r^2 (c2 + c3 r + ... + c6 r^4) on |r| <= ln(2) / 2, by Remez exchange on the
// relative error: 3.1e-9 before rounding.
inline constexpr float kExpC2 = 0x1.fffffcp-2f;
inline constexpr float kExpC3 = 0x1.555492p-3f;
inline constexpr float kExpC4 = 0x1.5558f2p-5f;
inline constexpr float kExpC5 = 0x1.123a2p-7f;
inline constexpr float kExpC6 = 0x1.6a23dp-10f;

}  // namespace heed
