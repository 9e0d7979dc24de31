/* Publishing with a key, with counts, and in batches: repeats from many threads are one publication,
   what became of each message is told, and structs of other versions are taken as they are. */
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
  uint64_t before = offset_of("test");
  CHECK_OK(qy_server_publish_batch(server, items, COUNT, results));
  check_error("items[1]: channel 'none'");
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

int main(int argc, char **argv) {
  each = rounds(argc, argv, 100);
  server = server_new(host);
  concurrent_repeats_are_one_publication();
  keys();
  counts();
  batches();
  other_versions();
  CHECK_OK(qy_server_stop(server, 0));
  qy_publish_item item = {.struct_size = sizeof item};
  qy_publish_result result = {.struct_size = sizeof result};
  CHECK_STATUS(qy_server_publish_batch(server, &item, 1, &result), QY_ERR_CLOSED);
  CHECK_STATUS(qy_server_publish_with(server, "test", QY_TEXT, "x", 1, NULL, NULL), QY_ERR_CLOSED);
  qy_server_free(server);
  return 0;
}
