/*
 * qyun.h: libqyun 0.1.0
 *
 * Qyun (青云) broadcasts messages over channels in real time. This is the C interface of libqyun: a
 * server and a client runtime in one library.
 *
 * Rules that hold everywhere:
 *
 * - A function that can fail returns a `qy_status`, 0 or negative. Outputs are the last parameters
 *   and are 0 or NULL when it fails.
 * - Handles are opaque. What a function gives out in `*out` is freed with the `_free` function of
 *   its type; `_free(NULL)` does nothing. What the library allocates only the library frees.
 * - Every function may be called from any thread and on any handle at the same time, except that
 *   nothing may use a handle while or after it is freed.
 * - Names, hosts, keys and values are NUL-terminated UTF-8. Messages are a pointer and a length;
 *   (NULL, 0) is an empty one. The library copies what it keeps.
 * - Beyond the errors that a function lists, every function that takes a pointer returns
 *   QY_ERR_INVALID_ARGUMENT when it is NULL and may not be, every function with a handle
 *   QY_ERR_FORKED in a child process of the one that made it, and every function QY_ERR_PANIC when
 *   a defect of the library was caught.
 * - Threads, Blocks, In callbacks: below each function. "In callbacks: yes" means all but log
 *   callbacks.
 * - The library installs no signal handler and no exit handler, raises no SIGPIPE, reads no
 *   environment variable when it is loaded, prints nothing, and closes all its descriptors on exec.
 * - Structs that begin with `struct_size` may grow at their end in a later version. Where the
 *   caller provides one, it sets `struct_size` to the struct's sizeof first.
 *
 * Generated from src/ffi by build.rs with cbindgen; do not edit.
 */

#ifndef QYUN_H
#define QYUN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ===========================================================================
 * 1. Status codes
 * ===========================================================================
 *
 * Every function that can fail returns a `qy_status`: 0 is success, a negative number says what
 * kind of failure it was. The numbers never change. The text of the failure, with the value that
 * caused it and what to do, is kept for the thread that made the call (`qy_last_error`) and, where
 * there is one, on the object (`qy_server_last_error` and its kin).
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   char text[256];
 *   qy_status status = qy_send_message("localhost:8000", "", "hello");
 *   if (status != QY_OK) {
 *     qy_last_error(text, sizeof text, NULL);
 *     printf("%s: %s\n", qy_status_name(status), text); // QY_ERR_INVALID_NAME: ...
 *   }
 *   return 0;
 * }
 * ```
 */

/** The call did what it says. */
#define QY_OK 0

/** An argument is NULL where it must not be, or out of its range. */
#define QY_ERR_INVALID_ARGUMENT (-1)

/** Text that must be UTF-8 is not. */
#define QY_ERR_INVALID_UTF8 (-2)

/** A channel name is empty, longer than 255 bytes, or has control characters. */
#define QY_ERR_INVALID_NAME (-3)

/** A host or URL cannot be understood. */
#define QY_ERR_INVALID_URL (-4)

/** No option has that key. */
#define QY_ERR_UNKNOWN_OPTION (-5)

/** The option exists and does not take that value. */
#define QY_ERR_INVALID_OPTION (-6)

/** The channel does not exist. */
#define QY_ERR_CHANNEL_NOT_FOUND (-7)

/** The channel exists already. */
#define QY_ERR_CHANNEL_EXISTS (-8)

/** A message, name or request is over a limit. */
#define QY_ERR_TOO_LARGE (-9)

/** No connection could be made, or it was lost before the answer. A retry may help. */
#define QY_ERR_CONNECT (-10)

/** It did not happen in time. A retry may help. */
#define QY_ERR_TIMEOUT (-11)

/** The object was closed. */
#define QY_ERR_CLOSED (-12)

/** The peer answered something that is not the protocol. */
#define QY_ERR_PROTOCOL (-13)

/** The peer, or the library, understood the request and refused it. */
#define QY_ERR_REFUSED (-14)

/** Another socket listens on the address. */
#define QY_ERR_ADDRESS_IN_USE (-15)

/** The operating system refused an operation. */
#define QY_ERR_IO (-16)

/** There is no such object. */
#define QY_ERR_NOT_FOUND (-17)

/** A bounded queue is full. A retry may help. */
#define QY_ERR_QUEUE_FULL (-18)

/** The call would wait for the callback that makes it. */
#define QY_ERR_WOULD_DEADLOCK (-19)

/** The object belongs to the parent process: make a new one after `fork`. */
#define QY_ERR_FORKED (-20)

/** A defect of the library was caught at its border; the process and other objects go on. */
#define QY_ERR_PANIC (-21)

/** The header that the program was compiled with does not fit this library. */
#define QY_ERR_ABI_MISMATCH (-22)

/** The buffer is too small; what fits was written and `*needed` says how large it must be. */
#define QY_ERR_BUFFER_TOO_SMALL (-23)

/** There is such an object already. */
#define QY_ERR_EXISTS (-24)

/** It contradicts what was done before under the same key. */
#define QY_ERR_CONFLICT (-25)

/** The result of a call: `QY_OK` or one of the `QY_ERR_` constants. */
typedef int32_t qy_status;

/**
 * The constant's name, such as "QY_ERR_TIMEOUT"; "QY_UNKNOWN" for a number that is no status.
 * The string is static and never NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const char *qy_status_name(qy_status status);

/**
 * What the status means in general, in English, without a full stop; `qy_last_error` says what
 * failed in particular. The string is static and never NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const char *qy_status_text(qy_status status);

/**
 * Copies the text of this thread's last failure into `buf`, NUL-terminated and cut at a
 * character to `cap` bytes; an empty text when no call of this thread has failed. A call that
 * succeeds, and one that returns QY_ERR_BUFFER_TOO_SMALL, leaves the text as it is.
 *
 * `buf` may be NULL when `cap` is 0, to ask for the size. `needed` may be NULL; otherwise
 * `*needed` becomes the size of the whole text in bytes, with its NUL.
 *
 * Threads: any; each has its own text. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_BUFFER_TOO_SMALL when the text was cut, QY_ERR_INVALID_ARGUMENT when `buf` is
 * NULL and `cap` is not 0.
 */
qy_status qy_last_error(char *buf, size_t cap, size_t *needed);

/* ===========================================================================
 * 2. Version
 * ===========================================================================
 *
 * The macros tell the version of the header, the functions that of the library that was loaded.
 * A program that may meet another library than it was compiled for checks once:
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   if (qy_abi_check(QY_ABI_VERSION) != QY_OK) {
 *     fprintf(stderr, "libqyun %s does not fit a program made for %s\n", qy_version(), QY_VERSION);
 *     return 1;
 *   }
 *   return 0;
 * }
 * ```
 */

/** The version of this header. */
#define QY_VERSION_MAJOR 0
#define QY_VERSION_MINOR 1
#define QY_VERSION_PATCH 0
#define QY_VERSION "0.1.0"

/**
 * Goes up when a program compiled with an older header would no longer work. New functions and
 * new fields at the end of a struct do not raise it.
 */
#define QY_ABI_VERSION 1

/**
 * The library's version, such as "0.1.0". The string is static.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const char *qy_version(void);

/**
 * The library's ABI version.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
uint32_t qy_abi_version(void);

/**
 * Checks that a program compiled with `header_abi_version` works with this library. Pass
 * QY_ABI_VERSION.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_ABI_MISMATCH.
 */
qy_status qy_abi_check(uint32_t header_abi_version);

/* ===========================================================================
 * 3. Callbacks
 * ===========================================================================
 *
 * A registration is `(function, user_data, drop)`. `drop(user_data)`, which may be NULL, runs
 * exactly once: after the last call of the function has returned, or, when the registration
 * fails, before the registering call returns; the function is then never called. It is the place
 * to free `user_data`, on whichever thread it runs.
 *
 * The calls of one registration come one at a time and in order. They come from a thread of the
 * library that does no I/O, so that a slow callback delays nobody else; only QY_DELIVER_INLINE
 * brings them from the I/O thread, where they must not block. What a callback is handed is valid
 * until it returns.
 *
 * Every function of this header may be called in a callback. One that would wait for that very
 * callback returns QY_ERR_WOULD_DEADLOCK at once. A log callback is narrower: see the log section.
 * A callback must return: no C++ exception, no longjmp may leave it; that is undefined behaviour.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdlib.h>
 *
 * static void count(const qy_event *event, void *user_data) {
 *   if (event->event == QY_EVENT_MESSAGE) ++*(unsigned long *)user_data;
 * }
 *
 * int main(void) {
 *   qy_client *client = NULL;
 *   qy_subscription *subscription = NULL;
 *   unsigned long *messages = calloc(1, sizeof *messages);
 *   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
 *   // free(messages) is called once, whether this succeeds or not
 *   qy_client_subscribe(client, "test", QY_DELIVER_THREAD, count, messages, free, &subscription);
 *   qy_subscription_free(subscription);
 *   qy_client_free(client);
 *   return qy_shutdown(1000) == QY_OK ? 0 : 1;
 * }
 * ```
 */

/** Called once with the `user_data` of a registration when nothing will use it any more. */
typedef void (*qy_drop_callback)(void *user_data);

/* ===========================================================================
 * 4. One-shot calls
 * ===========================================================================
 *
 * The smallest thing that works: no handle, nothing to free. `host` is "localhost:8000", or an
 * "http://", "https://", "ws://" or "wss://" URL. The connections are kept for the next call,
 * until qy_shutdown.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_event(int32_t event, const char *data, size_t len, void *user_data) {
 *   (void)user_data;
 *   if (event == QY_EVENT_MESSAGE) printf("received %.*s\n", (int)len, data);
 * }
 *
 * int main(void) {
 *   char why[256];
 *   qy_create_channel("localhost:8000", "test"); // it may be there already
 *   if (qy_listen_channel("localhost:8000", "test", on_event, NULL) != QY_OK ||
 *       qy_send_message("localhost:8000", "test", "hello") != QY_OK) {
 *     qy_last_error(why, sizeof why, NULL);
 *     fprintf(stderr, "%s\n", why);
 *     return 1;
 *   }
 *   qy_stop_listening("localhost:8000", "test");
 *   return qy_shutdown(1000) == QY_OK ? 0 : 1;
 * }
 * ```
 */

/**
 * The subscription is live, for the first time or again after a reconnection. No data, unless
 * messages were missed that could not be had any more: then it is a text that says where it goes on.
 */
#define QY_EVENT_CONNECTED 1

/** A message. */
#define QY_EVENT_MESSAGE 2

/** The last call: `user_data` may be freed in it. The data is a text that says why. */
#define QY_EVENT_CLOSED 3

/**
 * The connection was lost, or an attempt to restore it failed; it is tried again. The data is a
 * text that says why.
 */
#define QY_EVENT_ERROR 4

/**
 * Receives one event (a QY_EVENT_ constant) of a listener. `data` has `len` bytes, is not
 * NUL-terminated, never NULL, and valid until the call returns.
 */
typedef void (*qy_listen_callback)(int32_t event, const char *data, size_t len, void *user_data);

/**
 * Creates the channel `name`.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_CHANNEL_EXISTS, QY_ERR_INVALID_NAME, QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8,
 * QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL.
 */
qy_status qy_create_channel(const char *host, const char *name);

/**
 * Broadcasts the text `message` to the listeners of `channel`.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_TOO_LARGE, QY_ERR_INVALID_NAME, QY_ERR_INVALID_URL,
 * QY_ERR_INVALID_UTF8, QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL.
 */
qy_status qy_send_message(const char *host, const char *channel, const char *message);

/**
 * Listens to `channel` until qy_stop_listening or qy_shutdown. Returns when the subscription is
 * live: what is sent from then on arrives. A lost connection is restored, with a QY_EVENT_ERROR and
 * a QY_EVENT_CONNECTED between; what was sent meanwhile arrives then, if the channel keeps a history
 * that reaches so far, and otherwise the data of QY_EVENT_CONNECTED says that something was missed.
 *
 * The calls come from a delivery thread, one at a time; the thread that called this function may
 * end. `user_data` stays the caller's and must live until QY_EVENT_CLOSED. When the function
 * fails, `callback` is never called.
 *
 * Threads: any. Blocks: until the subscription is live, at most the connect timeout. In callbacks:
 * yes, but not on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8,
 * QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_IO,
 * QY_ERR_WOULD_DEADLOCK on the I/O thread.
 */
qy_status qy_listen_channel(const char *host,
                            const char *channel,
                            qy_listen_callback callback,
                            void *user_data);

/**
 * Ends every listener that qy_listen_channel started on this host and channel. Each gets its
 * QY_EVENT_CLOSED, and no callback of theirs runs any more when the function returns, unless it is
 * called where it may not wait for that: in one of these callbacks, in one that one of these waits
 * for, or on the I/O thread (QY_DELIVER_INLINE). Then they end after it returned.
 *
 * Threads: any. Blocks: until the callbacks have returned. In callbacks: yes, without waiting as
 * said.
 * Errors: QY_ERR_NOT_FOUND when there is no such listener, QY_ERR_INVALID_NAME,
 * QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8.
 */
qy_status qy_stop_listening(const char *host, const char *channel);

/* ===========================================================================
 * 5. Options
 * ===========================================================================
 *
 * Everything a server, a client, an endpoint, a socket or a channel can be told, as `key = value`.
 * qy_options_describe lists the keys with their types, defaults and help; a later version may have
 * more of them.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_option_info info = {sizeof info, NULL, NULL, NULL, NULL, 0, 0, NULL};
 *   for (size_t i = 0; qy_options_describe(QY_OPTIONS_SERVER, i, &info) == QY_OK; i++)
 *     printf("%-22s %-8s %-16s %s\n", info.key, info.type, info.default_value, info.help);
 *
 *   qy_options *options = NULL;
 *   qy_options_new(QY_OPTIONS_SERVER, &options);
 *   qy_options_set(options, "listen", "127.0.0.1:0");
 *   qy_options_set_int(options, "shards", 1);
 *   qy_options_free(options);
 *   return 0;
 * }
 * ```
 */

/** Options of a server. */
#define QY_OPTIONS_SERVER 1

/** Options of a client. */
#define QY_OPTIONS_CLIENT 2

/** Options of an endpoint. */
#define QY_OPTIONS_ENDPOINT 3

/** Options of a socket. */
#define QY_OPTIONS_SOCKET 4

/** Options of a channel. */
#define QY_OPTIONS_CHANNEL 5

/**
 * A set of options. It is read when a server starts, a client opens or a channel is created, and can
 * be used again, changed or freed after that.
 */
typedef struct qy_options qy_options;

/**
 * What there is to know of one option. Set `struct_size` to the struct's size before the call. The
 * strings are static.
 */
typedef struct qy_option_info {
  /** sizeof(qy_option_info), set by the caller. */
  size_t struct_size;
  /** What to pass to qy_options_set. A unit is its suffix (_ms, _us, _bytes). */
  const char *key;
  /** "integer", "text", "boolean" or "choice". */
  const char *type;
  /** The default, as it would be passed to qy_options_set. */
  const char *default_value;
  /** One sentence. */
  const char *help;
  /** The smallest value of an integer. */
  uint64_t min;
  /** The largest value of an integer. */
  uint64_t max;
  /** The words of a choice, joined by '|'; NULL for other types. */
  const char *choices;
} qy_option_info;

/**
 * Makes a set of options with the defaults for `kind`, a QY_OPTIONS_ constant. `*out` is the
 * caller's, to be freed with qy_options_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a kind that does not exist.
 */
qy_status qy_options_new(int32_t kind, qy_options **out);

/**
 * Frees a set of options; NULL is allowed.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_options_free(qy_options *options);

/**
 * Sets `key` from text: a decimal number, "true" or "false", a word, any text; what the key takes.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_UNKNOWN_OPTION, QY_ERR_INVALID_OPTION, QY_ERR_INVALID_UTF8; the text names what
 * would be accepted.
 */
qy_status qy_options_set(qy_options *options, const char *key, const char *value);

/**
 * Sets an integer, or a boolean from 0 and 1.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_UNKNOWN_OPTION, QY_ERR_INVALID_OPTION (also for a key that takes no number),
 * QY_ERR_INVALID_UTF8.
 */
qy_status qy_options_set_int(qy_options *options, const char *key, int64_t value);

/**
 * Describes the `index`-th option of `kind`, from 0. Set `out->struct_size` first. The other
 * fields are zero when the function fails.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_NOT_FOUND past the last option, QY_ERR_INVALID_ARGUMENT for a kind that does not
 * exist or a `struct_size` that cannot be.
 */
qy_status qy_options_describe(int32_t kind, size_t index, qy_option_info *out);

/* ===========================================================================
 * 6. Messages
 * ===========================================================================
 *
 * A message is text (UTF-8) or binary (any bytes), and who receives it sees which. Every message of
 * a channel has a position, the same for all subscribers, without holes.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void send(qy_server *server, const void *picture, size_t size) {
 *   qy_position at = {sizeof at, 0, 0};
 *   qy_server_publish(server, "news", QY_TEXT, "a picture follows", 17, NULL);
 *   if (qy_server_publish(server, "news", QY_BINARY, picture, size, &at) == QY_OK)
 *     printf("number %llu since the channel was made\n", (unsigned long long)at.offset);
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_create_channel(server, "news");
 *   send(server, "\x89PNG", 4);
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** A message of UTF-8 text: WebSocket clients receive a text message. */
#define QY_TEXT 1

/** A message of any bytes: WebSocket clients receive a binary message. */
#define QY_BINARY 2

/** A message of text that must be JSON: checked where it is sent, and received as QY_TEXT. */
#define QY_JSON 3

