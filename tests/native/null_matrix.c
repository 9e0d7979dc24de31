/* NULL for every pointer of every function: a status that names the parameter, or, where NULL has a
   meaning, that meaning; never a crash. The table is complete: coverage.py compares it with the
   header. Outputs must be cleared although the call fails. */
#include "kit.h"

static char host[64];
static qy_options *options;
static qy_server *server;
static qy_client *client;
static qy_subscription *sub;
static qy_socket *sock;
static qy_packet_client *packer;
static char url[128];
static qy_connection *connection;
static qy_reply *reply;

/* Outputs, set to something before each call. */
static char buf[64];
static size_t needed;
static uint16_t port;
static int32_t state;
static int fd;
static uint64_t dropped;
static qy_option_info info;
static qy_channel_info channel_info;
static qy_server_counters server_counters;
static qy_client_counters client_counters;
static qy_position at;
static qy_options *new_options;
static qy_server *new_server;
static qy_client *new_client;
static qy_subscription *new_sub;
static qy_batch *batch;
static qy_publish_result published;
static qy_history *page;
static qy_history_info page_info;
static qy_presence *there;
static qy_presence_info there_info;
static qy_socket *new_socket;
static qy_socket_batch *socket_batch;
static qy_socket_counters socket_counters;
static qy_packet_client *new_packer;
static qy_packet_client_counters packer_counters;
static int64_t sum;
static qy_packet_counters packet_counters;
static qy_connection *new_connection;
static qy_reply *new_reply;
static qy_rpc_reply *rpc_reply;
static qy_rpc_reply *new_rpc_reply;
static qy_response *response;

static void dirty(void *memory, size_t size) {
  memset(memory, 0x5a, size);
  *(size_t *)memory = size;
}

static void dirty_all(void) {
  memset(buf, 0x5a, sizeof buf);
  needed = 99, port = 99, state = 99, fd = 99, dropped = 99;
  dirty(&info, sizeof info);
  dirty(&channel_info, sizeof channel_info);
  dirty(&server_counters, sizeof server_counters);
  dirty(&client_counters, sizeof client_counters);
  dirty(&at, sizeof at);
  dirty(&packet_counters, sizeof packet_counters);
  new_connection = (qy_connection *)&at;
  new_reply = (qy_reply *)&at;
  new_rpc_reply = (qy_rpc_reply *)&at;
  response = (qy_response *)&at;
  new_options = (qy_options *)&at;
  new_server = (qy_server *)&at;
  new_client = (qy_client *)&at;
  new_sub = (qy_subscription *)&at;
  batch = (qy_batch *)&at;
  dirty(&published, sizeof published);
  page = (qy_history *)&at;
  dirty(&page_info, sizeof page_info);
  there = (qy_presence *)&at;
  dirty(&there_info, sizeof there_info);
  new_socket = (qy_socket *)&at;
  socket_batch = (qy_socket_batch *)&at;
  dirty(&socket_counters, sizeof socket_counters);
  new_packer = (qy_packet_client *)&at;
  dirty(&packer_counters, sizeof packer_counters);
  sum = 99;
}

