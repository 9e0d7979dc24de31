// Qyun (青云) for C++17: one header over qyun.h.
//
//     auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
//     server.create_channel("news");
//     auto client = qyun::client::open(server.address());
//     auto news = client.subscribe("news", [](const qyun::event& event) {
//       if (event.is_message()) std::cout << event.data() << '\n';
//     });
//     server.publish("news", "hello");
//
// Errors. Every operation exists twice: `x()` throws qyun::error, `try_x()` is noexcept and returns
// qyun::result. Without exceptions (-fno-exceptions, or QYUN_NO_EXCEPTIONS defined) `x()` returns
// what `try_x()` returns. Running out of memory in a noexcept function ends the program, as it does
// inside the library.
//
// Threads. Every function of every object may be called from any thread, except moving, assigning
// and destroying it.
//
// Callbacks run on a thread of the library, one at a time and in order per subscription. What a
// callback throws stops there: see set_exception_handler().
#ifndef QYUN_HPP
#define QYUN_HPP

#include "qyun.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(QYUN_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define QYUN_NO_EXCEPTIONS 1
#endif

namespace qyun {

// The two builds have different inline functions; different names keep a program that has both
// kinds of source file within the one-definition rule.
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

// ---- 1. errors --------------------------------------------------------------------------------

namespace detail {

/// Reads a text through a C function of the form (buffer, capacity, needed).
template <class Read>
std::string text_of(Read read) {
  char small[256];
  std::size_t needed = 0;
  const qy_status code = read(small, sizeof small, &needed);
  if (code == QY_OK) return small;
  if (code != QY_ERR_BUFFER_TOO_SMALL || needed == 0) return {};
  std::string large(needed, '\0');
  read(large.data(), large.size(), &needed);
  large.resize(std::strlen(large.c_str()));
  return large;
}

}  // namespace detail

/// How an operation went: a status code of the C ABI, and the library's text when it failed.
class status {
 public:
  /// Success.
  status() noexcept = default;
  status(qy_status code, std::string text) noexcept : code_(code), text_(std::move(text)) {}

  /// `code` with the error text of this thread. Call it right after the C function.
  static status of(qy_status code) noexcept {
    if (code == QY_OK) return {};
    std::string text = detail::text_of(&qy_last_error);
    if (text.empty()) text = qy_status_text(code);
    return {code, std::move(text)};
  }

  bool ok() const noexcept { return code_ == QY_OK; }
  explicit operator bool() const noexcept { return ok(); }
  /// One of the QY_ERR_ constants, or QY_OK.
  qy_status code() const noexcept { return code_; }
  /// The constant's name, such as "QY_ERR_TIMEOUT".
  const char* name() const noexcept { return qy_status_name(code_); }
  /// What failed, with which value, and what to do; empty on success.
  const std::string& text() const noexcept { return text_; }

 private:
  qy_status code_ = QY_OK;
  std::string text_;
};

/// What the throwing functions throw; what() is the library's text.
class error : public std::runtime_error {
 public:
  explicit error(const status& why) : std::runtime_error(why.text()), code_(why.code()) {}
  /// One of the QY_ERR_ constants.
  qy_status code() const noexcept { return code_; }
  /// The constant's name, such as "QY_ERR_TIMEOUT".
  const char* name() const noexcept { return qy_status_name(code_); }

 private:
  qy_status code_;
};

namespace detail {

/// A value was asked of a result that has none.
[[noreturn]] inline void no_value(const status& why) {
#ifdef QYUN_NO_EXCEPTIONS
  std::fprintf(stderr, "qyun: value of a failed result: %s\n", why.text().c_str());
  std::abort();
#else
  throw error(why);
#endif
}

}  // namespace detail

/// A value, or the status that says why there is none.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value) noexcept : value_(std::move(value)) {}
  result(status why) noexcept : status_(std::move(why)) {}

  bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  const status& error() const noexcept { return status_; }
  qy_status code() const noexcept { return status_.code(); }
  const std::string& text() const noexcept { return status_.text(); }

  /// The value; without one it throws qyun::error, or aborts in a build without exceptions.
  T& value() & { return ok() ? *value_ : (detail::no_value(status_), *value_); }
  const T& value() const& { return ok() ? *value_ : (detail::no_value(status_), *value_); }
  T&& value() && { return std::move(value()); }
  /// The value; only when ok().
  T& operator*() & noexcept { return *value_; }
  const T& operator*() const& noexcept { return *value_; }
  T&& operator*() && noexcept { return *std::move(value_); }
  T* operator->() noexcept { return &*value_; }
  const T* operator->() const noexcept { return &*value_; }

 private:
  std::optional<T> value_;
  status status_;
};

/// Success, or the status that says why not.
template <>
class [[nodiscard]] result<void> {
 public:
  result() noexcept = default;
  result(status why) noexcept : status_(std::move(why)) {}

  bool ok() const noexcept { return status_.ok(); }
  explicit operator bool() const noexcept { return ok(); }
  const status& error() const noexcept { return status_; }
  qy_status code() const noexcept { return status_.code(); }
  const std::string& text() const noexcept { return status_.text(); }
  /// Throws qyun::error, or aborts in a build without exceptions, unless ok().
  void value() const {
    if (!ok()) detail::no_value(status_);
  }

 private:
  status status_;
};

/// What the plain functions return: T, or result<T> in a build without exceptions.
#ifdef QYUN_NO_EXCEPTIONS
template <class T>
using outcome = result<T>;
#else
template <class T>
using outcome = T;
#endif

/// Receives what a callback threw, on the thread of the callback, inside its catch block. It must
/// not throw.
using exception_handler = void (*)(std::exception_ptr) noexcept;

