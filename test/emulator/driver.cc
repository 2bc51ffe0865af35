// The driver's library, as far as native/backend/cuda/probe.cc looks into it. The emulated device
// is linked with --wrap=dlopen, --wrap=dlsym.
#include <cstring>

extern "C" {
void* __real_dlopen(const char* file, int mode);
void* __real_dlsym(void* library, const char* name);

static char driver;

static int version(int* out) {
  *out = 13000;
  return 0;
}

void* __wrap_dlopen(const char* file, int mode) {
  return file && std::strcmp(file, "libcuda.so.1") == 0 ? &driver : __real_dlopen(file, mode);
}

void* __wrap_dlsym(void* library, const char* name) {
  return library == &driver ? reinterpret_cast<void*>(version) : __real_dlsym(library, name);
}
}
