/* Somebody who got hold of a file before anybody judged it, and changes it afterwards.
 *
 *   late WAY FILE NEW
 *
 * opens or maps FILE in the way that WAY says, says "ready", waits for a line, makes FILE say what NEW says, says "done"
 * and the errno, and keeps what it has until its input ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *way;
static int fd = -1, source, loop_fd = -1, ring_fd;
static char *map, *text, *old;
static pid_t flipper;
static size_t size;
static struct io_uring_params ring;
static int partner[2];

static void fail(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", way, what, strerror(errno));
    exit(2);
}

static int is(const char *name) { return strcmp(way, name) == 0; }

static void attach_loop(void) {
    char name[64];
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (int tries = 0; tries < 100; tries++) { /* others look for a free one, too */
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(name, sizeof name, "/dev/loop%d", number);
        loop_fd = open(name, O_RDWR | O_CLOEXEC);
        if (loop_fd >= 0 && ioctl(loop_fd, LOOP_SET_FD, fd) == 0) {
            close(fd);
            close(control);
            return;
        }
        if (loop_fd >= 0)
            close(loop_fd);
    }
    fail("a loop device");
}

/* One write through io_uring: no write(2) is ever called. */
static int ring_write(void) {
    size_t length = ring.sq_off.array + ring.sq_entries * 4, other = ring.cq_off.cqes + ring.cq_entries * 16;
    char *rings = mmap(NULL, length > other ? length : other, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd,
                       IORING_OFF_SQ_RING);
    struct io_uring_sqe *sqe = mmap(NULL, ring.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd,
                                    IORING_OFF_SQES);
    if (rings == MAP_FAILED || sqe == MAP_FAILED)
        fail("mmap of the ring");
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_WRITE;
    sqe->fd = fd;
    sqe->addr = (uintptr_t)text;
    sqe->len = size;
    *(uint32_t *)(rings + ring.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(rings + ring.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring_fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return -1;
    struct io_uring_cqe *cqe = (void *)(rings + ring.cq_off.cqes);
    if (cqe->res < 0)
        errno = -cqe->res;
    return cqe->res;
}

/* The descriptor goes to another process; this one gives it up. */
static void pass_on(void) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, partner) < 0)
        fail("socketpair");
    if (fork() == 0) {
        char byte, room[CMSG_SPACE(sizeof(int))];
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
        close(fd);
        close(partner[0]);
        if (recvmsg(partner[1], &message, 0) != 1)
            _exit(2);
        int received = *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message));
        if (read(partner[1], &byte, 1) != 1)
            _exit(2);
        int error = pwrite(received, text, size, 0) < 0 ? errno : 0;
        write(partner[1], &error, sizeof error);
        read(partner[1], &byte, 1); /* until the other end is closed */
        _exit(0);
    }
    char byte = 'x', room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)CMSG_DATA(header) = fd;
    close(partner[1]);
    if (sendmsg(partner[0], &message, 0) != 1)
        fail("sendmsg");
    close(fd);
}

static void prepare(const char *file) {
    fd = open(file, O_RDWR | O_CLOEXEC | (is("direct") ? O_DIRECT : 0));
    if (fd < 0)
        fail(file);
    if (is("mmap") || is("mmap-closed") || is("flip")) {
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            fail("mmap");
        old = memcpy(malloc(size), map, size);
        if (!is("mmap"))
            close(fd);
    } else if (is("loop")) {
        attach_loop();
    } else if (is("io_uring")) {
        ring_fd = syscall(SYS_io_uring_setup, 4, &ring);
        if (ring_fd < 0)
            fail("io_uring_setup");
    } else if (is("scm_rights")) {
        pass_on();
    }
}

static int act(void) {
    loff_t zero = 0;
    if (is("write"))
        return write(fd, text, size);
    if (is("pwrite"))
        return pwrite(fd, text, size, 0);
    if (is("direct"))
        return pwrite(fd, text, size, 0);
    if (is("mmap") || is("mmap-closed"))
        return memcpy(map, text, size), 0;
    if (is("flip")) { /* now this, now that, for as long as it is let */
        flipper = fork();
        if (flipper == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) {
                memcpy(map, text, size);
                memcpy(map, old, size);
            }
        }
        return flipper;
    }
    if (is("ftruncate"))
        return ftruncate(fd, 0) < 0 ? -1 : pwrite(fd, text, size, 0);
    if (is("collapse"))
        return fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, size);
    if (is("punch"))
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size / 2);
    if (is("zero"))
        return fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, size / 2);
    if (is("copy_file_range"))
        return copy_file_range(source, &zero, fd, &(loff_t){0}, size, 0);
    if (is("ficlone"))
        return ioctl(fd, FICLONE, source);
    if (is("sendfile"))
        return sendfile(fd, source, &zero, size);
    if (is("splice")) {
        int ends[2];
        if (pipe(ends) < 0 || write(ends[1], text, size) < 0)
            return -1;
        return splice(ends[0], NULL, fd, &(loff_t){0}, size, 0);
    }
    if (is("io_uring"))
        return ring_write();
    if (is("loop"))
        return pwrite(loop_fd, text, size, 0) < 0 ? -1 : fsync(loop_fd);
    if (is("scm_rights")) {
        int error = 0;
        write(partner[0], "x", 1);
        read(partner[0], &error, sizeof error);
        errno = error;
        return error ? -1 : 0;
    }
    errno = EINVAL;
    return -1;
}

int main(int argc, char **argv) {
    char line[16];
    if (argc != 4)
        return 2;
    way = argv[1];
    source = open(argv[3], O_RDONLY | O_CLOEXEC);
    size = source < 0 ? 0 : lseek(source, 0, SEEK_END);
    if (posix_memalign((void **)&text, 4096, 1 << 16) || size == 0 || pread(source, text, size, 0) != (ssize_t)size)
        fail(argv[3]);
    prepare(argv[2]);
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 0;
    errno = 0;
    int error = act() < 0 ? errno : 0;
    printf("done %d\n", error);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
    }
    if (flipper > 0) {
        kill(flipper, SIGKILL);
        wait(NULL);
    }
    if (loop_fd >= 0)
        ioctl(loop_fd, LOOP_CLR_FD);
    if (is("scm_rights")) {
        close(partner[0]);
        wait(NULL);
    }
    return 0;
}