/* NULL for `parameter` is refused and named, with the function. */
#define REFUSED(function, parameter, ...)                                             \
  do {                                                                                \
    dirty_all();                                                                      \
    CHECK_STATUS(function(__VA_ARGS__), QY_ERR_INVALID_ARGUMENT);                     \
    check_error(#function ": '" #parameter "' is NULL");                              \
  } while (0)

/* NULL for `parameter` means something, and the call does `expected`. */
#define ALLOWED(function, parameter, expected, ...)                                   \
  do {                                                                                \
    dirty_all();                                                                      \
    CHECK_STATUS(function(__VA_ARGS__), expected);                                    \
  } while (0)

/* NULL for the only parameter of a function without a status. */
#define HARMLESS(function, parameter, expression) CHECK((expression, 1))

static void on_event(const qy_event *event, void *user_data) { (void)event, (void)user_data; }

static void on_listen(int32_t event, const char *data, size_t len, void *user_data) {
  (void)event, (void)data, (void)len, (void)user_data;
}

static void on_log(int32_t level, const char *target, size_t target_len, const char *message,
                   size_t message_len, void *user_data) {
  (void)level, (void)target, (void)target_len, (void)message, (void)message_len, (void)user_data;
}

static void on_channel(const qy_channel_info *channel, void *user_data) {
  (void)channel, (void)user_data;
}

static int drops;

static void on_drop(void *user_data) { (void)user_data, drops++; }

static void general(void) {
  dirty_all();
  CHECK_STATUS(qy_options_new(QY_OPTIONS_SERVER, NULL), QY_ERR_INVALID_ARGUMENT);
  ALLOWED(qy_last_error, buf, QY_ERR_BUFFER_TOO_SMALL, NULL, 0, &needed);
  CHECK(needed > 1);
  ALLOWED(qy_last_error, needed, QY_OK, buf, sizeof buf, NULL);
  ALLOWED(qy_set_log_callback, callback, QY_OK, QY_LOG_INFO, NULL, buf, on_drop);
  ALLOWED(qy_set_log_callback, user_data, QY_OK, QY_LOG_ERROR, on_log, NULL, on_drop);
  ALLOWED(qy_set_log_callback, drop, QY_OK, QY_LOG_ERROR, on_log, buf, NULL);
  CHECK_OK(qy_set_log_callback(0, NULL, NULL, NULL));
  CHECK(drops == 2);
}

static void one_shot(void) {
  REFUSED(qy_create_channel, host, NULL, "x");
  REFUSED(qy_create_channel, name, host, NULL);
  REFUSED(qy_send_message, host, NULL, "test", "x");
  REFUSED(qy_send_message, channel, host, NULL, "x");
  REFUSED(qy_send_message, message, host, "test", NULL);
  REFUSED(qy_send_message_with, host, NULL, "test", QY_TEXT, "x", 1, NULL, &published);
  CHECK(published.offset == 0 && published.status == 0 && published.struct_size == sizeof published);
  REFUSED(qy_send_message_with, channel, host, NULL, QY_TEXT, "x", 1, NULL, &published);
  REFUSED(qy_send_message_with, data, host, "test", QY_TEXT, NULL, 1, NULL, &published);
  ALLOWED(qy_send_message_with, data, QY_OK, host, "test", QY_TEXT, NULL, 0, NULL, &published);
  ALLOWED(qy_send_message_with, options, QY_OK, host, "test", QY_TEXT, "x", 1, NULL, &published);
  ALLOWED(qy_send_message_with, out, QY_OK, host, "test", QY_TEXT, "x", 1, NULL, NULL);
  qy_publish_item item = {.struct_size = sizeof item, .kind = QY_TEXT};
  REFUSED(qy_send_batch, host, NULL, &item, 1, &published);
  REFUSED(qy_send_batch, items, host, NULL, 1, &published);
  REFUSED(qy_send_batch, results, host, &item, 1, NULL);
  ALLOWED(qy_send_batch, items, QY_OK, host, NULL, 0, &published);
  REFUSED(qy_listen_channel, host, NULL, "test", on_listen, NULL);
  REFUSED(qy_listen_channel, channel, host, NULL, on_listen, NULL);
  REFUSED(qy_listen_channel, callback, host, "test", NULL, buf);
  ALLOWED(qy_listen_channel, user_data, QY_OK, host, "test", on_listen, NULL);
  REFUSED(qy_stop_listening, host, NULL, "test");
  REFUSED(qy_stop_listening, channel, host, NULL);
  CHECK_OK(qy_stop_listening(host, "test"));
}

static void option(void) {
  REFUSED(qy_options_new, out, QY_OPTIONS_SERVER, NULL);
  HARMLESS(qy_options_free, options, qy_options_free(NULL));
  REFUSED(qy_options_set, options, NULL, "shards", "1");
  REFUSED(qy_options_set, key, options, NULL, "1");
  REFUSED(qy_options_set, value, options, "shards", NULL);
  REFUSED(qy_options_set_int, options, NULL, "shards", 1);
  REFUSED(qy_options_set_int, key, options, NULL, 1);
  REFUSED(qy_options_describe, out, QY_OPTIONS_SERVER, 0, NULL);
  dirty_all();
  CHECK_STATUS(qy_options_new(0, &new_options), QY_ERR_INVALID_ARGUMENT);
  CHECK(new_options == NULL);
}

static void servers(void) {
  ALLOWED(qy_server_start, options, QY_ERR_ADDRESS_IN_USE, NULL, &new_server);
  CHECK(new_server == NULL);
  REFUSED(qy_server_start, out, options, NULL);
  REFUSED(qy_server_address, server, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_server_address, buf, QY_ERR_BUFFER_TOO_SMALL, server, NULL, 0, &needed);
  REFUSED(qy_server_address, buf, server, NULL, 1, &needed);
  ALLOWED(qy_server_address, needed, QY_OK, server, buf, sizeof buf, NULL);
  REFUSED(qy_server_port, server, NULL, &port);
  CHECK(port == 0);
  REFUSED(qy_server_port, out, server, NULL);
  REFUSED(qy_server_grpc_port, server, NULL, &port);
  CHECK(port == 0);
  REFUSED(qy_server_grpc_port, out, server, NULL);
  REFUSED(qy_server_reload, server, NULL, options, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  REFUSED(qy_server_reload, options, server, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_server_reload, buf, server, options, NULL, 1, &needed);
  ALLOWED(qy_server_reload, buf, QY_OK, server, options, NULL, 0, &needed);
  ALLOWED(qy_server_reload, needed, QY_OK, server, options, buf, sizeof buf, NULL);
  REFUSED(qy_server_create_channel, server, NULL, "x");
  REFUSED(qy_server_create_channel, name, server, NULL);
  REFUSED(qy_server_delete_channel, server, NULL, "x");
  REFUSED(qy_server_delete_channel, name, server, NULL);
  REFUSED(qy_server_channel_info, server, NULL, "test", &channel_info);
  CHECK(channel_info.epoch == 0 && channel_info.name == NULL);
  REFUSED(qy_server_channel_info, name, server, NULL, &channel_info);
  REFUSED(qy_server_channel_info, out, server, "test", NULL);
  REFUSED(qy_server_list_channels, server, NULL, on_channel, NULL);
  REFUSED(qy_server_list_channels, visitor, server, NULL, NULL);
  ALLOWED(qy_server_list_channels, user_data, QY_OK, server, on_channel, NULL);
  REFUSED(qy_server_publish, server, NULL, "test", QY_TEXT, "x", 1, &at);
  CHECK(at.epoch == 0 && at.offset == 0);
  REFUSED(qy_server_publish, channel, server, NULL, QY_TEXT, "x", 1, &at);
  REFUSED(qy_server_publish, data, server, "test", QY_TEXT, NULL, 1, &at);
  ALLOWED(qy_server_publish, data, QY_OK, server, "test", QY_TEXT, NULL, 0, &at);
  ALLOWED(qy_server_publish, out, QY_OK, server, "test", QY_TEXT, "x", 1, NULL);
  REFUSED(qy_server_publish_with, server, NULL, "test", QY_TEXT, "x", 1, NULL, &published);
  CHECK(published.offset == 0 && published.status == 0 && published.struct_size == sizeof published);
  REFUSED(qy_server_publish_with, channel, server, NULL, QY_TEXT, "x", 1, NULL, &published);
  REFUSED(qy_server_publish_with, data, server, "test", QY_TEXT, NULL, 1, NULL, &published);
  ALLOWED(qy_server_publish_with, data, QY_OK, server, "test", QY_TEXT, NULL, 0, NULL, &published);
  ALLOWED(qy_server_publish_with, options, QY_OK, server, "test", QY_TEXT, "x", 1, NULL, &published);
  ALLOWED(qy_server_publish_with, out, QY_OK, server, "test", QY_TEXT, "x", 1, NULL, NULL);
  qy_publish_item item = {.struct_size = sizeof item, .kind = QY_TEXT};
  REFUSED(qy_server_publish_batch, server, NULL, &item, 1, &published);
  REFUSED(qy_server_publish_batch, items, server, NULL, 1, &published);
  REFUSED(qy_server_publish_batch, results, server, &item, 1, NULL);
  ALLOWED(qy_server_publish_batch, items, QY_OK, server, NULL, 0, &published);
  /* An item without a channel is refused by itself. */
  ALLOWED(qy_server_publish_batch, results, QY_OK, server, &item, 1, &published);
  CHECK(published.status == QY_ERR_INVALID_ARGUMENT);
  REFUSED(qy_server_counters_get, server, NULL, &server_counters);
  CHECK(server_counters.published == 0);
  REFUSED(qy_server_counters_get, out, server, NULL);
  REFUSED(qy_server_stop, server, NULL, 0);
  HARMLESS(qy_server_free, server, qy_server_free(NULL));
  REFUSED(qy_server_last_error, server, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_server_last_error, buf, server, NULL, 1, &needed);
  ALLOWED(qy_server_last_error, needed, QY_OK, server, buf, sizeof buf, NULL);
}

static gate joined = GATE;

static void on_packet(qy_connection *from, uint32_t protocol, const void *data, size_t len,
                      qy_reply *to, void *user_data) {
  (void)data, (void)len, (void)user_data;
  if (protocol != 1) return;
  CHECK_OK(qy_connection_clone(from, &connection));
  CHECK_OK(qy_reply_clone(to, &reply));
  gate_pass(&joined);
}

static void on_packet_event(qy_connection *of, const qy_packet_event *event, void *user_data) {
  (void)of, (void)event, (void)user_data;
}

static void on_pull(qy_connection *of, uint32_t channel, void *user_data) {
  (void)of, (void)channel, (void)user_data;
}

static void on_response(qy_status status, const qy_response *got, void *user_data) {
  (void)status, (void)got, (void)user_data;
}

static void packets(void) {
  drops = 0;
  REFUSED(qy_server_on_packet, server, NULL, 2, QY_DELIVER_THREAD, on_packet, buf, on_drop);
  CHECK(drops == 1);
  ALLOWED(qy_server_on_packet, drop, QY_OK, server, 2, QY_DELIVER_THREAD, on_packet, buf, NULL);
  ALLOWED(qy_server_on_packet, user_data, QY_OK, server, 2, QY_DELIVER_THREAD, on_packet, NULL, on_drop);
  ALLOWED(qy_server_on_packet, callback, QY_OK, server, 2, QY_DELIVER_THREAD, NULL, buf, on_drop);
  CHECK(drops == 3);
  CHECK_STATUS(qy_server_on_packet(server, 2, 2, on_packet, buf, on_drop), QY_ERR_INVALID_ARGUMENT);
  CHECK(drops == 4);
  REFUSED(qy_server_on_packet_event, server, NULL, QY_DELIVER_THREAD, on_packet_event, buf, on_drop);
  ALLOWED(qy_server_on_packet_event, drop, QY_OK, server, QY_DELIVER_THREAD, on_packet_event, buf, NULL);
  ALLOWED(qy_server_on_packet_event, user_data, QY_OK, server, QY_DELIVER_THREAD, on_packet_event, NULL,
          on_drop);
  ALLOWED(qy_server_on_packet_event, callback, QY_OK, server, QY_DELIVER_THREAD, NULL, buf, on_drop);
  CHECK(drops == 7);
  REFUSED(qy_server_on_pull, server, NULL, 1, on_pull, buf, on_drop);
  ALLOWED(qy_server_on_pull, drop, QY_OK, server, 1, on_pull, buf, NULL);
  ALLOWED(qy_server_on_pull, user_data, QY_OK, server, 1, on_pull, NULL, on_drop);
  ALLOWED(qy_server_on_pull, callback, QY_OK, server, 1, NULL, buf, on_drop);
  CHECK(drops == 10);
  REFUSED(qy_server_packet_counters, server, NULL, &packet_counters);
  CHECK(packet_counters.received == 0);
  REFUSED(qy_server_packet_counters, out, server, NULL);

  /* A connection and a request of its own. */
  CHECK_OK(qy_server_on_packet(server, 1, QY_DELIVER_INLINE, on_packet, NULL, NULL));
  int fd = raw_join(server, "uid=1");
  raw_packet(fd, 1, 2, "");
  CHECK(gate_reached(&joined, 1));
  REFUSED(qy_connection_clone, connection, NULL, &new_connection);
  CHECK(new_connection == NULL);
  REFUSED(qy_connection_clone, out, connection, NULL);
  REFUSED(qy_connection_id, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_connection_id, buf, QY_ERR_BUFFER_TOO_SMALL, connection, NULL, 0, &needed);
  REFUSED(qy_connection_id, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_id, needed, QY_OK, connection, buf, sizeof buf, NULL);
  REFUSED(qy_connection_packet_identity, connection, NULL, "uid", buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  REFUSED(qy_connection_packet_identity, key, connection, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_connection_packet_identity, buf, connection, "uid", NULL, 1, &needed);
  ALLOWED(qy_connection_packet_identity, needed, QY_OK, connection, "uid", buf, sizeof buf, NULL);
  REFUSED(qy_connection_send_packet, connection, NULL, 5, "x", 1);
  REFUSED(qy_connection_send_packet, data, connection, 5, NULL, 1);
  ALLOWED(qy_connection_send_packet, data, QY_OK, connection, 5, NULL, 0);
  REFUSED(qy_connection_request, connection, NULL, 5, "x", 1, 0, &response);
  CHECK(response == NULL);
  REFUSED(qy_connection_request, data, connection, 5, NULL, 1, 0, &response);
  REFUSED(qy_connection_request, out, connection, 5, "x", 1, 0, NULL);
  drops = 0;
  REFUSED(qy_connection_request_async, connection, NULL, 5, "x", 1, 0, QY_DELIVER_THREAD, on_response, buf,
          on_drop);
  REFUSED(qy_connection_request_async, data, connection, 5, NULL, 1, 0, QY_DELIVER_THREAD, on_response, buf,
          on_drop);
  REFUSED(qy_connection_request_async, callback, connection, 5, "x", 1, 0, QY_DELIVER_THREAD, NULL, buf,
          on_drop);
  CHECK(drops == 3);
  ALLOWED(qy_connection_request_async, user_data, QY_OK, connection, 5, "x", 1, 0, QY_DELIVER_THREAD,
          on_response, NULL, NULL);
  ALLOWED(qy_connection_request_async, drop, QY_OK, connection, 5, "x", 1, 0, QY_DELIVER_THREAD, on_response,
          buf, NULL);
  REFUSED(qy_connection_signal_pull, connection, NULL, 1);
  REFUSED(qy_reply_clone, reply, NULL, &new_reply);
  CHECK(new_reply == NULL);
  REFUSED(qy_reply_clone, out, reply, NULL);
  REFUSED(qy_reply_send, reply, NULL, 1, "x", 1);
  REFUSED(qy_reply_send, data, reply, 1, NULL, 1);
  HARMLESS(qy_reply_free, reply, qy_reply_free(NULL));
  HARMLESS(qy_response_protocol, response, qy_response_protocol(NULL));
  HARMLESS(qy_response_data, response, qy_response_data(NULL));
  HARMLESS(qy_response_len, response, qy_response_len(NULL));
  HARMLESS(qy_response_free, response, qy_response_free(NULL));
  HARMLESS(qy_connection_free, connection, qy_connection_free(NULL));
  qy_reply_free(reply);
  qy_connection_free(connection);
  close(fd);
}

static void on_rpc(qy_connection *from, const char *method, const char *params, size_t len,
                   qy_rpc_reply *to, void *user_data) {
  (void)from, (void)method, (void)params, (void)len, (void)user_data;
  CHECK_OK(qy_rpc_reply_clone(to, &rpc_reply));
  gate_pass(&joined);
}

static void calls(void) {
  unsigned long before = gate_count(&joined);
  drops = 0;
  REFUSED(qy_server_on_rpc, server, NULL, "m", QY_DELIVER_THREAD, on_rpc, buf, on_drop);
  REFUSED(qy_server_on_rpc, method, server, NULL, QY_DELIVER_THREAD, on_rpc, buf, on_drop);
  CHECK(drops == 2);
  ALLOWED(qy_server_on_rpc, drop, QY_OK, server, "m", QY_DELIVER_THREAD, on_rpc, buf, NULL);
  ALLOWED(qy_server_on_rpc, user_data, QY_OK, server, "m", QY_DELIVER_THREAD, on_rpc, NULL, on_drop);
  ALLOWED(qy_server_on_rpc, callback, QY_OK, server, "m", QY_DELIVER_THREAD, NULL, buf, on_drop);
  CHECK(drops == 4);
  CHECK_STATUS(qy_server_on_rpc(server, "m", 2, on_rpc, buf, on_drop), QY_ERR_INVALID_ARGUMENT);
  CHECK(drops == 5);

  CHECK_OK(qy_server_on_rpc(server, "m", QY_DELIVER_INLINE, on_rpc, NULL, NULL));
  int fd = raw_session(server);
  raw_say(fd, "{\"type\":\"request\",\"action\":\"rpc\",\"payload\":{\"method\":\"m\"}}");
  CHECK(gate_reached(&joined, before + 1));
  REFUSED(qy_rpc_reply_clone, reply, NULL, &new_rpc_reply);
  CHECK(new_rpc_reply == NULL);
  REFUSED(qy_rpc_reply_clone, out, rpc_reply, NULL);
  REFUSED(qy_rpc_reply_result, reply, NULL, "1", 1);
  REFUSED(qy_rpc_reply_result, json, rpc_reply, NULL, 1);
  REFUSED(qy_rpc_reply_error, reply, NULL, "code", "message");
  REFUSED(qy_rpc_reply_error, code, rpc_reply, NULL, "message");
  REFUSED(qy_rpc_reply_error, message, rpc_reply, "code", NULL);
  HARMLESS(qy_rpc_reply_free, reply, qy_rpc_reply_free(NULL));
  qy_rpc_reply_free(rpc_reply);
  close(fd);
}

static void clients(void) {
  REFUSED(qy_client_open, host, NULL, NULL, &new_client);
  CHECK(new_client == NULL);
  ALLOWED(qy_client_open, options, QY_OK, host, NULL, &new_client);
  qy_client_free(new_client);
  REFUSED(qy_client_open, out, host, NULL, NULL);
  REFUSED(qy_client_wait_connected, client, NULL, 0);
  REFUSED(qy_client_state, client, NULL, &state);
  CHECK(state == 0);
  REFUSED(qy_client_state, out, client, NULL);
  REFUSED(qy_client_counters_get, client, NULL, &client_counters);
  CHECK(client_counters.received == 0);
  REFUSED(qy_client_counters_get, out, client, NULL);
  REFUSED(qy_client_create_channel, client, NULL, "x");
  REFUSED(qy_client_create_channel, name, client, NULL);
  qy_options *channel_options = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_CHANNEL, &channel_options));
  REFUSED(qy_client_create_channel_with, client, NULL, "x", channel_options, "");
  REFUSED(qy_client_create_channel_with, name, client, NULL, channel_options, "");
  REFUSED(qy_client_create_channel_with, options, client, "x", NULL, "");
  ALLOWED(qy_client_create_channel_with, token, QY_OK, client, "x with", channel_options, NULL);
  REFUSED(qy_server_create_channel_with, server, NULL, "x", channel_options);
  REFUSED(qy_server_create_channel_with, name, server, NULL, channel_options);
  REFUSED(qy_server_create_channel_with, options, server, "x", NULL);
  qy_options_free(channel_options);
  REFUSED(qy_client_delete_channel, client, NULL, "x");
  REFUSED(qy_client_delete_channel, name, client, NULL);
  REFUSED(qy_client_publish, client, NULL, "test", QY_TEXT, "x", 1, &at);
  REFUSED(qy_client_publish, channel, client, NULL, QY_TEXT, "x", 1, &at);
  REFUSED(qy_client_publish, data, client, "test", QY_TEXT, NULL, 1, &at);
  ALLOWED(qy_client_publish, out, QY_OK, client, "test", QY_TEXT, "x", 1, NULL);
  REFUSED(qy_client_publish_with, client, NULL, "test", QY_TEXT, "x", 1, NULL, &published);
  CHECK(published.offset == 0 && published.status == 0 && published.struct_size == sizeof published);
  REFUSED(qy_client_publish_with, channel, client, NULL, QY_TEXT, "x", 1, NULL, &published);
  REFUSED(qy_client_publish_with, data, client, "test", QY_TEXT, NULL, 1, NULL, &published);
  ALLOWED(qy_client_publish_with, data, QY_OK, client, "test", QY_TEXT, NULL, 0, NULL, &published);
  ALLOWED(qy_client_publish_with, options, QY_OK, client, "test", QY_TEXT, "x", 1, NULL, &published);
  ALLOWED(qy_client_publish_with, out, QY_OK, client, "test", QY_TEXT, "x", 1, NULL, NULL);
  qy_publish_item item = {.struct_size = sizeof item, .kind = QY_TEXT};
  REFUSED(qy_client_publish_batch, client, NULL, &item, 1, &published);
  REFUSED(qy_client_publish_batch, items, client, NULL, 1, &published);
  REFUSED(qy_client_publish_batch, results, client, &item, 1, NULL);
  ALLOWED(qy_client_publish_batch, items, QY_OK, client, NULL, 0, &published);
  /* A message without a channel is refused in its result. */
  ALLOWED(qy_client_publish_batch, results, QY_OK, client, &item, 1, &published);
  CHECK(published.status == QY_ERR_INVALID_ARGUMENT);
  REFUSED(qy_client_publish_nowait, client, NULL, "test", QY_TEXT, "x", 1);
  REFUSED(qy_client_publish_nowait, channel, client, NULL, QY_TEXT, "x", 1);
  REFUSED(qy_client_publish_nowait, data, client, "test", QY_TEXT, NULL, 1);
  REFUSED(qy_client_last_error, client, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_client_last_error, buf, client, NULL, 1, &needed);
  ALLOWED(qy_client_last_error, needed, QY_OK, client, buf, sizeof buf, NULL);
  REFUSED(qy_client_close, client, NULL);
  HARMLESS(qy_client_free, client, qy_client_free(NULL));
}

static void subscriptions(void) {
  drops = 0;
  REFUSED(qy_client_subscribe, client, NULL, "test", 0, on_event, buf, on_drop, &new_sub);
  CHECK(new_sub == NULL && drops == 1);
  REFUSED(qy_client_subscribe, channel, client, NULL, 0, on_event, buf, on_drop, &new_sub);
  REFUSED(qy_client_subscribe, out, client, "test", 0, on_event, buf, on_drop, NULL);
  CHECK(drops == 3);
  ALLOWED(qy_client_subscribe, callback, QY_OK, client, "test", 0, NULL, buf, on_drop, &new_sub);
  CHECK(drops == 4);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe, user_data, QY_OK, client, "test", 0, on_event, NULL, on_drop,
          &new_sub);
  CHECK_OK(qy_subscription_close_wait(new_sub, PATIENCE_MS));
  CHECK(drops == 5);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe, drop, QY_OK, client, "test", 0, on_event, buf, NULL, &new_sub);
  qy_subscription_free(new_sub);
  dirty_all();
  CHECK_STATUS(qy_client_subscribe(client, "test", QY_DELIVER_INLINE, NULL, NULL, NULL, &new_sub),
               QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_client_subscribe(client, "test", 2, on_event, NULL, NULL, &new_sub),
               QY_ERR_INVALID_ARGUMENT);

  qy_position since = {.struct_size = sizeof since, .epoch = 1, .offset = 1};
  drops = 0;
  REFUSED(qy_client_subscribe_since, client, NULL, "test", &since, 0, on_event, buf, on_drop,
          &new_sub);
  CHECK(new_sub == NULL && drops == 1);
  REFUSED(qy_client_subscribe_since, channel, client, NULL, &since, 0, on_event, buf, on_drop,
          &new_sub);
  REFUSED(qy_client_subscribe_since, since, client, "test", NULL, 0, on_event, buf, on_drop,
          &new_sub);
  REFUSED(qy_client_subscribe_since, out, client, "test", &since, 0, on_event, buf, on_drop, NULL);
  CHECK(drops == 4);
  ALLOWED(qy_client_subscribe_since, callback, QY_OK, client, "test", &since, 0, NULL, buf, on_drop,
          &new_sub);
  CHECK(drops == 5);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe_since, user_data, QY_OK, client, "test", &since, 0, on_event, NULL,
          on_drop, &new_sub);
  CHECK_OK(qy_subscription_close_wait(new_sub, PATIENCE_MS));
  CHECK(drops == 6);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe_since, drop, QY_OK, client, "test", &since, 0, on_event, buf, NULL,
          &new_sub);
  qy_subscription_free(new_sub);
  since.struct_size = 1;
  CHECK_STATUS(qy_client_subscribe_since(client, "test", &since, 0, NULL, NULL, NULL, &new_sub),
               QY_ERR_INVALID_ARGUMENT);

  drops = 0;
  REFUSED(qy_client_subscribe_pattern, client, NULL, "test.*", 0, on_event, buf, on_drop, &new_sub);
  CHECK(new_sub == NULL && drops == 1);
  REFUSED(qy_client_subscribe_pattern, pattern, client, NULL, 0, on_event, buf, on_drop, &new_sub);
  REFUSED(qy_client_subscribe_pattern, out, client, "test.*", 0, on_event, buf, on_drop, NULL);
  CHECK(drops == 3);
  ALLOWED(qy_client_subscribe_pattern, callback, QY_OK, client, "test.*", 0, NULL, buf, on_drop, &new_sub);
  CHECK(drops == 4);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe_pattern, user_data, QY_OK, client, "test.*", 0, on_event, NULL, on_drop, &new_sub);
  CHECK_OK(qy_subscription_close_wait(new_sub, PATIENCE_MS));
  CHECK(drops == 5);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe_pattern, drop, QY_OK, client, "test.*", 0, on_event, buf, NULL, &new_sub);
  qy_subscription_free(new_sub);

  drops = 0;
  REFUSED(qy_client_subscribe_presence, client, NULL, "there", 0, on_event, buf, on_drop, &new_sub);
  CHECK(new_sub == NULL && drops == 1);
  REFUSED(qy_client_subscribe_presence, channel, client, NULL, 0, on_event, buf, on_drop, &new_sub);
  REFUSED(qy_client_subscribe_presence, out, client, "there", 0, on_event, buf, on_drop, NULL);
  CHECK(drops == 3);
  ALLOWED(qy_client_subscribe_presence, callback, QY_OK, client, "there", 0, NULL, buf, on_drop, &new_sub);
  CHECK(drops == 4);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe_presence, user_data, QY_OK, client, "there", 0, on_event, NULL, on_drop, &new_sub);
  CHECK_OK(qy_subscription_close_wait(new_sub, PATIENCE_MS));
  CHECK(drops == 5);
  qy_subscription_free(new_sub);
  ALLOWED(qy_client_subscribe_presence, drop, QY_OK, client, "there", 0, on_event, buf, NULL, &new_sub);
  qy_subscription_free(new_sub);

  REFUSED(qy_client_presence, client, NULL, "there", "a", 0, &there);
  CHECK(there == NULL);
  REFUSED(qy_client_presence, channel, client, NULL, "a", 0, &there);
  REFUSED(qy_client_presence, out, client, "there", "a", 0, NULL);
  ALLOWED(qy_client_presence, after, QY_OK, client, "there", NULL, 0, &there);
  qy_presence_free(there);
  REFUSED(qy_server_presence, server, NULL, "there", "a", 0, &there);
  CHECK(there == NULL);
  REFUSED(qy_server_presence, channel, server, NULL, "a", 0, &there);
  REFUSED(qy_server_presence, out, server, "there", "a", 0, NULL);
  ALLOWED(qy_server_presence, after, QY_OK, server, "there", NULL, 0, &there);
  qy_presence *who = there;
  REFUSED(qy_presence_info_get, presence, NULL, &there_info);
  REFUSED(qy_presence_info_get, out, who, NULL);
  qy_presence_free(who);
  HARMLESS(qy_presence_count, presence, qy_presence_count(NULL));
  HARMLESS(qy_presence_members, presence, qy_presence_members(NULL));
  HARMLESS(qy_presence_free, presence, qy_presence_free(NULL));

  REFUSED(qy_client_history, client, NULL, "test", NULL, &page);
  CHECK(page == NULL);
  REFUSED(qy_client_history, channel, client, NULL, NULL, &page);
  REFUSED(qy_client_history, out, client, "test", NULL, NULL);
  ALLOWED(qy_client_history, range, QY_OK, client, "test", NULL, &page);
  CHECK(qy_history_count(page) == 0 && qy_history_publications(page) == NULL);
  qy_history *empty = page;
  REFUSED(qy_history_info_get, history, NULL, &page_info);
  REFUSED(qy_history_info_get, out, empty, NULL);
  qy_history_free(empty);
  REFUSED(qy_server_history, server, NULL, "test", NULL, &page);
  CHECK(page == NULL);
  REFUSED(qy_server_history, channel, server, NULL, NULL, &page);
  REFUSED(qy_server_history, out, server, "test", NULL, NULL);
  ALLOWED(qy_server_history, range, QY_OK, server, "test", NULL, &page);
  qy_history_free(page);
  HARMLESS(qy_history_count, history, qy_history_count(NULL));
  HARMLESS(qy_history_publications, history, qy_history_publications(NULL));
  HARMLESS(qy_history_free, history, qy_history_free(NULL));

  REFUSED(qy_subscription_recv, subscription, NULL, 0, &batch);
  CHECK(batch == NULL);
  REFUSED(qy_subscription_recv, out, sub, 0, NULL);
  REFUSED(qy_subscription_recv_many, subscription, NULL, 1, 0, &batch);
  CHECK(batch == NULL);
  REFUSED(qy_subscription_recv_many, out, sub, 1, 0, NULL);
  HARMLESS(qy_batch_count, batch, qy_batch_count(NULL));
  HARMLESS(qy_batch_events, batch, qy_batch_events(NULL));
  HARMLESS(qy_batch_free, batch, qy_batch_free(NULL));
  REFUSED(qy_subscription_fd, subscription, NULL, &fd);
  CHECK(fd == -1);
  REFUSED(qy_subscription_fd, out, sub, NULL);
  REFUSED(qy_subscription_dropped, subscription, NULL, &dropped);
  CHECK(dropped == 0);
  REFUSED(qy_subscription_dropped, out, sub, NULL);
  REFUSED(qy_subscription_last_error, subscription, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_subscription_last_error, buf, sub, NULL, 1, &needed);
  ALLOWED(qy_subscription_last_error, needed, QY_OK, sub, buf, sizeof buf, NULL);
  REFUSED(qy_subscription_close, subscription, NULL);
  REFUSED(qy_subscription_close_wait, subscription, NULL, 0);
  HARMLESS(qy_subscription_free, subscription, qy_subscription_free(NULL));
}

