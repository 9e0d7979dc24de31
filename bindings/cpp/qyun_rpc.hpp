// Qyun (青云) for C++17: methods that clients of the session dialect call. Included by qyun.hpp.
//
//     auto server = qyun::server::start();
//     qyun::on_rpc(server, "hello", [](const qyun::rpc_call& call) {
//       return "{\"you said\":" + std::string(call.params()) + "}";  // JSON in, JSON out
//     });
#ifndef QYUN_RPC_HPP
#define QYUN_RPC_HPP

#include "qyun.hpp"
#include "qyun_host.hpp"

#include <type_traits>

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

namespace detail {

inline result<void> rpc_error(qy_rpc_reply* reply, std::string_view code,
                              std::string_view message) noexcept {
  const c_string code_text(code), message_text(message);
  if (!code_text.whole()) return code_text.refusal(QY_ERR_INVALID_ARGUMENT, "code");
  if (!message_text.whole()) return message_text.refusal(QY_ERR_INVALID_ARGUMENT, "message");
  return status::of(qy_rpc_reply_error(reply, code_text.get(), message_text.get()));
}

}  // namespace detail

/// Answers one call, once, from any thread. A call whose replies are gone without an answer gets the
/// error "no_answer".
class rpc_reply {
 public:
  explicit rpc_reply(qy_rpc_reply* owned) noexcept : handle_(owned) {}

  /// Answers with JSON. QY_ERR_CLOSED when the call's time is over or its client is gone.
  qyun::result<void> try_result(std::string_view json) const noexcept {
    return status::of(qy_rpc_reply_result(get(), json.data(), json.size()));
  }
  outcome<void> result(std::string_view json) const { return detail::take(try_result(json)); }

  /// Answers with an error: a code for programs, a text for people.
  qyun::result<void> try_error(std::string_view code, std::string_view message) const noexcept {
    return detail::rpc_error(get(), code, message);
  }
  outcome<void> error(std::string_view code, std::string_view message) const {
    return detail::take(try_error(code, message));
  }

  /// For calls of qyun.h.
  qy_rpc_reply* get() const noexcept { return handle_.get(); }

 private:
  detail::handle<qy_rpc_reply, qy_rpc_reply_free> handle_;
};

/// A view of one call; it lasts as long as the method runs.
class rpc_call {
 public:
  rpc_call(qy_connection* connection, const char* method, std::string_view params,
           qy_rpc_reply* reply) noexcept
      : connection_(connection), method_(method), params_(params), reply_(reply) {}

  std::string_view method() const noexcept { return method_; }
  /// JSON; "null" when the client gave nothing.
  std::string_view params() const noexcept { return params_; }
  /// Who calls; valid as long as the call is.
  qyun::connection connection() const noexcept { return qyun::connection::lent(connection_); }

  /// Answers now, with JSON or with an error.
  qyun::result<void> try_result(std::string_view json) const noexcept {
    return status::of(qy_rpc_reply_result(reply_, json.data(), json.size()));
  }
  outcome<void> result(std::string_view json) const { return detail::take(try_result(json)); }
  qyun::result<void> try_error(std::string_view code, std::string_view message) const noexcept {
    return detail::rpc_error(reply_, code, message);
  }
  outcome<void> error(std::string_view code, std::string_view message) const {
    return detail::take(try_error(code, message));
  }

  /// What answers after the method has returned.
  qyun::result<rpc_reply> try_later() const noexcept {
    qy_rpc_reply* owned = nullptr;
    const qy_status code = qy_rpc_reply_clone(reply_, &owned);
    if (code != QY_OK) return status::of(code);
    return rpc_reply(owned);
  }
  outcome<rpc_reply> later() const { return detail::take(try_later()); }

 private:
  qy_connection* connection_;
  const char* method_;
  std::string_view params_;
  qy_rpc_reply* reply_;
};

/// Has `fn(const rpc_call&)` called for every call of `method`, in place of the one before. It
/// answers through the call, now or later, or returns the JSON of its result as a string. One that
/// throws leaves its call without an answer. Calls of one connection come in order, those of
/// different connections perhaps at the same time.
template <class Fn>
result<void> try_on_rpc(const server& of, std::string_view method, Fn fn,
                        delivery where = delivery::thread) noexcept {
  using box = detail::callable<Fn>;
  using returned = std::invoke_result_t<Fn&, const rpc_call&>;
  const auto receive = [](qy_connection* connection, const char* name, const char* params,
                          std::size_t len, qy_rpc_reply* reply, void* self) {
    detail::guarded([&] {
      const rpc_call call(connection, name, std::string_view(params, len), reply);
      if constexpr (std::is_void_v<returned>) {
        static_cast<box*>(self)->fn(call);
      } else {
        const std::string json = static_cast<box*>(self)->fn(call);
        detail::take(call.try_result(json));
      }
    });
  };
  // From the call on it belongs to the library, which drops it once.
  auto* kept = new box{std::move(fn)};
  const detail::c_string text(method);
  if (!text.whole()) {
    box::drop(kept);
    return text.refusal(QY_ERR_INVALID_NAME, "method");
  }
  return status::of(qy_server_on_rpc(of.get(), text.get(), static_cast<std::int32_t>(where),
                                     receive, kept, &box::drop));
}
template <class Fn>
outcome<void> on_rpc(const server& of, std::string_view method, Fn fn,
                     delivery where = delivery::thread) {
  return detail::take(try_on_rpc(of, method, std::move(fn), where));
}

/// Ends what on_rpc() began; harmless when there is nothing.
inline result<void> try_off_rpc(const server& of, std::string_view method) noexcept {
  return detail::named(method, [&](const char* name) {
    return qy_server_on_rpc(of.get(), name, QY_DELIVER_THREAD, nullptr, nullptr, nullptr);
  });
}
inline outcome<void> off_rpc(const server& of, std::string_view method) {
  return detail::take(try_off_rpc(of, method));
}

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_RPC_HPP
