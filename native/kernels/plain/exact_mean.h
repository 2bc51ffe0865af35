#pragma once
#include <cstddef>
#include <cstdint>

#include "../dtype.h"

namespace stockpot::plain {

// RN64((x_0 + … + x_{k-1}) / k) of finite float64 values, the sum and the quotient exact before the
// one rounding; so it does not depend on the order, cannot overflow, and gives x for k copies of x.
// The sign of a zero mean is that of the inputs where they are all zeros of one sign, else plus.
// Any 1 ≤ k < 2^31.
double exact_mean(const double* x, size_t k);

}  // namespace stockpot::plain
