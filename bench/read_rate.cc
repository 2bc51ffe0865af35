// What reading alone reaches: pread of the given files by several threads, each in blocks, chunk by chunk over all files,
// as the merge does. Usage: read_rate THREADS BLOCK_BYTES MODE FILE…
//   warm    buffered reads, nothing else
//   direct  O_DIRECT with the blocks in flight that the threads make
//   drop    drops the files' pages from the cache and reads nothing
// `direct` drops them too, so that nothing comes from memory.
// Prints {"bytes": …, "seconds": …}.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  const int threads = std::atoi(argv[1]);
  const size_t block = std::strtoull(argv[2], nullptr, 10);
  const std::string mode = argv[3];
  std::vector<int> fds;
  std::vector<uint64_t> sizes;
  uint64_t largest = 0, total = 0;
  for (int i = 4; i < argc; ++i) {
    const int fd = open(argv[i], O_RDONLY | (mode == "direct" ? O_DIRECT : 0));
    if (fd < 0) return 1;
    struct stat info;
    fstat(fd, &info);
    fds.push_back(fd);
    sizes.push_back(info.st_size);
    largest = info.st_size > static_cast<off_t>(largest) ? info.st_size : largest;
    if (mode != "warm") posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  }
  if (mode == "drop") return 0;
  std::atomic<uint64_t> next{0}, read_bytes{0};
  const uint64_t chunk = block > (1 << 20) ? block : 1 << 20;
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      // One buffer a file, as in the merge, so that the same bytes of cache are in use.
      std::vector<void*> buffers(fds.size());
      for (void*& b : buffers) b = std::aligned_alloc(4096, block);
      for (uint64_t c; (c = next.fetch_add(chunk)) < largest;) {
        for (uint64_t o = c; o < c + chunk; o += block) {
          for (size_t f = 0; f < fds.size(); ++f) {
            if (o >= sizes[f]) continue;
            const ssize_t n = pread(fds[f], buffers[f], block, o);
            if (n > 0) read_bytes += n;
          }
        }
      }
      for (void* b : buffers) std::free(b);
    });
  }
  for (std::thread& w : workers) w.join();
  total = read_bytes;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(total), seconds);
}