/** Where a message stands in its channel. */
typedef struct qy_position {
  /** sizeof(qy_position), set by the caller. */
  size_t struct_size;
  /** The channel's incarnation. */
  uint64_t epoch;
  /** The number of the publication in that epoch: the first is 1, and there are no holes. */
  uint64_t offset;
} qy_position;

/* ===========================================================================
 * 7. Server
 * ===========================================================================
 *
 * A server inside the program: its threads are the library's, its channels can be used without
 * the network from any thread, and there can be several.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   char address[64];
 *   qy_options *options = NULL;
 *   qy_server *server = NULL;
 *   qy_options_new(QY_OPTIONS_SERVER, &options);
 *   qy_options_set(options, "listen", "127.0.0.1:0"); // any free port
 *   if (qy_server_start(options, &server) != QY_OK) return 1;
 *   qy_options_free(options);
 *
 *   qy_server_address(server, address, sizeof address, NULL);
 *   printf("listening on %s\n", address);
 *   qy_server_create_channel(server, "test");
 *   qy_server_publish(server, "test", QY_TEXT, "hello", 5, NULL);
 *
 *   qy_server_stop(server, 1000); // clients have a second to take what is queued
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** A server. */
typedef struct qy_server qy_server;

/** What is known of a channel at one moment. */
typedef struct qy_channel_info {
  /** sizeof(qy_channel_info), set by whoever provides the struct. */
  size_t struct_size;
  /**
   * The name, UTF-8, not NUL-terminated, valid during the visit; NULL from
   * qy_server_channel_info, whose caller has it.
   */
  const char *name;
  /** Its length in bytes. */
  size_t name_len;
  /** Subscribers now. */
  uint64_t subscribers;
  /** Publications since the channel was created: the offset of the last one. */
  uint64_t offset;
  /** The channel's incarnation: another number means another history. */
  uint64_t epoch;
  /** When it was created, in ms since the Unix epoch. */
  uint64_t created_ms;
  /** Subscribers that are connections with a name: see qy_server_list_members. */
  uint64_t members;
} qy_channel_info;

/** Sees one channel. The struct and the name are valid until it returns. */
typedef void (*qy_channel_visitor)(const qy_channel_info *info, void *user_data);

/** Totals since the server started, and what is there now. */
typedef struct qy_server_counters {
  /** sizeof(qy_server_counters), set by the caller. */
  size_t struct_size;
  /** Connections open now. */
  uint64_t connections;
  /** Connections accepted since the start. */
  uint64_t connections_total;
  /** Channels now. */
  uint64_t channels;
  /** Subscriptions now. */
  uint64_t subscribers;
  /** Messages published. */
  uint64_t published;
  /** Messages handed to subscribers: one publication to ten of them is ten. */
  uint64_t delivered;
  /** Bytes read from sockets. */
  uint64_t bytes_in;
  /** Bytes written to sockets. */
  uint64_t bytes_out;
  /** Connections closed because they read slower than their queue is deep. */
  uint64_t closed_slow;
  /** Requests and connections refused for breaking a protocol or a limit. */
  uint64_t rejected;
  /** Bytes waiting in the queues of slow connections now. */
  uint64_t queued_bytes;
  /** Messages compressed: each once, however many connections get it. */
  uint64_t compressions;
  /** Their bytes before compression. */
  uint64_t compressed_bytes_in;
  /** Their bytes after compression; of a message that it does not make smaller, those before. */
  uint64_t compressed_bytes_out;
  /** Messages that came compressed and were decompressed. */
  uint64_t inflations;
} qy_server_counters;

/**
 * Starts a server; it accepts connections when the function returns. `options` (or NULL for the
 * defaults) stay the caller's. `*out` is the caller's, to be freed with qy_server_free.
 *
 * Threads: any. Blocks: while it binds and starts its threads. In callbacks: yes.
 * Errors: QY_ERR_ADDRESS_IN_USE, QY_ERR_IO, QY_ERR_INVALID_OPTION for an address that cannot be
 * understood, QY_ERR_INVALID_ARGUMENT for options of a client.
 */
qy_status qy_server_start(const qy_options *options, qy_server **out);

/**
 * Copies the address that the server listens on, such as "127.0.0.1:8000", into `buf`,
 * NUL-terminated and cut to `cap` bytes. `*needed` (or NULL) becomes its size with the NUL. 64
 * bytes are always enough.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_server_address(const qy_server *server, char *buf, size_t cap, size_t *needed);

/**
 * Tells the port that the server listens on: the real one where 0 was asked for.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_server_port(const qy_server *server, uint16_t *out);

/**
 * Tells the port of the server's gRPC, which `grpc_listen` switches on: the real one where 0 was
 * asked for.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when the server has no gRPC.
 */
qy_status qy_server_grpc_port(const qy_server *server, uint16_t *out);

/**
 * Creates a channel.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_EXISTS, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED,
 * QY_ERR_QUEUE_FULL or QY_ERR_TOO_LARGE when there are `max_channels`.
 */
qy_status qy_server_create_channel(qy_server *server, const char *name);

/**
 * Deletes a channel. Its listeners get what was published before, and are then closed.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED.
 */
qy_status qy_server_delete_channel(qy_server *server, const char *name);

/**
 * Tells about one channel. Set `out->struct_size` first. `out->name` becomes NULL: the caller has
 * the name.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED,
 * QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_server_channel_info(const qy_server *server,
                                 const char *name,
                                 qy_channel_info *out);

/**
 * Calls `visitor` for each channel, by name, on this stack, before it returns. No lock is held:
 * the visitor may call anything, and sees the channels as they were when the function began.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: QY_ERR_CLOSED.
 */
qy_status qy_server_list_channels(const qy_server *server,
                                  qy_channel_visitor visitor,
                                  void *user_data);

/**
 * Broadcasts a message to the subscribers of `channel`, without the network. `kind` is QY_TEXT,
 * QY_BINARY or QY_JSON; `data` has `len` bytes and is copied. `*out`, unless NULL, tells where the
 * message stands; set its `struct_size` first. All subscribers see the messages of all publishers
 * in one and the same order.
 *
 * Threads: any, many at once. Blocks: while the server's threads are behind by `inbox_bytes`; in a
 * channel with `durability` `os` or `fsync` until the system, or the disk, has the message, which has
 * no time limit; in one with `overload=hold`, while a subscriber has no room, at most twice its
 * `hold_ms` and nine tenths of `request_timeout_ms`. Elsewhere never for a slow subscriber. In
 * callbacks: yes; on the server's own threads (QY_DELIVER_INLINE) it never waits.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_TOO_LARGE, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8
 * for a text that is none, QY_ERR_INVALID_ARGUMENT for JSON that is none, QY_ERR_CLOSED. With
 * `durability`: QY_ERR_IO when the store fails, and then the message may or may not be kept;
 * QY_ERR_WOULD_DEADLOCK on a server's own thread. With `overload=hold`, and then nothing is
 * published: QY_ERR_TIMEOUT when it was held that long; QY_ERR_QUEUE_FULL when `inbox_bytes` of
 * messages wait already and, on a server's own thread, where it would have to wait.
 */
qy_status qy_server_publish(qy_server *server,
                            const char *channel,
                            int32_t kind,
                            const void *data,
                            size_t len,
                            qy_position *out);

/**
 * Reads the counters. Set `out->struct_size` first.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_server_counters_get(const qy_server *server, qy_server_counters *out);

/**
 * Tells whether the server runs: 1, or 0 once it is being stopped.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_server_is_running(const qy_server *server, int32_t *out);

/**
 * Stops the server: no new connection, every client gets what is queued for it and a Close, up to
 * `drain_ms` are waited for them to go, the rest is cut, all threads end and the port is free. Safe
 * to call again, and from several threads: all return when it is stopped. The handle must still be
 * freed.
 *
 * Threads: any. Blocks: until the server is stopped: about `drain_ms` at most, and for callbacks of
 * its connections that still run. In callbacks: yes; it does not wait for that callback. Not on the
 * server's own threads (QY_DELIVER_INLINE).
 * Errors: QY_ERR_TIMEOUT when some clients had to be cut; the server is stopped all the same.
 * QY_ERR_WOULD_DEADLOCK on a server's own thread; nothing is stopped then.
 */
qy_status qy_server_stop(qy_server *server, uint32_t drain_ms);

/**
 * Frees a server, after stopping it without a drain if it runs; NULL is allowed. In a forked child
 * it only forgets the parent's server.
 *
 * Threads: any, when no other call uses it. Blocks: until the server is stopped. In callbacks: yes,
 * log callbacks too.
 */
void qy_server_free(qy_server *server);

/**
 * Copies the text of the last failure on this server, by any thread, into `buf`, as qy_last_error
 * does; an empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_server_last_error(const qy_server *server,
                               char *buf,
                               size_t cap,
                               size_t *needed);

/* ===========================================================================
 * 8. Publishing once, and many at a time
 * ===========================================================================
 *
 * A publisher that does not know whether its message arrived sends it again, under the same key: it
 * is published once. A publication can be told whom it reached, and can be the latest value of
 * something. A batch publishes many messages to many channels in one call.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   qy_publish_options once = {.struct_size = sizeof once, .key = "order-7", .key_len = 7};
 *   qy_publish_item items[] = {
 *     {.struct_size = sizeof *items, .channel = "news", .kind = QY_TEXT, .data = "a", .len = 1},
 *     {.struct_size = sizeof *items, .channel = "none", .kind = QY_TEXT, .data = "b", .len = 1},
 *   };
 *   qy_publish_result result = {.struct_size = sizeof result};
 *   qy_publish_result results[2] = {{.struct_size = sizeof *results}};
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_create_channel(server, "news");
 *   for (int i = 0; i < 2; i++) {
 *     qy_server_publish_with(server, "news", QY_TEXT, "order 7", 7, &once, &result);
 *     printf("number %llu%s\n", (unsigned long long)result.offset,
 *            result.duplicate ? ", published before" : "");
 *   }
 *   qy_server_publish_batch(server, items, 2, results);
 *   for (int i = 0; i < 2; i++) printf("%s\n", qy_status_name(results[i].status));
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** What is asked for beside a publication. Zeros ask for nothing. */
typedef struct qy_publish_options {
  /** sizeof(qy_publish_options), set by the caller. */
  size_t struct_size;
  /**
   * The message is published once within the channel's `idempotency_ms`, however often it comes
   * under this key of any 1 to 255 bytes. NULL is no key.
   */
  const void *key;
  /** Its length in bytes. */
  size_t key_len;
  /**
   * What the message is the latest value of, 1 to 255 bytes, in a channel with
   * `overload=keep_latest`; elsewhere it means nothing. NULL is nothing.
   */
  const char *conflate;
  /** Not 0: the call waits until it is known how many subscribers the message reached. */
  int32_t counts;
} qy_publish_options;

/** What became of a message. */
typedef struct qy_publish_result {
  /** sizeof(qy_publish_result), set by the caller. */
  size_t struct_size;
  /** The channel's incarnation. */
  uint64_t epoch;
  /** The number of the publication in that epoch. */
  uint64_t offset;
  /** Subscribers of the channel when it was published. */
  uint64_t subscribers;
  /** With `has_counts`: subscribers to whose sockets, or the queues in front of them, it was written. */
  uint64_t reached;
  /** With `has_counts`: those of them that had to wait for room in their sockets. */
  uint64_t queued;
  /**
   * With `has_counts`: subscribers that do not get it, because a policy dropped it or they were
   * closed as too slow.
   */
  uint64_t dropped;
  /** QY_OK, or why this message of a batch was not published; then the rest is 0. */
  int32_t status;
  /** 1 when it was published before, under the same key: nothing was published now. */
  int32_t duplicate;
  /** 1 when the counts are there, because they were asked for. Those of a repeat are 0. */
  int32_t has_counts;
} qy_publish_result;

/** A message of a batch. */
typedef struct qy_publish_item {
  /** sizeof(qy_publish_item), set by the caller. */
  size_t struct_size;
  /** The channel's name. */
  const char *channel;
  /** The message of `len` bytes, which is copied. */
  const void *data;
  /** Its length in bytes. */
  size_t len;
  /** What is asked for beside its publication, or NULL. */
  const qy_publish_options *options;
  /** QY_TEXT, QY_BINARY or QY_JSON. */
  int32_t kind;
  /**
   * Where the text of its failure goes when the call returns QY_OK, NUL-terminated and cut to
   * `error_cap` bytes; an empty text when it was published. NULL is nowhere.
   */
  char *error;
  /** The size of `error` in bytes. */
  size_t error_cap;
} qy_publish_item;

/**
 * Broadcasts a message as qy_server_publish does, with `options`, or NULL for none. `*out`, unless
 * NULL, tells what became of it; set its `struct_size` first.
 *
 * Threads: any, many at once. Blocks: as qy_server_publish; with `counts` also until all threads of
 * the server have sent the message on. In callbacks: yes; where it would wait, not on the server's
 * own threads (QY_DELIVER_INLINE).
 * Errors: those of qy_server_publish; QY_ERR_CONFLICT when another message came under the key;
 * QY_ERR_INVALID_ARGUMENT for a key or `conflate` that is not 1 to 255 bytes and for a key in a
 * channel with `idempotency_ms` 0; QY_ERR_WOULD_DEADLOCK for `counts` on a server's own thread, and
 * then nothing is published.
 */
qy_status qy_server_publish_with(qy_server *server,
                                 const char *channel,
                                 int32_t kind,
                                 const void *data,
                                 size_t len,
                                 const qy_publish_options *options,
                                 qy_publish_result *out);

/**
 * Broadcasts `count` messages. Those to one channel stand in it one behind the other, in this order
 * and with nothing of others in between; one that fails keeps no other back. `results` are `count`
 * structs that tell, in the same order, what became of each: look at `status`. Of both arrays the
 * first element's `struct_size` holds for all; the library sets those of the other results. QY_OK
 * means that all were looked at; qy_server_last_error then tells of the first that failed, if any did,
 * and `error` of each item of its own failure.
 *
 * Threads: any, many at once. Blocks: as qy_server_publish_with; messages to a channel with
 * `overload=hold` wait each in its turn, and then those of others may come in between. In callbacks:
 * as qy_server_publish_with.
 * Errors: QY_ERR_CLOSED; QY_ERR_WOULD_DEADLOCK on a server's own thread for `counts` and for channels
 * with `overload=hold`, or `durability` `os` or `fsync`; QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be; then nothing is published. Of a
 * message: those of qy_server_publish_with, in its result.
 */
qy_status qy_server_publish_batch(qy_server *server,
                                  const qy_publish_item *items,
                                  size_t count,
                                  qy_publish_result *results);

/* ===========================================================================
 * 9. Other options for a server that runs
 * ===========================================================================
 *
 * Limits, times and more can change without a restart; no connection is dropped for it.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   char restart[256];
 *   qy_options *options = NULL;
 *   qy_server *server = NULL;
 *   qy_options_new(QY_OPTIONS_SERVER, &options);
 *   qy_options_set(options, "listen", "127.0.0.1:0");
 *   if (qy_server_start(options, &server) != QY_OK) return 1;
 *
 *   qy_options_set_int(options, "max_message_bytes", 65536);
 *   qy_options_set(options, "thread_name", "other");
 *   if (qy_server_reload(server, options, restart, sizeof restart, NULL) != QY_OK) return 1;
 *   printf("needs a restart: %s\n", restart); // thread_name
 *
 *   qy_options_free(options);
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/**
 * Takes `options` over as far as they can change while the server runs. They are the whole set:
 * what is not set in them is the default again. The server's own options, kept from its start and
 * changed, are what is meant. A lower limit holds for what comes from now on, a time for what
 * begins from now on.
 *
 * The keys of the options that would be others but need a restart are copied into `buf`, separated
 * by ", ", NUL-terminated and cut to `cap` bytes; `*needed` (or NULL) becomes their size with the
 * NUL. (NULL, 0) is for who does not want to know.
 *
 * Threads: any. Blocks: until the server's threads have taken them over, a second at most.
 * In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for options of another kind, QY_ERR_INVALID_OPTION for a value
 * that cannot be; QY_ERR_CLOSED. Nothing changes then. QY_ERR_BUFFER_TOO_SMALL: the rest is done.
 */
qy_status qy_server_reload(qy_server *server,
                           const qy_options *options,
                           char *buf,
                           size_t cap,
                           size_t *needed);

/* ===========================================================================
 * 10. Connections
 * ===========================================================================
 *
 * A connection is one client of an endpoint, and of the dialects in which a client has a name: where
 * it came from, who it is, what is kept for it, and the way to it from any thread.
 *
 * A callback is lent its connection until it returns. To keep it, clone it; a clone refers to the
 * same connection, stays usable when that is closed, and is freed with qy_connection_free.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * // a message callback, of the endpoints section
 * static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
 *                        void *user_data) {
 *   char id[64], agent[256];
 *   (void)user_data;
 *   qy_connection_id(connection, id, sizeof id, NULL);
 *   if (qy_connection_header(connection, "user-agent", agent, sizeof agent, NULL) == QY_OK)
 *     printf("%s: %s\n", id, agent);
 *   qy_connection_send(connection, kind, data, len); // back to where it came from
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   qy_endpoint_callbacks callbacks = {0};
 *   callbacks.struct_size = sizeof callbacks;
 *   callbacks.message = on_message;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_handle(server, "/echo", NULL, &callbacks, QY_DELIVER_THREAD, NULL, NULL);
 *   getchar();
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** The connection speaks the session dialect. */
#define QY_DIALECT_SESSION 1

/** The connection speaks the packet dialect. */
#define QY_DIALECT_PACKET 2

/** The connection speaks the gateway dialect. */
#define QY_DIALECT_GATEWAY 3

/** The program handles the connection's messages: see the endpoints section. */
#define QY_DIALECT_HOST 4

/** The connection speaks the stream protocol: a client subscribes to patterns or watches who is there. */
#define QY_DIALECT_STREAM 5

