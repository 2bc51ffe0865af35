#include "products.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "../../kernels/cuda/network/rows.h"
#include "choices.h"
#include "cublaslt_api.h"

namespace stockpot::cuda {
namespace {

constexpr int kMostCandidates = 32;
constexpr int kRuns = 5;  // of each, of which the fastest counts
constexpr uint64_t kBiasBytes = 1 << 20;
constexpr size_t kLibraryWorkspace = Products::kWorkspace - kBiasBytes;
constexpr uint32_t kAlignment = 16;

lt::DataType type_of(Number n) {
  return n == Number::kF32 ? lt::kFloat32 : n == Number::kBF16 ? lt::kBFloat16 : lt::kFloat16;
}

bool aligned(const void* p) { return reinterpret_cast<uint64_t>(p) % kAlignment == 0; }

uint64_t& rows_of(Matmul& p) { return p.a_transposed ? p.k : p.m; }

// All of a product but where its operands lie.
std::string text_of(const Matmul& p) {
  std::string text = p.number == Number::kBF16 ? "bf16," : "f16,";
  for (uint64_t n : {p.m, p.n, p.k, p.lda, p.ldb, p.ldc}) text += std::to_string(n) + ",";
  text += p.a_transposed ? "t" : "n";
  text += p.b_transposed ? "t" : "n";
  text += p.c_float ? "f" : "h";
  text += p.accumulate || p.residual ? "a" : "z";
  text += p.bias ? "b" : "n";
  return text;
}

}  // namespace

struct Products::Library {
  // A product's descriptions for cuBLASLt. Its matrices lie by columns, so what is given to it is
  // the transposed product: Cᵀ = op(B)ᵀ·op(A)ᵀ, of the same memory.
  struct Described {
    lt::Operation operation = nullptr;
    lt::Layout first = nullptr, second = nullptr, out = nullptr;
    lt::Algorithm algorithm{};
    bool chosen = false;  // or the own kernel must do it
  };

  const lt::Functions& f;
  lt::Handle handle = nullptr;
  Choices choices;
  std::mutex mutex;
  std::map<std::string, Described> described;       // by text_of
  std::map<std::string, lt::Algorithm> algorithms;  // by text_of of the largest
  bool usable = false;

  Library(const lt::Functions& functions, const std::string& name, const std::string& folder)
      : f(functions),
        choices(folder, "matmul-" + name + "-" + std::to_string(functions.GetVersion())) {
    usable = f.Create(&handle) == lt::kSuccess;
  }

  ~Library() {
    for (auto& [text, d] : described) free(d);
    if (handle) f.Destroy(handle);
  }

  void free(Described& d) {
    if (d.operation) f.MatmulDescDestroy(d.operation);
    for (lt::Layout l : {d.first, d.second, d.out}) {
      if (l) f.MatrixLayoutDestroy(l);
    }
  }

  template <class T>
  bool set(lt::Operation o, lt::OperationAttribute attribute, const T& value) {
    return f.MatmulDescSetAttribute(o, attribute, &value, sizeof(value)) == lt::kSuccess;
  }

  bool describe(const Matmul& p, Described* d) {
    const lt::DataType type = type_of(p.number), out = p.c_float ? lt::kFloat32 : type;
    const auto layout = [this](lt::Layout* to, lt::DataType t, uint64_t rows, uint64_t columns,
                               uint64_t ld) {
      return f.MatrixLayoutCreate(to, t, rows, columns, static_cast<int64_t>(ld)) == lt::kSuccess;
    };
    return f.MatmulDescCreate(&d->operation, lt::kCompute32F, lt::kFloat32) == lt::kSuccess &&
           set(d->operation, lt::kTransposeA, p.b_transposed ? lt::kTransposed : lt::kAsIs) &&
           set(d->operation, lt::kTransposeB, p.a_transposed ? lt::kTransposed : lt::kAsIs) &&
           set(d->operation, lt::kEpilogue, p.bias ? lt::kBias : lt::kNoEpilogue) &&
           (p.b_transposed ? layout(&d->first, type, p.k, p.n, p.ldb)
                           : layout(&d->first, type, p.n, p.k, p.ldb)) &&
           (p.a_transposed ? layout(&d->second, type, p.m, p.k, p.lda)
                           : layout(&d->second, type, p.k, p.m, p.lda)) &&
           layout(&d->out, out, p.n, p.m, p.ldc);
  }

