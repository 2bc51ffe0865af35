// What native/backend/cuda/cublaslt_api.h uses of cuBLASLt, on the processor, as its documentation
// has it: matrices by columns, D = op(A)·op(B)·alpha + C·beta, a bias a row of D. Of four
// candidates the first is not supported, the second sums in parts whose order is open (and gives
// nonsense, so that whoever takes it is found out), the third is slow.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "../../../native/backend/cuda/cublaslt_api.h"

namespace lt = stockpot::cuda::lt;

namespace stockpot::cuda::lt {
struct OpaqueHandle {};
struct OpaqueOperation {
  int32_t transpose_a = 0, transpose_b = 0;
  uint32_t epilogue = kNoEpilogue;
  const void* bias = nullptr;
};
struct OpaqueLayout {
  DataType type;
  uint64_t rows, columns;
  int64_t ld;
};
struct OpaquePreference {
  uint64_t workspace = 0;
  uint32_t alignment = 256;
};
}  // namespace stockpot::cuda::lt

namespace {

float load(const void* from, lt::DataType type, uint64_t at) {
  if (type == lt::kFloat32) return static_cast<const float*>(from)[at];
  const uint16_t bits = static_cast<const uint16_t*>(from)[at];
  return type == lt::kFloat16 ? __half2float(__half{bits}) : __bfloat162float(__nv_bfloat16{bits});
}

void store(void* to, lt::DataType type, uint64_t at, float v) {
  if (type == lt::kFloat32) {
    static_cast<float*>(to)[at] = v;
  } else {
    static_cast<uint16_t*>(to)[at] =
        type == lt::kFloat16 ? __float2half_rn(v).bits : __float2bfloat16_rn(v).bits;
  }
}

bool fit(const lt::OpaqueOperation& o, const lt::OpaqueLayout& a, const lt::OpaqueLayout& b,
         const lt::OpaqueLayout& d) {
  const uint64_t m = o.transpose_a ? a.columns : a.rows, k = o.transpose_a ? a.rows : a.columns;
  const uint64_t kb = o.transpose_b ? b.columns : b.rows, n = o.transpose_b ? b.rows : b.columns;
  for (const lt::OpaqueLayout* l : {&a, &b, &d}) {
    if (l->ld < static_cast<int64_t>(l->rows)) return false;
  }
  return d.rows == m && d.columns == n && k == kb;
}

// Everything that a call says, for when the stream gets to it.
struct Product {
  lt::OpaqueOperation o;
  lt::OpaqueLayout la, lb, ld;
  float alpha, beta;
  const void *a, *b, *c;
  void* d;
  uint64_t algorithm;
};

void multiply(const Product& p) {
  // Slow beyond what else the machine does, for products of any size.
  const bool slow = p.algorithm == 2;
  const uint64_t depth = p.o.transpose_a ? p.la.rows : p.la.columns;
  if (slow) std::this_thread::sleep_for(std::chrono::microseconds(500));
  for (uint64_t j = 0; j < p.ld.columns; ++j) {
    for (uint64_t i = 0; i < p.ld.rows; ++i) {
      float sum = 0;
      for (uint64_t n = 0; n < (slow ? 20 : 1) * depth; ++n) {
        const uint64_t k = n % depth;
        if (k == 0) sum = 0;
        const uint64_t at =
            static_cast<uint64_t>(p.la.ld) * (p.o.transpose_a ? i : k) + (p.o.transpose_a ? k : i);
        const uint64_t bt =
            static_cast<uint64_t>(p.lb.ld) * (p.o.transpose_b ? k : j) + (p.o.transpose_b ? j : k);
        sum = std::fmaf(load(p.a, p.la.type, at), load(p.b, p.lb.type, bt), sum);
      }
      const uint64_t at = static_cast<uint64_t>(p.ld.ld) * j + i;
      sum *= p.alpha;
      if (p.beta != 0) sum += p.beta * load(p.c, p.ld.type, at);
      if (p.o.epilogue == lt::kBias) sum += load(p.o.bias, p.ld.type, i);
      if (p.algorithm == 1) sum = 12345;
      store(p.d, p.ld.type, at, sum);
    }
  }
}

}  // namespace

