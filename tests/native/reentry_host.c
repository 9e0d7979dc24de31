/* Every function on endpoints, upgrades, connections and users may be called in a callback of an
   endpoint, on a delivery thread and inline. What would wait for that callback says so at once. */
#include "kit.h"

static qy_server *server;
static gate done = GATE, dropped = GATE;
static int visits;

static void count_header(const char *name, size_t name_len, const char *value, size_t value_len,
                         void *user_data) {
  (void)name, (void)name_len, (void)value, (void)value_len, (void)user_data;
  visits++;
}

static void count_name(const char *name, size_t len, void *user_data) {
  (void)user_data;
  CHECK(len == 4 && memcmp(name, "room", 4) == 0);
  visits++;
}

static void count_connection(qy_connection *connection, void *user_data) {
  char id[64];
  (void)user_data;
  CHECK_OK(qy_connection_id(connection, id, sizeof id, NULL));
  visits++;
}

static int32_t count_and_take(qy_connection *connection, void *user_data) {
  count_connection(connection, user_data);
  return 1;
}

static void count_user(const char *user, size_t len, uint64_t connections, void *user_data) {
  (void)user_data;
  CHECK(len == 3 && memcmp(user, "ann", 3) == 0 && connections == 1);
  visits++;
}

static int32_t on_origin(const qy_upgrade *upgrade, const char *origin, size_t len,
                         void *user_data) {
  char text[64];
  (void)user_data;
  CHECK_OK(qy_upgrade_header(upgrade, "Origin", text, sizeof text, NULL));
  return strlen(text) == len && memcmp(text, origin, len) == 0;
}

static void on_connect(qy_upgrade *upgrade, void *user_data) {
  char text[64];
  qy_upgrade *other = NULL;
  (void)user_data;
  CHECK_OK(qy_upgrade_remote(upgrade, text, sizeof text, NULL));
  CHECK(strncmp(text, "127.0.0.1:", 10) == 0);
  CHECK_OK(qy_upgrade_path(upgrade, text, sizeof text, NULL));
  CHECK(strcmp(text, "/h") == 0);
  CHECK_OK(qy_upgrade_query(upgrade, text, sizeof text, NULL));
  CHECK(strcmp(text, "a=%20b") == 0);
  visits = 0;
  CHECK_OK(qy_upgrade_list_headers(upgrade, count_header, NULL));
  CHECK(visits == 6);
  CHECK_OK(qy_upgrade_clone(upgrade, &other));
  CHECK_STATUS(qy_upgrade_refuse(other, 200, NULL), QY_ERR_INVALID_ARGUMENT);
  CHECK_OK(qy_upgrade_last_error(other, text, sizeof text, NULL));
  CHECK(strstr(text, "400 to 599") != NULL);
  CHECK_OK(qy_upgrade_accept(other, "me", "ann"));
  CHECK_STATUS(qy_upgrade_accept(upgrade, NULL, NULL), QY_ERR_CLOSED);
  qy_upgrade_free(other);
}

