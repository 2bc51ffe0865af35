#pragma once
#include <memory>

#include "../backend/device.h"

namespace stockpot {

// Memory of a device that tensors are held in between passes.
struct DeviceBlock {
  // Throws DeviceError.
  DeviceBlock(std::shared_ptr<Device> on, uint64_t size)
      : device(std::move(on)), bytes(size), memory(*device, size) {}
  std::shared_ptr<Device> device;  // outlives the memory
  uint64_t bytes;
  Device::Memory memory;
};

}  // namespace stockpot
