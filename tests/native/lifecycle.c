/* A server starts and stops 1,000 times and leaves no thread, no descriptor and no byte; the same
   with a client that talks to it, through qy_shutdown. */
#include "kit.h"

static void serve_once(void) {
  char host[64];
  qy_server *server = server_new(host);
  qy_server_counters counters = {0};
  publish(server, "nobody listens");
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_server_counters_get(server, &counters));
  CHECK(counters.published == 1 && counters.channels == 1 && counters.delivered == 0);
  CHECK_OK(qy_server_stop(server, 1000));
  CHECK_OK(qy_server_stop(server, 1000));
  CHECK_STATUS(qy_server_create_channel(server, "late"), QY_ERR_CLOSED);
  CHECK_STATUS(qy_server_publish(server, "test", QY_TEXT, "late", 4, NULL), QY_ERR_CLOSED);
  qy_server_free(server);
}

static void talk_once(void) {
  char host[64];
  qy_server *server = server_new(host);
  qy_client *client = client_new(host);
  qy_subscription *subscription = pull(client, "test");
  expect_connected(subscription);
  CHECK_OK(qy_client_publish(client, "test", QY_TEXT, "hello", 5, NULL));
  expect(subscription, QY_EVENT_MESSAGE, "hello");
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  CHECK_STATUS(qy_client_publish(client, "test", QY_TEXT, "late", 4, NULL), QY_ERR_CLOSED);
  CHECK_STATUS(qy_server_publish(server, "test", QY_TEXT, "late", 4, NULL), QY_ERR_CLOSED);
  qy_subscription_free(subscription);
  qy_client_free(client);
  qy_server_free(server);
}

static void leaves_nothing(void (*once)(void), int count) {
  /* What is made once for the process and kept (tables, thread-locals) is made here. */
  for (int i = 0; i < 10; i++) once();
  int threads = thread_count(), fds = fd_count();
  size_t heap = heap_bytes();
  for (int i = 0; i < count; i++) once();
  CHECK(thread_count() == threads);
  CHECK(fd_count() == fds);
  /* Less than a byte for each round. CMakeLists.txt turns the allocator's caches off for this. */
  size_t now = heap_bytes();
  if (now > heap + 100) {
    fprintf(stderr, "the heap grew by %zu bytes in %d rounds\n", now - heap, count);
    exit(1);
  }
}

int main(int argc, char **argv) {
  int count = rounds(argc, argv, 1000);
  CHECK(thread_count() == 1);
  leaves_nothing(serve_once, count);
  CHECK(thread_count() == 1);
  leaves_nothing(talk_once, count / 10);
  CHECK(thread_count() == 1);
  return 0;
}