/** A connection of a server. */
typedef struct qy_connection qy_connection;

/**
 * Sees one header field of a request. Neither text is NUL-terminated; both are valid until it
 * returns. A value may be any bytes.
 */
typedef void (*qy_header_visitor)(const char *name,
                                  size_t name_len,
                                  const char *value,
                                  size_t value_len,
                                  void *user_data);

/** What is known of a connection at one moment, in numbers; functions of their own tell the texts. */
typedef struct qy_connection_info {
  /** sizeof(qy_connection_info), set by whoever provides the struct. */
  size_t struct_size;
  /** A number that no other connection of the server ever has, unlike an id. */
  uint64_t serial;
  /** A QY_DIALECT_ constant. */
  int32_t dialect;
  /** 1 while it is open, else 0. */
  int32_t is_open;
  /** When it connected, in ms since the Unix epoch. */
  uint64_t connected_ms;
  /** For how long it has been, or was, connected, in ms. */
  uint64_t uptime_ms;
  /** Bytes read from its socket. */
  uint64_t bytes_in;
  /** Bytes written to its socket, or waiting to be. */
  uint64_t bytes_out;
  /** Messages that came from it. */
  uint64_t messages_in;
  /** Messages sent to it. */
  uint64_t messages_out;
  /** The channels that it is in. */
  uint64_t channels;
} qy_connection_info;

/**
 * Makes another handle of the same connection. `*out` is the caller's, to be freed with
 * qy_connection_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_connection_clone(const qy_connection *connection, qy_connection **out);

/**
 * Frees a handle that qy_connection_clone or qy_server_find_connection gave out, not one that a
 * callback was lent; NULL is allowed. The connection itself goes on.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_connection_free(qy_connection *connection);

/**
 * Copies the id into `buf`, as qy_last_error does: a UUID, unless the dialect or the program gave it
 * another.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_id(const qy_connection *connection,
                           char *buf,
                           size_t cap,
                           size_t *needed);

/**
 * Copies the address of the client, "HOST:PORT", into `buf`, as qy_last_error does. Behind a proxy
 * of `trusted_proxies` it is the one that the proxy tells, with port 0 if it tells none.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_remote(const qy_connection *connection,
                               char *buf,
                               size_t cap,
                               size_t *needed);

/**
 * Copies the path that the client connected to, as it was sent and without the query, into `buf`,
 * as qy_last_error does.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_path(const qy_connection *connection,
                             char *buf,
                             size_t cap,
                             size_t *needed);

/**
 * Copies what followed the '?' of the path, percent-encoded, into `buf`, as qy_last_error does; an
 * empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_query(const qy_connection *connection,
                              char *buf,
                              size_t cap,
                              size_t *needed);

/**
 * Copies the first header field called `name`, whatever its case, of the request that the client
 * came with into `buf`, as qy_last_error does; "user-agent" is one of them.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `name`.
 */
qy_status qy_connection_header(const qy_connection *connection,
                               const char *name,
                               char *buf,
                               size_t cap,
                               size_t *needed);

/**
 * Calls `visitor` for each header field of the request that the client came with, in their order, on
 * this stack, before it returns.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_connection_list_headers(const qy_connection *connection,
                                     qy_header_visitor visitor,
                                     void *user_data);

/**
 * Tells the numbers of a connection. Set `out->struct_size` first.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_connection_info_get(const qy_connection *connection,
                                 qy_connection_info *out);

/**
 * Tells whether the connection is open: 1, or 0.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_connection_is_open(const qy_connection *connection, int32_t *out);

/**
 * Sends one message: QY_TEXT, QY_BINARY or QY_JSON, `len` bytes that are copied. What a thread sends
 * to a connection and publishes to its channels arrives in that order.
 *
 * Threads: any, many at once. Blocks: only while the server's threads are behind by `inbox_bytes`;
 * never for a slow client, which is closed at `queue_bytes`. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_TOO_LARGE, QY_ERR_INVALID_UTF8 for a text that is none,
 * QY_ERR_INVALID_ARGUMENT for JSON that is none.
 */
qy_status qy_connection_send(qy_connection *connection,
                             int32_t kind,
                             const void *data,
                             size_t len);

/**
 * Closes a connection behind what was sent to it, with a close code (1000 to 1003, 1007 to 1014, 3000
 * to 4999) and a reason of at most 123 bytes for the client; NULL is an empty one. Harmless when it
 * is closed.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for another code or a longer reason, QY_ERR_INVALID_UTF8.
 */
qy_status qy_connection_close(qy_connection *connection,
                              uint16_t code,
                              const char *reason);

/**
 * Copies the text of the last failure on this handle, by any thread, into `buf`, as qy_last_error
 * does; an empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_last_error(const qy_connection *connection,
                                   char *buf,
                                   size_t cap,
                                   size_t *needed);

/* ===========================================================================
 * 11. What belongs to a connection
 * ===========================================================================
 *
 * A connection may be bound to a user, who may have many; it may be in channels, which it then
 * hears; and a program may keep values with it. All of it ends with the connection, except that a
 * disconnect callback still finds the user and the channels that it had, and the values.
 *
 * ```c
 * #include <qyun.h>
 *
 * // callbacks of the endpoints section: everybody is in the room, and counted
 * static void on_open(qy_connection *connection, void *user_data) {
 *   (void)user_data;
 *   qy_connection_bind(connection, "ann");
 *   qy_connection_join(connection, "room", 1); // made for its members, gone with the last
 * }
 *
 * static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
 *                        void *user_data) {
 *   int64_t messages = 0;
 *   qy_connection_increment(connection, "messages", 1, &messages);
 *   if (messages <= 100)
 *     qy_server_publish(*(qy_server **)user_data, "room", kind, data, len, NULL);
 * }
 *
 * int main(void) {
 *   static qy_server *server = NULL;
 *   qy_endpoint_callbacks callbacks = {0};
 *   callbacks.struct_size = sizeof callbacks;
 *   callbacks.open = on_open;
 *   callbacks.message = on_message;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_handle(server, "/room", NULL, &callbacks, QY_DELIVER_THREAD, &server, NULL);
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** Sees one name. It is not NUL-terminated, and valid until the call returns. */
typedef void (*qy_name_visitor)(const char *name, size_t len, void *user_data);

/**
 * Copies the id of the user that it is bound to, or was bound to when it ended, into `buf`, as
 * qy_last_error does.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when it is bound to nobody, QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_user(const qy_connection *connection,
                             char *buf,
                             size_t cap,
                             size_t *needed);

/**
 * Binds a connection to a user; one that is bound to another is moved. A user is there while a
 * connection is bound to it.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_INVALID_ARGUMENT for an empty user, QY_ERR_INVALID_UTF8.
 */
qy_status qy_connection_bind(qy_connection *connection, const char *user);

/**
 * Unbinds a connection from its user.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when it was bound to nobody, QY_ERR_CLOSED.
 */
qy_status qy_connection_unbind(qy_connection *connection);

/**
 * Makes a connection a member of `channel`: it gets what is published from now on. With `create` not
 * 0, a channel that is not there is made for its members, and goes with the last of them; with 0 it
 * must be there. Joining again changes nothing.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_QUEUE_FULL when
 * there are `max_channels`, QY_ERR_CLOSED.
 */
qy_status qy_connection_join(qy_connection *connection,
                             const char *channel,
                             int32_t create);

/**
 * Ends a connection's membership of `channel`, after what was published so far.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when it is no member, QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8,
 * QY_ERR_CLOSED.
 */
qy_status qy_connection_leave(qy_connection *connection, const char *channel);

/**
 * Calls `visitor` with the name of each channel that the connection is a member of, or was when it
 * ended, on this stack, before it returns.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_connection_list_channels(const qy_connection *connection,
                                      qy_name_visitor visitor,
                                      void *user_data);

/**
 * Keeps `len` bytes under `key` with the connection, in place of what was there. They are there
 * until the last handle is gone.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_connection_set(qy_connection *connection,
                            const char *key,
                            const void *data,
                            size_t len);

/**
 * Copies what is kept under `key` into `buf`, at most `cap` bytes, without a NUL behind them; a
 * number reads as its decimal text. `buf` may be NULL when `cap` is 0, to ask for the size. `needed`
 * may be NULL; otherwise `*needed` becomes the number of bytes kept.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_connection_get(const qy_connection *connection,
                            const char *key,
                            void *buf,
                            size_t cap,
                            size_t *needed);

/**
 * Takes away what is kept under `key`.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_connection_remove(qy_connection *connection, const char *key);

/**
 * Adds `by`, which may be 0 or negative, to the number kept under `key`, which begins at 0, in one
 * step that no other thread comes between. `*out`, unless NULL, becomes the sum.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT when qy_connection_set put bytes there, or the sum is beyond 64
 * bits; QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_connection_increment(qy_connection *connection,
                                  const char *key,
                                  int64_t by,
                                  int64_t *out);

/* ===========================================================================
 * 12. Upgrades
 * ===========================================================================
 *
 * A WebSocket that asks to be admitted to an endpoint of the program. The connect callback decides,
 * or keeps a clone and lets any thread decide later; meanwhile the client waits, and nobody else.
 * A decision that is made in the callback takes effect when that returns.
 *
 * ```c
 * #include <qyun.h>
 * #include <string.h>
 *
 * static void on_connect(qy_upgrade *upgrade, void *user_data) {
 *   char user[64];
 *   (void)user_data;
 *   if (qy_upgrade_header(upgrade, "x-user", user, sizeof user, NULL) != QY_OK)
 *     qy_upgrade_refuse(upgrade, 401, "Who are you?"); // the client's HTTP status
 *   else
 *     qy_upgrade_accept(upgrade, NULL, user); // a random id, and bound to its user
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   qy_endpoint_callbacks callbacks = {0};
 *   callbacks.struct_size = sizeof callbacks;
 *   callbacks.connect = on_connect;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_handle(server, "/private", NULL, &callbacks, QY_DELIVER_THREAD, NULL, NULL);
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** A WebSocket that asks to be admitted. */
typedef struct qy_upgrade qy_upgrade;

/**
 * Makes another handle of the same upgrade: it is then decided by qy_upgrade_accept or
 * qy_upgrade_refuse, on any thread and at any time within the server's `request_timeout_ms`, and no
 * longer by the return of the callback. `*out` is the caller's, to be freed with qy_upgrade_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_upgrade_clone(const qy_upgrade *upgrade, qy_upgrade **out);

/**
 * Frees a handle that qy_upgrade_clone gave out, not one that a callback was lent; NULL is allowed.
 * Freeing the last one of an upgrade that nobody decided about refuses it with 503.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_upgrade_free(qy_upgrade *upgrade);

/**
 * Admits the client. `id` becomes the connection's, 1 to 255 bytes without control characters; NULL
 * gives it a UUID. Another connection that has the id is closed with 3505. `user` is who it is bound
 * to; NULL is nobody.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED when it was decided about before, QY_ERR_INVALID_ARGUMENT for an id or user
 * that cannot be, QY_ERR_INVALID_UTF8.
 */
qy_status qy_upgrade_accept(qy_upgrade *upgrade,
                            const char *id,
                            const char *user);

/**
 * Refuses the client with an HTTP status from 400 to 599 and a text for it; NULL is an empty one.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED when it was decided about before, QY_ERR_INVALID_ARGUMENT for another
 * status, QY_ERR_INVALID_UTF8.
 */
qy_status qy_upgrade_refuse(qy_upgrade *upgrade, uint16_t status, const char *text);

/**
 * Copies the address of the client into `buf`, as qy_connection_remote does.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_upgrade_remote(const qy_upgrade *upgrade,
                            char *buf,
                            size_t cap,
                            size_t *needed);

/**
 * Copies the path into `buf`, as qy_connection_path does.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_upgrade_path(const qy_upgrade *upgrade, char *buf, size_t cap, size_t *needed);

/**
 * Copies what followed the '?' into `buf`, as qy_connection_query does.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_upgrade_query(const qy_upgrade *upgrade, char *buf, size_t cap, size_t *needed);

/**
 * Copies the first header field called `name` into `buf`, as qy_connection_header does.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `name`.
 */
qy_status qy_upgrade_header(const qy_upgrade *upgrade,
                            const char *name,
                            char *buf,
                            size_t cap,
                            size_t *needed);

/**
 * Calls `visitor` for each header field, as qy_connection_list_headers does.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_upgrade_list_headers(const qy_upgrade *upgrade,
                                  qy_header_visitor visitor,
                                  void *user_data);

/**
 * Copies the text of the last failure on this handle into `buf`, as qy_last_error does; an empty text
 * when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_upgrade_last_error(const qy_upgrade *upgrade,
                                char *buf,
                                size_t cap,
                                size_t *needed);

/* ===========================================================================
 * 13. Endpoints
 * ===========================================================================
 *
 * The program is the application behind every connection of a path: it decides who is admitted, hears
 * what they send, and learns when and why they go. A server can have any number of endpoints, and
 * they can come and go while it runs.
 *
 * The calls for one connection come one at a time and in order, those for different connections at
 * the same time, on up to `delivery_threads` threads of the server. While as much as `delivery_bytes`
 * waits for the program, its connections are not read. QY_DELIVER_INLINE brings the calls from the
 * server's own threads, which must not be made to wait.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_open(qy_connection *connection, void *user_data) {
 *   (void)user_data;
 *   qy_connection_send(connection, QY_JSON, "{\"hello\":1}", 11);
 * }
 *
 * static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
 *                        void *user_data) {
 *   (void)user_data;
 *   qy_connection_send(connection, kind, data, len);
 * }
 *
 * static void on_disconnect(qy_connection *connection, const qy_closure *closure, void *user_data) {
 *   char id[64];
 *   (void)user_data;
 *   qy_connection_id(connection, id, sizeof id, NULL);
 *   printf("%s went: %d %.*s\n", id, (int)closure->code, (int)closure->reason_len, closure->reason);
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   qy_options *options = NULL;
 *   qy_endpoint_callbacks callbacks = {0};
 *   callbacks.struct_size = sizeof callbacks;
 *   callbacks.open = on_open;
 *   callbacks.message = on_message;
 *   callbacks.disconnect = on_disconnect;
 *   qy_options_new(QY_OPTIONS_ENDPOINT, &options);
 *   qy_options_set(options, "origins", "https://example.org");
 *   qy_options_set_int(options, "max_connections", 10000);
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_handle(server, "/echo", options, &callbacks, QY_DELIVER_THREAD, NULL, NULL);
 *   qy_options_free(options);
 *   getchar();
 *   qy_server_stop(server, 1000); // everybody gets a Close with 1000
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** The client ended the connection, with a Close or by vanishing (1006). */
#define QY_ENDED_BY_CLIENT 1

/** The program ended it, or whoever operates the server. */
#define QY_ENDED_BY_PROGRAM 2

/** The server ended it: a fault of the client, a limit, the end of the endpoint or of the server. */
#define QY_ENDED_BY_SERVER 3

/** How a connection ended. */
typedef struct qy_closure {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /**
   * The close code, the client's or the one it was sent; 1005 for a Close without a code, 1006 for
   * a connection without a Close.
   */
  int32_t code;
  /** A QY_ENDED_BY_ constant. */
  int32_t ended_by;
  /** The reason that goes with it, UTF-8, not NUL-terminated, never NULL. */
  const char *reason;
  /** Its length in bytes. */
  size_t reason_len;
} qy_closure;

/**
 * What a program is called for. Each may be NULL. Everything that they are handed is valid until
 * they return.
 */
typedef struct qy_endpoint_callbacks {
  /** sizeof(qy_endpoint_callbacks), set by the caller. */
  size_t struct_size;
  /**
   * Whether a web page of this origin may connect: not 0 if so, otherwise it is refused with 403.
   * Asked before `connect`, about clients that send an Origin which the option `origins` allows.
   */
  int32_t (*check_origin)(const qy_upgrade *upgrade,
                          const char *origin,
                          size_t origin_len,
                          void *user_data);
  /**
   * A client asks to be admitted: see the upgrades section. When it returns, the client is admitted
   * unless it was refused, or a clone was made. NULL admits everybody.
   */
  void (*connect)(qy_upgrade *upgrade, void *user_data);
  /** The connection is there, and may be sent to. */
  void (*open)(qy_connection *connection, void *user_data);
  /** A message came; `kind` is QY_TEXT or QY_BINARY. `data` is not NUL-terminated, never NULL. */
  void (*message)(qy_connection *connection,
                  int32_t kind,
                  const void *data,
                  size_t len,
                  void *user_data);
  /** The connection is gone: the last call for it. */
  void (*disconnect)(qy_connection *connection, const qy_closure *closure, void *user_data);
  /**
   * The connection has failed, and `disconnect` follows. `status` is QY_ERR_PROTOCOL or
   * QY_ERR_TOO_LARGE for what the client sent, QY_ERR_QUEUE_FULL for a client that reads too
   * slowly, QY_ERR_TIMEOUT for one that answers no ping or takes nothing, QY_ERR_CONNECT for one
   * that vanished. The text is not NUL-terminated.
   */
  void (*error)(qy_connection *connection,
                qy_status status,
                const char *text,
                size_t len,
                void *user_data);
  /** A ping came, and was answered. `data` is its payload. */
  void (*ping)(qy_connection *connection, const void *data, size_t len, void *user_data);
  /** A pong came. */
  void (*pong)(qy_connection *connection, void *user_data);
} qy_endpoint_callbacks;

