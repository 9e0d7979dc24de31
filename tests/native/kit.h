/* The test kit: checks that end the process, things to wait for, and a look at what it holds. */
#ifndef KIT_H
#define KIT_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <qyun.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Long enough for a loaded machine under valgrind; no test waits so long when it passes. */
#define PATIENCE_MS 20000

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) kit_fail(__FILE__, __LINE__, #condition, NULL);                 \
  } while (0)

#define CHECK_STATUS(call, expected)                                                  \
  do {                                                                                \
    qy_status kit_status = (call);                                                    \
    if (kit_status != (expected))                                                     \
      kit_fail(__FILE__, __LINE__, #call, qy_status_name(kit_status));                \
  } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, QY_OK)

static inline void kit_fail(const char *file, int line, const char *what, const char *got) {
  char why[512];
  qy_last_error(why, sizeof why, NULL);
  fprintf(stderr, "%s:%d: %s%s%s\n  errno: %s\n  last error: %s\n", file, line, what,
          got ? " returned " : " is false", got ? got : "", strerror(errno), why);
  fflush(NULL);
  _exit(1);
}

/* This thread's last error contains `part`. */
static inline void check_error(const char *part) {
  char why[512];
  CHECK_OK(qy_last_error(why, sizeof why, NULL));
  if (!strstr(why, part)) kit_fail("last error", 0, part, "something else");
}

/* ---- what the process holds ---- */

static inline int kit_entries(const char *folder) {
  DIR *dir = opendir(folder);
  int count = 0;
  CHECK(dir != NULL);
  while (readdir(dir)) count++;
  closedir(dir);
  return count;
}

static inline int thread_count(void) { return kit_entries("/proc/self/task") - 2; }

/* Not the one that is open to count them. */
static inline int fd_count(void) { return kit_entries("/proc/self/fd") - 3; }

static inline size_t heap_bytes(void) { return mallinfo2().uordblks + mallinfo2().hblkhd; }

/* ---- something to wait for: a number that only grows ---- */

typedef struct gate {
  pthread_mutex_t mutex;
  pthread_cond_t grown;
  unsigned long count;
} gate;

#define GATE {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void gate_pass(gate *g) {
  pthread_mutex_lock(&g->mutex);
  g->count++;
  pthread_cond_broadcast(&g->grown);
  pthread_mutex_unlock(&g->mutex);
}

static inline unsigned long gate_count(gate *g) {
  pthread_mutex_lock(&g->mutex);
  unsigned long count = g->count;
  pthread_mutex_unlock(&g->mutex);
  return count;
}

/* Whether the count reached `count` in time. */
static inline int gate_reached(gate *g, unsigned long count) {
  struct timespec until;
  int error = 0;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += PATIENCE_MS / 1000;
  pthread_mutex_lock(&g->mutex);
  while (g->count < count && !error) error = pthread_cond_timedwait(&g->grown, &g->mutex, &until);
  int reached = g->count >= count;
  pthread_mutex_unlock(&g->mutex);
  return reached;
}

/* ---- a server, and programs that talk to it ---- */

static inline qy_server *server_on(const char *listen) {
  qy_options *options = NULL;
  qy_server *server = NULL;
  CHECK_OK(qy_options_new(QY_OPTIONS_SERVER, &options));
  CHECK_OK(qy_options_set(options, "listen", listen));
  CHECK_OK(qy_options_set_int(options, "shards", 1));
  CHECK_OK(qy_options_set(options, "namespaces", "there: presence=true, auto_create=true"));
  CHECK_OK(qy_server_start(options, &server));
  CHECK(server != NULL);
  qy_options_free(options);
  return server;
}

/* A server on a free port, with the channel "test"; `host` receives its address. */
static inline qy_server *server_new(char host[64]) {
  qy_server *server = server_on("127.0.0.1:0");
  CHECK_OK(qy_server_address(server, host, 64, NULL));
  CHECK_OK(qy_server_create_channel(server, "test"));
  return server;
}

static inline qy_client *client_new(const char *host) {
  qy_client *client = NULL;
  CHECK_OK(qy_client_open(host, NULL, &client));
  CHECK_OK(qy_client_wait_connected(client, PATIENCE_MS));
  return client;
}

