#pragma once
#include "../backend.h"

namespace stockpot::cuda {

// What this machine has: the driver's library, its version, devices, cuBLASLt. Each is opened at
// run time, so that the library loads where none of them is.
void probe(stockpot_probe* out);

}  // namespace stockpot::cuda