namespace detail {

#ifdef QYUN_NO_EXCEPTIONS
template <class T>
result<T> take(result<T>&& r) noexcept {
  return std::move(r);
}
#else
template <class T>
T take(result<T>&& r) {
  return std::move(r).value();
}
inline void take(result<void>&& r) { r.value(); }
#endif

inline std::atomic<exception_handler> handler{nullptr};

/// Calls `fn` and keeps what it throws from crossing the C boundary.
template <class Fn>
void guarded(Fn&& fn) noexcept {
#ifdef QYUN_NO_EXCEPTIONS
  fn();
#else
  try {
    fn();
  } catch (...) {
    if (const exception_handler report = handler.load()) return report(std::current_exception());
    try {
      throw;
    } catch (const std::exception& thrown) {
      std::fprintf(stderr, "qyun: a callback threw: %s\n", thrown.what());
    } catch (...) {
      std::fprintf(stderr, "qyun: a callback threw something that is no std::exception\n");
    }
  }
#endif
}

/// A NUL-terminated copy of a name or host, on the stack when it is short.
class c_string {
 public:
  explicit c_string(std::string_view text) : whole_(text.find('\0') == text.npos) {
    if (text.size() < sizeof small_) {
      if (!text.empty()) std::memcpy(small_, text.data(), text.size());
      small_[text.size()] = '\0';
    } else {
      large_ = text;
    }
  }
  const char* get() const noexcept { return large_.empty() ? small_ : large_.c_str(); }
  /// False if it has a NUL inside, which C would take for its end.
  bool whole() const noexcept { return whole_; }
  status refusal(qy_status code, const char* what) const {
    return {code, std::string(what) + " '" + get() + "...' has a NUL byte inside; leave it out"};
  }

 private:
  char small_[256];
  std::string large_;
  bool whole_;
};

/// Whole milliseconds, rounded up, within what the C functions take.
template <class Rep, class Period>
std::uint32_t milliseconds(std::chrono::duration<Rep, Period> time) noexcept {
  const double ms = std::chrono::duration<double, std::milli>(time).count();
  if (!(ms > 0)) return 0;
  if (ms >= 4294967295.0) return 4294967295u;
  const auto whole = static_cast<std::uint32_t>(ms);
  return whole < ms ? whole + 1 : whole;
}

/// One call that takes a name.
template <class Call>
result<void> named(std::string_view name, Call call) noexcept {
  const c_string text(name);
  if (!text.whole()) return text.refusal(QY_ERR_INVALID_NAME, "name");
  return status::of(call(text.get()));
}

template <auto Free>
struct deleter {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

template <class T, auto Free>
using handle = std::unique_ptr<T, deleter<Free>>;

/// Owns a callable for a C registration of the form (call, user_data, drop).
template <class Fn>
struct callable {
  Fn fn;
  static void drop(void* self) noexcept { delete static_cast<callable*>(self); }
};

}  // namespace detail

/// Who hears of exceptions thrown in callbacks; nullptr is the default: one line on stderr.
inline void set_exception_handler(exception_handler report) noexcept { detail::handler = report; }

/// The version of the library that is loaded, such as "0.1.0".
inline std::string_view version() noexcept { return qy_version(); }

/// Fails unless the loaded library belongs to the header this program was compiled with.
inline result<void> try_abi_check() noexcept { return status::of(qy_abi_check(QY_ABI_VERSION)); }
inline outcome<void> abi_check() { return detail::take(try_abi_check()); }

/// Closes every client, listener and server of the process and joins the library's threads. The
/// objects must still be destroyed; the library can be used again.
inline result<void> try_shutdown(std::chrono::milliseconds timeout) noexcept {
  return status::of(qy_shutdown(detail::milliseconds(timeout)));
}
inline outcome<void> shutdown(std::chrono::milliseconds timeout) {
  return detail::take(try_shutdown(timeout));
}

/// Sends the library's log lines up to `max_level` (QY_LOG_ERROR to QY_LOG_TRACE) to
/// `fn(level, target, message)`, from any thread. Replaces the one before.
template <class Fn>
result<void> try_set_log(std::int32_t max_level, Fn fn) noexcept {
  using box = detail::callable<Fn>;
  const auto call = [](std::int32_t level, const char* target, std::size_t target_len,
                       const char* text, std::size_t len, void* self) {
    detail::guarded([&] {
      static_cast<box*>(self)->fn(level, std::string_view(target, target_len),
                                  std::string_view(text, len));
    });
  };
  return status::of(qy_set_log_callback(max_level, call, new box{std::move(fn)}, &box::drop));
}
template <class Fn>
outcome<void> set_log(std::int32_t max_level, Fn fn) {
  return detail::take(try_set_log(max_level, std::move(fn)));
}
/// Stops the log.
inline result<void> try_clear_log() noexcept {
  return status::of(qy_set_log_callback(0, nullptr, nullptr, nullptr));
}
inline outcome<void> clear_log() { return detail::take(try_clear_log()); }

// ---- 2. options ---------------------------------------------------------------------------------

/// Whether a payload is text (UTF-8) or bytes.
enum class message_kind : std::int32_t { text = QY_TEXT, binary = QY_BINARY };

/// A place in a channel; zeros where it is not known.
struct position {
  std::uint64_t epoch = 0;
  std::uint64_t offset = 0;
};

/// A part of a channel's history to read; as it is made, all of it from the oldest.
struct history_range {
  /// Only publications behind this offset.
  std::uint64_t after = 0;
  /// Only publications in front of this offset; 0 is no such bound.
  std::uint64_t before = 0;
  /// At most so many, 1 to 1,000; 0 is 100.
  std::uint32_t limit = 0;
  /// The newest first.
  bool backward = false;
};
class history;
struct presence;

struct publish_options;
struct publish_result;
struct publish_item;

/// One `key = value`, of text, a number, a bool, or a time (in the unit that ends the key).
struct setting {
  std::string key;
  std::string value;

