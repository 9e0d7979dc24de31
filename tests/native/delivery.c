/* A message published in-process arrives through every way there is to receive one: a one-shot
   listener, recv, recv_many, the descriptor in an epoll, a callback on a delivery thread and inline;
   whole, in order, with its position. */
#include <sys/epoll.h>

#include "kit.h"

#define COUNT 100

static gate heard = GATE, listener_closed = GATE;
static char first_heard[64];

static void on_listen(int32_t event, const char *data, size_t len, void *user_data) {
  CHECK(user_data == &heard);
  CHECK(data != NULL);
  if (event == QY_EVENT_MESSAGE) {
    if (gate_count(&heard) == 0) snprintf(first_heard, sizeof first_heard, "%.*s", (int)len, data);
    gate_pass(&heard);
  } else if (event == QY_EVENT_CLOSED) {
    gate_pass(&listener_closed);
  }
}

static void through_a_listener(qy_server *server, const char *host) {
  CHECK_OK(qy_listen_channel(host, "test", on_listen, &heard));
  publish(server, "大 / ? # % \n 😀");
  CHECK(gate_reached(&heard, 1));
  CHECK(strcmp(first_heard, "大 / ? # % \n 😀") == 0);
  CHECK_OK(qy_send_message(host, "test", "by HTTP/1.1 100%"));
  CHECK(gate_reached(&heard, 2));
  CHECK_OK(qy_stop_listening(host, "test"));
  CHECK(gate_count(&listener_closed) == 1);
  CHECK_STATUS(qy_stop_listening(host, "test"), QY_ERR_NOT_FOUND);
  publish(server, "after the end");
}

static void through_recv(qy_server *server, qy_client *client) {
  qy_subscription *subscription = pull(client, "test");
  qy_batch *batch = NULL;
  qy_position at = {sizeof at, 0, 0};
  uint64_t dropped = 1;
  expect_connected(subscription);
  CHECK_STATUS(qy_subscription_recv(subscription, 0, &batch), QY_ERR_TIMEOUT);
  CHECK(batch == NULL && qy_batch_count(batch) == 0 && qy_batch_events(batch) == NULL);

  CHECK_OK(qy_server_publish(server, "test", QY_BINARY, "\0\xff", 2, &at));
  CHECK_OK(qy_subscription_recv(subscription, PATIENCE_MS, &batch));
  const qy_event *event = qy_batch_events(batch);
  CHECK(event->struct_size == sizeof *event && event->event == QY_EVENT_MESSAGE);
  CHECK(event->kind == QY_BINARY && event->len == 2 && memcmp(event->data, "\0\xff", 2) == 0);
  CHECK(event->channel_len == 4 && memcmp(event->channel, "test", 4) == 0);
  CHECK(event->epoch == at.epoch && event->offset == at.offset && at.offset > 0);
  qy_batch_free(batch);

  CHECK_OK(qy_server_publish(server, "test", QY_TEXT, NULL, 0, NULL));
  expect(subscription, QY_EVENT_MESSAGE, "");
  CHECK_OK(qy_subscription_dropped(subscription, &dropped));
  CHECK(dropped == 0);

  CHECK_OK(qy_subscription_close(subscription));
  CHECK_OK(qy_subscription_close(subscription));
  CHECK_STATUS(qy_subscription_recv(subscription, PATIENCE_MS, &batch), QY_ERR_CLOSED);
  qy_subscription_free(subscription);
}

/* Takes numbered messages by recv_many, at most `max` at a time, until COUNT are there. */
static void take_numbers(qy_subscription *subscription, int *next, size_t max, uint32_t timeout) {
  qy_batch *batch = NULL;
  char text[16];
  CHECK_OK(qy_subscription_recv_many(subscription, max, timeout, &batch));
  size_t count = qy_batch_count(batch);
  CHECK(count >= 1 && count <= max);
  for (size_t i = 0; i < count; i++) {
    snprintf(text, sizeof text, "%d", (*next)++);
    CHECK(event_is(&qy_batch_events(batch)[i], QY_EVENT_MESSAGE, text));
  }
  qy_batch_free(batch);
}

static void publish_numbers(qy_server *server) {
  char text[16];
  for (int i = 0; i < COUNT; i++) {
    snprintf(text, sizeof text, "%d", i);
    publish(server, text);
  }
}

static void through_recv_many(qy_server *server, qy_client *client) {
  qy_subscription *subscription = pull(client, "test");
  qy_batch *batch = NULL;
  expect_connected(subscription);
  CHECK_STATUS(qy_subscription_recv_many(subscription, 0, 0, &batch), QY_ERR_INVALID_ARGUMENT);
  publish_numbers(server);
  for (int next = 0; next < COUNT;) take_numbers(subscription, &next, 7, PATIENCE_MS);
  CHECK_STATUS(qy_subscription_recv_many(subscription, 7, 0, &batch), QY_ERR_TIMEOUT);
  qy_subscription_free(subscription);
}

