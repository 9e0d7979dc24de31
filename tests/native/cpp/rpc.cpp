// Methods that clients call: what they return, what they answer later, and what becomes of them.

#include "check.hpp"
#include "qyun.hpp"

#include <memory>
#include <optional>
#include <string>
#include <thread>

using namespace std::chrono_literals;
using check::patience;

namespace {

/// A server and a client of its session dialect.
struct Session {
  qyun::server server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}});
  qyun::socket client = qyun::socket::open("ws://" + server.address() + "/ws");
  std::string id;

  Session() {
    client.connect(patience);
    const std::string first = receive();
    const std::string before = R"("connection_id":")";
    id = first.substr(first.find(before) + before.size(), 36);
  }

  std::string receive() {
    for (;;) {
      const auto batch = client.recv(1, patience);
      CHECK(!batch.empty());
      for (const auto event : batch) {
        if (event.is_message()) return std::string(event.data());
      }
    }
  }

  void send(const std::string& payload) {
    client.send(R"({"id":1,"type":"request","action":"rpc","payload":)" + payload + "}");
  }

  std::string call(const std::string& payload) {
    send(payload);
    return receive();
  }
};

std::string response(const std::string& data) {
  return R"({"id":1,"type":"response","data":)" + data + "}";
}

std::string error(const std::string& code, const std::string& message) {
  return R"({"id":1,"type":"error","error":{"code":")" + code + R"(","message":")" + message +
         R"("}})";
}

}  // namespace

TEST(a_method_returns_its_result_or_answers_through_the_call) {
  for (const auto where : {qyun::delivery::thread, qyun::delivery::inlined}) {
    Session s;
    std::string caller;
    qyun::on_rpc(s.server, "echo", [&](const qyun::rpc_call& call) {
      caller = call.connection().id();
      return std::string("[\"") + std::string(call.method()) + "\"," + std::string(call.params()) + "]";
    }, where);
    qyun::on_rpc(s.server, "refuse", [](const qyun::rpc_call& call) {
      CHECK(call.try_result("{").code() == QY_ERR_INVALID_ARGUMENT);
      call.error("no_tea", "later");
      CHECK(call.try_error("again", "").code() == QY_ERR_INVALID_ARGUMENT);
    }, where);
    qyun::on_rpc(s.server, "silent", [](const qyun::rpc_call&) {}, where);
    CHECK(s.call(R"({"method":"echo","params":{"a":1}})") == response(R"(["echo",{"a":1}])"));
    CHECK(caller == s.id);
    CHECK(s.call(R"({"method":"echo"})") == response(R"(["echo",null])"));
    CHECK(s.call(R"({"method":"refuse"})") == error("no_tea", "later"));
    CHECK(s.call(R"({"method":"silent"})") ==
          error("no_answer", "the method ended without an answer"));
  }
}

TEST(a_call_is_answered_later) {
  Session s;
  check::counter called;
  std::optional<qyun::rpc_reply> kept;
  qyun::on_rpc(s.server, "later", [&](const qyun::rpc_call& call) {
    kept = call.later();
    called.add();
  });
  s.send(R"({"method":"later"})");
  CHECK(called.reaches(1));
  kept->result("7");
  CHECK(s.receive() == response("7"));
  CHECK(kept->try_result("8").code() == QY_ERR_INVALID_ARGUMENT);
  s.send(R"({"method":"later"})");
  CHECK(called.reaches(2));
  CHECK(s.server.try_stop(0ms).ok());
  CHECK(kept->try_result("8").code() == QY_ERR_CLOSED);
}

TEST(what_a_method_holds_lives_as_long_as_it_may_be_called) {
  Session s;
  const auto held = std::make_shared<int>(0);
  const auto method = [held](const qyun::rpc_call&) { return "1"; };
  const long outside = held.use_count();
  qyun::on_rpc(s.server, "m", method);
  CHECK(held.use_count() == outside + 1);
  qyun::on_rpc(s.server, "m", method);
  CHECK(held.use_count() == outside + 1);
  CHECK(s.call(R"({"method":"m"})") == response("1"));
  qyun::off_rpc(s.server, "m");
  qyun::off_rpc(s.server, "m");
  CHECK(s.call(R"({"method":"m"})") == error("method_not_found", "there is no method 'm'"));
  // The call that was answered may not have quite returned.
  for (int left = 10'000; held.use_count() != outside && left > 0; --left) {
    std::this_thread::sleep_for(1ms);
  }
  CHECK(held.use_count() == outside);
  for (const std::string_view bad : {std::string_view(""), std::string_view("a\0b", 3)}) {
    CHECK(qyun::try_on_rpc(s.server, bad, method).code() == QY_ERR_INVALID_NAME);
  }
  CHECK(held.use_count() == outside);
  qyun::on_rpc(s.server, "m", method);
  CHECK(s.server.try_stop(0ms).ok());
  CHECK(held.use_count() == outside);
  CHECK(qyun::try_on_rpc(s.server, "m", method).code() == QY_ERR_CLOSED);
  CHECK(held.use_count() == outside);
}

TEST(what_a_method_throws_is_reported_and_its_call_not_answered) {
  static std::string thrown;
  qyun::set_exception_handler([](std::exception_ptr what) noexcept {
    try {
      std::rethrow_exception(what);
    } catch (const std::exception& caught) {
      thrown = caught.what();
    }
  });
  Session s;
  qyun::on_rpc(s.server, "throw", [](const qyun::rpc_call&) -> std::string {
    throw std::runtime_error("on purpose");
  });
  CHECK(s.call(R"({"method":"throw"})") ==
        error("no_answer", "the method ended without an answer"));
  CHECK(thrown == "on purpose");
  qyun::set_exception_handler(nullptr);
}

int main() { return check::run_all(); }
