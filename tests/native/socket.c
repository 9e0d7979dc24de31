/* Sockets: callbacks and drop, events taken, headers, reconnection, and nothing left behind. */
#include "kit.h"

static char host[64];
static qy_server *server;

static const char *url_of(const char *path) {
  static char url[160];
  snprintf(url, sizeof url, "ws://%s%s", host, path);
  return url;
}

struct log {
  gate connected, messages, disconnected, errors, closed, drops;
  char last[64];
  int32_t kind, code, will_reconnect;
};

static struct log fresh(void) {
  struct log log = {GATE, GATE, GATE, GATE, GATE, GATE, "", 0, 0, 0};
  return log;
}

static void note(const qy_socket_event *event, struct log *log) {
  CHECK(event->struct_size == sizeof *event && event->data != NULL);
  snprintf(log->last, sizeof log->last, "%.*s", (int)event->len, (const char *)event->data);
  log->kind = event->kind, log->code = event->code, log->will_reconnect = event->will_reconnect;
}

static void on_connected(const qy_socket_event *event, void *user_data) {
  struct log *log = user_data;
  CHECK(event->event == QY_EVENT_CONNECTED);
  note(event, log);
  gate_pass(&log->connected);
}

static void on_message(const qy_socket_event *event, void *user_data) {
  struct log *log = user_data;
  CHECK(event->event == QY_EVENT_MESSAGE);
  note(event, log);
  gate_pass(&log->messages);
}

static void on_disconnected(const qy_socket_event *event, void *user_data) {
  struct log *log = user_data;
  CHECK(event->event == QY_EVENT_DISCONNECTED);
  note(event, log);
  gate_pass(&log->disconnected);
}

static void on_error(const qy_socket_event *event, void *user_data) {
  struct log *log = user_data;
  CHECK(event->event == QY_EVENT_ERROR);
  note(event, log);
  gate_pass(&log->errors);
}

static void on_closed(const qy_socket_event *event, void *user_data) {
  struct log *log = user_data;
  CHECK(event->event == QY_EVENT_CLOSED);
  gate_pass(&log->closed);
}

static void on_drop(void *user_data) {
  struct log *log = user_data;
  CHECK(gate_count(&log->closed) == 1);
  gate_pass(&log->drops);
}

static qy_socket_callbacks all_callbacks(void) {
  qy_socket_callbacks calls = {0};
  calls.struct_size = sizeof calls;
  calls.connected = on_connected;
  calls.message = on_message;
  calls.disconnected = on_disconnected;
  calls.error = on_error;
  calls.closed = on_closed;
  return calls;
}

static qy_socket *open_logged(const char *path, int32_t delivery, struct log *log) {
  qy_socket_callbacks calls = all_callbacks();
  qy_socket *socket = NULL;
  CHECK_OK(qy_socket_open(url_of(path), NULL, delivery, &calls, log, on_drop, &socket));
  return socket;
}

static void expect_state(qy_socket *socket, int32_t expected) {
  int32_t state = 0;
  CHECK_OK(qy_socket_state(socket, &state));
  CHECK(state == expected);
}

static void both_ways(int32_t delivery) {
  struct log hears = fresh(), sends = fresh();
  qy_socket *hearer = open_logged("/channel/listen/test", delivery, &hears);
  qy_socket *sender = open_logged("/channel/send/test", delivery, &sends);
  qy_socket_counters counters = {0};
  expect_state(hearer, QY_SOCKET_DISCONNECTED);
  CHECK_STATUS(qy_socket_send(sender, QY_TEXT, "x", 1), QY_ERR_CONNECT);
  check_error("not connected");
  CHECK_OK(qy_socket_connect(hearer, PATIENCE_MS));
  CHECK_OK(qy_socket_connect(sender, 0));
  CHECK(gate_reached(&hears.connected, 1) && gate_reached(&sends.connected, 1));
  expect_state(hearer, QY_SOCKET_CONNECTED);
  CHECK_OK(qy_socket_send(sender, QY_TEXT, "text", 4));
  CHECK(gate_reached(&hears.messages, 1));
  CHECK(strcmp(hears.last, "text") == 0 && hears.kind == QY_TEXT);
  CHECK_OK(qy_socket_send(sender, QY_BINARY, "\xff\x01", 2));
  CHECK(gate_reached(&hears.messages, 2));
  CHECK(strcmp(hears.last, "\xff\x01") == 0 && hears.kind == QY_BINARY);
  CHECK_OK(qy_socket_send_json(sender, "{\"a\":1}", 7));
  CHECK(gate_reached(&hears.messages, 3));
  CHECK(strcmp(hears.last, "{\"a\":1}") == 0 && hears.kind == QY_TEXT);
  CHECK_STATUS(qy_socket_send_json(sender, "{", 1), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_socket_send(sender, QY_TEXT, "\xff", 1), QY_ERR_INVALID_UTF8);
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_socket_counters_get(sender, &counters));
  CHECK(counters.messages_out == 3 && counters.bytes_out == 13 && counters.unsent == 0);
  CHECK_OK(qy_socket_disconnect(sender, 4000, "done"));
  CHECK(gate_reached(&sends.disconnected, 1));
  CHECK(strcmp(sends.last, "done") == 0 && sends.code == 4000 && !sends.will_reconnect);
  expect_state(sender, QY_SOCKET_DISCONNECTED);
  CHECK_OK(qy_socket_connect(sender, PATIENCE_MS));
  CHECK(gate_reached(&sends.connected, 2));
  CHECK_OK(qy_socket_close_wait(sender, PATIENCE_MS));
  CHECK(gate_count(&sends.closed) == 1 && gate_count(&sends.drops) == 1);
  CHECK_STATUS(qy_socket_send(sender, QY_TEXT, "x", 1), QY_ERR_CLOSED);
  CHECK_STATUS(qy_socket_connect(sender, PATIENCE_MS), QY_ERR_CLOSED);
  qy_socket_free(sender);
  qy_socket_free(hearer);
  CHECK(gate_reached(&hears.drops, 1));
}

