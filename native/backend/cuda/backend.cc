// The functions of ../backend.h on CUDA's runtime, which is linked in: the driver's library is
// opened when the first of them is called.
#include <cstdio>
#include <cstring>
#include <new>

#include "context.h"
#include "probe.h"

namespace stockpot::cuda {

int report(cudaError_t status, const char* what, stockpot_failure* failure) {
  if (status == cudaSuccess) return STOCKPOT_OK;
  std::memset(failure, 0, sizeof(*failure));
  failure->status = status == cudaErrorMemoryAllocation         ? STOCKPOT_OUT_OF_MEMORY
                    : status == cudaErrorNoDevice               ? STOCKPOT_NO_DEVICE
                    : status == cudaErrorInvalidDevice          ? STOCKPOT_NO_DEVICE
                    : status == cudaErrorInsufficientDriver     ? STOCKPOT_OLD_DRIVER
                    : status == cudaErrorNoKernelImageForDevice ? STOCKPOT_OLD_DEVICE
                    : status == cudaErrorUnsupportedPtxVersion  ? STOCKPOT_OLD_DRIVER
                                                                : STOCKPOT_FAILED;
  std::snprintf(failure->message, sizeof(failure->message), "%s: %s", what,
                cudaGetErrorString(status));
  // An error that leaves the device usable must not be found by the next call.
  cudaGetLastError();
  if (status == cudaErrorMemoryAllocation) {
    size_t free_bytes = 0, total = 0;
    if (cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) failure->bytes_free = free_bytes;
  }
  return static_cast<int>(failure->status);
}

int invalid(const char* what, stockpot_failure* failure) {
  std::memset(failure, 0, sizeof(*failure));
  failure->status = STOCKPOT_INVALID;
  std::snprintf(failure->message, sizeof(failure->message), "%s", what);
  return STOCKPOT_INVALID;
}

namespace {

using Context = stockpot_context;
using Failure = stockpot_failure;

// The current device belongs to the thread: every call sets it.
cudaError_t enter(const Context* c) { return cudaSetDevice(c->device); }

int device(uint32_t index, stockpot_device_info* out, Failure* failure) {
  std::memset(out, 0, sizeof(*out));
  cudaDeviceProp properties;
  cudaError_t e = cudaGetDeviceProperties(&properties, static_cast<int>(index));
  if (e != cudaSuccess) return report(e, "reading the device's properties", failure);
  std::snprintf(out->name, sizeof(out->name), "%.127s", properties.name);
  out->major = properties.major;
  out->minor = properties.minor;
  out->multiprocessors = properties.multiProcessorCount;
  e = cudaSetDevice(static_cast<int>(index));
  size_t free_bytes = 0, total = 0;
  if (e == cudaSuccess) e = cudaMemGetInfo(&free_bytes, &total);
  if (e != cudaSuccess) return report(e, "using the device", failure);
  out->memory_free = free_bytes;
  out->memory_total = total;
  e = find_kernels();
  out->usable = e == cudaSuccess;
  return e == cudaSuccess ? STOCKPOT_OK : report(e, "finding code for the device", failure);
}

void close(Context* c) {
  if (!c) return;
  if (enter(c) == cudaSuccess) {
    for (cudaStream_t s : c->streams) {
      if (!s) continue;
      cudaStreamSynchronize(s);
      cudaStreamDestroy(s);
    }
    if (c->tables) {
      cudaStreamSynchronize(c->tables);
      cudaStreamDestroy(c->tables);
    }
    if (c->pool) cudaMemPoolDestroy(c->pool);
  }
  delete c;
}

cudaError_t create_pool(Context* c) {
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = c->device;
  cudaError_t e = cudaMemPoolCreate(&c->pool, &properties);
  uint64_t kept = 64 << 20;  // bytes that the pool keeps when nothing uses them
  if (e == cudaSuccess) {
    e = cudaMemPoolSetAttribute(c->pool, cudaMemPoolAttrReleaseThreshold, &kept);
  }
  return e;
}

int open(uint32_t index, Context** out, Failure* failure) {
  auto* c = new (std::nothrow) Context;
  if (!c) return invalid("out of host memory", failure);
  c->device = static_cast<int>(index);
  cudaError_t e = enter(c);
  if (e == cudaSuccess) {
    e = cudaDeviceGetAttribute(&c->shape.multiprocessors, cudaDevAttrMultiProcessorCount,
                               c->device);
  }
  for (cudaStream_t& s : c->streams) {
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
  }
  if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&c->tables, cudaStreamNonBlocking);
  if (e == cudaSuccess) e = create_pool(c);
  if (e == cudaSuccess) e = find_kernels();
  if (e != cudaSuccess) {
    close(c);
    return report(e, "opening the device", failure);
  }
  *out = c;
  return STOCKPOT_OK;
}

int synchronize(Context* c, Failure* failure) {
  cudaError_t e = enter(c);
  for (cudaStream_t s : c->streams) {
    if (e == cudaSuccess) e = cudaStreamSynchronize(s);
  }
  return report(e, "waiting for the device", failure);
}

int memory(Context* c, uint64_t* free_bytes, uint64_t* total_bytes, Failure* failure) {
  size_t free_now = 0, total = 0;
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaMemGetInfo(&free_now, &total);
  *free_bytes = free_now;
  *total_bytes = total;
  return report(e, "asking for the device's memory", failure);
}

int allocate(Context* c, uint64_t bytes, uint64_t* address, Failure* failure) {
  void* p = nullptr;
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaMalloc(&p, bytes ? bytes : 1);
  *address = reinterpret_cast<uint64_t>(p);
  const int status = report(e, "device memory", failure);
  if (status) failure->bytes_asked = bytes;
  return status;
}

void release(Context* c, uint64_t address) {
  if (enter(c) == cudaSuccess) cudaFree(reinterpret_cast<void*>(address));
}

int allocate_host(Context* c, uint64_t bytes, void** out, Failure* failure) {
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaMallocHost(out, bytes ? bytes : 1);
  const int status = report(e, "pinned host memory", failure);
  if (status) failure->bytes_asked = bytes;
  return status;
}

void release_host(Context* c, void* p) {
  if (enter(c) == cudaSuccess) cudaFreeHost(p);
}

int copy(Context* c, uint32_t stream, void* to, const void* from, uint64_t bytes,
         cudaMemcpyKind kind, Failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  cudaError_t e = enter(c);
  if (e == cudaSuccess && bytes) e = cudaMemcpyAsync(to, from, bytes, kind, c->streams[stream]);
  return report(e, "copying", failure);
}

int copy_in(Context* c, uint32_t stream, uint64_t to, const void* from, uint64_t bytes,
            Failure* failure) {
  return copy(c, stream, reinterpret_cast<void*>(to), from, bytes, cudaMemcpyHostToDevice, failure);
}

int copy_out(Context* c, uint32_t stream, void* to, uint64_t from, uint64_t bytes,
             Failure* failure) {
  return copy(c, stream, to, reinterpret_cast<const void*>(from), bytes, cudaMemcpyDeviceToHost,
              failure);
}

int fill_zero(Context* c, uint32_t stream, uint64_t to, uint64_t bytes, Failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  cudaError_t e = enter(c);
  if (e == cudaSuccess && bytes) {
    e = cudaMemsetAsync(reinterpret_cast<void*>(to), 0, bytes, c->streams[stream]);
  }
  return report(e, "filling memory", failure);
}

int event_create(Context* c, stockpot_event** out, Failure* failure) {
  auto* event = new (std::nothrow) stockpot_event;
  if (!event) return invalid("out of host memory", failure);
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaEventCreate(&event->event);
  if (e != cudaSuccess) {
    delete event;
    return report(e, "creating an event", failure);
  }
  *out = event;
  return STOCKPOT_OK;
}

void event_destroy(Context* c, stockpot_event* event) {
  if (!event) return;
  if (enter(c) == cudaSuccess) cudaEventDestroy(event->event);
  delete event;
}

int event_record(Context* c, stockpot_event* event, uint32_t stream, Failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaEventRecord(event->event, c->streams[stream]);
  return report(e, "recording an event", failure);
}

int event_wait(Context* c, stockpot_event* event, Failure* failure) {
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaEventSynchronize(event->event);
  return report(e, "waiting for an event", failure);
}

int stream_wait(Context* c, uint32_t stream, stockpot_event* event, Failure* failure) {
  if (stream > STOCKPOT_COPY_OUT) return invalid("there is no such stream", failure);
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaStreamWaitEvent(c->streams[stream], event->event, 0);
  return report(e, "making a stream wait", failure);
}

int event_elapsed(Context* c, stockpot_event* first, stockpot_event* last, double* milliseconds,
                  Failure* failure) {
  float found = 0;
  cudaError_t e = enter(c);
  if (e == cudaSuccess) e = cudaEventElapsedTime(&found, first->event, last->event);
  *milliseconds = found;
  return report(e, "timing", failure);
}

const stockpot_backend kBackend = {
    STOCKPOT_BACKEND_VERSION,
    sizeof(stockpot_backend),
    "cuda",
    probe,
    device,
    open,
    close,
    synchronize,
    memory,
    allocate,
    release,
    allocate_host,
    release_host,
    copy_in,
    copy_out,
    fill_zero,
    event_create,
    event_destroy,
    event_record,
    event_wait,
    stream_wait,
    event_elapsed,
    plan_create,
    plan_run,
    plan_destroy,
    network_plan,
    network_create,
    network_destroy,
    network_weight,
    network_gradient,
    network_input_gradient,
    network_forward,
    network_backward,
    network_zero_gradients,
    gather,
};

}  // namespace
}  // namespace stockpot::cuda

extern "C" __attribute__((visibility("default"))) const stockpot_backend* stockpot_backend_v1(
    uint32_t version) {
  return version == STOCKPOT_BACKEND_VERSION ? &stockpot::cuda::kBackend : nullptr;
}
