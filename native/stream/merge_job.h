#pragma once
#include <condition_variable>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "input_hashes.h"
#include "job.h"
#include "merge_plan.h"

namespace stockpot {

// Streams the inputs of a MergePlan through its operations into its outputs, in one pass and
// bounded memory.
//
// The output is cut into chunks in file order. Workers claim chunks in order; for each they read
// the k inputs in small blocks that stay in the core's cache, compute, and put the result into a
// slot of a ring. One writer takes the slots in order, hashes and writes them. Prefetchers ask
// the system for the ranges ahead once a read has had to wait.
class MergeJob : public Job {
 public:
  explicit MergeJob(MergePlan plan);
  ~MergeJob() override;

  // After run():
  const std::vector<Finding>& findings() const { return findings_; }
  const std::vector<std::string>& hashes() const { return hashes_; }  // one an output
  std::vector<std::string> input_hashes() const;  // one a file, "" where none was asked for

 protected:
  void work() override;
  void wake() override;

  struct Piece {
    uint32_t segment;
    uint64_t first, count;  // elements
  };
  struct Chunk {
    uint32_t output;
    size_t first_piece, pieces;
    size_t bytes;
  };
  struct Slot {
    Pages<uint8_t> data;
    const uint8_t* bytes = nullptr;  // the result: of data, or memory of whoever computes
    bool full = false;
  };
  // One worker's buffers and the inputs of the segment that it is at.
  struct Worker {
    explicit Worker(const std::vector<int>& files) : reader(files) {}
    SourceReader reader;
    std::vector<Pages<uint8_t>> blocks;  // k
    std::vector<const uint8_t*> inputs;  // of those that take part
    std::vector<DType> dtypes;
    std::vector<double> weights;
    std::vector<int32_t> positions;
    bool feeds_hashes = true;  // false where the bytes were hashed already
  };

  // For those who compute elsewhere: sets chunk_bytes_ and the number of slots; may prepare once
  // the chunks are known; computes chunks, in order, until there are none (on threads 1 …
  // threads_); and finishes a chunk on the writer's thread before it is written.
  virtual void choose_sizes();
  virtual void prepare() {}
  virtual void compute(uint32_t index);
  virtual bool complete(size_t chunk, Slot&) {
    (void)chunk;
    return true;
  }

  virtual uint64_t buffer_bytes() const;  // of all workers' blocks and the ring
  void cut_into_chunks();
  void compute_piece(Worker& w, const Piece& piece, uint8_t* out);
  void read_failed(int error, const Source& source, uint32_t segment);
  void write();
  bool emit(uint32_t output, const uint8_t* data, size_t bytes, const Chunk* chunk,
            uint64_t* offset);
  void compare_output(const Chunk& chunk, const uint8_t* expected, const uint8_t* found);
  void prefetch(uint32_t first_input);
  void hash_prefixes();
  void note(const Finding& finding);

  MergePlan plan_;
  InputHashes input_hashes_;
  uint32_t threads_ = 1;
  size_t chunk_bytes_ = 0, block_bytes_ = 0;
  std::vector<Piece> pieces_;
  std::vector<Chunk> chunks_;
  std::vector<Slot> slots_;
  std::mutex mutex_;  // slots, next_chunk_, written_, cold_
  std::condition_variable changed_;
  size_t next_chunk_ = 0, written_ = 0;
  bool cold_ = false, done_ = false, hashes_inputs_ = false;
  std::mutex findings_mutex_;
  std::map<std::tuple<uint8_t, uint32_t, int32_t>, Finding> found_;
  std::vector<Finding> findings_;
  std::vector<std::string> hashes_;
};

}  // namespace stockpot
