/* A server that is stopped and started again on its port: subscriptions and listeners are told of the
   loss, then that they are live again, and messages go on. */
#include "kit.h"

struct receiver {
  gate errors, connections, messages, end;
  int last;
  char message[64];
};

#define RECEIVER {GATE, GATE, GATE, GATE, 0, ""}

static void receive(struct receiver *receiver, int32_t event, const char *data, size_t len) {
  CHECK(receiver->last != QY_EVENT_CLOSED);
  if (event == QY_EVENT_CONNECTED) {
    /* The first time, or after a loss that was told. */
    CHECK(receiver->last == 0 || receiver->last == QY_EVENT_ERROR);
    gate_pass(&receiver->connections);
  } else if (event == QY_EVENT_MESSAGE) {
    CHECK(receiver->last == QY_EVENT_CONNECTED || receiver->last == QY_EVENT_MESSAGE);
    snprintf(receiver->message, sizeof receiver->message, "%.*s", (int)len, data);
    gate_pass(&receiver->messages);
  } else if (event == QY_EVENT_ERROR) {
    CHECK(len > 0);
    gate_pass(&receiver->errors);
  } else {
    gate_pass(&receiver->end);
  }
  receiver->last = event;
}

static void on_event(const qy_event *event, void *user_data) {
  receive(user_data, event->event, event->data, event->len);
}

static void on_listen(int32_t event, const char *data, size_t len, void *user_data) {
  receive(user_data, event, data, len);
}

static qy_client *quick_client(const char *host) {
  qy_options *options = NULL;
  qy_client *client = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &options));
  CHECK_OK(qy_options_set_int(options, "reconnect_min_ms", 1));
  CHECK_OK(qy_options_set_int(options, "reconnect_max_ms", 20));
  CHECK_OK(qy_client_open(host, options, &client));
  qy_options_free(options);
  return client;
}

int main(int argc, char **argv) {
  struct receiver subscriber = RECEIVER, listener = RECEIVER;
  int times = rounds(argc, argv, 3);
  char host[64];
  qy_client_counters counters = {.struct_size = sizeof counters};
  qy_subscription *subscription = NULL;
  qy_server *server = server_on("127.0.0.1:0");
  CHECK_OK(qy_server_address(server, host, sizeof host, NULL));
  CHECK_OK(qy_create_channel(host, "test"));
  CHECK_STATUS(qy_create_channel(host, "test"), QY_ERR_CHANNEL_EXISTS);
  qy_client *client = quick_client(host);
  CHECK_OK(qy_client_subscribe(client, "test", QY_DELIVER_THREAD, on_event, &subscriber, NULL,
                               &subscription));
  CHECK_OK(qy_listen_channel(host, "test", on_listen, &listener));
  for (int i = 0; i <= times; i++) {
    char text[32];
    unsigned long before = (unsigned long)i;
    snprintf(text, sizeof text, "message %d", i);
    CHECK(gate_reached(&subscriber.connections, before + 1));
    CHECK(gate_reached(&listener.connections, before + 1));
    CHECK_OK(qy_client_publish(client, "test", QY_TEXT, text, strlen(text), NULL));
    CHECK(gate_reached(&subscriber.messages, before + 1));
    CHECK(gate_reached(&listener.messages, before + 1));
    CHECK(strcmp(subscriber.message, text) == 0 && strcmp(listener.message, text) == 0);
    if (i == times) break;
    unsigned long errors = gate_count(&subscriber.errors), losses = gate_count(&listener.errors);
    qy_server_free(server);
    CHECK(gate_reached(&subscriber.errors, errors + 1));
    CHECK(gate_reached(&listener.errors, losses + 1));
    server = server_on(host);
    CHECK_OK(qy_server_create_channel(server, "test"));
  }
  CHECK_OK(qy_client_counters_get(client, &counters));
  CHECK(counters.reconnects == (uint64_t)times);
  CHECK(counters.received == (uint64_t)times + 1 && counters.published == (uint64_t)times + 1);
  CHECK_OK(qy_stop_listening(host, "test"));
  CHECK_OK(qy_subscription_close_wait(subscription, PATIENCE_MS));
  CHECK(gate_count(&subscriber.end) == 1 && gate_count(&listener.end) == 1);
  qy_subscription_free(subscription);
  qy_client_free(client);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  return 0;
}
