#include "src/base/math.h"

#include <bit>
#include <cstdint>

namespace heed::inline v1 {
namespace {

constexpr double kLn2Hi = 0x1.62e42fee00000p-1;  // 32 bits: exact times any exponent
constexpr double kLn2Lo = 0x1.a39ef35793c76p-33;

// x = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)).
double SplitExponent(double x, int* exponent) {
  const auto bits = std::bit_cast<uint64_t>(x);
  *exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u);
  if (mantissa >= 1.4142135623730951) {
    mantissa *= 0.5;
    ++*exponent;
  }
  return mantissa;
}

// exp(x), |x| < 700, by reduction to |r| <= ln(2) / 2 and the series to r^13 (the next term is
// 4e-18).
double Exp(double x) {
  const auto n = static_cast<int64_t>(x / 0.6931471805599453 + (x < 0 ? -0.5 : 0.5));
  const double r = (x - static_cast<double>(n) * kLn2Hi) - static_cast<double>(n) * kLn2Lo;
  double sum = 1.0;
  for (int k = 13; k >= 1; --k) sum = 1.0 + sum * r / k;
  return sum * std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

}  // namespace

// log(m) = 2 atanh(s) with s = (m - 1) / (m + 1): |s| < 0.172, so s^23 / 23 is below an ulp.
double Log(double x) {
  int exponent = 0;
  const double m = SplitExponent(x, &exponent);
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double series = 0.0;
  for (int k = 23; k >= 3; k -= 2) series = (series + 1.0 / k) * s2;
  const double e = exponent;
  return e * kLn2Hi + (2.0 * s + (2.0 * s * series + e * kLn2Lo));
}

double Pow(double base, double exponent) { return Exp(exponent * Log(base)); }

// Reduction by multiples of pi / 2 in parts of 22 bits: exact times the 31 bits of a multiple. Then
// the series of sine and cosine on |r| <= pi / 4 to r^17 and r^18.
void SinCos(double angle, double* sin, double* cos) {
  constexpr double kHalfPi[] = {0x1.921fbp+0, 0x1.5110bp-22, 0x1.184698p-44, 0x1.31988p-69,
                                0x1.1701b8p-88};
  const auto n = static_cast<int64_t>(angle * 0.6366197723675814 + 0.5);
  double r = angle;
  for (const double part : kHalfPi) r -= static_cast<double>(n) * part;
  const double r2 = r * r;
  double s = 1.0, c = 1.0;
  for (int k = 16; k >= 2; k -= 2) s = 1.0 - s * r2 / (k * (k + 1));
  for (int k = 17; k >= 1; k -= 2) c = 1.0 - c * r2 / (k * (k + 1));
  s *= r;
  const bool swap = (n & 1) != 0;
  *sin = swap ? c : s;
  *cos = swap ? s : c;
  if ((n & 2) != 0) *sin = -*sin;
  if (((n + 1) & 2) != 0) *cos = -*cos;
}

}  // namespace heed::inline v1