static void one_connection(qy_connection *connection) {
  char text[64];
  int64_t sum = 0;
  int32_t open = 0;
  size_t needed = 0;
  qy_connection *other = NULL;
  qy_connection_info info = {0};
  info.struct_size = sizeof info;
  CHECK_OK(qy_connection_id(connection, text, sizeof text, NULL));
  CHECK(strcmp(text, "me") == 0);
  CHECK_OK(qy_connection_remote(connection, text, sizeof text, NULL));
  CHECK_OK(qy_connection_path(connection, text, sizeof text, NULL));
  CHECK_OK(qy_connection_query(connection, text, sizeof text, NULL));
  CHECK_OK(qy_connection_header(connection, "ORIGIN", text, sizeof text, NULL));
  CHECK_STATUS(qy_connection_header(connection, "x-none", text, sizeof text, NULL),
               QY_ERR_NOT_FOUND);
  CHECK_OK(qy_connection_last_error(connection, text, sizeof text, NULL));
  CHECK(strstr(text, "x-none") != NULL);
  visits = 0;
  CHECK_OK(qy_connection_list_headers(connection, count_header, NULL));
  CHECK(visits == 6);
  CHECK_OK(qy_connection_user(connection, text, sizeof text, NULL));
  CHECK(strcmp(text, "ann") == 0);
  CHECK_OK(qy_connection_unbind(connection));
  CHECK_STATUS(qy_connection_unbind(connection), QY_ERR_NOT_FOUND);
  CHECK_STATUS(qy_connection_user(connection, text, sizeof text, NULL), QY_ERR_NOT_FOUND);
  CHECK_OK(qy_connection_bind(connection, "ann"));
  CHECK_STATUS(qy_connection_join(connection, "room", 0), QY_ERR_CHANNEL_NOT_FOUND);
  CHECK_OK(qy_connection_join(connection, "room", 1));
  visits = 0;
  CHECK_OK(qy_connection_list_channels(connection, count_name, NULL));
  CHECK(visits == 1);
  CHECK_OK(qy_connection_info_get(connection, &info));
  CHECK(info.dialect == QY_DIALECT_HOST && info.is_open == 1 && info.messages_in == 1);
  CHECK(info.channels == 1 && info.connected_ms > 0);
  CHECK_OK(qy_connection_set(connection, "k", "v\0w", 3));
  CHECK_OK(qy_connection_get(connection, "k", text, sizeof text, &needed));
  CHECK(needed == 3 && memcmp(text, "v\0w", 3) == 0);
  CHECK_OK(qy_connection_remove(connection, "k"));
  CHECK_STATUS(qy_connection_remove(connection, "k"), QY_ERR_NOT_FOUND);
  CHECK_OK(qy_connection_increment(connection, "n", 40, NULL));
  CHECK_OK(qy_connection_increment(connection, "n", 2, &sum));
  CHECK(sum == 42);
  CHECK_OK(qy_connection_get(connection, "n", text, sizeof text, &needed));
  CHECK(needed == 2 && memcmp(text, "42", 2) == 0);
  CHECK_OK(qy_connection_remove(connection, "n"));
  CHECK_OK(qy_connection_clone(connection, &other));
  CHECK_OK(qy_connection_is_open(other, &open));
  CHECK(open == 1);
  CHECK_OK(qy_connection_send(other, QY_TEXT, "one", 3));
  qy_connection_free(other);
}

static void all_connections(void) {
  uint64_t number = 0;
  int32_t running = 0;
  qy_connection *found = NULL;
  qy_connection_filter filter = {0};
  filter.struct_size = sizeof filter;
  filter.path = "/h";
  filter.user = "ann";
  filter.channel = "room";
  filter.dialect = QY_DIALECT_HOST;
  CHECK_OK(qy_server_is_running(server, &running));
  CHECK(running == 1);
  CHECK_OK(qy_server_find_connection(server, "me", &found));
  qy_connection_free(found);
  visits = 0;
  CHECK_OK(qy_server_list_connections(server, &filter, NULL, 9, count_connection, NULL));
  CHECK(visits == 1);
  CHECK_OK(qy_server_list_connections(server, NULL, "me", 9, count_connection, NULL));
  CHECK(visits == 1);
  CHECK_OK(qy_server_count_connections(server, &filter, &number));
  CHECK(number == 1);
  CHECK_OK(qy_server_send_to(server, "me", QY_TEXT, "two", 3));
  CHECK_OK(qy_server_send_to_user(server, "ann", QY_JSON, "3", 1, &number));
  CHECK(number == 1);
  CHECK_OK(qy_server_broadcast(server, "/h", QY_TEXT, "four", 4, &number));
  CHECK(number == 1);
  CHECK_OK(qy_server_send_where(server, &filter, count_and_take, NULL, QY_TEXT, "five", 4, &number));
  CHECK(number == 1 && visits == 2);
  CHECK_OK(qy_server_publish(server, "room", QY_TEXT, "six", 3, NULL));
  CHECK_OK(qy_server_unbind_user(server, "me"));
  CHECK_OK(qy_server_bind_user(server, "me", "ann"));
  CHECK_OK(qy_server_list_users(server, NULL, 9, count_user, NULL));
  CHECK_OK(qy_server_count_users(server, &number));
  CHECK(number == 1 && visits == 3);
  CHECK_OK(qy_server_list_members(server, "room", count_connection, NULL));
  CHECK(visits == 4);
}