  setting(std::string_view k, std::string_view v) : key(k), value(v) {}
  setting(std::string_view k, const char* v) : key(k), value(v) {}
  template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
  setting(std::string_view k, T v) : key(k) {
    if constexpr (std::is_same_v<T, bool>) {
      value = v ? "true" : "false";
    } else {
      value = std::to_string(v);
    }
  }
  template <class Rep, class Period>
  setting(std::string_view k, std::chrono::duration<Rep, Period> v) : key(k) {
    using std::chrono::duration_cast;
    const bool micro = k.size() > 3 && k.substr(k.size() - 3) == "_us";
    value = micro ? std::to_string(duration_cast<std::chrono::microseconds>(v).count())
                  : std::to_string(duration_cast<std::chrono::milliseconds>(v).count());
  }
};

/// What options are for.
enum class options_for : std::int32_t {
  server = QY_OPTIONS_SERVER,
  client = QY_OPTIONS_CLIENT,
  endpoint = QY_OPTIONS_ENDPOINT,
  socket = QY_OPTIONS_SOCKET,
  channel = QY_OPTIONS_CHANNEL,
};

/// A knob, as describe_options() lists it. The texts are static.
struct option_info {
  std::string_view key, type, default_value, help, choices;
  std::uint64_t min = 0, max = 0;
};

/// Every knob of a server, a client or a socket.
inline std::vector<option_info> describe_options(options_for kind) {
  const auto view = [](const char* text) { return std::string_view(text ? text : ""); };
  std::vector<option_info> all;
  qy_option_info info{};
  info.struct_size = sizeof info;
  while (qy_options_describe(static_cast<std::int32_t>(kind), all.size(), &info) == QY_OK) {
    all.push_back({view(info.key), view(info.type), view(info.default_value), view(info.help),
                   view(info.choices), info.min, info.max});
  }
  return all;
}

/// A set of options that can be kept and used again; braces of settings do for most programs.
class options {
 public:
  static result<options> try_make(options_for kind,
                                  std::initializer_list<setting> settings = {}) noexcept {
    options made;
    qy_options* raw = nullptr;
    const qy_status code = qy_options_new(static_cast<std::int32_t>(kind), &raw);
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    for (const setting& one : settings) {
      if (auto set = made.try_set(one); !set) return set.error();
    }
    return made;
  }
  static outcome<options> make(options_for kind, std::initializer_list<setting> settings = {}) {
    return detail::take(try_make(kind, settings));
  }

  result<void> try_set(const setting& one) noexcept {
    const detail::c_string key(one.key), value(one.value);
    if (!key.whole()) return key.refusal(QY_ERR_UNKNOWN_OPTION, "option");
    if (!value.whole()) return value.refusal(QY_ERR_INVALID_OPTION, "option value");
    return status::of(qy_options_set(handle_.get(), key.get(), value.get()));
  }
  outcome<void> set(const setting& one) { return detail::take(try_set(one)); }

  const qy_options* get() const noexcept { return handle_.get(); }

 private:
  options() noexcept = default;
  detail::handle<qy_options, qy_options_free> handle_;
};

// ---- 3. server ----------------------------------------------------------------------------------

/// A channel as a server sees it.
struct channel_info {
  std::string name;
  std::uint64_t subscribers = 0;
  position last;
  std::chrono::milliseconds created{};  ///< since the Unix epoch
};

/// A server in this process. Its destructor stops it without a drain.
class server {
 public:
  /// Binds, starts, and returns once connections are accepted.
  static result<server> try_start(const options& with) noexcept {
    server made;
    qy_server* raw = nullptr;
    const qy_status code = qy_server_start(with.get(), &raw);
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    return made;
  }
  static result<server> try_start(std::initializer_list<setting> settings = {}) noexcept {
    auto with = options::try_make(options_for::server, settings);
    return with ? try_start(*with) : result<server>(with.error());
  }
  static outcome<server> start(const options& with) { return detail::take(try_start(with)); }
  static outcome<server> start(std::initializer_list<setting> settings = {}) {
    return detail::take(try_start(settings));
  }

  /// "HOST:PORT" with the real port; empty when it is moved from.
  std::string address() const {
    return detail::text_of([this](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_server_address(get(), buffer, cap, needed);
    });
  }
  /// The real port; 0 when it is moved from.
  std::uint16_t port() const noexcept {
    std::uint16_t port = 0;
    return qy_server_port(get(), &port) == QY_OK ? port : std::uint16_t{0};
  }
  /// The real port of its gRPC; 0 when it has none, or is moved from.
  std::uint16_t grpc_port() const noexcept {
    std::uint16_t port = 0;
    return qy_server_grpc_port(get(), &port) == QY_OK ? port : std::uint16_t{0};
  }

  /// Takes other options over while the server runs: its own, changed, for they are the whole set.
  /// Gives the keys of what needs a restart, separated by ", "; those stay as they are.
  result<std::string> try_reload(const options& with) const noexcept {
    char keys[4096];  // more than all keys together
    const qy_status code = qy_server_reload(get(), with.get(), keys, sizeof keys, nullptr);
    if (code != QY_OK) return status::of(code);
    return std::string(keys);
  }
  outcome<std::string> reload(const options& with) const { return detail::take(try_reload(with)); }

  result<void> try_create_channel(std::string_view name) const noexcept {
    return detail::named(name,
                         [&](const char* n) { return qy_server_create_channel(get(), n); });
  }
  outcome<void> create_channel(std::string_view name) const {
    return detail::take(try_create_channel(name));
  }

  /// Creates a channel with options of its own, made for options_for::channel, in place of its
  /// namespace's.
  result<void> try_create_channel_with(std::string_view name, const options& with) const noexcept {
    return detail::named(name, [&](const char* n) {
      return qy_server_create_channel_with(get(), n, with.get());
    });
  }
  result<void> try_create_channel_with(std::string_view name,
                                       std::initializer_list<setting> settings) const noexcept {
    auto with = options::try_make(options_for::channel, settings);
    return with ? try_create_channel_with(name, *with) : result<void>(with.error());
  }
  outcome<void> create_channel_with(std::string_view name, const options& with) const {
    return detail::take(try_create_channel_with(name, with));
  }
  outcome<void> create_channel_with(std::string_view name,
                                    std::initializer_list<setting> settings) const {
    return detail::take(try_create_channel_with(name, settings));
  }

  /// Its listeners are closed after the last message before the deletion.
  result<void> try_delete_channel(std::string_view name) const noexcept {
    return detail::named(name,
                         [&](const char* n) { return qy_server_delete_channel(get(), n); });
  }
  outcome<void> delete_channel(std::string_view name) const {
    return detail::take(try_delete_channel(name));
  }

