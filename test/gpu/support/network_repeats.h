#pragma once
#include "network_run.h"

namespace stockpot::test {

// Passes that come again, which a device may replay: the bits of the first, which was not, with
// other weights, inputs, places and batches in between.
void repeated_passes(Device& d, const NetworkCase& c, uint32_t number);

}  // namespace stockpot::test
