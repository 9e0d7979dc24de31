// Qyun (青云) for C++17: the packet dialect on the client. Included by qyun.hpp.
//
//     auto client = qyun::packet_client::open("localhost:8000", {"100"});
//     client.on_packet(1, [](const qyun::client_packet& got) { std::cout << got.data << '\n'; });
//     client.connect(5s);
//     std::cout << client.request(2, "what time is it?", 1s).data() << '\n';
#ifndef QYUN_PACKET_CLIENT_HPP
#define QYUN_PACKET_CLIENT_HPP

#include "qyun.hpp"
#include "qyun_packet.hpp"
#include "qyun_socket.hpp"

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/// Who a packet client says it is. Its connection's id at the server is uid-type-device-source.
struct packet_identity {
  std::string uid;
  std::uint32_t type = 0;
  std::string device = {};
  std::string source = {};
  std::string version = {};
  std::string charset = {};
};

/// A one-way message or a request from the server; valid during the call.
struct client_packet {
  std::uint32_t protocol;
  std::string_view data;
  /// Answers a request; nullptr for a one-way message.
  const packet_reply* reply;
};

/// What happened to a packet client's connection; valid during the call.
struct packet_client_event {
  enum class type : std::int32_t {
    established = QY_PACKET_ESTABLISHED,
    closing = QY_PACKET_CLOSING,      ///< the values are still there
    closed = QY_PACKET_CLOSED,        ///< the values go when the call returns
    pinged = QY_PACKET_PINGED,
    ponged = QY_PACKET_PONGED,
    displaced = QY_PACKET_DISPLACED,  ///< the end follows, and no reconnection
    failed = QY_PACKET_FAILED,        ///< an attempt to connect failed
  };
  type what;
  /// Of closing and closed: the close code; of failed: the status.
  std::int32_t code;
  /// Of these three.
  bool will_reconnect;
  std::string_view reason;
  /// Of displaced: addresses as text, and ns since the Unix epoch.
  std::string_view old_ip, new_ip;
  std::int64_t ts;
};

/// A client of the packet dialect; it connects again by itself unless it was displaced. Its
/// destructor closes it and waits for a call that runs (except inside that very call): what the
/// callbacks refer to may go after that.
class packet_client {
 public:
  packet_client(packet_client&&) noexcept = default;
  packet_client& operator=(packet_client&& other) noexcept {
    if (this != &other) {
      settle();
      handle_ = std::move(other.handle_);
    }
    return *this;
  }
  ~packet_client() { settle(); }

  /// Makes a client of the server at `host` (HOST:PORT or a URL, whose path stands for /join). It
  /// does not connect yet. The settings are a socket's.
  static result<packet_client> try_open(std::string_view host, const packet_identity& who,
                                        const options& with) noexcept {
    return open_with(host, who, with.get());
  }
  static result<packet_client> try_open(std::string_view host, const packet_identity& who,
                                        std::initializer_list<setting> settings = {}) noexcept {
    if (settings.size() == 0) return open_with(host, who, nullptr);
    auto with = options::try_make(options_for::socket, settings);
    return with ? open_with(host, who, with->get()) : result<packet_client>(with.error());
  }
  static outcome<packet_client> open(std::string_view host, const packet_identity& who,
                                     const options& with) {
    return detail::take(try_open(host, who, with));
  }
  static outcome<packet_client> open(std::string_view host, const packet_identity& who,
                                     std::initializer_list<setting> settings = {}) {
    return detail::take(try_open(host, who, settings));
  }

