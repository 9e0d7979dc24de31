// Built with -fno-exceptions, and again with QYUN_NO_EXCEPTIONS: every operation returns a result.

#include "check.hpp"
#include "qyun_compat.hpp"

#include <type_traits>

using namespace std::chrono_literals;
using check::patience;

static_assert(std::is_same_v<decltype(qyun::server::start()), qyun::result<qyun::server>>);
static_assert(std::is_same_v<decltype(qyun::abi_check()), qyun::result<void>>);

TEST(the_plain_functions_return_results) {
  auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  CHECK(server.ok());
  CHECK(server->create_channel("test").ok());
  const auto again = server->create_channel("test");
  CHECK(!again && again.code() == QY_ERR_CHANNEL_EXISTS);
  CHECK(again.text().find("test") != std::string::npos);

  auto client = qyun::client::open(server->address());
  CHECK(client.ok());
  CHECK(client->subscribe("nowhere").code() == QY_ERR_CHANNEL_NOT_FOUND);
  check::counter heard;
  auto called = client->subscribe("test", [&](const qyun::event& event) {
    if (event.is_message()) heard.add();
  });
  auto pulled = client->subscribe("test");
  CHECK(called.ok() && pulled.ok());
  CHECK(server->publish("test", "x").ok());
  CHECK(heard.reaches(1));
  const auto message = pulled->recv(patience);
  CHECK(message.ok() && message->has_value() && (*message)->data == "x");
  CHECK(called->close_wait(patience).ok());
  CHECK(*server->stop(patience));
}

TEST(the_free_functions_work_without_exceptions) {
  auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  check::counter heard;
  regist_websocket_callback([&](const std::string&) { heard.add(); });
  CHECK(create_channel(server->address(), "test"));
  CHECK(listen_channel(server->address(), "test") == 0);
  CHECK(send_message(server->address(), "test", "x"));
  CHECK(heard.reaches(1));
  CHECK(qyun::compat::stop_listening(server->address(), "test"));
}

int main() { return check::run_all(); }