/**
 * Lets the program handle the WebSockets that come to `path` from now on; it begins with '/', not
 * with "/channel/", and is compared with the client's as it is sent. `options`, of
 * QY_OPTIONS_ENDPOINT or NULL for the defaults, and `callbacks` stay the caller's. `delivery` is
 * QY_DELIVER_THREAD or QY_DELIVER_INLINE.
 *
 * `drop` runs when the endpoint was removed, by qy_server_unhandle or the end of the server, and the
 * last callback has returned.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_EXISTS when something handles the path already, QY_ERR_CLOSED,
 * QY_ERR_INVALID_ARGUMENT for a path that cannot be, options of another kind, a delivery that does
 * not exist or a `struct_size` that cannot be, QY_ERR_INVALID_UTF8.
 */
qy_status qy_server_handle(qy_server *server,
                           const char *path,
                           const qy_options *options,
                           const qy_endpoint_callbacks *callbacks,
                           int32_t delivery,
                           void *user_data,
                           qy_drop_callback drop);

/**
 * Ends what qy_server_handle began: nobody is admitted at `path` any more, who asks to be is refused
 * with 404, and its connections are closed with 1001. Callbacks still come until all have gone.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when the program handles no such path, QY_ERR_CLOSED, QY_ERR_INVALID_UTF8.
 */
qy_status qy_server_unhandle(qy_server *server,
                             const char *path);

/**
 * Does the same and waits: when it has returned QY_OK, no callback of the endpoint runs or will run,
 * and `drop` has run. It also waits for one that qy_server_unhandle ended before.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not in one of this server's
 * connections, nor on an I/O thread (QY_DELIVER_INLINE).
 * Errors: those of qy_server_unhandle; QY_ERR_TIMEOUT when a callback still runs,
 * QY_ERR_WOULD_DEADLOCK in a callback that may not wait for it; the endpoint is ended all the same.
 */
qy_status qy_server_unhandle_wait(qy_server *server,
                                  const char *path,
                                  uint32_t timeout_ms);

/* ===========================================================================
 * 14. Connections and users
 * ===========================================================================
 *
 * All connections of a server that have a name, whatever they speak: found, listed, counted and sent
 * to, one by one or many at once, from any thread. A message is encoded for each as its dialect asks.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static int32_t is_old(qy_connection *connection, void *user_data) {
 *   qy_connection_info info = {0};
 *   (void)user_data;
 *   info.struct_size = sizeof info;
 *   qy_connection_info_get(connection, &info);
 *   return info.uptime_ms > 3600000;
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   uint64_t reached = 0;
 *   qy_connection_filter of_chat = {0};
 *   of_chat.struct_size = sizeof of_chat;
 *   of_chat.path = "/chat";
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *
 *   qy_server_send_to_user(server, "ann", QY_TEXT, "hello", 5, &reached); // wherever she is
 *   qy_server_broadcast(server, "/chat", QY_TEXT, "to all", 6, NULL);
 *   qy_server_send_where(server, &of_chat, is_old, NULL, QY_TEXT, "still here?", 11, &reached);
 *   printf("%llu are\n", (unsigned long long)reached);
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** Which connections an operation means: those that fit every field that is set. Zero is not set. */
typedef struct qy_connection_filter {
  /** sizeof(qy_connection_filter), set by the caller. */
  size_t struct_size;
  /** Those of this path; NULL is any. */
  const char *path;
  /** Those bound to this user; NULL is anybody and nobody. */
  const char *user;
  /** The members of this channel; NULL is any and none. */
  const char *channel;
  /** Those of this QY_DIALECT_ constant; 0 is any. */
  int64_t dialect;
} qy_connection_filter;

/** Sees one connection, lent until it returns. */
typedef void (*qy_connection_visitor)(qy_connection *connection, void *user_data);

/** Whether a connection is meant: not 0 if so. It is lent until the call returns. */
typedef int32_t (*qy_connection_predicate)(qy_connection *connection, void *user_data);

/**
 * Sees one user: the id, not NUL-terminated and valid until it returns, and the number of its
 * connections.
 */
typedef void (*qy_user_visitor)(const char *user, size_t len, uint64_t connections, void *user_data);

/**
 * Finds the connection called `id`. `*out` is the caller's, to be freed with qy_connection_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED.
 */
qy_status qy_server_find_connection(const qy_server *server, const char *id, qy_connection **out);

/**
 * Calls `visitor` for at most `limit` connections that `filter` (or NULL: all) means and whose ids
 * sort behind `after` (or NULL: from the first), by id, on this stack, before it returns. To read all
 * of them in pages, ask again with the last id of each page until a page is shorter than `limit`. No
 * lock is held: the visitor may call anything.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a filter that cannot be.
 */
qy_status qy_server_list_connections(const qy_server *server,
                                     const qy_connection_filter *filter,
                                     const char *after,
                                     size_t limit,
                                     qy_connection_visitor visitor,
                                     void *user_data);

/**
 * Counts the connections that `filter` (or NULL: all) means.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a filter that cannot be.
 */
qy_status qy_server_count_connections(const qy_server *server,
                                      const qy_connection_filter *filter,
                                      uint64_t *out);

/**
 * Sends a message to the connection called `id`: qy_connection_send without a handle.
 *
 * Threads: any. Blocks: as qy_connection_send. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, and those of qy_connection_send.
 */
qy_status qy_server_send_to(qy_server *server,
                            const char *id,
                            int32_t kind,
                            const void *data,
                            size_t len);

/**
 * Sends a message to every connection of a user. `*out`, unless NULL, becomes their number.
 *
 * Threads: any. Blocks: as qy_connection_send. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when no connection is bound to the user, and those of qy_connection_send.
 */
qy_status qy_server_send_to_user(qy_server *server,
                                 const char *user,
                                 int32_t kind,
                                 const void *data,
                                 size_t len,
                                 uint64_t *out);

/**
 * Sends a message to every connection of the endpoint at `path`, or of all endpoints for NULL. It is
 * encoded once, however many they are. `*out`, unless NULL, becomes their number.
 *
 * Threads: any. Blocks: as qy_server_publish. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND for a path without an endpoint, and those of qy_connection_send.
 */
qy_status qy_server_broadcast(qy_server *server,
                              const char *path,
                              int32_t kind,
                              const void *data,
                              size_t len,
                              uint64_t *out);

/**
 * Sends a message to every connection that `filter` (or NULL: all) means and for which `predicate`
 * (or NULL: each) answers not 0. The predicate is called on this stack, before the function returns;
 * no lock is held. `*out`, unless NULL, becomes the number of connections sent to.
 *
 * Threads: any. Blocks: as qy_connection_send, and in the predicate. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a filter that cannot be, and those of qy_connection_send.
 */
qy_status qy_server_send_where(qy_server *server,
                               const qy_connection_filter *filter,
                               qy_connection_predicate predicate,
                               void *user_data,
                               int32_t kind,
                               const void *data,
                               size_t len,
                               uint64_t *out);

/**
 * Closes the connection called `id`: qy_connection_close without a handle.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_CLOSED, and those of qy_connection_close.
 */
qy_status qy_server_close_connection(qy_server *server,
                                     const char *id,
                                     uint16_t code,
                                     const char *reason);

/**
 * Binds the connection called `id` to a user: qy_connection_bind without a handle.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, and those of qy_connection_bind.
 */
qy_status qy_server_bind_user(qy_server *server, const char *id, const char *user);

/**
 * Unbinds the connection called `id` from its user: qy_connection_unbind without a handle.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, also when it was bound to nobody; QY_ERR_CLOSED, QY_ERR_INVALID_UTF8.
 */
qy_status qy_server_unbind_user(qy_server *server, const char *id);

/**
 * Calls `visitor` for at most `limit` users whose ids sort behind `after` (or NULL: from the first),
 * by id, on this stack, before it returns; no lock is held. The connections of a user are those that
 * qy_server_list_connections finds with a filter.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_INVALID_UTF8.
 */
qy_status qy_server_list_users(const qy_server *server,
                               const char *after,
                               size_t limit,
                               qy_user_visitor visitor,
                               void *user_data);

/**
 * Counts the users that a connection is bound to.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED.
 */
qy_status qy_server_count_users(const qy_server *server, uint64_t *out);

/**
 * Calls `visitor` for each connection that is a member of `channel`, in the order in which they
 * connected, on this stack, before it returns; no lock is held. What is published to the channel
 * reaches them, and its listeners.
 *
 * Threads: any. Blocks: only in the visitor. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED.
 */
qy_status qy_server_list_members(const qy_server *server,
                                 const char *channel,
                                 qy_connection_visitor visitor,
                                 void *user_data);

/* ===========================================================================
 * 15. Requests
 * ===========================================================================
 *
 * What both sides of the packet dialect use: the reply to a request that the peer made, and the
 * response to one's own. A request is answered once, in its callback or later, from any thread; a
 * reply that is let go of unanswered lets the request time out at the peer.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_time(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
 *                     qy_reply *reply, void *user_data) {
 *   (void)connection, (void)data, (void)len, (void)user_data;
 *   if (reply != NULL) qy_reply_send(reply, protocol, "noon", 4); // NULL: a one-way message
 * }
 *
 * static void answered(qy_status status, const qy_response *response, void *user_data) {
 *   (void)user_data;
 *   if (status == QY_OK)
 *     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
 * }
 *
 * static void on_event(qy_connection *connection, const qy_packet_event *event, void *user_data) {
 *   if (event->event == QY_PACKET_ESTABLISHED) // ask every client that comes, and do not wait
 *     qy_connection_request_async(connection, 2, "who?", 4, 5000, QY_DELIVER_THREAD, answered,
 *                                 user_data, NULL);
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_time, NULL, NULL);
 *   qy_server_on_packet_event(server, QY_DELIVER_THREAD, on_event, NULL, NULL);
 *   getchar();
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** The right to answer one request, once. */
typedef struct qy_reply qy_reply;

/** What a peer answered. */
typedef struct qy_response qy_response;

/**
 * Receives the end of a request. `status` is QY_OK and `response` is valid until the call returns;
 * or `response` is NULL and `status` is QY_ERR_TIMEOUT or QY_ERR_CLOSED, about which qy_last_error
 * says more.
 */
typedef void (*qy_response_callback)(qy_status status,
                                     const qy_response *response,
                                     void *user_data);

/**
 * Makes another handle of a reply, to answer after the callback has returned. `*out` is the
 * caller's, to be freed with qy_reply_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_reply_clone(const qy_reply *reply, qy_reply **out);

/**
 * Answers the request with `len` bytes of `data`, which are copied. `protocol` is the answer's
 * protocol id, as a rule the request's.
 *
 * Threads: any. Blocks: only while the thread that writes to the peer is far behind. In callbacks:
 * yes.
 * Errors: QY_ERR_INVALID_ARGUMENT when the request is answered already, QY_ERR_TOO_LARGE, after
 * which another answer may be sent, QY_ERR_CLOSED when the peer is gone.
 */
qy_status qy_reply_send(qy_reply *reply, uint32_t protocol, const void *data, size_t len);

/**
 * Frees a handle that qy_reply_clone made; NULL is allowed. A request that is not answered and has
 * no handle left is never answered.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_reply_free(qy_reply *reply);

/**
 * The protocol id of a response; 0 for NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
uint32_t qy_response_protocol(const qy_response *response);

/**
 * The data of a response, valid while the response is; not NUL-terminated. NULL for NULL and for no
 * data.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const void *qy_response_data(const qy_response *response);

/**
 * The length of a response's data in bytes; 0 for NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
size_t qy_response_len(const qy_response *response);

/**
 * Frees a response that a request gave out; NULL is allowed. One that a callback was handed is not
 * the caller's to free.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_response_free(qy_response *response);

/* ===========================================================================
 * 16. Packets
 * ===========================================================================
 *
 * The packet dialect on the server, by default on the path `/join?uid=U&type=T&device=D&source=S`:
 * one-way messages and requests, both ways, each with a protocol id that chooses its handler. A
 * connection's id is `U-T-D-S` and its user is `U`; one that comes with the id of another displaces
 * it.
 *
 * Handlers are called in order for each connection, one at a time. Calls for different connections
 * may come at the same time, on `delivery_threads` threads of the server; with the option at 1 there
 * is one call at a time. What waits for handlers is bounded by `delivery_bytes`: beyond it,
 * connections are not read. With QY_DELIVER_INLINE a handler runs on the thread that reads its
 * connections; there it must not block.
 *
 * A request whose protocol id has no handler is not answered, and times out at the client.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_echo(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
 *                     qy_reply *reply, void *user_data) {
 *   qy_response *response = NULL;
 *   (void)user_data;
 *   // ask the client in turn, and wait: other connections go on
 *   if (qy_connection_request(connection, 2, "more?", 5, 1000, &response) == QY_OK)
 *     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
 *   qy_response_free(response);
 *   if (reply != NULL) qy_reply_send(reply, protocol, data, len);
 * }
 *
 * static void on_event(qy_connection *connection, const qy_packet_event *event, void *user_data) {
 *   (void)user_data;
 *   if (event->event == QY_PACKET_ESTABLISHED) qy_connection_send_packet(connection, 3, "hi", 2);
 *   if (event->event == QY_PACKET_CLOSED) printf("closed with %d\n", (int)event->code);
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_echo, NULL, NULL);
 *   qy_server_on_packet_event(server, QY_DELIVER_THREAD, on_event, NULL, NULL);
 *   getchar();
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** A connection is open, registered and bound to its user. */
#define QY_PACKET_ESTABLISHED 1

/** A connection ends and takes no more messages. It is registered until the callback returns. */
#define QY_PACKET_CLOSING 2

/** A connection is gone: its last event. */
#define QY_PACKET_CLOSED 3

/** A ping came, and was answered. */
#define QY_PACKET_PINGED 4

/** A pong came. */
#define QY_PACKET_PONGED 5

/**
 * Receives a one-way message (`reply` is NULL) or a request, which it answers with qy_reply_send,
 * or later by means of qy_reply_clone. All arguments are valid until the call returns; `data` is
 * NULL when `len` is 0.
 */
typedef void (*qy_packet_callback)(qy_connection *connection,
                                   uint32_t protocol,
                                   const void *data,
                                   size_t len,
                                   qy_reply *reply,
                                   void *user_data);

/** What happened to a connection. */
typedef struct qy_packet_event {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /** A QY_PACKET_ constant. */
  int32_t event;
  /**
   * Of QY_PACKET_CLOSING and QY_PACKET_CLOSED: the WebSocket close code, 1006 for a connection
   * that was lost, 3505 for one that was displaced. 0 otherwise.
   */
  int32_t code;
  /** Of these two: 1 when the peer began it. 0 otherwise. */
  int32_t by_peer;
  /** Of these two: why, UTF-8, not NUL-terminated, never NULL. */
  const char *reason;
  /** Its length in bytes. */
  size_t reason_len;
} qy_packet_event;

/** Sees what happens to a connection; the arguments are valid until it returns. */
typedef void (*qy_packet_event_callback)(qy_connection *connection,
                                         const qy_packet_event *event,
                                         void *user_data);

/** Runs for a connection whose pull channel was signalled; the handle is valid until it returns. */
typedef void (*qy_pull_callback)(qy_connection *connection, uint32_t channel, void *user_data);

/** What was counted of packets since the server started. */
typedef struct qy_packet_counters {
  /** sizeof(qy_packet_counters), set by the caller. */
  size_t struct_size;
  /** One-way messages and requests that came. */
  uint64_t received;
  /** Those of them whose protocol id had no handler. */
  uint64_t unhandled;
  /** Connections closed for a packet that was none, or too large. */
  uint64_t refused;
  /** Connections that another one with their id displaced. */
  uint64_t displaced;
  /** Requests of the server that are under way now. */
  uint64_t in_flight;
  /** Requests of the server whose time was over. */
  uint64_t timed_out;
  /** Responses that nothing waited for, and that were dropped. */
  uint64_t late;
} qy_packet_counters;

/**
 * Calls `callback` for every one-way message and every request with this protocol id, in place of
 * what was registered for it before; NULL only removes that. `delivery` is QY_DELIVER_THREAD or
 * QY_DELIVER_INLINE. `drop` (or NULL) runs when the callback was replaced or removed, or the server
 * stopped, and no call of it runs or will run.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED when the server was stopped, QY_ERR_INVALID_ARGUMENT for a delivery that
 * does not exist.
 */
qy_status qy_server_on_packet(qy_server *server,
                              uint32_t protocol,
                              int32_t delivery,
                              qy_packet_callback callback,
                              void *user_data,
                              qy_drop_callback drop);

/**
 * Calls `callback` for what happens to connections, in place of what was registered before; NULL
 * only removes that. `delivery` and `drop` are as in qy_server_on_packet.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: as qy_server_on_packet.
 */
qy_status qy_server_on_packet_event(qy_server *server,
                                    int32_t delivery,
                                    qy_packet_event_callback callback,
                                    void *user_data,
                                    qy_drop_callback drop);

/**
 * Calls `callback` on a thread of the server's callbacks for each connection whose pull channel
 * `channel` is signalled (qy_connection_signal_pull), in place of what was registered before; NULL
 * only removes that. `drop` is as in qy_server_on_packet.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED when the server was stopped.
 */
qy_status qy_server_on_pull(qy_server *server,
                            uint32_t channel,
                            qy_pull_callback callback,
                            void *user_data,
                            qy_drop_callback drop);

/**
 * Reads the counters. Set `out->struct_size` first.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED when the server was stopped, QY_ERR_INVALID_ARGUMENT for a `struct_size`
 * that cannot be.
 */
qy_status qy_server_packet_counters(const qy_server *server, qy_packet_counters *out);