  // A bias has the type of the output.
  cudaError_t place_bias(const Matmul& p, void* workspace, cudaStream_t stream, Described& d) {
    if (!p.bias) return cudaSuccess;
    const void* bias = p.bias;
    if (!p.c_float) {
      bias = static_cast<uint8_t*>(workspace) + kLibraryWorkspace;
      const cudaError_t e = to_number(p.number, p.bias, p.n, const_cast<void*>(bias), stream);
      if (e != cudaSuccess) return e;
    }
    return set(d.operation, lt::kBiasPointer, bias) ? cudaSuccess : cudaErrorInvalidValue;
  }

  lt::Status run(const Matmul& p, const Described& d, const lt::Algorithm& algorithm, void* to,
                 void* workspace, cudaStream_t stream) {
    const float one = 1.0f, beta = p.accumulate || p.residual ? 1.0f : 0.0f;
    const void* added = p.residual ? p.residual : p.accumulate ? p.c : to;
    return f.Matmul(handle, d.operation, &one, p.b, d.first, p.a, d.second, &beta, added, d.out, to,
                    d.out, &algorithm, workspace, kLibraryWorkspace, stream);
  }

  // Those whose sums over k are not split, so that a row's bits do not depend on how many there
  // are. A weight's gradient sums over the rows of the batch anyway: there, parts that are added in
  // order will do.
  std::vector<lt::Algorithm> candidates(const Matmul& p, const Described& d) {
    std::vector<lt::Algorithm> out;
    lt::Preference preference = nullptr;
    if (f.MatmulPreferenceCreate(&preference) != lt::kSuccess) return out;
    const auto prefer = [&](lt::PreferenceAttribute attribute, const auto& value) {
      f.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
    };
    const uint32_t schemes = p.a_transposed ? lt::kReductionInComputeType : lt::kNoReduction;
    prefer(lt::kMaxWorkspace, uint64_t{kLibraryWorkspace});
    prefer(lt::kReductionSchemes, schemes);
    for (auto a : {lt::kAlignmentA, lt::kAlignmentB, lt::kAlignmentC, lt::kAlignmentD})
      prefer(a, kAlignment);
    lt::Candidate found[kMostCandidates];
    int count = 0;
    const lt::Status status =
        f.MatmulAlgoGetHeuristic(handle, d.operation, d.first, d.second, d.out, d.out, preference,
                                 kMostCandidates, found, &count);
    f.MatmulPreferenceDestroy(preference);
    for (int i = 0; status == lt::kSuccess && i < count; ++i) {
      if (found[i].state != lt::kSuccess) continue;
      const auto config = [&](lt::AlgorithmAttribute attribute, uint32_t otherwise) {
        uint32_t value = otherwise;
        size_t written = 0;
        f.MatmulAlgoConfigGetAttribute(&found[i].algorithm, attribute, &value, sizeof(value),
                                       &written);
        return value;
      };
      const uint32_t split = config(lt::kSplitK, 1);
      const uint32_t scheme = config(lt::kReductionScheme, lt::kNoReduction);
      const bool whole = split <= 1 && scheme == lt::kNoReduction;
      if (whole || (p.a_transposed && scheme == lt::kReductionInComputeType))
        out.push_back(found[i].algorithm);
    }
    return out;
  }

