/* crowd COUNT: makes as many processes, says so with a line on standard output, and ends with all of them when standard
   input does. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    pid_t parent = getpid();
    char byte;

    for (int i = 0; i < count; i++) {
        switch (fork()) {
        case -1:
            perror("fork");
            return 1;
        case 0:
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent)
                pause();
            _exit(0);
        }
    }
    puts("ready");
    fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) != 0;
}
