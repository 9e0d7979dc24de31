/* Publishing with a key, with counts, and in batches, in the process and over the network: repeats from
   many threads are one publication, what became of each message is told, and structs of other versions
   are taken as they are. Channels with options of their own. */
#include "kit.h"

#define THREADS 10

static qy_server *server;
static char host[64];
static int each;
static pthread_barrier_t together;
static atomic_int first_ones;
static atomic_ullong wrong_offsets;

static uint64_t offset_of(const char *channel) {
  qy_channel_info info = {.struct_size = sizeof info};
  CHECK_OK(qy_server_channel_info(server, channel, &info));
  return info.offset;
}

static void *repeat(void *unused) {
  qy_publish_options once = {.struct_size = sizeof once, .key = "order-7", .key_len = 7};
  (void)unused;
  pthread_barrier_wait(&together);
  for (int i = 0; i < each; i++) {
    qy_publish_result result = {.struct_size = sizeof result};
    CHECK_OK(qy_server_publish_with(server, "once", QY_TEXT, "order 7", 7, &once, &result));
    if (!result.duplicate) atomic_fetch_add(&first_ones, 1);
    if (result.offset != 1 || result.epoch == 0) atomic_fetch_add(&wrong_offsets, 1);
  }
  return NULL;
}

static void concurrent_repeats_are_one_publication(void) {
  pthread_t threads[THREADS];
  qy_server_counters before = {.struct_size = sizeof before}, after = before;
  CHECK_OK(qy_server_create_channel(server, "once"));
  CHECK_OK(qy_server_counters_get(server, &before));
  CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, repeat, NULL) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  pthread_barrier_destroy(&together);
  CHECK_OK(qy_server_counters_get(server, &after));
  CHECK(atomic_load(&first_ones) == 1 && atomic_load(&wrong_offsets) == 0);
  CHECK(offset_of("once") == 1 && after.published == before.published + 1);
}

static void keys(void) {
  qy_publish_result result = {.struct_size = sizeof result};
  qy_publish_options options = {.struct_size = sizeof options, .key = "a\0b", .key_len = 3};
  uint64_t before = offset_of("test");
  CHECK_OK(qy_server_publish_with(server, "test", QY_BINARY, "\0\1", 2, &options, &result));
  CHECK(result.offset == before + 1 && !result.duplicate && !result.has_counts);
  CHECK_OK(qy_server_publish_with(server, "test", QY_BINARY, "\0\1", 2, &options, &result));
  CHECK(result.offset == before + 1 && result.duplicate == 1);
  /* Another message under the key; a key with another end is another key. */
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, &result),
               QY_ERR_CONFLICT);
  check_error("test");
  CHECK(result.offset == 0 && result.duplicate == 0 && result.struct_size == sizeof result);
  options.key = "a\0c";
  CHECK_OK(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, &result));
  CHECK(result.offset == before + 2 && !result.duplicate);
  /* What is no key. */
  char long_key[256] = {0};
  options.key = long_key, options.key_len = 0;
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, NULL),
               QY_ERR_INVALID_ARGUMENT);
  check_error("1 to 255 bytes");
  options.key_len = 256;
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, NULL),
               QY_ERR_INVALID_ARGUMENT);
  options.key = NULL, options.key_len = 3;
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, NULL),
               QY_ERR_INVALID_ARGUMENT);
  check_error("options->key");
  options.key_len = 0, options.conflate = "";
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, NULL),
               QY_ERR_INVALID_ARGUMENT);
  options.conflate = "\xff";
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, NULL),
               QY_ERR_INVALID_UTF8);
  options.conflate = "price"; /* of no meaning here */
  CHECK_OK(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, &options, &result));
  CHECK(result.offset == before + 3 && offset_of("test") == before + 3);
}

