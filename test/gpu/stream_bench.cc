// How fast a mean streams from files through a device, and how fast the same files are only read.
//
//   stream_bench LIBRARY FOLDER K BYTES [--dtype f32|bf16] [--threads N] [--memory BYTES]
//   [--repeats N]
//
// Makes K files of BYTES random bytes in FOLDER if they are not there, then alternates: `read`,
// every file with pread by N threads, nothing else; `device`, file to device to host, the result
// discarded; `cpu`, the processor's merge of the same. The page cache is as it is (the files were
// just written, or read by the run before). Prints one JSON object.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../native/backend/library.h"
#include "../../native/kernels/dispatch.h"
#include "../../native/stream/device_merge_job.h"
#include "../../native/stream/file.h"

using namespace stockpot;

namespace {

double seconds(const std::chrono::steady_clock::time_point& began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// Numbers like weights: exponents around 2^-5, random signs and significands.
void make_file(const std::string& path, uint64_t bytes, DType t, unsigned seed) {
  struct stat found;
  if (stat(path.c_str(), &found) == 0 && static_cast<uint64_t>(found.st_size) == bytes) return;
  std::mt19937_64 random(seed);
  FILE* f = std::fopen(path.c_str(), "wb");
  if (!f) {
    std::perror(path.c_str());
    std::exit(1);
  }
  std::vector<uint64_t> block(1 << 17);
  for (uint64_t done = 0; done < bytes;) {
    for (uint64_t& word : block) {
      word = random();
      word = t == DType::kF32 ? (word & 0x81FFFFFF81FFFFFFu) | 0x3C0000003C000000u
                              : (word & 0x81FF81FF81FF81FFu) | 0x3C003C003C003C00u;
    }
    const uint64_t n = std::min<uint64_t>(bytes - done, block.size() * 8);
    if (std::fwrite(block.data(), 1, n, f) != n) {
      std::perror(path.c_str());
      std::exit(1);
    }
    done += n;
  }
  std::fclose(f);
}

double read_only(const std::vector<int>& files, uint64_t bytes, uint32_t threads) {
  const auto began = std::chrono::steady_clock::now();
  constexpr uint64_t kBlock = 8 << 20;
  std::vector<std::thread> all;
  for (uint32_t t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      std::vector<uint8_t> buffer(kBlock);
      bool waited = false;
      const uint64_t blocks = (bytes + kBlock - 1) / kBlock;
      for (uint64_t i = t; i < blocks * files.size(); i += threads) {
        const uint64_t at = i / files.size() * kBlock;
        read_at(files[i % files.size()], at, buffer.data(), std::min(kBlock, bytes - at), false,
                &waited);
      }
    });
  }
  for (std::thread& t : all) t.join();
  return seconds(began);
}

const char* text(std::vector<double> times, char (&to)[256]) {
  std::sort(times.begin(), times.end());
  std::snprintf(to, sizeof(to), "{\"median\": %.4f, \"min\": %.4f, \"max\": %.4f}",
                times[times.size() / 2], times.front(), times.back());
  return to;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "stream_bench LIBRARY FOLDER K BYTES [options]: see the source\n");
    return 2;
  }
  std::string why, folder = argv[2], dtype = "f32";
  const uint32_t k = static_cast<uint32_t>(std::atoi(argv[3]));
  const uint64_t bytes = std::strtoull(argv[4], nullptr, 10) / 256 * 256;
  uint32_t threads = std::max(1u, std::thread::hardware_concurrency());
  uint64_t memory = 1 << 30;
  int repeats = 3;
  for (int i = 5; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--dtype") dtype = argv[i + 1];
    if (option == "--threads") threads = static_cast<uint32_t>(std::atoi(argv[i + 1]));
    if (option == "--memory") memory = std::strtoull(argv[i + 1], nullptr, 10);
    if (option == "--repeats") repeats = std::atoi(argv[i + 1]);
  }
  const DType type = dtype == "f32" ? DType::kF32 : DType::kBF16;
  const stockpot_backend* backend = open_backend(argv[1], &why);
  if (!backend) {
    std::fprintf(stderr, "stream_bench: %s\n", why.c_str());
    return 1;
  }
  std::vector<int> files;
  for (uint32_t i = 0; i < k; ++i) {
    const std::string path = folder + "/" + dtype + std::to_string(i);
    make_file(path, bytes, type, i);
    files.push_back(open(path.c_str(), O_RDONLY));
  }
  const auto plan = [&] {
    MergePlan p;
    p.files = files;
    p.k = k;
    p.segments.push_back({Op::kMean, type, bytes / byte_size(type), 0, -1});
    for (uint32_t i = 0; i < k; ++i)
      p.sources.push_back({static_cast<int32_t>(i), type, 0, nullptr});
    p.outputs.push_back({-1, {}, 0});
    p.sink = SinkKind::kDiscard;
    size_t variants;
    p.kernel = mean_variants(&variants)[0].kernel;
    p.threads = threads;
    p.memory = memory;
    p.hash_prefix.assign(k, -1);
    return p;
  };
  std::vector<double> read, device, cpu;
  for (int r = 0; r <= repeats; ++r) {  // the first round warms up
    double times[3];
    times[0] = read_only(files, bytes, threads);
    for (int on_device = 1; on_device >= 0; --on_device) {
      std::unique_ptr<MergeJob> job;
      if (on_device) {
        job = std::make_unique<DeviceMergeJob>(plan(), backend, 0);
      } else {
        job = std::make_unique<MergeJob>(plan());
      }
      const auto began = std::chrono::steady_clock::now();
      job->run();
      times[on_device ? 1 : 2] = seconds(began);
      if (job->error().kind != JobError::Kind::kNone) {
        std::fprintf(stderr, "stream_bench: %s\n", job->error().what.c_str());
        return 1;
      }
    }
    if (r == 0) continue;
    read.push_back(times[0]);
    device.push_back(times[1]);
    cpu.push_back(times[2]);
  }
  char a[256], b[256], c[256];
  std::printf(
      "{\"k\": %u, \"bytes_each\": %llu, \"dtype\": \"%s\", \"threads\": %u, \"memory\": %llu, "
      "\"seconds\": {\"read\": %s, \"device\": %s, \"cpu\": %s}, \"GBps\": {\"read\": %.2f, "
      "\"device\": %.2f, \"cpu\": %.2f}}\n",
      k, static_cast<unsigned long long>(bytes), dtype.c_str(), threads,
      static_cast<unsigned long long>(memory), text(read, a), text(device, b), text(cpu, c),
      static_cast<double>(bytes) * k / 1e9 / *std::min_element(read.begin(), read.end()),
      static_cast<double>(bytes) * k / 1e9 / *std::min_element(device.begin(), device.end()),
      static_cast<double>(bytes) * k / 1e9 / *std::min_element(cpu.begin(), cpu.end()));
  return 0;
}
