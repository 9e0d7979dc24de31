/* The latency of one message from qy_send_message to the listener's callback, on connections that
 * are kept, beside the same ping-pong over bare sockets in the same run.
 *
 *   latency QYUN_HOST:PORT LIMIT_HOST:PORT [COUNT [PAUSE_MS]]
 *
 * Three paths take turns, message by message, so that what changes on the machine meets all:
 *   library      qy_send_message -> callback, both of this process
 *   bare         GET on one socket -> frame on another, blocking, to the same server
 *   bare_limit   the same to benches/limit.cpp
 * Before each message it rests for PAUSE_MS, 0 if not said: after some milliseconds the cores sleep.
 * One JSON object on stdout, in microseconds. Every message must arrive; else it ends with 1. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "qyun.h"

#define WARM_UP 200
#define PATIENCE_S 5
#define MAX_COUNT 1000000

static const char *const kPaths[] = {"library", "bare", "bare_limit"};

static void fail(const char *what) {
    char text[512] = "";
    qy_last_error(text, sizeof text, NULL);
    fprintf(stderr, "%s: %s%s%s\n", what, text, errno && *text ? ", " : "",
            errno ? strerror(errno) : "");
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- through the library ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static char last[64];     /* the newest message; under `lock` */
static uint64_t last_at;  /* when its callback began */

static void on_event(int32_t event, const char *data, size_t len, void *user_data) {
    const uint64_t at = now();
    (void)user_data;
    if (event != QY_EVENT_MESSAGE || len >= sizeof last) return;
    pthread_mutex_lock(&lock);
    memcpy(last, data, len);
    last[len] = '\0';
    last_at = at;
    pthread_cond_signal(&arrived);
    pthread_mutex_unlock(&lock);
}

static uint64_t through_library(const char *host, const char *message) {
    const uint64_t sent = now();
    if (qy_send_message(host, "latency-library", message) != QY_OK) fail("qy_send_message");
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&lock);
    while (strcmp(last, message) != 0)
        if (pthread_cond_timedwait(&arrived, &lock, &deadline) == ETIMEDOUT)
            fail("a message did not reach the callback");
    const uint64_t took = last_at - sent;
    pthread_mutex_unlock(&lock);
    return took;
}

/* ---- over bare sockets ---- */

struct pair {
    int publisher;
    int listener;
};

static int dial(const char *host) {
    char name[256];
    const char *colon = strrchr(host, ':');
    if (!colon || (size_t)(colon - host) >= sizeof name) fail(host);
    memcpy(name, host, (size_t)(colon - host));
    name[colon - host] = '\0';
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(name, colon + 1, &hints, &found) != 0) fail(host);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) fail(host);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    freeaddrinfo(found);
    return fd;
}

static void say(int fd, const char *text) {
    const size_t len = strlen(text);
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len) fail("send");
}

/* Reads until what came holds `needle`. */
static void hear(int fd, const char *needle) {
    char seen[4096];
    size_t len = 0;
    for (;;) {
        const ssize_t n = recv(fd, seen + len, sizeof seen - 1 - len, 0);
        if (n <= 0) fail("a bare socket got no answer");
        len += (size_t)n;
        seen[len] = '\0';
        /* A frame's header may hold NULs: look behind them as well. */
        for (size_t at = 0; at < len; at += strlen(seen + at) + 1)
            if (strstr(seen + at, needle)) return;
        if (len == sizeof seen - 1) fail("an answer is too long");
    }
}

static struct pair dial_pair(const char *host) {
    struct pair pair = {.publisher = dial(host), .listener = dial(host)};
    say(pair.publisher, "GET /channel/create/latency-bare HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(pair.publisher, "}");
    say(pair.listener, "GET /channel/listen/latency-bare HTTP/1.1\r\nHost: x\r\n"
                       "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    hear(pair.listener, "\r\n\r\n");
    return pair;
}

static void rest(long ms) {
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    if (ms > 0) nanosleep(&pause, NULL);
}

static uint64_t over_sockets(struct pair pair, const char *message) {
    char request[256];
    snprintf(request, sizeof request,
             "GET /channel/send/latency-bare/%s HTTP/1.1\r\nHost: x\r\n\r\n", message);
    const uint64_t sent = now();
    say(pair.publisher, request);
    hear(pair.listener, message);
    const uint64_t took = now() - sent;
    hear(pair.publisher, "}");
    return took;
}

/* ---- the figures ---- */

static int ascending(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return fprintf(stderr, "usage: latency QYUN_HOST LIMIT_HOST [COUNT [PAUSE_MS]]\n"), 2;
    const char *host = argv[1];
    const long count = argc > 3 ? atol(argv[3]) : 5000;
    if (count < 1 || count > MAX_COUNT) return fprintf(stderr, "COUNT: 1 to 1000000\n"), 2;
    const long pause = argc > 4 ? atol(argv[4]) : 0;
    if (pause < 0 || pause > 1000) return fprintf(stderr, "PAUSE_MS: 0 to 1000\n"), 2;
    uint64_t *took[3];
    for (int path = 0; path < 3; path++)
        if (!(took[path] = malloc((size_t)count * sizeof **took))) fail("memory");

    if (qy_create_channel(host, "latency-library") != QY_OK) fail("qy_create_channel");
    if (qy_listen_channel(host, "latency-library", on_event, NULL) != QY_OK)
        fail("qy_listen_channel");
    const struct pair same = dial_pair(host), limit = dial_pair(argv[2]);

    for (long i = -WARM_UP; i < count; i++) {
        char message[32];
        snprintf(message, sizeof message, "message-%08ld", i + WARM_UP);
        uint64_t t[3];
        if (i >= 0) rest(pause);
        t[0] = through_library(host, message);
        if (i >= 0) rest(pause);
        t[1] = over_sockets(same, message);
        if (i >= 0) rest(pause);
        t[2] = over_sockets(limit, message);
        for (int path = 0; path < 3 && i >= 0; path++) took[path][i] = t[path];
    }
    if (qy_shutdown(PATIENCE_S * 1000) != QY_OK) fail("qy_shutdown");

    printf("{\"count\": %ld", count);
    for (int path = 0; path < 3; path++) {
        qsort(took[path], (size_t)count, sizeof **took, ascending);
        double sum = 0;
        for (long i = 0; i < count; i++) sum += (double)took[path][i];
        printf(", \"%s\": {\"mean\": %.1f, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}",
               kPaths[path], sum / (double)count / 1e3, (double)took[path][count / 2] / 1e3,
               (double)took[path][count * 99 / 100] / 1e3, (double)took[path][count - 1] / 1e3);
        free(took[path]);
    }
    printf("}\n");
    close(same.publisher), close(same.listener), close(limit.publisher), close(limit.listener);
    return 0;
}