static void on_socket(const qy_socket_event *event, void *user_data) {
  (void)event, (void)user_data;
}

static void sockets(void) {
  qy_socket_callbacks calls = {0};
  calls.struct_size = sizeof calls;
  calls.message = on_socket;
  drops = 0;
  REFUSED(qy_socket_open, url, NULL, NULL, 0, &calls, buf, on_drop, &new_socket);
  CHECK(new_socket == NULL && drops == 1);
  REFUSED(qy_socket_open, out, url, NULL, 0, &calls, buf, on_drop, NULL);
  CHECK(drops == 2);
  ALLOWED(qy_socket_open, options, QY_OK, url, NULL, 0, &calls, buf, on_drop, &new_socket);
  CHECK_OK(qy_socket_close_wait(new_socket, PATIENCE_MS));
  CHECK(drops == 3);
  qy_socket_free(new_socket);
  ALLOWED(qy_socket_open, callbacks, QY_OK, url, NULL, 0, NULL, buf, on_drop, &new_socket);
  CHECK(drops == 4);
  qy_socket_free(new_socket);
  ALLOWED(qy_socket_open, user_data, QY_OK, url, NULL, 0, &calls, NULL, on_drop, &new_socket);
  qy_socket_free(new_socket);
  ALLOWED(qy_socket_open, drop, QY_OK, url, NULL, 0, &calls, buf, NULL, &new_socket);
  qy_socket_free(new_socket);
  dirty_all();
  CHECK_STATUS(qy_socket_open(url, NULL, 2, &calls, NULL, NULL, &new_socket),
               QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_socket_open(url, NULL, QY_DELIVER_INLINE, NULL, NULL, NULL, &new_socket),
               QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_socket_open(url, options, 0, &calls, NULL, NULL, &new_socket),
               QY_ERR_INVALID_ARGUMENT);
  check_error("QY_OPTIONS_SOCKET");
  calls.struct_size = 3;
  CHECK_STATUS(qy_socket_open(url, NULL, 0, &calls, NULL, NULL, &new_socket),
               QY_ERR_INVALID_ARGUMENT);
  check_error("struct_size");

  REFUSED(qy_socket_connect, socket, NULL, 0);
  REFUSED(qy_socket_disconnect, socket, NULL, 1000, "");
  ALLOWED(qy_socket_disconnect, reason, QY_OK, sock, 1000, NULL);
  CHECK_STATUS(qy_socket_disconnect(sock, 70000, NULL), QY_ERR_INVALID_ARGUMENT);
  REFUSED(qy_socket_state, socket, NULL, &state);
  CHECK(state == 0);
  REFUSED(qy_socket_state, out, sock, NULL);
  REFUSED(qy_socket_counters_get, socket, NULL, &socket_counters);
  CHECK(socket_counters.messages_in == 0);
  REFUSED(qy_socket_counters_get, out, sock, NULL);
  CHECK_OK(qy_socket_connect(sock, PATIENCE_MS));
  REFUSED(qy_socket_send, socket, NULL, QY_TEXT, "x", 1);
  REFUSED(qy_socket_send, data, sock, QY_TEXT, NULL, 1);
  ALLOWED(qy_socket_send, data, QY_OK, sock, QY_TEXT, NULL, 0);
  CHECK_STATUS(qy_socket_send(sock, 0, "x", 1), QY_ERR_INVALID_ARGUMENT);
  REFUSED(qy_socket_send_json, socket, NULL, "1", 1);
  REFUSED(qy_socket_send_json, json, sock, NULL, 1);
  REFUSED(qy_socket_ping, socket, NULL, "x", 1);
  REFUSED(qy_socket_ping, data, sock, NULL, 1);
  ALLOWED(qy_socket_ping, data, QY_OK, sock, NULL, 0);
  REFUSED(qy_socket_recv, socket, NULL, 1, 0, &socket_batch);
  CHECK(socket_batch == NULL);
  REFUSED(qy_socket_recv, out, sock, 1, 0, NULL);
  dirty_all();
  CHECK_STATUS(qy_socket_recv(sock, 0, 0, &socket_batch), QY_ERR_INVALID_ARGUMENT);
  CHECK(socket_batch == NULL);
  HARMLESS(qy_socket_batch_count, batch, qy_socket_batch_count(NULL));
  HARMLESS(qy_socket_batch_events, batch, qy_socket_batch_events(NULL));
  HARMLESS(qy_socket_batch_free, batch, qy_socket_batch_free(NULL));
  REFUSED(qy_socket_fd, socket, NULL, &fd);
  CHECK(fd == -1);
  REFUSED(qy_socket_fd, out, sock, NULL);
  REFUSED(qy_socket_last_error, socket, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_socket_last_error, buf, sock, NULL, 1, &needed);
  ALLOWED(qy_socket_last_error, needed, QY_OK, sock, buf, sizeof buf, NULL);
  REFUSED(qy_socket_close, socket, NULL);
  REFUSED(qy_socket_close_wait, socket, NULL, 0);
  HARMLESS(qy_socket_free, socket, qy_socket_free(NULL));
}

