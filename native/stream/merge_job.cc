#include "merge_job.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "../hash/sha256.h"
#include "../kernels/scan.h"
#include "budget.h"
#include "file.h"

namespace stockpot {
namespace {

constexpr size_t kPage = 4096;
constexpr uint64_t kLeast = 1 << 20;  // bytes of buffers, however little is allowed
// For one worker's blocks of all inputs: they stay in the cache, and are large enough that a read's
// fixed cost is small (measured: 2 MiB reads 15 % faster than 512 KiB, although only the latter
// fits a second-level cache).
constexpr size_t kCacheShare = 2 << 20;
constexpr size_t kLargestBlock = 128 << 10;
constexpr size_t kLargestChunk = 1 << 20;
constexpr uint32_t kPrefetchers = 4;
constexpr uint64_t kPrefetchWindow = 96 << 20;  // bytes of inputs asked for ahead of the workers
constexpr uint64_t kWriteBehind = 8 << 20;

// The bytes that an output gets for one element; a comparison has none.
size_t out_bytes(const Segment& s) { return s.op == Op::kCompare ? 0 : byte_size(s.out_dtype); }

}  // namespace

MergeJob::MergeJob(MergePlan plan) : plan_(std::move(plan)), input_hashes_(plan_.files.size()) {}
MergeJob::~MergeJob() = default;

void MergeJob::wake() {
  input_hashes_.wake();
  const std::lock_guard<std::mutex> lock(mutex_);
  changed_.notify_all();
}

// Blocks so small that those of all inputs stay in the cache, slots so many that nobody waits, all
// within the memory.
void MergeJob::choose_sizes() {
  const uint64_t memory = std::max(plan_.memory, kLeast);
  const size_t k = plan_.k;
  block_bytes_ = std::clamp(kCacheShare / k / kPage * kPage, 2 * kPage, kLargestBlock);
  while (block_bytes_ > 512 && threads_ * k * block_bytes_ > memory / 2) block_bytes_ /= 2;
  while (threads_ > 1 && threads_ * k * block_bytes_ > memory / 2) --threads_;
  chunk_bytes_ = plan_.chunk_bytes ? plan_.chunk_bytes : kLargestChunk;
  // With input hashes, a chunk is one block of each input: then a worker is done with an input
  // early, and the next one's turn at it comes while this one goes on with the others.
  if (hashes_inputs_) chunk_bytes_ = std::min(chunk_bytes_, block_bytes_);
  const size_t slots = 2 * threads_ + 2;
  while (chunk_bytes_ > 4096 && !plan_.chunk_bytes && slots * chunk_bytes_ > memory / 2)
    chunk_bytes_ /= 2;
  slots_.resize(slots);
}

uint64_t MergeJob::buffer_bytes() const {
  return uint64_t{threads_} * plan_.k * block_bytes_ + slots_.size() * chunk_bytes_;
}

void MergeJob::cut_into_chunks() {
  for (uint32_t s = 0; s < plan_.segments.size(); ++s) {
    const Segment& segment = plan_.segments[s];
    const size_t item = std::max<size_t>(1, out_bytes(segment));
    for (uint64_t first = 0; first < segment.elements;) {
      const bool open = !chunks_.empty() && chunks_.back().output == segment.output &&
                        chunks_.back().bytes + item <= chunk_bytes_;
      if (!open) chunks_.push_back({segment.output, pieces_.size(), 0, 0});
      Chunk& chunk = chunks_.back();
      const uint64_t room = std::max<uint64_t>(1, (chunk_bytes_ - chunk.bytes) / item);
      const uint64_t count = std::min(room, segment.elements - first);
      pieces_.push_back({s, first, count});
      ++chunk.pieces;
      chunk.bytes += count * item;
      first += count;
    }
  }
}

void MergeJob::work() {
  const auto lease = ThreadBudget::process().take(plan_.threads, [this] { return stopping(); });
  threads_ = lease.threads();
  if (threads_ == 0) return;
  hash_prefixes();
  if (stopping()) return;
  choose_sizes();
  const auto memory =
      MemoryBudget::buffers().take(buffer_bytes(), std::min(buffer_bytes(), kLeast),
                                   std::max(plan_.memory, kLeast), [this] { return stopping(); });
  if (memory.bytes() == 0) return;
  if (memory.bytes() < buffer_bytes()) {
    plan_.memory = memory.bytes();
    choose_sizes();
  }
  cut_into_chunks();
  prepare();
  if (stopping()) return;
  hashes_.resize(plan_.outputs.size());
  // The writer and the prefetcher mostly wait, so they come on top of the workers.
  // Asking may itself wait, where the disk's queue is full: several ask, each for some of the
  // inputs.
  std::vector<std::thread> prefetchers;
  for (uint32_t i = 0; i < std::min(plan_.k, kPrefetchers); ++i) {
    try {
      prefetchers.emplace_back([this, i] { prefetch(i); });
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those inputs are read as they are needed
    }
  }
  parallel(threads_ + 1, [this](uint32_t index) {
    if (index == 0) {
      write();
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
      changed_.notify_all();
    } else {
      compute(index);
    }
  });
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }
  for (std::thread& t : prefetchers) t.join();
  slots_ = {};  // before what they count as is given back
  for (const auto& entry : found_) findings_.push_back(entry.second);
}