static void counts(void) {
  qy_publish_options options = {.struct_size = sizeof options, .key = "k", .key_len = 1, .counts = 1};
  qy_publish_result result = {.struct_size = sizeof result};
  int first = raw_listen(server), second = raw_listen(server);
  CHECK_OK(qy_server_publish_with(server, "test", QY_TEXT, "both", 4, &options, &result));
  CHECK(result.has_counts == 1 && result.subscribers == 2);
  CHECK(result.reached == 2 && result.queued == 0 && result.dropped == 0);
  CHECK_OK(qy_server_publish_with(server, "test", QY_TEXT, "both", 4, &options, &result));
  CHECK(result.duplicate == 1 && result.has_counts == 1 && result.reached == 0);
  options.key = NULL, options.key_len = 0;
  CHECK_OK(qy_server_publish_with(server, "test", QY_TEXT, "again", 5, &options, &result));
  CHECK(result.reached == 2 && !result.duplicate);
  raw_expect(first, "both"), raw_expect(first, "again");
  raw_expect(second, "both"), raw_expect(second, "again");
  close(first), close(second);
}

static void batches(void) {
  enum { COUNT = 7 };
  qy_publish_options once = {.struct_size = sizeof once, .key = "batch", .key_len = 5};
  qy_publish_options counted = {.struct_size = sizeof counted, .counts = 1};
  qy_publish_options broken = {.struct_size = 3};
  qy_publish_item items[COUNT] = {
    {.struct_size = sizeof *items, .channel = "test", .kind = QY_TEXT, .data = "1", .len = 1},
    {.channel = "none", .kind = QY_TEXT, .data = "2", .len = 1},
    {.channel = "test", .kind = QY_JSON, .data = "{", .len = 1},
    {.channel = "test", .kind = QY_TEXT, .data = "3", .len = 1, .options = &once},
    {.channel = "test", .kind = QY_TEXT, .data = "3", .len = 1, .options = &once},
    {.channel = "test", .kind = QY_TEXT, .data = "4", .len = 1, .options = &broken},
    {.channel = "test", .kind = QY_BINARY, .len = 0, .options = &counted},
  };
  const qy_status expected[COUNT] = {QY_OK, QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_ARGUMENT, QY_OK,
                                     QY_OK, QY_ERR_INVALID_ARGUMENT, QY_OK};
  const uint64_t offsets[COUNT] = {1, 0, 0, 2, 2, 0, 3};
  qy_publish_result results[COUNT] = {{.struct_size = sizeof *results}};
  /* Room for a text, for the beginning of one, and for none. */
  char errors[COUNT][64];
  for (int i = 0; i < COUNT; i++) {
    memset(errors[i], '#', sizeof errors[i]);
    items[i].error = errors[i], items[i].error_cap = sizeof errors[i];
  }
  items[2].error_cap = 5, items[5].error = NULL, items[6].error_cap = 0;
  uint64_t before = offset_of("test");
  CHECK_OK(qy_server_publish_batch(server, items, COUNT, results));
  check_error("items[1]: channel 'none'");
  CHECK(strstr(errors[1], "channel 'none'") && strcmp(errors[2], "'dat") == 0 && errors[2][5] == '#');
  CHECK(!*errors[0] && !*errors[3] && !*errors[4] && *errors[5] == '#' && *errors[6] == '#');
  for (int i = 0; i < COUNT; i++) {
    CHECK(results[i].struct_size == sizeof *results && results[i].status == expected[i]);
    CHECK(results[i].offset == (offsets[i] ? before + offsets[i] : 0));
    CHECK(results[i].duplicate == (i == 4) && results[i].has_counts == (i == 6));
  }
  CHECK(offset_of("test") == before + 3);

  /* Nothing; then arrays that cannot be, of which nothing is published. */
  CHECK_OK(qy_server_publish_batch(server, items, 0, results));
  items[0].struct_size = 9;
  CHECK_STATUS(qy_server_publish_batch(server, items, 1, results), QY_ERR_INVALID_ARGUMENT);
  items[0].struct_size = sizeof *items, results[0].struct_size = 0;
  CHECK_STATUS(qy_server_publish_batch(server, items, 1, results), QY_ERR_INVALID_ARGUMENT);
  results[0].struct_size = sizeof *results;
  CHECK_STATUS(qy_server_publish_batch(server, items, (size_t)-1, results), QY_ERR_INVALID_ARGUMENT);
  check_error("'count'");
  CHECK(offset_of("test") == before + 3);
}