  // The position of the fastest, or -1 where none runs. What they compute goes elsewhere.
  int time_all(const Matmul& p, const Described& d, const std::vector<lt::Algorithm>& all,
               void* workspace, cudaStream_t stream, bool* timed) {
    void* room = nullptr;
    *timed = cudaMalloc(&room, p.m * p.ldc * (p.c_float ? 4 : byte_size(p.number))) == cudaSuccess;
    if (!*timed) {
      cudaGetLastError();
      return all.empty() ? -1 : 0;  // the library's own first choice
    }
    cudaEvent_t before = nullptr, after = nullptr;
    int best = -1;
    float least = 0;
    if (cudaEventCreate(&before) == cudaSuccess && cudaEventCreate(&after) == cudaSuccess) {
      for (size_t i = 0; i < all.size(); ++i) {
        for (int n = 0; n <= kRuns; ++n) {  // the first is not counted
          cudaEventRecord(before, stream);
          const lt::Status status = run(p, d, all[i], room, workspace, stream);
          cudaEventRecord(after, stream);
          float took = 0;
          if (status != lt::kSuccess || cudaEventSynchronize(after) != cudaSuccess ||
              cudaEventElapsedTime(&took, before, after) != cudaSuccess) {
            break;
          }
          if (n > 0 && (best < 0 || took < least)) {
            best = static_cast<int>(i);
            least = took;
          }
        }
      }
    }
    if (before) cudaEventDestroy(before);
    if (after) cudaEventDestroy(after);
    cudaFree(room);
    cudaGetLastError();
    return best;
  }

  // For all products of p's kind with up to `largest` rows.
  bool choose(Matmul p, uint64_t largest, void* workspace, cudaStream_t stream,
              lt::Algorithm* algorithm) {
    const uint64_t rows = rows_of(p);
    rows_of(p) = largest;
    const std::string text = text_of(p);
    if (const auto known = algorithms.find(text); known != algorithms.end()) {
      *algorithm = known->second;
      return true;
    }
    Described d;
    bool chosen = describe(p, &d) && place_bias(p, workspace, stream, d) == cudaSuccess;
    if (chosen) {
      const std::vector<lt::Algorithm> all = candidates(p, d);
      const int count = static_cast<int>(all.size());
      int at = choices.find(text, count);
      if (at < 0) {
        // Timed with as many rows as the operands at hand have.
        Matmul here = p;
        rows_of(here) = rows;
        Described small;
        bool timed = false;
        if (describe(here, &small) && place_bias(here, workspace, stream, small) == cudaSuccess) {
          at = time_all(here, small, all, workspace, stream, &timed);
        }
        free(small);
        if (timed && at >= 0 && rows == largest) choices.add(text, at, count);
      }
      chosen = at >= 0;
      if (chosen) *algorithm = algorithms[text] = all[static_cast<size_t>(at)];
    }
    free(d);
    return chosen;
  }

  Described& find(const Matmul& p, uint64_t largest, void* workspace, cudaStream_t stream) {
    const std::string text = text_of(p) + "," + std::to_string(largest);
    const auto [at, made] = described.try_emplace(text);
    Described& d = at->second;
    if (!made) return d;
    lt::Candidate checked{};
    d.chosen = describe(p, &d) && choose(p, largest, workspace, stream, &d.algorithm) &&
               f.MatmulAlgoCheck(handle, d.operation, d.first, d.second, d.out, d.out, &d.algorithm,
                                 &checked) == lt::kSuccess &&
               checked.workspace <= kLibraryWorkspace;
    return d;
  }
};

Products::Products(const std::string& name, const std::string& folder) {
  const char* message = nullptr;
  if (const lt::Functions* functions = lt::open(&message))
    library_ = std::make_unique<Library>(*functions, name, folder);
  if (library_ && !library_->usable) library_.reset();
}

Products::~Products() = default;

cudaError_t Products::multiply(const Matmul& p, uint64_t largest, void* workspace,
                               cudaStream_t stream) {
  const bool fits = p.m && p.n && p.k && !(p.accumulate && p.residual) && aligned(p.a) &&
                    aligned(p.b) && aligned(p.c) && aligned(p.residual) &&
                    p.n * byte_size(p.number) <= kBiasBytes;
  if (p.number == Number::kF32 || !library_ || !fits) return matmul(p, stream);
  const std::lock_guard<std::mutex> lock(library_->mutex);
  Library::Described& d = library_->find(p, largest, workspace, stream);
  if (!d.chosen) return matmul(p, stream);
  const cudaError_t e = library_->place_bias(p, workspace, stream, d);
  if (e != cudaSuccess) return e;
  return library_->run(p, d, d.algorithm, p.c, workspace, stream) == lt::kSuccess
             ? cudaSuccess
             : cudaErrorUnknown;
}

}  // namespace stockpot::cuda
