/* A host with the default disposition of SIGPIPE survives peers that close abruptly, on both sides
   of the library, and its dispositions are as they were. */
#include "kit.h"

#define PEERS 20

static struct sigaction dispositions[32];

static void read_dispositions(struct sigaction *out) {
  for (int number = 1; number < 32; number++) sigaction(number, NULL, &out[number]);
}

static void vanish(int fd, int abruptly) {
  if (abruptly)
    raw_reset(fd);
  else
    close(fd);
}

/* Listeners and requesters that vanish while the server writes to them. */
static void peers_of_the_server(qy_server *server, qy_subscription *witness) {
  char large[16384];
  int fds[PEERS];
  memset(large, 'x', sizeof large - 1);
  large[sizeof large - 1] = 0;
  for (int i = 0; i < PEERS; i++) fds[i] = raw_listen(server);
  for (int i = 0; i < PEERS; i++) {
    publish(server, large);
    vanish(fds[i], i % 2);
    publish(server, large);
    expect(witness, QY_EVENT_MESSAGE, large);
    expect(witness, QY_EVENT_MESSAGE, large);
  }
  for (int i = 0; i < PEERS; i++) {
    int fd = raw_connect(server);
    for (int n = 0; n < 50; n++) raw_send(fd, "GET /channel/send/none/x HTTP/1.1\r\nHost: x\r\n\r\n");
    vanish(fd, i % 2);
  }
  publish(server, "still here");
  expect(witness, QY_EVENT_MESSAGE, "still here");
}

/* A server that accepts and resets at once, as often as it is told. */
static void *reset_all(void *argument) {
  int listener = *(int *)argument;
  for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) raw_reset(fd);
  return NULL;
}

static void peers_of_the_client(void) {
  struct sockaddr_in address = {0};
  socklen_t size = sizeof address;
  pthread_t thread;
  char host[64];
  qy_client *client = NULL;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(listen(listener, 64) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
  CHECK(pthread_create(&thread, NULL, reset_all, &listener) == 0);
  snprintf(host, sizeof host, "127.0.0.1:%d", ntohs(address.sin_port));

  CHECK_OK(qy_client_open(host, NULL, &client));
  for (int i = 0; i < PEERS; i++) {
    qy_status status = qy_send_message(host, "test", "into the void");
    CHECK(status == QY_ERR_CONNECT || status == QY_ERR_PROTOCOL || status == QY_ERR_IO);
    check_error(host);
  }
  CHECK_STATUS(qy_client_wait_connected(client, 300), QY_ERR_TIMEOUT);
  qy_client_free(client);
  shutdown(listener, SHUT_RDWR);
  pthread_join(thread, NULL);
  close(listener);
}

/* A client whose server goes away between its writes. */
static void a_server_that_goes(void) {
  char host[64];
  qy_server *server = server_new(host);
  qy_client *client = client_new(host);
  CHECK_OK(qy_client_publish(client, "test", QY_TEXT, "x", 1, NULL));
  CHECK_OK(qy_send_message(host, "test", "kept alive"));
  qy_server_free(server);
  for (int i = 0; i < PEERS; i++) {
    qy_client_publish_nowait(client, "test", QY_TEXT, "x", 1);
    CHECK_STATUS(qy_send_message(host, "test", "x"), QY_ERR_CONNECT);
  }
  qy_client_free(client);
}

int main(void) {
  struct sigaction now[32];
  char host[64];
  read_dispositions(dispositions);
  CHECK(dispositions[SIGPIPE].sa_handler == SIG_DFL);
  qy_server *server = server_new(host);
  qy_client *client = client_new(host);
  qy_subscription *witness = pull(client, "test");
  expect_connected(witness);
  peers_of_the_server(server, witness);
  peers_of_the_client();
  a_server_that_goes();
  qy_subscription_free(witness);
  qy_client_free(client);
  CHECK_OK(qy_shutdown(PATIENCE_MS));
  qy_server_free(server);
  read_dispositions(now);
  for (int number = 1; number < 32; number++)
    CHECK(now[number].sa_handler == dispositions[number].sa_handler);
  return 0;
}