/**
 * Copies what a client of the packet dialect said about itself into `buf`, NUL-terminated and cut to
 * `cap` bytes: `key` is "uid", "type", "device", "source", "version" or "charset". `*needed` (or
 * NULL) becomes its size with the NUL. What the client left out is empty, its type "0".
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for another key and for a connection of another dialect,
 * QY_ERR_INVALID_UTF8, QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_connection_packet_identity(const qy_connection *connection,
                                        const char *key,
                                        char *buf,
                                        size_t cap,
                                        size_t *needed);

/**
 * Sends a one-way message of `len` bytes, which are copied. What one thread sends to a connection
 * arrives in that order.
 *
 * Threads: any. Blocks: only while the thread that writes to the client is far behind; never for a
 * slow client. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_TOO_LARGE over `packet_max_bytes`, QY_ERR_INVALID_ARGUMENT for a
 * connection of another dialect.
 */
qy_status qy_connection_send_packet(qy_connection *connection,
                                    uint32_t protocol,
                                    const void *data,
                                    size_t len);

/**
 * Makes a request of `len` bytes, which are copied, and waits for the response. `*out` is the
 * caller's, to be freed with qy_response_free.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, also about the same connection, but
 * not with QY_DELIVER_INLINE.
 * Errors: QY_ERR_TIMEOUT, QY_ERR_CLOSED, QY_ERR_TOO_LARGE, QY_ERR_QUEUE_FULL when a million requests
 * to this client are under way, QY_ERR_INVALID_ARGUMENT for a connection of another dialect,
 * QY_ERR_WOULD_DEADLOCK in an inline callback.
 */
qy_status qy_connection_request(qy_connection *connection,
                                uint32_t protocol,
                                const void *data,
                                size_t len,
                                uint32_t timeout_ms,
                                qy_response **out);

/**
 * Makes a request of `len` bytes, which are copied, and returns. If it succeeds, `callback` is called
 * exactly once: with the response, after `timeout_ms`, or when the connection is closed. `delivery`
 * is QY_DELIVER_THREAD, in the connection's order, or QY_DELIVER_INLINE, on whichever thread of the
 * library ends the request. `drop` (or NULL) runs after the call, or before this function returns an
 * error.
 *
 * Threads: any. Blocks: as qy_connection_send_packet. In callbacks: yes.
 * Errors: QY_ERR_CLOSED, QY_ERR_TOO_LARGE, QY_ERR_QUEUE_FULL when a million requests to this client
 * are under way, QY_ERR_INVALID_ARGUMENT for a connection of another dialect and for a delivery that
 * does not exist.
 */
qy_status qy_connection_request_async(qy_connection *connection,
                                      uint32_t protocol,
                                      const void *data,
                                      size_t len,
                                      uint32_t timeout_ms,
                                      int32_t delivery,
                                      qy_response_callback callback,
                                      void *user_data,
                                      qy_drop_callback drop);

/**
 * Makes the callback of a pull channel run for this connection: once, however often it is signalled
 * before that run begins. A signal during the run makes another one.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when the pull channel has no callback, QY_ERR_CLOSED,
 * QY_ERR_INVALID_ARGUMENT for a connection of another dialect.
 */
qy_status qy_connection_signal_pull(qy_connection *connection, uint32_t channel);

/* ===========================================================================
 * 17. Remote calls
 * ===========================================================================
 *
 * Methods of this program that clients of the session dialect call with
 * `{"id":1,"type":"request","action":"rpc","payload":{"method":"add","params":[1,2]}}`. Parameters
 * and results are JSON. A call is answered once, in its callback or later, from any thread: with a
 * result or with an error. One that is let go of unanswered gets the error "no_answer", one that is
 * not answered within `rpc_timeout_ms` the error "timeout".
 *
 * Calls of one connection come in order, one at a time; those of different connections may come at
 * the same time, on `delivery_threads` threads of the server.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_add(qy_connection *connection, const char *method, const char *params, size_t len,
 *                    qy_rpc_reply *reply, void *user_data) {
 *   char text[64], result[64];
 *   long a, b;
 *   (void)connection, (void)method, (void)user_data;
 *   snprintf(text, sizeof text, "%.*s", (int)len, params); // a program would use its JSON library
 *   if (sscanf(text, "[%ld,%ld]", &a, &b) != 2) {
 *     qy_rpc_reply_error(reply, "bad_params", "params are [a,b], two numbers");
 *     return;
 *   }
 *   qy_rpc_reply_result(reply, result, (size_t)snprintf(result, sizeof result, "%ld", a + b));
 * }
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_server_on_rpc(server, "add", QY_DELIVER_THREAD, on_add, NULL, NULL);
 *   getchar();
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/** The right to answer one call, once. */
typedef struct qy_rpc_reply qy_rpc_reply;

/**
 * Answers a call of `method`, which is NUL-terminated. `params` is JSON of `len` bytes, never NULL
 * and not NUL-terminated, "null" when the client gave none. All arguments are valid until the call
 * returns; to answer later, take qy_rpc_reply_clone.
 */
typedef void (*qy_rpc_callback)(qy_connection *connection,
                                const char *method,
                                const char *params,
                                size_t len,
                                qy_rpc_reply *reply,
                                void *user_data);

/**
 * Calls `callback` for every call of `method` by a client of the session dialect, in place of what
 * was registered for it before; NULL only removes that. A method's name has 1 to 255 bytes and no
 * control characters. `delivery` is QY_DELIVER_THREAD or QY_DELIVER_INLINE. `drop` (or NULL) runs
 * when the callback was replaced or removed, or the server stopped, and no call of it runs or will
 * run.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CLOSED when the server was stopped, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8,
 * QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
 */
qy_status qy_server_on_rpc(qy_server *server,
                           const char *method,
                           int32_t delivery,
                           qy_rpc_callback callback,
                           void *user_data,
                           qy_drop_callback drop);

/**
 * Makes another handle of a reply, to answer after the callback has returned. `*out` is the
 * caller's, to be freed with qy_rpc_reply_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_rpc_reply_clone(const qy_rpc_reply *reply, qy_rpc_reply **out);

/**
 * Answers the call with a result: `json` is JSON of `len` bytes, which are copied.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for what is no JSON, after which another answer may be given, and
 * when the call is answered already; QY_ERR_CLOSED when its time is over or its client is gone.
 */
qy_status qy_rpc_reply_result(qy_rpc_reply *reply, const char *json, size_t len);

/**
 * Answers the call with an error: `code`, which is not empty, for programs and `message` for people.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for an empty code and when the call is answered already;
 * QY_ERR_INVALID_UTF8; QY_ERR_CLOSED when its time is over or its client is gone.
 */
qy_status qy_rpc_reply_error(qy_rpc_reply *reply,
                             const char *code,
                             const char *message);

/**
 * Frees a handle that qy_rpc_reply_clone made; NULL is allowed. A call that is not answered and has
 * no handle left gets the error "no_answer".
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_rpc_reply_free(qy_rpc_reply *reply);

/* ===========================================================================
 * 18. Client
 * ===========================================================================
 *
 * One handle, one connection, any number of subscriptions (next section). It connects in the
 * background, comes back by itself when the connection is lost, and subscribes again.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_client *client = NULL;
 *   qy_position at = {sizeof at, 0, 0};
 *   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
 *   if (qy_client_wait_connected(client, 5000) == QY_OK) {
 *     qy_client_create_channel(client, "test");
 *     if (qy_client_publish(client, "test", QY_TEXT, "hello", 5, &at) == QY_OK)
 *       printf("message %llu of the channel\n", (unsigned long long)at.offset);
 *   }
 *   qy_client_free(client);
 *   qy_shutdown(1000);
 *   return 0;
 * }
 * ```
 */

/** Connecting, for the first time or again. */
#define QY_CLIENT_CONNECTING 1

/** Connected. */
#define QY_CLIENT_CONNECTED 2

/** Closed by the program, by the server for good, or after the last attempt. */
#define QY_CLIENT_CLOSED 3

/** A client. */
typedef struct qy_client qy_client;

/** Totals of a client since it was opened. */
typedef struct qy_client_counters {
  /** sizeof(qy_client_counters), set by the caller. */
  size_t struct_size;
  /** Messages received. */
  uint64_t received;
  /** Messages published and acknowledged. */
  uint64_t published;
  /** Messages dropped because a subscription's queue was full. */
  uint64_t dropped;
  /** Times the connection was restored. */
  uint64_t reconnects;
} qy_client_counters;

/**
 * Opens a client on `host` ("localhost:8000", or an "http://", "https://", "ws://" or "wss://"
 * URL) and begins to connect; qy_client_wait_connected waits for it. `options` (or NULL for the
 * defaults) stay the caller's. `*out` is the caller's, to be freed with qy_client_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8, QY_ERR_IO, QY_ERR_INVALID_ARGUMENT for options
 * of a server.
 */
qy_status qy_client_open(const char *host, const qy_options *options, qy_client **out);

/**
 * Waits until the client is connected.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not on the I/O thread
 * (QY_DELIVER_INLINE), unless `timeout_ms` is 0.
 * Errors: QY_ERR_TIMEOUT, QY_ERR_CLOSED, QY_ERR_WOULD_DEADLOCK on the I/O thread.
 */
qy_status qy_client_wait_connected(qy_client *client, uint32_t timeout_ms);

/**
 * Tells where the client stands: a QY_CLIENT_ constant.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_client_state(const qy_client *client, int32_t *out);

/**
 * Reads the counters. Set `out->struct_size` first.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_client_counters_get(const qy_client *client, qy_client_counters *out);

/**
 * Creates a channel on the server.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_CHANNEL_EXISTS, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CONNECT,
 * QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_CLOSED.
 */
qy_status qy_client_create_channel(qy_client *client, const char *name);

/**
 * Deletes a channel on the server.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CONNECT,
 * QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_CLOSED.
 */
qy_status qy_client_delete_channel(qy_client *client, const char *name);

/**
 * Publishes a message and waits for the server's acknowledgement. `kind` is QY_TEXT or QY_BINARY;
 * `data` has `len` bytes and is copied. `*out`, unless NULL, tells where the message stands, with
 * zeros when the way it travelled does not tell; set its `struct_size` first.
 *
 * Threads: any. Blocks: until the acknowledgement, at most `request_timeout_ms`. In callbacks: yes,
 * but not on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_TOO_LARGE, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8
 * for a text that is none, QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL,
 * QY_ERR_QUEUE_FULL, QY_ERR_CLOSED, QY_ERR_WOULD_DEADLOCK on the I/O thread.
 */
qy_status qy_client_publish(qy_client *client,
                            const char *channel,
                            int32_t kind,
                            const void *data,
                            size_t len,
                            qy_position *out);

/**
 * Queues a message for the client's WebSocket and returns. A refusal by the server goes to the log
 * and to qy_client_last_error. `data` has `len` bytes and is copied.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_QUEUE_FULL when `send_queue_messages` wait, QY_ERR_TOO_LARGE,
 * QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8 for a text that is none, QY_ERR_CONNECT,
 * QY_ERR_CLOSED.
 */
qy_status qy_client_publish_nowait(qy_client *client,
                                   const char *channel,
                                   int32_t kind,
                                   const void *data,
                                   size_t len);

/**
 * Copies the text of the newest failure on this client, of a call by any thread or of its work in
 * the background, into `buf`, as qy_last_error does; an empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_client_last_error(const qy_client *client,
                               char *buf,
                               size_t cap,
                               size_t *needed);

/**
 * Closes the client and all its subscriptions; each gets its QY_EVENT_CLOSED, and waiting calls
 * return QY_ERR_CLOSED. Safe to call again. The handles must still be freed.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_client_close(qy_client *client);

/**
 * Frees a client, after closing it; NULL is allowed. Its subscriptions are closed, and freed with
 * qy_subscription_free, before or after. In a forked child it only forgets the parent's client.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_client_free(qy_client *client);

/* ===========================================================================
 * 19. Channels with options
 * ===========================================================================
 *
 * A channel that is created by its name alone has the options of its namespace (`namespaces` of the
 * server). It can be given its own instead: how much history it keeps, whether it is durable, what
 * happens to subscribers that are slow. qy_options_describe(QY_OPTIONS_CHANNEL, ...) lists them.
 *
 * ```c
 * #include <qyun.h>
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   qy_options *with = NULL;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_options_new(QY_OPTIONS_CHANNEL, &with);
 *   qy_options_set_int(with, "history_size", 1000);
 *   qy_options_set(with, "overload", "keep_latest");
 *   qy_server_create_channel_with(server, "prices", with);
 *   qy_options_free(with);
 *   qy_server_free(server);
 *   return 0;
 * }
 * ```
 */

/**
 * Creates a channel with `options`, made with QY_OPTIONS_CHANNEL, in place of its namespace's: those
 * that are not set are at their defaults. They hold until the channel is deleted, and stay the
 * caller's.
 *
 * Threads: any. Blocks: never, but with `durability` for as long as the store takes to open it. In
 * callbacks: yes.
 * Errors: those of qy_server_create_channel; QY_ERR_INVALID_ARGUMENT for options of something else;
 * QY_ERR_INVALID_OPTION for a `durability` in a server without `store`; QY_ERR_IO of the store.
 */
qy_status qy_server_create_channel_with(qy_server *server,
                                        const char *name,
                                        const qy_options *options);

/**
 * Creates a channel on the client's server as qy_server_create_channel_with does. The server's admin
 * API does it: `token` is its `admin_token`, or NULL where it has none and the client is on its
 * machine.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: those of qy_client_create_channel; QY_ERR_REFUSED for a wrong token, where the API may not
 * be used from, and for options that the server does not take; QY_ERR_INVALID_ARGUMENT for options of
 * something else.
 */
qy_status qy_client_create_channel_with(qy_client *client,
                                        const char *name,
                                        const qy_options *options,
                                        const char *token);

/* ===========================================================================
 * 20. Publishing once over the network
 * ===========================================================================
 *
 * The keys, counts and batches of a server in this process, with a server elsewhere. Who does not know
 * whether a message arrived, after QY_ERR_CONNECT or QY_ERR_TIMEOUT, sends it again under the same key,
 * from this client or another one: it is published once.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_client *client = NULL;
 *   qy_publish_options once = {.struct_size = sizeof once, .key = "order-7", .key_len = 7};
 *   qy_publish_result result = {.struct_size = sizeof result};
 *   qy_status status = QY_ERR_CONNECT;
 *   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
 *   for (int tries = 0; tries < 3 && (status == QY_ERR_CONNECT || status == QY_ERR_TIMEOUT); tries++)
 *     status = qy_client_publish_with(client, "test", QY_TEXT, "order 7", 7, &once, &result);
 *   if (status == QY_OK)
 *     printf("message %llu%s\n", (unsigned long long)result.offset,
 *            result.duplicate ? ", which had arrived" : "");
 *   qy_client_free(client);
 *   qy_shutdown(1000);
 *   return 0;
 * }
 * ```
 */

/**
 * Publishes a message as qy_client_publish does, with `options`, or NULL for none. `kind` is QY_TEXT,
 * QY_BINARY or QY_JSON. `*out`, unless NULL, tells what became of it; set its `struct_size` first.
 *
 * With the client's option `publish_retries` it is sent again by itself when its connection is lost,
 * under its key, or under one of the library's.
 *
 * Threads: any. Blocks: until the acknowledgement, at most `request_timeout_ms`; with `counts` that
 * comes when all threads of the server have sent the message on. In callbacks: yes, but not on the I/O
 * thread (QY_DELIVER_INLINE).
 * Errors: those of qy_client_publish; QY_ERR_CONFLICT when another message came under the key, and
 * then nothing is published; QY_ERR_INVALID_ARGUMENT for a key or `conflate` that is not 1 to 255
 * bytes, and for JSON that is none; QY_ERR_REFUSED for a key in a channel with `idempotency_ms` 0.
 */
qy_status qy_client_publish_with(qy_client *client,
                                 const char *channel,
                                 int32_t kind,
                                 const void *data,
                                 size_t len,
                                 const qy_publish_options *options,
                                 qy_publish_result *out);

/**
 * Publishes `count` messages in one HTTP request. `items` and `results` are as for
 * qy_server_publish_batch, and so is what QY_OK means; qy_client_last_error tells of the first that
 * failed. A key is UTF-8 here. The server takes `max_batch_messages` in `max_batch_bytes` at a time.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_TOO_LARGE for more than the server takes, QY_ERR_CLOSED, QY_ERR_REFUSED,
 * QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be, and then nothing is published;
 * QY_ERR_CONNECT and QY_ERR_TIMEOUT, and then all of it, some of it or nothing may have been;
 * QY_ERR_PROTOCOL. Of a message, in its result: those of qy_client_publish_with, and
 * QY_ERR_INVALID_UTF8 for its key.
 */
qy_status qy_client_publish_batch(qy_client *client,
                                  const qy_publish_item *items,
                                  size_t count,
                                  qy_publish_result *results);

/**
 * Broadcasts a message without a handle, as qy_send_message does, with `options`, or NULL for none.
 * `kind` is QY_TEXT, QY_BINARY or QY_JSON; `data` has `len` bytes. `*out`, unless NULL, tells what
 * became of it; set its `struct_size` first.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: those of qy_send_message; QY_ERR_CONFLICT, QY_ERR_INVALID_ARGUMENT and QY_ERR_REFUSED as
 * for qy_client_publish_with.
 */
qy_status qy_send_message_with(const char *host,
                               const char *channel,
                               int32_t kind,
                               const void *data,
                               size_t len,
                               const qy_publish_options *options,
                               qy_publish_result *out);

/**
 * Broadcasts `count` messages without a handle, as qy_client_publish_batch does. qy_last_error tells
 * of the first that failed.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: those of qy_client_publish_batch, without QY_ERR_CLOSED; QY_ERR_INVALID_URL.
 */
qy_status qy_send_batch(const char *host,
                        const qy_publish_item *items,
                        size_t count,
                        qy_publish_result *results);

