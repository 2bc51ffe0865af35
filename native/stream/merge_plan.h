#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../kernels/mean.h"
#include "source.h"

namespace stockpot {

// What is done with the k inputs of a segment.
enum class Op : uint8_t {
  kMean,     // weighted mean of floating-point values
  kSame,     // the inputs must be equal byte for byte; the first is copied
  kMax,      // the largest integer
  kCompare,  // two inputs: how much they differ; no output
};

// One tensor of the output. Segments of one output follow each other without gaps.
struct Segment {
  Op op;
  DType out_dtype;
  uint64_t elements;
  uint32_t output;     // position in MergePlan::outputs
  int32_t weight_set;  // row of MergePlan::weights, or -1: equal weights
};

struct Output {
  int fd = -1;
  std::vector<uint8_t> prefix;  // written (and hashed) before the segments: the file's header
  uint64_t offset = 0;          // where a comparison begins in the file
};

enum class SinkKind : uint8_t {
  kFile,     // write, hash, sync to disk
  kPipe,     // write, hash
  kCompare,  // read the output's file and compare it with what would have been written
  kConsume,  // hand each piece to MergePlan::consume, in order
  kDiscard,  // nothing
};

// Flat tables, checked by the addon: every index is in range, every size fits.
struct MergePlan {
  std::vector<int> files;
  uint32_t k = 0;
  std::vector<Segment> segments;
  std::vector<Source> sources;  // segments × k
  std::deque<View> views;       // what Source::view points to
  std::shared_ptr<void> held;   // what Source::held points into
  std::vector<double> weights;  // rows of k
  std::vector<Output> outputs;
  SinkKind sink = SinkKind::kFile;
  // Gets elements [first, first + count) of a segment's result, in the segment's output type.
  std::function<void(uint32_t segment, uint64_t first, uint64_t count, const uint8_t* data)>
      consume;
  MeanKernel kernel = nullptr;
  uint32_t threads = 1;
  uint64_t memory = 0;       // bytes for all buffers
  uint64_t chunk_bytes = 0;  // 0: chosen from memory
  // One a file: -1, or the number of bytes before its first tensor, and the whole file is hashed on
  // the way. Its tensors must be used in the order in which they lie, each once, without gaps, up
  // to the file's end.
  std::vector<int64_t> hash_prefix;
};

// Something in the data that the caller must know about.
struct Finding {
  enum class Kind : uint8_t {
    kNonfinite,  // NaN or infinity in an input
    kOverflow,   // finite means that the output's type cannot hold
    kUnequal,    // Op::kSame: differs from the first input
    kDiffers,    // Op::kCompare, or a compared output: elements (bytes, for an output) that differ
  } kind;
  uint32_t segment;
  int32_t input;              // position 0 … k-1, or -1
  uint64_t count;             // elements
  uint64_t first;             // lowest row-major index of one; UINT64_MAX where unknown
  double largest = 0;         // kDiffers: largest |a - b|
  double sum_of_squares = 0;  // kDiffers: of the differences
};

}  // namespace stockpot
