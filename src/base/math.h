// Scalar functions in double from plain additions, multiplications and divisions, so that they give
// the same bits with every C library and compiler. Their errors are measured in test/math_test.cc.
#pragma once

namespace heed::inline v1 {

double Log(double x);                      // x > 0, normal: within 2 ulp
double Pow(double base, double exponent);  // base > 0, |exponent * ln(base)| < 700: 1e-14 relative
void SinCos(double angle, double* sin, double* cos);  // 0 <= angle <= 2^31: within 1e-15 absolute

}  // namespace heed::inline v1