/* A program of a later version, whose structs are longer; and one that knows less. */
static void other_versions(void) {
  struct {
    qy_publish_item known;
    uint64_t more;
  } items[2] = {
    {{.struct_size = sizeof *items, .channel = "test", .kind = QY_TEXT, .data = "x", .len = 1}, 1},
    {{.channel = "test", .kind = QY_TEXT, .data = "y", .len = 1}, 1},
  };
  struct {
    size_t struct_size;
    uint64_t epoch, offset;
  } results[2] = {{.struct_size = sizeof *results}};
  uint64_t before = offset_of("test");
  CHECK_OK(qy_server_publish_batch(server, &items[0].known, 2, (qy_publish_result *)(void *)results));
  CHECK(results[0].offset == before + 1 && results[1].offset == before + 2);
  CHECK(results[1].struct_size == sizeof *results);
}

/* Over the network, by a client and without one. */
static void over_the_network(void) {
  enum { COUNT = 4 };
  qy_client *client = NULL;
  qy_publish_options once = {.struct_size = sizeof once, .key = "a\0\xff", .key_len = 3};
  qy_publish_options counted = {.struct_size = sizeof counted, .counts = 1};
  qy_publish_result result = {.struct_size = sizeof result};
  uint64_t before = offset_of("test");
  int listener = raw_listen(server);
  CHECK_OK(qy_client_open(host, NULL, &client));
  for (int i = 0; i < 3; i++) {
    CHECK_OK(qy_client_publish_with(client, "test", QY_BINARY, "\0\1", 2, &once, &result));
    CHECK(result.offset == before + 1 && result.duplicate == (i > 0) && !result.has_counts);
    CHECK(result.subscribers == 1 && result.epoch != 0);
  }
  CHECK_OK(qy_send_message_with(host, "test", QY_BINARY, "\0\1", 2, &once, &result));
  CHECK(result.offset == before + 1 && result.duplicate == 1);
  CHECK_STATUS(qy_client_publish_with(client, "test", QY_TEXT, "x", 1, &once, &result),
               QY_ERR_CONFLICT);
  check_error(host);
  CHECK(result.offset == 0 && result.duplicate == 0 && result.struct_size == sizeof result);
  CHECK_STATUS(qy_send_message_with(host, "test", QY_TEXT, "x", 1, &once, NULL), QY_ERR_CONFLICT);
  CHECK_OK(qy_client_publish_with(client, "test", QY_JSON, "{}", 2, &counted, &result));
  CHECK(result.offset == before + 2 && result.has_counts == 1 && result.reached == 1);
  CHECK_OK(qy_send_message_with(host, "test", QY_TEXT, "again", 5, &counted, &result));
  CHECK(result.offset == before + 3 && result.has_counts == 1 && result.reached == 1);
  CHECK_STATUS(qy_client_publish_with(client, "test", QY_JSON, "{", 1, NULL, &result),
               QY_ERR_INVALID_ARGUMENT);
  once.key_len = 0;
  CHECK_STATUS(qy_client_publish_with(client, "test", QY_TEXT, "x", 1, &once, &result),
               QY_ERR_INVALID_ARGUMENT);
  check_error("1 to 255 bytes");
  CHECK_STATUS(qy_send_message_with("a b", "test", QY_TEXT, "x", 1, NULL, NULL), QY_ERR_INVALID_URL);

  char error[64];
  once.key = "network", once.key_len = 7;
  qy_publish_item items[COUNT] = {
    {.struct_size = sizeof *items, .channel = "test", .kind = QY_TEXT, .data = "1", .len = 1,
     .options = &once},
    {.channel = "none", .kind = QY_TEXT, .data = "2", .len = 1, .error = error,
     .error_cap = sizeof error},
    {.channel = "test", .kind = QY_TEXT, .data = "\xff", .len = 1},
    {.channel = "test", .kind = QY_BINARY, .data = "\xff", .len = 1, .options = &counted},
  };
  const qy_status expected[COUNT] = {QY_OK, QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_OK};
  qy_publish_result results[COUNT] = {{.struct_size = sizeof *results}};
  for (int round = 0; round < 2; round++) {
    if (round == 0) CHECK_OK(qy_client_publish_batch(client, items, COUNT, results));
    else CHECK_OK(qy_send_batch(host, items, COUNT, results));
    check_error("items[1]: ");
    CHECK(strstr(error, "'none'") && strlen(error) + 1 == sizeof error);
    for (int i = 0; i < COUNT; i++) {
      CHECK(results[i].struct_size == sizeof *results && results[i].status == expected[i]);
      CHECK(results[i].has_counts == (i == 3));
    }
    CHECK(results[0].offset == before + 4 && results[0].duplicate == round);
    CHECK(results[3].offset == before + 5 + (uint64_t)round && results[3].reached == 1);
  }
  CHECK(qy_client_last_error(client, error, sizeof error, NULL) == QY_ERR_BUFFER_TOO_SMALL);
  CHECK(strncmp(error, "items[1]: ", 10) == 0);
  CHECK(offset_of("test") == before + 6);
  items[0].struct_size = 9;
  CHECK_STATUS(qy_client_publish_batch(client, items, 1, results), QY_ERR_INVALID_ARGUMENT);
  items[0].struct_size = sizeof *items;
  CHECK_OK(qy_client_close(client));
  CHECK_STATUS(qy_client_publish_batch(client, items, 1, results), QY_ERR_CLOSED);
  CHECK_STATUS(qy_client_publish_with(client, "test", QY_TEXT, "x", 1, NULL, NULL), QY_ERR_CLOSED);
  qy_client_free(client);
  close(listener);
}