/* ===========================================================================
 * 21. Subscriptions
 * ===========================================================================
 *
 * A subscription brings a channel's messages either to a callback or to whoever asks for them: with
 * a timeout, many at a time, or when a descriptor becomes readable in a loop of epoll, poll, select
 * or any framework. What waits is bounded by the option `queue_messages`, the option `overflow`
 * says what happens beyond it, and what is dropped is counted.
 *
 * A subscription continues by itself when its connection was lost: QY_EVENT_CONNECTED says by
 * `recovered` whether everything that was missed follows. A program that keeps the position of the
 * last message it has seen continues the same way when it is started again, with
 * qy_client_subscribe_since.
 *
 * ```c
 * #include <qyun.h>
 * #include <poll.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_client *client = NULL;
 *   qy_subscription *subscription = NULL;
 *   struct pollfd ready = {-1, POLLIN, 0};
 *   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK ||
 *       qy_client_subscribe(client, "test", QY_DELIVER_THREAD, NULL, NULL, NULL, &subscription))
 *     return 1;
 *   qy_subscription_fd(subscription, &ready.fd);
 *   while (poll(&ready, 1, -1) > 0) {
 *     qy_batch *batch = NULL;
 *     if (qy_subscription_recv_many(subscription, 256, 0, &batch) != QY_OK) break; // closed
 *     const qy_event *events = qy_batch_events(batch);
 *     for (size_t i = 0; i < qy_batch_count(batch); i++)
 *       if (events[i].event == QY_EVENT_MESSAGE)
 *         printf("%.*s\n", (int)events[i].len, (const char *)events[i].data);
 *     qy_batch_free(batch);
 *   }
 *   qy_subscription_free(subscription);
 *   qy_client_free(client);
 *   return 0;
 * }
 * ```
 */

/** Callbacks come from a delivery thread of the subscription. They may take their time. */
#define QY_DELIVER_THREAD 0

/**
 * Callbacks come from the I/O thread of the library: the lowest latency. They must not block, for
 * they hold up every client of the process.
 */
#define QY_DELIVER_INLINE 1

/** Events taken from a subscription, in one array. */
typedef struct qy_batch qy_batch;

/** A subscription of a client. */
typedef struct qy_subscription qy_subscription;

/** One event of a subscription. */
typedef struct qy_event {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /** A QY_EVENT_ constant. */
  int32_t event;
  /** QY_TEXT or QY_BINARY for a message; QY_TEXT otherwise. */
  int32_t kind;
  /** The channel's name, UTF-8, not NUL-terminated. */
  const char *channel;
  /** Its length in bytes. */
  size_t channel_len;
  /**
   * The message, or for QY_EVENT_JOIN and QY_EVENT_LEAVE the connection's id, or for QY_EVENT_CLOSED and QY_EVENT_ERROR a text that says why, and for
   * QY_EVENT_CONNECTED one that says what was missed, if anything was. Not NUL-terminated, never
   * NULL.
   */
  const void *data;
  /** Its length in bytes. */
  size_t len;
  /** Of a message: the channel's incarnation; 0 where the server does not tell. */
  uint64_t epoch;
  /**
   * Of a message: its number in the channel; 0 where the server does not tell. Of
   * QY_EVENT_CONNECTED: the number behind which the messages that follow begin.
   */
  uint64_t offset;
  /**
   * Of QY_EVENT_CONNECTED, when the subscription continues from a position, after a reconnection
   * or by qy_client_subscribe_since: 1 when nothing was missed since, and what was published
   * meanwhile follows; 0 when some of it is lost, and `offset` tells where it goes on. Otherwise
   * -1.
   */
  int32_t recovered;
  /**
   * Of QY_EVENT_JOIN and QY_EVENT_LEAVE: 1 when the user has no other connection there, and
   * without a user; 0 otherwise.
   */
  int32_t edge;
  /**
   * Of QY_EVENT_JOIN and QY_EVENT_LEAVE: the user that the connection is bound to, UTF-8, not
   * NUL-terminated. NULL without one, and for other events.
   */
  const char *user;
  /** Its length in bytes. */
  size_t user_len;
  /**
   * Of QY_EVENT_JOIN and QY_EVENT_LEAVE: when, in ms since the Unix epoch. Of one that was there
   * before, when it connected; 0 of one that went while the client was not connected.
   */
  uint64_t time_ms;
} qy_event;

/** Receives one event; it is valid until the call returns. */
typedef void (*qy_event_callback)(const qy_event *event, void *user_data);

/**
 * Subscribes to `channel`; the subscription is live when the function returns, and its first event
 * is QY_EVENT_CONNECTED. With a callback, `delivery` is QY_DELIVER_THREAD or QY_DELIVER_INLINE and
 * the first call may come before the function returns. With NULL for `callback` the program takes
 * the events itself, with qy_subscription_recv and its kin; `delivery` is then QY_DELIVER_THREAD,
 * and `drop` runs at once, since nothing uses `user_data`.
 *
 * `*out` is the caller's, to be freed with qy_subscription_free.
 *
 * Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
 * yes, but not on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_TIMEOUT,
 * QY_ERR_CONNECT, QY_ERR_REFUSED, QY_ERR_QUEUE_FULL, QY_ERR_CLOSED, QY_ERR_WOULD_DEADLOCK on the
 * I/O thread, QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
 */
qy_status qy_client_subscribe(qy_client *client,
                              const char *channel,
                              int32_t delivery,
                              qy_event_callback callback,
                              void *user_data,
                              qy_drop_callback drop,
                              qy_subscription **out);

/**
 * Subscribes like qy_client_subscribe, and first brings what was published behind `since`: the
 * `epoch` and `offset` of the last message that the program has. The first event,
 * QY_EVENT_CONNECTED, says by `recovered` whether all of it follows; for that the channel has to keep
 * a history.
 *
 * When the client is subscribed to the channel already, the new subscription has a connection of its
 * own, until it is closed, so that neither disturbs the other.
 *
 * Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
 * yes, but not on the I/O thread (QY_DELIVER_INLINE).
 * Errors: as qy_client_subscribe; QY_ERR_INVALID_ARGUMENT also for a `struct_size` of `since` that
 * cannot be.
 */
qy_status qy_client_subscribe_since(qy_client *client,
                                    const char *channel,
                                    const qy_position *since,
                                    int32_t delivery,
                                    qy_event_callback callback,
                                    void *user_data,
                                    qy_drop_callback drop,
                                    qy_subscription **out);

/**
 * Takes one event as a batch of one, to be freed with qy_batch_free. A `timeout_ms` of 0 does not
 * wait; UINT32_MAX is 49 days.
 *
 * Threads: any, several at once; each event goes to one of them. Blocks: at most `timeout_ms`;
 * closing wakes it. In callbacks: yes, but without waiting on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_TIMEOUT when no event came, QY_ERR_CLOSED after the last one (QY_EVENT_CLOSED, when
 * the server ended it) was taken or the program closed it, QY_ERR_INVALID_ARGUMENT for a
 * subscription with a callback, QY_ERR_WOULD_DEADLOCK on the I/O thread.
 */
qy_status qy_subscription_recv(qy_subscription *subscription,
                               uint32_t timeout_ms,
                               qy_batch **out);

/**
 * Waits like qy_subscription_recv for one event and takes it with all others that are waiting, at
 * most `max`.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: as qy_subscription_recv.
 * Errors: as qy_subscription_recv; QY_ERR_INVALID_ARGUMENT also for a `max` of 0.
 */
qy_status qy_subscription_recv_many(qy_subscription *subscription,
                                    size_t max,
                                    uint32_t timeout_ms,
                                    qy_batch **out);

/**
 * The number of events in a batch; 0 for NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
size_t qy_batch_count(const qy_batch *batch);

/**
 * The events of a batch, oldest first: an array of qy_batch_count elements, valid until
 * qy_batch_free. NULL for NULL and for an empty batch.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const qy_event *qy_batch_events(const qy_batch *batch);

/**
 * Frees a batch and what its events point to; NULL is allowed.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_batch_free(qy_batch *batch);

/**
 * Tells a descriptor that is readable (level-triggered) while an event waits, and when the
 * subscription has ended until a receiving call has told so. It is made on first use and belongs to the subscription: watch it, but do not read,
 * write or close it, and watch it no longer when the subscription is freed. `*out` is -1 when the
 * function fails.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_IO, QY_ERR_INVALID_ARGUMENT for a subscription with a callback.
 */
qy_status qy_subscription_fd(qy_subscription *subscription,
                             int *out);

/**
 * Tells how many messages were dropped because the subscription's queue was full.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_subscription_dropped(const qy_subscription *subscription, uint64_t *out);

/**
 * Copies the text of the last failure on this subscription, by any thread, into `buf`, as
 * qy_last_error does; an empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_subscription_last_error(const qy_subscription *subscription,
                                     char *buf,
                                     size_t cap,
                                     size_t *needed);

/**
 * Ends the subscription. Receiving calls, those that wait and later ones, return QY_ERR_CLOSED, and
 * what was queued is given up; a callback that runs finishes, and only the one that tells
 * QY_EVENT_CLOSED still comes. Safe to call again. The handle must still be freed.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_subscription_close(qy_subscription *subscription);

/**
 * Ends the subscription and waits: when it has returned QY_OK, no callback runs or will run, and
 * `drop` has run.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not in one of this very
 * subscription, one that this one waits for, or on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_TIMEOUT when a callback still runs, QY_ERR_WOULD_DEADLOCK in a callback that may
 * not wait for it; it is closed all the same.
 */
qy_status qy_subscription_close_wait(qy_subscription *subscription, uint32_t timeout_ms);

/**
 * Frees a subscription, after closing it as qy_subscription_close does; NULL is allowed. Callbacks
 * may still come until QY_EVENT_CLOSED and `drop`. In a forked child it only forgets the parent's.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_subscription_free(qy_subscription *subscription);

/* ===========================================================================
 * 22. Patterns and presence
 * ===========================================================================
 *
 * A subscription to a pattern brings the messages of every channel that it matches, also of those that
 * are created later; `channel` of its events says which one. A subscription with presence tells, between
 * the messages of one channel, who is there, who comes and who goes; the channel has the option
 * `presence`. With the first of either kind the client makes a second connection, which all of them
 * share, and by which the client is seen in its channels. Who is there can also be asked for.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_event(const qy_event *event, void *user_data) {
 *   (void)user_data;
 *   if (event->event == QY_EVENT_JOIN || event->event == QY_EVENT_LEAVE)
 *     printf("%.*s %s\n", (int)event->len, (const char *)event->data,
 *            event->event == QY_EVENT_JOIN ? "is there" : "went");
 *   else if (event->event == QY_EVENT_MESSAGE)
 *     printf("%.*s: %.*s\n", (int)event->channel_len, event->channel, (int)event->len,
 *            (const char *)event->data);
 * }
 *
 * int main(void) {
 *   qy_client *client = NULL;
 *   qy_subscription *news = NULL, *room = NULL;
 *   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
 *   qy_client_subscribe_pattern(client, "news.*", QY_DELIVER_THREAD, on_event, NULL, NULL, &news);
 *   qy_client_subscribe_presence(client, "room", QY_DELIVER_THREAD, on_event, NULL, NULL, &room);
 *   getchar();
 *   qy_subscription_free(room);
 *   qy_subscription_free(news);
 *   qy_client_free(client);
 *   return 0;
 * }
 * ```
 */

/**
 * Of a subscription with presence: somebody came to the channel, or was there when the subscription
 * began. The data is the connection's id.
 */
#define QY_EVENT_JOIN 8

/** Of a subscription with presence: somebody went. The data is the connection's id. */
#define QY_EVENT_LEAVE 9

/** Who is in a channel, in part. It stays as it is. */
typedef struct qy_presence qy_presence;

/** What a part tells of the whole. */
typedef struct qy_presence_info {
  /** sizeof(qy_presence_info), set by the caller. */
  size_t struct_size;
  /** How many are there in all. */
  uint64_t count;
  /** Subscribers without a name. */
  uint64_t anonymous;
  /** 1 when there are more behind the last one of this part. */
  int32_t more;
} qy_presence_info;

/** One who is in a channel. */
typedef struct qy_present {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /** The connection's id, UTF-8, not NUL-terminated. */
  const char *id;
  /** Its length in bytes. */
  size_t id_len;
  /** The user that it is bound to, UTF-8, not NUL-terminated; NULL without one. */
  const char *user;
  /** Its length in bytes. */
  size_t user_len;
  /** When it connected, in ms since the Unix epoch. */
  uint64_t connected_ms;
} qy_present;

/**
 * Subscribes like qy_client_subscribe to all channels whose names match `pattern`: `*` stands for one
 * segment between dots, `>` at the end for one or more. Of channels that exist from now on, of others
 * from their first message on. The `channel` of QY_EVENT_MESSAGE is the channel's name, that of the
 * other events the pattern. After a reconnection it begins at the present, and QY_EVENT_CONNECTED says
 * so with a `recovered` of 0.
 *
 * Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
 * yes, but not on the I/O thread (QY_DELIVER_INLINE).
 * Errors: as qy_client_subscribe; QY_ERR_INVALID_NAME for what is no pattern; QY_ERR_REFUSED when the
 * server takes none, or it matches more channels than a connection may have.
 */
qy_status qy_client_subscribe_pattern(qy_client *client,
                                      const char *pattern,
                                      int32_t delivery,
                                      qy_event_callback callback,
                                      void *user_data,
                                      qy_drop_callback drop,
                                      qy_subscription **out);

/**
 * Subscribes like qy_client_subscribe to a channel with the option `presence`, and is told who is
 * there: behind QY_EVENT_CONNECTED comes a QY_EVENT_JOIN for each one, the client itself among them,
 * then a QY_EVENT_JOIN or QY_EVENT_LEAVE for each who comes or goes, between the messages. For each
 * connection they alternate, also across reconnections. In the subscription's queue they are as
 * messages are: with an `overflow` other than "block", a full queue drops them, and counts them.
 *
 * Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
 * yes, but not on the I/O thread (QY_DELIVER_INLINE).
 * Errors: as qy_client_subscribe; QY_ERR_CHANNEL_NOT_FOUND also for a channel without the option.
 */
qy_status qy_client_subscribe_presence(qy_client *client,
                                       const char *channel,
                                       int32_t delivery,
                                       qy_event_callback callback,
                                       void *user_data,
                                       qy_drop_callback drop,
                                       qy_subscription **out);

/**
 * Asks the client's server who is in a channel with the option `presence`: at most `limit` (1 to
 * 1,000; 0 is 100) of those whose ids sort behind `after`, or, with NULL, from the beginning. Whoever
 * is cut off is there until the server notices, within its `ping_interval_ms` and `pong_wait_ms`.
 * `*out` is the caller's, to be freed with qy_presence_free.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, also for a channel without the option; QY_ERR_INVALID_NAME,
 * QY_ERR_INVALID_UTF8, QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED for a limit that the server does
 * not take, QY_ERR_PROTOCOL, QY_ERR_CLOSED.
 */
qy_status qy_client_presence(qy_client *client,
                             const char *channel,
                             const char *after,
                             uint32_t limit,
                             qy_presence **out);

/**
 * Asks the server in this process who is in a channel, as qy_client_presence does.
 *
 * Threads: any. Blocks: for as long as it takes to copy the part. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND; QY_ERR_NOT_FOUND for a channel without the option;
 * QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a limit over 1,000, QY_ERR_CLOSED.
 */
qy_status qy_server_presence(const qy_server *server,
                             const char *channel,
                             const char *after,
                             uint32_t limit,
                             qy_presence **out);

/**
 * Tells how many there are in all, and whether there are more than this part.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_presence_info_get(const qy_presence *presence, qy_presence_info *out);

/**
 * The number of members of a part; 0 for NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
size_t qy_presence_count(const qy_presence *presence);

/**
 * The members of a part, by id: an array of qy_presence_count elements, valid until
 * qy_presence_free. NULL for NULL and for an empty part.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const qy_present *qy_presence_members(const qy_presence *presence);

/**
 * Frees a part and what its members point to; NULL is allowed.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_presence_free(qy_presence *presence);

/* ===========================================================================
 * 23. History
 * ===========================================================================
 *
 * A channel with the option `history_size` keeps its last publications. They are read a page at a
 * time, forward or backward, from a server over the network or from the one in this process.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_client *client = NULL;
 *   qy_history *page = NULL;
 *   qy_history_range newest = {.struct_size = sizeof newest, .limit = 10, .backward = 1};
 *   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
 *   if (qy_client_history(client, "test", &newest, &page) == QY_OK) {
 *     const qy_publication *rows = qy_history_publications(page);
 *     for (size_t i = 0; i < qy_history_count(page); i++)
 *       printf("%llu: %.*s\n", (unsigned long long)rows[i].offset, (int)rows[i].len,
 *              (const char *)rows[i].data);
 *     qy_history_free(page);
 *   }
 *   qy_client_free(client);
 *   return 0;
 * }
 * ```
 */

/** A page of a channel's history. It stays as it is. */
typedef struct qy_history qy_history;

/** A part of a history to read. Zeros mean all of it, from the oldest. */
typedef struct qy_history_range {
  /** sizeof(qy_history_range), set by the caller. */
  size_t struct_size;
  /** Only publications behind this offset. */
  uint64_t after;
  /** Only publications in front of this offset; 0 is no such bound. */
  uint64_t before;
  /** At most so many, 1 to 1,000; 0 is 100. A page also ends at about 4 MiB of messages. */
  uint32_t limit;
  /** Not 0: the newest first. */
  int32_t backward;
} qy_history_range;

/** What a page tells of its channel. */
typedef struct qy_history_info {
  /** sizeof(qy_history_info), set by the caller. */
  size_t struct_size;
  /** The channel's incarnation. */
  uint64_t epoch;
  /** The offset of its last publication. */
  uint64_t offset;
  /** The oldest offset that is kept; the one behind the last if none is. */
  uint64_t first;
  /** 1 when there is more of the range than the page. */
  int32_t more;
} qy_history_info;

