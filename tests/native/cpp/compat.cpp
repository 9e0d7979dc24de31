// A program written against the five names, in the global namespace and with no other include.

#include "qyun_compat.hpp"

#include "check.hpp"

#include <thread>

namespace {

std::vector<std::string> heard;
std::mutex lock;
check::counter count;

void on_message(const std::string& message) {
  {
    const std::lock_guard<std::mutex> held(lock);
    heard.push_back(message);
  }
  count.add();
}

void on_bytes(const char* data, std::size_t size) { on_message(std::string(data, size)); }

std::vector<std::string> take(int expected) {
  static int before = 0;
  CHECK(count.reaches(before += expected));
  const std::lock_guard<std::mutex> held(lock);
  return std::exchange(heard, {});
}

}  // namespace

TEST(the_five_functions_do_what_they_say) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  const std::string host = server.address();
  CHECK(listen_channel(host, "test") == -1);
  CHECK(qyun::compat::last_error().find("test") != std::string::npos);
  CHECK(!send_message(host, "test", "x"));
  CHECK(!send_message_ws(host, "test", "x"));
  CHECK(create_channel(host, "test"));
  CHECK(!create_channel(host, "test"));

  regist_websocket_callback(on_message);
  // A thread that ends does not take its listener with it.
  std::thread([&] { CHECK(listen_channel(host, "test") == 0); }).join();
  CHECK(qyun::compat::last_error() == "" || !create_channel(host, "test"));
  const std::vector<std::string> texts = {"plain", "a/b?c#d%20 e\nf", "青云 🚀", ""};
  for (const auto& text : texts) CHECK(send_message(host, "test", text));
  CHECK(take(4) == texts);
  for (const auto& text : texts) CHECK(send_message_ws(host, "test", text));
  CHECK(take(4) == texts);

  // One kept connection, however many messages.
  for (int i = 0; i < 100; ++i) CHECK(send_message_ws(host, "test", std::to_string(i)));
  CHECK(take(100).back() == "99");
  CHECK(server.counters().connections <= 4);

  CHECK(qyun::compat::stop_listening(host, "test"));
  CHECK(!qyun::compat::stop_listening(host, "test"));
}

TEST(the_callback_is_any_callable_and_can_be_replaced) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  const std::string host = server.address();
  CHECK(create_channel(host, "test") && listen_channel(host, "test") == 0);
  regist_websocket_callback(on_bytes);
  CHECK(send_message(host, "test", "bytes"));
  CHECK(take(1).front() == "bytes");
  regist_websocket_callback([n = 0](std::string message) mutable {
    on_message(message + std::to_string(++n));
  });
  CHECK(send_message(host, "test", "count") && send_message(host, "test", "count"));
  CHECK(take(2) == (std::vector<std::string>{"count1", "count2"}));
  CHECK(qyun::compat::stop_listening(host, "test"));
}

TEST(a_nul_is_refused_over_http_and_carried_by_websocket) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  const std::string host = server.address(), text("a\0b", 3);
  regist_websocket_callback(on_message);
  CHECK(create_channel(host, "test") && listen_channel(host, "test") == 0);
  CHECK(!send_message(host, "test", text));
  CHECK(send_message_ws(host, "test", text));
  CHECK(take(1).front() == text);
  CHECK(qyun::compat::stop_listening(host, "test"));
}

TEST(sending_works_again_after_a_shutdown) {
  for (int round = 0; round < 2; ++round) {
    const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
    const std::string host = server.address();
    CHECK(create_channel(host, "test"));
    CHECK(send_message(host, "test", "x") && send_message_ws(host, "test", "x"));
    CHECK(server.counters().published == 2);
    qyun::shutdown(check::patience);
  }
}

TEST(a_client_closed_by_a_shutdown_is_replaced) {
  auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  const std::string host = server.address();
  CHECK(create_channel(host, "test") && send_message_ws(host, "test", "x"));
  qyun::shutdown(check::patience);
  server = qyun::server::start({{"listen", host}});
  CHECK(create_channel(host, "test"));
  CHECK(send_message_ws(host, "test", "x"));
  CHECK(server.counters().published == 1);
}

int main() { return check::run_all(); }