  result<channel_info> try_channel(std::string_view name) const noexcept {
    qy_channel_info raw{};
    raw.struct_size = sizeof raw;
    auto done = detail::named(
        name, [&](const char* n) { return qy_server_channel_info(get(), n, &raw); });
    return done ? result<channel_info>(copy(raw, name)) : result<channel_info>(done.error());
  }
  outcome<channel_info> channel(std::string_view name) const {
    return detail::take(try_channel(name));
  }

  result<std::vector<channel_info>> try_channels() const noexcept {
    std::vector<channel_info> all;
    const auto visit = [](const qy_channel_info* raw, void* list) {
      detail::guarded([&] {
        static_cast<std::vector<channel_info>*>(list)->push_back(
            copy(*raw, std::string_view(raw->name, raw->name_len)));
      });
    };
    const qy_status code = qy_server_list_channels(get(), visit, &all);
    if (code != QY_OK) return status::of(code);
    return all;
  }
  outcome<std::vector<channel_info>> channels() const { return detail::take(try_channels()); }

  /// Broadcasts without the network, on this thread. Waits for no subscriber, but in channels with
  /// `overload=hold`, and for no disk, but in those with a `durability` that asks for it.
  result<position> try_publish(std::string_view channel, std::string_view data,
                               message_kind kind = message_kind::text) const noexcept {
    qy_position at{};
    at.struct_size = sizeof at;
    auto done = detail::named(channel, [&](const char* n) {
      return qy_server_publish(get(), n, static_cast<std::int32_t>(kind), data.data(),
                               data.size(), &at);
    });
    return done ? result<position>({at.epoch, at.offset}) : result<position>(done.error());
  }
  outcome<position> publish(std::string_view channel, std::string_view data,
                            message_kind kind = message_kind::text) const {
    return detail::take(try_publish(channel, data, kind));
  }

  /// The same with a key, a wish for counts and more; tells what became of the message.
  result<publish_result> try_publish_with(std::string_view channel, std::string_view data,
                                          const publish_options& options,
                                          message_kind kind = message_kind::text) const noexcept;
  outcome<publish_result> publish_with(std::string_view channel, std::string_view data,
                                       const publish_options& options,
                                       message_kind kind = message_kind::text) const;
  /// Broadcasts many messages, those to one channel one behind the other, and tells what became of
  /// each. One that fails keeps no other back.
  result<std::vector<result<publish_result>>> try_publish_batch(
      const std::vector<publish_item>& items) const noexcept;
  outcome<std::vector<result<publish_result>>> publish_batch(
      const std::vector<publish_item>& items) const;

  /// A page of a channel's history.
  result<qyun::history> try_history(std::string_view channel,
                                    const history_range& range = {}) const noexcept;
  outcome<qyun::history> history(std::string_view channel, const history_range& range = {}) const;

  /// Who is in a channel with the option `presence`: at most `limit` (1 to 1,000; 0 is 100) of those
  /// whose ids sort behind `after`.
  result<qyun::presence> try_presence(std::string_view channel, std::string_view after = {},
                                      std::uint32_t limit = 0) const noexcept;
  outcome<qyun::presence> presence(std::string_view channel, std::string_view after = {},
                                   std::uint32_t limit = 0) const;

  result<qy_server_counters> try_counters() const noexcept {
    qy_server_counters totals{};
    totals.struct_size = sizeof totals;
    const qy_status code = qy_server_counters_get(get(), &totals);
    if (code != QY_OK) return status::of(code);
    return totals;
  }
  outcome<qy_server_counters> counters() const { return detail::take(try_counters()); }

  /// Sends what is queued and a Close to every client and waits up to `drain` for them to go. True
  /// if all went by themselves. Harmless when called again.
  result<bool> try_stop(std::chrono::milliseconds drain) const noexcept {
    const qy_status code = qy_server_stop(get(), detail::milliseconds(drain));
    if (code == QY_OK || code == QY_ERR_TIMEOUT) return code == QY_OK;
    return status::of(code);
  }
  outcome<bool> stop(std::chrono::milliseconds drain) const {
    return detail::take(try_stop(drain));
  }

  /// The newest failure of this server, empty if there was none.
  std::string last_error() const {
    return detail::text_of([this](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_server_last_error(get(), buffer, cap, needed);
    });
  }

  /// For calls of qyun.h.
  qy_server* get() const noexcept { return handle_.get(); }

 private:
  server() noexcept = default;
  static channel_info copy(const qy_channel_info& raw, std::string_view name) {
    return {std::string(name), raw.subscribers, {raw.epoch, raw.offset},
            std::chrono::milliseconds(raw.created_ms)};
  }
  detail::handle<qy_server, qy_server_free> handle_;
};

// ---- 4. client ----------------------------------------------------------------------------------

enum class event_type : std::int32_t {
  connected = QY_EVENT_CONNECTED,  ///< live, for the first time or again
  message = QY_EVENT_MESSAGE,
  closed = QY_EVENT_CLOSED,  ///< the last event; data() says why
  error = QY_EVENT_ERROR,    ///< the connection was lost and is tried again; data() says why
  join = QY_EVENT_JOIN,      ///< somebody came, or was there; data() is the connection's id
  leave = QY_EVENT_LEAVE,    ///< somebody went; data() is the connection's id
};

/// A view of what a subscription tells; it lasts as long as the callback runs or its batch lives.
class event {
 public:
  explicit event(const qy_event& raw) noexcept : raw_(&raw) {}
  event_type type() const noexcept { return static_cast<event_type>(raw_->event); }
  bool is_message() const noexcept { return raw_->event == QY_EVENT_MESSAGE; }
  message_kind kind() const noexcept { return static_cast<message_kind>(raw_->kind); }
  std::string_view channel() const noexcept { return {raw_->channel, raw_->channel_len}; }
  std::string_view data() const noexcept {
    return {static_cast<const char*>(raw_->data), raw_->len};
  }
  /// Of a message its place; of event_type::connected the place behind which what follows begins.
  position at() const noexcept { return {raw_->epoch, raw_->offset}; }
  /// Of event_type::connected, when the subscription continues from a position: whether nothing was
  /// missed since. Nothing otherwise.
  std::optional<bool> recovered() const noexcept {
    constexpr std::size_t end = offsetof(qy_event, recovered) + sizeof raw_->recovered;
    if (raw_->struct_size < end || raw_->recovered < 0) return std::nullopt;
    return raw_->recovered != 0;
  }
  /// Of event_type::join and leave: the user that the connection is bound to, if it is.
  std::optional<std::string_view> user() const noexcept {
    if (!tells_who() || !raw_->user) return std::nullopt;
    return std::string_view(raw_->user, raw_->user_len);
  }
  /// Of event_type::join and leave: whether the user has no other connection there; true without a
  /// user.
  bool edge() const noexcept { return tells_who() && raw_->edge != 0; }
  /// Of event_type::join and leave: when, since the Unix epoch; of one that was there before, when it
  /// connected; 0 of one that went while the client was not connected.
  std::chrono::milliseconds time() const noexcept {
    return std::chrono::milliseconds(tells_who() ? raw_->time_ms : 0);
  }

