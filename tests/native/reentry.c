/* Every function may be called in a callback, on the delivery thread and inline. One that would wait
   for that very callback says QY_ERR_WOULD_DEADLOCK at once. */
#include "kit.h"

static char host[64];
static qy_server *server;
static qy_client *client;

struct call {
  qy_subscription *own;
  gate started, done, ends;
  int on_io_thread;
};

static int visits;

static void visit(const qy_channel_info *info, void *user_data) {
  qy_channel_info again = {0};
  char name[256];
  again.struct_size = sizeof again;
  CHECK(user_data == NULL && info->struct_size == sizeof *info);
  snprintf(name, sizeof name, "%.*s", (int)info->name_len, info->name);
  CHECK_OK(qy_server_channel_info(server, name, &again));
  CHECK(again.epoch == info->epoch && again.name == NULL);
  visits++;
}

static void ignore(int32_t event, const char *data, size_t len, void *user_data) {
  (void)event, (void)data, (void)len, (void)user_data;
}

static void ignore_event(const qy_event *event, void *user_data) { (void)event, (void)user_data; }

static void ignore_log(int32_t level, const char *target, size_t target_len, const char *message,
                       size_t message_len, void *user_data) {
  (void)level, (void)target, (void)target_len, (void)message, (void)message_len, (void)user_data;
}

static void no_handle_needed(void) {
  char text[64];
  qy_option_info info = {sizeof info, NULL, NULL, NULL, NULL, 0, 0, NULL};
  CHECK(qy_version() != NULL && qy_abi_version() == QY_ABI_VERSION);
  CHECK_OK(qy_abi_check(QY_ABI_VERSION));
  CHECK(qy_status_name(QY_OK) != NULL && qy_status_text(QY_OK) != NULL);
  qy_last_error(text, sizeof text, NULL);
  CHECK_OK(qy_options_describe(QY_OPTIONS_CLIENT, 0, &info));
  CHECK_OK(qy_set_log_callback(QY_LOG_WARN, ignore_log, NULL, NULL));
  CHECK_OK(qy_set_log_callback(0, NULL, NULL, NULL));
}

static qy_server *a_server(void) {
  qy_options *options = NULL;
  qy_server *other = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", "127.0.0.1:0"));
  CHECK_OK(qy_options_set_int(options, "shards", 1));
  CHECK_OK(qy_server_start(options, &other));
  qy_options_free(options);
  return other;
}

static void servers(void) {
  char text[64];
  uint16_t port = 0;
  qy_options *options = NULL;
  qy_server_counters counters = {0};
  qy_server *other = a_server();
  CHECK_OK(qy_server_address(other, text, sizeof text, NULL));
  CHECK_OK(qy_server_port(other, &port));
  CHECK_STATUS(qy_server_grpc_port(other, &port), QY_ERR_NOT_FOUND);
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set_int(options, "max_channels", 7));
  CHECK_OK(qy_server_reload(other, options, text, sizeof text, NULL));
  qy_options_free(options);
  CHECK_OK(qy_server_last_error(other, text, sizeof text, NULL));
  CHECK_OK(qy_server_stop(other, 100));
  qy_server_free(other);

  CHECK_OK(qy_server_create_channel(server, "more"));
  CHECK_OK(qy_server_publish(server, "more", QY_TEXT, "x", 1, NULL));
  visits = 0;
  CHECK_OK(qy_server_list_channels(server, visit, NULL));
  CHECK(visits == 4);
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_server_counters_get(server, &counters));
  CHECK_OK(qy_server_delete_channel(server, "more"));
}

static void one_shots(void) {
  CHECK_OK(qy_create_channel(host, "single"));
  CHECK_OK(qy_send_message(host, "single", "x"));
  qy_publish_result result = {.struct_size = sizeof result};
  qy_publish_item item = {.struct_size = sizeof item, .channel = "single", .kind = QY_TEXT};
  CHECK_OK(qy_send_message_with(host, "single", QY_TEXT, "x", 1, NULL, &result));
  CHECK(result.offset == 2);
  CHECK_OK(qy_send_batch(host, &item, 1, &result));
  CHECK(result.offset == 3);
  CHECK_OK(qy_server_delete_channel(server, "single"));
}

