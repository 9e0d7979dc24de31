// A program behind a path: what it decides, hears and sends, and all connections and users.

#include "check.hpp"
#include "qyun.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

using namespace std::chrono_literals;
using check::patience;

namespace {

/// Waits for what nothing announces; false if it is not so in time.
template <class Condition>
bool until(Condition is_so) {
  const auto end = std::chrono::steady_clock::now() + check::patience;
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// A socket whose messages are taken one by one.
struct Client {
  qyun::socket socket;

  explicit Client(const qyun::server& server, const std::string& target)
      : socket(qyun::socket::open("ws://" + server.address() + target, {{"reconnect", false}})) {
    socket.connect(patience);
  }
  std::string receive() {
    for (;;) {
      const auto batch = socket.recv(1, patience);
      CHECK(!batch.empty());
      for (const auto event : batch) {
        if (event.is_message()) return std::string(event.data());
      }
    }
  }
};

qyun::server a_server() {
  return qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}});
}

void converses(qyun::delivery where) {
  auto server = a_server();
  std::atomic<int> opened{0}, gone{0}, code{0};
  std::string last_user;
  auto alive = std::make_shared<int>(0);
  const std::weak_ptr<int> dropped = alive;
  qyun::endpoint room;
  room.connect = [alive = std::move(alive)](const qyun::upgrade& upgrade) {
    CHECK(upgrade.path() == "/h" && !upgrade.remote().empty());
    if (upgrade.query() == "refuse") return upgrade.refuse(402, "Pay first");
#ifndef QYUN_NO_EXCEPTIONS
    if (upgrade.query() == "throw") throw std::runtime_error("planted");
#endif
    upgrade.accept("ann", upgrade.query());
  };
  room.open = [&](const qyun::connection& from) {
    from.join("room");
    CHECK(from.increment("n", 41) == 41 && from.increment("n") == 42 && from.get("n") == "42");
    from.set("k", std::string(100, 'v'));
    CHECK(from.get("k") == std::string(100, 'v') && from.remove("k") && !from.remove("k"));
    opened++;
  };
  room.message = [](const qyun::connection& from, std::string_view data, qyun::message_kind kind) {
    if (data == "who") return from.send(from.id() + " " + from.user() + from.query());
    if (data == "end") return from.close(4000, "enough");
    from.send(data, kind);
  };
  room.disconnect = [&](const qyun::connection& from, const qyun::closure& how) {
    last_user = from.user();
    CHECK(from.channels() == std::vector<std::string>{"room"});
    CHECK(how.ended_by == qyun::closure::by::program && how.reason == "enough");
    code = how.code;
    gone++;
  };
  qyun::handle(server, "/h", std::move(room), {{"max_connections", 2}}, where);
  CHECK(qyun::try_handle(server, "/h", {}).code() == QY_ERR_EXISTS);
  qyun::set_exception_handler([](std::exception_ptr) noexcept {});

  for (const auto& [target, status] : {std::pair{"/h?refuse", "402"}, {"/h?throw", "500"}}) {
    auto refused = qyun::socket::open("ws://" + server.address() + target, {{"reconnect", false}});
    const auto done = refused.try_connect(patience);
    CHECK(!done && done.text().find(status) != std::string::npos);
  }
  Client client(server, "/h?one");
  client.socket.send("who");
  CHECK(client.receive() == "one annone");
  client.socket.send("hello");
  CHECK(client.receive() == "hello");
  CHECK(server.publish("room", "to the room").offset == 1);
  CHECK(client.receive() == "to the room");

  Client other(server, "/h?two");
  CHECK(until([&] { return opened == 2; }));
  CHECK(qyun::count_connections(server) == 2 && qyun::count_connections(server, {"/x", {}, {}}) == 0);
  CHECK(qyun::connections(server, {{}, "ann", {}}, "one").front().id() == "two");
  CHECK(qyun::connections(server, {}, {}, 1).size() == 1);
  CHECK(qyun::users(server).front().connections == 2);
  CHECK(qyun::members(server, "room").size() == 2);
  CHECK(qyun::send_to_user(server, "ann", "user") == 2);
  CHECK(qyun::send_to_user(server, "bob", "user") == 0);
  CHECK(qyun::broadcast(server, "all", "/h") == 2 && qyun::broadcast(server, "all") == 2);
  const auto is_two = [](const qyun::connection& one) { return one.id() == "two"; };
  CHECK(qyun::send_where(server, {}, is_two, "some") == 1);
  for (const char* expected : {"user", "all", "all"}) CHECK(client.receive() == expected);
  for (const char* expected : {"user", "all", "all", "some"}) CHECK(other.receive() == expected);

  auto kept = qyun::find_connection(server, "one");
  CHECK(kept.is_open() && kept.info().dialect == QY_DIALECT_HOST && kept.path() == "/h");
  CHECK(kept.header("UPGRADE") == "websocket" && kept.header("x-none").empty());
  CHECK(!kept.try_send_json("{"));
  kept.send_json("{}");
  CHECK(client.receive() == "{}");
  CHECK(!kept.try_join("none", false) && kept.leave("room") && !kept.leave("room"));
  kept.join("room");
  CHECK(kept.unbind() && !kept.unbind());
  kept.bind("cy");
  client.socket.send("end");
  CHECK(until([&] { return gone == 1; }));
  CHECK(code == 4000 && last_user == "cy" && !kept.is_open());
  CHECK(kept.try_send("late").code() == QY_ERR_CLOSED);
  CHECK(qyun::try_find_connection(server, "one").code() == QY_ERR_NOT_FOUND);
  qyun::find_connection(server, "two").close(4000, "enough");
  CHECK(until([&] { return gone == 2; }));
  CHECK(!dropped.expired());
  qyun::unhandle_wait(server, "/h", patience);
  CHECK(dropped.expired());
  CHECK(qyun::try_unhandle(server, "/h").code() == QY_ERR_NOT_FOUND);
}

void decides_later() {
  auto server = a_server();
  std::mutex mutex;
  std::vector<qyun::upgrade> waiting;
  qyun::endpoint room;
  room.connect = [&](const qyun::upgrade& upgrade) {
    const std::lock_guard<std::mutex> lock(mutex);
    waiting.push_back(upgrade.later());
  };
  qyun::handle(server, "/h", room);
  std::thread decider([&] {
    CHECK(until([&] {
      const std::lock_guard<std::mutex> lock(mutex);
      return !waiting.empty();
    }));
    waiting.front().accept({}, "later");
  });
  Client client(server, "/h");
  decider.join();
  CHECK(until([&] { return qyun::try_find_connection(server, "later").ok(); }));
}

}  // namespace

TEST(a_conversation_on_delivery_threads) { converses(qyun::delivery::thread); }
TEST(a_conversation_inlined) { converses(qyun::delivery::inlined); }
TEST(an_upgrade_is_decided_later) { decides_later(); }

int main() { return check::run_all(); }
