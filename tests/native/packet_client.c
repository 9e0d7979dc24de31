/* A packet client and the server, both in C: messages and requests both ways, displacement, values,
   pull signals; and that each `drop` runs once. */
#include "kit.h"

static char host[64];
static qy_server *server;
static gate drops = GATE;

static void on_drop(void *user_data) {
  CHECK(user_data == &drops);
  gate_pass(&drops);
}

static qy_packet_client *client_of(const char *uid) {
  qy_packet_client *client = NULL;
  qy_packet_identity identity = {0};
  identity.struct_size = sizeof identity;
  identity.uid = uid;
  identity.type = 7;
  identity.device = "d";
  CHECK_OK(qy_packet_client_open(host, &identity, NULL, &client));
  return client;
}

static void expect_response(qy_response *response, uint32_t protocol, const char *data) {
  CHECK(qy_response_protocol(response) == protocol && qy_response_len(response) == strlen(data));
  CHECK(memcmp(qy_response_data(response), data, strlen(data)) == 0);
  qy_response_free(response);
}

/* ---- the server's side ---- */

static gate told = GATE;
static char last[64];

static void at_server(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
                      qy_reply *reply, void *user_data) {
  qy_response *response = NULL;
  (void)user_data;
  if (protocol == 1) { /* a one-way message */
    CHECK(reply == NULL);
    snprintf(last, sizeof last, "%.*s", (int)len, (const char *)data);
    gate_pass(&told);
  } else if (protocol == 2) { /* answered with what the client answers */
    CHECK_OK(qy_connection_request(connection, 20, data, len, PATIENCE_MS, &response));
    CHECK_OK(qy_reply_send(reply, 22, qy_response_data(response), qy_response_len(response)));
    qy_response_free(response);
  } else if (protocol == 3) { /* an echo */
    CHECK_OK(qy_reply_send(reply, protocol, data, len));
  }
}

/* ---- the client's side ---- */

static gate heard = GATE;

static void at_client(uint32_t protocol, const void *data, size_t len, qy_reply *reply,
                      void *user_data) {
  qy_packet_client *client = *(qy_packet_client **)user_data;
  CHECK(protocol == 20 && reply != NULL);
  /* a request of its own, before it answers */
  qy_response *response = NULL;
  CHECK_OK(qy_packet_client_request(client, 3, data, len, PATIENCE_MS, &response));
  CHECK_OK(qy_reply_send(reply, 21, qy_response_data(response), qy_response_len(response)));
  CHECK_STATUS(qy_reply_send(reply, 21, "x", 1), QY_ERR_INVALID_ARGUMENT);
  qy_response_free(response);
  gate_pass(&heard);
}

static void both_ways(void) {
  qy_packet_client *client = client_of("both");
  qy_packet_client_counters counters = {0};
  qy_response *response = NULL;
  CHECK_OK(qy_packet_client_on_packet(client, 20, QY_DELIVER_THREAD, at_client, &client, NULL));
  CHECK_STATUS(qy_packet_client_send(client, 1, "early", 5), QY_ERR_CONNECT);
  CHECK_OK(qy_packet_client_connect(client, PATIENCE_MS));
  CHECK_OK(qy_packet_client_send(client, 1, "hello", 5));
  CHECK(gate_reached(&told, 1) && strcmp(last, "hello") == 0);
  CHECK_OK(qy_packet_client_request(client, 2, "ping", 4, PATIENCE_MS, &response));
  expect_response(response, 22, "ping");
  CHECK(gate_reached(&heard, 1));
  CHECK_STATUS(qy_packet_client_request(client, 99, NULL, 0, 1, &response), QY_ERR_TIMEOUT);
  CHECK(response == NULL);
  check_error("99");
  counters.struct_size = sizeof counters;
  CHECK_OK(qy_packet_client_counters_get(client, &counters));
  CHECK(counters.received == 1 && counters.in_flight == 0 && counters.timed_out == 1);
  CHECK(counters.packets_out >= 4 && counters.packets_in == 3);
  qy_packet_client_free(client);
}

static gate answered = GATE, failed = GATE;

static void on_answer(qy_status status, const qy_response *response, void *user_data) {
  CHECK(user_data == &drops);
  if (status == QY_OK) {
    CHECK(qy_response_protocol(response) == 3 && qy_response_len(response) == 4);
    gate_pass(&answered);
  } else {
    CHECK(response == NULL && status == QY_ERR_CLOSED);
    gate_pass(&failed);
  }
}

/* Half of them is answered, the other half ends with the client; none is told twice. */
static void many_requests(int count) {
  qy_packet_client *client = client_of("many");
  unsigned long before = gate_count(&drops);
  CHECK_OK(qy_packet_client_connect(client, PATIENCE_MS));
  for (int i = 0; i < count;) {
    qy_status status = qy_packet_client_request_async(
        client, i % 2 ? 99 : 3, &i, 4, PATIENCE_MS, i % 4 < 2 ? QY_DELIVER_THREAD : QY_DELIVER_INLINE,
        on_answer, &drops, on_drop);
    CHECK(status == QY_OK || status == QY_ERR_QUEUE_FULL);
    if (status == QY_OK) i++;
    else before++; /* its drop has run */
  }
  CHECK(gate_reached(&answered, (unsigned long)count / 2));
  CHECK_OK(qy_packet_client_close_wait(client, PATIENCE_MS));
  CHECK(gate_count(&answered) == (unsigned long)count / 2);
  CHECK(gate_count(&failed) == (unsigned long)count / 2);
  CHECK(gate_count(&drops) == before + (unsigned long)count);
  qy_packet_client_free(client);
}

