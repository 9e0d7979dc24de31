/* Positions: a subscription that continues, from a position of the program's or after its connection
   was lost; what cannot be had is told; history forward and backward, here and over the network. */
#include "kit.h"

static qy_server *server;
static qy_client *client;

static void fill(int from, int to) {
  for (int number = from; number <= to; number++) {
    char text[16];
    int length = snprintf(text, sizeof text, "%d", number);
    CHECK_OK(qy_server_publish(server, "kept", QY_TEXT, text, (size_t)length, NULL));
  }
}

static qy_position position_of(const char *channel) {
  qy_channel_info info = {.struct_size = sizeof info};
  CHECK_OK(qy_server_channel_info(server, channel, &info));
  qy_position at = {sizeof at, info.epoch, info.offset};
  return at;
}

/* The next event that is no error; its data is copied. */
static qy_event next(qy_subscription *subscription, char *data, size_t cap) {
  for (;;) {
    qy_batch *batch = NULL;
    CHECK_OK(qy_subscription_recv(subscription, PATIENCE_MS, &batch));
    qy_event event = *qy_batch_events(batch);
    snprintf(data, cap, "%.*s", (int)event.len, (const char *)event.data);
    qy_batch_free(batch);
    if (event.event != QY_EVENT_ERROR) return event;
  }
}

static void expect_start(qy_subscription *subscription, uint64_t offset, int32_t recovered) {
  char data[128];
  qy_event event = next(subscription, data, sizeof data);
  CHECK(event.struct_size == sizeof event && event.event == QY_EVENT_CONNECTED);
  CHECK(event.offset == offset && event.recovered == recovered);
  CHECK((strstr(data, "missed") != NULL) == (recovered == 0));
}

static void expect_messages(qy_subscription *subscription, int from, int to) {
  for (int number = from; number <= to; number++) {
    char data[16], text[16];
    qy_event event = next(subscription, data, sizeof data);
    snprintf(text, sizeof text, "%d", number);
    CHECK(event.event == QY_EVENT_MESSAGE && event.recovered == -1);
    CHECK(event.offset == (uint64_t)number && strcmp(data, text) == 0);
  }
}

static qy_subscription *since(const char *channel, qy_position at) {
  qy_subscription *subscription = NULL;
  CHECK_OK(qy_client_subscribe_since(client, channel, &at, QY_DELIVER_THREAD, NULL, NULL, NULL,
                                     &subscription));
  return subscription;
}

static void positions(void) {
  qy_position at = position_of("kept");
  /* All that is kept, nothing, and what is not kept any more. */
  at.offset = 10;
  qy_subscription *all = since("kept", at);
  expect_start(all, 10, 1);
  expect_messages(all, 11, 20);
  /* The channel is subscribed to: this one has its own connection, and neither is disturbed. */
  at.offset = 20;
  qy_subscription *present = since("kept", at);
  expect_start(present, 20, 1);
  at.offset = 9;
  qy_subscription *lost = since("kept", at);
  expect_start(lost, 20, 0);
  at.epoch--;
  qy_subscription *elsewhere = since("kept", at);
  expect_start(elsewhere, 20, 0);
  fill(21, 22);
  qy_subscription *every[] = {all, present, lost, elsewhere};
  for (size_t i = 0; i < 4; i++) {
    expect_messages(every[i], 21, 22);
    qy_subscription_free(every[i]);
  }
}

static void connections_lost(int times) {
  qy_subscription *subscription = NULL, *plain = NULL;
  CHECK_OK(qy_client_subscribe(client, "kept", QY_DELIVER_THREAD, NULL, NULL, NULL, &subscription));
  CHECK_OK(qy_client_subscribe(client, "plain", QY_DELIVER_THREAD, NULL, NULL, NULL, &plain));
  expect_start(subscription, 22, -1);
  expect_start(plain, 0, -1);
  for (int i = 0; i < times; i++) {
    /* A message over sixteen times the server's limit makes it close the connection. */
    static char huge[17 * 1000];
    int last = 22 + 10 * i;
    fill(last + 1, last + 5);
    CHECK_STATUS(qy_client_publish(client, "kept", QY_BINARY, huge, sizeof huge, NULL),
                 QY_ERR_TOO_LARGE);
    fill(last + 6, last + 10);
    CHECK_OK(qy_client_wait_connected(client, PATIENCE_MS));
    /* The reconnection comes somewhere between the messages; none is missing or doubled. */
    int connected = 0;
    for (int number = last + 1; number <= last + 10 || !connected;) {
      char data[64], text[16];
      qy_event event = next(subscription, data, sizeof data);
      if (event.event == QY_EVENT_CONNECTED) {
        CHECK(event.recovered == 1 && event.offset == (uint64_t)number - 1);
        connected++;
        continue;
      }
      snprintf(text, sizeof text, "%d", number++);
      CHECK(event.event == QY_EVENT_MESSAGE && strcmp(data, text) == 0);
    }
    CHECK(connected == 1);
    /* Nothing was published meanwhile on the channel without history. */
    expect_start(plain, 0, 1);
  }
  qy_subscription_free(subscription);
  qy_subscription_free(plain);
}