/** One publication of a page. */
typedef struct qy_publication {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /** Its number in the channel. */
  uint64_t offset;
  /** When it was published, in ms since the Unix epoch. */
  uint64_t time_ms;
  /** The message. Not NUL-terminated, never NULL. */
  const void *data;
  /** Its length in bytes. */
  size_t len;
  /** QY_TEXT or QY_BINARY. */
  int32_t kind;
} qy_publication;

/**
 * Reads a page of a channel's history from the client's server. NULL for `range` is all of it, from
 * the oldest. `*out` is the caller's, to be freed with qy_history_free.
 *
 * Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
 * callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CONNECT,
 * QY_ERR_TIMEOUT, QY_ERR_REFUSED for a limit that the server does not take, QY_ERR_PROTOCOL,
 * QY_ERR_CLOSED.
 */
qy_status qy_client_history(qy_client *client,
                            const char *channel,
                            const qy_history_range *range,
                            qy_history **out);

/**
 * Reads a page of a channel's history from the server in this process, as qy_client_history does.
 *
 * Threads: any. Blocks: for as long as it takes to copy the page. In callbacks: yes.
 * Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a limit over
 * 1,000, QY_ERR_CLOSED.
 */
qy_status qy_server_history(const qy_server *server,
                            const char *channel,
                            const qy_history_range *range,
                            qy_history **out);

/**
 * Tells where the channel stood when the page was read, and whether there is more.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_history_info_get(const qy_history *history, qy_history_info *out);

/**
 * The number of publications of a page; 0 for NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
size_t qy_history_count(const qy_history *history);

/**
 * The publications of a page, in the order that was asked for: an array of qy_history_count
 * elements, valid until qy_history_free. NULL for NULL and for an empty page.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const qy_publication *qy_history_publications(const qy_history *history);

/**
 * Frees a page and what its publications point to; NULL is allowed.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_history_free(qy_history *history);

/* ===========================================================================
 * 24. Sockets
 * ===========================================================================
 *
 * One WebSocket to any server, for programs that handle the frames themselves: URL, request headers,
 * sub-protocols, automatic reconnection. A new socket does not connect: qy_socket_connect does, so
 * that the handle is in the program's hands before the first callback.
 *
 * What is sent belongs to the connection that there is at that moment: while there is none, sending
 * fails with QY_ERR_CONNECT, and nothing is kept for the next one.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_connected(const qy_socket_event *event, void *user_data) {
 *   (void)event;
 *   qy_socket_send(*(qy_socket **)user_data, QY_TEXT, "hello", 5);
 * }
 *
 * static void on_message(const qy_socket_event *event, void *user_data) {
 *   (void)user_data;
 *   printf("%.*s\n", (int)event->len, (const char *)event->data);
 * }
 *
 * static void on_disconnected(const qy_socket_event *event, void *user_data) {
 *   (void)user_data;
 *   printf("code %d%s\n", (int)event->code, event->will_reconnect ? ", trying again" : "");
 * }
 *
 * int main(void) {
 *   qy_socket *socket = NULL;
 *   qy_options *options = NULL;
 *   qy_socket_callbacks callbacks = {0};
 *   callbacks.struct_size = sizeof callbacks;
 *   callbacks.connected = on_connected;
 *   callbacks.message = on_message;
 *   callbacks.disconnected = on_disconnected;
 *   qy_options_new(QY_OPTIONS_SOCKET, &options);
 *   qy_options_set(options, "header", "Authorization: Bearer secret");
 *   qy_options_set_int(options, "reconnect_delay_ms", 1000);
 *   if (qy_socket_open("ws://localhost:8000/chat?room=1", options, QY_DELIVER_THREAD, &callbacks,
 *                      &socket, NULL, &socket) != QY_OK)
 *     return 1;
 *   qy_options_free(options);
 *   qy_socket_connect(socket, 5000);
 *   getchar();
 *   qy_socket_disconnect(socket, 1000, "bye");
 *   qy_socket_free(socket);
 *   return qy_shutdown(1000) == QY_OK ? 0 : 1;
 * }
 * ```
 */

/**
 * The connection is over. The data is what the Close said, or why the connection is lost; `code` is
 * the close code.
 */
#define QY_EVENT_DISCONNECTED 5

/** The server sent a ping, which was answered. The data is its payload. */
#define QY_EVENT_PING 6

/** The server sent a pong. The data is its payload. */
#define QY_EVENT_PONG 7

/** Connecting, for the first time or again. */
#define QY_SOCKET_CONNECTING 1

/** Connected. */
#define QY_SOCKET_CONNECTED 2

/** Closed for good. */
#define QY_SOCKET_CLOSED 3

/**
 * Not connected, and not trying: before qy_socket_connect, after qy_socket_disconnect, and after
 * the last attempt.
 */
#define QY_SOCKET_DISCONNECTED 4

/** A WebSocket to any server. */
typedef struct qy_socket qy_socket;

/** One event of a socket. */
typedef struct qy_socket_event {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /**
   * QY_EVENT_CONNECTED, QY_EVENT_DISCONNECTED, QY_EVENT_MESSAGE, QY_EVENT_ERROR (an attempt to
   * connect failed), QY_EVENT_PING, QY_EVENT_PONG, or QY_EVENT_CLOSED, the last one.
   */
  int32_t event;
  /** QY_TEXT or QY_BINARY for a message; QY_TEXT otherwise. */
  int32_t kind;
  /**
   * The message or payload; of QY_EVENT_CONNECTED the sub-protocol that the server chose; of the
   * others a text that says why. Not NUL-terminated, never NULL.
   */
  const void *data;
  /** Its length in bytes. */
  size_t len;
  /**
   * Of QY_EVENT_DISCONNECTED: the close code; 1006 when there was no Close, 1005 when that had no
   * code. Of QY_EVENT_ERROR: the status. 0 otherwise.
   */
  int32_t code;
  /** Of QY_EVENT_DISCONNECTED and QY_EVENT_ERROR: 1 when it is tried again, else 0. */
  int32_t will_reconnect;
} qy_socket_event;

/** Receives one event; it is valid until the call returns. */
typedef void (*qy_socket_callback)(const qy_socket_event *event, void *user_data);

/** Who receives which event. Each may be NULL: those events are then passed over. */
typedef struct qy_socket_callbacks {
  /** sizeof(qy_socket_callbacks), set by the caller. */
  size_t struct_size;
  /** QY_EVENT_CONNECTED. */
  qy_socket_callback connected;
  /** QY_EVENT_DISCONNECTED. */
  qy_socket_callback disconnected;
  /** QY_EVENT_MESSAGE. */
  qy_socket_callback message;
  /** QY_EVENT_ERROR. */
  qy_socket_callback error;
  /** QY_EVENT_CLOSED: the last call. */
  qy_socket_callback closed;
  /** QY_EVENT_PING. Not NULL sets the option `control_events`. */
  qy_socket_callback ping;
  /** QY_EVENT_PONG. Not NULL sets the option `control_events`. */
  qy_socket_callback pong;
} qy_socket_callbacks;

/** Totals of a socket since it was opened. Bytes are those of payloads. */
typedef struct qy_socket_counters {
  /** sizeof(qy_socket_counters), set by the caller. */
  size_t struct_size;
  /** Messages received. */
  uint64_t messages_in;
  /** Messages handed to the connection. */
  uint64_t messages_out;
  /** Bytes of messages received. */
  uint64_t bytes_in;
  /** Bytes of messages handed to the connection. */
  uint64_t bytes_out;
  /** Received messages dropped because the queue was full. */
  uint64_t dropped;
  /** Messages that were queued to be sent and lost with their connection. */
  uint64_t unsent;
  /** Times the connection was restored. */
  uint64_t reconnects;
  /** Messages that wait to be written now. */
  uint64_t queued;
} qy_socket_counters;

/**
 * Makes a socket for `url` ("ws://HOST:PORT/PATH?QUERY" or "wss://..."); it does not connect yet.
 * `options` (or NULL for the defaults, otherwise of the kind QY_OPTIONS_SOCKET) and `callbacks`
 * stay the caller's. `delivery` is QY_DELIVER_THREAD or QY_DELIVER_INLINE. With NULL for
 * `callbacks` the program takes the events itself, with qy_socket_recv; `delivery` is then
 * QY_DELIVER_THREAD, and `drop` runs at once, since nothing uses `user_data`. `*out` is the
 * caller's, to be freed with qy_socket_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_OPTION, QY_ERR_IO,
 * QY_ERR_INVALID_ARGUMENT for other options, a delivery that does not exist, or a `struct_size` that
 * cannot be.
 */
qy_status qy_socket_open(const char *url,
                         const qy_options *options,
                         int32_t delivery,
                         const qy_socket_callbacks *callbacks,
                         void *user_data,
                         qy_drop_callback drop,
                         qy_socket **out);

/**
 * Begins to connect, unless it is connected or connecting, and waits until it is. With a
 * `timeout_ms` of 0 it does not wait: the callbacks tell. After QY_ERR_TIMEOUT the attempts go on;
 * after every other error there will be none, and its text says why the last one failed.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not on the I/O thread
 * (QY_DELIVER_INLINE), unless `timeout_ms` is 0.
 * Errors: QY_ERR_TIMEOUT, QY_ERR_CONNECT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_CLOSED,
 * QY_ERR_WOULD_DEADLOCK on the I/O thread.
 */
qy_status qy_socket_connect(qy_socket *socket, uint32_t timeout_ms);

/**
 * Ends the connection, or the attempts to make one. What was queued before is still written, if the
 * server takes it, then a Close with `code` (1000, or 3000 to 4999) and `reason` (at most 123
 * bytes; NULL is an empty one). qy_socket_connect connects again.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for another code or a longer reason, QY_ERR_INVALID_UTF8,
 * QY_ERR_CLOSED.
 */
qy_status qy_socket_disconnect(qy_socket *socket, int32_t code, const char *reason);

/**
 * Tells where the socket stands: a QY_SOCKET_ constant.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_socket_state(const qy_socket *socket, int32_t *out);

/**
 * Reads the counters. Set `out->struct_size` first.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_socket_counters_get(const qy_socket *socket, qy_socket_counters *out);

/**
 * Queues a message. What one thread sends arrives in its order. `kind` is QY_TEXT or QY_BINARY;
 * `data` has `len` bytes and is copied.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CONNECT while it is not connected, QY_ERR_QUEUE_FULL when `send_queue_messages` or
 * `send_queue_bytes` wait, QY_ERR_INVALID_UTF8 for a text that is none, QY_ERR_CLOSED.
 */
qy_status qy_socket_send(qy_socket *socket, int32_t kind, const void *data, size_t len);

/**
 * Queues a text that must be JSON: it is looked through, and sent as it is.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for what is no JSON (the text says where), and those of
 * qy_socket_send.
 */
qy_status qy_socket_send_json(qy_socket *socket, const char *json, size_t len);

/**
 * Queues a ping with at most 125 bytes. The pong is told as QY_EVENT_PONG, with the option
 * `control_events`. The keep-alive (`ping_interval_ms`) needs no help.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for more bytes, QY_ERR_CONNECT, QY_ERR_QUEUE_FULL, QY_ERR_CLOSED.
 */
qy_status qy_socket_ping(qy_socket *socket, const void *data, size_t len);

/**
 * Copies the text of the newest failure on this socket, of a call by any thread or of its work in
 * the background, into `buf`, as qy_last_error does; an empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_socket_last_error(const qy_socket *socket,
                               char *buf,
                               size_t cap,
                               size_t *needed);

/**
 * Closes the socket for good: what was queued is still written, as for qy_socket_disconnect. Calls
 * that wait return QY_ERR_CLOSED; a callback that runs finishes, and only the one that tells
 * QY_EVENT_CLOSED still comes. Safe to call again. The handle must still be freed.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_socket_close(qy_socket *socket);

/**
 * Closes the socket and waits: when it has returned QY_OK, no callback runs or will run, and `drop`
 * has run.
 *
 * Threads: any. Blocks: at most `timeout_ms`, for a callback that runs. In callbacks: yes, but
 * neither in one of this socket nor on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_TIMEOUT when a callback still runs, QY_ERR_WOULD_DEADLOCK where it would wait for
 * its own caller.
 */
qy_status qy_socket_close_wait(qy_socket *socket, uint32_t timeout_ms);

/**
 * Frees a socket, after closing it; NULL is allowed. In a forked child it only forgets the parent's
 * socket.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_socket_free(qy_socket *socket);

/* ===========================================================================
 * 25. Taking a socket's events
 * ===========================================================================
 *
 * The other way than callbacks, for a socket that was opened without: with a timeout, many at a time,
 * or when a descriptor becomes readable in a loop of epoll, poll, select or any framework. What
 * waits is bounded by the option `queue_messages`; beyond it the option `overflow` holds the
 * connection, unless it says otherwise.
 *
 * ```c
 * #include <qyun.h>
 * #include <poll.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   qy_socket *socket = NULL;
 *   struct pollfd ready = {-1, POLLIN, 0};
 *   if (qy_socket_open("ws://localhost:8000/chat", NULL, QY_DELIVER_THREAD, NULL, NULL, NULL,
 *                      &socket) != QY_OK)
 *     return 1;
 *   qy_socket_fd(socket, &ready.fd);
 *   qy_socket_connect(socket, 0);
 *   while (poll(&ready, 1, -1) > 0) {
 *     qy_socket_batch *batch = NULL;
 *     if (qy_socket_recv(socket, 256, 0, &batch) != QY_OK) break; // closed
 *     const qy_socket_event *events = qy_socket_batch_events(batch);
 *     for (size_t i = 0; i < qy_socket_batch_count(batch); i++)
 *       if (events[i].event == QY_EVENT_MESSAGE)
 *         printf("%.*s\n", (int)events[i].len, (const char *)events[i].data);
 *     qy_socket_batch_free(batch);
 *   }
 *   qy_socket_free(socket);
 *   return 0;
 * }
 * ```
 */

/** Events taken from a socket, in one array. */
typedef struct qy_socket_batch qy_socket_batch;

/**
 * Takes events of a socket that was opened without callbacks: waits for one, then takes all others
 * that are waiting, at most `max`. A `timeout_ms` of 0 does not wait. `*out` is to be freed with
 * qy_socket_batch_free.
 *
 * Threads: any, several at once; each event goes to one of them. Blocks: at most `timeout_ms`;
 * closing wakes it. In callbacks: yes, but without waiting on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_TIMEOUT when no event came, QY_ERR_CLOSED after the last one,
 * QY_ERR_INVALID_ARGUMENT for a socket with callbacks or a `max` of 0, QY_ERR_WOULD_DEADLOCK on the
 * I/O thread.
 */
qy_status qy_socket_recv(qy_socket *socket,
                         size_t max,
                         uint32_t timeout_ms,
                         qy_socket_batch **out);

/**
 * The number of events in a batch; 0 for NULL.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
size_t qy_socket_batch_count(const qy_socket_batch *batch);

/**
 * The events of a batch, oldest first: an array of qy_socket_batch_count elements, valid until
 * qy_socket_batch_free. NULL for NULL and for an empty batch.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 */
const qy_socket_event *qy_socket_batch_events(const qy_socket_batch *batch);

/**
 * Frees a batch and what its events point to; NULL is allowed.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_socket_batch_free(qy_socket_batch *batch);

/**
 * Tells a descriptor that is readable (level-triggered) while an event waits, and when the socket is
 * closed until a receiving call has told so; as qy_subscription_fd. `*out` is -1 when the function
 * fails.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_IO, QY_ERR_INVALID_ARGUMENT for a socket with callbacks.
 */
qy_status qy_socket_fd(qy_socket *socket,
                       int *out);

/* ===========================================================================
 * 26. Packet client
 * ===========================================================================
 *
 * The packet dialect on the client: one-way messages and requests, both ways, each with a protocol
 * id that chooses its handler. A new client does not connect: handlers are registered first, then
 * qy_packet_client_connect. It comes back by itself when the connection is lost, except after another
 * connection with its id has displaced it.
 *
 * Its options are a socket's (QY_OPTIONS_SOCKET). Callbacks run on the client's delivery thread, one
 * at a time and in order. Responses do not wait in that line: a callback may make a request and
 * wait for it.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_question(uint32_t protocol, const void *data, size_t len, qy_reply *reply,
 *                         void *user_data) {
 *   (void)user_data;
 *   if (reply != NULL) qy_reply_send(reply, protocol, data, len); // NULL: a one-way message
 * }
 *
 * static void on_event(const qy_packet_client_event *event, void *user_data) {
 *   (void)user_data;
 *   if (event->event == QY_PACKET_DISPLACED)
 *     printf("displaced from %.*s\n", (int)event->new_ip_len, (const char *)event->new_ip);
 * }
 *
 * int main(void) {
 *   qy_packet_client *client = NULL;
 *   qy_response *response = NULL;
 *   qy_packet_identity identity = {0};
 *   identity.struct_size = sizeof identity;
 *   identity.uid = "100";
 *   identity.device = "phone";
 *   if (qy_packet_client_open("localhost:8000", &identity, NULL, &client) != QY_OK) return 1;
 *   qy_packet_client_on_packet(client, 1, QY_DELIVER_THREAD, on_question, NULL, NULL);
 *   qy_packet_client_on_event(client, QY_DELIVER_THREAD, on_event, NULL, NULL);
 *   if (qy_packet_client_connect(client, 5000) == QY_OK &&
 *       qy_packet_client_request(client, 1, "hello", 5, 1000, &response) == QY_OK)
 *     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
 *   qy_response_free(response);
 *   qy_packet_client_free(client);
 *   return qy_shutdown(1000) == QY_OK ? 0 : 1;
 * }
 * ```
 */