/* Counts come from the server's threads, which cannot wait for them; nothing else is waited for. */
static void publications(qy_status waiting) {
  qy_publish_options once = {.struct_size = sizeof once, .key = "again", .key_len = 5};
  qy_publish_options counted = {.struct_size = sizeof counted, .counts = 1};
  qy_publish_result result = {.struct_size = sizeof result};
  qy_publish_item item = {.struct_size = sizeof item, .channel = "other", .kind = QY_TEXT};
  CHECK_OK(qy_server_publish_with(server, "other", QY_TEXT, "x", 1, &once, &result));
  CHECK(result.offset != 0);
  CHECK_STATUS(qy_server_publish_with(server, "other", QY_TEXT, "x", 1, &counted, &result), waiting);
  CHECK_OK(qy_server_publish_batch(server, &item, 1, &result));
  item.options = &counted;
  CHECK_STATUS(qy_server_publish_batch(server, &item, 1, &result), waiting);
}

/* What waits for an answer: on the I/O thread, which would bring it, it may not. */
static void clients(struct call *call) {
  qy_status waiting = call->on_io_thread ? QY_ERR_WOULD_DEADLOCK : QY_OK;
  qy_client_counters counters = {sizeof counters, 0, 0, 0, 0};
  qy_subscription *sub = NULL;
  qy_batch *batch = NULL;
  qy_client *other = NULL;
  char text[64];
  int32_t state = 0;
  int fd = 0;
  uint64_t dropped = 0;
  CHECK_OK(qy_client_state(client, &state));
  CHECK_OK(qy_client_counters_get(client, &counters));
  qy_client_last_error(client, text, sizeof text, NULL);
  CHECK_OK(qy_client_create_channel(client, "brief"));
  CHECK_OK(qy_client_delete_channel(client, "brief"));
  qy_options *with = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_CHANNEL, &with));
  CHECK_OK(qy_client_create_channel_with(client, "brief", with, NULL));
  CHECK_STATUS(qy_server_create_channel_with(server, "brief", with), QY_ERR_CHANNEL_EXISTS);
  qy_options_free(with);
  CHECK_OK(qy_client_delete_channel(client, "brief"));
  qy_publish_item item = {.struct_size = sizeof item, .channel = "other", .kind = QY_TEXT};
  qy_publish_result result = {.struct_size = sizeof result};
  CHECK_OK(qy_client_publish_batch(client, &item, 1, &result));
  CHECK_STATUS(qy_client_publish_with(client, "other", QY_TEXT, "x", 1, NULL, &result), waiting);
  CHECK_OK(qy_client_publish_nowait(client, "other", QY_TEXT, "x", 1));
  CHECK_STATUS(qy_client_publish(client, "other", QY_TEXT, "x", 1, NULL), waiting);
  CHECK_OK(qy_client_open(host, NULL, &other));
  CHECK_STATUS(qy_client_wait_connected(other, PATIENCE_MS), waiting);
  CHECK_STATUS(qy_client_subscribe(other, "other", QY_DELIVER_THREAD, NULL, NULL, NULL, &sub),
               waiting);
  qy_position since = {.struct_size = sizeof since};
  qy_subscription *later = NULL;
  CHECK_STATUS(qy_client_subscribe_since(other, "other", &since, QY_DELIVER_THREAD, NULL, NULL, NULL,
                                         &later), waiting);
  qy_subscription_free(later);
  qy_subscription *wild = NULL, *watch = NULL;
  CHECK_STATUS(qy_client_subscribe_pattern(other, "other.*", QY_DELIVER_THREAD, NULL, NULL, NULL,
                                           &wild), waiting);
  CHECK_STATUS(qy_client_subscribe_presence(other, "there", QY_DELIVER_THREAD, NULL, NULL, NULL,
                                            &watch), waiting);
  qy_presence *there = NULL;
  qy_presence_info there_info = {.struct_size = sizeof there_info};
  CHECK_OK(qy_client_presence(client, "there", NULL, 0, &there));
  qy_presence_free(there);
  CHECK_OK(qy_server_presence(server, "there", NULL, 0, &there));
  CHECK_OK(qy_presence_info_get(there, &there_info));
  CHECK((qy_presence_count(there) == 0) == (qy_presence_members(there) == NULL));
  qy_presence_free(there);
  qy_subscription_free(watch);
  qy_subscription_free(wild);
  qy_history *page = NULL;
  qy_history_info page_info = {.struct_size = sizeof page_info};
  CHECK_OK(qy_client_history(client, "other", NULL, &page));
  qy_history_free(page);
  CHECK_OK(qy_server_history(server, "other", NULL, &page));
  CHECK_OK(qy_history_info_get(page, &page_info));
  CHECK(qy_history_count(page) == 0 && qy_history_publications(page) == NULL);
  qy_history_free(page);
  CHECK_STATUS(qy_listen_channel(host, "other", ignore, NULL), waiting);
  CHECK_STATUS(qy_stop_listening(host, "other"), waiting == QY_OK ? QY_OK : QY_ERR_NOT_FOUND);
  if (sub) {
    CHECK_OK(qy_subscription_recv(sub, PATIENCE_MS, &batch));
    CHECK(qy_batch_count(batch) == 1 && qy_batch_events(batch) != NULL);
    qy_batch_free(batch);
    CHECK_OK(qy_server_publish(server, "other", QY_TEXT, "x", 1, NULL));
    CHECK_OK(qy_subscription_recv_many(sub, 9, PATIENCE_MS, &batch));
    qy_batch_free(batch);
    CHECK_OK(qy_subscription_fd(sub, &fd));
    CHECK_OK(qy_subscription_dropped(sub, &dropped));
    CHECK_OK(qy_subscription_last_error(sub, text, sizeof text, NULL));
    CHECK_OK(qy_subscription_close(sub));
    CHECK_OK(qy_subscription_close_wait(sub, PATIENCE_MS));
  }
  qy_subscription_free(sub);
  CHECK_OK(qy_client_close(other));
  qy_client_free(other);
}

