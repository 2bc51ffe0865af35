#include "file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace stockpot {

int read_at(int fd, uint64_t offset, void* to, size_t bytes, bool probe_cache, bool* waited) {
  auto* p = static_cast<uint8_t*>(to);
#if defined(__linux__) && defined(RWF_NOWAIT)
  if (probe_cache) {
    iovec part{p, bytes};
    const ssize_t n = preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    if (n > 0) {
      p += n;
      offset += n;
      bytes -= n;
    }
    if (bytes == 0) return 0;
    *waited = true;
  }
#else
  (void)probe_cache;
  (void)waited;
#endif
  while (bytes) {
    const ssize_t n = pread(fd, p, bytes, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (n == 0) return kShortRead;
    p += n;
    offset += n;
    bytes -= n;
  }
  return 0;
}

int write_all(int fd, const void* from, size_t bytes) {
  const auto* p = static_cast<const uint8_t*>(from);
  while (bytes) {
    const ssize_t n = write(fd, p, bytes);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {  // a pipe that someone made non-blocking
        pollfd waiting{fd, POLLOUT, 0};
        poll(&waiting, 1, 100);
        continue;
      }
      return errno;
    }
    p += n;
    bytes -= n;
  }
  return 0;
}

void will_need(int fd, uint64_t offset, uint64_t bytes) {
#if defined(__linux__)
  posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
#elif defined(__APPLE__)
  radvisory range{static_cast<off_t>(offset), static_cast<int>(std::min<uint64_t>(bytes, 1 << 30))};
  fcntl(fd, F_RDADVISE, &range);
#endif
}

void start_writing(int fd, uint64_t offset, uint64_t bytes) {
#if defined(__linux__)
  sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
#else
  (void)fd;
  (void)offset;
  (void)bytes;
#endif
}

int sync_to_disk(int fd) {
#if defined(__APPLE__)
  if (fcntl(fd, F_FULLFSYNC) == 0) return 0;
#endif
  while (fsync(fd) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace stockpot
