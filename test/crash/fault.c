// A library that is put before the C library's own calls on files (LD_PRELOAD): it counts those on
// files below a folder, and at one of them ends the process, its whole group, as kill -9 does, or
// has the call fail. Linux only.
//
//   FAULT_ROOT   only calls on files below this folder count
//   FAULT_CALLS  which calls: `write` (everything that changes the disk) or `read`
//   FAULT_LOG    a line `CALL PATH` for each that counts is written there
//   FAULT_AT     the number of the call at which it happens, from 1; none by default
//   FAULT_DOES   `before` or `after` (it is killed then), or an errno: the call fails with it, and
//   is not made FAULT_ONLY   only this call counts, e.g. `fsync` FAULT_ON     only files whose path
//   contains this count
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char* root;
static const char* only;
static const char* on;
static int reads, log_fd = -1, does;
static long at;
static atomic_long calls;

enum { kBefore = -1, kAfter = -2 };

__attribute__((constructor)) static void begin(void) {
  root = getenv("FAULT_ROOT");
  only = getenv("FAULT_ONLY");
  on = getenv("FAULT_ON");
  const char* kind = getenv("FAULT_CALLS");
  reads = kind && strcmp(kind, "read") == 0;
  const char* n = getenv("FAULT_AT");
  at = n ? atol(n) : 0;
  const char* what = getenv("FAULT_DOES");
  does = !what                     ? 0
         : !strcmp(what, "before") ? kBefore
         : !strcmp(what, "after")  ? kAfter
                                   : atoi(what);
  const char* log = getenv("FAULT_LOG");
  if (log)
    log_fd =
        (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  unsetenv("LD_PRELOAD");  // not in the programs that it starts
}

static int below(const char* path) {
  const size_t n = root ? strlen(root) : 0;
  return n && path && strncmp(path, root, n) == 0 && (!on || strstr(path, on));
}

static void end(void) {
  kill(0, SIGKILL);
  for (;;) pause();
}

// Whether this call happens as usual; `counted` says whether it is the one that is followed by the
// end.
static int passes(int is_read, const char* call, const char* path, int* last) {
  *last = 0;
  if (is_read != reads || !below(path) || (only && strcmp(only, call))) return 1;
  const long n = atomic_fetch_add(&calls, 1) + 1;
  if (log_fd >= 0) {
    char line[PATH_MAX + 32];
    const int size = snprintf(line, sizeof line, "%s %s\n", call, path);
    syscall(SYS_write, log_fd, line, (size_t)size);
  }
  if (n != at) return 1;
  if (does == kBefore) end();
  if (does == kAfter) {
    *last = 1;
    return 1;
  }
  errno = does;
  return 0;
}

static const char* path_of(int fd, char* to) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, to, PATH_MAX - 1);
  to[n < 0 ? 0 : n] = 0;
  return to;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// The call, unless it is to fail.
#define THROUGH(is_read, call, path, made)              \
  do {                                                  \
    const int kept = errno;                             \
    int last;                                           \
    if (!passes(is_read, call, path, &last)) return -1; \
    errno = kept;                                       \
    const __typeof__(made) result = made;               \
    if (last) end();                                    \
    return result;                                      \
  } while (0)

#define OF_FD(is_read, call, fd, made)               \
  do {                                               \
    if (is_read != reads) return made;               \
    char path[PATH_MAX];                             \
    THROUGH(is_read, call, path_of(fd, path), made); \
  } while (0)

static int opens_to_write(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
}

#define OPEN(name)                                                                \
  int name(const char* path, int flags, ...) {                                    \
    va_list rest;                                                                 \
    va_start(rest, flags);                                                        \
    const mode_t mode = va_arg(rest, mode_t);                                     \
    va_end(rest);                                                                 \
    THROUGH(!opens_to_write(flags), "open", path, REAL(name)(path, flags, mode)); \
  }
OPEN(open)
OPEN(open64)

int mkdir(const char* path, mode_t mode) { THROUGH(0, "mkdir", path, REAL(mkdir)(path, mode)); }
int rmdir(const char* path) { THROUGH(0, "rmdir", path, REAL(rmdir)(path)); }
int unlink(const char* path) { THROUGH(0, "unlink", path, REAL(unlink)(path)); }
int chmod(const char* path, mode_t mode) { THROUGH(0, "chmod", path, REAL(chmod)(path, mode)); }
int rename(const char* from, const char* to) { THROUGH(0, "rename", to, REAL(rename)(from, to)); }

