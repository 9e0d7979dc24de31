/* An endpoint that ends while clients come and go, and threads send to, close and list its
   connections: every call returns, nothing is called after the drop, every drop runs once. */
#include "kit.h"

#define THREADS 4

static qy_server *server;
static pthread_barrier_t start;
static atomic_int drops, calls_after_drop, rounds_done;

static void called(void) {
  if (atomic_load(&drops) != atomic_load(&rounds_done)) atomic_fetch_add(&calls_after_drop, 1);
}

static void on_connect(qy_upgrade *upgrade, void *user_data) {
  (void)user_data;
  called();
  qy_upgrade_accept(upgrade, NULL, "ann");
}

static void on_open(qy_connection *connection, void *user_data) {
  (void)user_data;
  called();
  qy_connection_join(connection, "room", 1);
  qy_connection_send(connection, QY_TEXT, "welcome", 7);
}

static void on_disconnect(qy_connection *connection, const qy_closure *closure, void *user_data) {
  (void)connection, (void)closure, (void)user_data;
  called();
}

static void on_drop(void *user_data) {
  (void)user_data;
  atomic_fetch_add(&drops, 1);
}

static void close_it(qy_connection *connection, void *user_data) {
  (void)user_data;
  qy_connection_close(connection, 4000, "race");
}

static void *come(void *argument) {
  (void)argument;
  pthread_barrier_wait(&start);
  for (int i = 0; i < 3; i++) {
    int fd = raw_upgrade(server, "/race", "");
    int status = raw_status(fd);
    CHECK(status == 101 || status == 404 || status == 503);
    close(fd);
  }
  return NULL;
}

static void *meddle(void *argument) {
  uint64_t reached;
  (void)argument;
  pthread_barrier_wait(&start);
  for (int i = 0; i < 10; i++) {
    qy_server_send_to_user(server, "ann", QY_TEXT, "x", 1, &reached);
    qy_server_broadcast(server, "/race", QY_TEXT, "y", 1, &reached);
    qy_server_publish(server, "room", QY_TEXT, "z", 1, NULL);
    CHECK_OK(qy_server_list_connections(server, NULL, NULL, 100, close_it, NULL));
  }
  return NULL;
}

static void *end(void *argument) {
  (void)argument;
  pthread_barrier_wait(&start);
  qy_status status = qy_server_unhandle(server, "/race");
  CHECK(status == QY_OK || status == QY_ERR_NOT_FOUND);
  return NULL;
}

static void *end_and_wait(void *argument) {
  (void)argument;
  pthread_barrier_wait(&start);
  qy_status status = qy_server_unhandle_wait(server, "/race", PATIENCE_MS);
  /* The other ended it, and all its callbacks are done. */
  CHECK(status == QY_OK || status == QY_ERR_NOT_FOUND);
  CHECK(atomic_load(&drops) == atomic_load(&rounds_done) + 1);
  return NULL;
}

int main(int argc, char **argv) {
  void *(*roles[THREADS])(void *) = {come, meddle, end, end_and_wait};
  pthread_t threads[THREADS];
  char host[64];
  server = server_new(host);
  pthread_barrier_init(&start, NULL, THREADS);
  for (int round = rounds(argc, argv, 200); round > 0; round--) {
    qy_endpoint_callbacks callbacks = {0};
    callbacks.struct_size = sizeof callbacks;
    callbacks.connect = on_connect;
    callbacks.open = on_open;
    callbacks.disconnect = on_disconnect;
    int32_t delivery = round % 2 ? QY_DELIVER_THREAD : QY_DELIVER_INLINE;
    CHECK_OK(qy_server_handle(server, "/race", NULL, &callbacks, delivery, NULL, on_drop));
    for (int i = 0; i < THREADS; i++)
      CHECK(pthread_create(&threads[i], NULL, roles[i], NULL) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    atomic_fetch_add(&rounds_done, 1);
    CHECK(atomic_load(&drops) == atomic_load(&rounds_done));
    CHECK(atomic_load(&calls_after_drop) == 0);
  }
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1);
  return 0;
}
