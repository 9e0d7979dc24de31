/* A program whose server answers packets with protocol id 1 with the data that they bring: what `qyun bench --packets`
   measures.

     packet_echo inline|thread HOST:PORT

   Prints {"address": "HOST:PORT"} and ends with its stdin. */
#include <qyun.h>
#include <stdio.h>
#include <string.h>

static void on_packet(qy_connection *connection, uint32_t protocol, const void *data, size_t len, qy_reply *reply,
                      void *user_data) {
  (void)connection, (void)user_data;
  if (reply != NULL) qy_reply_send(reply, protocol, data, len);
}

static int failed(const char *what) {
  char why[256];
  qy_last_error(why, sizeof why, NULL);
  fprintf(stderr, "packet_echo: %s: %s\n", what, why);
  return 1;
}

int main(int argc, char **argv) {
  char address[64];
  qy_options *options = NULL;
  qy_server *server = NULL;
  if (argc != 3 || (strcmp(argv[1], "inline") != 0 && strcmp(argv[1], "thread") != 0)) {
    fprintf(stderr, "usage: packet_echo inline|thread HOST:PORT\n");
    return 2;
  }
  int delivery = strcmp(argv[1], "inline") == 0 ? QY_DELIVER_INLINE : QY_DELIVER_THREAD;
  if (qy_options_new(QY_OPTIONS_SERVER, &options) != QY_OK || qy_options_set(options, "listen", argv[2]) != QY_OK ||
      qy_options_set(options, "shards", "1") != QY_OK || qy_options_set(options, "delivery_threads", "1") != QY_OK)
    return failed("options");
  if (qy_server_start(options, &server) != QY_OK) return failed("start");
  qy_options_free(options);
  if (qy_server_on_packet(server, 1, delivery, on_packet, NULL, NULL) != QY_OK) return failed("on_packet");
  qy_server_address(server, address, sizeof address, NULL);
  printf("{\"address\": \"%s\"}\n", address);
  fflush(stdout);
  while (getchar() != EOF) {
  }
  qy_server_free(server);
  return 0;
}
