#pragma once
#include <cstdint>
#include <vector>

#include "../kernels/dtype.h"
#include "../pages.h"

namespace stockpot {

// How the elements of a tensor that is not row-major contiguous lie in its file: shape and strides
// in elements.
struct View {
  std::vector<uint64_t> shape;
  std::vector<uint64_t> strides;
};

// Where one tensor's elements lie.
struct Source {
  int32_t file = -1;  // -1: this ingredient takes no part
  DType dtype = DType::kF32;
  uint64_t offset = 0;            // of the first element, in bytes
  const View* view = nullptr;     // nullptr: row-major contiguous
  const uint8_t* held = nullptr;  // in memory, row-major: no file is read
  uint64_t resident = 0;          // on a device, row-major: its address there
};

// Reads elements of tensors from files, one reader a thread.
class SourceReader {
 public:
  explicit SourceReader(const std::vector<int>& files) : files_(files) {}

  // Reads elements [first, first + count) in row-major order. Returns 0, an errno value or
  // kShortRead.
  int read(const Source& source, uint64_t first, uint64_t count, uint8_t* to);

  // Some read had to wait for the disk. While false, each read asks the page cache first.
  bool waited() const { return waited_; }

 private:
  int gather(const Source& source, size_t dim, uint64_t base, uint64_t first, uint64_t count,
             uint8_t* to);
  int read_box(const Source& source, size_t dim, uint64_t rows, uint64_t base, uint8_t* to);
  int read_run(const Source& source, uint64_t base, uint64_t count, uint64_t stride, uint8_t* to,
               uint64_t to_stride);
  int read_bytes(const Source& source, uint64_t offset, uint8_t* to, size_t bytes);

  const std::vector<int>& files_;
  Pages<uint8_t> run_;
  bool waited_ = false;
};

}  // namespace stockpot
