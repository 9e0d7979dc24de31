/* A program behind the connections of a path: it decides who comes, hears what they send, and learns
   why they go; its user data is dropped once, when the last callback has returned. */
#include "kit.h"

struct room {
  gate opened, messages, errors, gone, drops, asked;
  qy_connection *last;
  qy_upgrade *kept;
  int32_t code, ended_by;
  qy_status error;
  atomic_int refuse_origin;
};

#define ROOM {GATE, GATE, GATE, GATE, GATE, GATE, NULL, NULL, 0, 0, QY_OK, 0}

static int32_t on_origin(const qy_upgrade *upgrade, const char *origin, size_t len,
                         void *user_data) {
  struct room *room = user_data;
  (void)upgrade;
  CHECK(len == 6 && memcmp(origin, "origin", 6) == 0);
  return !atomic_load(&room->refuse_origin);
}

static void on_connect(qy_upgrade *upgrade, void *user_data) {
  struct room *room = user_data;
  char query[64];
  CHECK_OK(qy_upgrade_query(upgrade, query, sizeof query, NULL));
  if (strcmp(query, "refuse") == 0) CHECK_OK(qy_upgrade_refuse(upgrade, 402, "Pay first"));
  if (strcmp(query, "keep") == 0) CHECK_OK(qy_upgrade_clone(upgrade, &room->kept));
  if (strcmp(query, "named") == 0) CHECK_OK(qy_upgrade_accept(upgrade, "seven", "ann"));
  gate_pass(&room->asked);
}

static void on_open(qy_connection *connection, void *user_data) {
  struct room *room = user_data;
  qy_connection_free(room->last);
  CHECK_OK(qy_connection_clone(connection, &room->last));
  gate_pass(&room->opened);
}

static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
                       void *user_data) {
  struct room *room = user_data;
  CHECK_OK(qy_connection_send(connection, kind, data, len));
  gate_pass(&room->messages);
}

static void on_error(qy_connection *connection, qy_status status, const char *text, size_t len,
                     void *user_data) {
  struct room *room = user_data;
  (void)connection;
  CHECK(text != NULL && len > 0);
  room->error = status;
  gate_pass(&room->errors);
}

static void on_disconnect(qy_connection *connection, const qy_closure *closure, void *user_data) {
  struct room *room = user_data;
  (void)connection;
  room->code = closure->code;
  room->ended_by = closure->ended_by;
  gate_pass(&room->gone);
}

static void on_drop(void *user_data) { gate_pass(&((struct room *)user_data)->drops); }

static void handle(qy_server *server, struct room *room, const char *options[][2], int count,
                   int32_t delivery) {
  qy_options *limits = NULL;
  qy_endpoint_callbacks callbacks = {0};
  callbacks.struct_size = sizeof callbacks;
  callbacks.check_origin = on_origin;
  callbacks.connect = on_connect;
  callbacks.open = on_open;
  callbacks.message = on_message;
  callbacks.error = on_error;
  callbacks.disconnect = on_disconnect;
  CHECK_OK(qy_options_new(QY_OPTIONS_ENDPOINT, &limits));
  for (int i = 0; i < count; i++) CHECK_OK(qy_options_set(limits, options[i][0], options[i][1]));
  CHECK_OK(qy_server_handle(server, "/room", limits, &callbacks, delivery, room, on_drop));
  qy_options_free(limits);
}

/* An upgrade's status, and its socket if that is 101. */
static int attempt(qy_server *server, const char *target, const char *fields, int *fd) {
  *fd = raw_upgrade(server, target, fields);
  int status = raw_status(*fd);
  if (status != 101) close(*fd);
  return status;
}

static void decisions(qy_server *server, int32_t delivery) {
  struct room room = ROOM;
  const char *limits[][2] = {{"max_connections", "2"}};
  int fd, other, third;
  handle(server, &room, limits, 1, delivery);
  CHECK(attempt(server, "/room?refuse", "", &fd) == 402);
  atomic_store(&room.refuse_origin, 1);
  CHECK(attempt(server, "/room", "Origin: origin\r\n", &fd) == 403);
  atomic_store(&room.refuse_origin, 0);
  CHECK(gate_count(&room.asked) == 1); /* not about the page that may not come */
  CHECK(attempt(server, "/room", "Origin: origin\r\n", &fd) == 101);
  raw_say(fd, "hello");
  raw_expect(fd, "hello");

  other = raw_upgrade(server, "/room?keep", "");
  CHECK(gate_reached(&room.asked, 3));
  CHECK_OK(qy_upgrade_accept(room.kept, "later", "bob")); /* on another thread than the callback's */
  CHECK(raw_status(other) == 101);
  qy_upgrade_free(room.kept);
  CHECK_OK(qy_server_send_to_user(server, "bob", QY_TEXT, "hi bob", 6, NULL));
  raw_expect(other, "hi bob");
  CHECK(attempt(server, "/room", "", &third) == 503); /* max_connections */
  raw_frame(other, 0x88, "\x03\xe8", 2);
  raw_expect_close(other, 1000);
  CHECK(gate_reached(&room.gone, 1));
  CHECK(room.code == 1000 && room.ended_by == QY_ENDED_BY_CLIENT);

  /* Nobody decides: freeing the last handle does. */
  third = raw_upgrade(server, "/room?keep", "");
  CHECK(gate_reached(&room.asked, 4));
  qy_upgrade_free(room.kept);
  CHECK(raw_status(third) == 503);
  close(third);

  /* Who waits when the endpoint goes is refused, and nothing is left to wait for. */
  third = raw_upgrade(server, "/room?keep", "");
  CHECK(gate_reached(&room.asked, 5));
  CHECK(gate_count(&room.drops) == 0);
  CHECK_OK(qy_server_unhandle_wait(server, "/room", PATIENCE_MS));
  CHECK(gate_count(&room.drops) == 1 && gate_count(&room.gone) == 2);
  CHECK(room.code == 1001 && room.ended_by == QY_ENDED_BY_SERVER);
  CHECK(raw_status(third) == 404);
  CHECK_STATUS(qy_upgrade_accept(room.kept, NULL, NULL), QY_ERR_CLOSED);
  qy_upgrade_free(room.kept);
  raw_expect_close(fd, 1001);
  qy_connection_free(room.last);
  close(fd), close(other), close(third);
}

