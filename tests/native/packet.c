/* The packet dialect from C: handlers, answers that come later, requests of the server, displacement,
   pull signals, lifecycle; and that each `drop` runs once. */
#include "kit.h"

static qy_server *server;
static gate packets_seen = GATE, drops = GATE, closed = GATE, pulled = GATE, ended = GATE;
static qy_connection *kept;
static qy_reply *kept_reply;

static void on_drop(void *user_data) {
  CHECK(user_data == &drops);
  gate_pass(&drops);
}

static void on_packet(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
                      qy_reply *reply, void *user_data) {
  CHECK(user_data == &drops);
  if (protocol == 1) {
    CHECK(len == 5 && memcmp(data, "hello", 5) == 0 && reply == NULL);
    CHECK_OK(qy_connection_clone(connection, &kept));
  } else {
    CHECK(protocol == 2 && data == NULL && len == 0 && reply != NULL);
    CHECK_OK(qy_reply_clone(reply, &kept_reply));
  }
  gate_pass(&packets_seen);
}

static int32_t last_code;

static void on_event(qy_connection *connection, const qy_packet_event *event, void *user_data) {
  char id[64];
  CHECK(user_data == &drops && event->struct_size == sizeof *event && event->reason != NULL);
  CHECK_OK(qy_connection_id(connection, id, sizeof id, NULL));
  CHECK(strcmp(id, "青云-7-d-c") == 0);
  if (event->event != QY_PACKET_CLOSED) return;
  last_code = event->code;
  gate_pass(&closed);
}

static void on_pull(qy_connection *connection, uint32_t channel, void *user_data) {
  (void)connection;
  CHECK(channel == 7 && user_data == &drops);
  gate_pass(&pulled);
}

static void on_end(qy_status status, const qy_response *response, void *user_data) {
  (void)user_data;
  CHECK_STATUS(status, QY_ERR_TIMEOUT);
  CHECK(response == NULL);
  check_error("no response within 1ms to a request with protocol id 9");
  gate_pass(&ended);
}

static void *ask(void *connection) {
  qy_response *response = NULL;
  CHECK_OK(qy_connection_request(connection, 8, "who?", 4, PATIENCE_MS, &response));
  CHECK(qy_response_protocol(response) == 80 && qy_response_len(response) == 2);
  CHECK(memcmp(qy_response_data(response), "me", 2) == 0);
  qy_response_free(response);
  return NULL;
}

static void said(const char *key, const char *expected) {
  char text[64];
  CHECK_OK(qy_connection_packet_identity(kept, key, text, sizeof text, NULL));
  CHECK(strcmp(text, expected) == 0);
}

int main(void) {
  char host[64];
  const char *query = "uid=%E9%9D%92%E4%BA%91&type=7&device=d&source=c&version=3";
  unsigned char bytes[64];
  pthread_t asker;
  qy_response *response = NULL;
  qy_packet_counters counters = {0};
  server = server_new(host);
  CHECK_OK(qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_packet, &drops, on_drop));
  CHECK_OK(qy_server_on_packet(server, 2, QY_DELIVER_THREAD, on_packet, &drops, on_drop));
  CHECK_OK(qy_server_on_packet_event(server, QY_DELIVER_THREAD, on_event, &drops, on_drop));
  CHECK_OK(qy_server_on_pull(server, 7, on_pull, &drops, on_drop));

  int fd = raw_join(server, query);
  raw_packet(fd, 1, 0, "hello");
  raw_packet(fd, 2, 2, "");
  CHECK(gate_reached(&packets_seen, 2));
  said("uid", "青云"), said("type", "7"), said("device", "d"), said("source", "c");
  said("version", "3"), said("charset", "");
  CHECK_STATUS(qy_connection_packet_identity(kept, "age", NULL, 0, NULL), QY_ERR_INVALID_ARGUMENT);

  /* An answer long after the handler returned. */
  CHECK_OK(qy_reply_send(kept_reply, 20, "at last", 7));
  CHECK_STATUS(qy_reply_send(kept_reply, 20, "again", 5), QY_ERR_INVALID_ARGUMENT);
  qy_reply_free(kept_reply);
  CHECK(raw_expect_packet(fd, 20, "at last") == 2);

  /* The server asks, and one thread waits. */
  CHECK(pthread_create(&asker, NULL, ask, kept) == 0);
  uint32_t sn = raw_expect_packet(fd, 8, "who?");
  CHECK(sn % 2 == 1 && sn >= 3);
  raw_packet(fd, 80, sn, "me");
  CHECK(pthread_join(asker, NULL) == 0);
  CHECK_STATUS(qy_connection_request(kept, 9, NULL, 0, 1, &response), QY_ERR_TIMEOUT);
  CHECK(response == NULL);
  raw_expect_packet(fd, 9, "");
  CHECK_OK(qy_connection_request_async(kept, 9, NULL, 0, 1, QY_DELIVER_INLINE, on_end, &drops,
                                       on_drop));
  sn = raw_expect_packet(fd, 9, "");
  CHECK(gate_reached(&ended, 1) && gate_reached(&drops, 1));
  raw_packet(fd, 9, sn, "late");

  CHECK_STATUS(qy_connection_signal_pull(kept, 8), QY_ERR_NOT_FOUND);
  CHECK_OK(qy_connection_signal_pull(kept, 7));
  CHECK(gate_reached(&pulled, 1));

  /* The second one with the same id displaces the first: a notice, then the end. */
  int second = raw_join(server, query);
  raw_read(fd, bytes, 2);
  CHECK(bytes[0] == 0x82 && bytes[1] > 14 && bytes[1] < sizeof bytes);
  raw_read(fd, bytes, bytes[1]);
  CHECK(memcmp(bytes + 6, "\xff\xff\xff\x7f\0\0\0\0\x0a\x09"
                          "127.0.0.1",
               19) == 0);
  CHECK(gate_reached(&closed, 1) && last_code == 3505);
  CHECK_STATUS(qy_connection_send_packet(kept, 1, "x", 1), QY_ERR_CLOSED);

  counters.struct_size = sizeof counters;
  CHECK_OK(qy_server_packet_counters(server, &counters));
  CHECK(counters.received == 2 && counters.displaced == 1 && counters.in_flight == 0);
  CHECK(counters.timed_out == 2 && counters.late == 1 && counters.refused == 0);

  /* Replaced, removed, and what is left goes with the server. */
  CHECK_OK(qy_server_on_packet(server, 1, QY_DELIVER_INLINE, on_packet, &drops, on_drop));
  CHECK_OK(qy_server_on_packet(server, 2, QY_DELIVER_INLINE, NULL, &drops, on_drop));
  CHECK(gate_reached(&drops, 4));
  CHECK_OK(qy_server_on_packet_event(server, QY_DELIVER_THREAD, NULL, NULL, NULL));
  CHECK(gate_reached(&drops, 5));
  qy_status status = qy_server_stop(server, 0);
  CHECK(status == QY_OK || status == QY_ERR_TIMEOUT);
  CHECK(gate_count(&drops) == 7);
  CHECK_STATUS(qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_packet, &drops, on_drop),
               QY_ERR_CLOSED);
  CHECK(gate_count(&drops) == 8);
  qy_server_free(server);
  CHECK_STATUS(qy_connection_send_packet(kept, 1, "x", 1), QY_ERR_CLOSED);
  qy_connection_free(kept);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  CHECK(thread_count() == 1);
  close(fd);
  close(second);
  return 0;
}
