#include "gram_job.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <system_error>

#include "../kernels/scan.h"
#include "budget.h"
#include "file.h"

namespace stockpot {
namespace {

// Part of the definition of a result (the order in which blocks are added), so never chosen.
constexpr uint64_t kChunkElements = 64 * kGramBlock;
// For one worker's blocks of all inputs, as in merge_job.cc.
constexpr size_t kReadShare = 2 << 20;
constexpr uint32_t kPrefetchers = 4;
constexpr uint64_t kAhead = 96 << 20;  // bytes asked for ahead, once a read has had to wait

}  // namespace

void GramJob::Sums::add(size_t at, double value) {
  const double sum = high[at], next = sum + value;
  low[at] += std::fabs(sum) >= std::fabs(value) ? (sum - next) + value : (value - next) + sum;
  high[at] = next;
}

void GramJob::Sums::clear() {
  std::fill(high.begin(), high.end(), 0.0);
  std::fill(low.begin(), low.end(), 0.0);
}

struct GramJob::Worker {
  Worker(const std::vector<int>& files, uint32_t k, size_t bytes, size_t pairs)
      : reader(files), raw(k), inputs(k), dtypes(k), room(k * kGramBlock + 8), products(pairs) {
    for (auto& r : raw) r.resize(bytes);
    // 64-byte aligned, so that no vector lies across two lines of the cache.
    const auto address = reinterpret_cast<uintptr_t>(room.data());
    vectors = room.data() + (64 - address % 64) % 64 / sizeof(double);
  }
  SourceReader reader;
  std::vector<Pages<uint8_t>> raw;
  std::vector<const uint8_t*> inputs;
  std::vector<DType> dtypes;
  Pages<double> room;
  double* vectors;
  std::vector<double> products;
};

void GramJob::wake() {
  const std::lock_guard<std::mutex> lock(mutex_);
  changed_.notify_all();
}

void GramJob::work() {
  const auto lease = ThreadBudget::process().take(plan_.threads, [this] { return stopping(); });
  uint32_t threads = lease.threads();
  if (threads == 0) return;
  pairs_ = gram_pairs(plan_.k);
  totals_.assign(plan_.groups, Sums(pairs_));
  for (uint32_t s = 0; s < plan_.elements.size(); ++s)
    for (uint64_t first = 0; first < plan_.elements[s]; first += kChunkElements)
      chunks_.push_back({s, first, std::min(kChunkElements, plan_.elements[s] - first)});
  // How much is read at a time, and by how many, changes no result.
  const auto held = [this](uint64_t elements) {
    return plan_.k * (elements + kGramBlock) * 8 + 3 * pairs_ * 8;
  };
  read_elements_ = std::min<size_t>(kChunkElements, kReadShare / plan_.k / 4);
  read_elements_ = std::max(kGramBlock, read_elements_ / kGramBlock * kGramBlock);
  while (read_elements_ > kGramBlock && threads * held(read_elements_) > plan_.memory)
    read_elements_ = std::max(kGramBlock, read_elements_ / 2 / kGramBlock * kGramBlock);
  while (threads > 1 && threads * held(read_elements_) > plan_.memory) --threads;
  // Asking may itself wait, where the disk's queue is full: several ask, each for some inputs.
  std::vector<std::thread> prefetchers;
  for (uint32_t i = 0; i < std::min(plan_.k, kPrefetchers); ++i) {
    try {
      prefetchers.emplace_back([this, i] { prefetch(i); });
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those inputs are read as they are needed
    }
  }
  parallel(threads, [this](uint32_t) { compute(); });
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }
  for (std::thread& t : prefetchers) t.join();
  if (stopping()) return;
  products_.reserve(plan_.groups * pairs_);
  for (const Sums& t : totals_)
    for (size_t p = 0; p < pairs_; ++p) products_.push_back(t.high[p] + t.low[p]);
}

void GramJob::compute() {
  Worker w(plan_.files, plan_.k, read_elements_ * 8, pairs_);
  Sums sums(pairs_);
  for (;;) {
    size_t index;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping() || next_chunk_ == chunks_.size()) return;
      index = next_chunk_++;
      cold_ = cold_ || w.reader.waited();
      if (cold_) changed_.notify_all();
    }
    sums.clear();
    if (!compute_chunk(w, chunks_[index], &sums)) return;
    hand_in(index, sums);
  }
}

