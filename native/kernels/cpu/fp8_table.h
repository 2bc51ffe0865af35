#pragma once
#include "../dtype.h"

namespace stockpot {
// The float32 value of each of the 256 patterns of F8_E4M3 or F8_E5M2.
const float* fp8_table(DType t);
}  // namespace stockpot