static void sockets(struct call *call) {
  qy_status waiting = call->on_io_thread ? QY_ERR_WOULD_DEADLOCK : QY_OK;
  qy_socket_counters counters = {0};
  qy_socket_batch *batch = NULL;
  qy_socket *socket = NULL;
  char url[128], text[256];
  int32_t state = 0;
  int fd = 0;
  snprintf(url, sizeof url, "ws://%s/channel/send/other", host);
  CHECK_OK(qy_socket_open(url, NULL, QY_DELIVER_THREAD, NULL, NULL, NULL, &socket));
  CHECK_STATUS(qy_socket_connect(socket, PATIENCE_MS), waiting);
  CHECK_OK(qy_socket_connect(socket, 0));
  CHECK_OK(qy_socket_state(socket, &state));
  qy_status sent = call->on_io_thread ? QY_ERR_CONNECT : QY_OK;
  CHECK_STATUS(qy_socket_send(socket, QY_TEXT, "x", 1), sent);
  CHECK_STATUS(qy_socket_send_json(socket, "1", 1), sent);
  CHECK_STATUS(qy_socket_ping(socket, NULL, 0), sent);
  CHECK_OK(qy_socket_fd(socket, &fd));
  CHECK_STATUS(qy_socket_recv(socket, 9, call->on_io_thread ? 0 : PATIENCE_MS, &batch),
               call->on_io_thread ? QY_ERR_TIMEOUT : QY_OK);
  CHECK(call->on_io_thread || qy_socket_batch_count(batch) == 1);
  CHECK((qy_socket_batch_events(batch) == NULL) == call->on_io_thread);
  qy_socket_batch_free(batch);
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_socket_counters_get(socket, &counters));
  CHECK_OK(qy_socket_last_error(socket, text, sizeof text, NULL));
  CHECK_OK(qy_socket_disconnect(socket, 1000, "done"));
  CHECK_OK(qy_socket_close(socket));
  CHECK_OK(qy_socket_close_wait(socket, PATIENCE_MS));
  qy_socket_free(socket);
}

