// Qyun (青云) for C++17: patterns, and who is in a channel. Included by qyun.hpp.
//
//     auto news = client.subscribe_pattern("news.*", [](const qyun::event& event) {
//       if (event.is_message()) std::cout << event.channel() << ": " << event.data() << '\n';
//     });
//     for (const qyun::present& one : client.presence("room").members)
//       std::cout << one.id << '\n';
#ifndef QYUN_PRESENCE_HPP
#define QYUN_PRESENCE_HPP

#include "qyun.hpp"

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/// One who is in a channel.
struct present {
  std::string id;                      ///< the connection's
  std::optional<std::string> user;     ///< that the server's program bound it to
  std::chrono::system_clock::time_point connected;
};

/// Who is in a channel, in part.
struct presence {
  std::vector<present> members;  ///< by id
  std::uint64_t count = 0;       ///< how many there are in all
  std::uint64_t anonymous = 0;   ///< subscribers without a name
  bool more = false;             ///< whether there are more behind the last of `members`
};

namespace detail {

inline std::chrono::system_clock::time_point time_of(std::uint64_t ms) noexcept {
  using duration = std::chrono::milliseconds;
  return std::chrono::system_clock::time_point(duration(static_cast<duration::rep>(ms)));
}

template <class Read>
result<presence> who(std::string_view channel, std::string_view after, std::uint32_t limit,
                     Read read) noexcept {
  const c_string name(channel), behind(after);
  if (!name.whole()) return name.refusal(QY_ERR_INVALID_NAME, "name");
  if (!behind.whole()) return behind.refusal(QY_ERR_INVALID_ARGUMENT, "after");
  qy_presence* made = nullptr;
  const qy_status code =
      read(name.get(), after.empty() ? nullptr : behind.get(), limit, &made);
  if (code != QY_OK) return status::of(code);
  const handle<qy_presence, qy_presence_free> owned(made);
  qy_presence_info info{};
  info.struct_size = sizeof info;
  (void)qy_presence_info_get(made, &info);
  presence page;
  page.count = info.count;
  page.anonymous = info.anonymous;
  page.more = info.more != 0;
  const std::size_t size = qy_presence_count(made);
  const qy_present* first = qy_presence_members(made);
  page.members.reserve(size);
  for (std::size_t index = 0; index < size; index++) {
    // A newer library may have a longer struct: its struct_size is the distance to the next.
    const auto& row = *reinterpret_cast<const qy_present*>(
        reinterpret_cast<const char*>(first) + index * first->struct_size);
    present one{std::string(row.id, row.id_len), std::nullopt, time_of(row.connected_ms)};
    if (row.user) one.user.emplace(row.user, row.user_len);
    page.members.push_back(std::move(one));
  }
  return page;
}

}  // namespace detail

inline result<presence> client::try_presence(std::string_view channel, std::string_view after,
                                             std::uint32_t limit) const noexcept {
  return detail::who(channel, after, limit,
                     [this](auto... rest) { return qy_client_presence(get(), rest...); });
}
inline outcome<presence> client::presence(std::string_view channel, std::string_view after,
                                          std::uint32_t limit) const {
  return detail::take(try_presence(channel, after, limit));
}

inline result<presence> server::try_presence(std::string_view channel, std::string_view after,
                                             std::uint32_t limit) const noexcept {
  return detail::who(channel, after, limit,
                     [this](auto... rest) { return qy_server_presence(get(), rest...); });
}
inline outcome<presence> server::presence(std::string_view channel, std::string_view after,
                                          std::uint32_t limit) const {
  return detail::take(try_presence(channel, after, limit));
}

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_PRESENCE_HPP
