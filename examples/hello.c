/* The smallest thing: listen to a channel, send to it, and see the messages come back.
 *
 *   qyun serve &
 *   cc hello.c -lqyun -o hello && ./hello localhost:8000
 */
#include <qyun.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

static sem_t received;

static void on_event(int32_t event, const char *data, size_t len, void *user_data) {
  (void)user_data;
  if (event != QY_EVENT_MESSAGE) return;
  printf("received: %.*s\n", (int)len, data);
  sem_post(&received);
}

static int fail(void) {
  char why[256];
  qy_last_error(why, sizeof why, NULL);
  fprintf(stderr, "%s\n", why);
  return 1;
}

int main(int argc, char **argv) {
  const char *host = argc > 1 ? argv[1] : "localhost:8000";
  const char *messages[] = {"hello", "你好", "100% / ? #"};
  struct timespec until;
  sem_init(&received, 0, 0);

  qy_status created = qy_create_channel(host, "hello");
  if (created != QY_OK && created != QY_ERR_CHANNEL_EXISTS) return fail();
  if (qy_listen_channel(host, "hello", on_event, NULL) != QY_OK) return fail();
  for (int i = 0; i < 3; i++)
    if (qy_send_message(host, "hello", messages[i]) != QY_OK) return fail();

  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 5;
  for (int i = 0; i < 3; i++) {
    if (sem_timedwait(&received, &until) != 0) {
      fprintf(stderr, "only %d of 3 messages came back\n", i);
      return 1;
    }
  }
  return qy_shutdown(5000) == QY_OK ? 0 : fail();
}
