// A library that writes as soon as somebody's program has loaded it: the last two arguments of that program are FROM
// and TO. The program itself does not get to run. With ERASE in the environment, nothing of it is left to be seen first.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void act(int count, char **arguments, char **environment)
{
    for (int erase = getenv("ERASE") != NULL; erase && *environment; environment++)
        memset(*environment, 'x', strlen(*environment));
    char bytes[4096];
    int source = open(arguments[count - 2], O_RDONLY);
    ssize_t length = source < 0 ? -1 : read(source, bytes, sizeof bytes);
    if (length < 0)
        err(1, "%s", arguments[count - 2]);
    int target = open(arguments[count - 1], O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (target < 0 || write(target, bytes, length) != length)
        err(1, "%s", arguments[count - 1]);
    _exit(0);
}

// Without it the dynamic loader does not take the library for an auditor.
unsigned int la_version(unsigned int version)
{
    return version;
}
