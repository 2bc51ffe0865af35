#pragma once
// Memory of the device for tests that call kernels directly; CHECK ends the program.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (0)

namespace stockpot::test {

// A copy of host data on the device, of any element that can be copied as bytes.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    CHECK(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T)) == cudaSuccess);
  }
  explicit DeviceArray(const std::vector<T>& from) : DeviceArray(from.size()) { set(from); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return data_; }
  void set(const std::vector<T>& from) {
    CHECK(from.size() == size_);
    if (size_ == 0) return;
    CHECK(cudaMemcpyAsync(data_, from.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, nullptr) ==
          cudaSuccess);
    CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
  }
  std::vector<T> get() const {
    std::vector<T> to(size_);
    if (size_ == 0) return to;
    CHECK(cudaMemcpyAsync(to.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr) ==
          cudaSuccess);
    CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
    return to;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

}  // namespace stockpot::test
