#pragma once
#include <cstdint>
#include <memory>

#include "../pages.h"

namespace stockpot {

// Memory that tensors are held in between passes.
struct HeldBlock {
  struct Free {
    uint64_t bytes;
    void operator()(uint8_t* p) const { PageAllocator<uint8_t>().deallocate(p, bytes); }
  };

  // Throws std::bad_alloc.
  explicit HeldBlock(uint64_t size)
      : bytes(size), data(PageAllocator<uint8_t>().allocate(size), Free{size}) {}
  uint64_t bytes;
  std::unique_ptr<uint8_t[], Free> data;
};

}  // namespace stockpot
