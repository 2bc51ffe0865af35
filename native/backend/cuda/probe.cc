#include "probe.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "cublaslt_api.h"

namespace stockpot::cuda {
namespace {

void say(char (&to)[256], const std::string& text) {
  std::snprintf(to, sizeof(to), "%s", text.c_str());
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void probe_matmul(stockpot_probe* out) {
  const char* message = nullptr;
  const lt::Functions* functions = lt::open(&message);
  if (functions) out->matmul_version = functions->GetVersion();
  say(out->matmul_message, message);
}

}  // namespace

void probe(stockpot_probe* out) {
  std::memset(out, 0, sizeof(*out));
  out->runtime_version = CUDART_VERSION;
  const std::string need = version_text(CUDART_VERSION / 1000 * 1000);
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) {
    const char* why = dlerror();
    out->status = STOCKPOT_NO_DRIVER;
    return say(out->message, "there is no NVIDIA driver (" +
                                 std::string(why ? why : "libcuda.so.1 does not open") +
                                 "); install one for CUDA " + need + " or newer");
  }
  const auto version = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDriverGetVersion"));
  if (!version || version(&out->driver_version) != 0) out->driver_version = 0;
  if (out->driver_version && out->driver_version / 1000 < CUDART_VERSION / 1000) {
    out->status = STOCKPOT_OLD_DRIVER;
    return say(out->message, "the NVIDIA driver is for CUDA " + version_text(out->driver_version) +
                                 ", and CUDA " + need +
                                 " is needed (driver 580 or newer); update the driver");
  }
  const cudaError_t status = cudaGetDeviceCount(&out->device_count);
  if (status == cudaErrorNoDevice || (status == cudaSuccess && out->device_count == 0)) {
    out->status = STOCKPOT_NO_DEVICE;
    out->device_count = 0;
    return say(out->message,
               "the NVIDIA driver sees no GPU; if there is one, see nvidia-smi, the container's "
               "settings, and CUDA_VISIBLE_DEVICES");
  }
  if (status == cudaErrorInsufficientDriver) {
    out->status = STOCKPOT_OLD_DRIVER;
    return say(out->message, "the NVIDIA driver does not serve CUDA " + need + "; update it");
  }
  if (status != cudaSuccess) {
    out->status = STOCKPOT_FAILED;
    out->device_count = 0;
    return say(out->message,
               std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(status));
  }
  probe_matmul(out);
}

}  // namespace stockpot::cuda
