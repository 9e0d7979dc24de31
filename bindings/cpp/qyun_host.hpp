// The program behind the connections of a path, and all connections and users of a server. Included
// by qyun.hpp.
//
//     qyun::endpoint echo;
//     echo.message = [](const qyun::connection& from, std::string_view data, qyun::message_kind kind) {
//       from.send(data, kind);
//     };
//     qyun::handle(server, "/echo", std::move(echo));
//
// What a callback throws stops there; a connect callback that throws refuses the client with 500.
#ifndef QYUN_HOST_HPP
#define QYUN_HOST_HPP

#ifndef QYUN_HPP
#error "include qyun.hpp, which includes this"
#endif

#include <functional>

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

namespace detail {

/// One call whose texts must have no NUL inside.
template <class Call>
result<void> texts(std::string_view one, const char* what, Call call) noexcept {
  const c_string text(one);
  if (!text.whole()) return text.refusal(QY_ERR_INVALID_ARGUMENT, what);
  return status::of(call(text.get()));
}

inline bool missing(const result<void>& done) noexcept { return done.code() == QY_ERR_NOT_FOUND; }

/// Success and "there was none" as a bool.
inline result<bool> found(const result<void>& done) noexcept {
  if (done.ok() || missing(done)) return done.ok();
  return done.error();
}

}  // namespace detail

/// A client of a server. A callback is lent one; clone() gives one to keep, which stays usable, and
/// says QY_ERR_CLOSED, when the client is gone.
class connection {
 public:
  /// Refers to a connection that somebody else owns.
  static connection lent(qy_connection* raw) noexcept { return connection(raw, nullptr); }
  /// Owns what a C function gave out.
  static connection owned(qy_connection* raw) noexcept { return connection(raw, raw); }

  result<connection> try_clone() const noexcept {
    qy_connection* raw = nullptr;
    const qy_status code = qy_connection_clone(raw_, &raw);
    if (code != QY_OK) return status::of(code);
    return owned(raw);
  }
  outcome<connection> clone() const { return detail::take(try_clone()); }

  std::string id() const { return text(qy_connection_id); }
  /// "HOST:PORT" of the client.
  std::string remote() const { return text(qy_connection_remote); }
  std::string path() const { return text(qy_connection_path); }
  /// What followed the '?', percent-encoded.
  std::string query() const { return text(qy_connection_query); }
  /// The user it is bound to or, in a disconnect callback, was bound to; empty is none.
  std::string user() const { return text(qy_connection_user); }
  /// A header field of the request that it came with, whatever its case; empty if there is none.
  std::string header(const char* name) const {
    return detail::text_of([&](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_connection_header(raw_, name, buffer, cap, needed);
    });
  }
  bool is_open() const noexcept {
    std::int32_t open = 0;
    return qy_connection_is_open(raw_, &open) == QY_OK && open != 0;
  }
  result<qy_connection_info> try_info() const noexcept {
    qy_connection_info numbers{};
    numbers.struct_size = sizeof numbers;
    const qy_status code = qy_connection_info_get(raw_, &numbers);
    if (code != QY_OK) return status::of(code);
    return numbers;
  }
  outcome<qy_connection_info> info() const { return detail::take(try_info()); }

  result<void> try_send(std::string_view data,
                        message_kind kind = message_kind::text) const noexcept {
    return status::of(
        qy_connection_send(raw_, static_cast<std::int32_t>(kind), data.data(), data.size()));
  }
  outcome<void> send(std::string_view data, message_kind kind = message_kind::text) const {
    return detail::take(try_send(data, kind));
  }
  /// Sends text that must be JSON.
  result<void> try_send_json(std::string_view json) const noexcept {
    return status::of(qy_connection_send(raw_, QY_JSON, json.data(), json.size()));
  }
  outcome<void> send_json(std::string_view json) const { return detail::take(try_send_json(json)); }

  /// Closes it behind what was sent. Harmless when it is closed.
  result<void> try_close(std::uint16_t code = 1000, std::string_view reason = {}) const noexcept {
    return detail::texts(reason, "reason",
                         [&](const char* why) { return qy_connection_close(raw_, code, why); });
  }
  outcome<void> close(std::uint16_t code = 1000, std::string_view reason = {}) const {
    return detail::take(try_close(code, reason));
  }

