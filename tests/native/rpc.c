/* Calls of this program by clients of the session dialect: results and errors, at once and later, one
   that nobody answers; and that each `drop` runs once. */
#include "kit.h"

static qy_server *server;
static gate called = GATE, drops = GATE;
static qy_rpc_reply *kept;
static qy_connection *caller;

static void on_drop(void *user_data) {
  CHECK(user_data == &drops);
  gate_pass(&drops);
}

static void on_sum(qy_connection *connection, const char *method, const char *params, size_t len,
                   qy_rpc_reply *reply, void *user_data) {
  char text[64], result[64];
  int a = 0, b = 0;
  (void)connection;
  CHECK(user_data == &drops && strcmp(method, "sum") == 0 && len < sizeof text);
  snprintf(text, sizeof text, "%.*s", (int)len, params);
  CHECK_STATUS(qy_rpc_reply_result(reply, "nonsense", 8), QY_ERR_INVALID_ARGUMENT);
  check_error("JSON");
  if (sscanf(text, "[%d,%d]", &a, &b) != 2) {
    CHECK_STATUS(qy_rpc_reply_error(reply, "", "no code"), QY_ERR_INVALID_ARGUMENT);
    CHECK_OK(qy_rpc_reply_error(reply, "bad_params", "want [a,b]"));
    return;
  }
  size_t size = (size_t)snprintf(result, sizeof result, "%d", a + b);
  CHECK_OK(qy_rpc_reply_result(reply, result, size));
  CHECK_STATUS(qy_rpc_reply_result(reply, result, size), QY_ERR_INVALID_ARGUMENT);
}

static void on_later(qy_connection *connection, const char *method, const char *params, size_t len,
                     qy_rpc_reply *reply, void *user_data) {
  (void)user_data;
  CHECK(strcmp(method, "later") == 0 && len == 4 && memcmp(params, "null", 4) == 0);
  CHECK_OK(qy_connection_clone(connection, &caller));
  CHECK_OK(qy_rpc_reply_clone(reply, &kept));
  gate_pass(&called);
}

static void call(int fd, int id, const char *payload) {
  char request[250];
  snprintf(request, sizeof request,
           "{\"id\":%d,\"type\":\"request\",\"action\":\"rpc\",\"payload\":%s}", id, payload);
  raw_say(fd, request);
}

int main(void) {
  char host[64], id[64];
  server = server_new(host);
  CHECK_OK(qy_server_on_rpc(server, "sum", QY_DELIVER_THREAD, on_sum, &drops, on_drop));
  CHECK_OK(qy_server_on_rpc(server, "later", QY_DELIVER_INLINE, on_later, &drops, on_drop));
  CHECK_STATUS(qy_server_on_rpc(server, "", QY_DELIVER_THREAD, on_sum, &drops, on_drop),
               QY_ERR_INVALID_NAME);
  CHECK(gate_count(&drops) == 1);

  int fd = raw_session(server);
  call(fd, 1, "{\"method\":\"sum\",\"params\":[1,2]}");
  raw_expect(fd, "{\"id\":1,\"type\":\"response\",\"data\":3}");
  call(fd, 2, "{\"method\":\"sum\",\"params\":{}}");
  raw_expect(fd, "{\"id\":2,\"type\":\"error\",\"error\":{\"code\":\"bad_params\","
                 "\"message\":\"want [a,b]\"}}");

  /* Long after the callback returned, and behind another answer. */
  call(fd, 3, "{\"method\":\"later\"}");
  call(fd, 4, "{\"method\":\"sum\",\"params\":[2,2]}");
  raw_expect(fd, "{\"id\":4,\"type\":\"response\",\"data\":4}");
  CHECK(gate_reached(&called, 1));
  CHECK_OK(qy_connection_id(caller, id, sizeof id, NULL));
  CHECK(strlen(id) == 36);
  CHECK_OK(qy_rpc_reply_result(kept, "{\"a\": 1}", 8));
  raw_expect(fd, "{\"id\":3,\"type\":\"response\",\"data\":{\"a\": 1}}");
  qy_rpc_reply_free(kept);
  qy_connection_free(caller);

  /* Let go of without an answer. */
  call(fd, 5, "{\"method\":\"later\"}");
  CHECK(gate_reached(&called, 2));
  qy_rpc_reply_free(kept);
  qy_connection_free(caller);
  raw_expect(fd, "{\"id\":5,\"type\":\"error\",\"error\":{\"code\":\"no_answer\","
                 "\"message\":\"the method ended without an answer\"}}");

  /* Replaced, removed, and what is left goes with the server; a reply may outlive it. */
  CHECK_OK(qy_server_on_rpc(server, "sum", QY_DELIVER_INLINE, on_sum, &drops, on_drop));
  CHECK(gate_reached(&drops, 2));
  CHECK_OK(qy_server_on_rpc(server, "sum", QY_DELIVER_INLINE, NULL, &drops, on_drop));
  CHECK(gate_reached(&drops, 4));
  call(fd, 6, "{\"method\":\"sum\"}");
  raw_expect(fd, "{\"id\":6,\"type\":\"error\",\"error\":{\"code\":\"method_not_found\","
                 "\"message\":\"there is no method 'sum'\"}}");
  call(fd, 7, "{\"method\":\"later\"}");
  CHECK(gate_reached(&called, 3));
  qy_status status = qy_server_stop(server, 0);
  CHECK(status == QY_OK || status == QY_ERR_TIMEOUT);
  CHECK(gate_count(&drops) == 5);
  CHECK_STATUS(qy_rpc_reply_result(kept, "1", 1), QY_ERR_CLOSED);
  CHECK_STATUS(qy_server_on_rpc(server, "sum", QY_DELIVER_THREAD, on_sum, &drops, on_drop),
               QY_ERR_CLOSED);
  CHECK(gate_count(&drops) == 6);
  qy_server_free(server);
  qy_rpc_reply_free(kept);
  qy_connection_free(caller);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  CHECK(thread_count() == 1);
  close(fd);
  return 0;
}