// Starts the hashes of the input files with the bytes before their first tensors.
void MergeJob::hash_prefixes() {
  for (size_t f = 0; f < plan_.hash_prefix.size() && !stopping(); ++f) {
    if (plan_.hash_prefix[f] < 0) continue;
    hashes_inputs_ = true;
    input_hashes_.start(f);
    Pages<uint8_t> bytes(static_cast<size_t>(plan_.hash_prefix[f]));
    bool waited = false;
    const int error = read_at(plan_.files[f], 0, bytes.data(), bytes.size(), false, &waited);
    if (error) {
      const bool is_short = error == kShortRead;
      fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead, is_short ? 0 : error,
            static_cast<int64_t>(f), -1, -1, "read"});
    } else {
      input_hashes_.feed(f, 0, bytes.data(), bytes.size(), [this] { return stopping(); });
    }
  }
}

std::vector<std::string> MergeJob::input_hashes() const {
  std::vector<std::string> all;
  for (size_t f = 0; f < plan_.files.size(); ++f) all.push_back(input_hashes_.hex(f));
  return all;
}

void MergeJob::note(const Finding& f) {
  const std::lock_guard<std::mutex> lock(findings_mutex_);
  const auto key = std::make_tuple(static_cast<uint8_t>(f.kind), f.segment, f.input);
  const auto inserted = found_.emplace(key, f);
  if (inserted.second) return;
  Finding& all = inserted.first->second;
  all.count += f.count;
  all.first = std::min(all.first, f.first);
  all.largest = std::max(all.largest, f.largest);
  all.sum_of_squares += f.sum_of_squares;
}

void MergeJob::compute(uint32_t) {
  Worker w(plan_.files);
  w.blocks.resize(plan_.k);
  for (;;) {
    size_t index;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (stopping() || next_chunk_ == chunks_.size()) return;
      index = next_chunk_++;
      changed_.wait(lock, [&] { return stopping() || index < written_ + slots_.size(); });
      if (stopping()) return;
    }
    const Chunk& chunk = chunks_[index];
    Slot& slot = slots_[index % slots_.size()];
    slot.data.resize(std::max(slot.data.size(), chunk.bytes));
    uint8_t* out = slot.data.data();
    slot.bytes = out;
    for (size_t p = 0; p < chunk.pieces && !stopping(); ++p) {
      const Piece& piece = pieces_[chunk.first_piece + p];
      compute_piece(w, piece, out);
      out += piece.count * out_bytes(plan_.segments[piece.segment]);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    slot.full = true;
    cold_ = cold_ || w.reader.waited();
    changed_.notify_all();
  }
}

void MergeJob::read_failed(int error, const Source& source, uint32_t segment) {
  const bool is_short = error == kShortRead;
  fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead, is_short ? 0 : error,
        source.file, static_cast<int64_t>(segment), -1, "read"});
}