static void faults(qy_server *server, int32_t delivery) {
  struct room room = ROOM;
  const char *limits[][2] = {{"max_message_bytes", "50"}};
  char large[60] = {0};
  qy_connection_info info = {0};
  info.struct_size = sizeof info;
  handle(server, &room, limits, 1, delivery);
  int fd = raw_websocket(server, "/room?named");
  raw_frame(fd, 0x82, large, sizeof large);
  raw_expect_close(fd, 1009);
  CHECK(gate_reached(&room.gone, 1));
  CHECK(room.error == QY_ERR_TOO_LARGE && room.code == 1009);
  close(fd);
  /* The handle outlives the connection, and still tells about it. */
  CHECK_OK(qy_connection_info_get(room.last, &info));
  CHECK(info.is_open == 0 && info.bytes_in > 0);
  CHECK_STATUS(qy_connection_send(room.last, QY_TEXT, "x", 1), QY_ERR_CLOSED);
  CHECK_OK(qy_connection_close(room.last, 1000, NULL));

  fd = raw_websocket(server, "/room");
  raw_frame(fd, 0x83, "", 0);
  raw_expect_close(fd, 1002);
  CHECK(gate_reached(&room.gone, 2));
  CHECK(room.error == QY_ERR_PROTOCOL && room.ended_by == QY_ENDED_BY_SERVER);
  close(fd);
  fd = raw_websocket(server, "/room");
  CHECK(gate_reached(&room.opened, 3));
  raw_reset(fd);
  CHECK(gate_reached(&room.gone, 3));
  CHECK(room.error == QY_ERR_CONNECT && room.code == 1006 && room.ended_by == QY_ENDED_BY_CLIENT);
  CHECK(gate_count(&room.errors) == 3);

  fd = raw_websocket(server, "/room?named");
  CHECK(gate_reached(&room.opened, 4));
  CHECK_STATUS(qy_server_close_connection(server, "seven", 1004, ""), QY_ERR_INVALID_ARGUMENT);
  CHECK_OK(qy_server_close_connection(server, "seven", 4321, "kicked"));
  raw_expect_close(fd, 4321);
  CHECK(gate_reached(&room.gone, 4));
  CHECK(room.code == 4321 && room.ended_by == QY_ENDED_BY_PROGRAM);
  CHECK(gate_count(&room.errors) == 3);
  close(fd);
  CHECK_OK(qy_server_unhandle_wait(server, "/room", PATIENCE_MS));
  CHECK(gate_count(&room.drops) == 1);
  qy_connection_free(room.last);
}

/* A message of JSON is checked where it is sent, and arrives as text. */
static void json(qy_server *server) {
  struct room room = ROOM;
  handle(server, &room, NULL, 0, QY_DELIVER_THREAD);
  int fd = raw_websocket(server, "/room?named");
  CHECK(gate_reached(&room.opened, 1));
  CHECK_OK(qy_connection_send(room.last, QY_JSON, "{\"a\":[1]}", 9));
  raw_expect(fd, "{\"a\":[1]}");
  CHECK_STATUS(qy_connection_send(room.last, QY_JSON, "{\"a\":[1}", 8), QY_ERR_INVALID_ARGUMENT);
  check_error("not JSON");
  CHECK_STATUS(qy_connection_send(room.last, QY_TEXT, "\xff", 1), QY_ERR_INVALID_UTF8);
  CHECK_STATUS(qy_server_publish(server, "test", QY_JSON, "nope", 4, NULL), QY_ERR_INVALID_ARGUMENT);
  close(fd);

  /* The end of the server: everybody gets 1000, the program hears of it, and is let go. */
  fd = raw_websocket(server, "/room");
  CHECK(gate_reached(&room.opened, 2));
  qy_status status = qy_server_stop(server, 0);
  CHECK(status == QY_OK || status == QY_ERR_TIMEOUT);
  CHECK(gate_count(&room.gone) == 2 && gate_count(&room.drops) == 1);
  CHECK(room.code == 1000 && room.ended_by == QY_ENDED_BY_SERVER);
  raw_expect_close(fd, 1000);
  int32_t running = 1;
  CHECK_OK(qy_server_is_running(server, &running));
  CHECK(running == 0);
  CHECK_STATUS(qy_server_broadcast(server, NULL, QY_TEXT, "x", 1, NULL), QY_ERR_CLOSED);
  CHECK_STATUS(qy_connection_send(room.last, QY_TEXT, "x", 1), QY_ERR_CLOSED);
  qy_connection_free(room.last);
  close(fd);
}

int main(void) {
  char host[64];
  int fds = fd_count();
  qy_server *server = server_new(host);
  decisions(server, QY_DELIVER_THREAD);
  decisions(server, QY_DELIVER_INLINE);
  faults(server, QY_DELIVER_THREAD);
  faults(server, QY_DELIVER_INLINE);
  json(server);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1 && fd_count() == fds);
  return 0;
}
