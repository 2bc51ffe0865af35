#pragma once
#include <cstddef>

#include "dot.h"
#include "mean.h"

namespace stockpot {

struct MeanVariant {
  const char* name;  // "plain", "avx2", "avx512", "neon"
  MeanKernel kernel;
  DotKernel dot;
};

// The variants that this machine can run, the fastest first; the last is always "plain".
const MeanVariant* mean_variants(size_t* count);

}  // namespace stockpot