/** Another connection with the client's id displaced it. Its end follows, and no reconnection. */
#define QY_PACKET_DISPLACED 6

/** An attempt to connect failed. */
#define QY_PACKET_FAILED 7

/** A client of the packet dialect. */
typedef struct qy_packet_client qy_packet_client;

/** Who a packet client says it is. Its connection's id at the server is `uid-type-device-source`. */
typedef struct qy_packet_identity {
  /** sizeof(qy_packet_identity), set by the caller. */
  size_t struct_size;
  /** The user; not empty. */
  const char *uid;
  /** The device; NULL is empty. */
  const char *device;
  /** Where the client comes from; NULL is empty. */
  const char *source;
  /** The client's version; NULL is empty. Not part of the id. */
  const char *version;
  /** The client's character set; NULL is empty. Not part of the id. */
  const char *charset;
  /** The kind of client. */
  uint32_t type;
  /** 0. */
  uint32_t reserved;
} qy_packet_identity;

/**
 * Receives a one-way message (`reply` is NULL) or a request, which it answers with qy_reply_send,
 * or later by means of qy_reply_clone. All arguments are valid until the call returns; `data` is
 * NULL when `len` is 0.
 */
typedef void (*qy_packet_client_callback)(uint32_t protocol,
                                          const void *data,
                                          size_t len,
                                          qy_reply *reply,
                                          void *user_data);

/** What happened to a packet client's connection. */
typedef struct qy_packet_client_event {
  /** The size of this struct in the library that made it. */
  size_t struct_size;
  /**
   * QY_PACKET_ESTABLISHED, QY_PACKET_CLOSING, QY_PACKET_CLOSED, QY_PACKET_PINGED,
   * QY_PACKET_PONGED, QY_PACKET_DISPLACED or QY_PACKET_FAILED.
   */
  int32_t event;
  /**
   * Of QY_PACKET_CLOSING and QY_PACKET_CLOSED: the close code; 1006 when there was no Close, 1005
   * when that had no code. Of QY_PACKET_FAILED: the status. 0 otherwise.
   */
  int32_t code;
  /** Of these three: 1 when it is tried again, else 0. */
  int32_t will_reconnect;
  /** 0. */
  int32_t reserved;
  /** Of these three: why, UTF-8. Not NUL-terminated, never NULL. */
  const char *reason;
  /** Its length in bytes. */
  size_t reason_len;
  /**
   * Of QY_PACKET_DISPLACED: the address of this client, as the server saw it. Not NUL-terminated,
   * never NULL.
   */
  const void *old_ip;
  /** Its length in bytes. */
  size_t old_ip_len;
  /** Of QY_PACKET_DISPLACED: the address of the other. Not NUL-terminated, never NULL. */
  const void *new_ip;
  /** Its length in bytes. */
  size_t new_ip_len;
  /** Of QY_PACKET_DISPLACED: when, in ns since the Unix epoch. */
  int64_t ts;
} qy_packet_client_event;

/** Sees what happens to the connection; the event is valid until it returns. */
typedef void (*qy_packet_client_event_callback)(const qy_packet_client_event *event,
                                                void *user_data);

/** Runs after a pull channel was signalled. */
typedef void (*qy_packet_client_pull_callback)(uint32_t channel, void *user_data);

/** Totals of a packet client since it was opened. Bytes are those of packets. */
typedef struct qy_packet_client_counters {
  /** sizeof(qy_packet_client_counters), set by the caller. */
  size_t struct_size;
  /** Packets received, responses included. */
  uint64_t packets_in;
  /** Packets handed to the connection. */
  uint64_t packets_out;
  /** Bytes of packets received. */
  uint64_t bytes_in;
  /** Bytes of packets handed to the connection. */
  uint64_t bytes_out;
  /** One-way messages and requests that came. */
  uint64_t received;
  /** Those of them whose protocol id had no handler. */
  uint64_t unhandled;
  /** Packets dropped because the queue to the callbacks was full. */
  uint64_t dropped;
  /** Packets that were queued to be sent and lost with their connection. */
  uint64_t unsent;
  /** Times the connection was restored. */
  uint64_t reconnects;
  /** Requests under way now. */
  uint64_t in_flight;
  /** Requests whose time was over. */
  uint64_t timed_out;
  /** Responses that nothing waited for, and that were dropped. */
  uint64_t late;
} qy_packet_client_counters;

/**
 * Makes a client of the server at `host` ("localhost:8000", or a URL, whose path stands for "/join")
 * that says it is `identity`; it does not connect yet. `options` (or NULL for the defaults, otherwise
 * of the kind QY_OPTIONS_SOCKET) stay the caller's. `*out` is the caller's, to be freed with
 * qy_packet_client_free.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_OPTION, QY_ERR_IO,
 * QY_ERR_INVALID_ARGUMENT for an identity without a uid or with control characters, for other
 * options, and for a `struct_size` that cannot be.
 */
qy_status qy_packet_client_open(const char *host,
                                const qy_packet_identity *identity,
                                const qy_options *options,
                                qy_packet_client **out);

/**
 * Calls `callback` for every one-way message and every request with this protocol id, in place of
 * what was registered for it before; NULL only removes that. `delivery` is QY_DELIVER_THREAD or
 * QY_DELIVER_INLINE. `drop` (or NULL) runs when the callback was replaced or removed, or the client
 * closed, and no call of it runs or will run.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
 */
qy_status qy_packet_client_on_packet(qy_packet_client *client,
                                     uint32_t protocol,
                                     int32_t delivery,
                                     qy_packet_client_callback callback,
                                     void *user_data,
                                     qy_drop_callback drop);

/**
 * Calls `callback` for what happens to the connection, in place of what was registered before; NULL
 * only removes that. `delivery` and `drop` are as in qy_packet_client_on_packet.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: as qy_packet_client_on_packet.
 */
qy_status qy_packet_client_on_event(qy_packet_client *client,
                                    int32_t delivery,
                                    qy_packet_client_event_callback callback,
                                    void *user_data,
                                    qy_drop_callback drop);

/**
 * Calls `callback` on the delivery thread when the pull channel `channel` was signalled
 * (qy_packet_client_signal_pull), in place of what was registered before; NULL only removes that.
 * `drop` is as in qy_packet_client_on_packet.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_packet_client_on_pull(qy_packet_client *client,
                                   uint32_t channel,
                                   qy_packet_client_pull_callback callback,
                                   void *user_data,
                                   qy_drop_callback drop);

/**
 * Begins to connect, unless it is connected or connecting, and waits until it is; as
 * qy_socket_connect.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not on the I/O thread
 * (QY_DELIVER_INLINE), unless `timeout_ms` is 0.
 * Errors: as qy_socket_connect.
 */
qy_status qy_packet_client_connect(qy_packet_client *client, uint32_t timeout_ms);

/**
 * Ends the connection, or the attempts to make one, as qy_socket_disconnect. Requests under way end
 * with QY_ERR_CLOSED.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: as qy_socket_disconnect.
 */
qy_status qy_packet_client_disconnect(qy_packet_client *client,
                                      int32_t code,
                                      const char *reason);

/**
 * Tells where the client stands: a QY_SOCKET_ constant.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_packet_client_state(const qy_packet_client *client, int32_t *out);

/**
 * Reads the counters. Set `out->struct_size` first.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
 */
qy_status qy_packet_client_counters_get(const qy_packet_client *client,
                                        qy_packet_client_counters *out);

/**
 * Copies the text of the newest failure on this client, of a call by any thread or of its work in
 * the background, into `buf`, as qy_last_error does; an empty text when there was none.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_BUFFER_TOO_SMALL.
 */
qy_status qy_packet_client_last_error(const qy_packet_client *client,
                                      char *buf,
                                      size_t cap,
                                      size_t *needed);

/**
 * Closes the client for good: requests under way end with QY_ERR_CLOSED, the end of the connection
 * is told, and nothing is called after that. Safe to call again. The handle must still be freed.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: none of its own.
 */
qy_status qy_packet_client_close(qy_packet_client *client);

/**
 * Closes the client and waits: when it has returned QY_OK, no callback runs or will run, and each
 * `drop` has run.
 *
 * Threads: any. Blocks: at most `timeout_ms`, for callbacks that run. In callbacks: yes, but neither
 * in one of this client nor on the I/O thread (QY_DELIVER_INLINE).
 * Errors: QY_ERR_TIMEOUT when a callback still runs, QY_ERR_WOULD_DEADLOCK where it would wait for
 * its own caller.
 */
qy_status qy_packet_client_close_wait(qy_packet_client *client,
                                      uint32_t timeout_ms);

/**
 * Frees a client, after closing it; NULL is allowed. In a forked child it only forgets the parent's
 * client.
 *
 * Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
 */
void qy_packet_client_free(qy_packet_client *client);

/* ===========================================================================
 * 27. Packet client: messages, requests, values
 * ===========================================================================
 *
 * A request is answered, times out, or ends with its connection, whichever is first, and its end is
 * told once. Values are kept for a program while its connection lasts: they are gone when
 * QY_PACKET_CLOSED was told. A pull signal makes its callback run once, however often it is given
 * before that run begins.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void answered(qy_status status, const qy_response *response, void *user_data) {
 *   (void)user_data;
 *   if (status == QY_OK)
 *     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
 * }
 *
 * static void fetch(uint32_t channel, void *user_data) {
 *   qy_packet_client *client = *(qy_packet_client **)user_data;
 *   int64_t runs = 0;
 *   (void)channel;
 *   qy_packet_client_increment(client, "runs", 1, &runs);
 *   qy_packet_client_request_async(client, 2, "more?", 5, 1000, QY_DELIVER_THREAD, answered, NULL,
 *                                  NULL);
 * }
 *
 * int main(void) {
 *   qy_packet_client *client = NULL;
 *   qy_packet_identity identity = {0};
 *   identity.struct_size = sizeof identity;
 *   identity.uid = "100";
 *   if (qy_packet_client_open("localhost:8000", &identity, NULL, &client) != QY_OK) return 1;
 *   qy_packet_client_on_pull(client, 1, fetch, &client, NULL);
 *   if (qy_packet_client_connect(client, 5000) == QY_OK) {
 *     qy_packet_client_send(client, 3, "hello", 5);
 *     for (int i = 0; i < 1000; i++) qy_packet_client_signal_pull(client, 1); // few runs
 *   }
 *   getchar();
 *   qy_packet_client_free(client);
 *   return qy_shutdown(1000) == QY_OK ? 0 : 1;
 * }
 * ```
 */

/**
 * Sends a one-way message of `len` bytes, which are copied. What one thread sends arrives in its
 * order.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_CONNECT while it is not connected, QY_ERR_TOO_LARGE over `packet_max_bytes`,
 * QY_ERR_QUEUE_FULL when `send_queue_messages` or `send_queue_bytes` wait, QY_ERR_CLOSED.
 */
qy_status qy_packet_client_send(qy_packet_client *client,
                                uint32_t protocol,
                                const void *data,
                                size_t len);

/**
 * Makes a request of `len` bytes, which are copied, and waits for the response. `*out` is the
 * caller's, to be freed with qy_response_free.
 *
 * Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not with QY_DELIVER_INLINE.
 * Errors: QY_ERR_TIMEOUT, QY_ERR_CLOSED when the connection ends first, those of
 * qy_packet_client_send, QY_ERR_WOULD_DEADLOCK in an inline callback.
 */
qy_status qy_packet_client_request(qy_packet_client *client,
                                   uint32_t protocol,
                                   const void *data,
                                   size_t len,
                                   uint32_t timeout_ms,
                                   qy_response **out);

/**
 * Makes a request of `len` bytes, which are copied, and returns. If it succeeds, `callback` is called
 * exactly once: with the response, after `timeout_ms`, or when the connection ends. `delivery` is
 * QY_DELIVER_THREAD, in order with the client's other callbacks, or QY_DELIVER_INLINE, on whichever
 * thread of the library ends the request. `drop` (or NULL) runs after the call, or before this
 * function returns an error.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: those of qy_packet_client_send, QY_ERR_QUEUE_FULL also when a million requests are under
 * way, QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
 */
qy_status qy_packet_client_request_async(qy_packet_client *client,
                                         uint32_t protocol,
                                         const void *data,
                                         size_t len,
                                         uint32_t timeout_ms,
                                         int32_t delivery,
                                         qy_response_callback callback,
                                         void *user_data,
                                         qy_drop_callback drop);

/**
 * Makes the callback of a pull channel run: once, however often it is signalled before that run
 * begins. A signal during the run makes another one.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND when the pull channel has no callback, QY_ERR_CLOSED.
 */
qy_status qy_packet_client_signal_pull(qy_packet_client *client, uint32_t channel);

/**
 * Keeps `len` bytes under `key` with the connection, in place of what was there.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_packet_client_set(qy_packet_client *client,
                               const char *key,
                               const void *data,
                               size_t len);

/**
 * Copies what is kept under `key` into `buf`, at most `cap` bytes, without a NUL behind them; a
 * number reads as its decimal text. `buf` may be NULL when `cap` is 0, to ask for the size. `needed`
 * may be NULL; otherwise `*needed` becomes the number of bytes kept.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_packet_client_get(const qy_packet_client *client,
                               const char *key,
                               void *buf,
                               size_t cap,
                               size_t *needed);

/**
 * Takes away what is kept under `key`.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_NOT_FOUND, QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_packet_client_remove(qy_packet_client *client, const char *key);

/**
 * Adds `by`, which may be 0 or negative, to the number kept under `key`, which begins at 0, in one
 * step that no other thread comes between. `*out`, unless NULL, becomes the sum.
 *
 * Threads: any. Blocks: never. In callbacks: yes.
 * Errors: QY_ERR_INVALID_ARGUMENT when qy_packet_client_set put bytes there, or the sum is beyond 64
 * bits; QY_ERR_INVALID_UTF8 for `key`.
 */
qy_status qy_packet_client_increment(qy_packet_client *client,
                                     const char *key,
                                     int64_t by,
                                     int64_t *out);

/* ===========================================================================
 * 28. Log
 * ===========================================================================
 *
 * The library prints nothing. What it has to say goes to a callback, if there is one.
 *
 * ```c
 * #include <qyun.h>
 * #include <stdio.h>
 *
 * static void on_log(int32_t level, const char *target, size_t target_len, const char *message,
 *                    size_t message_len, void *user_data) {
 *   (void)user_data;
 *   fprintf(stderr, "%d %.*s %.*s\n", (int)level, (int)target_len, target, (int)message_len,
 *           message);
 * }
 *
 * int main(void) {
 *   return qy_set_log_callback(QY_LOG_INFO, on_log, NULL, NULL) == QY_OK ? 0 : 1;
 * }
 * ```
 */

/** Something failed and needs attention. */
#define QY_LOG_ERROR 1

/** Something is not as it should be; the library goes on. */
#define QY_LOG_WARN 2

/** Starts, stops and other events of interest. */
#define QY_LOG_INFO 3

/** For whoever looks for a fault. */
#define QY_LOG_DEBUG 4

/** Everything. */
#define QY_LOG_TRACE 5

/**
 * Receives one log record. `target` (where in the library it comes from) and `message` are UTF-8
 * and not NUL-terminated.
 *
 * It runs on whichever thread has something to say, perhaps on several at once, and perhaps under
 * a lock of the library. So it must not block, and may call only these: qy_version,
 * qy_abi_version, qy_abi_check, qy_status_name, qy_status_text, qy_last_error,
 * qy_options_describe, qy_set_log_callback, qy_batch_count, qy_batch_events,
 * qy_server_last_error, qy_subscription_last_error, and every `_free` function; those of servers,
 * clients and subscriptions then leave the work to another thread. All others return
 * QY_ERR_WOULD_DEADLOCK. What is logged during its own calls is not reported to it.
 */
typedef void (*qy_log_callback)(int32_t level,
                                const char *target,
                                size_t target_len,
                                const char *message,
                                size_t message_len,
                                void *user_data);

/**
 * Sends log records up to `max_level` (a QY_LOG_ constant) to `callback`, in place of the one
 * before. NULL removes it; `max_level` is then ignored. `drop` (or NULL) runs when this callback
 * has been replaced or removed and no call of it runs or will run.
 *
 * There is one log callback for the process; a forked child begins without one.
 *
 * Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
 * Errors: QY_ERR_INVALID_ARGUMENT for a level that does not exist, QY_ERR_REFUSED when other Rust
 * code in the process has taken the log facility for itself.
 */
qy_status qy_set_log_callback(int32_t max_level,
                              qy_log_callback callback,
                              void *user_data,
                              qy_drop_callback drop);

/* ===========================================================================
 * 29. Shutdown
 * ===========================================================================
 *
 * The library has no thread before the first open and none after a shutdown. A program that ends
 * without one neither hangs nor prints.
 *
 * ```c
 * #include <qyun.h>
 *
 * int main(void) {
 *   qy_server *server = NULL;
 *   if (qy_server_start(NULL, &server) != QY_OK) return 1;
 *   qy_status status = qy_shutdown(5000); // the server is stopped, every thread has ended
 *   qy_server_free(server);
 *   return status == QY_OK ? 0 : 1;
 * }
 * ```
 */

/**
 * Closes every client and listener, stops every server, lets go of kept connections and joins all
 * threads of the library. Afterwards the library can be used again. Handles must still be freed;
 * until then calls on them return QY_ERR_CLOSED.
 *
 * Threads: any. Blocks: about `timeout_ms` at most: for callbacks that still run, then for the
 * clients of servers to go. In callbacks: no.
 * Errors: QY_ERR_TIMEOUT when a callback still runs or clients of a server had to be cut,
 * QY_ERR_WOULD_DEADLOCK in a callback; nothing is closed then.
 */
qy_status qy_shutdown(uint32_t timeout_ms);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* QYUN_H */
