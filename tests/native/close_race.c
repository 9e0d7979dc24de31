/* Closing races with everything else: threads receive, publish, subscribe and close the same handles
   at once; all calls return, nothing is used after it is gone, every drop runs once. */
#include "kit.h"

#define THREADS 6

struct race {
  qy_server *server;
  qy_client *client;
  qy_subscription *pulled, *called;
  atomic_int drops, calls_after_drop;
  pthread_barrier_t start;
};

struct runner {
  struct race *race;
  int role;
};

static void on_event(const qy_event *event, void *user_data) {
  struct race *race = user_data;
  (void)event;
  if (atomic_load(&race->drops) != 0) atomic_fetch_add(&race->calls_after_drop, 1);
}

static void on_drop(void *user_data) { atomic_fetch_add(&((struct race *)user_data)->drops, 1); }

static void receive_to_the_end(qy_subscription *subscription) {
  for (;;) {
    qy_batch *batch = NULL;
    qy_status status = qy_subscription_recv_many(subscription, 16, PATIENCE_MS, &batch);
    qy_batch_free(batch);
    if (status != QY_OK) {
      CHECK(status == QY_ERR_CLOSED);
      return;
    }
  }
}

static void *run(void *argument) {
  struct runner *runner = argument;
  struct race *race = runner->race;
  pthread_barrier_wait(&race->start);
  switch (runner->role) {
    case 0:
    case 1:
      receive_to_the_end(race->pulled);
      break;
    case 2:
      for (int i = 0; i < 20; i++) {
        qy_server_publish(race->server, "test", QY_TEXT, "x", 1, NULL);
        qy_client_publish_nowait(race->client, "test", QY_TEXT, "y", 1);
      }
      CHECK_OK(qy_subscription_close(race->pulled));
      break;
    case 3:
      CHECK_OK(qy_subscription_close_wait(race->called, PATIENCE_MS));
      CHECK(atomic_load(&race->drops) == 1);
      break;
    case 4:
      CHECK_OK(qy_subscription_close(race->called));
      break;
    default: {
      qy_subscription *more = NULL;
      qy_status status = qy_client_subscribe(race->client, "test", QY_DELIVER_THREAD, NULL, NULL,
                                             NULL, &more);
      CHECK(status == QY_OK ? more != NULL : more == NULL);
      CHECK_OK(qy_client_close(race->client));
      qy_subscription_free(more);
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  char host[64];
  struct race race;
  struct runner runners[THREADS];
  pthread_t threads[THREADS];
  memset(&race, 0, sizeof race);
  race.server = server_new(host);
  pthread_barrier_init(&race.start, NULL, THREADS);
  for (int round = rounds(argc, argv, 100); round > 0; round--) {
    atomic_store(&race.drops, 0);
    race.client = client_new(host);
    race.pulled = pull(race.client, "test");
    CHECK_OK(qy_client_subscribe(race.client, "test",
                                 round % 2 ? QY_DELIVER_THREAD : QY_DELIVER_INLINE, on_event, &race,
                                 on_drop, &race.called));
    for (int i = 0; i < THREADS; i++) {
      runners[i] = (struct runner){&race, i};
      CHECK(pthread_create(&threads[i], NULL, run, &runners[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    qy_client_free(race.client);
    qy_subscription_free(race.pulled);
    qy_subscription_free(race.called);
    CHECK(atomic_load(&race.drops) == 1 && atomic_load(&race.calls_after_drop) == 0);
  }
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(race.server);
  CHECK(thread_count() == 1);
  return 0;
}
