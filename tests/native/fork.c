/* After fork: in the child every call on the parent's handles says so, freeing them returns, and
   new ones work; the parent does not notice. */
#include "kit.h"

/* A socket that sends to the channel "test". */
static qy_socket *socket_new(const char *host) {
  char url[128];
  qy_socket *socket = NULL;
  snprintf(url, sizeof url, "ws://%s/channel/send/test", host);
  CHECK_OK(qy_socket_open(url, NULL, QY_DELIVER_THREAD, NULL, NULL, NULL, &socket));
  CHECK_OK(qy_socket_connect(socket, PATIENCE_MS));
  return socket;
}

static gate opened = GATE, dropped = GATE;
static qy_connection *connection;

static void on_open(qy_connection *lent, void *user_data) {
  (void)user_data;
  CHECK_OK(qy_connection_clone(lent, &connection));
  gate_pass(&opened);
}

static void on_drop(void *user_data) {
  (void)user_data;
  gate_pass(&dropped);
}

static void in_child(qy_options *options, qy_server *server, qy_client *client,
                     qy_subscription *subscription, qy_socket *socket) {
  char text[64];
  qy_batch *batch = NULL;
  qy_position at = {sizeof at, 1, 1};
  int32_t state = 9;
  alarm(PATIENCE_MS / 1000); /* a hang ends the child, and the test */

  CHECK_STATUS(qy_options_set(options, "shards", "1"), QY_ERR_FORKED);
  CHECK_STATUS(qy_server_publish(server, "test", QY_TEXT, "x", 1, &at), QY_ERR_FORKED);
  CHECK(at.epoch == 0 && at.offset == 0);
  check_error("make a new one after fork");
  CHECK_STATUS(qy_connection_send(connection, QY_TEXT, "x", 1), QY_ERR_FORKED);
  CHECK_STATUS(qy_connection_id(connection, text, sizeof text, NULL), QY_ERR_FORKED);
  CHECK_STATUS(qy_server_broadcast(server, NULL, QY_TEXT, "x", 1, NULL), QY_ERR_FORKED);
  CHECK_STATUS(qy_server_unhandle_wait(server, "/h", 1000), QY_ERR_FORKED);
  qy_connection_free(connection);
  CHECK_STATUS(qy_server_stop(server, 1000), QY_ERR_FORKED);
  CHECK_STATUS(qy_server_last_error(server, text, sizeof text, NULL), QY_ERR_FORKED);
  CHECK_STATUS(qy_client_publish(client, "test", QY_TEXT, "x", 1, NULL), QY_ERR_FORKED);
  CHECK_STATUS(qy_client_state(client, &state), QY_ERR_FORKED);
  CHECK(state == 0);
  CHECK_STATUS(qy_client_close(client), QY_ERR_FORKED);
  CHECK_STATUS(qy_subscription_recv(subscription, 1000, &batch), QY_ERR_FORKED);
  CHECK_STATUS(qy_subscription_close_wait(subscription, 1000), QY_ERR_FORKED);
  CHECK_STATUS(qy_socket_state(socket, &state), QY_ERR_FORKED);
  CHECK_STATUS(qy_socket_connect(socket, 1000), QY_ERR_FORKED);
  CHECK_STATUS(qy_socket_close_wait(socket, 1000), QY_ERR_FORKED);
  qy_socket_free(socket);
  qy_subscription_free(subscription);
  qy_client_free(client);
  qy_server_free(server);
  qy_options_free(options);
  CHECK(thread_count() == 1);

  char host[64];
  server = server_new(host);
  client = client_new(host);
  subscription = pull(client, "test");
  expect_connected(subscription);
  CHECK_OK(qy_send_message(host, "test", "of the child"));
  expect(subscription, QY_EVENT_MESSAGE, "of the child");
  socket = socket_new(host);
  CHECK_OK(qy_socket_send(socket, QY_TEXT, "by socket", 9));
  expect(subscription, QY_EVENT_MESSAGE, "by socket");
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_subscription_free(subscription);
  qy_client_free(client);
  qy_server_free(server);
  qy_socket_free(socket);
  CHECK(thread_count() == 1);
  exit(0);
}

int main(void) {
  char host[64];
  int status = -1;
  qy_options *options = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  qy_server *server = server_new(host);
  qy_client *client = client_new(host);
  qy_subscription *subscription = pull(client, "test");
  qy_socket *socket = socket_new(host);
  expect_connected(subscription);
  CHECK_OK(qy_send_message(host, "test", "before"));
  expect(subscription, QY_EVENT_MESSAGE, "before");

  qy_endpoint_callbacks callbacks = {0};
  callbacks.struct_size = sizeof callbacks;
  callbacks.open = on_open;
  CHECK_OK(qy_server_handle(server, "/h", NULL, &callbacks, QY_DELIVER_THREAD, NULL, on_drop));
  int peer = raw_websocket(server, "/h");
  CHECK(gate_reached(&opened, 1));

  pid_t child = fork();
  if (child == 0) in_child(options, server, client, subscription, socket);
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

  CHECK(gate_count(&dropped) == 0);
  CHECK_OK(qy_connection_send(connection, QY_TEXT, "not forked", 10));
  raw_expect(peer, "not forked");
  CHECK_OK(qy_server_unhandle_wait(server, "/h", PATIENCE_MS));
  CHECK(gate_count(&dropped) == 1);
  qy_connection_free(connection);
  close(peer);

  CHECK_OK(qy_client_publish(client, "test", QY_TEXT, "after", 5, NULL));
  expect(subscription, QY_EVENT_MESSAGE, "after");
  CHECK_OK(qy_send_message(host, "test", "after, too"));
  expect(subscription, QY_EVENT_MESSAGE, "after, too");
  CHECK_OK(qy_socket_send(socket, QY_TEXT, "by socket", 9));
  expect(subscription, QY_EVENT_MESSAGE, "by socket");
  qy_socket_free(socket);
  qy_subscription_free(subscription);
  qy_client_free(client);
  qy_options_free(options);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  return 0;
}
