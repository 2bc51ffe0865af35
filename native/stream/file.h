#pragma once
#include <cstddef>
#include <cstdint>

namespace stockpot {

// Thin wrappers over the operating system's file calls; each returns 0 or an errno value and
// retries EINTR.

// Reads exactly `bytes`; kShortRead where the file ends before. *waited is set where the bytes were
// not all in the page cache (or where the system cannot tell).
constexpr int kShortRead = -1;
int read_at(int fd, uint64_t offset, void* to, size_t bytes, bool probe_cache, bool* waited);
int write_all(int fd, const void* from, size_t bytes);
// Tells the system that a range will be read soon; returns at once.
void will_need(int fd, uint64_t offset, uint64_t bytes);
// Starts writing a range to the disk, so that the sync at the end is short; returns at once.
void start_writing(int fd, uint64_t offset, uint64_t bytes);
int sync_to_disk(int fd);

}  // namespace stockpot
