/* Other options for a server that runs: in force at once, for those who are connected, too; what
   needs a restart is named; what cannot be changes nothing. */
#include "kit.h"

int main(void) {
  char host[64], text[256], restart[256];
  qy_server *server = NULL;
  qy_options *options = NULL, *other = NULL;
  size_t needed = 0;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", "127.0.0.1:0"));
  CHECK_OK(qy_options_set_int(options, "shards", 2));
  CHECK_OK(qy_options_set_int(options, "max_message_bytes", 100));
  CHECK_OK(qy_server_start(options, &server));
  CHECK_OK(qy_server_address(server, host, sizeof host, NULL));
  CHECK_OK(qy_server_create_channel(server, "test"));
  qy_client *client = client_new(host);
  qy_subscription *subscription = pull(client, "test");
  expect_connected(subscription);
  memset(text, 'x', sizeof text);
  CHECK_STATUS(qy_server_publish(server, "test", QY_TEXT, text, 200, NULL), QY_ERR_TOO_LARGE);

  CHECK_OK(qy_options_set_int(options, "max_message_bytes", 200));
  CHECK_OK(qy_server_reload(server, options, restart, sizeof restart, &needed));
  CHECK(strcmp(restart, "") == 0 && needed == 1);
  CHECK_OK(qy_server_publish(server, "test", QY_TEXT, text, 200, NULL));
  text[200] = 0;
  expect(subscription, QY_EVENT_MESSAGE, text);

  CHECK_OK(qy_options_set_int(options, "shards", 3));
  CHECK_OK(qy_options_set(options, "thread_name", "other"));
  CHECK_OK(qy_options_set_int(options, "max_message_bytes", 150));
  CHECK_STATUS(qy_server_reload(server, options, restart, 4, &needed), QY_ERR_BUFFER_TOO_SMALL);
  CHECK(needed == sizeof "shards, thread_name" && strcmp(restart, "sha") == 0);
  CHECK_STATUS(qy_server_publish(server, "test", QY_TEXT, text, 151, NULL), QY_ERR_TOO_LARGE);
  CHECK_OK(qy_server_reload(server, options, restart, sizeof restart, NULL));
  CHECK(strcmp(restart, "shards, thread_name") == 0);
  CHECK_OK(qy_server_reload(server, options, NULL, 0, NULL));

  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &other));
  CHECK_STATUS(qy_server_reload(server, other, NULL, 0, NULL), QY_ERR_INVALID_ARGUMENT);
  check_error("QY_OPTIONS_SERVER");
  qy_options_free(other);

  CHECK_OK(qy_server_stop(server, PATIENCE_MS));
  CHECK_STATUS(qy_server_reload(server, options, NULL, 0, NULL), QY_ERR_CLOSED);
  qy_options_free(options);
  qy_subscription_free(subscription);
  qy_client_free(client);
  qy_server_free(server);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  return 0;
}
