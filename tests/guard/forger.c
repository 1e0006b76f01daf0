// A writer that puts on another program's appearance first. Compiled and run by the tests of identity.
//
//   forger [OPTION]... write|rename FROM TO
//
//   userns        enter a user namespace of its own; all capabilities in there, as for every ordinary user
//   exe=PATH      make PATH the executable that the kernel believes in (prctl PR_SET_MM_MAP)
//   lend=PATH     the same, done to this process's memory by a child that shares it and has a user namespace of its own
//   comm=NAME     call the thread NAME
//   argv=LINE     show LINE, with its '|' turned into NUL, as the command line
//   unlink        remove the executable first
//   replace=PATH  put PATH where the executable lies
//   move=PATH     move the executable to PATH
//   memfd=NAME    run from an anonymous file called NAME instead
//   thread        do it in a second thread
//   orphan        do it in a second thread when the main thread has ended
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAPPINGS 64

struct mapping {
    unsigned long start, end;
    int protection;
};

static void read_own_path(char own[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", own, PATH_MAX - 1);
    if (length < 0)
        err(1, "/proc/self/exe");
    own[length] = 0;
}

// The kernel refuses another executable (EBUSY) while the old one is mapped. So each of its mappings is replaced by an
// anonymous copy: mremap puts the copy in place in one step, the code goes on in the same bytes at the same address.
static void unmap_own_executable(void)
{
    struct mapping found[MAPPINGS];
    char own[PATH_MAX], line[PATH_MAX + 256], at[PATH_MAX];
    int count = 0;
    read_own_path(own);
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps)
        err(1, "/proc/self/maps");
    while (fgets(line, sizeof line, maps)) {
        struct mapping *next = &found[count];
        char access[5];
        at[0] = 0;
        sscanf(line, "%lx-%lx %4s %*s %*s %*s %4095[^\n]", &next->start, &next->end, access, at);
        if (strcmp(at, own) || count == MAPPINGS - 1)
            continue;
        next->protection = (access[0] == 'r' ? PROT_READ : 0) | (access[1] == 'w' ? PROT_WRITE : 0)
                           | (access[2] == 'x' ? PROT_EXEC : 0);
        count++;
    }
    fclose(maps);
    for (int i = 0; i < count; i++) {
        void *old = (void *)found[i].start;
        size_t size = found[i].end - found[i].start;
        void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (copy == MAP_FAILED)
            err(1, "mmap");
        memcpy(copy, old, size);
        if (mprotect(copy, size, found[i].protection)
            || mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, old) == MAP_FAILED)
            err(1, "mremap");
    }
}

// The addresses that the kernel already has for this process: everything stays as it is but what the caller changes.
static struct prctl_mm_map current_map(void)
{
    char stat[4096];
    FILE *file = fopen("/proc/self/stat", "r");
    size_t length = file ? fread(stat, 1, sizeof stat - 1, file) : 0;
    if (!length)
        err(1, "/proc/self/stat");
    fclose(file);
    stat[length] = 0;
    unsigned long long field[53] = {0};
    int number = 3; // of the field after the name, which may hold anything
    for (char *word = strtok(strrchr(stat, ')') + 1, " "); word && number < 53; word = strtok(NULL, " "))
        field[number++] = strtoull(word, NULL, 10);
    return (struct prctl_mm_map){
        .start_code = field[26], .end_code = field[27], .start_stack = field[28], .start_data = field[45],
        .end_data = field[46], .start_brk = field[47], .brk = (unsigned long)sbrk(0), .arg_start = field[48],
        .arg_end = field[49], .env_start = field[50], .env_end = field[51], .exe_fd = -1,
    };
}

static void set_map(struct prctl_mm_map *map, const char *what)
{
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, map, sizeof *map, 0))
        err(1, "PR_SET_MM_MAP: %s", what);
}

static void take_identity(const char *path)
{
    struct prctl_mm_map map = current_map();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", path);
    unmap_own_executable();
    map.exe_fd = fd;
    set_map(&map, "exe");
    struct stat wanted, shown;
    if (stat(path, &wanted) || stat("/proc/self/exe", &shown) || wanted.st_ino != shown.st_ino
        || wanted.st_dev != shown.st_dev)
        errx(1, "forgery failed: /proc/self/exe is not %s", path);
}

static int take_identity_as_child(void *path)
{
    take_identity(path);
    return 0;
}