 private:
  bool tells_who() const noexcept {
    return raw_->struct_size >= offsetof(qy_event, time_ms) + sizeof raw_->time_ms;
  }
  const qy_event* raw_;
};

/// A message of one's own.
struct message {
  std::string channel;
  std::string data;
  message_kind kind = message_kind::text;
  position at;

  explicit message(const event& from)
      : channel(from.channel()), data(from.data()), kind(from.kind()), at(from.at()) {}
};

/// Events taken together; a range of `event`.
class batch {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = event;

    event operator*() const noexcept { return event(*reinterpret_cast<const qy_event*>(at_)); }
    iterator& operator++() noexcept {
      at_ += stride_;
      return *this;
    }
    iterator operator++(int) noexcept {
      iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const iterator& other) const noexcept { return at_ == other.at_; }
    bool operator!=(const iterator& other) const noexcept { return at_ != other.at_; }

   private:
    friend class batch;
    iterator(const char* at, std::size_t stride) noexcept : at_(at), stride_(stride) {}
    const char* at_;
    std::size_t stride_;
  };

  batch() noexcept = default;
  explicit batch(qy_batch* raw) noexcept : handle_(raw) {}

  std::size_t size() const noexcept { return handle_ ? qy_batch_count(get()) : 0; }
  bool empty() const noexcept { return size() == 0; }
  iterator begin() const noexcept { return at(0); }
  iterator end() const noexcept { return at(size()); }
  const qy_batch* get() const noexcept { return handle_.get(); }

 private:
  // A newer library may have a longer qy_event: its struct_size is the distance to the next.
  iterator at(std::size_t index) const noexcept {
    const qy_event* first = handle_ ? qy_batch_events(get()) : nullptr;
    if (!first) return {nullptr, 0};
    const std::size_t stride = first->struct_size;
    return {reinterpret_cast<const char*>(first) + index * stride, stride};
  }
  detail::handle<qy_batch, qy_batch_free> handle_;
};

/// Where callbacks run.
enum class delivery : std::int32_t {
  thread = QY_DELIVER_THREAD,  ///< on a delivery thread: a slow callback delays nobody else
  inlined = QY_DELIVER_INLINE  ///< on the I/O thread: lowest latency, must not block
};

/// A subscription. Its destructor closes it and, if it has a callback, waits for a call that runs
/// (except inside that very call): what the callback refers to may go after that.
class subscription {
 public:
  subscription(subscription&&) noexcept = default;
  subscription& operator=(subscription&& other) noexcept {
    if (this != &other) {
      settle();
      handle_ = std::move(other.handle_);
      called_ = other.called_;
    }
    return *this;
  }
  ~subscription() { settle(); }

  /// The next message, passing over other events; none when `timeout` passed. QY_ERR_CLOSED after
  /// the last one. Only without a callback.
  result<std::optional<message>> try_recv(std::chrono::milliseconds timeout) const noexcept {
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    for (auto left = timeout;;) {
      qy_batch* raw = nullptr;
      const qy_status code = qy_subscription_recv(get(), detail::milliseconds(left), &raw);
      const batch one(raw);
      if (code == QY_ERR_TIMEOUT) return std::optional<message>();
      if (code != QY_OK) return status::of(code);
      for (const event got : one) {
        if (got.is_message()) return std::optional<message>(message(got));
      }
      const auto gone = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - start);
      left = gone < timeout ? timeout - gone : std::chrono::milliseconds(0);
    }
  }
  outcome<std::optional<message>> recv(std::chrono::milliseconds timeout) const {
    return detail::take(try_recv(timeout));
  }

  /// Waits for one event, then takes up to `max` that wait; empty when `timeout` passed.
  /// QY_ERR_CLOSED after the last one. Only without a callback.
  result<batch> try_recv_many(std::size_t max, std::chrono::milliseconds timeout) const noexcept {
    qy_batch* raw = nullptr;
    const qy_status code =
        qy_subscription_recv_many(get(), max, detail::milliseconds(timeout), &raw);
    batch taken(raw);
    if (code != QY_OK && code != QY_ERR_TIMEOUT) return status::of(code);
    return taken;
  }
  outcome<batch> recv_many(std::size_t max, std::chrono::milliseconds timeout) const {
    return detail::take(try_recv_many(max, timeout));
  }

  /// A descriptor that is readable while an event waits or the subscription has ended; it belongs
  /// to the subscription. For epoll and its kin.
  result<int> try_fd() const noexcept {
    int fd = -1;
    const qy_status code = qy_subscription_fd(get(), &fd);
    if (code != QY_OK) return status::of(code);
    return fd;
  }
  outcome<int> fd() const { return detail::take(try_fd()); }

  /// Messages dropped because the queue was full.
  std::uint64_t dropped() const noexcept {
    std::uint64_t count = 0;
    return qy_subscription_dropped(get(), &count) == QY_OK ? count : 0;
  }

  /// Ends it without waiting; from anywhere, and again.
  result<void> try_close() const noexcept { return status::of(qy_subscription_close(get())); }
  outcome<void> close() const { return detail::take(try_close()); }

  /// Ends it and waits until no callback runs or will run; QY_ERR_WOULD_DEADLOCK inside it.
  result<void> try_close_wait(std::chrono::milliseconds timeout) const noexcept {
    return status::of(qy_subscription_close_wait(get(), detail::milliseconds(timeout)));
  }
  outcome<void> close_wait(std::chrono::milliseconds timeout) const {
    return detail::take(try_close_wait(timeout));
  }

  /// For calls of qyun.h.
  qy_subscription* get() const noexcept { return handle_.get(); }

 private:
  friend class client;
  explicit subscription(bool called) noexcept : called_(called) {}
  void settle() noexcept {
    if (!handle_) return;
    while (called_ && qy_subscription_close_wait(get(), 60'000) == QY_ERR_TIMEOUT) {
    }
    handle_.reset();
  }
  detail::handle<qy_subscription, qy_subscription_free> handle_;
  bool called_;
};