extern "C" {
#define API __attribute__((visibility("default")))

API size_t cublasLtGetVersion() { return 130002; }
API lt::Status cublasLtCreate(lt::Handle* h) { return *h = new lt::OpaqueHandle, lt::kSuccess; }
API lt::Status cublasLtDestroy(lt::Handle h) { return delete h, lt::kSuccess; }
API lt::Status cublasLtMatmulDescCreate(lt::Operation* o, lt::ComputeType c, lt::DataType t) {
  *o = new lt::OpaqueOperation;
  return c == lt::kCompute32F && t == lt::kFloat32 ? lt::kSuccess : lt::kNotSupported;
}
API lt::Status cublasLtMatmulDescDestroy(lt::Operation o) { return delete o, lt::kSuccess; }
API lt::Status cublasLtMatmulDescSetAttribute(lt::Operation o, lt::OperationAttribute attribute,
                                              const void* value, size_t size) {
  void* to = attribute == lt::kTransposeA   ? static_cast<void*>(&o->transpose_a)
             : attribute == lt::kTransposeB ? static_cast<void*>(&o->transpose_b)
             : attribute == lt::kEpilogue   ? static_cast<void*>(&o->epilogue)
                                            : static_cast<void*>(&o->bias);
  if (size != (attribute == lt::kBiasPointer ? 8 : 4)) return lt::kNotSupported;
  std::memcpy(to, value, size);
  return lt::kSuccess;
}
API lt::Status cublasLtMatrixLayoutCreate(lt::Layout* l, lt::DataType t, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  *l = new lt::OpaqueLayout{t, rows, columns, ld};
  return lt::kSuccess;
}
API lt::Status cublasLtMatrixLayoutDestroy(lt::Layout l) { return delete l, lt::kSuccess; }
API lt::Status cublasLtMatmulPreferenceCreate(lt::Preference* p) {
  return *p = new lt::OpaquePreference, lt::kSuccess;
}
API lt::Status cublasLtMatmulPreferenceDestroy(lt::Preference p) { return delete p, lt::kSuccess; }
API lt::Status cublasLtMatmulPreferenceSetAttribute(lt::Preference p, lt::PreferenceAttribute a,
                                                    const void* value, size_t size) {
  if (size != (a == lt::kMaxWorkspace ? 8 : 4)) return lt::kNotSupported;
  if (a == lt::kMaxWorkspace) std::memcpy(&p->workspace, value, 8);
  if (a == lt::kAlignmentA) std::memcpy(&p->alignment, value, 4);
  return lt::kSuccess;
}
API lt::Status cublasLtMatmulAlgoGetHeuristic(lt::Handle, lt::Operation o, lt::Layout a,
                                              lt::Layout b, lt::Layout, lt::Layout d,
                                              lt::Preference p, int asked, lt::Candidate* out,
                                              int* found) {
  if (!fit(*o, *a, *b, *d) || p->alignment > 16 || asked < 4) return lt::kNotSupported;
  for (int i = 0; i < 4; ++i) {
    out[i] = {};
    out[i].algorithm.data[0] = static_cast<uint64_t>(i);
    out[i].workspace = p->workspace;
    out[i].state = i == 0 ? lt::kNotSupported : lt::kSuccess;
  }
  *found = 4;
  return lt::kSuccess;
}
API lt::Status cublasLtMatmulAlgoCheck(lt::Handle, lt::Operation o, lt::Layout a, lt::Layout b,
                                       lt::Layout, lt::Layout d, const lt::Algorithm*,
                                       lt::Candidate* c) {
  c->workspace = 0;
  return fit(*o, *a, *b, *d) ? lt::kSuccess : lt::kNotSupported;
}
API lt::Status cublasLtMatmulAlgoConfigGetAttribute(const lt::Algorithm* a,
                                                    lt::AlgorithmAttribute attribute, void* value,
                                                    size_t size, size_t* written) {
  const uint32_t found =
      a->data[0] == 1 ? (attribute == lt::kSplitK ? 2 : 1) : (attribute == lt::kSplitK ? 1 : 0);
  if (size != 4) return lt::kNotSupported;
  std::memcpy(value, &found, 4);
  *written = 4;
  return lt::kSuccess;
}
API lt::Status cublasLtMatmul(lt::Handle, lt::Operation o, const void* alpha, const void* a,
                              lt::Layout la, const void* b, lt::Layout lb, const void* beta,
                              const void* c, lt::Layout, void* d, lt::Layout ld,
                              const lt::Algorithm* algorithm, void*, size_t, cudaStream_t stream) {
  if (!fit(*o, *la, *lb, *ld)) return lt::kNotSupported;
  const Product p{*o,
                  *la,
                  *lb,
                  *ld,
                  *static_cast<const float*>(alpha),
                  *static_cast<const float*>(beta),
                  a,
                  b,
                  c,
                  d,
                  algorithm->data[0]};
  emulator::put(stream, [p] { multiply(p); });
  return lt::kSuccess;
}
}