static void borrow_identity(char *path)
{
    static char stack[1 << 16] __attribute__((aligned(64)));
    int status;
    int child = clone(take_identity_as_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_NEWUSER | SIGCHLD, path);
    if (child < 0 || waitpid(child, &status, 0) != child || status)
        errx(1, "blocked: the child could not change the executable");
}

static void show_arguments(char *line)
{
    struct prctl_mm_map map = current_map();
    map.arg_start = (unsigned long)line;
    map.arg_end = (unsigned long)line + strlen(line) + 1;
    for (char *at = line; *at; at++)
        if (*at == '|')
            *at = 0;
    set_map(&map, "argv");
}

static void run_from_memory(const char *name, char **arguments)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = memfd_create(name, MFD_CLOEXEC);
    struct stat size;
    if (from < 0 || to < 0 || fstat(from, &size) || sendfile(to, from, NULL, size.st_size) != size.st_size)
        err(1, "memfd");
    fexecve(to, arguments, environ);
    err(1, "fexecve");
}

static void change_own_file(const char *word, const char *value)
{
    char own[PATH_MAX];
    read_own_path(own);
    if (*word == 'u' ? unlink(own) : *word == 'r' ? rename(value, own) : rename(own, value))
        err(1, "%s", word);
}

static char **action;

static void *act(void *unused)
{
    const char *from = action[1], *to = action[2];
    if (!strcmp(action[0], "rename")) {
        // The guard reads what is queued before it lets anybody list the directory. When the rename is noticed it then
        // knows what this process had executed before: otherwise it would doubt what it sees, and say so instead.
        char directory[PATH_MAX];
        snprintf(directory, sizeof directory, "%s", to);
        int listed = open(dirname(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (listed < 0 || close(listed))
            err(1, "%s", directory);
        if (rename(from, to))
            err(1, "%s", to);
        // Alive until it has been judged: the file is approved, or gone.
        for (alarm(20); open(to, O_RDONLY | O_CLOEXEC) < 0 && errno != ENOENT;)
            usleep(1000);
        return unused;
    }
    char bytes[4096];
    int source = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t length = source < 0 ? -1 : read(source, bytes, sizeof bytes);
    if (length < 0)
        err(1, "%s", from);
    int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (target < 0 || write(target, bytes, length) != length)
        err(1, "%s", to);
    return unused;
}

static void *act_as_orphan(void *unused)
{
    char path[64], stat[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", getpid());
    do {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, stat, sizeof stat - 1) < 0)
            err(1, "%s", path);
        close(fd);
    } while (!strstr(stat, ") Z "));
    act(unused);
    exit(0);
}

int main(int count, char **arguments)
{
    int in_thread = 0, as_orphan = 0;
    for (int i = 1; i < count; i++) {
        char *word = arguments[i], *value = strchr(word, '=');
        value = value ? value + 1 : "";
        if (!strcmp(word, "userns") && unshare(CLONE_NEWUSER))
            err(1, "blocked: user namespace");
        else if (!strncmp(word, "exe=", 4))
            take_identity(value);
        else if (!strncmp(word, "lend=", 5))
            borrow_identity(value);
        else if (!strncmp(word, "comm=", 5) && prctl(PR_SET_NAME, value))
            err(1, "PR_SET_NAME");
        else if (!strncmp(word, "argv=", 5))
            show_arguments(strdup(value));
        else if (!strcmp(word, "unlink") || !strncmp(word, "replace=", 8) || !strncmp(word, "move=", 5))
            change_own_file(word, value);
        else if (!strncmp(word, "memfd=", 6))
            // What follows, behind a word that is taken for the program's name.
            run_from_memory(value, arguments + i);
        in_thread |= !strcmp(word, "thread");
        as_orphan |= !strcmp(word, "orphan");
        if (strcmp(word, "write") && strcmp(word, "rename"))
            continue;
        if (count - i != 3)
            errx(1, "%s FROM TO", word);
        action = arguments + i;
        pthread_t thread;
        if (as_orphan && !pthread_create(&thread, NULL, act_as_orphan, NULL))
            pthread_exit(NULL);
        else if (in_thread && !pthread_create(&thread, NULL, act, NULL))
            pthread_join(thread, NULL);
        else
            act(NULL);
        return 0;
    }
    errx(1, "nothing to do");
}