static inline qy_subscription *pull(qy_client *client, const char *channel) {
  qy_subscription *subscription = NULL;
  CHECK_OK(qy_client_subscribe(client, channel, QY_DELIVER_THREAD, NULL, NULL, NULL,
                               &subscription));
  return subscription;
}

static inline void publish(qy_server *server, const char *text) {
  CHECK_OK(qy_server_publish(server, "test", QY_TEXT, text, strlen(text), NULL));
}

static inline int event_is(const qy_event *event, int32_t code, const char *text) {
  return event->event == code && event->len == strlen(text) &&
         memcmp(event->data, text, event->len) == 0;
}

/* Takes one event, which must be this one. */
static inline void expect(qy_subscription *subscription, int32_t code, const char *text) {
  qy_batch *batch = NULL;
  CHECK_OK(qy_subscription_recv(subscription, PATIENCE_MS, &batch));
  CHECK(qy_batch_count(batch) == 1);
  CHECK(event_is(qy_batch_events(batch), code, text));
  qy_batch_free(batch);
}

/* Takes the QY_EVENT_CONNECTED that every subscription begins with. */
static inline void expect_connected(qy_subscription *subscription) {
  expect(subscription, QY_EVENT_CONNECTED, "");
}

/* Takes the QY_EVENT_CLOSED that every subscription ends with. */
static inline void expect_closed(qy_subscription *subscription) {
  qy_batch *batch = NULL;
  CHECK_OK(qy_subscription_recv(subscription, PATIENCE_MS, &batch));
  CHECK(qy_batch_events(batch)->event == QY_EVENT_CLOSED);
  qy_batch_free(batch);
}

/* A TCP connection to the server, outside the library. */
static inline int raw_connect(qy_server *server) {
  struct sockaddr_in address = {0};
  uint16_t port = 0;
  CHECK_OK(qy_server_port(server, &port));
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  return fd;
}

static inline void raw_send(int fd, const char *text) {
  CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Reads up to the empty line that ends an HTTP head. */
static inline void raw_read_head(int fd, char *head, size_t cap) {
  size_t length = 0;
  while (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) != 0) {
    CHECK(length + 1 < cap);
    CHECK(recv(fd, head + length, 1, 0) == 1);
    length++;
  }
  head[length] = 0;
}

