#pragma once
// What the programs of the GPU suite have in common: counting checks, and opening a device.
#include <cstdio>
#include <functional>
#include <string>

#include "../../../native/backend/device.h"
#include "../../../native/backend/library.h"

namespace stockpot::test {

inline int passed = 0, failed = 0;

inline void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

// f must be refused with `status` and say `words`.
template <class F>
void refused(const F& f, uint32_t status, const char* words) {
  try {
    f();
    check(false, std::string("not refused: ") + words);
  } catch (const DeviceError& e) {
    check(e.status == status && std::string(e.what()).find(words) != std::string::npos,
          std::string("said ") + e.what() + ", not " + words);
  }
}

struct SuiteOptions {
  bool small = false;
  std::string folder;  // --case
};

// What `PROGRAM LIBRARY [--small] [--case FOLDER] [--json FILE]` exits with. Without a device it
// says why and exits with 0. `facts`: what the file of --json has besides, as members of an object.
inline int run_suite(
    int argc, char** argv,
    const std::function<void(const stockpot_backend*, const SuiteOptions&)>& tests,
    const std::function<std::string(const stockpot_probe&, const stockpot_device_info&)>& facts) {
  SuiteOptions options;
  const char* json = nullptr;
  for (int i = 2; i < argc; ++i) {
    const std::string option = argv[i];
    options.small = options.small || option == "--small";
    if (option == "--json" && i + 1 < argc) json = argv[i + 1];
    if (option == "--case" && i + 1 < argc) options.folder = argv[i + 1];
  }
  std::string why;
  const stockpot_backend* backend = argc > 1 ? open_backend(argv[1], &why) : nullptr;
  if (!backend) {
    std::printf("%s: %s\n", argv[0], why.empty() ? "expected a library" : why.c_str());
    return 1;
  }
  stockpot_probe probe{};
  backend->probe(&probe);
  if (probe.status != STOCKPOT_OK) {
    std::printf("skipped: %s\n", probe.message);
    return 0;
  }
  stockpot_device_info info{};
  stockpot_failure failure{};
  if (backend->device(0, &info, &failure)) {
    std::printf("the device is not usable: %s\n", failure.message);
    return 1;
  }
  std::printf("%s, compute capability %d.%d, %.1f GB; cuBLASLt %llu%s%s\n", info.name, info.major,
              info.minor, static_cast<double>(info.memory_total) / 1e9,
              static_cast<unsigned long long>(probe.matmul_version),
              probe.matmul_version ? "" : ": ", probe.matmul_message);
  try {
    tests(backend, options);
  } catch (const std::exception& e) {
    check(false, std::string("the device failed: ") + e.what());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  if (FILE* f = json ? std::fopen(json, "w") : nullptr) {
    const std::string more = facts(probe, info);
    std::fprintf(f, "{\"passed\": %d, \"failed\": %d%s%s}\n", passed, failed,
                 more.empty() ? "" : ", ", more.c_str());
    std::fclose(f);
  }
  return failed ? 1 : 0;
}

}  // namespace stockpot::test
