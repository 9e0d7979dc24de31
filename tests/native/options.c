/* Options: every key is described and takes its own default; errors say what would be taken; a
   struct of another version is filled as far as it reaches; error texts are cut, never overrun. */
#include "kit.h"

static const qy_option_info EMPTY = {sizeof(qy_option_info), NULL, NULL, NULL, NULL, 0, 0, NULL};

static void each_key_takes_its_default(int32_t kind) {
  qy_options *options = NULL;
  qy_option_info info = EMPTY;
  size_t count = 0;
  CHECK_OK(qy_options_new(kind, &options));
  for (; qy_options_describe(kind, count, &info) == QY_OK; count++) {
    CHECK(info.struct_size == sizeof info);
    CHECK(strlen(info.key) > 0 && strlen(info.help) > 0);
    CHECK_OK(qy_options_set(options, info.key, info.default_value));
    CHECK((strcmp(info.type, "choice") == 0) == (info.choices != NULL));
    if (strcmp(info.type, "integer") == 0) {
      CHECK(info.min <= info.max);
      CHECK_OK(qy_options_set_int(options, info.key, (int64_t)info.max));
      CHECK_STATUS(qy_options_set_int(options, info.key, -1), QY_ERR_INVALID_OPTION);
    } else if (strcmp(info.type, "boolean") == 0) {
      CHECK_OK(qy_options_set_int(options, info.key, 1));
      CHECK_STATUS(qy_options_set_int(options, info.key, 2), QY_ERR_INVALID_OPTION);
    } else {
      CHECK_STATUS(qy_options_set_int(options, info.key, 1), QY_ERR_INVALID_OPTION);
      check_error("qy_options_set");
    }
  }
  CHECK(count > 10);
  CHECK_STATUS(qy_options_describe(kind, count, &info), QY_ERR_NOT_FOUND);
  CHECK(info.key == NULL && info.max == 0);
  qy_options_free(options);
}

static void errors_say_what_would_be_taken(void) {
  qy_options *options = NULL;
  CHECK_STATUS(qy_options_new(99, &options), QY_ERR_INVALID_ARGUMENT);
  CHECK(options == NULL);
  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &options));
  CHECK_STATUS(qy_options_set(options, "colour", "red"), QY_ERR_UNKNOWN_OPTION);
  check_error("queue_messages");
  CHECK_STATUS(qy_options_set_int(options, "colour", 1), QY_ERR_UNKNOWN_OPTION);
  CHECK_STATUS(qy_options_set(options, "overflow", "explode"), QY_ERR_INVALID_OPTION);
  check_error("drop_oldest, drop_newest, block");
  CHECK_STATUS(qy_options_set(options, "queue_messages", "0"), QY_ERR_INVALID_OPTION);
  CHECK_STATUS(qy_options_set(options, "queue_messages", "many"), QY_ERR_INVALID_OPTION);
  CHECK_STATUS(qy_options_set(options, "ca_file", "\xc3("), QY_ERR_INVALID_UTF8);
  qy_options_free(options);
}

static void a_struct_of_another_version(void) {
  struct {
    qy_option_info info;
    uint64_t later;
  } newer;
  qy_option_info info;
  memset(&info, 0x5a, sizeof info);
  info.struct_size = 2 * sizeof(size_t);
  CHECK_OK(qy_options_describe(QY_OPTIONS_SERVER, 0, &info));
  CHECK(strcmp(info.key, "listen") == 0);
  CHECK(info.max == 0x5a5a5a5a5a5a5a5a);

  newer.info.struct_size = sizeof newer;
  newer.later = 1;
  CHECK_OK(qy_options_describe(QY_OPTIONS_SERVER, 0, &newer.info));
  CHECK(newer.later == 0 && strcmp(newer.info.key, "listen") == 0);

  for (size_t i = 0; i < 3; i++) {
    const size_t nonsense[] = {0, 7, (size_t)-1};
    info.struct_size = nonsense[i];
    CHECK_STATUS(qy_options_describe(QY_OPTIONS_SERVER, 0, &info), QY_ERR_INVALID_ARGUMENT);
    check_error("struct_size");
  }
}

static void an_error_text_is_cut_and_never_overrun(void) {
  char whole[256], part[8];
  size_t needed = 0;
  CHECK_STATUS(qy_options_new(77, NULL), QY_ERR_INVALID_ARGUMENT);
  CHECK_STATUS(qy_last_error(NULL, 0, &needed), QY_ERR_BUFFER_TOO_SMALL);
  CHECK(needed > sizeof part && needed < sizeof whole);
  CHECK_OK(qy_last_error(whole, needed, NULL));
  CHECK(strlen(whole) + 1 == needed);
  memset(part, '#', sizeof part);
  CHECK_STATUS(qy_last_error(part, sizeof part - 1, &needed), QY_ERR_BUFFER_TOO_SMALL);
  CHECK(memcmp(part, whole, sizeof part - 2) == 0 && part[6] == 0 && part[7] == '#');
  CHECK_STATUS(qy_last_error(NULL, 1, &needed), QY_ERR_INVALID_ARGUMENT);
}

int main(void) {
  each_key_takes_its_default(QY_OPTIONS_SERVER);
  each_key_takes_its_default(QY_OPTIONS_CLIENT);
  each_key_takes_its_default(QY_OPTIONS_SOCKET);
  each_key_takes_its_default(QY_OPTIONS_CHANNEL);
  errors_say_what_would_be_taken();
  a_struct_of_another_version();
  an_error_text_is_cut_and_never_overrun();
  CHECK(thread_count() == 1);
  return 0;
}
