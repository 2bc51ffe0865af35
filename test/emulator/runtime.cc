#include <chrono>
#include <cstdio>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cuda_runtime_api.h"

struct emulated_event {
  std::chrono::steady_clock::time_point at;
};

// What was recorded, to be done at each launch.
struct emulated_graph {
  std::vector<std::function<void()>> work;
};

struct emulated_stream {
  emulated_graph* recording = nullptr;
  bool spoilt = false;
};

namespace emulator {
Graphs graphs;
}

namespace {

// Of the running thread; not thread_local: see emulator.h.
__thread emulated_stream* captured = nullptr;

// What must not be done while the thread captures a stream.
bool refused() {
  if (captured) captured->spoilt = true;
  return captured != nullptr;
}

std::mutex mutex;
std::unordered_map<void*, size_t> sizes;
size_t used = 0;

// Bytes of shared memory that a block may have: EMULATOR_SHARED, by default a Hopper's.
size_t most_shared() {
  const char* named = std::getenv("EMULATOR_SHARED");
  return named ? std::strtoull(named, nullptr, 10) : size_t{227} << 10;
}

size_t total_memory() {
  const char* named = std::getenv("EMULATOR_MEMORY");
  return named ? std::strtoull(named, nullptr, 10) : size_t{4} << 30;
}

void note_copy(size_t bytes) {
  const char* named = std::getenv("EMULATOR_COPIES");
  if (!named) return;
  const std::lock_guard<std::mutex> lock(mutex);
  FILE* f = std::fopen(named, "a");
  if (!f) return;
  std::fprintf(f, "%zu\n", bytes);
  std::fclose(f);
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
  if (refused()) return cudaErrorStreamCaptureUnsupported;
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
  if (refused()) return cudaErrorStreamCaptureUnsupported;
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

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (kind == cudaMemcpyHostToDevice) note_copy(bytes);
  return emulator::put(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return emulator::put(stream, [=] { std::memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  *s = new emulated_stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  if (!s || !s->recording) return cudaSuccess;
  s->spoilt = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
  delete s;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode) {
  // Globally, allocations of other threads would fail meanwhile.
  if (!s || s->recording || captured || mode != cudaStreamCaptureModeThreadLocal ||
      emulator::graphs.failing == emulator::Step::kBegin) {
    return cudaErrorStreamCaptureUnsupported;
  }
  s->recording = new emulated_graph;
  s->spoilt = false;
  captured = s;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!s->recording || captured != s) return cudaErrorInvalidValue;
  captured = nullptr;
  std::swap(*graph, s->recording);
  if (!s->spoilt && emulator::graphs.failing != emulator::Step::kEnd) return cudaSuccess;
  delete *graph;
  *graph = nullptr;
  return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* to, cudaGraph_t from, unsigned long long) {
  if (emulator::graphs.failing == emulator::Step::kInstantiate) return cudaErrorUnknown;
  *to = new emulated_graph(*from);
  ++emulator::graphs.there;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  if (emulator::graphs.failing == emulator::Step::kLaunch) return cudaErrorUnknown;
  ++emulator::graphs.launched;
  return emulator::put(stream, [graph] {
    for (const auto& work : graph->work) work();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  --emulator::graphs.there;
  return cudaSuccess;
}

namespace emulator {

cudaError_t put(cudaStream_t stream, std::function<void()> work) {
  if (stream && stream->recording) {
    stream->recording->work.push_back(std::move(work));
  } else {
    work();
  }
  return cudaSuccess;
}

cudaError_t start(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                  std::function<void()> body) {
  if (shared_bytes > most_shared()) return cudaErrorInvalidValue;
  return put(stream, [=] { run(grid, block, shared_bytes, body); });
}

}  // namespace emulator

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
