#include "library.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

namespace stockpot {
namespace {

const stockpot_backend* open(const std::string& path, std::string* why) {
  if (path.empty() || path[0] != '/') {
    *why = "expected an absolute path of a library but received \"" + path + "\"";
    return nullptr;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* error = dlerror();
    *why = error ? error : path + ": does not open";
    return nullptr;
  }
  const auto entry =
      reinterpret_cast<stockpot_backend_entry>(dlsym(library, STOCKPOT_BACKEND_SYMBOL));
  const stockpot_backend* backend = entry ? entry(STOCKPOT_BACKEND_VERSION) : nullptr;
  if (backend && backend->version == STOCKPOT_BACKEND_VERSION &&
      backend->size >= sizeof(stockpot_backend))
    return backend;
  *why = path + ": is not a backend of version " + std::to_string(STOCKPOT_BACKEND_VERSION) +
         (backend ? ": it says version " + std::to_string(backend->version) + ", " +
                        std::to_string(backend->size) + " bytes"
          : entry ? ": it knows other versions only"
                  : ": it has no " STOCKPOT_BACKEND_SYMBOL) +
         "; take the library that belongs to this version of stockpot";
  return nullptr;
}

}  // namespace

const stockpot_backend* open_backend(const std::string& path, std::string* why) {
  static std::mutex mutex;
  static auto* opened = new std::map<std::string, const stockpot_backend*>;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = opened->find(path);
  if (found != opened->end()) return found->second;
  const stockpot_backend* backend = open(path, why);
  if (backend) (*opened)[path] = backend;
  return backend;
}

}  // namespace stockpot