  result<void> try_bind(std::string_view user) const noexcept {
    return detail::texts(user, "user", [&](const char* u) { return qy_connection_bind(raw_, u); });
  }
  outcome<void> bind(std::string_view user) const { return detail::take(try_bind(user)); }
  /// False if it was bound to nobody.
  result<bool> try_unbind() const noexcept {
    return detail::found(status::of(qy_connection_unbind(raw_)));
  }
  outcome<bool> unbind() const { return detail::take(try_unbind()); }

  /// Makes it a member of a channel. With `create`, one that is not there is made for its members and
  /// goes with the last of them.
  result<void> try_join(std::string_view channel, bool create = true) const noexcept {
    return detail::named(channel,
                         [&](const char* c) { return qy_connection_join(raw_, c, create); });
  }
  outcome<void> join(std::string_view channel, bool create = true) const {
    return detail::take(try_join(channel, create));
  }
  /// False if it was no member.
  result<bool> try_leave(std::string_view channel) const noexcept {
    auto done =
        detail::named(channel, [&](const char* c) { return qy_connection_leave(raw_, c); });
    if (done.code() == QY_ERR_CHANNEL_NOT_FOUND) return false;
    return detail::found(done);
  }
  outcome<bool> leave(std::string_view channel) const { return detail::take(try_leave(channel)); }
  /// The channels that it is in or, in a disconnect callback, was in.
  std::vector<std::string> channels() const {
    std::vector<std::string> all;
    const auto visit = [](const char* name, std::size_t len, void* list) {
      detail::guarded(
          [&] { static_cast<std::vector<std::string>*>(list)->emplace_back(name, len); });
    };
    qy_connection_list_channels(raw_, visit, &all);
    return all;
  }

  /// Keeps bytes with the connection.
  result<void> try_set(const char* key, std::string_view value) const noexcept {
    return status::of(qy_connection_set(raw_, key, value.data(), value.size()));
  }
  outcome<void> set(const char* key, std::string_view value) const {
    return detail::take(try_set(key, value));
  }
  /// What is kept under `key`; a number as its decimal text.
  std::optional<std::string> get(const char* key) const {
    std::string value(64, '\0');
    for (;;) {
      std::size_t needed = 0;
      const qy_status code = qy_connection_get(raw_, key, value.data(), value.size(), &needed);
      if (code != QY_OK && code != QY_ERR_BUFFER_TOO_SMALL) return std::nullopt;
      value.resize(needed);
      if (code == QY_OK) return value;
    }
  }
  /// False if nothing was kept.
  result<bool> try_remove(const char* key) const noexcept {
    return detail::found(status::of(qy_connection_remove(raw_, key)));
  }
  outcome<bool> remove(const char* key) const { return detail::take(try_remove(key)); }
  /// Adds to the number under `key`, which begins at 0, in one step; gives the sum.
  result<std::int64_t> try_increment(const char* key, std::int64_t by = 1) const noexcept {
    std::int64_t sum = 0;
    const qy_status code = qy_connection_increment(raw_, key, by, &sum);
    if (code != QY_OK) return status::of(code);
    return sum;
  }
  outcome<std::int64_t> increment(const char* key, std::int64_t by = 1) const {
    return detail::take(try_increment(key, by));
  }

  /// For calls of qyun.h.
  qy_connection* get() const noexcept { return raw_; }

 private:
  connection(qy_connection* raw, qy_connection* own) noexcept : raw_(raw), own_(own) {}
  template <class Read>
  std::string text(Read read) const {
    return detail::text_of([&](char* buffer, std::size_t cap, std::size_t* needed) {
      return read(raw_, buffer, cap, needed);
    });
  }
  qy_connection* raw_;
  detail::handle<qy_connection, qy_connection_free> own_;
};

/// A client that asks to be admitted. A connect callback that returns without a decision admits it;
/// after later(), whoever has what that gives decides, on any thread.
class upgrade {
 public:
  /// Refers to an upgrade that a callback was lent.
  static upgrade lent(qy_upgrade* raw) noexcept { return upgrade(raw, nullptr); }

