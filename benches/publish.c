/* What it costs a program to publish: through the C ABI to the server in its own process, and by
 * HTTP to the same server, a request at a time on a kept connection. Nobody listens.
 *
 *   publish [CALLS]
 *
 * One JSON object on stdout, in ns per call. Every message must get the next offset, and every request
 * the answer 200; else it ends with 1. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "qyun.h"

#define SIZE 128
#define ROUNDS 10

static char message[SIZE + 1];

static void fail(const char *what) {
    char why[256] = "";
    qy_last_error(why, sizeof why, NULL);
    fprintf(stderr, "publish: %s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ns per call. */
static double through_abi(qy_server *server, long calls, uint64_t *offset) {
    qy_position at = {.struct_size = sizeof at};
    const double start = now();
    for (long i = 0; i < calls; i++) {
        if (qy_server_publish(server, "abi", QY_TEXT, message, SIZE, &at) != QY_OK) fail("qy_server_publish");
        if (at.offset != ++*offset) fail("an offset is not the next one");
    }
    return (now() - start) / (double)calls;
}

static double by_http(int fd, const char *request, size_t length, long calls) {
    char answer[4096];
    const double start = now();
    for (long i = 0; i < calls; i++) {
        if (send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) fail("send");
        /* A short answer comes whole, and it is the only one under way. */
        const ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
        if (got <= 0) fail("recv");
        answer[got] = '\0';
        if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || answer[got - 1] != '}') fail("another answer than 200");
    }
    return (now() - start) / (double)calls;
}

static int dial(const char *address) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, ascending);
    return (values[ROUNDS / 2 - 1] + values[ROUNDS / 2]) / 2;
}

int main(int argc, char **argv) {
    const long calls = argc > 1 ? atol(argv[1]) : 200000;
    if (calls < 1000) return fprintf(stderr, "usage: publish [CALLS, at least 1000]\n"), 2;
    qy_options *options = NULL;
    qy_server *server = NULL;
    char address[64], request[512];
    if (qy_options_new(QY_OPTIONS_SERVER, &options) != QY_OK ||
        qy_options_set(options, "listen", "127.0.0.1:0") != QY_OK ||
        qy_options_set(options, "shards", "1") != QY_OK)
        fail("options");
    if (qy_server_start(options, &server) != QY_OK) fail("qy_server_start");
    qy_options_free(options);
    if (qy_server_create_channel(server, "abi") != QY_OK || qy_server_create_channel(server, "http") != QY_OK)
        fail("qy_server_create_channel");
    qy_server_address(server, address, sizeof address, NULL);
    memset(message, 'x', SIZE);
    const int length = snprintf(request, sizeof request,
                                "GET /channel/send/http/%s HTTP/1.1\r\nHost: x\r\n\r\n", message);
    const int fd = dial(address);

    uint64_t offset = 0;
    double abi[ROUNDS], http[ROUNDS];
    through_abi(server, calls / ROUNDS, &offset);
    by_http(fd, request, (size_t)length, calls / ROUNDS / 10);
    for (int round = 0; round < ROUNDS; round++) {
        abi[round] = through_abi(server, calls / ROUNDS, &offset);
        http[round] = by_http(fd, request, (size_t)length, calls / ROUNDS / 10);
    }
    qy_position at = {.struct_size = sizeof at};
    if (qy_server_publish(server, "http", QY_TEXT, message, SIZE, &at) != QY_OK) fail("qy_server_publish");
    if (at.offset != (uint64_t)(calls / ROUNDS / 10) * (ROUNDS + 1) + 1) fail("requests are missing");
    printf("{\"abi_ns\": %.1f, \"http_ns\": %.1f}\n", median(abi), median(http));
    close(fd);
    qy_server_free(server);
    return 0;
}