/* A WebSocket listener of the channel "test", outside the library. */
static inline int raw_listen(qy_server *server) {
  char head[1024];
  int fd = raw_connect(server);
  raw_send(fd, "GET /channel/listen/test HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  raw_read_head(fd, head, sizeof head);
  CHECK(strncmp(head, "HTTP/1.1 101 ", 13) == 0);
  return fd;
}

/* A WebSocket upgrade, outside the library, with more header fields; nothing is read yet. */
static inline int raw_upgrade(qy_server *server, const char *target, const char *fields) {
  char request[1024];
  int fd = raw_connect(server);
  snprintf(request, sizeof request,
           "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
           target, fields);
  raw_send(fd, request);
  return fd;
}

/* Reads the answer's head and tells its status. */
static inline int raw_status(int fd) {
  char head[1024];
  raw_read_head(fd, head, sizeof head);
  return atoi(head + 9);
}

/* An open WebSocket, outside the library. */
static inline int raw_websocket(qy_server *server, const char *target) {
  int fd = raw_upgrade(server, target, "");
  CHECK(raw_status(fd) == 101);
  return fd;
}

/* Sends one short frame, masked with zeros. */
static inline void raw_frame(int fd, unsigned char first, const void *data, size_t len) {
  unsigned char frame[6 + 125] = {first, (unsigned char)(0x80 | len)};
  CHECK(len <= 125);
  memcpy(frame + 6, data, len);
  CHECK(send(fd, frame, 6 + len, MSG_NOSIGNAL) == (ssize_t)(6 + len));
}

static inline void raw_read(int fd, void *data, size_t len) {
  CHECK(recv(fd, data, len, MSG_WAITALL) == (ssize_t)len);
}

/* Reads one short frame that is no ping into `data`, with a NUL behind it; tells its first byte. */
static inline int raw_next(int fd, char data[126]) {
  unsigned char head[2];
  do {
    raw_read(fd, head, 2);
    CHECK(head[1] <= 125);
    raw_read(fd, data, head[1]);
    data[head[1]] = 0;
  } while (head[0] == 0x89);
  return head[0];
}

/* The next message must be this text. */
static inline void raw_expect(int fd, const char *text) {
  char data[126];
  int first = raw_next(fd, data);
  if (first != 0x81 || strcmp(data, text) != 0) kit_fail("frame", first, text, data);
}

/* The next frame must be a Close with this code. */
static inline void raw_expect_close(int fd, int code) {
  char data[126];
  CHECK(raw_next(fd, data) == 0x88);
  int got = (unsigned char)data[0] << 8 | (unsigned char)data[1];
  if (got != code) kit_fail("Close", got, data + 2, "another code");
}

/* A client of the packet dialect, outside the library. `query` names it, such as "uid=1". */
static inline int raw_join(qy_server *server, const char *query) {
  char target[512];
  snprintf(target, sizeof target, "/join?%s", query);
  return raw_websocket(server, target);
}

/* Sends a packet with at most 100 bytes of text. */
static inline void raw_packet(int fd, uint32_t protocol, uint32_t sn, const char *text) {
  unsigned char frame[128] = {0x82, 0, 0, 0, 0, 0, 0xfe, 0xef}; /* the mask is 0 */
  size_t len = strlen(text);
  CHECK(len <= 100);
  frame[1] = (unsigned char)(0x80 | (14 + len));
  frame[8] = (unsigned char)(8 + len);
  for (int i = 0; i < 4; i++) {
    frame[12 + i] = (unsigned char)(protocol >> 8 * i);
    frame[16 + i] = (unsigned char)(sn >> 8 * i);
  }
  memcpy(frame + 20, text, len);
  CHECK(send(fd, frame, 20 + len, MSG_NOSIGNAL) == (ssize_t)(20 + len));
}

/* Reads the next packet, which is this one, and gives its sn. */
static inline uint32_t raw_expect_packet(int fd, uint32_t protocol, const char *text) {
  unsigned char bytes[128];
  size_t len = strlen(text);
  do { /* pings have no payload */
    raw_read(fd, bytes, 2);
  } while (bytes[0] == 0x89);
  CHECK(bytes[0] == 0x82 && bytes[1] == 14 + len);
  raw_read(fd, bytes, 14 + len);
  CHECK(bytes[0] == 0xfe && bytes[1] == 0xef && bytes[2] == 8 + len && bytes[3] == 0);
  CHECK(memcmp(bytes + 14, text, len) == 0);
  uint32_t numbers[2] = {0, 0};
  for (int i = 0; i < 4; i++) {
    numbers[0] |= (uint32_t)bytes[6 + i] << 8 * i;
    numbers[1] |= (uint32_t)bytes[10 + i] << 8 * i;
  }
  CHECK(numbers[0] == protocol);
  return numbers[1];
}

/* Sends a text message of at most 250 bytes. */
static inline void raw_say(int fd, const char *text) {
  unsigned char frame[260] = {0x81};
  size_t len = strlen(text), head = len < 126 ? 6 : 8;
  CHECK(len <= 250);
  frame[1] = (unsigned char)(0x80 | (len < 126 ? len : 126));
  if (len >= 126) frame[3] = (unsigned char)len; /* the mask is 0 */
  memcpy(frame + head, text, len);
  CHECK(send(fd, frame, head + len, MSG_NOSIGNAL) == (ssize_t)(head + len));
}

/* A client of the session dialect that has read its first message. */
static inline int raw_session(qy_server *server) {
  const char *first = "{\"type\":\"notification\",\"data\":{\"event\":\"connected\"";
  unsigned char bytes[128];
  int fd = raw_websocket(server, "/ws");
  raw_read(fd, bytes, 2);
  CHECK(bytes[0] == 0x81 && bytes[1] <= 125);
  raw_read(fd, bytes, bytes[1]);
  CHECK(memcmp(bytes, first, strlen(first)) == 0);
  return fd;
}

/* Closes with a reset instead of an orderly end. */
static inline void raw_reset(int fd) {
  struct linger linger = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(fd);
}

/* The first argument as a number, for runs under valgrind that do less. */
static inline int rounds(int argc, char **argv, int otherwise) {
  return argc > 1 ? atoi(argv[1]) : otherwise;
}

#endif