static void count_drop(void *user_data) { gate_pass(user_data); }

static void endpoints(void) {
  static gate others = GATE;
  unsigned long before = gate_count(&others);
  qy_endpoint_callbacks none = {0};
  none.struct_size = sizeof none;
  none.message = NULL;
  CHECK_OK(qy_server_handle(server, "/other", NULL, &none, QY_DELIVER_THREAD, &others, count_drop));
  CHECK_STATUS(qy_server_handle(server, "/other", NULL, &none, QY_DELIVER_THREAD, &others,
                                count_drop),
               QY_ERR_EXISTS);
  CHECK(gate_count(&others) == before + 1);
  CHECK_OK(qy_server_unhandle(server, "/other"));
  CHECK(gate_reached(&others, before + 2) || !"unhandle drops");
}

static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
                       void *user_data) {
  (void)user_data;
  CHECK(kind == QY_TEXT && len == 2 && memcmp(data, "go", 2) == 0);
  one_connection(connection);
  all_connections();
  if (user_data == NULL) endpoints();
  CHECK_OK(qy_connection_leave(connection, "room"));
  CHECK_STATUS(qy_connection_leave(connection, "room"), QY_ERR_CHANNEL_NOT_FOUND);
  CHECK_STATUS(qy_shutdown(0), QY_ERR_WOULD_DEADLOCK);
  CHECK_STATUS(qy_server_unhandle_wait(server, "/h", PATIENCE_MS), QY_ERR_WOULD_DEADLOCK);
  CHECK_STATUS(qy_server_unhandle(server, "/h"), QY_ERR_NOT_FOUND); /* it is ended all the same */
  qy_status status = qy_server_close_connection(server, "me", 4000, "over");
  CHECK(status == QY_OK || status == QY_ERR_NOT_FOUND); /* the endpoint's end may be faster */
  CHECK_OK(qy_connection_close(connection, 4001, "over again"));
}

static void on_disconnect(qy_connection *connection, const qy_closure *closure, void *user_data) {
  char user[64];
  (void)user_data;
  CHECK(closure->struct_size == sizeof *closure && closure->reason_len > 0);
  CHECK_STATUS(qy_connection_send(connection, QY_TEXT, "x", 1), QY_ERR_CLOSED);
  CHECK_STATUS(qy_connection_bind(connection, "bob"), QY_ERR_CLOSED);
  CHECK_OK(qy_connection_user(connection, user, sizeof user, NULL));
  CHECK(strcmp(user, "ann") == 0);
  gate_pass(&done);
}

static void on_drop(void *user_data) {
  (void)user_data;
  gate_pass(&dropped);
}

static void in_callbacks(int32_t delivery, unsigned long round) {
  static char inline_mark;
  qy_endpoint_callbacks callbacks = {0};
  callbacks.struct_size = sizeof callbacks;
  callbacks.check_origin = on_origin;
  callbacks.connect = on_connect;
  callbacks.message = on_message;
  callbacks.disconnect = on_disconnect;
  void *mark = delivery == QY_DELIVER_INLINE ? &inline_mark : NULL;
  CHECK_OK(qy_server_handle(server, "/h", NULL, &callbacks, delivery, mark, on_drop));
  int fd = raw_upgrade(server, "/h?a=%20b", "Origin: here\r\n");
  CHECK(raw_status(fd) == 101);
  raw_say(fd, "go");
  raw_expect(fd, "one");
  raw_expect(fd, "two");
  raw_expect(fd, "3");
  raw_expect(fd, "four");
  raw_expect(fd, "five");
  raw_expect(fd, "six");
  raw_expect_close(fd, 1001); /* of unhandle, which came first */
  CHECK(gate_reached(&done, round));
  CHECK(gate_reached(&dropped, round));
  close(fd);
}

int main(void) {
  char host[64];
  server = server_new(host);
  in_callbacks(QY_DELIVER_THREAD, 1);
  in_callbacks(QY_DELIVER_INLINE, 2);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1);
  return 0;
}