int fsync(int fd) { OF_FD(0, "fsync", fd, REAL(fsync)(fd)); }
int fdatasync(int fd) { OF_FD(0, "fdatasync", fd, REAL(fdatasync)(fd)); }
int ftruncate(int fd, off_t size) { OF_FD(0, "ftruncate", fd, REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { OF_FD(0, "ftruncate", fd, REAL(ftruncate64)(fd, size)); }
int flock(int fd, int how) { OF_FD(0, "flock", fd, REAL(flock)(fd, how)); }

ssize_t write(int fd, const void* p, size_t n) { OF_FD(0, "write", fd, REAL(write)(fd, p, n)); }
ssize_t writev(int fd, const struct iovec* v, int n) {
  OF_FD(0, "write", fd, REAL(writev)(fd, v, n));
}
ssize_t pwrite(int fd, const void* p, size_t n, off_t at_) {
  OF_FD(0, "write", fd, REAL(pwrite)(fd, p, n, at_));
}
ssize_t pwrite64(int fd, const void* p, size_t n, off64_t at_) {
  OF_FD(0, "write", fd, REAL(pwrite64)(fd, p, n, at_));
}
ssize_t pwritev(int fd, const struct iovec* v, int n, off_t at_) {
  OF_FD(0, "write", fd, REAL(pwritev)(fd, v, n, at_));
}
ssize_t pwritev64(int fd, const struct iovec* v, int n, off64_t at_) {
  OF_FD(0, "write", fd, REAL(pwritev64)(fd, v, n, at_));
}
ssize_t copy_file_range(int from, off64_t* a, int to, off64_t* b, size_t n, unsigned flags) {
  OF_FD(0, "copy", to, REAL(copy_file_range)(from, a, to, b, n, flags));
}

ssize_t sendfile(int to, int from, off_t* at_, size_t n) {
  OF_FD(0, "copy", to, REAL(sendfile)(to, from, at_, n));
}
ssize_t sendfile64(int to, int from, off64_t* at_, size_t n) {
  OF_FD(0, "copy", to, REAL(sendfile64)(to, from, at_, n));
}

ssize_t read(int fd, void* p, size_t n) { OF_FD(1, "read", fd, REAL(read)(fd, p, n)); }
ssize_t readv(int fd, const struct iovec* v, int n) { OF_FD(1, "read", fd, REAL(readv)(fd, v, n)); }
ssize_t pread(int fd, void* p, size_t n, off_t at_) {
  OF_FD(1, "read", fd, REAL(pread)(fd, p, n, at_));
}
ssize_t pread64(int fd, void* p, size_t n, off64_t at_) {
  OF_FD(1, "read", fd, REAL(pread64)(fd, p, n, at_));
}
ssize_t preadv(int fd, const struct iovec* v, int n, off_t at_) {
  OF_FD(1, "read", fd, REAL(preadv)(fd, v, n, at_));
}
ssize_t preadv64(int fd, const struct iovec* v, int n, off64_t at_) {
  OF_FD(1, "read", fd, REAL(preadv64)(fd, v, n, at_));
}
ssize_t preadv2(int fd, const struct iovec* v, int n, off_t at_, int flags) {
  OF_FD(1, "read", fd, REAL(preadv2)(fd, v, n, at_, flags));
}

int scandir(const char* path, struct dirent*** list, int (*filter)(const struct dirent*),
            int (*compare)(const struct dirent**, const struct dirent**)) {
  THROUGH(1, "readdir", path, REAL(scandir)(path, list, filter, compare));
}
int scandir64(const char* path, struct dirent64*** list, int (*filter)(const struct dirent64*),
              int (*compare)(const struct dirent64**, const struct dirent64**)) {
  THROUGH(1, "readdir", path, REAL(scandir64)(path, list, filter, compare));
}

// Node's recursive removal by another way, and the exchange of two paths, which older C libraries
// have no name for.
int unlinkat(int fd, const char* name, int flags) {
  char path[PATH_MAX] = "", whole[2 * PATH_MAX];
  if (fd != AT_FDCWD) path_of(fd, path);
  snprintf(whole, sizeof whole, "%s%s%s", path, *path ? "/" : "", name);
  THROUGH(0, "unlink", whole, REAL(unlinkat)(fd, name, flags));
}

long syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
  va_end(rest);
#ifdef SYS_renameat2
  if (number == SYS_renameat2 && getenv("FAULT_NO_EXCHANGE")) {
    errno = EINVAL;
    return -1;
  }
  if (number == SYS_renameat2)
    THROUGH(0, "exchange", (const char*)a[3],
            REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]));
#endif
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
