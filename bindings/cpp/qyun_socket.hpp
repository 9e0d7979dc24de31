// Qyun (青云) for C++17: one WebSocket to any server. Included by qyun.hpp.
//
//     qyun::socket_callbacks calls;
//     calls.message = [](qyun::message_kind, std::string_view data) { std::cout << data << '\n'; };
//     auto socket = qyun::socket::open("ws://localhost:8000/chat", std::move(calls));
//     socket.connect(5s);
//     socket.send("hello");
#ifndef QYUN_SOCKET_HPP
#define QYUN_SOCKET_HPP

#include "qyun.hpp"

#include <functional>

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

enum class socket_state : std::int32_t {
  connecting = QY_SOCKET_CONNECTING,
  connected = QY_SOCKET_CONNECTED,
  closed = QY_SOCKET_CLOSED,
  disconnected = QY_SOCKET_DISCONNECTED,
};

/// The end of a connection.
struct disconnection {
  /// The close code; 1006 when there was no Close, 1005 when that had no code.
  std::uint16_t code;
  /// What the Close said, or why the connection is lost; valid during the call.
  std::string_view reason;
  /// Whether it is tried again.
  bool will_reconnect;
};

/// What a socket calls; each may be empty. They are destroyed after the last call.
struct socket_callbacks {
  /// Connected, for the first time or again; with the sub-protocol that the server chose.
  std::function<void(std::string_view protocol)> connected;
  std::function<void(const disconnection&)> disconnected;
  std::function<void(message_kind, std::string_view data)> message;
  /// An attempt to connect failed.
  std::function<void(const status& why, bool will_reconnect)> error;
  std::function<void(std::string_view payload)> ping;
  std::function<void(std::string_view payload)> pong;
  /// The last call.
  std::function<void(std::string_view reason)> closed;
};

/// A view of what a socket tells; it lasts as long as its batch.
class socket_event {
 public:
  enum class type : std::int32_t {
    connected = QY_EVENT_CONNECTED,        ///< data() is the sub-protocol
    message = QY_EVENT_MESSAGE,
    closed = QY_EVENT_CLOSED,              ///< the last event; data() says why
    error = QY_EVENT_ERROR,                ///< an attempt failed; data() says why
    disconnected = QY_EVENT_DISCONNECTED,  ///< data() says why
    ping = QY_EVENT_PING,
    pong = QY_EVENT_PONG,
  };

  explicit socket_event(const qy_socket_event& raw) noexcept : raw_(&raw) {}
  type what() const noexcept { return static_cast<type>(raw_->event); }
  bool is_message() const noexcept { return raw_->event == QY_EVENT_MESSAGE; }
  message_kind kind() const noexcept { return static_cast<message_kind>(raw_->kind); }
  std::string_view data() const noexcept {
    return {static_cast<const char*>(raw_->data), raw_->len};
  }
  /// The close code of a disconnection, the status of an error.
  std::int32_t code() const noexcept { return raw_->code; }
  bool will_reconnect() const noexcept { return raw_->will_reconnect != 0; }

 private:
  const qy_socket_event* raw_;
};

/// Events taken from a socket: a range of socket_event. They are valid while it lives.
class socket_batch {
 public:
  explicit socket_batch(qy_socket_batch* raw) noexcept : handle_(raw) {}
  std::size_t size() const noexcept { return qy_socket_batch_count(handle_.get()); }
  bool empty() const noexcept { return size() == 0; }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = socket_event;
    using difference_type = std::ptrdiff_t;
    using pointer = const socket_event*;
    using reference = socket_event;
    explicit iterator(const char* at) noexcept : at_(at) {}
    socket_event operator*() const noexcept { return socket_event(*raw()); }
    // A newer library may have a longer struct: its struct_size is the distance to the next.
    iterator& operator++() noexcept {
      at_ += raw()->struct_size;
      return *this;
    }
    bool operator==(const iterator& other) const noexcept { return at_ == other.at_; }
    bool operator!=(const iterator& other) const noexcept { return at_ != other.at_; }

   private:
    const qy_socket_event* raw() const noexcept {
      return reinterpret_cast<const qy_socket_event*>(at_);
    }
    const char* at_;
  };

  iterator begin() const noexcept { return iterator(first()); }
  iterator end() const noexcept {
    const qy_socket_event* events = qy_socket_batch_events(handle_.get());
    return iterator(events ? first() + size() * events->struct_size : nullptr);
  }

 private:
  const char* first() const noexcept {
    return reinterpret_cast<const char*>(qy_socket_batch_events(handle_.get()));
  }
  detail::handle<qy_socket_batch, qy_socket_batch_free> handle_;
};