static gate established = GATE, displaced = GATE, closing = GATE, closed = GATE;
static int32_t closed_code;

static void on_event(const qy_packet_client_event *event, void *user_data) {
  CHECK(user_data == &drops && event->struct_size == sizeof *event && event->reason != NULL);
  if (event->event == QY_PACKET_ESTABLISHED) gate_pass(&established);
  if (event->event == QY_PACKET_DISPLACED) {
    CHECK(event->old_ip_len == 9 && memcmp(event->old_ip, "127.0.0.1", 9) == 0);
    CHECK(event->new_ip_len == 9 && memcmp(event->new_ip, "127.0.0.1", 9) == 0);
    CHECK(event->ts > 1700000000000000000);
    gate_pass(&displaced);
  }
  if (event->event == QY_PACKET_CLOSING) gate_pass(&closing);
  if (event->event == QY_PACKET_CLOSED) {
    CHECK(gate_count(&closing) == 1 && !event->will_reconnect);
    closed_code = event->code;
    gate_pass(&closed);
  }
}

static void displacement(int32_t delivery) {
  qy_packet_client *first = client_of("same"), *second = client_of("same");
  qy_response *response = NULL;
  unsigned long before = gate_count(&drops);
  int32_t state = 0;
  established.count = displaced.count = closing.count = closed.count = 0;
  CHECK_OK(qy_packet_client_on_event(first, delivery, on_event, &drops, on_drop));
  CHECK_OK(qy_packet_client_connect(first, PATIENCE_MS));
  CHECK(gate_reached(&established, 1));
  CHECK_OK(qy_packet_client_connect(second, PATIENCE_MS));
  CHECK(gate_reached(&displaced, 1) && gate_reached(&closed, 1));
  CHECK(closed_code == 3505);
  CHECK_OK(qy_packet_client_state(first, &state));
  CHECK(state == QY_SOCKET_DISCONNECTED);
  CHECK_OK(qy_packet_client_request(second, 3, "here", 4, PATIENCE_MS, &response));
  expect_response(response, 3, "here");
  CHECK_OK(qy_packet_client_close_wait(first, PATIENCE_MS));
  CHECK(gate_count(&drops) == before + 1);
  qy_packet_client_free(first);
  qy_packet_client_free(second);
}

static gate pulled = GATE;

static void on_pull(uint32_t channel, void *user_data) {
  CHECK(channel == 9 && user_data == &drops);
  gate_pass(&pulled);
}

static void values_and_signals(void) {
  qy_packet_client *client = client_of("values");
  char value[8] = "";
  size_t needed = 0;
  int64_t sum = 0;
  CHECK_STATUS(qy_packet_client_get(client, "k", value, sizeof value, &needed), QY_ERR_NOT_FOUND);
  CHECK_OK(qy_packet_client_set(client, "k", "bytes", 5));
  CHECK_STATUS(qy_packet_client_get(client, "k", value, 3, &needed), QY_ERR_BUFFER_TOO_SMALL);
  CHECK(needed == 5 && memcmp(value, "byt", 3) == 0);
  CHECK_STATUS(qy_packet_client_increment(client, "k", 1, &sum), QY_ERR_INVALID_ARGUMENT);
  CHECK_OK(qy_packet_client_increment(client, "n", 40, NULL));
  CHECK_OK(qy_packet_client_increment(client, "n", 2, &sum));
  CHECK_OK(qy_packet_client_get(client, "n", value, sizeof value, &needed));
  CHECK(sum == 42 && needed == 2 && memcmp(value, "42", 2) == 0);
  CHECK_OK(qy_packet_client_remove(client, "n"));
  CHECK_STATUS(qy_packet_client_remove(client, "n"), QY_ERR_NOT_FOUND);
  CHECK_STATUS(qy_packet_client_signal_pull(client, 9), QY_ERR_NOT_FOUND);
  CHECK_OK(qy_packet_client_on_pull(client, 9, on_pull, &drops, on_drop));
  CHECK_OK(qy_packet_client_signal_pull(client, 9));
  CHECK(gate_reached(&pulled, 1));
  CHECK_OK(qy_packet_client_close_wait(client, PATIENCE_MS));
  CHECK_STATUS(qy_packet_client_signal_pull(client, 9), QY_ERR_CLOSED);
  qy_packet_client_free(client);
}

int main(int argc, char **argv) {
  int fds = fd_count();
  server = server_new(host);
  CHECK_OK(qy_server_on_packet(server, 1, QY_DELIVER_THREAD, at_server, NULL, NULL));
  CHECK_OK(qy_server_on_packet(server, 2, QY_DELIVER_THREAD, at_server, NULL, NULL));
  /* inline, because a connection's callbacks come in order, and the one for 2 waits for this */
  CHECK_OK(qy_server_on_packet(server, 3, QY_DELIVER_INLINE, at_server, NULL, NULL));
  both_ways();
  many_requests(rounds(argc, argv, 20000));
  displacement(QY_DELIVER_THREAD);
  displacement(QY_DELIVER_INLINE);
  values_and_signals();
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  CHECK(thread_count() == 1 && fd_count() == fds);
  return 0;
}
