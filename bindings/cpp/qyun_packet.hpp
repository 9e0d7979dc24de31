// Qyun (青云) for C++17: the packet dialect on a server. Included by qyun.hpp.
//
//     auto server = qyun::server::start();
//     qyun::on_packet(server, 1, [](const qyun::packet& got) {
//       if (got.reply) got.reply->send(got.protocol, "noon");
//     });
#ifndef QYUN_PACKET_HPP
#define QYUN_PACKET_HPP

#include "qyun.hpp"

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/// What a peer answered.
class packet_response {
 public:
  explicit packet_response(qy_response* raw) noexcept : handle_(raw) {}
  std::uint32_t protocol() const noexcept { return qy_response_protocol(handle_.get()); }
  /// Valid while this lives.
  std::string_view data() const noexcept {
    return {static_cast<const char*>(qy_response_data(handle_.get())),
            qy_response_len(handle_.get())};
  }

 private:
  detail::handle<qy_response, qy_response_free> handle_;
};

/// Answers one request, once. A callback is lent one; clone() gives one to keep.
class packet_reply {
 public:
  /// Refers to a reply that somebody else owns.
  static packet_reply lent(qy_reply* raw) noexcept { return packet_reply(raw, nullptr); }

  result<packet_reply> try_clone() const noexcept {
    qy_reply* raw = nullptr;
    const qy_status code = qy_reply_clone(raw_, &raw);
    if (code != QY_OK) return status::of(code);
    return packet_reply(raw, raw);
  }
  outcome<packet_reply> clone() const { return detail::take(try_clone()); }

  /// `protocol` is the answer's, as a rule the request's.
  result<void> try_send(std::uint32_t protocol, std::string_view data) const noexcept {
    return status::of(qy_reply_send(raw_, protocol, data.data(), data.size()));
  }
  outcome<void> send(std::uint32_t protocol, std::string_view data) const {
    return detail::take(try_send(protocol, data));
  }

 private:
  packet_reply(qy_reply* raw, qy_reply* own) noexcept : raw_(raw), own_(own) {}
  qy_reply* raw_;
  detail::handle<qy_reply, qy_reply_free> own_;
};

/// A connection of the packet dialect. A callback is lent one; clone() gives one to keep, which stays
/// usable, and says QY_ERR_CLOSED, when the client is gone.
class packet_connection {
 public:
  /// Refers to a connection that somebody else owns.
  static packet_connection lent(qy_connection* raw) noexcept {
    return packet_connection(raw, nullptr);
  }

  result<packet_connection> try_clone() const noexcept {
    qy_connection* raw = nullptr;
    const qy_status code = qy_connection_clone(raw_, &raw);
    if (code != QY_OK) return status::of(code);
    return packet_connection(raw, raw);
  }
  outcome<packet_connection> clone() const { return detail::take(try_clone()); }

  std::string id() const {
    return detail::text_of([this](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_connection_id(raw_, buffer, cap, needed);
    });
  }
  /// What the client said about itself under "uid", "type", "device", "source", "version" or
  /// "charset"; empty for another key.
  std::string identity(const char* key) const {
    return detail::text_of([&](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_connection_packet_identity(raw_, key, buffer, cap, needed);
    });
  }

  /// Sends a one-way message.
  result<void> try_send(std::uint32_t protocol, std::string_view data) const noexcept {
    return status::of(qy_connection_send_packet(raw_, protocol, data.data(), data.size()));
  }
  outcome<void> send(std::uint32_t protocol, std::string_view data) const {
    return detail::take(try_send(protocol, data));
  }

  /// Makes a request and waits; also in a callback, but not in an inlined one.
  result<packet_response> try_request(std::uint32_t protocol, std::string_view data,
                                      std::chrono::milliseconds timeout) const noexcept {
    qy_response* raw = nullptr;
    const qy_status code = qy_connection_request(raw_, protocol, data.data(), data.size(),
                                                 detail::milliseconds(timeout), &raw);
    packet_response got(raw);
    if (code != QY_OK) return status::of(code);
    return got;
  }
  outcome<packet_response> request(std::uint32_t protocol, std::string_view data,
                                   std::chrono::milliseconds timeout) const {
    return detail::take(try_request(protocol, data, timeout));
  }

  /// Makes a request and returns. `fn(status, protocol, data)` is called exactly once if this
  /// succeeds; the data is valid during the call, and empty unless the status is ok.
  template <class Fn>
  result<void> try_request_async(std::uint32_t protocol, std::string_view data,
                                 std::chrono::milliseconds timeout, Fn fn,
                                 delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const status&, std::uint32_t, std::string_view>,
                  "the callback takes qyun::status, a protocol id and std::string_view");
    using box = detail::callable<Fn>;
    const auto ended = [](qy_status code, const qy_response* raw, void* self) {
      detail::guarded([&] {
        const std::string_view body(static_cast<const char*>(qy_response_data(raw)),
                                    qy_response_len(raw));
        static_cast<box*>(self)->fn(status::of(code), qy_response_protocol(raw), body);
      });
    };
    return status::of(qy_connection_request_async(
        raw_, protocol, data.data(), data.size(), detail::milliseconds(timeout),
        static_cast<std::int32_t>(where), ended, new box{std::move(fn)}, &box::drop));
  }
  template <class Fn>
  outcome<void> request_async(std::uint32_t protocol, std::string_view data,
                              std::chrono::milliseconds timeout, Fn fn,
                              delivery where = delivery::thread) const {
    return detail::take(try_request_async(protocol, data, timeout, std::move(fn), where));
  }

  /// Makes the callback of a pull channel run for this connection, once however often it is
  /// signalled before that run begins.
  result<void> try_signal_pull(std::uint32_t channel) const noexcept {
    return status::of(qy_connection_signal_pull(raw_, channel));
  }
  outcome<void> signal_pull(std::uint32_t channel) const {
    return detail::take(try_signal_pull(channel));
  }

  /// For calls of qyun.h.
  qy_connection* get() const noexcept { return raw_; }

 private:
  packet_connection(qy_connection* raw, qy_connection* own) noexcept : raw_(raw), own_(own) {}
  qy_connection* raw_;
  detail::handle<qy_connection, qy_connection_free> own_;
};

