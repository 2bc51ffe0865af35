#include "../../kernels/cuda/gather_rows.h"
#include "context.h"

namespace stockpot::cuda {
namespace {

// nullptr, or what is wrong with it.
const char* problem(const stockpot_gather& g) {
  if (g.count == 0) return nullptr;
  if (!g.table || !g.indices || !g.out) return "a table's rows are gathered without a place";
  if (g.stride < g.bytes) return "more is gathered of a row than it has";
  for (uint32_t i = 0; i < g.count; ++i) {
    if (g.indices[i] >= g.rows) return "a row is gathered that the table does not have";
  }
  if (!g.values) return nullptr;
  if (g.channels == 0 || g.channels > 4 || g.bytes % g.channels)
    return "rows of bytes are looked up that do not consist of 1 to 4 channels";
  if (g.bytes > UINT32_MAX) return "a row of bytes is larger than 4 GB";
  if (g.out % sizeof(float) || g.values % sizeof(float))
    return "float32 are not where float32 may be";
  return nullptr;
}

}  // namespace

int gather(stockpot_context* c, const stockpot_gather* g, uint32_t stream,
           stockpot_failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  if (const char* wrong = problem(*g)) return invalid(wrong, failure);
  cudaError_t e = cudaSetDevice(c->device);
  if (e == cudaSuccess) e = gather_rows(*g, c->streams[stream]);
  return report(e, "gathering rows", failure);
}

}  // namespace stockpot::cuda
