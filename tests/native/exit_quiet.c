/* A process that ends in the middle of everything, without a shutdown and without freeing, neither
   hangs nor prints: ctest fails this test on any output. */
#include "kit.h"

static gate heard = GATE;

static void on_listen(int32_t event, const char *data, size_t len, void *user_data) {
  (void)data, (void)len, (void)user_data;
  if (event == QY_EVENT_MESSAGE) gate_pass(&heard);
}

static void *publish_on(void *server) {
  while (qy_server_publish(server, "test", QY_TEXT, "x", 1, NULL) == QY_OK) continue;
  return NULL;
}

int main(void) {
  char host[64];
  pthread_t thread;
  qy_server *server = server_new(host);
  qy_client *client = client_new(host);
  pull(client, "test");
  CHECK_OK(qy_listen_channel(host, "test", on_listen, NULL));
  CHECK(pthread_create(&thread, NULL, publish_on, server) == 0);
  CHECK(gate_reached(&heard, 100));
  exit(0);
}
