// Sockets: what is captured lives as long as it may be called, and everything arrives.

#include "check.hpp"
#include "qyun.hpp"

#include <memory>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using check::patience;

namespace {

struct Server {
  qyun::server server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}});
  Server() { server.create_channel("test"); }
  std::string url(const std::string& path) const { return "ws://" + server.address() + path; }
};

}  // namespace

TEST(callbacks_hear_everything_and_are_destroyed) {
  Server s;
  const auto held = std::make_shared<int>(0);
  for (const auto where : {qyun::delivery::thread, qyun::delivery::inlined}) {
    check::counter connected, messages, disconnected, closed;
    std::string last;
    std::uint16_t code = 0;
    qyun::socket_callbacks calls;
    calls.connected = [&, held](std::string_view) { connected.add(); };
    calls.message = [&](qyun::message_kind kind, std::string_view data) {
      last = std::string(data) + (kind == qyun::message_kind::text ? " text" : " binary");
      messages.add();
    };
    calls.disconnected = [&](const qyun::disconnection& end) {
      code = end.code;
      disconnected.add();
    };
    calls.closed = [&](std::string_view) { closed.add(); };
    auto hearer = qyun::socket::open(s.url("/channel/listen/test"), std::move(calls), {}, where);
    CHECK(held.use_count() == 2);
    CHECK(hearer.state() == qyun::socket_state::disconnected);
    hearer.connect(patience);
    CHECK(connected.reaches(1) && hearer.is_connected());
    auto sender = qyun::socket::open(s.url("/channel/send/test"), {{"ping_interval_ms", 50ms}});
    CHECK(sender.try_send("x").code() == QY_ERR_CONNECT);
    sender.connect(patience);
    sender.send("one");
    CHECK(messages.reaches(1) && last == "one text");
    sender.send(std::string_view("\0\xff", 2), qyun::message_kind::binary);
    CHECK(messages.reaches(2) && last == std::string("\0\xff binary", 9));
    sender.send_json("[1]");
    CHECK(messages.reaches(3) && last == "[1] text");
    CHECK(sender.try_send_json("[").code() == QY_ERR_INVALID_ARGUMENT);
    CHECK(sender.counters().messages_out == 3);
    hearer.disconnect(4001, "enough");
    CHECK(disconnected.reaches(1) && code == 4001);
    hearer.connect(patience);
    CHECK(connected.reaches(2));
    hearer.close_wait(patience);
    CHECK(closed.now() == 1);
    CHECK(held.use_count() == 1);
  }
}

TEST(a_failure_destroys_the_callbacks_and_says_why) {
  const auto held = std::make_shared<int>(0);
  qyun::socket_callbacks calls;
  calls.message = [held](qyun::message_kind, std::string_view) {};
  const auto failed = qyun::socket::try_open("nowhere://a", calls);
  CHECK(!failed && failed.code() == QY_ERR_INVALID_URL);
  calls = {};
  CHECK(held.use_count() == 1);
  CHECK(qyun::socket::try_open("ws://a", {{"header", "bad"}}).code() == QY_ERR_INVALID_OPTION);
  CHECK(qyun::socket::try_open(std::string_view("ws://a\0b", 8)).code() == QY_ERR_INVALID_URL);
}

TEST(attempts_are_told) {
  Server s;
  check::counter errors;
  bool last = true;
  qyun::socket_callbacks calls;
  calls.error = [&](const qyun::status& why, bool will_reconnect) {
    CHECK(why.code() == QY_ERR_REFUSED && why.text().find("403") != std::string::npos);
    last = will_reconnect;
    errors.add();
  };
  auto socket = qyun::socket::open(s.url("/channel/listen/nothing"), std::move(calls),
                                   {{"reconnect_delay_ms", 1ms}, {"reconnect_attempts", 2}});
  CHECK(socket.try_connect(patience).code() == QY_ERR_REFUSED);
  CHECK(errors.reaches(2) && !last);
  CHECK(socket.last_error().find("403") != std::string::npos);
}

TEST(events_can_be_taken) {
  Server s;
  auto socket = qyun::socket::open(s.url("/channel/listen/test"));
  CHECK(socket.recv(9, 0ms).empty());
  socket.connect(patience);
  CHECK(socket.fd() >= 0);
  s.server.publish("test", "a");
  s.server.publish("test", "b");
  std::vector<std::string> seen;
  while (seen.size() < 3) {
    for (const qyun::socket_event event : socket.recv(9, patience)) {
      seen.push_back(std::string(event.data()));
      CHECK(event.is_message() == (seen.size() > 1));
    }
  }
  CHECK(seen[0].empty() && seen[1] == "a" && seen[2] == "b");
  socket.close();
  CHECK(socket.try_recv(1, patience).code() == QY_ERR_CLOSED);
}

TEST(a_callback_may_destroy_its_own_socket) {
  Server s;
  check::counter done;
  auto own = std::make_shared<std::unique_ptr<qyun::socket>>();
  qyun::socket_callbacks calls;
  calls.connected = [&, own](std::string_view) {
    own->reset();
    done.add();
  };
  *own = std::make_unique<qyun::socket>(
      qyun::socket::open(s.url("/channel/listen/test"), std::move(calls)));
  (*own)->try_connect(0ms).value();
  CHECK(done.reaches(1));
}

int main() { return check::run_all(); }
