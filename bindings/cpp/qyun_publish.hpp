// Qyun (青云) for C++17: publishing once, with counts, and many at a time. Included by qyun.hpp.
//
//     qyun::publish_options once;
//     once.key = "order-7";
//     const auto told = server.publish_with("news", "order 7", once);
//     if (told.duplicate) std::cout << "published before, at " << told.at.offset << '\n';
#ifndef QYUN_PUBLISH_HPP
#define QYUN_PUBLISH_HPP

#include "qyun.hpp"

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/// What is asked for beside a publication.
struct publish_options {
  /// The message is published once within the channel's `idempotency_ms`, however often it comes
  /// under this key of any 1 to 255 bytes.
  std::optional<std::string_view> key;
  /// What the message is the latest value of (1 to 255 bytes), in a channel with
  /// `overload=keep_latest`.
  std::optional<std::string_view> conflate;
  /// Waits until it is known how many subscribers the message reached.
  bool counts = false;
};

/// How many subscribers a message went to.
struct delivery_counts {
  std::uint64_t reached;  ///< to whose sockets, or the queues in front of them, it was written
  std::uint64_t queued;   ///< those of them that had to wait for room in their sockets
  std::uint64_t dropped;  ///< those that do not get it
};

/// What became of a message.
struct publish_result {
  position at;
  std::uint64_t subscribers;              ///< of the channel, when it was published
  bool duplicate;                         ///< published before under its key, and not again now
  std::optional<delivery_counts> counts;  ///< if they were asked for
};

/// A message of a batch.
struct publish_item {
  std::string_view channel;
  std::string_view data;
  message_kind kind = message_kind::text;
  publish_options options = {};
};

namespace detail {

/// The options as C takes them, which point into `from` and this.
class c_publish_options {
 public:
  explicit c_publish_options(const publish_options& from) {
    raw_.struct_size = sizeof raw_;
    // An empty key is one that is refused, and not none.
    if (from.key) raw_.key = from.key->empty() ? "" : from.key->data();
    if (from.key) raw_.key_len = from.key->size();
    if (from.conflate) raw_.conflate = conflate_.emplace(*from.conflate).get();
    raw_.counts = from.counts;
  }
  c_publish_options(const c_publish_options&) = delete;
  c_publish_options& operator=(const c_publish_options&) = delete;

  const qy_publish_options* get() const noexcept { return &raw_; }
  /// Why C cannot be told, if it cannot.
  std::optional<status> refusal() const {
    if (!conflate_ || conflate_->whole()) return std::nullopt;
    return conflate_->refusal(QY_ERR_INVALID_ARGUMENT, "conflate");
  }

 private:
  qy_publish_options raw_{};
  std::optional<c_string> conflate_;
};

inline publish_result published(const qy_publish_result& raw) noexcept {
  publish_result result{{raw.epoch, raw.offset}, raw.subscribers, raw.duplicate != 0, {}};
  if (raw.has_counts) result.counts = delivery_counts{raw.reached, raw.queued, raw.dropped};
  return result;
}

/// Room for the text of a message that failed; longer ones are cut.
inline constexpr std::size_t failure_text = 512;

/// Publishes one message by `call`, which takes what the C functions take behind the channel.
template <class Call>
result<publish_result> publish_one(std::string_view channel, std::string_view data,
                                   const publish_options& options, message_kind kind,
                                   Call call) noexcept {
  const c_publish_options asked(options);
  if (auto refusal = asked.refusal()) return *std::move(refusal);
  qy_publish_result raw{};
  raw.struct_size = sizeof raw;
  auto done = named(channel, [&](const char* n) {
    return call(n, static_cast<std::int32_t>(kind), data.data(), data.size(), asked.get(), &raw);
  });
  if (!done) return done.error();
  return published(raw);
}

/// Publishes a batch by `call`, which takes the arrays of the C functions.
template <class Call>
result<std::vector<result<publish_result>>> publish_many(const std::vector<publish_item>& items,
                                                         Call call) noexcept {
  std::vector<std::unique_ptr<c_string>> names;
  std::vector<std::unique_ptr<c_publish_options>> asked;
  std::vector<qy_publish_item> raw;
  std::vector<std::optional<status>> refused;
  std::vector<char> texts(items.size() * failure_text);
  for (const publish_item& item : items) {
    names.push_back(std::make_unique<c_string>(item.channel));
    asked.push_back(std::make_unique<c_publish_options>(item.options));
    refused.push_back(asked.back()->refusal());
    if (!names.back()->whole()) refused.back() = names.back()->refusal(QY_ERR_INVALID_NAME, "name");
    if (refused.back()) continue;
    qy_publish_item one{};
    one.struct_size = sizeof one;
    one.channel = names.back()->get();
    one.data = item.data.data();
    one.len = item.data.size();
    one.kind = static_cast<std::int32_t>(item.kind);
    one.options = asked.back()->get();
    one.error = texts.data() + raw.size() * failure_text;
    one.error_cap = failure_text;
    raw.push_back(one);
  }
  std::vector<qy_publish_result> told(raw.size());
  for (qy_publish_result& one : told) one.struct_size = sizeof one;
  const qy_status code = call(raw.data(), raw.size(), told.data());
  if (code != QY_OK) return status::of(code);
  std::vector<result<publish_result>> results;
  std::size_t next = 0;
  for (std::optional<status>& why : refused) {
    if (why) {
      results.emplace_back(*std::move(why));
      continue;
    }
    const qy_publish_result& one = told[next];
    if (one.status != QY_OK) {
      results.emplace_back(status(one.status, raw[next].error));
    } else {
      results.emplace_back(published(one));
    }
    ++next;
  }
  return results;
}

}  // namespace detail

