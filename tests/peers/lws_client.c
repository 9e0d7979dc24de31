/* A client as users of libwebsockets write it. Messages are written and read as lines of
 * "text HEX" or "binary HEX".
 *
 *   lws_client listen PORT PATH COUNT   offers channel-protocol; "ready", then COUNT messages
 *   lws_client send PORT PATH           offers sender-protocol; what stdin says, then a close
 */
#include <libwebsockets.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1 << 20 };

static bool listens;
static long left;
static bool over;
static int result = 1;

static unsigned char message[LWS_PRE + LONGEST];
static size_t length;
static char line[16 + 2 * LONGEST];

static void print_piece(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", bytes[i]);
}

/* The next line of stdin into `message`; false at the end. */
static bool next_line(enum lws_write_protocol *kind)
{
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    const char *hex = strchr(line, ' ');
    if (hex == NULL)
        return false;
    *kind = line[0] == 't' ? LWS_WRITE_TEXT : LWS_WRITE_BINARY;
    unsigned byte;
    for (length = 0, hex++; length < LONGEST && sscanf(hex, "%2x", &byte) == 1; hex += 2)
        message[LWS_PRE + length++] = (unsigned char)byte;
    return true;
}

static int on_event(struct lws *socket, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size)
{
    (void)user;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        if (listens) {
            puts("ready");
            fflush(stdout);
        } else {
            lws_callback_on_writable(socket);
        }
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (lws_is_first_fragment(socket))
            printf("%s ", lws_frame_is_binary(socket) ? "binary" : "text");
        print_piece(in, size);
        if (lws_is_final_fragment(socket)) {
            putchar('\n');
            fflush(stdout);
            if (--left == 0) {
                result = 0;
                lws_close_reason(socket, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
                return -1;
            }
        }
        break;
    case LWS_CALLBACK_CLIENT_WRITEABLE: {
        enum lws_write_protocol kind;
        if (!next_line(&kind)) {
            result = 0;
            lws_close_reason(socket, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
            return -1;
        }
        if (lws_write(socket, message + LWS_PRE, length, kind) < (int)length)
            return -1;
        lws_callback_on_writable(socket);
        break;
    }
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        printf("refused %u\n", lws_http_client_http_response(socket));
        result = 3;
        over = true;
        break;
    case LWS_CALLBACK_CLIENT_CLOSED:
        over = true;
        break;
    default:
        break;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    listens = strcmp(argv[1], "listen") == 0;
    left = argc > 4 ? atol(argv[4]) : 0;
    lws_set_log_level(LLL_ERR, NULL);

    const char *name = listens ? "channel-protocol" : "sender-protocol";
    struct lws_protocols protocols[2];
    memset(protocols, 0, sizeof protocols);
    protocols[0].name = name;
    protocols[0].callback = on_event;
    protocols[0].rx_buffer_size = 4096;

    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    struct lws_context *context = lws_create_context(&info);
    if (context == NULL)
        return 1;

    struct lws_client_connect_info connect;
    memset(&connect, 0, sizeof connect);
    connect.context = context;
    connect.address = "127.0.0.1";
    connect.port = atoi(argv[2]);
    connect.path = argv[3];
    connect.host = "127.0.0.1";
    connect.origin = "127.0.0.1";
    connect.protocol = name;
    lws_client_connect_via_info(&connect);
    while (!over && lws_service(context, 0) >= 0) {
    }
    lws_context_destroy(context);
    return result;
}