  /// Calls `fn(const client_packet&)` for each one-way message and request with this protocol id, in
  /// place of the one before.
  template <class Fn>
  result<void> try_on_packet(std::uint32_t protocol, Fn fn,
                             delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const client_packet&>,
                  "the callback takes const qyun::client_packet&");
    using box = detail::callable<Fn>;
    const auto received = [](std::uint32_t number, const void* data, std::size_t len, qy_reply* to,
                             void* self) {
      detail::guarded([&] {
        const packet_reply reply = packet_reply::lent(to);
        const std::string_view body(static_cast<const char*>(data), len);
        static_cast<box*>(self)->fn(client_packet{number, body, to ? &reply : nullptr});
      });
    };
    return status::of(qy_packet_client_on_packet(get(), protocol, static_cast<std::int32_t>(where),
                                                 received, new box{std::move(fn)}, &box::drop));
  }
  template <class Fn>
  outcome<void> on_packet(std::uint32_t protocol, Fn fn,
                          delivery where = delivery::thread) const {
    return detail::take(try_on_packet(protocol, std::move(fn), where));
  }
  /// Ends what on_packet began.
  result<void> try_off_packet(std::uint32_t protocol) const noexcept {
    return status::of(qy_packet_client_on_packet(get(), protocol, QY_DELIVER_THREAD, nullptr,
                                                 nullptr, nullptr));
  }
  outcome<void> off_packet(std::uint32_t protocol) const {
    return detail::take(try_off_packet(protocol));
  }

  /// Calls `fn(const packet_client_event&)` for what happens, in place of the one before.
  template <class Fn>
  result<void> try_on_event(Fn fn, delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const packet_client_event&>,
                  "the callback takes const qyun::packet_client_event&");
    using box = detail::callable<Fn>;
    const auto happened = [](const qy_packet_client_event* raw, void* self) {
      detail::guarded([&] {
        static_cast<box*>(self)->fn(packet_client_event{
            static_cast<packet_client_event::type>(raw->event), raw->code,
            raw->will_reconnect != 0, std::string_view(raw->reason, raw->reason_len),
            std::string_view(static_cast<const char*>(raw->old_ip), raw->old_ip_len),
            std::string_view(static_cast<const char*>(raw->new_ip), raw->new_ip_len), raw->ts});
      });
    };
    return status::of(qy_packet_client_on_event(get(), static_cast<std::int32_t>(where), happened,
                                                new box{std::move(fn)}, &box::drop));
  }
  template <class Fn>
  outcome<void> on_event(Fn fn, delivery where = delivery::thread) const {
    return detail::take(try_on_event(std::move(fn), where));
  }

  /// Calls `fn(std::uint32_t channel)` after signal_pull, in place of the one before.
  template <class Fn>
  result<void> try_on_pull(std::uint32_t channel, Fn fn) const noexcept {
    static_assert(std::is_invocable_v<Fn&, std::uint32_t>, "the callback takes a pull channel");
    using box = detail::callable<Fn>;
    const auto pulled = [](std::uint32_t number, void* self) {
      detail::guarded([&] { static_cast<box*>(self)->fn(number); });
    };
    return status::of(
        qy_packet_client_on_pull(get(), channel, pulled, new box{std::move(fn)}, &box::drop));
  }
  template <class Fn>
  outcome<void> on_pull(std::uint32_t channel, Fn fn) const {
    return detail::take(try_on_pull(channel, std::move(fn)));
  }
  /// Makes the callback of a pull channel run, once however often it is signalled before that run.
  result<void> try_signal_pull(std::uint32_t channel) const noexcept {
    return status::of(qy_packet_client_signal_pull(get(), channel));
  }
  outcome<void> signal_pull(std::uint32_t channel) const {
    return detail::take(try_signal_pull(channel));
  }

  /// As socket::connect.
  result<void> try_connect(std::chrono::milliseconds timeout) const noexcept {
    return status::of(qy_packet_client_connect(get(), detail::milliseconds(timeout)));
  }
  outcome<void> connect(std::chrono::milliseconds timeout) const {
    return detail::take(try_connect(timeout));
  }

  /// As socket::disconnect. Requests under way end with QY_ERR_CLOSED.
  result<void> try_disconnect(std::uint16_t code = 1000,
                              std::string_view reason = {}) const noexcept {
    const detail::c_string text(reason);
    if (!text.whole()) return text.refusal(QY_ERR_INVALID_ARGUMENT, "reason");
    return status::of(qy_packet_client_disconnect(get(), code, text.get()));
  }
  outcome<void> disconnect(std::uint16_t code = 1000, std::string_view reason = {}) const {
    return detail::take(try_disconnect(code, reason));
  }

  socket_state state() const noexcept {
    std::int32_t state = QY_SOCKET_CLOSED;
    if (qy_packet_client_state(get(), &state) != QY_OK) return socket_state::closed;
    return static_cast<socket_state>(state);
  }

  /// Sends a one-way message.
  result<void> try_send(std::uint32_t protocol, std::string_view data) const noexcept {
    return status::of(qy_packet_client_send(get(), protocol, data.data(), data.size()));
  }
  outcome<void> send(std::uint32_t protocol, std::string_view data) const {
    return detail::take(try_send(protocol, data));
  }

  /// Makes a request and waits; also in a callback, but not in an inlined one.
  result<packet_response> try_request(std::uint32_t protocol, std::string_view data,
                                      std::chrono::milliseconds timeout) const noexcept {
    qy_response* raw = nullptr;
    const qy_status code = qy_packet_client_request(get(), protocol, data.data(), data.size(),
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
    return status::of(qy_packet_client_request_async(
        get(), protocol, data.data(), data.size(), detail::milliseconds(timeout),
        static_cast<std::int32_t>(where), ended, new box{std::move(fn)}, &box::drop));
  }
  template <class Fn>
  outcome<void> request_async(std::uint32_t protocol, std::string_view data,
                              std::chrono::milliseconds timeout, Fn fn,
                              delivery where = delivery::thread) const {
    return detail::take(try_request_async(protocol, data, timeout, std::move(fn), where));
  }

  /// Keeps bytes with the connection.
  result<void> try_set(std::string_view key, std::string_view value) const noexcept {
    return detail::named(key, [&](const char* name) {
      return qy_packet_client_set(get(), name, value.data(), value.size());
    });
  }
  outcome<void> set(std::string_view key, std::string_view value) const {
    return detail::take(try_set(key, value));
  }
  /// What is kept; a number as its decimal text. QY_ERR_NOT_FOUND.
  result<std::string> try_value(std::string_view key) const noexcept {
    const detail::c_string name(key);
    if (!name.whole()) return name.refusal(QY_ERR_INVALID_NAME, "key");
    std::string value(64, '\0');
    for (;;) {
      std::size_t needed = 0;
      const qy_status code =
          qy_packet_client_get(get(), name.get(), value.data(), value.size(), &needed);
      const bool fits = needed <= value.size();
      value.resize(needed);
      if (code == QY_OK && fits) return value;
      // Another thread may have put something larger there meanwhile.
      if (code != QY_ERR_BUFFER_TOO_SMALL) return status::of(code);
    }
  }
  outcome<std::string> value(std::string_view key) const { return detail::take(try_value(key)); }
  result<void> try_remove(std::string_view key) const noexcept {
    return detail::named(key,
                         [&](const char* name) { return qy_packet_client_remove(get(), name); });
  }
  outcome<void> remove(std::string_view key) const { return detail::take(try_remove(key)); }
  /// Adds to a number that begins at 0, in one step; the sum.
  result<std::int64_t> try_increment(std::string_view key, std::int64_t by = 1) const noexcept {
    std::int64_t sum = 0;
    auto done = detail::named(
        key, [&](const char* name) { return qy_packet_client_increment(get(), name, by, &sum); });
    return done ? result<std::int64_t>(sum) : result<std::int64_t>(done.error());
  }
  outcome<std::int64_t> increment(std::string_view key, std::int64_t by = 1) const {
    return detail::take(try_increment(key, by));
  }

  result<qy_packet_client_counters> try_counters() const noexcept {
    qy_packet_client_counters totals{};
    totals.struct_size = sizeof totals;
    const qy_status code = qy_packet_client_counters_get(get(), &totals);
    if (code != QY_OK) return status::of(code);
    return totals;
  }
  outcome<qy_packet_client_counters> counters() const { return detail::take(try_counters()); }

  /// The newest failure, empty if there was none.
  std::string last_error() const {
    return detail::text_of([this](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_packet_client_last_error(get(), buffer, cap, needed);
    });
  }

  /// Closes it for good without waiting; from anywhere, and again.
  result<void> try_close() const noexcept { return status::of(qy_packet_client_close(get())); }
  outcome<void> close() const { return detail::take(try_close()); }
  /// Closes it and waits until no callback runs or will run; QY_ERR_WOULD_DEADLOCK inside one.
  result<void> try_close_wait(std::chrono::milliseconds timeout) const noexcept {
    return status::of(qy_packet_client_close_wait(get(), detail::milliseconds(timeout)));
  }
  outcome<void> close_wait(std::chrono::milliseconds timeout) const {
    return detail::take(try_close_wait(timeout));
  }

  /// For calls of qyun.h.
  qy_packet_client* get() const noexcept { return handle_.get(); }

 private:
  packet_client() noexcept = default;

  static result<packet_client> open_with(std::string_view host, const packet_identity& who,
                                         const qy_options* with) noexcept {
    const detail::c_string where(host), uid(who.uid), device(who.device), source(who.source),
        version(who.version), charset(who.charset);
    if (!where.whole()) return where.refusal(QY_ERR_INVALID_URL, "host");
    for (const detail::c_string* part : {&uid, &device, &source, &version, &charset}) {
      if (!part->whole()) return part->refusal(QY_ERR_INVALID_ARGUMENT, "identity");
    }
    qy_packet_identity identity{};
    identity.struct_size = sizeof identity;
    identity.uid = uid.get();
    identity.type = who.type;
    identity.device = device.get();
    identity.source = source.get();
    identity.version = version.get();
    identity.charset = charset.get();
    packet_client made;
    qy_packet_client* raw = nullptr;
    const qy_status code = qy_packet_client_open(where.get(), &identity, with, &raw);
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    return made;
  }

  void settle() noexcept {
    if (!handle_) return;
    while (qy_packet_client_close_wait(get(), 60'000) == QY_ERR_TIMEOUT) {
    }
    handle_.reset();
  }

  detail::handle<qy_packet_client, qy_packet_client_free> handle_;
};

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_PACKET_CLIENT_HPP