static void through_the_descriptor(qy_server *server, qy_client *client) {
  qy_subscription *subscription = pull(client, "test");
  struct epoll_event ready = {EPOLLIN, {0}};
  qy_batch *batch = NULL;
  int poll = epoll_create1(EPOLL_CLOEXEC), fd = -1, again = -1;
  CHECK_OK(qy_subscription_fd(subscription, &fd));
  CHECK_OK(qy_subscription_fd(subscription, &again));
  CHECK(fd >= 0 && fd == again);
  CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &ready) == 0);
  CHECK(epoll_wait(poll, &ready, 1, PATIENCE_MS) == 1);
  expect_connected(subscription);
  CHECK(epoll_wait(poll, &ready, 1, 0) == 0);

  publish_numbers(server);
  for (int next = 0; next < COUNT;) {
    /* Level-triggered: readable for as long as one waits, with no new one needed. */
    CHECK(epoll_wait(poll, &ready, 1, PATIENCE_MS) == 1);
    take_numbers(subscription, &next, 3, 0);
  }
  CHECK(epoll_wait(poll, &ready, 1, 0) == 0);
  CHECK_OK(qy_subscription_close(subscription));
  CHECK(epoll_wait(poll, &ready, 1, PATIENCE_MS) == 1);
  CHECK_STATUS(qy_subscription_recv_many(subscription, 3, 0, &batch), QY_ERR_CLOSED);
  qy_subscription_free(subscription);
  close(poll);
}

static void to_the_end_of_the_channel(qy_server *server, qy_client *client) {
  qy_batch *batch = NULL;
  CHECK_OK(qy_server_create_channel(server, "mortal"));
  qy_subscription *subscription = pull(client, "mortal");
  expect_connected(subscription);
  CHECK_OK(qy_server_publish(server, "mortal", QY_TEXT, "last words", 10, NULL));
  CHECK_OK(qy_server_delete_channel(server, "mortal"));
  expect(subscription, QY_EVENT_MESSAGE, "last words");
  expect_closed(subscription);
  CHECK_STATUS(qy_subscription_recv(subscription, PATIENCE_MS, &batch), QY_ERR_CLOSED);
  qy_subscription_free(subscription);
}

struct receiver {
  gate numbers, ends;
  int last, dropped;
};

static void on_event(const qy_event *event, void *user_data) {
  struct receiver *receiver = user_data;
  char text[16];
  if (event->event == QY_EVENT_MESSAGE) {
    snprintf(text, sizeof text, "%lu", gate_count(&receiver->numbers));
    CHECK(event_is(event, QY_EVENT_MESSAGE, text));
    gate_pass(&receiver->numbers);
  }
  CHECK(receiver->last == 0 && receiver->dropped == 0);
  receiver->last = event->event == QY_EVENT_CLOSED;
}

static void on_drop(void *user_data) {
  struct receiver *receiver = user_data;
  CHECK(receiver->last == 1);
  CHECK(++receiver->dropped == 1);
  gate_pass(&receiver->ends);
}

static void through_a_callback(qy_server *server, qy_client *client, int32_t delivery) {
  struct receiver receiver = {GATE, GATE, 0, 0};
  qy_subscription *subscription = NULL;
  qy_batch *batch = NULL;
  int fd = 0;
  CHECK_OK(qy_client_subscribe(client, "test", delivery, on_event, &receiver, on_drop,
                               &subscription));
  CHECK_STATUS(qy_subscription_recv(subscription, 0, &batch), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_subscription_fd(subscription, &fd), QY_ERR_INVALID_ARGUMENT);
  CHECK(fd == -1);
  publish_numbers(server);
  CHECK(gate_reached(&receiver.numbers, COUNT));
  CHECK_OK(qy_subscription_close_wait(subscription, PATIENCE_MS));
  CHECK(receiver.dropped == 1);
  CHECK_OK(qy_subscription_close_wait(subscription, PATIENCE_MS));
  qy_subscription_free(subscription);

  /* A registration that fails: never called, dropped once. */
  receiver.last = 1, receiver.dropped = 0;
  CHECK_STATUS(qy_client_subscribe(client, "none such", delivery, on_event, &receiver, on_drop,
                                   &subscription),
               QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(subscription == NULL && receiver.dropped == 1);
}

int main(void) {
  char host[64];
  qy_server *server = server_new(host);
  through_a_listener(server, host);
  qy_client *client = client_new(host);
  int32_t state = 0;
  CHECK_OK(qy_client_state(client, &state));
  CHECK(state == QY_CLIENT_CONNECTED);
  through_recv(server, client);
  through_recv_many(server, client);
  through_the_descriptor(server, client);
  to_the_end_of_the_channel(server, client);
  through_a_callback(server, client, QY_DELIVER_THREAD);
  through_a_callback(server, client, QY_DELIVER_INLINE);
  CHECK_OK(qy_client_close(client));
  CHECK_OK(qy_client_close(client));
  CHECK_OK(qy_client_state(client, &state));
  CHECK(state == QY_CLIENT_CLOSED);
  qy_client_free(client);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1);
  return 0;
}