/// A one-way message or a request; valid during the call.
struct packet {
  const packet_connection& connection;
  std::uint32_t protocol;
  std::string_view data;
  /// Answers a request; nullptr for a one-way message.
  const packet_reply* reply;
};

/// What happened to a connection; valid during the call.
struct packet_event {
  enum class type : std::int32_t {
    established = QY_PACKET_ESTABLISHED,
    closing = QY_PACKET_CLOSING,  ///< registered until the call returns
    closed = QY_PACKET_CLOSED,    ///< the last event
    pinged = QY_PACKET_PINGED,
    ponged = QY_PACKET_PONGED,
  };
  type what;
  /// Of closing and closed: the close code; 1006 when it was lost, 3505 when it was displaced.
  std::uint16_t code;
  std::string_view reason;
  bool by_peer;
};

/// Calls `fn(const packet&)` for each one-way message and request with this protocol id, in place of
/// the one before; in order for each connection. Calls for different connections may come at the same
/// time unless the server's option `delivery_threads` is 1.
template <class Fn>
result<void> try_on_packet(const server& at, std::uint32_t protocol, Fn fn,
                           delivery where = delivery::thread) noexcept {
  static_assert(std::is_invocable_v<Fn&, const packet&>, "the callback takes const qyun::packet&");
  using box = detail::callable<Fn>;
  const auto received = [](qy_connection* from, std::uint32_t number, const void* data,
                           std::size_t len, qy_reply* to, void* self) {
    detail::guarded([&] {
      const packet_connection connection = packet_connection::lent(from);
      const packet_reply reply = packet_reply::lent(to);
      const std::string_view body(static_cast<const char*>(data), len);
      static_cast<box*>(self)->fn(packet{connection, number, body, to ? &reply : nullptr});
    });
  };
  return status::of(qy_server_on_packet(at.get(), protocol, static_cast<std::int32_t>(where),
                                        received, new box{std::move(fn)}, &box::drop));
}
template <class Fn>
outcome<void> on_packet(const server& at, std::uint32_t protocol, Fn fn,
                        delivery where = delivery::thread) {
  return detail::take(try_on_packet(at, protocol, std::move(fn), where));
}
/// Ends what on_packet began.
inline result<void> try_off_packet(const server& at, std::uint32_t protocol) noexcept {
  return status::of(
      qy_server_on_packet(at.get(), protocol, QY_DELIVER_THREAD, nullptr, nullptr, nullptr));
}
inline outcome<void> off_packet(const server& at, std::uint32_t protocol) {
  return detail::take(try_off_packet(at, protocol));
}

/// Calls `fn(const packet_connection&, const packet_event&)` for what happens to connections of the
/// packet dialect, in place of the one before.
template <class Fn>
result<void> try_on_packet_event(const server& at, Fn fn,
                                 delivery where = delivery::thread) noexcept {
  static_assert(std::is_invocable_v<Fn&, const packet_connection&, const packet_event&>,
                "the callback takes const qyun::packet_connection& and const qyun::packet_event&");
  using box = detail::callable<Fn>;
  const auto happened = [](qy_connection* raw, const qy_packet_event* event, void* self) {
    detail::guarded([&] {
      const packet_connection connection = packet_connection::lent(raw);
      static_cast<box*>(self)->fn(
          connection,
          packet_event{static_cast<packet_event::type>(event->event),
                       static_cast<std::uint16_t>(event->code),
                       std::string_view(event->reason, event->reason_len), event->by_peer != 0});
    });
  };
  return status::of(qy_server_on_packet_event(at.get(), static_cast<std::int32_t>(where), happened,
                                              new box{std::move(fn)}, &box::drop));
}
template <class Fn>
outcome<void> on_packet_event(const server& at, Fn fn, delivery where = delivery::thread) {
  return detail::take(try_on_packet_event(at, std::move(fn), where));
}

/// Calls `fn(const packet_connection&, std::uint32_t channel)` after signal_pull, in place of the one
/// before.
template <class Fn>
result<void> try_on_pull(const server& at, std::uint32_t channel, Fn fn) noexcept {
  static_assert(std::is_invocable_v<Fn&, const packet_connection&, std::uint32_t>,
                "the callback takes const qyun::packet_connection& and a pull channel");
  using box = detail::callable<Fn>;
  const auto pulled = [](qy_connection* raw, std::uint32_t number, void* self) {
    detail::guarded(
        [&] { static_cast<box*>(self)->fn(packet_connection::lent(raw), number); });
  };
  return status::of(
      qy_server_on_pull(at.get(), channel, pulled, new box{std::move(fn)}, &box::drop));
}
template <class Fn>
outcome<void> on_pull(const server& at, std::uint32_t channel, Fn fn) {
  return detail::take(try_on_pull(at, channel, std::move(fn)));
}

inline result<qy_packet_counters> try_packet_counters(const server& at) noexcept {
  qy_packet_counters totals{};
  totals.struct_size = sizeof totals;
  const qy_status code = qy_server_packet_counters(at.get(), &totals);
  if (code != QY_OK) return status::of(code);
  return totals;
}
inline outcome<qy_packet_counters> packet_counters(const server& at) {
  return detail::take(try_packet_counters(at));
}

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_PACKET_HPP