/// One WebSocket to any server; it connects again by itself. Its destructor closes it and, if it has
/// callbacks, waits for a call that runs (except inside that very call): what the callbacks refer to
/// may go after that.
class socket {
 public:
  socket(socket&&) noexcept = default;
  socket& operator=(socket&& other) noexcept {
    if (this != &other) {
      settle();
      handle_ = std::move(other.handle_);
      called_ = other.called_;
    }
    return *this;
  }
  ~socket() { settle(); }

  /// Makes a socket for `url` that does not connect yet. Its events go to `calls`.
  static result<socket> try_open(std::string_view url, socket_callbacks calls, const options& with,
                                 delivery where = delivery::thread) noexcept {
    return open_with(url, &calls, with.get(), where);
  }
  static result<socket> try_open(std::string_view url, socket_callbacks calls,
                                 std::initializer_list<setting> settings = {},
                                 delivery where = delivery::thread) noexcept {
    return open_with(url, &calls, settings, where);
  }
  static outcome<socket> open(std::string_view url, socket_callbacks calls, const options& with,
                              delivery where = delivery::thread) {
    return detail::take(try_open(url, std::move(calls), with, where));
  }
  static outcome<socket> open(std::string_view url, socket_callbacks calls,
                              std::initializer_list<setting> settings = {},
                              delivery where = delivery::thread) {
    return detail::take(try_open(url, std::move(calls), settings, where));
  }

  /// The same without callbacks: take the events with recv() or fd().
  static result<socket> try_open(std::string_view url,
                                 std::initializer_list<setting> settings = {}) noexcept {
    return open_with(url, nullptr, settings, delivery::thread);
  }
  static result<socket> try_open(std::string_view url, const options& with) noexcept {
    return open_with(url, nullptr, with.get(), delivery::thread);
  }
  static outcome<socket> open(std::string_view url,
                              std::initializer_list<setting> settings = {}) {
    return detail::take(try_open(url, settings));
  }
  static outcome<socket> open(std::string_view url, const options& with) {
    return detail::take(try_open(url, with));
  }

  /// Begins to connect, unless it does or is, and waits until it is; 0 does not wait. After
  /// QY_ERR_TIMEOUT the attempts go on.
  result<void> try_connect(std::chrono::milliseconds timeout) const noexcept {
    return status::of(qy_socket_connect(get(), detail::milliseconds(timeout)));
  }
  outcome<void> connect(std::chrono::milliseconds timeout) const {
    return detail::take(try_connect(timeout));
  }

  /// Ends the connection, or the attempts; connect() connects again.
  result<void> try_disconnect(std::uint16_t code = 1000,
                              std::string_view reason = {}) const noexcept {
    const detail::c_string text(reason);
    if (!text.whole()) return text.refusal(QY_ERR_INVALID_ARGUMENT, "reason");
    return status::of(qy_socket_disconnect(get(), code, text.get()));
  }
  outcome<void> disconnect(std::uint16_t code = 1000, std::string_view reason = {}) const {
    return detail::take(try_disconnect(code, reason));
  }

  socket_state state() const noexcept {
    std::int32_t state = QY_SOCKET_CLOSED;
    if (qy_socket_state(get(), &state) != QY_OK) return socket_state::closed;
    return static_cast<socket_state>(state);
  }
  bool is_connected() const noexcept { return state() == socket_state::connected; }

  result<qy_socket_counters> try_counters() const noexcept {
    qy_socket_counters totals{};
    totals.struct_size = sizeof totals;
    const qy_status code = qy_socket_counters_get(get(), &totals);
    if (code != QY_OK) return status::of(code);
    return totals;
  }
  outcome<qy_socket_counters> counters() const { return detail::take(try_counters()); }

  /// Queues a message; QY_ERR_CONNECT while it is not connected.
  result<void> try_send(std::string_view data,
                        message_kind kind = message_kind::text) const noexcept {
    return status::of(
        qy_socket_send(get(), static_cast<std::int32_t>(kind), data.data(), data.size()));
  }
  outcome<void> send(std::string_view data, message_kind kind = message_kind::text) const {
    return detail::take(try_send(data, kind));
  }

  /// Queues a text that must be JSON.
  result<void> try_send_json(std::string_view json) const noexcept {
    return status::of(qy_socket_send_json(get(), json.data(), json.size()));
  }
  outcome<void> send_json(std::string_view json) const { return detail::take(try_send_json(json)); }

  /// Queues a ping with at most 125 bytes.
  result<void> try_ping(std::string_view payload = {}) const noexcept {
    return status::of(qy_socket_ping(get(), payload.data(), payload.size()));
  }
  outcome<void> ping(std::string_view payload = {}) const {
    return detail::take(try_ping(payload));
  }