void MergeJob::compute_piece(Worker& w, const Piece& piece, uint8_t* out) {
  const Segment& segment = plan_.segments[piece.segment];
  const Source* sources = &plan_.sources[size_t{piece.segment} * plan_.k];
  w.inputs.clear();
  w.dtypes.clear();
  w.weights.clear();
  w.positions.clear();
  size_t widest = 1;
  for (uint32_t i = 0; i < plan_.k; ++i) {
    if (sources[i].file < 0) continue;
    w.positions.push_back(static_cast<int32_t>(i));
    w.dtypes.push_back(sources[i].dtype);
    if (segment.weight_set >= 0)
      w.weights.push_back(plan_.weights[size_t(segment.weight_set) * plan_.k + i]);
    widest = std::max(widest, byte_size(sources[i].dtype));
  }
  const uint32_t taking_part = static_cast<uint32_t>(w.positions.size());
  w.inputs.resize(taking_part);
  const uint64_t block = block_bytes_ / widest;
  for (uint64_t done = 0; done < piece.count && !stopping();) {
    const size_t n = static_cast<size_t>(std::min(block, piece.count - done));
    const uint64_t first = piece.first + done;
    for (uint32_t j = 0; j < taking_part; ++j) {
      const Source& source = sources[w.positions[j]];
      if (source.held) {
        w.inputs[j] = source.held + first * byte_size(source.dtype);
        continue;
      }
      Pages<uint8_t>& buffer = w.blocks[static_cast<size_t>(w.positions[j])];
      if (buffer.size() < block_bytes_) buffer.resize(block_bytes_);
      const int error = w.reader.read(source, first, n, buffer.data());
      if (error) return read_failed(error, source, piece.segment);
      w.inputs[j] = buffer.data();
      const size_t bytes = n * byte_size(source.dtype);
      if (w.feeds_hashes && input_hashes_.active(static_cast<size_t>(source.file))) {
        input_hashes_.feed(static_cast<size_t>(source.file),
                           source.offset + first * byte_size(source.dtype), buffer.data(), bytes,
                           [this] { return stopping(); });
      }
      bytes_read.fetch_add(bytes, std::memory_order_relaxed);
    }
    switch (segment.op) {
      case Op::kMean: {
        MeanReport report;
        plan_.kernel(
            {w.inputs.data(), w.dtypes.data(), w.weights.empty() ? nullptr : w.weights.data(),
             taking_part, n, segment.out_dtype, out},
            &report);
        if (report.overflows) {
          note({Finding::Kind::kOverflow, piece.segment, -1, report.overflows, UINT64_MAX});
        }
        for (uint32_t j = 0; report.nonfinite && j < taking_part; ++j) {
          const Count c = count_nonfinite(w.dtypes[j], w.inputs[j], n);
          if (c.count)
            note({Finding::Kind::kNonfinite, piece.segment, w.positions[j], c.count,
                  first + c.first});
        }
        break;
      }
      case Op::kSame:
        for (uint32_t j = 1; j < taking_part; ++j) {
          const Count c = count_unequal(w.dtypes[0], w.inputs[0], w.inputs[j], n);
          if (c.count)
            note(
                {Finding::Kind::kUnequal, piece.segment, w.positions[j], c.count, first + c.first});
        }
        std::memcpy(out, w.inputs[0], n * byte_size(segment.out_dtype));
        break;
      case Op::kMax:
        integer_max(segment.out_dtype, w.inputs.data(), taking_part, n, out);
        break;
      case Op::kCompare: {
        const Difference d = compare(w.dtypes[0], w.inputs[0], w.dtypes[1], w.inputs[1], n);
        if (d.unequal.count) {
          note({Finding::Kind::kDiffers, piece.segment, -1, d.unequal.count,
                first + d.unequal.first, d.largest, d.sum_of_squares});
        }
        break;
      }
    }
    done += n;
    out += n * out_bytes(segment);
  }
}

bool MergeJob::emit(uint32_t output, const uint8_t* data, size_t bytes, const Chunk* chunk,
                    uint64_t* offset) {
  if (bytes == 0) return true;  // of a tensor without elements
  const int fd = plan_.outputs[output].fd;
  int error = 0;
  if (plan_.sink == SinkKind::kFile || plan_.sink == SinkKind::kPipe) {
    error = write_all(fd, data, bytes);
    const uint64_t end = *offset + bytes;
    if (!error && plan_.sink == SinkKind::kFile && end / kWriteBehind != *offset / kWriteBehind) {
      const uint64_t from = *offset / kWriteBehind * kWriteBehind;
      start_writing(fd, from, end / kWriteBehind * kWriteBehind - from);
    }
  } else if (plan_.sink == SinkKind::kCompare) {
    Pages<uint8_t> found(bytes);
    bool waited = false;
    error = read_at(fd, *offset, found.data(), bytes, false, &waited);
    if (!error && std::memcmp(found.data(), data, bytes) != 0 && chunk)
      compare_output(*chunk, data, found.data());
  } else if (plan_.sink == SinkKind::kConsume && chunk) {
    for (size_t p = 0; p < chunk->pieces; ++p) {
      const Piece& piece = pieces_[chunk->first_piece + p];
      plan_.consume(piece.segment, piece.first, piece.count, data);
      data += piece.count * byte_size(plan_.segments[piece.segment].out_dtype);
    }
  }
  if (error) {
    fail({JobError::Kind::kWrite, error, -1, -1, static_cast<int64_t>(output), "write"});
    return false;
  }
  *offset += bytes;
  bytes_written.fetch_add(bytes, std::memory_order_relaxed);
  return true;
}