enum class client_state : std::int32_t {
  connecting = QY_CLIENT_CONNECTING,
  connected = QY_CLIENT_CONNECTED,
  closed = QY_CLIENT_CLOSED,
};

/// A handle on a server: one connection, many subscriptions; it connects again by itself.
class client {
 public:
  /// `host` is HOST:PORT or an http, https, ws or wss URL. Begins to connect and does not wait.
  static result<client> try_open(std::string_view host, const options& with) noexcept {
    return try_open(host, with.get());
  }
  static result<client> try_open(std::string_view host,
                                 std::initializer_list<setting> settings = {}) noexcept {
    if (settings.size() == 0) return try_open(host, static_cast<const qy_options*>(nullptr));
    auto with = options::try_make(options_for::client, settings);
    return with ? try_open(host, *with) : result<client>(with.error());
  }
  static outcome<client> open(std::string_view host, const options& with) {
    return detail::take(try_open(host, with));
  }
  static outcome<client> open(std::string_view host,
                              std::initializer_list<setting> settings = {}) {
    return detail::take(try_open(host, settings));
  }

  result<void> try_wait_connected(std::chrono::milliseconds timeout) const noexcept {
    return status::of(qy_client_wait_connected(get(), detail::milliseconds(timeout)));
  }
  outcome<void> wait_connected(std::chrono::milliseconds timeout) const {
    return detail::take(try_wait_connected(timeout));
  }

  client_state state() const noexcept {
    std::int32_t state = QY_CLIENT_CLOSED;
    if (qy_client_state(get(), &state) != QY_OK) return client_state::closed;
    return static_cast<client_state>(state);
  }

  result<qy_client_counters> try_counters() const noexcept {
    qy_client_counters totals{};
    totals.struct_size = sizeof totals;
    const qy_status code = qy_client_counters_get(get(), &totals);
    if (code != QY_OK) return status::of(code);
    return totals;
  }
  outcome<qy_client_counters> counters() const { return detail::take(try_counters()); }

  result<void> try_create_channel(std::string_view name) const noexcept {
    return detail::named(name,
                         [&](const char* n) { return qy_client_create_channel(get(), n); });
  }
  outcome<void> create_channel(std::string_view name) const {
    return detail::take(try_create_channel(name));
  }

  /// Creates a channel with options of its own in place of its namespace's. `token` is the
  /// `admin_token` of the server, or empty where it has none and is on this machine.
  result<void> try_create_channel_with(std::string_view name, const options& with,
                                       std::string_view token = {}) const noexcept {
    const detail::c_string secret(token);
    if (!secret.whole()) return secret.refusal(QY_ERR_INVALID_ARGUMENT, "token");
    return detail::named(name, [&](const char* n) {
      return qy_client_create_channel_with(get(), n, with.get(), secret.get());
    });
  }
  result<void> try_create_channel_with(std::string_view name,
                                       std::initializer_list<setting> settings,
                                       std::string_view token = {}) const noexcept {
    auto with = options::try_make(options_for::channel, settings);
    return with ? try_create_channel_with(name, *with, token) : result<void>(with.error());
  }
  outcome<void> create_channel_with(std::string_view name, const options& with,
                                    std::string_view token = {}) const {
    return detail::take(try_create_channel_with(name, with, token));
  }
  outcome<void> create_channel_with(std::string_view name, std::initializer_list<setting> settings,
                                    std::string_view token = {}) const {
    return detail::take(try_create_channel_with(name, settings, token));
  }

  result<void> try_delete_channel(std::string_view name) const noexcept {
    return detail::named(name,
                         [&](const char* n) { return qy_client_delete_channel(get(), n); });
  }
  outcome<void> delete_channel(std::string_view name) const {
    return detail::take(try_delete_channel(name));
  }

  /// Publishes and waits for the server's acknowledgement, at most the request timeout.
  result<position> try_publish(std::string_view channel, std::string_view data,
                               message_kind kind = message_kind::text) const noexcept {
    qy_position at{};
    at.struct_size = sizeof at;
    auto done = detail::named(channel, [&](const char* n) {
      return qy_client_publish(get(), n, static_cast<std::int32_t>(kind), data.data(),
                               data.size(), &at);
    });
    return done ? result<position>({at.epoch, at.offset}) : result<position>(done.error());
  }
  outcome<position> publish(std::string_view channel, std::string_view data,
                            message_kind kind = message_kind::text) const {
    return detail::take(try_publish(channel, data, kind));
  }

  /// The same with a key, a wish for counts and more; tells what became of the message.
  result<publish_result> try_publish_with(std::string_view channel, std::string_view data,
                                          const publish_options& options,
                                          message_kind kind = message_kind::text) const noexcept;
  outcome<publish_result> publish_with(std::string_view channel, std::string_view data,
                                       const publish_options& options,
                                       message_kind kind = message_kind::text) const;
  /// Publishes many messages in one HTTP request and tells what became of each. One that fails keeps
  /// no other back.
  result<std::vector<result<publish_result>>> try_publish_batch(
      const std::vector<publish_item>& items) const noexcept;
  outcome<std::vector<result<publish_result>>> publish_batch(
      const std::vector<publish_item>& items) const;