/* What a callback is lent is cloned, and used here. */
static char large[256];
static gate lent = GATE;
static qy_upgrade *upgrade, *new_upgrade;
static qy_connection *connection, *new_connection;
static qy_socket *client_socket;

static void on_connect(qy_upgrade *lent_upgrade, void *user_data) {
  (void)user_data;
  CHECK_OK(qy_upgrade_clone(lent_upgrade, &upgrade));
  gate_pass(&lent);
}

static void on_open(qy_connection *lent_connection, void *user_data) {
  (void)user_data;
  CHECK_OK(qy_connection_clone(lent_connection, &connection));
  gate_pass(&lent);
}

static void on_header(const char *name, size_t name_len, const char *value, size_t value_len,
                      void *user_data) {
  (void)name, (void)name_len, (void)value, (void)value_len, (void)user_data;
}

static void on_name(const char *name, size_t len, void *user_data) {
  (void)name, (void)len, (void)user_data;
}

static void on_connection(qy_connection *one, void *user_data) { (void)one, (void)user_data; }

static int32_t anybody(qy_connection *one, void *user_data) {
  (void)one, (void)user_data;
  return 1;
}

static void on_user(const char *user, size_t len, uint64_t connections, void *user_data) {
  (void)user, (void)len, (void)connections, (void)user_data;
}