void MergeJob::compare_output(const Chunk& chunk, const uint8_t* expected, const uint8_t* found) {
  for (size_t p = 0; p < chunk.pieces; ++p) {
    const Piece& piece = pieces_[chunk.first_piece + p];
    const DType t = plan_.segments[piece.segment].out_dtype;
    const Difference d = compare(t, expected, t, found, piece.count);
    if (d.unequal.count) {
      note({Finding::Kind::kDiffers, piece.segment, -1, d.unequal.count,
            piece.first + d.unequal.first, d.largest, d.sum_of_squares});
    }
    expected += piece.count * byte_size(t);
    found += piece.count * byte_size(t);
  }
}

void MergeJob::write() {
  size_t next = 0;
  for (uint32_t output = 0; output < plan_.outputs.size(); ++output) {
    Sha256 hash;  // of what is written; a comparison or a discarded output needs none
    const bool hashes = plan_.sink == SinkKind::kFile || plan_.sink == SinkKind::kPipe;
    uint64_t offset = plan_.outputs[output].offset;
    const std::vector<uint8_t>& prefix = plan_.outputs[output].prefix;
    if (hashes) hash.update(prefix.data(), prefix.size());
    if (!emit(output, prefix.data(), prefix.size(), nullptr, &offset)) return;
    for (; next < chunks_.size() && chunks_[next].output == output; ++next) {
      Slot& slot = slots_[next % slots_.size()];
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stopping() || slot.full; });
        if (stopping()) return;
      }
      const Chunk& chunk = chunks_[next];
      const bool compares = plan_.segments[pieces_[chunk.first_piece].segment].op == Op::kCompare;
      if (!complete(next, slot)) return;
      if (!compares) {
        if (hashes) hash.update(slot.bytes, chunk.bytes);
        if (!emit(output, slot.bytes, chunk.bytes, &chunk, &offset)) return;
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      slot.full = false;
      written_ = next + 1;
      changed_.notify_all();
    }
    if (plan_.sink == SinkKind::kFile) {
      const int error = sync_to_disk(plan_.outputs[output].fd);
      if (error)
        return fail({JobError::Kind::kWrite, error, -1, -1, static_cast<int64_t>(output), "sync"});
    }
    if (hashes) hashes_[output] = hash.hex();
  }
}

void MergeJob::prefetch(uint32_t first_input) {
  size_t asked = 0;
  for (;;) {
    size_t at;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return stopping() || done_ || (cold_ && asked < chunks_.size()); });
      if (stopping() || done_) return;
      at = next_chunk_;
    }
    asked = std::max(asked, at);
    // Ask for all chunks that lie within the window; how many that is depends on k.
    uint64_t ahead = 0;
    for (size_t c = at; c < chunks_.size() && ahead * kPrefetchers < kPrefetchWindow; ++c) {
      for (size_t p = 0; p < chunks_[c].pieces; ++p) {
        const Piece& piece = pieces_[chunks_[c].first_piece + p];
        for (uint32_t i = first_input; i < plan_.k; i += kPrefetchers) {
          const Source& source = plan_.sources[size_t{piece.segment} * plan_.k + i];
          if (source.file < 0 || source.view || source.held) continue;
          const size_t item = byte_size(source.dtype);
          ahead += piece.count * item;
          if (c >= asked) {
            will_need(plan_.files[static_cast<size_t>(source.file)],
                      source.offset + piece.first * item, piece.count * item);
          }
        }
      }
      if (c >= asked) asked = c + 1;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return stopping() || done_ || next_chunk_ != at; });
  }
}

}  // namespace stockpot