  /// Queues a publication and returns; QY_ERR_QUEUE_FULL when the send queue is full.
  result<void> try_publish_nowait(std::string_view channel, std::string_view data,
                                  message_kind kind = message_kind::text) const noexcept {
    return detail::named(channel, [&](const char* n) {
      return qy_client_publish_nowait(get(), n, static_cast<std::int32_t>(kind), data.data(),
                                      data.size());
    });
  }
  outcome<void> publish_nowait(std::string_view channel, std::string_view data,
                               message_kind kind = message_kind::text) const {
    return detail::take(try_publish_nowait(channel, data, kind));
  }

  /// A page of a channel's history, over HTTP.
  result<qyun::history> try_history(std::string_view channel,
                                    const history_range& range = {}) const noexcept;
  outcome<qyun::history> history(std::string_view channel, const history_range& range = {}) const;

  /// Who is in a channel with the option `presence`, over HTTP: at most `limit` (1 to 1,000; 0 is
  /// 100) of those whose ids sort behind `after`.
  result<qyun::presence> try_presence(std::string_view channel, std::string_view after = {},
                                      std::uint32_t limit = 0) const noexcept;
  outcome<qyun::presence> presence(std::string_view channel, std::string_view after = {},
                                   std::uint32_t limit = 0) const;

  /// Subscribes and returns once it is live; take events with recv(), recv_many() or fd().
  result<subscription> try_subscribe(std::string_view channel) const noexcept {
    return subscribe_with(channel, delivery::thread, nullptr, nullptr, nullptr);
  }
  outcome<subscription> subscribe(std::string_view channel) const {
    return detail::take(try_subscribe(channel));
  }

  /// Subscribes and returns once it is live; `fn(const event&)` is called for each event and
  /// destroyed after its last call.
  template <class Fn>
  result<subscription> try_subscribe(std::string_view channel, Fn fn,
                                     delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const event&>,
                  "the callback takes one const qyun::event&");
    using box = detail::callable<Fn>;
    const auto call = [](const qy_event* raw, void* self) {
      detail::guarded([&] { static_cast<box*>(self)->fn(event(*raw)); });
    };
    return subscribe_with(channel, where, call, new box{std::move(fn)}, &box::drop);
  }
  template <class Fn>
  outcome<subscription> subscribe(std::string_view channel, Fn fn,
                                  delivery where = delivery::thread) const {
    return detail::take(try_subscribe(channel, std::move(fn), where));
  }

  /// Subscribes as above, and first brings what was published behind `since`, the position of the
  /// last message that the program has; event::recovered() of the first event says whether it could.
  result<subscription> try_subscribe_since(std::string_view channel,
                                           position since) const noexcept {
    return subscribe_with(channel, delivery::thread, nullptr, nullptr, nullptr, &since);
  }
  outcome<subscription> subscribe_since(std::string_view channel, position since) const {
    return detail::take(try_subscribe_since(channel, since));
  }
  template <class Fn>
  result<subscription> try_subscribe_since(std::string_view channel, position since, Fn fn,
                                           delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const event&>,
                  "the callback takes one const qyun::event&");
    using box = detail::callable<Fn>;
    const auto call = [](const qy_event* raw, void* self) {
      detail::guarded([&] { static_cast<box*>(self)->fn(event(*raw)); });
    };
    return subscribe_with(channel, where, call, new box{std::move(fn)}, &box::drop, &since);
  }
  template <class Fn>
  outcome<subscription> subscribe_since(std::string_view channel, position since, Fn fn,
                                        delivery where = delivery::thread) const {
    return detail::take(try_subscribe_since(channel, since, std::move(fn), where));
  }

  /// Subscribes to all channels that a pattern matches (`news.*`, `news.>`), also those that are
  /// created later; event::channel() says which one.
  result<subscription> try_subscribe_pattern(std::string_view pattern) const noexcept {
    return subscribe_as(qy_client_subscribe_pattern, pattern, delivery::thread, nullptr, nullptr,
                        nullptr);
  }
  outcome<subscription> subscribe_pattern(std::string_view pattern) const {
    return detail::take(try_subscribe_pattern(pattern));
  }
  template <class Fn>
  result<subscription> try_subscribe_pattern(std::string_view pattern, Fn fn,
                                            delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const event&>,
                  "the callback takes one const qyun::event&");
    using box = detail::callable<Fn>;
    const auto call = [](const qy_event* raw, void* self) {
      detail::guarded([&] { static_cast<box*>(self)->fn(event(*raw)); });
    };
    return subscribe_as(qy_client_subscribe_pattern, pattern, where, call, new box{std::move(fn)},
                        &box::drop);
  }
  template <class Fn>
  outcome<subscription> subscribe_pattern(std::string_view pattern, Fn fn,
                                         delivery where = delivery::thread) const {
    return detail::take(try_subscribe_pattern(pattern, std::move(fn), where));
  }

  /// Subscribes to a channel with the option `presence`, and is told who is there, who comes and who
  /// goes, between the messages: event_type::join and leave.
  result<subscription> try_subscribe_presence(std::string_view channel) const noexcept {
    return subscribe_as(qy_client_subscribe_presence, channel, delivery::thread, nullptr, nullptr,
                        nullptr);
  }
  outcome<subscription> subscribe_presence(std::string_view channel) const {
    return detail::take(try_subscribe_presence(channel));
  }
  template <class Fn>
  result<subscription> try_subscribe_presence(std::string_view channel, Fn fn,
                                            delivery where = delivery::thread) const noexcept {
    static_assert(std::is_invocable_v<Fn&, const event&>,
                  "the callback takes one const qyun::event&");
    using box = detail::callable<Fn>;
    const auto call = [](const qy_event* raw, void* self) {
      detail::guarded([&] { static_cast<box*>(self)->fn(event(*raw)); });
    };
    return subscribe_as(qy_client_subscribe_presence, channel, where, call, new box{std::move(fn)},
                        &box::drop);
  }
  template <class Fn>
  outcome<subscription> subscribe_presence(std::string_view channel, Fn fn,
                                         delivery where = delivery::thread) const {
    return detail::take(try_subscribe_presence(channel, std::move(fn), where));
  }

  /// Closes it and its subscriptions; never waits; from anywhere, and again.
  result<void> try_close() const noexcept { return status::of(qy_client_close(get())); }
  outcome<void> close() const { return detail::take(try_close()); }

  /// The newest failure of the background work, empty if there was none.
  std::string last_error() const {
    return detail::text_of([this](char* buffer, std::size_t cap, std::size_t* needed) {
      return qy_client_last_error(get(), buffer, cap, needed);
    });
  }

  /// For calls of qyun.h.
  qy_client* get() const noexcept { return handle_.get(); }

 private:
  client() noexcept = default;

  static result<client> try_open(std::string_view host, const qy_options* with) noexcept {
    const detail::c_string text(host);
    if (!text.whole()) return text.refusal(QY_ERR_INVALID_URL, "host");
    client made;
    qy_client* raw = nullptr;
    const qy_status code = qy_client_open(text.get(), with, &raw);
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    return made;
  }

  // From the call of the C function on, `data` belongs to the library, which drops it once.
  template <class Subscribe>
  result<subscription> subscribe_as(Subscribe begin, std::string_view what, delivery where,
                                    qy_event_callback call, void* data,
                                    qy_drop_callback drop) const noexcept {
    const detail::c_string text(what);
    if (!text.whole()) {
      if (drop) drop(data);
      return text.refusal(QY_ERR_INVALID_NAME, "name");
    }
    subscription made(call != nullptr);
    qy_subscription* raw = nullptr;
    const auto how = static_cast<std::int32_t>(where);
    const qy_status code = begin(get(), text.get(), how, call, data, drop, &raw);
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    return made;
  }

  result<subscription> subscribe_with(std::string_view channel, delivery where,
                                      qy_event_callback call, void* data, qy_drop_callback drop,
                                      const position* since = nullptr) const noexcept {
    const detail::c_string text(channel);
    if (!text.whole()) {
      if (drop) drop(data);
      return text.refusal(QY_ERR_INVALID_NAME, "name");
    }
    subscription made(call != nullptr);
    qy_subscription* raw = nullptr;
    const auto how = static_cast<std::int32_t>(where);
    qy_position from{};
    from.struct_size = sizeof from;
    if (since) from.epoch = since->epoch, from.offset = since->offset;
    const qy_status code =
        since ? qy_client_subscribe_since(get(), text.get(), &from, how, call, data, drop, &raw)
              : qy_client_subscribe(get(), text.get(), how, call, data, drop, &raw);
    made.handle_.reset(raw);
    if (code != QY_OK) return status::of(code);
    return made;
  }

  detail::handle<qy_client, qy_client_free> handle_;
};

