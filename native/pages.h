#pragma once
// Memory that goes back to the system when it is freed.
#include <sys/mman.h>

#include <cstddef>
#include <limits>
#include <new>
#include <vector>

// AddressSanitizer looks after what operator new gives only.
#if defined(__SANITIZE_ADDRESS__)
#define STOCKPOT_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STOCKPOT_WATCHED 1
#endif
#endif

namespace stockpot {

// An allocator that asks the system for larger blocks itself. malloc would keep them: glibc takes
// blocks of sizes that were freed before from the heap of the thread (mallopt(3),
// M_MMAP_THRESHOLD), of which there are up to eight a core, and every job has threads of its own.
template <class T>
struct PageAllocator {
  using value_type = T;
#if defined(STOCKPOT_WATCHED)
  static constexpr size_t kLarge = std::numeric_limits<size_t>::max();
#else
  static constexpr size_t kLarge = 64 << 10;  // bytes
#endif

  PageAllocator() = default;
  template <class U>
  PageAllocator(const PageAllocator<U>&) {}

  T* allocate(size_t n) {
    if (n > std::numeric_limits<size_t>::max() / sizeof(T)) throw std::bad_alloc();
    const size_t bytes = n * sizeof(T);
    if (bytes < kLarge) return static_cast<T*>(::operator new(bytes));
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(p);
  }
  void deallocate(T* p, size_t n) noexcept {
    const size_t bytes = n * sizeof(T);
    if (bytes < kLarge)
      ::operator delete(p);
    else
      munmap(p, bytes);
  }
  bool operator==(const PageAllocator&) const { return true; }
  bool operator!=(const PageAllocator&) const { return false; }
};

// For buffers and whatever else grows with the models.
template <class T>
using Pages = std::vector<T, PageAllocator<T>>;

}  // namespace stockpot