static void check_page(qy_history *page, uint64_t from, int step, size_t count, int32_t more) {
  qy_position at = position_of("kept");
  qy_history_info info = {.struct_size = sizeof info};
  CHECK_OK(qy_history_info_get(page, &info));
  CHECK(info.epoch == at.epoch && info.offset == at.offset && info.more == more);
  CHECK(info.first == at.offset - 9);
  CHECK(qy_history_count(page) == count);
  const qy_publication *rows = qy_history_publications(page);
  for (size_t i = 0; i < count; i++) {
    char text[24];
    uint64_t offset = from + (uint64_t)((int64_t)i * step);
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)offset);
    CHECK(rows[i].struct_size == sizeof rows[i] && rows[i].offset == offset);
    CHECK(rows[i].kind == QY_TEXT && rows[i].len == (size_t)length);
    CHECK(memcmp(rows[i].data, text, rows[i].len) == 0);
    CHECK(rows[i].time_ms > 1500000000000 && (i == 0 || step < 0 || rows[i].time_ms >= rows[i - 1].time_ms));
  }
  qy_history_free(page);
}

static void history(void) {
  uint64_t last = position_of("kept").offset;
  qy_history_range range = {.struct_size = sizeof range};
  qy_history *page = NULL;
  CHECK_OK(qy_client_history(client, "kept", NULL, &page));
  check_page(page, last - 9, 1, 10, 0);
  CHECK_OK(qy_server_history(server, "kept", NULL, &page));
  check_page(page, last - 9, 1, 10, 0);
  range.after = last - 8, range.before = last, range.limit = 3;
  CHECK_OK(qy_client_history(client, "kept", &range, &page));
  check_page(page, last - 7, 1, 3, 1);
  range.backward = 1, range.limit = 7;
  CHECK_OK(qy_server_history(server, "kept", &range, &page));
  check_page(page, last - 1, -1, 7, 0);
  CHECK_OK(qy_client_history(client, "kept", &range, &page));
  check_page(page, last - 1, -1, 7, 0);
  range.limit = 1001;
  CHECK_STATUS(qy_client_history(client, "kept", &range, &page), QY_ERR_REFUSED);
  CHECK(page == NULL);
  CHECK_STATUS(qy_server_history(server, "kept", &range, &page), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_client_history(client, "none such", NULL, &page), QY_ERR_CHANNEL_NOT_FOUND);
  CHECK_STATUS(qy_server_history(server, "none such", NULL, &page), QY_ERR_CHANNEL_NOT_FOUND);
}

int main(int argc, char **argv) {
  int times = rounds(argc, argv, 3);
  char host[64];
  qy_options *options = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", "127.0.0.1:0"));
  CHECK_OK(qy_options_set(options, "namespaces", "kept: history_size=10"));
  CHECK_OK(qy_options_set_int(options, "max_message_bytes", 1000));
  CHECK_OK(qy_server_start(options, &server));
  qy_options_free(options);
  CHECK_OK(qy_server_address(server, host, sizeof host, NULL));
  CHECK_OK(qy_server_create_channel(server, "kept"));
  CHECK_OK(qy_server_create_channel(server, "plain"));
  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &options));
  CHECK_OK(qy_options_set_int(options, "reconnect_min_ms", 1));
  CHECK_OK(qy_client_open(host, options, &client));
  qy_options_free(options);
  fill(1, 20);
  positions();
  connections_lost(times);
  history();
  qy_client_free(client);
  qy_server_free(server);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  return 0;
}