/* Requests in a callback about its own connection: a waiting one not on the thread that reads it. */
static gate answers = GATE, pulls = GATE;

static void answered(qy_status status, const qy_response *response, void *user_data) {
  CHECK(user_data == &answers);
  CHECK_OK(status);
  CHECK(qy_response_protocol(response) == 6 && qy_response_len(response) == 5);
  CHECK(memcmp(qy_response_data(response), "later", 5) == 0);
  gate_pass(&answers);
}

static void on_pull(qy_connection *connection, uint32_t channel, void *user_data) {
  (void)connection;
  CHECK(channel == 4 && user_data == NULL);
  gate_pass(&pulls);
}

static void on_happening(qy_connection *connection, const qy_packet_event *event, void *user_data) {
  (void)user_data;
  if (event->event != QY_PACKET_ESTABLISHED) return;
  CHECK_OK(qy_connection_send_packet(connection, 7, "welcome", 7));
}

static void on_request(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
                       qy_reply *reply, void *user_data) {
  int inlined = user_data != NULL;
  qy_packet_counters counters = {0};
  qy_connection *same = NULL;
  qy_reply *later = NULL;
  qy_response *response = NULL;
  char text[64];
  CHECK(protocol == 3 && len == 2 && memcmp(data, "go", 2) == 0 && reply != NULL);
  CHECK_OK(qy_connection_clone(connection, &same));
  CHECK_OK(qy_connection_id(same, text, sizeof text, NULL));
  CHECK(strcmp(text, "9-0--") == 0);
  CHECK_OK(qy_connection_packet_identity(same, "uid", text, sizeof text, NULL));
  CHECK(strcmp(text, "9") == 0);
  qy_status waited = qy_connection_request(same, 5, "now", 3, PATIENCE_MS, &response);
  CHECK_STATUS(waited, inlined ? QY_ERR_WOULD_DEADLOCK : QY_OK);
  qy_response_free(response);
  CHECK_OK(qy_connection_request_async(same, 6, "then", 4, PATIENCE_MS, QY_DELIVER_THREAD, answered,
                                       &answers, NULL));
  CHECK_OK(qy_connection_signal_pull(same, 4));
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_server_packet_counters(server, &counters));
  CHECK(counters.received >= 1);
  publications(inlined ? QY_ERR_WOULD_DEADLOCK : QY_OK);
  CHECK_STATUS(qy_shutdown(PATIENCE_MS), QY_ERR_WOULD_DEADLOCK);
  if (inlined) CHECK_STATUS(qy_server_stop(server, 0), QY_ERR_WOULD_DEADLOCK);
  CHECK_OK(qy_server_on_packet(server, 3, QY_DELIVER_THREAD, NULL, NULL, NULL));
  CHECK_OK(qy_reply_clone(reply, &later));
  CHECK_OK(qy_reply_send(later, 30, "done", 4));
  CHECK_STATUS(qy_reply_send(reply, 30, "twice", 5), QY_ERR_INVALID_ARGUMENT);
  qy_reply_free(later);
  qy_connection_free(same);
}

static void in_a_packet_handler(int32_t delivery) {
  void *inlined = delivery == QY_DELIVER_INLINE ? &answers : NULL;
  unsigned long before = gate_count(&answers);
  CHECK_OK(qy_server_on_packet_event(server, delivery, on_happening, NULL, NULL));
  CHECK_OK(qy_server_on_packet(server, 3, delivery, on_request, inlined, NULL));
  CHECK_OK(qy_server_on_pull(server, 4, on_pull, NULL, NULL));
  int fd = raw_join(server, "uid=9");
  raw_expect_packet(fd, 7, "welcome");
  raw_packet(fd, 3, 2, "go");
  if (!inlined) raw_packet(fd, 5, raw_expect_packet(fd, 5, "now"), "yes");
  raw_packet(fd, 6, raw_expect_packet(fd, 6, "then"), "later");
  CHECK(raw_expect_packet(fd, 30, "done") == 2);
  CHECK(gate_reached(&answers, before + 1) && gate_reached(&pulls, before + 1));
  close(fd);
}

