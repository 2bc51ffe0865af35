#include "source.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "file.h"

namespace stockpot {
namespace {

constexpr size_t kRunBytes = 256 << 10;

uint64_t product(const std::vector<uint64_t>& shape, size_t from) {
  return std::accumulate(shape.begin() + static_cast<ptrdiff_t>(from), shape.end(), uint64_t{1},
                         [](uint64_t a, uint64_t b) { return a * b; });
}

}  // namespace

int SourceReader::read_bytes(const Source& source, uint64_t offset, uint8_t* to, size_t bytes) {
  return read_at(files_[static_cast<size_t>(source.file)], offset, to, bytes, !waited_, &waited_);
}

int SourceReader::read(const Source& source, uint64_t first, uint64_t count, uint8_t* to) {
  const size_t item = byte_size(source.dtype);
  if (source.held) {
    std::memcpy(to, source.held + first * item, count * item);
    return 0;
  }
  if (!source.view) return read_bytes(source, source.offset + first * item, to, count * item);
  return gather(source, 0, 0, first, count, to);
}

// A row-major range of a view is a part of a row, whole rows, and a part of a row, dimension by
// dimension.
int SourceReader::gather(const Source& source, size_t dim, uint64_t base, uint64_t first,
                         uint64_t count, uint8_t* to) {
  const View& v = *source.view;
  const size_t item = byte_size(source.dtype);
  const uint64_t inner = product(v.shape, dim + 1);
  uint64_t row = first / inner;
  int error = 0;
  if (first % inner) {
    const uint64_t n = std::min(count, inner - first % inner);
    error = gather(source, dim + 1, base + row * v.strides[dim], first % inner, n, to);
    to += n * item;
    count -= n;
    ++row;
  }
  const uint64_t rows = count / inner;
  if (!error && rows) {
    error = read_box(source, dim, rows, base + row * v.strides[dim], to);
    to += rows * inner * item;
    row += rows;
  }
  if (!error && count % inner) {
    error = gather(source, dim + 1, base + row * v.strides[dim], 0, count % inner, to);
  }
  return error;
}

// Whole rows: the dimension with the least stride is read as runs, the others are loops around it,
// the largest stride outermost, so that the file is read from front to back.
int SourceReader::read_box(const Source& source, size_t dim, uint64_t rows, uint64_t base,
                           uint8_t* to) {
  struct Axis {
    uint64_t size, stride, to_stride, at;
  };
  std::vector<Axis> axes;
  uint64_t to_stride = 1;
  for (size_t d = source.view->shape.size(); d-- > dim;) {
    const uint64_t size = d == dim ? rows : source.view->shape[d];
    if (size > 1) axes.push_back({size, source.view->strides[d], to_stride, 0});
    to_stride *= size;
  }
  const auto rank = [](const Axis& a) { return a.stride == 0 ? UINT64_MAX : a.stride; };
  std::sort(axes.begin(), axes.end(),
            [&rank](const Axis& a, const Axis& b) { return rank(a) < rank(b); });
  if (axes.empty()) return read_run(source, base, 1, 1, to, 1);
  const size_t item = byte_size(source.dtype);
  uint64_t to_offset = 0;
  for (;;) {
    const int error = read_run(source, base, axes[0].size, axes[0].stride, to + to_offset * item,
                               axes[0].to_stride);
    if (error) return error;
    size_t d = 1;
    for (; d < axes.size(); ++d) {
      Axis& a = axes[d];
      base += a.stride;
      to_offset += a.to_stride;
      if (++a.at < a.size) break;
      base -= a.stride * a.size;
      to_offset -= a.to_stride * a.size;
      a.at = 0;
    }
    if (d == axes.size()) return 0;
  }
}

int SourceReader::read_run(const Source& source, uint64_t base, uint64_t count, uint64_t stride,
                           uint8_t* to, uint64_t to_stride) {
  const size_t item = byte_size(source.dtype);
  // Elements far apart are read one by one; near ones with what lies between.
  const uint64_t at_once = stride * item > 4096 ? 1
                           : stride == 0        ? count
                                         : std::max<uint64_t>(1, kRunBytes / (stride * item));
  run_.resize(kRunBytes);
  for (uint64_t done = 0; done < count;) {
    const uint64_t n = std::min(count - done, at_once);
    const size_t span = static_cast<size_t>(((n - 1) * stride + 1) * item);
    const int error =
        read_bytes(source, source.offset + (base + done * stride) * item, run_.data(), span);
    if (error) return error;
    for (uint64_t i = 0; i < n; ++i) {
      std::memcpy(to + (done + i) * to_stride * item, run_.data() + i * stride * item, item);
    }
    done += n;
  }
  return 0;
}

}  // namespace stockpot