static void endpoints(void) {
  qy_endpoint_callbacks calls = {0};
  calls.struct_size = sizeof calls;
  calls.connect = on_connect;
  calls.open = on_open;
  drops = 0;
  REFUSED(qy_server_handle, server, NULL, "/h", NULL, &calls, 0, buf, on_drop);
  REFUSED(qy_server_handle, path, server, NULL, NULL, &calls, 0, buf, on_drop);
  REFUSED(qy_server_handle, callbacks, server, "/h", NULL, NULL, 0, buf, on_drop);
  CHECK(drops == 3);
  dirty_all();
  CHECK_STATUS(qy_server_handle(server, "/h", NULL, &calls, 2, buf, on_drop),
               QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_server_handle(server, "/h", options, &calls, 0, buf, on_drop),
               QY_ERR_INVALID_ARGUMENT);
  check_error("QY_OPTIONS_ENDPOINT");
  CHECK_STATUS(qy_server_handle(server, "h", NULL, &calls, 0, buf, on_drop),
               QY_ERR_INVALID_ARGUMENT);
  CHECK(drops == 6);
  ALLOWED(qy_server_handle, drop, QY_OK, server, "/h", NULL, &calls, 0, buf, NULL);
  CHECK_STATUS(qy_server_handle(server, "/h", NULL, &calls, 0, buf, on_drop), QY_ERR_EXISTS);
  CHECK(drops == 7);
  REFUSED(qy_server_unhandle, server, NULL, "/h");
  REFUSED(qy_server_unhandle, path, server, NULL);
  REFUSED(qy_server_unhandle_wait, server, NULL, "/h", 0);
  REFUSED(qy_server_unhandle_wait, path, server, NULL, 0);
  CHECK_OK(qy_server_unhandle_wait(server, "/h", PATIENCE_MS));
  ALLOWED(qy_server_handle, options, QY_OK, server, "/h", NULL, &calls, 0, buf, on_drop);
  CHECK_OK(qy_server_unhandle_wait(server, "/h", PATIENCE_MS));
  CHECK(drops == 8);
  CHECK_STATUS(qy_server_unhandle(server, "/h"), QY_ERR_NOT_FOUND);
  ALLOWED(qy_server_handle, user_data, QY_OK, server, "/h", NULL, &calls, 0, NULL, on_drop);

  snprintf(url, sizeof url, "ws://%s/h?a", host);
  CHECK_OK(qy_socket_open(url, NULL, QY_DELIVER_THREAD, NULL, NULL, NULL, &client_socket));
  qy_socket_connect(client_socket, 0);
  CHECK(gate_reached(&lent, 1));
  REFUSED(qy_upgrade_clone, upgrade, NULL, &new_upgrade);
  CHECK(new_upgrade == NULL);
  REFUSED(qy_upgrade_clone, out, upgrade, NULL);
  REFUSED(qy_upgrade_remote, upgrade, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_upgrade_remote, buf, QY_ERR_BUFFER_TOO_SMALL, upgrade, NULL, 0, &needed);
  REFUSED(qy_upgrade_remote, buf, upgrade, NULL, 1, &needed);
  ALLOWED(qy_upgrade_remote, needed, QY_OK, upgrade, large, sizeof large, NULL);
  REFUSED(qy_upgrade_path, upgrade, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_upgrade_path, buf, QY_ERR_BUFFER_TOO_SMALL, upgrade, NULL, 0, &needed);
  REFUSED(qy_upgrade_path, buf, upgrade, NULL, 1, &needed);
  ALLOWED(qy_upgrade_path, needed, QY_OK, upgrade, large, sizeof large, NULL);
  REFUSED(qy_upgrade_query, upgrade, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_upgrade_query, buf, QY_ERR_BUFFER_TOO_SMALL, upgrade, NULL, 0, &needed);
  REFUSED(qy_upgrade_query, buf, upgrade, NULL, 1, &needed);
  ALLOWED(qy_upgrade_query, needed, QY_OK, upgrade, large, sizeof large, NULL);
  REFUSED(qy_upgrade_last_error, upgrade, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_upgrade_last_error, buf, QY_ERR_BUFFER_TOO_SMALL, upgrade, NULL, 0, &needed);
  REFUSED(qy_upgrade_last_error, buf, upgrade, NULL, 1, &needed);
  ALLOWED(qy_upgrade_last_error, needed, QY_OK, upgrade, large, sizeof large, NULL);
  REFUSED(qy_upgrade_header, upgrade, NULL, "host", buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  REFUSED(qy_upgrade_header, name, upgrade, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_upgrade_header, buf, upgrade, "host", NULL, 1, &needed);
  ALLOWED(qy_upgrade_header, needed, QY_OK, upgrade, "host", buf, sizeof buf, NULL);
  REFUSED(qy_upgrade_list_headers, upgrade, NULL, on_header, NULL);
  REFUSED(qy_upgrade_list_headers, visitor, upgrade, NULL, NULL);
  ALLOWED(qy_upgrade_list_headers, user_data, QY_OK, upgrade, on_header, NULL);
  REFUSED(qy_upgrade_refuse, upgrade, NULL, 400, "no");
  REFUSED(qy_upgrade_accept, upgrade, NULL, NULL, NULL);
  ALLOWED(qy_upgrade_accept, user, QY_OK, upgrade, "id", NULL);
  ALLOWED(qy_upgrade_accept, id, QY_ERR_CLOSED, upgrade, NULL, "ann");
  ALLOWED(qy_upgrade_refuse, text, QY_ERR_CLOSED, upgrade, 400, NULL);
  HARMLESS(qy_upgrade_free, upgrade, qy_upgrade_free(NULL));
  qy_upgrade_free(upgrade);
  CHECK(gate_reached(&lent, 2));
}

static void connections(void) {
  int64_t sum;
  qy_connection_info numbers;
  REFUSED(qy_connection_clone, connection, NULL, &new_connection);
  CHECK(new_connection == NULL);
  REFUSED(qy_connection_clone, out, connection, NULL);
  REFUSED(qy_connection_id, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_connection_id, buf, QY_ERR_BUFFER_TOO_SMALL, connection, NULL, 0, &needed);
  REFUSED(qy_connection_id, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_id, needed, QY_OK, connection, large, sizeof large, NULL);
  REFUSED(qy_connection_remote, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_connection_remote, buf, QY_ERR_BUFFER_TOO_SMALL, connection, NULL, 0, &needed);
  REFUSED(qy_connection_remote, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_remote, needed, QY_OK, connection, large, sizeof large, NULL);
  REFUSED(qy_connection_path, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_connection_path, buf, QY_ERR_BUFFER_TOO_SMALL, connection, NULL, 0, &needed);
  REFUSED(qy_connection_path, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_path, needed, QY_OK, connection, large, sizeof large, NULL);
  REFUSED(qy_connection_query, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_connection_query, buf, QY_ERR_BUFFER_TOO_SMALL, connection, NULL, 0, &needed);
  REFUSED(qy_connection_query, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_query, needed, QY_OK, connection, large, sizeof large, NULL);
  REFUSED(qy_connection_last_error, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  ALLOWED(qy_connection_last_error, buf, QY_ERR_BUFFER_TOO_SMALL, connection, NULL, 0, &needed);
  REFUSED(qy_connection_last_error, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_last_error, needed, QY_OK, connection, large, sizeof large, NULL);
  REFUSED(qy_connection_header, connection, NULL, "host", buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  REFUSED(qy_connection_header, name, connection, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_connection_header, buf, connection, "host", NULL, 1, &needed);
  ALLOWED(qy_connection_header, needed, QY_OK, connection, "host", buf, sizeof buf, NULL);
  REFUSED(qy_connection_list_headers, connection, NULL, on_header, NULL);
  REFUSED(qy_connection_list_headers, visitor, connection, NULL, NULL);
  ALLOWED(qy_connection_list_headers, user_data, QY_OK, connection, on_header, NULL);
  dirty(&numbers, sizeof numbers);
  REFUSED(qy_connection_info_get, connection, NULL, &numbers);
  CHECK(numbers.serial == 0 && numbers.connected_ms == 0);
  REFUSED(qy_connection_info_get, out, connection, NULL);
  REFUSED(qy_connection_is_open, connection, NULL, &state);
  CHECK(state == 0);
  REFUSED(qy_connection_is_open, out, connection, NULL);
  REFUSED(qy_connection_send, connection, NULL, QY_TEXT, "x", 1);
  REFUSED(qy_connection_send, data, connection, QY_TEXT, NULL, 1);
  ALLOWED(qy_connection_send, data, QY_OK, connection, QY_BINARY, NULL, 0);
  CHECK_STATUS(qy_connection_send(connection, 0, "x", 1), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_connection_send(connection, QY_JSON, "{", 1), QY_ERR_INVALID_ARGUMENT);
  check_error("qy_connection_send: 'data' is not JSON");

  REFUSED(qy_connection_bind, connection, NULL, "ann");
  REFUSED(qy_connection_bind, user, connection, NULL);
  CHECK_OK(qy_connection_bind(connection, "ann"));
  REFUSED(qy_connection_user, connection, NULL, buf, sizeof buf, &needed);
  CHECK(buf[0] == 0 && needed == 0);
  REFUSED(qy_connection_user, buf, connection, NULL, 1, &needed);
  ALLOWED(qy_connection_user, needed, QY_OK, connection, buf, sizeof buf, NULL);
  REFUSED(qy_connection_unbind, connection, NULL);
  REFUSED(qy_connection_join, connection, NULL, "room", 1);
  REFUSED(qy_connection_join, channel, connection, NULL, 1);
  CHECK_OK(qy_connection_join(connection, "room", 1));
  REFUSED(qy_connection_list_channels, connection, NULL, on_name, NULL);
  REFUSED(qy_connection_list_channels, visitor, connection, NULL, NULL);
  ALLOWED(qy_connection_list_channels, user_data, QY_OK, connection, on_name, NULL);
  REFUSED(qy_connection_leave, connection, NULL, "room");
  REFUSED(qy_connection_leave, channel, connection, NULL);

  REFUSED(qy_connection_set, connection, NULL, "k", "v", 1);
  REFUSED(qy_connection_set, key, connection, NULL, "v", 1);
  REFUSED(qy_connection_set, data, connection, "k", NULL, 1);
  ALLOWED(qy_connection_set, data, QY_OK, connection, "empty", NULL, 0);
  CHECK_OK(qy_connection_set(connection, "k", "v", 1));
  REFUSED(qy_connection_get, connection, NULL, "k", buf, sizeof buf, &needed);
  CHECK(needed == 0);
  REFUSED(qy_connection_get, key, connection, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_connection_get, buf, connection, "k", NULL, 1, &needed);
  ALLOWED(qy_connection_get, buf, QY_ERR_BUFFER_TOO_SMALL, connection, "k", NULL, 0, &needed);
  CHECK(needed == 1);
  ALLOWED(qy_connection_get, needed, QY_OK, connection, "k", buf, sizeof buf, NULL);
  sum = 9;
  REFUSED(qy_connection_increment, connection, NULL, "n", 1, &sum);
  CHECK(sum == 0);
  REFUSED(qy_connection_increment, key, connection, NULL, 1, &sum);
  ALLOWED(qy_connection_increment, out, QY_OK, connection, "n", 1, NULL);
  REFUSED(qy_connection_remove, connection, NULL, "k");
  REFUSED(qy_connection_remove, key, connection, NULL);
}

static void connections_and_users(void) {
  qy_connection_filter filter = {0};
  filter.struct_size = sizeof filter;
  REFUSED(qy_server_is_running, server, NULL, &state);
  CHECK(state == 0);
  REFUSED(qy_server_is_running, out, server, NULL);
  REFUSED(qy_server_find_connection, server, NULL, "id", &new_connection);
  CHECK(new_connection == NULL);
  REFUSED(qy_server_find_connection, id, server, NULL, &new_connection);
  REFUSED(qy_server_find_connection, out, server, "id", NULL);
  REFUSED(qy_server_list_connections, server, NULL, NULL, NULL, 9, on_connection, NULL);
  REFUSED(qy_server_list_connections, visitor, server, NULL, NULL, 9, NULL, NULL);
  ALLOWED(qy_server_list_connections, filter, QY_OK, server, NULL, "", 9, on_connection, buf);
  ALLOWED(qy_server_list_connections, after, QY_OK, server, &filter, NULL, 9, on_connection, buf);
  ALLOWED(qy_server_list_connections, user_data, QY_OK, server, &filter, "", 9, on_connection,
          NULL);
  filter.dialect = QY_DIALECT_STREAM + 1;
  CHECK_STATUS(qy_server_list_connections(server, &filter, NULL, 9, on_connection, NULL),
               QY_ERR_INVALID_ARGUMENT);
  filter.dialect = QY_DIALECT_HOST;
  REFUSED(qy_server_count_connections, server, NULL, NULL, &dropped);
  CHECK(dropped == 0);
  ALLOWED(qy_server_count_connections, filter, QY_OK, server, NULL, &dropped);
  /* The endpoint's, and the one of the client that has patterns. */
  CHECK(dropped == 2);
  REFUSED(qy_server_count_connections, out, server, &filter, NULL);
  REFUSED(qy_server_send_to, server, NULL, "id", QY_TEXT, "x", 1);
  REFUSED(qy_server_send_to, id, server, NULL, QY_TEXT, "x", 1);
  REFUSED(qy_server_send_to, data, server, "id", QY_TEXT, NULL, 1);
  REFUSED(qy_server_send_to_user, server, NULL, "ann", QY_TEXT, "x", 1, &dropped);
  CHECK(dropped == 0);
  REFUSED(qy_server_send_to_user, user, server, NULL, QY_TEXT, "x", 1, &dropped);
  REFUSED(qy_server_send_to_user, data, server, "ann", QY_TEXT, NULL, 1, &dropped);
  ALLOWED(qy_server_send_to_user, out, QY_OK, server, "ann", QY_TEXT, "x", 1, NULL);
  REFUSED(qy_server_broadcast, server, NULL, "/h", QY_TEXT, "x", 1, &dropped);
  CHECK(dropped == 0);
  REFUSED(qy_server_broadcast, data, server, "/h", QY_TEXT, NULL, 1, &dropped);
  ALLOWED(qy_server_broadcast, path, QY_OK, server, NULL, QY_TEXT, "x", 1, &dropped);
  CHECK(dropped == 2);
  ALLOWED(qy_server_broadcast, out, QY_OK, server, "/h", QY_TEXT, "x", 1, NULL);
  REFUSED(qy_server_send_where, server, NULL, NULL, anybody, NULL, QY_TEXT, "x", 1, &dropped);
  CHECK(dropped == 0);
  REFUSED(qy_server_send_where, data, server, &filter, anybody, NULL, QY_TEXT, NULL, 1, &dropped);
  ALLOWED(qy_server_send_where, filter, QY_OK, server, NULL, anybody, buf, QY_TEXT, "x", 1,
          &dropped);
  ALLOWED(qy_server_send_where, predicate, QY_OK, server, &filter, NULL, buf, QY_TEXT, "x", 1,
          &dropped);
  CHECK(dropped == 1);
  ALLOWED(qy_server_send_where, user_data, QY_OK, server, &filter, anybody, NULL, QY_TEXT, "x", 1,
          &dropped);
  ALLOWED(qy_server_send_where, out, QY_OK, server, &filter, anybody, buf, QY_TEXT, "x", 1, NULL);
  REFUSED(qy_server_bind_user, server, NULL, "id", "ann");
  REFUSED(qy_server_bind_user, id, server, NULL, "ann");
  REFUSED(qy_server_bind_user, user, server, "id", NULL);
  REFUSED(qy_server_unbind_user, server, NULL, "id");
  REFUSED(qy_server_unbind_user, id, server, NULL);
  REFUSED(qy_server_list_users, server, NULL, NULL, 9, on_user, NULL);
  ALLOWED(qy_server_list_users, after, QY_OK, server, NULL, 9, on_user, buf);
  REFUSED(qy_server_list_users, visitor, server, "", 9, NULL, NULL);
  ALLOWED(qy_server_list_users, user_data, QY_OK, server, "", 9, on_user, NULL);
  REFUSED(qy_server_count_users, server, NULL, &dropped);
  CHECK(dropped == 0);
  REFUSED(qy_server_count_users, out, server, NULL);
  REFUSED(qy_server_list_members, server, NULL, "room", on_connection, NULL);
  REFUSED(qy_server_list_members, channel, server, NULL, on_connection, NULL);
  REFUSED(qy_server_list_members, visitor, server, "room", NULL, NULL);
  ALLOWED(qy_server_list_members, user_data, QY_OK, server, "room", on_connection, NULL);
  REFUSED(qy_server_close_connection, server, NULL, "id", 1000, "");
  REFUSED(qy_server_close_connection, id, server, NULL, 1000, "");
  ALLOWED(qy_server_close_connection, reason, QY_OK, server, "id", 1000, NULL);
  REFUSED(qy_connection_close, connection, NULL, 1000, "");
  ALLOWED(qy_connection_close, reason, QY_OK, connection, 1000, NULL);
  HARMLESS(qy_connection_free, connection, qy_connection_free(NULL));
  qy_socket_free(client_socket);
}

static void on_incoming(uint32_t protocol, const void *data, size_t len, qy_reply *reply,
                        void *user_data) {
  (void)protocol, (void)data, (void)len, (void)reply, (void)user_data;
}

static void on_happening(const qy_packet_client_event *event, void *user_data) {
  (void)event, (void)user_data;
}

static void on_signal(uint32_t channel, void *user_data) { (void)channel, (void)user_data; }

static void on_answer(qy_status status, const qy_response *response, void *user_data) {
  (void)status, (void)response, (void)user_data;
}

static void packet_clients(void) {
  qy_response *response = NULL;
  qy_packet_identity identity = {0};
  identity.struct_size = sizeof identity;
  identity.uid = "matrix";
  REFUSED(qy_packet_client_open, host, NULL, &identity, NULL, &new_packer);
  CHECK(new_packer == NULL);
  REFUSED(qy_packet_client_open, identity, host, NULL, NULL, &new_packer);
  REFUSED(qy_packet_client_open, out, host, &identity, NULL, NULL);
  ALLOWED(qy_packet_client_open, options, QY_OK, host, &identity, NULL, &packer);
  identity.uid = NULL;
  dirty_all();
  CHECK_STATUS(qy_packet_client_open(host, &identity, NULL, &new_packer), QY_ERR_INVALID_ARGUMENT);
  CHECK(new_packer == NULL);

  drops = 0;
  REFUSED(qy_packet_client_on_packet, client, NULL, 1, 0, on_incoming, buf, on_drop);
  ALLOWED(qy_packet_client_on_packet, drop, QY_OK, packer, 1, 0, on_incoming, buf, NULL);
  ALLOWED(qy_packet_client_on_packet, user_data, QY_OK, packer, 1, 0, on_incoming, NULL, on_drop);
  ALLOWED(qy_packet_client_on_packet, callback, QY_OK, packer, 1, 0, NULL, buf, on_drop);
  CHECK(drops == 3);
  CHECK_STATUS(qy_packet_client_on_packet(packer, 1, 2, on_incoming, NULL, NULL),
               QY_ERR_INVALID_ARGUMENT);
  REFUSED(qy_packet_client_on_event, client, NULL, 0, on_happening, buf, on_drop);
  ALLOWED(qy_packet_client_on_event, drop, QY_OK, packer, 0, on_happening, buf, NULL);
  ALLOWED(qy_packet_client_on_event, user_data, QY_OK, packer, 0, on_happening, NULL, on_drop);
  ALLOWED(qy_packet_client_on_event, callback, QY_OK, packer, 0, NULL, buf, on_drop);
  REFUSED(qy_packet_client_on_pull, client, NULL, 1, on_signal, buf, on_drop);
  ALLOWED(qy_packet_client_on_pull, drop, QY_OK, packer, 1, on_signal, buf, NULL);
  ALLOWED(qy_packet_client_on_pull, user_data, QY_OK, packer, 1, on_signal, NULL, on_drop);
  ALLOWED(qy_packet_client_on_pull, callback, QY_OK, packer, 1, NULL, buf, on_drop);
  CHECK(drops == 9);

  REFUSED(qy_packet_client_connect, client, NULL, 0);
  CHECK_OK(qy_packet_client_connect(packer, PATIENCE_MS));
  REFUSED(qy_packet_client_state, client, NULL, &state);
  CHECK(state == 0);
  REFUSED(qy_packet_client_state, out, packer, NULL);
  REFUSED(qy_packet_client_counters_get, client, NULL, &packer_counters);
  CHECK(packer_counters.packets_in == 0);
  REFUSED(qy_packet_client_counters_get, out, packer, NULL);
  REFUSED(qy_packet_client_last_error, client, NULL, buf, sizeof buf, &needed);
  REFUSED(qy_packet_client_last_error, buf, packer, NULL, 1, &needed);
  ALLOWED(qy_packet_client_last_error, needed, QY_OK, packer, buf, sizeof buf, NULL);
  REFUSED(qy_packet_client_send, client, NULL, 998, "x", 1);
  REFUSED(qy_packet_client_send, data, packer, 998, NULL, 1);
  ALLOWED(qy_packet_client_send, data, QY_OK, packer, 998, NULL, 0);
  REFUSED(qy_packet_client_request, client, NULL, 1, "x", 1, 0, &response);
  REFUSED(qy_packet_client_request, data, packer, 1, NULL, 1, 0, &response);
  REFUSED(qy_packet_client_request, out, packer, 1, "x", 1, 0, NULL);
  ALLOWED(qy_packet_client_request, data, QY_ERR_TIMEOUT, packer, 999, NULL, 0, 1, &response);
  CHECK(response == NULL);
  drops = 0;
  REFUSED(qy_packet_client_request_async, client, NULL, 1, "x", 1, 1, 0, on_answer, buf, on_drop);
  REFUSED(qy_packet_client_request_async, data, packer, 1, NULL, 1, 1, 0, on_answer, buf, on_drop);
  REFUSED(qy_packet_client_request_async, callback, packer, 1, "x", 1, 1, 0, NULL, buf, on_drop);
  CHECK(drops == 3);
  ALLOWED(qy_packet_client_request_async, user_data, QY_OK, packer, 998, "x", 1, 1, 0, on_answer, NULL,
          NULL);
  ALLOWED(qy_packet_client_request_async, drop, QY_OK, packer, 998, "x", 1, 1, 0, on_answer, buf, NULL);
  REFUSED(qy_packet_client_signal_pull, client, NULL, 1);
  CHECK_STATUS(qy_packet_client_signal_pull(packer, 1), QY_ERR_NOT_FOUND);
  REFUSED(qy_packet_client_set, client, NULL, "k", "v", 1);
  REFUSED(qy_packet_client_set, key, packer, NULL, "v", 1);
  REFUSED(qy_packet_client_set, data, packer, "k", NULL, 1);
  ALLOWED(qy_packet_client_set, data, QY_OK, packer, "k", NULL, 0);
  REFUSED(qy_packet_client_get, client, NULL, "k", buf, sizeof buf, &needed);
  CHECK(needed == 0);
  REFUSED(qy_packet_client_get, key, packer, NULL, buf, sizeof buf, &needed);
  CHECK_OK(qy_packet_client_set(packer, "k", "v", 1));
  REFUSED(qy_packet_client_get, buf, packer, "k", NULL, 1, &needed);
  ALLOWED(qy_packet_client_get, buf, QY_ERR_BUFFER_TOO_SMALL, packer, "k", NULL, 0, &needed);
  CHECK(needed == 1);
  ALLOWED(qy_packet_client_get, needed, QY_OK, packer, "k", buf, sizeof buf, NULL);
  REFUSED(qy_packet_client_increment, client, NULL, "n", 1, &sum);
  CHECK(sum == 0);
  REFUSED(qy_packet_client_increment, key, packer, NULL, 1, &sum);
  ALLOWED(qy_packet_client_increment, out, QY_OK, packer, "n", 1, NULL);
  REFUSED(qy_packet_client_remove, client, NULL, "n");
  REFUSED(qy_packet_client_remove, key, packer, NULL);
  REFUSED(qy_packet_client_disconnect, client, NULL, 1000, "");
  ALLOWED(qy_packet_client_disconnect, reason, QY_OK, packer, 1000, NULL);
  REFUSED(qy_packet_client_close, client, NULL);
  REFUSED(qy_packet_client_close_wait, client, NULL, 0);
  HARMLESS(qy_packet_client_free, client, qy_packet_client_free(NULL));
  qy_packet_client_free(packer);
}

int main(void) {
  server = server_new(host);
  snprintf(url, sizeof url, "ws://%s/channel/send/test", host);
  CHECK_OK(qy_socket_open(url, NULL, QY_DELIVER_THREAD, NULL, NULL, NULL, &sock));
  client = client_new(host);
  sub = pull(client, "test");
  CHECK_OK(qy_server_create_channel(server, "there"));
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));

  /* The default address, for the case that starts a server with NULL for its options. */
  qy_server *squatter = NULL;
  qy_status squatting = qy_server_start(NULL, &squatter);
  CHECK(squatting == QY_OK || squatting == QY_ERR_ADDRESS_IN_USE);

  general();
  one_shot();
  option();
  servers();
  packets();
  calls();
  clients();
  subscriptions();
  sockets();
  endpoints();
  connections();
  connections_and_users();
  packet_clients();
  qy_socket_free(sock);
  qy_server_free(squatter);
  qy_options_free(options);
  qy_subscription_free(sub);
  qy_client_free(client);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_connection_free(connection);
  qy_server_free(server);
  return 0;
}
