/* Patterns, and who is in a channel: the list here and over the network, and who comes and goes. */
#include "kit.h"

static qy_server *server;
static qy_client *client;
static char host[64];

/* The next event; its data, channel and user are copied. */
static qy_event next(qy_subscription *subscription, char *data, char *channel, char *user) {
  qy_batch *batch = NULL;
  CHECK_OK(qy_subscription_recv(subscription, PATIENCE_MS, &batch));
  qy_event event = *qy_batch_events(batch);
  CHECK(event.struct_size == sizeof event);
  snprintf(data, 64, "%.*s", (int)event.len, (const char *)event.data);
  snprintf(channel, 64, "%.*s", (int)event.channel_len, event.channel);
  snprintf(user, 64, "%.*s", (int)event.user_len, event.user ? event.user : "");
  qy_batch_free(batch);
  return event;
}

static void patterns(void) {
  qy_subscription *news = NULL;
  char data[64], channel[64], user[64];
  CHECK_STATUS(qy_client_subscribe_pattern(client, "a.>.b", QY_DELIVER_THREAD, NULL, NULL, NULL, &news),
               QY_ERR_INVALID_NAME);
  CHECK_OK(qy_server_create_channel(server, "news.a"));
  CHECK_OK(qy_client_subscribe_pattern(client, "news.*", QY_DELIVER_THREAD, NULL, NULL, NULL, &news));
  qy_event event = next(news, data, channel, user);
  CHECK(event.event == QY_EVENT_CONNECTED && event.recovered == -1 && strcmp(channel, "news.*") == 0);
  static const char *names[] = {"news.a", "news.b"};
  CHECK_OK(qy_server_create_channel(server, "news.b"));
  for (int i = 0; i < 2; i++) {
    CHECK_OK(qy_server_publish(server, names[i], QY_BINARY, names[i], 6, NULL));
    event = next(news, data, channel, user);
    CHECK(event.event == QY_EVENT_MESSAGE && event.kind == QY_BINARY && event.offset == 1);
    CHECK(strcmp(channel, names[i]) == 0 && strcmp(data, names[i]) == 0);
    CHECK(event.user == NULL && event.time_ms == 0);
  }
  qy_subscription_free(news);
}

static uint64_t count(qy_presence *page, uint64_t members, int32_t more) {
  qy_presence_info info = {.struct_size = sizeof info};
  CHECK_OK(qy_presence_info_get(page, &info));
  CHECK(qy_presence_count(page) == members && info.more == more && info.anonymous == 0);
  const qy_present *first = qy_presence_members(page);
  CHECK((first == NULL) == (members == 0));
  CHECK(first == NULL || (first->struct_size == sizeof *first && first->id_len == 36));
  CHECK(first == NULL || (first->connected_ms > 1700000000000 && first->user == NULL));
  return info.count;
}

static void presence(void) {
  qy_subscription *room = NULL, *theirs = NULL;
  qy_client *other = NULL;
  qy_presence *page = NULL;
  char own[64], data[64], channel[64], user[64];
  CHECK_STATUS(qy_client_subscribe_presence(client, "plain", QY_DELIVER_THREAD, NULL, NULL, NULL, &room),
               QY_ERR_CHANNEL_NOT_FOUND);
  CHECK_OK(qy_client_subscribe_presence(client, "room", QY_DELIVER_THREAD, NULL, NULL, NULL, &room));
  CHECK(next(room, data, channel, user).event == QY_EVENT_CONNECTED);
  qy_event event = next(room, own, channel, user);
  CHECK(event.event == QY_EVENT_JOIN && event.edge == 1 && event.user == NULL);
  CHECK(strlen(own) == 36 && event.time_ms > 1700000000000);
  CHECK_OK(qy_client_open(host, NULL, &other));
  CHECK_OK(qy_client_subscribe_presence(other, "room", QY_DELIVER_THREAD, NULL, NULL, NULL, &theirs));
  event = next(room, data, channel, user);
  CHECK(event.event == QY_EVENT_JOIN && strcmp(data, own) != 0 && strcmp(channel, "room") == 0);

  CHECK_OK(qy_client_presence(client, "room", NULL, 1, &page));
  CHECK(count(page, 1, 1) == 2);
  snprintf(data, sizeof data, "%.*s", (int)qy_presence_members(page)->id_len,
           qy_presence_members(page)->id);
  qy_presence_free(page);
  CHECK_OK(qy_client_presence(client, "room", data, 0, &page));
  CHECK(count(page, 1, 0) == 2);
  qy_presence_free(page);
  CHECK_OK(qy_server_presence(server, "room", NULL, 0, &page));
  CHECK(count(page, 2, 0) == 2);
  CHECK(memcmp(qy_presence_members(page)->id, data, 36) == 0);
  qy_presence_free(page);
  CHECK_STATUS(qy_client_presence(client, "room", NULL, 1001, &page), QY_ERR_REFUSED);
  CHECK_STATUS(qy_server_presence(server, "room", NULL, 1001, &page), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_client_presence(client, "plain", NULL, 0, &page), QY_ERR_CHANNEL_NOT_FOUND);
  CHECK_STATUS(qy_server_presence(server, "plain", NULL, 0, &page), QY_ERR_NOT_FOUND);
  CHECK_STATUS(qy_server_presence(server, "none such", NULL, 0, &page), QY_ERR_CHANNEL_NOT_FOUND);

  CHECK_OK(qy_server_publish(server, "room", QY_TEXT, "hi", 2, NULL));
  CHECK(next(room, data, channel, user).event == QY_EVENT_MESSAGE && strcmp(data, "hi") == 0);
  /* The other's end, whatever it is, is told behind the message. */
  qy_client_free(other);
  event = next(room, data, channel, user);
  CHECK(event.event == QY_EVENT_LEAVE && event.edge == 1 && event.offset == 1);
  qy_subscription_free(theirs);
  qy_subscription_free(room);
}

int main(void) {
  qy_options *options = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", "127.0.0.1:0"));
  CHECK_OK(qy_options_set(options, "namespaces", "room: presence=true, auto_create=true"));
  CHECK_OK(qy_server_start(options, &server));
  qy_options_free(options);
  CHECK_OK(qy_server_address(server, host, sizeof host, NULL));
  CHECK_OK(qy_server_create_channel(server, "plain"));
  CHECK_OK(qy_client_open(host, NULL, &client));
  patterns();
  presence();
  qy_client_free(client);
  qy_server_free(server);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  return 0;
}
