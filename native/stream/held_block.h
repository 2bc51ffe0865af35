#pragma once
#include <cstdint>
#include <memory>

namespace stockpot {

// Memory that tensors are held in between passes.
struct HeldBlock {
  // Throws std::bad_alloc.
  explicit HeldBlock(uint64_t size) : bytes(size), data(new uint8_t[size]) {}
  uint64_t bytes;
  std::unique_ptr<uint8_t[]> data;
};

}  // namespace stockpot
