/* Bytes sent to itself through a pipe: mostly the kernel. The input is the size of a message. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int send_one(int fd, const char *data, int n) { return (int)write(fd, data, n); }
static int take_one(int fd, char *data, int n) { return (int)read(fd, data, n); }

int main(int argc, char **argv) {
    static const int sizes[] = {16, 1024, 32768};
    int n = sizes[argc > 1 ? atoi(argv[1]) : 0], ends[2];
    char *data = calloc(1, n);
    if (pipe(ends)) return 1;
    for (;;)
        if (send_one(ends[1], data, n) != take_one(ends[0], data, n)) return 1;
}