  /// Letting go of the last one undecided refuses with 503.
  result<upgrade> try_later() const noexcept {
    qy_upgrade* raw = nullptr;
    const qy_status code = qy_upgrade_clone(raw_, &raw);
    if (code != QY_OK) return status::of(code);
    return upgrade(raw, raw);
  }
  outcome<upgrade> later() const { return detail::take(try_later()); }

  /// Admits it: under a UUID if `id` is empty, bound to nobody if `user` is.
  result<void> try_accept(std::string_view user = {}, std::string_view id = {}) const noexcept {
    const detail::c_string name(user);
    if (!name.whole()) return name.refusal(QY_ERR_INVALID_ARGUMENT, "user");
    return detail::texts(id, "id", [&](const char* i) {
      return qy_upgrade_accept(raw_, *i ? i : nullptr, *name.get() ? name.get() : nullptr);
    });
  }
  outcome<void> accept(std::string_view user = {}, std::string_view id = {}) const {
    return detail::take(try_accept(user, id));
  }
  /// Refuses it with an HTTP status from 400 to 599.
  result<void> try_refuse(std::uint16_t http, std::string_view why = {}) const noexcept {
    return detail::texts(why, "text",
                         [&](const char* text) { return qy_upgrade_refuse(raw_, http, text); });
  }
  outcome<void> refuse(std::uint16_t http, std::string_view why = {}) const {
    return detail::take(try_refuse(http, why));
  }

  std::string remote() const { return text(qy_upgrade_remote); }
  std::string path() const { return text(qy_upgrade_path); }
  /// What followed the '?', percent-encoded.
  std::string query() const { return text(qy_upgrade_query); }
  /// A header field, whatever its case; empty if there is none.
  std::string header(const char* name) const {
    return detail::text_of([&](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_upgrade_header(raw_, name, buffer, cap, needed);
    });
  }

 private:
  upgrade(qy_upgrade* raw, qy_upgrade* own) noexcept : raw_(raw), own_(own) {}
  template <class Read>
  std::string text(Read read) const {
    return detail::text_of([&](char* buffer, std::size_t cap, std::size_t* needed) {
      return read(raw_, buffer, cap, needed);
    });
  }
  qy_upgrade* raw_;
  detail::handle<qy_upgrade, qy_upgrade_free> own_;
};

/// How a connection ended; valid during the call.
struct closure {
  enum class by : std::int32_t {
    client = QY_ENDED_BY_CLIENT,
    program = QY_ENDED_BY_PROGRAM,
    server = QY_ENDED_BY_SERVER,
  };
  std::uint16_t code;
  std::string_view reason;
  by ended_by;
};

/// What a program does with the connections of a path; each may be left out. The calls for one
/// connection come one at a time and in order, those for different ones perhaps at the same time.
struct endpoint {
  std::function<bool(const upgrade&, std::string_view origin)> check_origin;
  std::function<void(const upgrade&)> connect;
  std::function<void(const connection&)> open;
  std::function<void(const connection&, std::string_view data, message_kind)> message;
  std::function<void(const connection&, const closure&)> disconnect;
  std::function<void(const connection&, const status&)> error;
  std::function<void(const connection&, std::string_view data)> ping;
  std::function<void(const connection&)> pong;
};

namespace detail {

/// The C side of an endpoint.
struct hosted {
  endpoint to;

  static hosted& of(void* self) noexcept { return *static_cast<hosted*>(self); }
  static void drop(void* self) noexcept { delete static_cast<hosted*>(self); }