static void channels_with_options(void) {
  qy_options *with = NULL, *other = NULL;
  qy_client *client = NULL;
  qy_history *page = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_CHANNEL, &with));
  CHECK_OK(qy_options_set_int(with, "history_size", 2));
  CHECK_STATUS(qy_options_set(with, "overload", "shrug"), QY_ERR_INVALID_OPTION);
  CHECK_STATUS(qy_options_set(with, "listen", "x"), QY_ERR_UNKNOWN_OPTION);
  CHECK_OK(qy_client_open(host, NULL, &client));
  CHECK_OK(qy_server_create_channel_with(server, "kept", with));
  CHECK_OK(qy_client_create_channel_with(client, "kept far", with, NULL));
  for (int i = 0; i < 2; i++) {
    const char *name = i ? "kept far" : "kept";
    for (int n = 0; n < 3; n++) CHECK_OK(qy_server_publish(server, name, QY_TEXT, "x", 1, NULL));
    CHECK_OK(qy_server_history(server, name, NULL, &page));
    CHECK(qy_history_count(page) == 2 && qy_history_publications(page)[1].offset == 3);
    qy_history_free(page);
  }
  CHECK_STATUS(qy_server_create_channel_with(server, "kept", with), QY_ERR_CHANNEL_EXISTS);
  CHECK_STATUS(qy_client_create_channel_with(client, "kept", with, ""), QY_ERR_CHANNEL_EXISTS);
  CHECK_OK(qy_options_set(with, "durability", "fsync"));
  CHECK_STATUS(qy_server_create_channel_with(server, "durable", with), QY_ERR_INVALID_OPTION);
  check_error("store");
  CHECK_STATUS(qy_client_create_channel_with(client, "durable", with, NULL), QY_ERR_REFUSED);
  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &other));
  CHECK_STATUS(qy_server_create_channel_with(server, "x", other), QY_ERR_INVALID_ARGUMENT);
  check_error("QY_OPTIONS_CHANNEL");
  qy_options_free(other);
  qy_options_free(with);
  qy_client_free(client);
}

int main(int argc, char **argv) {
  each = rounds(argc, argv, 100);
  server = server_new(host);
  concurrent_repeats_are_one_publication();
  keys();
  counts();
  batches();
  other_versions();
  over_the_network();
  channels_with_options();
  CHECK_OK(qy_server_stop(server, PATIENCE_MS));
  qy_publish_item item = {.struct_size = sizeof item};
  qy_publish_result result = {.struct_size = sizeof result};
  CHECK_STATUS(qy_server_publish_batch(server, &item, 1, &result), QY_ERR_CLOSED);
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, NULL, NULL), QY_ERR_CLOSED);
  qy_server_free(server);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  return 0;
}
