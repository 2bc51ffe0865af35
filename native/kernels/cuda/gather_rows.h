#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "../../backend/backend.h"

namespace stockpot::cuda {

// Rows of a table, one after another, as stockpot_gather says; its indices and sizes are right.
cudaError_t gather_rows(const stockpot_gather& g, cudaStream_t stream);

}  // namespace stockpot::cuda
