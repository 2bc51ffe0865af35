#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

namespace stockpot {

// A ring of pinned host buffers on their way to a device. Several reader threads each take a free
// slot, fill it, and start its copy; a slot is free again only when the event recorded behind its
// copy has passed.
//
// `Device` gives the types HostMemory (a buffer: data()), and Event (record, wait), and copy_in:
// see native/backend/device.h.
template <class Device>
class UploadRing {
 public:
  struct Slot {
    typename Device::HostMemory memory;
    typename Device::Event copied;
    uint8_t* data() const { return memory.data(); }
  };

  // Work is put on stream `stream`.
  UploadRing(Device& device, uint32_t stream, size_t slots, size_t slot_bytes)
      : device_(device), stream_(stream), slot_bytes_(slot_bytes) {
    for (size_t i = 0; i < slots; ++i) {
      slots_.push_back(
          {typename Device::HostMemory(device, slot_bytes), typename Device::Event(device)});
    }
    for (Slot& s : slots_) free_.push_back(&s);
  }

  // Waits for the copies that are under way: the device reads the slots' memory until then.
  ~UploadRing() {
    for (Slot* s : copying_) {
      try {
        s->copied.wait();
      } catch (const std::exception&) {
        // A device that failed copies no more.
      }
    }
  }
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;

  size_t slot_bytes() const { return slot_bytes_; }

  // A slot to fill, or nullptr once `stop` is true (call wake() then). Every slot must be given to
  // submit() or give_back(). With at least as many slots as threads, a thread that holds none gets
  // one without waiting for the others.
  Slot* take(const std::function<bool()>& stop) {
    Slot* slot = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return stop() || !free_.empty() || !copying_.empty(); });
      if (stop()) return nullptr;
      std::deque<Slot*>& from = free_.empty() ? copying_ : free_;
      slot = from.front();
      const bool copying = &from == &copying_;
      from.pop_front();
      if (!copying) return slot;
    }
    // The oldest copy; others may take the next meanwhile.
    slot->copied.wait();
    return slot;
  }

  // Starts the copy of a filled slot's first `bytes` bytes to the device, then calls `then` before
  // any other copy is started.
  template <class Then>
  void submit(Slot* slot, uint64_t to, size_t bytes, const Then& then) {
    const std::lock_guard<std::mutex> submitting(submitting_);
    try {
      device_.copy_in(stream_, to, slot->data(), bytes);
      slot->copied.record(stream_);
    } catch (...) {
      give_back(slot);
      throw;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      copying_.push_back(slot);
    }
    changed_.notify_one();
    then();
  }

  void give_back(Slot* slot) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      free_.push_back(slot);
    }
    changed_.notify_one();
  }

  void wake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_all();
  }

 private:
  Device& device_;
  const uint32_t stream_;
  const size_t slot_bytes_;
  std::deque<Slot> slots_;
  std::mutex submitting_;  // a copy and the event behind it
  std::mutex mutex_;       // the lists
  std::condition_variable changed_;
  std::deque<Slot*> free_, copying_;  // copying: oldest first
};

}  // namespace stockpot
