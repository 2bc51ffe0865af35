#include <chrono>
#include <mutex>
#include <unordered_map>

#include "cuda_runtime_api.h"

struct emulated_event {
  std::chrono::steady_clock::time_point at;
};

namespace {

std::mutex mutex;
std::unordered_map<void*, size_t> sizes;
size_t used = 0;

size_t total_memory() {
  const char* named = std::getenv("EMULATOR_MEMORY");
  return named ? std::strtoull(named, nullptr, 10) : size_t{4} << 30;
}

}  // namespace

const char* cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    default:
      return "an emulated error";
  }
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  std::memset(p, 0, sizeof(*p));
  std::strcpy(p->name, "emulated");
  p->major = 9;
  p->multiProcessorCount = 3;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  const std::lock_guard<std::mutex> lock(mutex);
  *total = total_memory();
  *free_bytes = *total > used ? *total - used : 0;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (used + bytes > total_memory()) return cudaErrorMemoryAllocation;
  // As CUDA's own; what nobody wrote is no number.
  if (posix_memalign(p, 256, bytes ? bytes : 1) != 0) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xFF, bytes);
  sizes[*p] = bytes;
  used += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = sizes.find(p);
  if (found == sizes.end()) return p ? cudaErrorInvalidValue : cudaSuccess;
  used -= found->second;
  sizes.erase(found);
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  return posix_memalign(p, 4096, bytes ? bytes : 1) ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFreeHost(void* p) {
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* e) {
  *e = new emulated_event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t) {
  e->at = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t a, cudaEvent_t b) {
  *milliseconds = std::chrono::duration<float, std::milli>(b->at - a->at).count();
  return cudaSuccess;
}