static void events_can_be_taken(void) {
  qy_socket *socket = NULL;
  qy_socket_batch *batch = NULL;
  const qy_socket_event *events;
  int fd = -1;
  CHECK_OK(qy_socket_open(url_of("/channel/listen/test"), NULL, QY_DELIVER_THREAD, NULL, NULL, NULL,
                          &socket));
  CHECK_STATUS(qy_socket_recv(socket, 9, 0, &batch), QY_ERR_TIMEOUT);
  CHECK_OK(qy_socket_connect(socket, PATIENCE_MS));
  CHECK_OK(qy_socket_fd(socket, &fd));
  publish(server, "one");
  publish(server, "two");
  for (size_t seen = 0; seen < 3;) {
    CHECK_OK(qy_socket_recv(socket, 9, PATIENCE_MS, &batch));
    events = qy_socket_batch_events(batch);
    for (size_t i = 0; i < qy_socket_batch_count(batch); i++, seen++) {
      const char *texts[] = {"", "one", "two"};
      CHECK(events[i].event == (seen == 0 ? QY_EVENT_CONNECTED : QY_EVENT_MESSAGE));
      CHECK(events[i].len == strlen(texts[seen]));
      CHECK(memcmp(events[i].data, texts[seen], events[i].len) == 0);
    }
    qy_socket_batch_free(batch);
  }
  CHECK_OK(qy_socket_close(socket));
  CHECK_STATUS(qy_socket_recv(socket, 1, PATIENCE_MS, &batch), QY_ERR_CLOSED);
  qy_socket_free(socket);
}

static void a_refusal_is_told_and_tried_again_as_often_as_allowed(void) {
  struct log log = fresh();
  qy_socket_callbacks calls = all_callbacks();
  qy_options *options = NULL;
  qy_socket *socket = NULL;
  char why[256];
  CHECK_OK(qy_options_new(QY_OPTIONS_SOCKET, &options));
  CHECK_OK(qy_options_set(options, "header", "X-One: 1"));
  CHECK_STATUS(qy_options_set(options, "header", "Upgrade: x"), QY_ERR_INVALID_OPTION);
  CHECK_OK(qy_options_set_int(options, "reconnect_delay_ms", 1));
  CHECK_OK(qy_options_set_int(options, "reconnect_attempts", 3));
  CHECK_OK(qy_socket_open(url_of("/channel/listen/nothing"), options, QY_DELIVER_THREAD, &calls, &log,
                          on_drop, &socket));
  qy_options_free(options);
  CHECK_OK(qy_socket_connect(socket, 0));
  CHECK(gate_reached(&log.errors, 3));
  CHECK(log.code == QY_ERR_REFUSED && !log.will_reconnect);
  expect_state(socket, QY_SOCKET_DISCONNECTED);
  CHECK_OK(qy_socket_last_error(socket, why, sizeof why, NULL));
  CHECK(strstr(why, "403") && strstr(why, "/channel/listen/nothing"));
  qy_socket_free(socket);
  CHECK(gate_reached(&log.drops, 1));
  CHECK_STATUS(qy_socket_open("ws://", NULL, QY_DELIVER_THREAD, &calls, NULL, NULL, &socket),
               QY_ERR_INVALID_URL);
  CHECK(socket == NULL);
}

int main(void) {
  int fds = fd_count();
  server = server_new(host);
  both_ways(QY_DELIVER_THREAD);
  both_ways(QY_DELIVER_INLINE);
  events_can_be_taken();
  a_refusal_is_told_and_tried_again_as_often_as_allowed();
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1 && fd_count() == fds);
  return 0;
}
