#pragma once

namespace stockpot {

// Gives memory that was freed back to the system, as far as the allocator keeps it: glibc does so
// for each of many threads, and keeps larger and larger blocks once blocks of that size have been
// freed (mallopt(3), M_MMAP_THRESHOLD). At most once a second, as it looks through all that is
// free; from any thread.
void give_back_memory();

}  // namespace stockpot
