// Five free functions: a program written against these names needs only this include.
//
//     regist_websocket_callback([](const std::string& message) { std::cout << message << '\n'; });
//     create_channel("localhost:8000", "test");   // false if it exists already
//     listen_channel("localhost:8000", "test");   // 0, or -1
//     send_message("localhost:8000", "test", "hello");
//
// They live in qyun::compat and are global too; define QYUN_COMPAT_NO_GLOBAL before the include to
// keep them in their namespace. None of them throws. qyun::compat::last_error() says why the last
// one of this thread failed. The host is HOST:PORT or a URL.
#ifndef QYUN_COMPAT_HPP
#define QYUN_COMPAT_HPP

#include "qyun.hpp"

#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif
namespace compat {
namespace detail {

using callback = std::function<void(const std::string&)>;

/// What the functions share. Never destroyed: a message may arrive while the program ends.
struct state {
  std::mutex lock;
  std::shared_ptr<const callback> listener;
  /// The kept WebSocket connection of each host.
  std::map<std::string, std::shared_ptr<const client>> clients;

  static state& get() {
    static state* one = new state;
    return *one;
  }
};

inline std::string& error_text() {
  static thread_local std::string text;
  return text;
}

template <class T>
bool note(const result<T>& done) {
  error_text() = done.text();
  return done.ok();
}

/// The kept client of `host`; a new one when there is none, or it is `stale`.
inline result<std::shared_ptr<const client>> client_of(const std::string& host,
                                                       const client* stale) {
  std::shared_ptr<const client> old;  // destroyed after the lock is released
  state& shared = state::get();
  const std::lock_guard<std::mutex> held(shared.lock);
  auto& slot = shared.clients[host];
  if (!slot || slot.get() == stale) {
    auto opened = client::try_open(host);
    if (!opened) return opened.error();
    old = std::exchange(slot, std::make_shared<const client>(*std::move(opened)));
  }
  return slot;
}

}  // namespace detail

/// Creates a channel. False if it exists already or the server cannot be asked.
inline bool create_channel(const std::string& host, const std::string& name) {
  return detail::note(oneshot::try_create_channel(host, name));
}

/// Broadcasts a text over a kept HTTP connection.
inline bool send_message(const std::string& host, const std::string& channel,
                         const std::string& message) {
  return detail::note(oneshot::try_send_message(host, channel, message));
}

/// Broadcasts a text over one kept WebSocket connection per host; true once the server has it.
inline bool send_message_ws(const std::string& host, const std::string& channel,
                            const std::string& message) {
  auto kept = detail::client_of(host, nullptr);
  if (!kept) return detail::note(kept);
  auto done = (*kept)->try_publish(channel, message);
  // Closed by a shutdown() or left behind by a fork: nothing was sent, a new connection can.
  if (done.code() == QY_ERR_CLOSED || done.code() == QY_ERR_FORKED) {
    kept = detail::client_of(host, kept->get());
    if (!kept) return detail::note(kept);
    done = (*kept)->try_publish(channel, message);
  }
  return detail::note(done);
}

/// Chooses who gets the messages of all listeners: any callable that takes a std::string, or
/// (const char*, size_t). It replaces the one before and is called on a thread of each listener,
/// in order per listener.
template <class Fn>
void regist_websocket_callback(Fn fn) {
  std::shared_ptr<const detail::callback> made;
  if constexpr (std::is_invocable_v<Fn&, const std::string&>) {
    made = std::make_shared<const detail::callback>(std::move(fn));
  } else {
    static_assert(std::is_invocable_v<Fn&, const char*, std::size_t>,
                  "the callback takes a std::string, or (const char*, size_t)");
    made = std::make_shared<const detail::callback>(
        [fn = std::move(fn)](const std::string& m) mutable { fn(m.data(), m.size()); });
  }
  detail::state& shared = detail::state::get();
  const std::lock_guard<std::mutex> held(shared.lock);
  shared.listener.swap(made);
}

/// Listens until the program ends, stop_listening() or qyun::shutdown(): 0 once the subscription
/// is live, -1 if it cannot be made.
inline int listen_channel(const std::string& host, const std::string& channel) {
  const auto hear = [](event_type type, std::string_view data) {
    if (type != event_type::message) return;
    std::shared_ptr<const detail::callback> listener;
    {
      detail::state& shared = detail::state::get();
      const std::lock_guard<std::mutex> held(shared.lock);
      listener = shared.listener;
    }
    if (listener && *listener) (*listener)(std::string(data));
  };
  return detail::note(oneshot::try_listen_channel(host, channel, hear)) ? 0 : -1;
}

/// Ends every listener of this host and channel.
inline bool stop_listening(const std::string& host, const std::string& channel) {
  return detail::note(oneshot::try_stop_listening(host, channel));
}

/// Why the last of these functions failed on this thread; empty if it did not.
inline const std::string& last_error() { return detail::error_text(); }

}  // namespace compat
}  // inline namespace
}  // namespace qyun

#ifndef QYUN_COMPAT_NO_GLOBAL
using qyun::compat::create_channel;
using qyun::compat::listen_channel;
using qyun::compat::regist_websocket_callback;
using qyun::compat::send_message;
using qyun::compat::send_message_ws;
#endif

#endif  // QYUN_COMPAT_HPP
