/* An epoll program that serves Qyun from inside its own process.
 *
 * The program as it was: a line server (try `nc localhost 7000`), a timer, and Ctrl-C, in one epoll
 * loop on one thread. What Qyun adds to it:
 *
 * - a server whose threads are the library's, on port 8000, for browsers and everything else;
 * - each line and each tick of the timer is published, from the loop, without the network;
 * - a subscription whose descriptor is in the same epoll: what anyone publishes reaches the line
 *   server's clients, on the loop's own thread, with no lock and no callback.
 *
 *   cc embed_server.c -lqyun -o embed_server && ./embed_server
 *   curl http://localhost:8000/channel/send/chat/hello
 *
 * Options: --port N (of the line server), --listen HOST:PORT (of Qyun), --ticks N (then end).
 */
#include <arpa/inet.h>
#include <qyun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHANNEL "chat"
#define MAX_CLIENTS 64

/* ---- Qyun: three handles and four functions ---- */

static qy_server *server;
static qy_client *client;
static qy_subscription *subscription;

static void give_up(const char *what) {
  char why[256];
  qy_last_error(why, sizeof why, NULL);
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

/* Starts the server and subscribes to its channel; returns the descriptor to watch. */
static int qyun_start(const char *listen) {
  char address[64];
  qy_options *options = NULL;
  int fd = -1;
  if (qy_options_new(QY_OPTIONS_SERVER, &options) != QY_OK ||
      qy_options_set(options, "listen", listen) != QY_OK)
    give_up("options");
  if (qy_server_start(options, &server) != QY_OK) give_up("server");
  qy_options_free(options);
  if (qy_server_create_channel(server, CHANNEL) != QY_OK ||
      qy_server_address(server, address, sizeof address, NULL) != QY_OK)
    give_up("channel");
  if (qy_client_open(address, NULL, &client) != QY_OK ||
      qy_client_subscribe(client, CHANNEL, QY_DELIVER_THREAD, NULL, NULL, NULL, &subscription) !=
          QY_OK ||
      qy_subscription_fd(subscription, &fd) != QY_OK)
    give_up("subscription");
  printf("Qyun serves the channel " CHANNEL " on %s\n", address);
  return fd;
}

static void qyun_publish(const char *text, size_t len) {
  qy_status status = qy_server_publish(server, CHANNEL, QY_TEXT, text, len, NULL);
  if (status == QY_ERR_INVALID_UTF8) status = qy_server_publish(server, CHANNEL, QY_BINARY, text, len, NULL);
  if (status != QY_OK) give_up("publish");
}

/* Takes what waits, at most 64 events, without blocking; the loop comes back if there is more. */
static void qyun_take(void (*each)(const char *data, size_t len)) {
  qy_batch *batch = NULL;
  qy_status status = qy_subscription_recv_many(subscription, 64, 0, &batch);
  if (status == QY_ERR_TIMEOUT) return;
  if (status != QY_OK) give_up("receive");
  const qy_event *events = qy_batch_events(batch);
  for (size_t i = 0; i < qy_batch_count(batch); i++)
    if (events[i].event == QY_EVENT_MESSAGE) each(events[i].data, events[i].len);
  qy_batch_free(batch);
}

static void qyun_stop(void) {
  qy_subscription_free(subscription);
  qy_client_free(client);
  if (qy_shutdown(2000) != QY_OK) give_up("shutdown");
  qy_server_free(server);
}

/* ---- the program as it was ---- */

static int poll_fd, clients[MAX_CLIENTS], client_count;
static unsigned long ticks_wanted, ticks_seen;

static void watch(int fd) {
  struct epoll_event event = {EPOLLIN, {.fd = fd}};
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
    perror("epoll_ctl");
    exit(1);
  }
}

static int line_server(uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0) {
    perror("line server");
    exit(1);
  }
  return fd;
}

static void accept_client(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (client_count == MAX_CLIENTS) {
    close(fd);
    return;
  }
  clients[client_count++] = fd;
  watch(fd);
}

static void drop_client(int fd) {
  for (int i = 0; i < client_count; i++)
    if (clients[i] == fd) clients[i] = clients[--client_count];
  close(fd);
}

/* One read is one line here: this is an example of something else. */
static void read_line(int fd) {
  char line[1024];
  ssize_t len = read(fd, line, sizeof line);
  if (len <= 0) {
    drop_client(fd);
    return;
  }
  while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) len--;
  qyun_publish(line, (size_t)len);
}

static void show(const char *data, size_t len) {
  printf("%.*s\n", (int)len, data);
  if (len > 5 && memcmp(data, "tick ", 5) == 0) ticks_seen++;
  for (int i = 0; i < client_count; i++) {
    struct iovec parts[2] = {{(void *)data, len}, {(void *)"\n", 1}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    sendmsg(clients[i], &message, MSG_NOSIGNAL | MSG_DONTWAIT); /* a slow one misses a line */
  }
}

static void tick(int timer) {
  static unsigned long count;
  uint64_t expirations;
  char text[32];
  if (read(timer, &expirations, sizeof expirations) != sizeof expirations) return;
  snprintf(text, sizeof text, "tick %lu", ++count);
  qyun_publish(text, strlen(text));
}

static int ctrl_c(void) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  /* Before any thread begins, so that all threads block them. */
  sigprocmask(SIG_BLOCK, &signals, NULL);
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

int main(int argc, char **argv) {
  const char *listen = "127.0.0.1:8000", *port = "7000";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--listen") == 0) listen = argv[i + 1];
    else if (strcmp(argv[i], "--port") == 0) port = argv[i + 1];
    else if (strcmp(argv[i], "--ticks") == 0) ticks_wanted = strtoul(argv[i + 1], NULL, 10);
  }
  int signals = ctrl_c();
  int lines = line_server((uint16_t)atoi(port));
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  long interval_ns = ticks_wanted ? 50 * 1000 * 1000 : 0;
  struct itimerspec every = {{!interval_ns, interval_ns}, {!interval_ns, interval_ns}};
  timerfd_settime(timer, 0, &every, NULL);
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  int messages = qyun_start(listen);
  watch(signals);
  watch(lines);
  watch(timer);
  watch(messages);

  for (int running = 1; running && !(ticks_wanted && ticks_seen >= ticks_wanted);) {
    struct epoll_event ready[16];
    int count = epoll_wait(poll_fd, ready, 16, -1);
    for (int i = 0; i < count; i++) {
      int fd = ready[i].data.fd;
      if (fd == signals) running = 0;
      else if (fd == lines) accept_client(lines);
      else if (fd == timer) tick(timer);
      else if (fd == messages) qyun_take(show);
      else read_line(fd);
    }
  }
  qyun_stop();
  return 0;
}