  /// Waits for one event, then takes up to `max` that wait; empty when `timeout` passed.
  /// QY_ERR_CLOSED after the last one. Only without callbacks.
  result<socket_batch> try_recv(std::size_t max,
                                std::chrono::milliseconds timeout) const noexcept {
    qy_socket_batch* raw = nullptr;
    const qy_status code = qy_socket_recv(get(), max, detail::milliseconds(timeout), &raw);
    socket_batch taken(raw);
    if (code != QY_OK && code != QY_ERR_TIMEOUT) return status::of(code);
    return taken;
  }
  outcome<socket_batch> recv(std::size_t max, std::chrono::milliseconds timeout) const {
    return detail::take(try_recv(max, timeout));
  }

  /// A descriptor that is readable while an event waits or the socket is closed; it belongs to the
  /// socket. Only without callbacks.
  result<int> try_fd() const noexcept {
    int fd = -1;
    const qy_status code = qy_socket_fd(get(), &fd);
    if (code != QY_OK) return status::of(code);
    return fd;
  }
  outcome<int> fd() const { return detail::take(try_fd()); }

  /// Closes it for good without waiting; from anywhere, and again.
  result<void> try_close() const noexcept { return status::of(qy_socket_close(get())); }
  outcome<void> close() const { return detail::take(try_close()); }

  /// Closes it and waits until no callback runs or will run; QY_ERR_WOULD_DEADLOCK inside one.
  result<void> try_close_wait(std::chrono::milliseconds timeout) const noexcept {
    return status::of(qy_socket_close_wait(get(), detail::milliseconds(timeout)));
  }
  outcome<void> close_wait(std::chrono::milliseconds timeout) const {
    return detail::take(try_close_wait(timeout));
  }

  /// The newest failure, empty if there was none.
  std::string last_error() const {
    return detail::text_of([this](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_socket_last_error(get(), buffer, cap, needed);
    });
  }

  /// For calls of qyun.h.
  qy_socket* get() const noexcept { return handle_.get(); }

 private:
  using box = detail::callable<socket_callbacks>;

  explicit socket(bool called) noexcept : called_(called) {}

  static void heard(const qy_socket_event* raw, void* self) {
    const socket_callbacks& calls = static_cast<box*>(self)->fn;
    const socket_event event(*raw);
    using type = socket_event::type;
    detail::guarded([&] {
      switch (event.what()) {
        case type::connected:
          if (calls.connected) calls.connected(event.data());
          break;
        case type::disconnected:
          if (calls.disconnected)
            calls.disconnected({static_cast<std::uint16_t>(event.code()), event.data(),
                                event.will_reconnect()});
          break;
        case type::message:
          if (calls.message) calls.message(event.kind(), event.data());
          break;
        case type::error:
          if (calls.error)
            calls.error(status(event.code(), std::string(event.data())), event.will_reconnect());
          break;
        case type::ping:
          if (calls.ping) calls.ping(event.data());
          break;
        case type::pong:
          if (calls.pong) calls.pong(event.data());
          break;
        case type::closed:
          if (calls.closed) calls.closed(event.data());
          break;
      }
    });
  }

  static result<socket> open_with(std::string_view url, socket_callbacks* calls,
                                  std::initializer_list<setting> settings,
                                  delivery where) noexcept {
    if (settings.size() == 0) {
      return open_with(url, calls, static_cast<const qy_options*>(nullptr), where);
    }
    auto with = options::try_make(options_for::socket, settings);
    return with ? open_with(url, calls, with->get(), where) : result<socket>(with.error());
  }

  static result<socket> open_with(std::string_view url, socket_callbacks* calls,
                                  const qy_options* with, delivery where) noexcept {
    const detail::c_string text(url);
    if (!text.whole()) return text.refusal(QY_ERR_INVALID_URL, "URL");
    socket made(calls != nullptr);
    qy_socket* raw = nullptr;
    qy_status code;
    if (calls) {
      qy_socket_callbacks table{};
      table.struct_size = sizeof table;
      table.connected = table.disconnected = table.message = table.error = table.closed = heard;
      if (calls->ping) table.ping = heard;
      if (calls->pong) table.pong = heard;
      // From the call on it belongs to the library, which drops it once.
      code = qy_socket_open(text.get(), with, static_cast<std::int32_t>(where), &table,
                            new box{std::move(*calls)}, &box::drop, &raw);
    } else {
      code = qy_socket_open(text.get(), with, QY_DELIVER_THREAD, nullptr, nullptr, nullptr, &raw);
    }
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    return made;
  }

  void settle() noexcept {
    if (!handle_) return;
    while (called_ && qy_socket_close_wait(get(), 60'000) == QY_ERR_TIMEOUT) {
    }
    handle_.reset();
  }

  detail::handle<qy_socket, qy_socket_free> handle_;
  bool called_;
};

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_SOCKET_HPP
