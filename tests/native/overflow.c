/* A subscription that is not read: its queue's limit and policy decide which messages wait, and what
   was dropped is counted on the subscription and on the client. */
#include <sched.h>

#include "kit.h"

#define QUEUE 4
#define COUNT 10

static qy_client *client_with(const char *host, const char *overflow) {
  qy_options *options = NULL;
  qy_client *client = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &options));
  CHECK_OK(qy_options_set_int(options, "queue_messages", QUEUE));
  CHECK_OK(qy_options_set(options, "overflow", overflow));
  CHECK_OK(qy_client_open(host, options, &client));
  qy_options_free(options);
  CHECK_OK(qy_client_wait_connected(client, PATIENCE_MS));
  return client;
}

static qy_client_counters counters_of(qy_client *client) {
  qy_client_counters counters = {.struct_size = sizeof counters};
  CHECK_OK(qy_client_counters_get(client, &counters));
  return counters;
}

/* The number of the first of the messages that are still there. */
static void drops(qy_server *server, const char *host, const char *overflow, int first) {
  qy_client *client = client_with(host, overflow);
  qy_subscription *subscription = pull(client, "test");
  qy_batch *batch = NULL;
  char text[16];
  uint64_t dropped = 99;
  expect_connected(subscription);
  for (int i = 0; i < COUNT; i++) {
    snprintf(text, sizeof text, "%d", i);
    publish(server, text);
  }
  /* Counted as dropped after it was counted as received. */
  while (counters_of(client).received < COUNT || counters_of(client).dropped < COUNT - QUEUE)
    sched_yield();
  CHECK(counters_of(client).received == COUNT);
  CHECK(counters_of(client).dropped == COUNT - QUEUE);
  CHECK_OK(qy_subscription_dropped(subscription, &dropped));
  CHECK(dropped == COUNT - QUEUE);
  for (int i = first; i < first + QUEUE; i++) {
    snprintf(text, sizeof text, "%d", i);
    expect(subscription, QY_EVENT_MESSAGE, text);
  }
  CHECK_STATUS(qy_subscription_recv(subscription, 0, &batch), QY_ERR_TIMEOUT);
  /* There is room again. */
  publish(server, "next");
  expect(subscription, QY_EVENT_MESSAGE, "next");
  CHECK(counters_of(client).dropped == COUNT - QUEUE);
  qy_subscription_free(subscription);
  qy_client_free(client);
}

/* Nothing is lost, and the connection waits. */
static void blocks(qy_server *server, const char *host) {
  qy_client *client = client_with(host, "block");
  qy_subscription *subscription = pull(client, "test");
  char text[16];
  uint64_t dropped = 99;
  expect_connected(subscription);
  for (int i = 0; i < COUNT; i++) {
    snprintf(text, sizeof text, "%d", i);
    publish(server, text);
  }
  while (counters_of(client).received < QUEUE + 1) sched_yield();
  for (int i = 0; i < COUNT; i++) {
    snprintf(text, sizeof text, "%d", i);
    expect(subscription, QY_EVENT_MESSAGE, text);
  }
  CHECK_OK(qy_subscription_dropped(subscription, &dropped));
  CHECK(dropped == 0 && counters_of(client).dropped == 0);
  CHECK(counters_of(client).received == COUNT);
  qy_subscription_free(subscription);
  qy_client_free(client);
}

int main(void) {
  char host[64];
  qy_server *server = server_new(host);
  drops(server, host, "drop_oldest", COUNT - QUEUE);
  drops(server, host, "drop_newest", 0);
  blocks(server, host);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  return 0;
}
