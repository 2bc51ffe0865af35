#pragma once
#include "../../../native/backend/device.h"

namespace stockpot::test {

// Rows gathered from a table on the device, copied and looked up, against loops on the processor:
// the same bits, nothing beside them, and what is refused.
void gathers(Device& device, bool small);

}  // namespace stockpot::test