// ---- 5. one call is enough ----------------------------------------------------------------------

/// Calls without an object; connections to a host are kept between them.
namespace oneshot {

namespace detail {
using namespace qyun::detail;

template <class Call>
result<void> at(std::string_view host, std::string_view channel, Call call) noexcept {
  const c_string where(host);
  if (!where.whole()) return where.refusal(QY_ERR_INVALID_URL, "host");
  return named(channel, [&](const char* name) { return call(where.get(), name); });
}

/// The library has no drop callback here: QY_EVENT_CLOSED is the last call.
template <class Fn>
void heard(std::int32_t type, const char* data, std::size_t len, void* self) {
  auto* box = static_cast<callable<Fn>*>(self);
  guarded([&] { box->fn(static_cast<event_type>(type), std::string_view(data, len)); });
  if (type == QY_EVENT_CLOSED) delete box;
}

}  // namespace detail

inline result<void> try_create_channel(std::string_view host, std::string_view name) noexcept {
  return detail::at(host, name, &qy_create_channel);
}
inline outcome<void> create_channel(std::string_view host, std::string_view name) {
  return detail::take(try_create_channel(host, name));
}

/// Sends a text. It cannot have a NUL inside: client::publish can.
inline result<void> try_send_message(std::string_view host, std::string_view channel,
                                     std::string_view message) noexcept {
  const detail::c_string text(message);
  if (!text.whole()) {
    return status(QY_ERR_INVALID_ARGUMENT,
                  "a message with a NUL byte inside cannot go by send_message; publish it with a "
                  "client");
  }
  return detail::at(host, channel, [&](const char* where, const char* name) {
    return qy_send_message(where, name, text.get());
  });
}
inline outcome<void> send_message(std::string_view host, std::string_view channel,
                                  std::string_view message) {
  return detail::take(try_send_message(host, channel, message));
}

/// Calls `fn(event_type, std::string_view data)` for each event until stop_listening() or
/// shutdown(); returns once the subscription is live.
template <class Fn>
result<void> try_listen_channel(std::string_view host, std::string_view channel, Fn fn) noexcept {
  static_assert(std::is_invocable_v<Fn&, event_type, std::string_view>,
                "the callback takes qyun::event_type and std::string_view");
  auto* box = new detail::callable<Fn>{std::move(fn)};
  auto done = detail::at(host, channel, [&](const char* where, const char* name) {
    return qy_listen_channel(where, name, &detail::heard<Fn>, box);
  });
  if (!done) delete box;
  return done;
}
template <class Fn>
outcome<void> listen_channel(std::string_view host, std::string_view channel, Fn fn) {
  return detail::take(try_listen_channel(host, channel, std::move(fn)));
}

/// Ends every listener of this host and channel and waits for their callbacks.
inline result<void> try_stop_listening(std::string_view host, std::string_view channel) noexcept {
  return detail::at(host, channel, &qy_stop_listening);
}
inline outcome<void> stop_listening(std::string_view host, std::string_view channel) {
  return detail::take(try_stop_listening(host, channel));
}

}  // namespace oneshot

}  // inline namespace
}  // namespace qyun

#include "qyun_history.hpp"
#include "qyun_presence.hpp"
#include "qyun_host.hpp"
#include "qyun_packet.hpp"
#include "qyun_packet_client.hpp"
#include "qyun_publish.hpp"
#include "qyun_rpc.hpp"
#include "qyun_socket.hpp"

#endif  // QYUN_HPP
