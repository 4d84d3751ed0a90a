// The constants of tanh: part of the bit contract, shared with the specification in test/spec.
#pragma once

namespace heed::inline v1 {

// Below this tanh(x) = x + x^3 (c0 + c1 x^2 + ... + c4 x^8), from there (1 - e) / (1 + e) with
// e = exp(-2 |x|) = 2^(-kTanhExponent |x|).
inline constexpr float kTanhSmall = 0.625f;
inline constexpr float kTanhExponent = 0x1.715476p+1f;  // 2 log2(e)
// (tanh(x) / x - 1) / x^2 interpolated at the Chebyshev nodes of x^2 in [0, 0.625^2]: 4e-9 of
// tanh(x) before rounding.
inline constexpr float kTanhC0 = -0x1.555552p-2f;
inline constexpr float kTanhC1 = 0x1.110e1cp-3f;
inline constexpr float kTanhC2 = -0x1.b9258ap-5f;
inline constexpr float kTanhC3 = 0x1.58048ep-6f;
inline constexpr float kTanhC4 = -0x1.8f8de4p-8f;

}  // namespace heed::inline v1
