/* Several servers in one process know nothing of each other; the port of one that has stopped is
   free, one that is taken is refused with the address in the text. */
#include "kit.h"

#define SERVERS 5

int main(void) {
  char hosts[SERVERS][64], text[256];
  qy_server *servers[SERVERS], *other = NULL;
  qy_client *clients[SERVERS];
  qy_subscription *subscriptions[SERVERS];
  qy_options *options = NULL;
  size_t needed = 0;
  for (int i = 0; i < SERVERS; i++) {
    servers[i] = server_new(hosts[i]);
    clients[i] = client_new(hosts[i]);
    subscriptions[i] = pull(clients[i], "test");
    expect_connected(subscriptions[i]);
  }
  for (int i = 0; i < SERVERS; i++) {
    snprintf(text, sizeof text, "for %d only", i);
    CHECK_OK(qy_send_message(hosts[i], "test", text));
  }
  for (int i = 0; i < SERVERS; i++) {
    snprintf(text, sizeof text, "for %d only", i);
    expect(subscriptions[i], QY_EVENT_MESSAGE, text);
    qy_batch *batch = NULL;
    CHECK_STATUS(qy_subscription_recv(subscriptions[i], 0, &batch), QY_ERR_TIMEOUT);
  }

  CHECK_STATUS(qy_server_create_channel(servers[0], "test"), QY_ERR_CHANNEL_EXISTS);
  CHECK_OK(qy_server_last_error(servers[0], text, sizeof text, NULL));
  CHECK(strlen(text) > 0);
  CHECK_OK(qy_server_last_error(servers[1], text, sizeof text, &needed));
  CHECK(strlen(text) == 0 && needed == 1);

  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", hosts[0]));
  CHECK_STATUS(qy_server_start(options, &other), QY_ERR_ADDRESS_IN_USE);
  CHECK(other == NULL);
  check_error(hosts[0]);
  for (int i = 0; i < SERVERS; i++) {
    qy_subscription_free(subscriptions[i]);
    qy_client_free(clients[i]);
  }
  CHECK_OK(qy_server_stop(servers[0], 1000));
  CHECK_OK(qy_server_start(options, &other));
  CHECK_OK(qy_server_address(other, text, sizeof text, NULL));
  CHECK(strcmp(text, hosts[0]) == 0);
  CHECK_STATUS(qy_server_address(other, text, 5, &needed), QY_ERR_BUFFER_TOO_SMALL);
  CHECK(needed == strlen(hosts[0]) + 1 && strlen(text) == 4);
  qy_server_free(other);
  qy_options_free(options);

  uint16_t port = 0;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", "127.0.0.1:0"));
  CHECK_OK(qy_options_set(options, "grpc_listen", "127.0.0.1:0"));
  CHECK_OK(qy_server_start(options, &other));
  CHECK_OK(qy_server_grpc_port(other, &port));
  CHECK(port != 0);
  qy_server_free(other);
  qy_options_free(options);

  CHECK_OK(qy_options_new(QY_OPTIONS_CLIENT, &options));
  CHECK_STATUS(qy_server_start(options, &other), QY_ERR_INVALID_ARGUMENT);
  check_error("QY_OPTIONS_SERVER");
  qy_options_free(options);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  for (int i = 0; i < SERVERS; i++) qy_server_free(servers[i]);
  CHECK(thread_count() == 1);
  return 0;
}