bool GramJob::compute_chunk(Worker& w, const Chunk& chunk, Sums* out) {
  const Source* sources = &plan_.sources[size_t{chunk.segment} * plan_.k];
  for (uint64_t done = 0; done < chunk.count;) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(read_elements_, chunk.count - done));
    for (uint32_t i = 0; i < plan_.k; ++i) {
      if (stopping()) return false;
      w.dtypes[i] = sources[i].dtype;
      const int error = w.reader.read(sources[i], chunk.first + done, n, w.raw[i].data());
      if (error) {
        const bool is_short = error == kShortRead;
        fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead, is_short ? 0 : error,
              sources[i].file, static_cast<int64_t>(chunk.segment), -1, "read"});
        return false;
      }
      bytes_read.fetch_add(n * byte_size(w.dtypes[i]), std::memory_order_relaxed);
    }
    for (size_t e = 0; e < n; e += kGramBlock) {
      const size_t block = std::min(kGramBlock, n - e);
      for (uint32_t i = 0; i < plan_.k; ++i)
        w.inputs[i] = w.raw[i].data() + e * byte_size(w.dtypes[i]);
      plan_.kernel(
          {w.inputs.data(), w.dtypes.data(), plan_.k, block, w.vectors, w.products.data()});
      bool finite = true;
      for (size_t p = 0; p < pairs_; ++p) {
        finite = finite && std::isfinite(w.products[p]);
        out->add(p, w.products[p]);
      }
      if (!finite) look_for_nonfinite(w, chunk.segment, chunk.first + done + e, block);
    }
    done += n;
  }
  return true;
}

void GramJob::look_for_nonfinite(Worker& w, uint32_t segment, uint64_t first, size_t n) {
  for (uint32_t i = 0; i < plan_.k; ++i) {
    const Count c = count_nonfinite(w.dtypes[i], w.inputs[i], n);
    if (c.count == 0) continue;
    const std::lock_guard<std::mutex> lock(mutex_);
    nonfinite_.push_back({segment, i, c.count, first + c.first});
  }
}

// Sums are added in the order of the chunks: whoever is early waits, which is short, as all chunks
// are alike and were begun in that order.
void GramJob::hand_in(size_t index, const Sums& sums) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return stopping() || handed_in_ == index; });
  if (stopping()) return;
  Sums& total = totals_[plan_.group[chunks_[index].segment]];
  for (size_t p = 0; p < pairs_; ++p) {
    total.add(p, sums.high[p]);
    total.low[p] += sums.low[p];
  }
  ++handed_in_;
  changed_.notify_all();
}

// Tells the system what will be read soon of inputs first_input, first_input + kPrefetchers …
void GramJob::prefetch(uint32_t first_input) {
  const size_t ahead = std::max<uint64_t>(1, kAhead / (plan_.k * kChunkElements * 4));
  for (size_t asked = 0;;) {
    size_t end;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      const auto limit = [&] { return std::min(chunks_.size(), next_chunk_ + ahead); };
      changed_.wait(lock, [&] { return stopping() || done_ || (cold_ && asked < limit()); });
      if (stopping() || done_) return;
      asked = std::max(asked, next_chunk_);
      end = limit();
    }
    for (; asked < end && !stopping(); ++asked) {
      const Chunk& chunk = chunks_[asked];
      for (uint32_t i = first_input; i < plan_.k; i += kPrefetchers) {
        const Source& source = plan_.sources[size_t{chunk.segment} * plan_.k + i];
        const size_t item = byte_size(source.dtype);
        if (!source.view)
          will_need(plan_.files[static_cast<size_t>(source.file)],
                    source.offset + chunk.first * item, chunk.count * item);
      }
    }
  }
}

std::vector<GramJob::Nonfinite> GramJob::nonfinite() const {
  std::map<std::pair<uint32_t, uint32_t>, Nonfinite> merged;
  for (const Nonfinite& n : nonfinite_) {
    const auto inserted = merged.emplace(std::make_pair(n.segment, n.input), n);
    if (inserted.second) continue;
    inserted.first->second.count += n.count;
    inserted.first->second.first = std::min(inserted.first->second.first, n.first);
  }
  std::vector<Nonfinite> all;
  for (const auto& entry : merged) all.push_back(entry.second);
  return all;
}

}  // namespace stockpot
