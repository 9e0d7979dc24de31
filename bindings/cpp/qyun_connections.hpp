// All connections and users of a server. Included by qyun_host.hpp.
#ifndef QYUN_CONNECTIONS_HPP
#define QYUN_CONNECTIONS_HPP

#ifndef QYUN_HOST_HPP
#error "include qyun.hpp, which includes this"
#endif

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/// Which connections an operation means: those that fit every field that is not empty. An empty one
/// means all.
struct filter {
  std::string path, user, channel;
  /// A QY_DIALECT_ constant, or 0.
  std::int32_t dialect = 0;
};

namespace detail {

class c_filter {
 public:
  explicit c_filter(const filter& from) noexcept {
    raw_.struct_size = sizeof raw_;
    if (!from.path.empty()) raw_.path = from.path.c_str();
    if (!from.user.empty()) raw_.user = from.user.c_str();
    if (!from.channel.empty()) raw_.channel = from.channel.c_str();
    raw_.dialect = from.dialect;
  }
  const qy_connection_filter* get() const noexcept { return &raw_; }

 private:
  qy_connection_filter raw_{};
};

inline void keep_connection(qy_connection* raw, void* list) noexcept {
  guarded([&] {
    qy_connection* own = nullptr;
    if (qy_connection_clone(raw, &own) == QY_OK)
      static_cast<std::vector<connection>*>(list)->push_back(connection::owned(own));
  });
}

/// A call that tells a number.
template <class Call>
result<std::uint64_t> number(Call call) noexcept {
  std::uint64_t count = 0;
  const qy_status code = call(&count);
  if (code != QY_OK) return status::of(code);
  return count;
}

}  // namespace detail

inline result<connection> try_find_connection(const server& at, std::string_view id) noexcept {
  qy_connection* raw = nullptr;
  auto done = detail::texts(
      id, "id", [&](const char* i) { return qy_server_find_connection(at.get(), i, &raw); });
  return done ? result<connection>(connection::owned(raw)) : result<connection>(done.error());
}
inline outcome<connection> find_connection(const server& at, std::string_view id) {
  return detail::take(try_find_connection(at, id));
}

/// The connections that fit, by id: at most `limit`, behind the id `after`.
inline result<std::vector<connection>> try_connections(
    const server& at, const filter& which = {}, const std::string& after = {},
    std::size_t limit = static_cast<std::size_t>(-1)) noexcept {
  std::vector<connection> all;
  const detail::c_filter raw(which);
  const qy_status code = qy_server_list_connections(
      at.get(), raw.get(), after.c_str(), limit, detail::keep_connection, &all);
  if (code != QY_OK) return status::of(code);
  return all;
}
inline outcome<std::vector<connection>> connections(
    const server& at, const filter& which = {}, const std::string& after = {},
    std::size_t limit = static_cast<std::size_t>(-1)) {
  return detail::take(try_connections(at, which, after, limit));
}

inline result<std::uint64_t> try_count_connections(const server& at,
                                                   const filter& which = {}) noexcept {
  const detail::c_filter raw(which);
  return detail::number(
      [&](std::uint64_t* out) { return qy_server_count_connections(at.get(), raw.get(), out); });
}
inline outcome<std::uint64_t> count_connections(const server& at, const filter& which = {}) {
  return detail::take(try_count_connections(at, which));
}

/// Sends to every connection of a user; gives their number, 0 if there is none.
inline result<std::uint64_t> try_send_to_user(const server& at, std::string_view user,
                                              std::string_view data,
                                              message_kind kind = message_kind::text) noexcept {
  std::uint64_t reached = 0;
  auto done = detail::texts(user, "user", [&](const char* u) {
    return qy_server_send_to_user(at.get(), u, static_cast<std::int32_t>(kind), data.data(),
                                  data.size(), &reached);
  });
  if (done || detail::missing(done)) return reached;
  return done.error();
}
inline outcome<std::uint64_t> send_to_user(const server& at, std::string_view user,
                                           std::string_view data,
                                           message_kind kind = message_kind::text) {
  return detail::take(try_send_to_user(at, user, data, kind));
}

/// Sends to every connection of the endpoint at `path`, or of all endpoints for an empty one; gives
/// their number.
inline result<std::uint64_t> try_broadcast(const server& at, std::string_view data,
                                           const std::string& path = {},
                                           message_kind kind = message_kind::text) noexcept {
  return detail::number([&](std::uint64_t* out) {
    return qy_server_broadcast(at.get(), path.empty() ? nullptr : path.c_str(),
                               static_cast<std::int32_t>(kind), data.data(), data.size(), out);
  });
}
inline outcome<std::uint64_t> broadcast(const server& at, std::string_view data,
                                        const std::string& path = {},
                                        message_kind kind = message_kind::text) {
  return detail::take(try_broadcast(at, data, path, kind));
}

/// Sends to every connection that fits and for which `wanted(const connection&)` is true; gives their
/// number. One for which it throws is not sent to.
template <class Predicate>
result<std::uint64_t> try_send_where(const server& at, const filter& which, Predicate wanted,
                                     std::string_view data,
                                     message_kind kind = message_kind::text) noexcept {
  const detail::c_filter raw(which);
  const auto ask = [](qy_connection* one, void* self) -> std::int32_t {
    bool is_wanted = false;
    detail::guarded(
        [&] { is_wanted = (*static_cast<Predicate*>(self))(connection::lent(one)); });
    return is_wanted;
  };
  return detail::number([&](std::uint64_t* out) {
    return qy_server_send_where(at.get(), raw.get(), ask, &wanted, static_cast<std::int32_t>(kind),
                                data.data(), data.size(), out);
  });
}
template <class Predicate>
outcome<std::uint64_t> send_where(const server& at, const filter& which, Predicate wanted,
                                  std::string_view data, message_kind kind = message_kind::text) {
  return detail::take(try_send_where(at, which, std::move(wanted), data, kind));
}

/// A user and the number of its connections.
struct user_info {
  std::string id;
  std::uint64_t connections = 0;
};

/// The users that a connection is bound to, by id: at most `limit`, behind the id `after`.
inline result<std::vector<user_info>> try_users(
    const server& at, const std::string& after = {},
    std::size_t limit = static_cast<std::size_t>(-1)) noexcept {
  std::vector<user_info> all;
  const auto visit = [](const char* user, std::size_t len, std::uint64_t count, void* list) {
    detail::guarded([&] {
      static_cast<std::vector<user_info>*>(list)->push_back({std::string(user, len), count});
    });
  };
  const qy_status code = qy_server_list_users(at.get(), after.c_str(), limit, visit, &all);
  if (code != QY_OK) return status::of(code);
  return all;
}
inline outcome<std::vector<user_info>> users(const server& at, const std::string& after = {},
                                             std::size_t limit = static_cast<std::size_t>(-1)) {
  return detail::take(try_users(at, after, limit));
}

/// The connections that are members of a channel.
inline result<std::vector<connection>> try_members(const server& at,
                                                   std::string_view channel) noexcept {
  std::vector<connection> all;
  auto done = detail::named(channel, [&](const char* c) {
    return qy_server_list_members(at.get(), c, detail::keep_connection, &all);
  });
  if (!done) return done.error();
  return all;
}
inline outcome<std::vector<connection>> members(const server& at, std::string_view channel) {
  return detail::take(try_members(at, channel));
}

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_CONNECTIONS_HPP
