#include "gram.h"

#include <cstring>
#include <vector>

#include "dispatch.h"

namespace stockpot {
namespace {

// Where the mean runs, this does: they need the same instructions.
std::vector<GramVariant> detect() {
  std::vector<GramVariant> found;
  size_t count;
  const MeanVariant* variants = mean_variants(&count);
  for (size_t i = 0; i < count; ++i) {
#if defined(__x86_64__)
    if (std::strcmp(variants[i].name, "avx512") == 0) found.push_back({"avx512", avx512::gram});
    if (std::strcmp(variants[i].name, "avx2") == 0) found.push_back({"avx2", avx2::gram});
#endif
#if defined(__aarch64__)
    // No variant of its own: the compiler makes vectors of the reference's loops as far as it can.
    if (std::strcmp(variants[i].name, "neon") == 0) found.push_back({"neon", plain::gram});
#endif
  }
  found.push_back({"plain", plain::gram});
  return found;
}

}  // namespace

const GramVariant* gram_variants(size_t* count) {
  static const std::vector<GramVariant> variants = detect();
  *count = variants.size();
  return variants.data();
}

}  // namespace stockpot
