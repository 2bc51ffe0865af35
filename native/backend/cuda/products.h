#pragma once
// Matrix products on a device: float32 by the own kernel, whose bits are the processor's; bfloat16
// and float16 by cuBLASLt where it is there, else by the own kernel too.
#include <memory>
#include <string>

#include "../../kernels/cuda/network/matmul.h"

namespace stockpot::cuda {

class Products {
 public:
  // On the current device; `name` is its name. Choices of candidates are kept in `folder` ("":
  // not).
  Products(const std::string& name, const std::string& folder);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // Of device memory, that all products on one stream share.
  static constexpr uint64_t kWorkspace = 33 << 20;

  // `largest`: of the dimension that counts rows of a batch (m; k where A is transposed) in any
  // product with this weight. The way is chosen by it, so that rows have the same bits in any
  // batch. The first product of its kind takes long: up to 32 candidates are timed, once a device
  // and version of the library.
  cudaError_t multiply(const Matmul& p, uint64_t largest, void* workspace, cudaStream_t stream);

 private:
  struct Library;
  std::unique_ptr<Library> library_;  // nullptr: there is none
};

}  // namespace stockpot::cuda
