#include "cublaslt_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

namespace stockpot::cuda::lt {
namespace {

struct Opened {
  Functions functions{};
  std::string message;
  bool usable = false;

  template <class F>
  bool find(void* library, const char* name, F* to) {
    *to = reinterpret_cast<F>(dlsym(library, (std::string("cublasLt") + name).c_str()));
    return *to != nullptr;
  }

  Opened() {
    const std::string usual = "libcublasLt.so." + std::to_string(CUDART_VERSION / 1000);
    const char* named = std::getenv("STOCKPOT_CUBLASLT");
    const std::string name = named && *named ? named : usual;
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* why = dlerror();
      message = "cuBLASLt is not found (" + std::string(why ? why : name) +
                "); networks in bf16 and f16 are faster with " + usual +
                ": install it, or let STOCKPOT_CUBLASLT name the file";
      return;
    }
    Functions& f = functions;
    const bool all =
        find(library, "GetVersion", &f.GetVersion) && find(library, "Create", &f.Create) &&
        find(library, "Destroy", &f.Destroy) &&
        find(library, "MatmulDescCreate", &f.MatmulDescCreate) &&
        find(library, "MatmulDescDestroy", &f.MatmulDescDestroy) &&
        find(library, "MatmulDescSetAttribute", &f.MatmulDescSetAttribute) &&
        find(library, "MatrixLayoutCreate", &f.MatrixLayoutCreate) &&
        find(library, "MatrixLayoutDestroy", &f.MatrixLayoutDestroy) &&
        find(library, "MatmulPreferenceCreate", &f.MatmulPreferenceCreate) &&
        find(library, "MatmulPreferenceDestroy", &f.MatmulPreferenceDestroy) &&
        find(library, "MatmulPreferenceSetAttribute", &f.MatmulPreferenceSetAttribute) &&
        find(library, "MatmulAlgoGetHeuristic", &f.MatmulAlgoGetHeuristic) &&
        find(library, "MatmulAlgoCheck", &f.MatmulAlgoCheck) &&
        find(library, "MatmulAlgoConfigGetAttribute", &f.MatmulAlgoConfigGetAttribute) &&
        find(library, "Matmul", &f.Matmul);
    usable = all && f.GetVersion() != 0;
    if (!usable) message = name + " is not cuBLASLt " + std::to_string(CUDART_VERSION / 1000);
  }
};

}  // namespace

const Functions* open(const char** message) {
  static const Opened opened;
  *message = opened.message.c_str();
  return opened.usable ? &opened.functions : nullptr;
}

}  // namespace stockpot::cuda::lt