static void on_call(qy_connection *connection, const char *method, const char *params, size_t len,
                    qy_rpc_reply *reply, void *user_data) {
  qy_rpc_reply *later = NULL;
  (void)connection, (void)params, (void)len, (void)user_data;
  CHECK_STATUS(qy_shutdown(PATIENCE_MS), QY_ERR_WOULD_DEADLOCK);
  CHECK_OK(qy_server_on_rpc(server, method, QY_DELIVER_THREAD, NULL, NULL, NULL));
  CHECK_OK(qy_rpc_reply_clone(reply, &later));
  CHECK_OK(qy_rpc_reply_error(later, "c", "m"));
  CHECK_STATUS(qy_rpc_reply_result(reply, "1", 1), QY_ERR_INVALID_ARGUMENT);
  qy_rpc_reply_free(later);
}

static void in_a_method(int32_t delivery) {
  CHECK_OK(qy_server_on_rpc(server, "m", delivery, on_call, NULL, NULL));
  int fd = raw_session(server);
  raw_say(fd, "{\"id\":1,\"type\":\"request\",\"action\":\"rpc\",\"payload\":{\"method\":\"m\"}}");
  raw_expect(fd, "{\"id\":1,\"type\":\"error\",\"error\":{\"code\":\"c\",\"message\":\"m\"}}");
  close(fd);
}

static void ignore_packet(uint32_t protocol, const void *data, size_t len, qy_reply *reply,
                          void *user_data) {
  (void)protocol, (void)data, (void)len, (void)reply, (void)user_data;
}

static void ignore_happening(const qy_packet_client_event *event, void *user_data) {
  (void)event, (void)user_data;
}

static void ignore_signal(uint32_t channel, void *user_data) { (void)channel, (void)user_data; }

static void ignore_answer(qy_status status, const qy_response *response, void *user_data) {
  (void)status, (void)response, (void)user_data;
}

static void packet_clients(struct call *call) {
  int inlined = call->on_io_thread;
  qy_packet_client_counters counters = {0};
  qy_packet_identity identity = {0};
  qy_packet_client *other = NULL;
  qy_response *response = NULL;
  char text[64];
  int32_t state = 0;
  int64_t sum = 0;
  identity.struct_size = sizeof identity;
  identity.uid = inlined ? "inline" : "thread";
  CHECK_OK(qy_packet_client_open(host, &identity, NULL, &other));
  CHECK_OK(qy_packet_client_on_packet(other, 1, QY_DELIVER_THREAD, ignore_packet, NULL, NULL));
  CHECK_OK(qy_packet_client_on_event(other, QY_DELIVER_THREAD, ignore_happening, NULL, NULL));
  CHECK_OK(qy_packet_client_on_pull(other, 1, ignore_signal, NULL, NULL));
  CHECK_STATUS(qy_packet_client_connect(other, PATIENCE_MS),
               inlined ? QY_ERR_WOULD_DEADLOCK : QY_OK);
  qy_status sent = inlined ? QY_ERR_CONNECT : QY_OK;
  CHECK_STATUS(qy_packet_client_send(other, 1, "x", 1), sent);
  CHECK_STATUS(qy_packet_client_request(other, 999, "x", 1, 1, &response),
               inlined ? QY_ERR_WOULD_DEADLOCK : QY_ERR_TIMEOUT);
  CHECK_STATUS(qy_packet_client_request_async(other, 999, "x", 1, 1, QY_DELIVER_THREAD, ignore_answer,
                                              NULL, NULL),
               sent);
  CHECK_OK(qy_packet_client_signal_pull(other, 1));
  CHECK_OK(qy_packet_client_set(other, "k", "v", 1));
  CHECK_OK(qy_packet_client_get(other, "k", text, sizeof text, NULL));
  CHECK_OK(qy_packet_client_remove(other, "k"));
  CHECK_OK(qy_packet_client_increment(other, "n", 2, &sum));
  CHECK(sum == 2);
  CHECK_OK(qy_packet_client_state(other, &state));
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_packet_client_counters_get(other, &counters));
  qy_packet_client_last_error(other, text, sizeof text, NULL);
  CHECK_OK(qy_packet_client_disconnect(other, 1000, "done"));
  CHECK_OK(qy_packet_client_close(other));
  CHECK_STATUS(qy_packet_client_close_wait(other, PATIENCE_MS),
               inlined ? QY_ERR_WOULD_DEADLOCK : QY_OK);
  qy_packet_client_free(other);
}