inline result<publish_result> server::try_publish_with(std::string_view channel,
                                                       std::string_view data,
                                                       const publish_options& options,
                                                       message_kind kind) const noexcept {
  return detail::publish_one(channel, data, options, kind, [this](auto... rest) {
    return qy_server_publish_with(get(), rest...);
  });
}
inline outcome<publish_result> server::publish_with(std::string_view channel,
                                                    std::string_view data,
                                                    const publish_options& options,
                                                    message_kind kind) const {
  return detail::take(try_publish_with(channel, data, options, kind));
}

inline result<std::vector<result<publish_result>>> server::try_publish_batch(
    const std::vector<publish_item>& items) const noexcept {
  return detail::publish_many(
      items, [this](auto... rest) { return qy_server_publish_batch(get(), rest...); });
}
inline outcome<std::vector<result<publish_result>>> server::publish_batch(
    const std::vector<publish_item>& items) const {
  return detail::take(try_publish_batch(items));
}

inline result<publish_result> client::try_publish_with(std::string_view channel,
                                                       std::string_view data,
                                                       const publish_options& options,
                                                       message_kind kind) const noexcept {
  return detail::publish_one(channel, data, options, kind, [this](auto... rest) {
    return qy_client_publish_with(get(), rest...);
  });
}
inline outcome<publish_result> client::publish_with(std::string_view channel,
                                                    std::string_view data,
                                                    const publish_options& options,
                                                    message_kind kind) const {
  return detail::take(try_publish_with(channel, data, options, kind));
}

inline result<std::vector<result<publish_result>>> client::try_publish_batch(
    const std::vector<publish_item>& items) const noexcept {
  return detail::publish_many(
      items, [this](auto... rest) { return qy_client_publish_batch(get(), rest...); });
}
inline outcome<std::vector<result<publish_result>>> client::publish_batch(
    const std::vector<publish_item>& items) const {
  return detail::take(try_publish_batch(items));
}

/// send_message with a key, a wish for counts and more; tells what became of the message.
inline result<publish_result> try_send_message_with(
    std::string_view host, std::string_view channel, std::string_view data,
    const publish_options& options, message_kind kind = message_kind::text) noexcept {
  const detail::c_string where(host);
  if (!where.whole()) return where.refusal(QY_ERR_INVALID_URL, "host");
  return detail::publish_one(channel, data, options, kind, [&](auto... rest) {
    return qy_send_message_with(where.get(), rest...);
  });
}
inline outcome<publish_result> send_message_with(std::string_view host, std::string_view channel,
                                                 std::string_view data,
                                                 const publish_options& options,
                                                 message_kind kind = message_kind::text) {
  return detail::take(try_send_message_with(host, channel, data, options, kind));
}

/// Broadcasts many messages in one request and tells what became of each.
inline result<std::vector<result<publish_result>>> try_send_batch(
    std::string_view host, const std::vector<publish_item>& items) noexcept {
  const detail::c_string where(host);
  if (!where.whole()) return where.refusal(QY_ERR_INVALID_URL, "host");
  return detail::publish_many(
      items, [&](auto... rest) { return qy_send_batch(where.get(), rest...); });
}
inline outcome<std::vector<result<publish_result>>> send_batch(
    std::string_view host, const std::vector<publish_item>& items) {
  return detail::take(try_send_batch(host, items));
}

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_PUBLISH_HPP
