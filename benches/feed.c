/* A server that publishes as fast as its one subscriber reads: what programs that receive are measured
 * with. Publishing waits for the subscriber (overload=hold), so nothing is dropped.
 *
 *   feed SIZE
 *
 * Prints {"address": "HOST:PORT"}. For each line on stdin with a number N, publishes N messages to the
 * channel `feed`: SIZE bytes, twelve digits that count from 0, then 'x'. Ends with its stdin. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qyun.h"

#define MAX_SIZE 65536

static int failed(const char *what) {
    char why[256] = "";
    qy_last_error(why, sizeof why, NULL);
    fprintf(stderr, "feed: %s: %s\n", what, why);
    return 1;
}

int main(int argc, char **argv) {
    static char message[MAX_SIZE];
    char address[64], digits[24];
    const size_t size = argc > 1 ? (size_t)atol(argv[1]) : 0;
    qy_options *options = NULL;
    qy_server *server = NULL;
    if (size < 12 || size > MAX_SIZE) return fprintf(stderr, "usage: feed SIZE, 12 to 65536\n"), 2;
    if (qy_options_new(QY_OPTIONS_SERVER, &options) != QY_OK ||
        qy_options_set(options, "listen", "127.0.0.1:0") != QY_OK ||
        qy_options_set(options, "shards", "1") != QY_OK ||
        qy_options_set(options, "namespaces", ">: overload=hold, hold_ms=60000") != QY_OK)
        return failed("options");
    if (qy_server_start(options, &server) != QY_OK) return failed("qy_server_start");
    qy_options_free(options);
    if (qy_server_create_channel(server, "feed") != QY_OK) return failed("qy_server_create_channel");
    qy_server_address(server, address, sizeof address, NULL);
    printf("{\"address\": \"%s\"}\n", address);
    fflush(stdout);

    memset(message, 'x', size);
    for (long count; scanf("%ld", &count) == 1;) {
        for (long i = 0; i < count; i++) {
            snprintf(digits, sizeof digits, "%012ld", i);
            memcpy(message, digits, 12);
            if (qy_server_publish(server, "feed", QY_TEXT, message, size, NULL) != QY_OK)
                return failed("qy_server_publish");
        }
    }
    qy_server_free(server);
    return 0;
}
