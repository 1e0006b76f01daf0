// A library that lets a program die, or a system call fail, at the Nth call that changes something below FAULT_BELOW.
// Only those count: what the test harness writes elsewhere does not.
//
//   FAULT_AT    which call, from 1
//   FAULT_HOW   die: end before it; half: a write is done by half, then end; fail: this call fails with ENOSPC, a write half-way;
//               full: this and all later ones fail
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEAD 86

static const char *below(void)
{
    static const char *path;
    if (!path)
        path = getenv("FAULT_BELOW") ?: "/nonexistent/";
    return path;
}

static int path_counts(const char *path)
{
    return strncmp(path, below(), strlen(below())) == 0;
}

static int fd_counts(int fd)
{
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    path[length < 0 ? 0 : length] = 0;
    return path_counts(path);
}

static int at_counts(int fd, const char *path)
{
    return path[0] == '/' ? path_counts(path) : fd != AT_FDCWD && fd_counts(fd);
}

enum fate { GOES_ON, HALF, FAILS };

static enum fate fate(int counts)
{
    static int seen;
    if (!counts || !getenv("FAULT_AT"))
        return GOES_ON;
    const char *how = getenv("FAULT_HOW");
    int at = atoi(getenv("FAULT_AT")), now = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (now < at || (now > at && strcmp(how, "full")))
        return GOES_ON;
    if (!strcmp(how, "die"))
        _exit(DEAD);
    if (!strcmp(how, "half"))
        return HALF;
    errno = ENOSPC;
    return FAILS;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Whatever cannot be done by half is done whole.
#define OTHER(name, counts, parameters, ...)            \
    int name parameters                                 \
    {                                                   \
        enum fate f = fate(counts);                     \
        if (f == FAILS)                                 \
            return -1;                                  \
        int result = REAL(name)(__VA_ARGS__);           \
        if (f == HALF)                                  \
            _exit(DEAD);                                \
        return result;                                  \
    }

ssize_t write(int fd, const void *bytes, size_t length)
{
    enum fate f = fate(fd_counts(fd));
    if (f == HALF || (f == FAILS && !strcmp(getenv("FAULT_HOW"), "fail")))
        REAL(write)(fd, bytes, length / 2);
    if (f == HALF)
        _exit(DEAD);
    if (f == FAILS) {
        errno = ENOSPC;
        return -1;
    }
    return REAL(write)(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    enum fate f = fate(fd_counts(fd));
    if (f == FAILS)
        return -1;
    if (f == HALF) {
        REAL(pwrite64)(fd, bytes, length / 2, at);
        _exit(DEAD);
    }
    return REAL(pwrite64)(fd, bytes, length, at);
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & O_CREAT ? va_arg(rest, mode_t) : 0;
}

#define CHANGES(flags) ((flags) & (O_CREAT | O_TRUNC))

#define OPEN(name)                                                      \
    int name(const char *path, int flags, ...)                          \
    {                                                                   \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        mode_t mode = mode_of(flags, rest);                             \
        va_end(rest);                                                   \
        enum fate f = fate(CHANGES(flags) && path_counts(path));        \
        if (f == FAILS)                                                 \
            return -1;                                                  \
        int fd = REAL(name)(path, flags, mode);                         \
        if (f == HALF)                                                  \
            _exit(DEAD);                                                \
        return fd;                                                      \
    }

#define OPENAT(name)                                                    \
    int name(int dir, const char *path, int flags, ...)                 \
    {                                                                   \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        mode_t mode = mode_of(flags, rest);                             \
        va_end(rest);                                                   \
        enum fate f = fate(CHANGES(flags) && at_counts(dir, path));     \
        if (f == FAILS)                                                 \
            return -1;                                                  \
        int fd = REAL(name)(dir, path, flags, mode);                    \
        if (f == HALF)                                                  \
            _exit(DEAD);                                                \
        return fd;                                                      \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

OTHER(rename, path_counts(to), (const char *from, const char *to), from, to)
OTHER(renameat2, at_counts(to_dir, to), (int dir, const char *from, int to_dir, const char *to, unsigned int flags),
      dir, from, to_dir, to, flags)
OTHER(unlink, path_counts(path), (const char *path), path)
OTHER(unlinkat, at_counts(dir, path), (int dir, const char *path, int flags), dir, path, flags)
OTHER(mkdir, path_counts(path), (const char *path, mode_t mode), path, mode)
OTHER(symlinkat, at_counts(dir, path), (const char *target, int dir, const char *path), target, dir, path)
OTHER(fsync, fd_counts(fd), (int fd), fd)
OTHER(fdatasync, fd_counts(fd), (int fd), fd)
OTHER(ftruncate64, fd_counts(fd), (int fd, off64_t length), fd, length)
OTHER(fchown, fd_counts(fd), (int fd, uid_t uid, gid_t gid), fd, uid, gid)
OTHER(fchmod, fd_counts(fd), (int fd, mode_t mode), fd, mode)
OTHER(futimens, fd_counts(fd), (int fd, const struct timespec times[2]), fd, times)
