/* The log callback: what the library says goes there and nowhere else; it can be replaced and
   removed at any moment, is dropped once after its last call, and cannot deadlock the library. */
#include "kit.h"

#define SINKS 200

struct sink {
  atomic_ulong records, drops;
  int32_t level;
};

static void on_log(int32_t level, const char *target, size_t target_len, const char *message,
                   size_t message_len, void *user_data) {
  struct sink *sink = user_data;
  qy_options *options = NULL;
  CHECK(atomic_load(&sink->drops) == 0);
  CHECK(level >= QY_LOG_ERROR && level <= sink->level);
  CHECK(target != NULL && target_len > 0 && message != NULL && message_len > 0);
  CHECK_STATUS(qy_shutdown(1000), QY_ERR_WOULD_DEADLOCK);
  CHECK_STATUS(qy_options_new(QY_OPTIONS_SERVER, &options), QY_ERR_WOULD_DEADLOCK);
  check_error("log callback");
  CHECK(options == NULL && qy_version() != NULL);
  atomic_fetch_add(&sink->records, 1);
}

static void on_drop(void *user_data) { atomic_fetch_add(&((struct sink *)user_data)->drops, 1); }

static void use_the_library(void) {
  char host[64];
  qy_server *server = server_new(host);
  CHECK_OK(qy_send_message(host, "test", "x"));
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
}

static atomic_int replacing;

static void *log_on(void *unused) {
  while (atomic_load(&replacing)) use_the_library();
  return unused;
}

int main(int argc, char **argv) {
  static struct sink sinks[SINKS];
  int count = rounds(argc, argv, SINKS);
  pthread_t thread;
  sinks[0].level = QY_LOG_TRACE;
  CHECK_OK(qy_set_log_callback(QY_LOG_TRACE, on_log, &sinks[0], on_drop));
  use_the_library();
  CHECK(atomic_load(&sinks[0].records) > 0);
  CHECK_STATUS(qy_set_log_callback(0, on_log, &sinks[1], on_drop), QY_ERR_INVALID_ARGUMENT);
  CHECK(atomic_load(&sinks[0].drops) == 0 && atomic_load(&sinks[1].drops) == 1);
  CHECK_OK(qy_set_log_callback(0, NULL, NULL, NULL));
  CHECK(atomic_load(&sinks[0].drops) == 1);
  unsigned long records = atomic_load(&sinks[0].records);
  use_the_library();
  CHECK(atomic_load(&sinks[0].records) == records);

  atomic_store(&replacing, 1);
  CHECK(pthread_create(&thread, NULL, log_on, NULL) == 0);
  for (int i = 2; i < count; i++) {
    sinks[i].level = i % 2 ? QY_LOG_TRACE : QY_LOG_INFO;
    CHECK_OK(qy_set_log_callback(sinks[i].level, on_log, &sinks[i], on_drop));
  }
  atomic_store(&replacing, 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(qy_set_log_callback(0, NULL, NULL, NULL));
  for (int i = 0; i < count; i++) CHECK(atomic_load(&sinks[i].drops) == 1);
  return 0;
}