  static std::int32_t check_origin(const qy_upgrade* raw, const char* origin, std::size_t len,
                                   void* self) {
    bool allowed = false;
    guarded([&] {
      const upgrade asks = upgrade::lent(const_cast<qy_upgrade*>(raw));
      allowed = of(self).to.check_origin(asks, {origin, len});
    });
    return allowed;
  }
  static void connect(qy_upgrade* raw, void* self) {
    bool done = false;
    guarded([&] {
      of(self).to.connect(upgrade::lent(raw));
      done = true;
    });
    // It fails if it was decided about, which is then the word.
    if (!done) qy_upgrade_refuse(raw, 500, "The program failed");
  }
  static void open(qy_connection* raw, void* self) {
    guarded([&] { of(self).to.open(connection::lent(raw)); });
  }
  static void message(qy_connection* raw, std::int32_t kind, const void* data, std::size_t len,
                      void* self) {
    guarded([&] {
      of(self).to.message(connection::lent(raw), {static_cast<const char*>(data), len},
                          static_cast<message_kind>(kind));
    });
  }
  static void disconnect(qy_connection* raw, const qy_closure* how, void* self) {
    guarded([&] {
      of(self).to.disconnect(
          connection::lent(raw),
          closure{static_cast<std::uint16_t>(how->code), {how->reason, how->reason_len},
                  static_cast<closure::by>(how->ended_by)});
    });
  }
  static void error(qy_connection* raw, qy_status code, const char* text, std::size_t len,
                    void* self) {
    guarded([&] {
      of(self).to.error(connection::lent(raw), status(code, std::string(text, len)));
    });
  }
  static void ping(qy_connection* raw, const void* data, std::size_t len, void* self) {
    guarded(
        [&] { of(self).to.ping(connection::lent(raw), {static_cast<const char*>(data), len}); });
  }
  static void pong(qy_connection* raw, void* self) {
    guarded([&] { of(self).to.pong(connection::lent(raw)); });
  }
};

}  // namespace detail

/// Lets the endpoint speak with who comes to `path` from now on; its functions are destroyed when the
/// path is unhandled, or the server stopped, and the last call has returned.
inline result<void> try_handle(const server& at, std::string_view path, endpoint what,
                               const options& with, delivery where = delivery::thread) noexcept {
  using detail::hosted;
  qy_endpoint_callbacks calls{};
  calls.struct_size = sizeof calls;
  if (what.check_origin) calls.check_origin = hosted::check_origin;
  if (what.connect) calls.connect = hosted::connect;
  if (what.open) calls.open = hosted::open;
  if (what.message) calls.message = hosted::message;
  if (what.disconnect) calls.disconnect = hosted::disconnect;
  if (what.error) calls.error = hosted::error;
  if (what.ping) calls.ping = hosted::ping;
  if (what.pong) calls.pong = hosted::pong;
  return detail::texts(path, "path", [&](const char* p) {
    return qy_server_handle(at.get(), p, with.get(), &calls, static_cast<std::int32_t>(where),
                            new hosted{std::move(what)}, hosted::drop);
  });
}
inline outcome<void> handle(const server& at, std::string_view path, endpoint what,
                            const options& with, delivery where = delivery::thread) {
  return detail::take(try_handle(at, path, std::move(what), with, where));
}
inline result<void> try_handle(const server& at, std::string_view path, endpoint what,
                               std::initializer_list<setting> settings = {},
                               delivery where = delivery::thread) noexcept {
  auto with = options::try_make(options_for::endpoint, settings);
  if (!with) return with.error();
  return try_handle(at, path, std::move(what), *with, where);
}
inline outcome<void> handle(const server& at, std::string_view path, endpoint what,
                            std::initializer_list<setting> settings = {},
                            delivery where = delivery::thread) {
  return detail::take(try_handle(at, path, std::move(what), settings, where));
}

/// Admits nobody at `path` any more and closes its connections with 1001.
inline result<void> try_unhandle(const server& at, std::string_view path) noexcept {
  return detail::texts(path, "path",
                       [&](const char* p) { return qy_server_unhandle(at.get(), p); });
}
inline outcome<void> unhandle(const server& at, std::string_view path) {
  return detail::take(try_unhandle(at, path));
}
/// The same; then no callback of it runs or will run.
inline result<void> try_unhandle_wait(const server& at, std::string_view path,
                                      std::chrono::milliseconds timeout) noexcept {
  return detail::texts(path, "path", [&](const char* p) {
    return qy_server_unhandle_wait(at.get(), p, detail::milliseconds(timeout));
  });
}
inline outcome<void> unhandle_wait(const server& at, std::string_view path,
                                   std::chrono::milliseconds timeout) {
  return detail::take(try_unhandle_wait(at, path, timeout));
}

}  // inline namespace
}  // namespace qyun

#include "qyun_connections.hpp"

#endif  // QYUN_HOST_HPP