static void on_event(const qy_event *event, void *user_data) {
  struct call *call = user_data;
  qy_batch *batch = NULL;
  if (event->event != QY_EVENT_MESSAGE) return;
  CHECK(gate_reached(&call->started, 1)); /* `own` is set */
  no_handle_needed();
  servers();
  publications(QY_OK);
  one_shots();
  clients(call);
  sockets(call);
  packet_clients(call);
  CHECK_STATUS(qy_shutdown(PATIENCE_MS), QY_ERR_WOULD_DEADLOCK);
  CHECK_STATUS(qy_subscription_recv(call->own, PATIENCE_MS, &batch), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_subscription_close_wait(call->own, PATIENCE_MS), QY_ERR_WOULD_DEADLOCK);
  CHECK_OK(qy_subscription_close(call->own));
  qy_subscription_free(call->own);
  gate_pass(&call->done);
}

static void on_drop(void *user_data) {
  struct call *call = user_data;
  CHECK(gate_count(&call->done) == 1);
  gate_pass(&call->ends);
}

static void in_a_callback(int32_t delivery) {
  struct call call = {NULL, GATE, GATE, GATE, delivery == QY_DELIVER_INLINE};
  CHECK_OK(qy_client_subscribe(client, "test", delivery, on_event, &call, on_drop, &call.own));
  gate_pass(&call.started);
  publish(server, "go");
  CHECK(gate_reached(&call.done, 1));
  CHECK(gate_reached(&call.ends, 1));
}

/* A one-shot listener that ends itself. */
static gate stopped = GATE;

static void stop_self(int32_t event, const char *data, size_t len, void *user_data) {
  (void)data, (void)len, (void)user_data;
  if (event == QY_EVENT_MESSAGE) CHECK_OK(qy_stop_listening(host, "test"));
  if (event == QY_EVENT_CLOSED) gate_pass(&stopped);
}

/* A callback that frees its own client and stops the server that it hears. */
static gate freed = GATE;

static void end_all(const qy_event *event, void *user_data) {
  qy_client **own = user_data;
  if (event->event != QY_EVENT_MESSAGE) return;
  qy_client_free(*own);
  qy_status status = qy_server_stop(server, 200);
  CHECK(status == QY_OK || status == QY_ERR_TIMEOUT);
  gate_pass(&freed);
}

int main(void) {
  server = server_new(host);
  client = client_new(host);
  CHECK_OK(qy_server_create_channel(server, "other"));
  CHECK_OK(qy_server_create_channel(server, "there"));
  in_a_callback(QY_DELIVER_THREAD);
  in_a_callback(QY_DELIVER_INLINE);
  in_a_packet_handler(QY_DELIVER_THREAD);
  in_a_packet_handler(QY_DELIVER_INLINE);
  in_a_method(QY_DELIVER_THREAD);
  in_a_method(QY_DELIVER_INLINE);

  CHECK_OK(qy_listen_channel(host, "test", stop_self, NULL));
  publish(server, "stop");
  CHECK(gate_reached(&stopped, 1));

  qy_subscription *subscription = NULL;
  CHECK_OK(qy_client_subscribe(client, "test", QY_DELIVER_THREAD, end_all, &client, NULL,
                               &subscription));
  publish(server, "end");
  CHECK(gate_reached(&freed, 1));
  qy_subscription_free(subscription);
  CHECK_STATUS(qy_client_subscribe(NULL, "test", QY_DELIVER_THREAD, ignore_event, NULL, NULL,
                                   &subscription),
               QY_ERR_INVALID_ARGUMENT);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1);
  return 0;
}
